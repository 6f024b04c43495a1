//! Requests to the control plane: its metadata, polls and posts.
//!
//! Every request carries the same head. Redirects are failures: the key goes to the configured
//! origin and nowhere else. Nothing is retried here but an idempotent request on a connection that died
//! while it was idle, and a request whose key is refused when another one has come to stand in its file; waiting and
//! trying again belong to the poller and the couriers. It fails with a [`Refusal`].

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde::Deserialize;
use ureq::http::{HeaderMap, HeaderName, HeaderValue, Method, Uri, header};

use crate::config;
use crate::net::{Budget, Client, Error, Kind, Reply, Request};
use crate::ops::metrics::{Destination, Metrics};
use crate::ops::redact::Redactor;
use crate::relay::command::Command;
use crate::relay::headers;
use crate::relay::payload::Payload;
use crate::relay::port::{Answer, AnswerKind};
use crate::sync;

use super::answer_json;
use super::key::{self, KeyFile};
use super::oversized;
use super::oversized::Body;
use super::refusal::{Refusal, request_id};
use super::round_trip::RoundTrip;
use super::routing::{CAPABILITY, SHARD_TOKEN};
use super::server_info::ServerInfo;
use super::transport::{Ask, Polled, Transport};

/// Largest body of a poll; twice what the control plane is known to send. Polls have a budget of their
/// own, so that answers being read cannot keep the tunnel from polling: twice theirs where that is less.
const POLL_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Largest payload whose post tells how far the plane is, and not how fast the network.
const ROUND_TRIP_BYTES_MAX: usize = 16 * 1024;

/// Largest metadata document; three short texts are read of it.
const METADATA_BYTES_MAX: usize = 256 * 1024;

/// How long the rest of a refusal is waited for when the request is repeated at once.
const FINISH_WAIT: Duration = Duration::from_millis(50);

/// Longest request id of a caller that is repeated in the head of a post.
const REQUEST_ID_BYTES_MAX: usize = 1024;

const SERVER_INFO: HeaderName = HeaderName::from_static("x-tunnel-mcp-server-info");
const CAPABILITIES: HeaderName = HeaderName::from_static("x-tunnel-client-capabilities");
const CLIENT_REQUEST_ID: HeaderName = HeaderName::from_static("x-client-request-id");

/// Version of the wire between the plane and its clients. It says how requests are made, not what is in them.
const WIRE_VERSION: &str = "2026-08-25";

/// The control plane, as this process talks to it.
pub struct Plane {
    link: Mutex<Arc<Link>>,
    instance_id: String,
    key_file: KeyFile,
    poll_budget: Arc<Budget>,
    info: ServerInfo,
    metadata_uri: Uri,
    post_uri: Uri,
    poll_prefix: String,
    /// Poll time-out and guardrail together: the bound of every single exchange, body included, but for polls that
    /// have learned a shorter one. A plane that holds a poll for longer than it was asked to is not there any more.
    exchange_time: Duration,
    round_trip: RoundTrip,
    places: Places,
    metrics: Arc<Metrics>,
}

/// What can be renewed. An exchange ends with what it began with.
#[derive(Clone)]
struct Link {
    clients: Clients,
    /// The headers of every request, the key among them.
    head: HeaderMap,
    /// The key that the settings gave; another one may have come from its file since.
    given: Option<HeaderValue>,
    /// Where it came from: a reference, or the name of a setting.
    key_label: String,
}

/// Where exchanges are counted.
struct Places {
    poll: Destination,
    response: Destination,
    metadata: Destination,
}

/// The connections to the control plane, apart because a stop ends them at different times: a silent
/// poll first, the notifications of calls with the calls, answers on their way last of all.
#[derive(Clone)]
pub struct Clients {
    /// For polls and the metadata.
    pub polls: Client,
    /// For notifications, posted by the workers.
    pub notes: Client,
    /// For terminal answers, posted by the couriers.
    pub answers: Client,
}

/// What is known of the tunnel, for people. The log escapes and bounds it: somebody typed it in a form.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Metadata {
    /// The tunnel's id.
    #[cfg_attr(not(feature = "operator"), allow(dead_code))]
    pub id: String,
    /// Its name.
    pub name: String,
    /// Its description.
    pub description: String,
}

impl Plane {
    /// Prepares the head of all requests. Fails with a text that names the setting or header, never its value: one of
    /// them is the key.
    pub fn new(
        settings: &config::ControlPlane,
        clients: Clients,
        instance_id: &str,
        info: ServerInfo,
        metrics: Arc<Metrics>,
        redactor: Option<Arc<Redactor>>,
        budget_bytes: usize,
    ) -> Result<Plane, String> {
        let path = format!("{}/v1/tunnels/{}", settings.url_path, settings.tunnel_id);
        let place = |further: &str| Destination::new(&format!("{path}{further}"), &settings.origin);
        let base = format!("{}{path}", settings.origin);
        let channels = settings.poll_channels.iter();
        let channels: String = channels.map(|channel| format!("channel={}&", channel.as_str())).collect();
        let uri = |text: String| text.parse::<Uri>().map_err(|error| error.to_string());
        let link = Link { clients, head: HeaderMap::new(), given: None, key_label: String::new() };
        let plane = Plane {
            link: Mutex::new(Arc::new(link)),
            instance_id: instance_id.to_owned(),
            key_file: KeyFile::new(redactor),
            info,
            // One body at a time, so this is its bound and no queue.
            poll_budget: Budget::new(POLL_BYTES_MAX.min(2 * budget_bytes)),
            metadata_uri: uri(base.clone())?,
            post_uri: uri(format!("{base}/response"))?,
            // Keys stand in alphabetical order, as the reference writes them.
            poll_prefix: format!("{base}/poll?{channels}"),
            exchange_time: settings.poll_timeout + settings.poll_guardrail,
            round_trip: RoundTrip::default(),
            places: Places { poll: place("/poll"), response: place("/response"), metadata: place("") },
            metrics,
        };
        plane.renew(None, settings)?;
        Ok(plane)
    }

    /// Sends from now on the key and the headers of these settings, on these connections when there are some. A key
    /// that took the place of the settings' own in its file stays, until they bring another one. When that fails,
    /// nothing has changed.
    pub fn renew(&self, clients: Option<Clients>, settings: &config::ControlPlane) -> Result<(), String> {
        let mut head = head(settings, &self.instance_id)?;
        head.insert(CAPABILITIES, HeaderValue::from_static(CAPABILITY));
        let given = head.get(header::AUTHORIZATION).cloned();
        let mut link = sync::lock(&self.link);
        if let Some(key) = link.head.get(header::AUTHORIZATION).filter(|_| link.given == given) {
            head.insert(header::AUTHORIZATION, key.clone());
        }
        let clients = match clients {
            Some(clients) => clients.in_place_of(&link.clients),
            None => link.clients.clone(),
        };
        *link = Arc::new(Link { clients, head, given, key_label: settings.api_key_label.clone() });
        Ok(())
    }

    /// The connections that are used now.
    pub fn clients(&self) -> Clients {
        self.link().clients.clone()
    }

    fn link(&self) -> Arc<Link> {
        Arc::clone(&sync::lock(&self.link))
    }

    /// Whether another key than that of a refused request is to be used: one that its file has come to hold, or one
    /// that others have found since.
    fn has_other_key(&self, refused: &Link) -> bool {
        if let Some(key) = self.key_file.read(&refused.key_label) {
            let mut link = sync::lock(&self.link);
            let mut next = Link::clone(&link);
            next.head.insert(header::AUTHORIZATION, key);
            *link = Arc::new(next);
        }
        self.link().head.get(header::AUTHORIZATION) != refused.head.get(header::AUTHORIZATION)
    }

    /// Asks once for the tunnel's metadata. Any 2xx counts, and members that are not known are ignored.
    pub fn metadata(&self) -> Result<Metadata, Refusal> {
        let deadline = Instant::now() + self.exchange_time;
        let request = request(Method::GET, &self.metadata_uri, None, deadline);
        let reply = self.exchange(|clients| &clients.polls, &self.places.metadata, &request)?;
        let tunnel_request_id = request_id(&reply);
        if !(200..300).contains(&reply.status) {
            return Err(Refusal::of(reply, &self.poll_budget, deadline));
        }
        let body = reply.read_all(METADATA_BYTES_MAX, &self.poll_budget, deadline)?;
        serde_json::from_slice(&body.data).map_err(|error| {
            let message = format!("not the metadata of a tunnel: {error}");
            Refusal::unreadable(message, &body.data, tunnel_request_id)
        })
    }

    /// Sends with the head of all requests, and once more when the key in it was refused and another one has come.
    fn exchange(&self, over: Over, place: &Destination, request: &Request<'_>) -> Result<Reply, Refusal> {
        let link = self.link();
        let reply = self.send(&link, over, place, request)?;
        if reply.status != 401 || !self.has_other_key(&link) {
            return Ok(reply);
        }
        reply.finish(FINISH_WAIT);
        self.send(&self.link(), over, place, request)
    }

    /// Sends and counts. A request without a reply is counted too, without a status. The key goes along, so the
    /// request is to no other URL than those that were made from the settings.
    fn send(
        &self,
        link: &Link,
        over: Over,
        place: &Destination,
        request: &Request<'_>,
    ) -> Result<Reply, Refusal> {
        let started = Instant::now();
        let mut headers = link.head.clone();
        headers.insert(SERVER_INFO, self.info.now().clone());
        for (name, value) in &request.headers {
            headers.insert(name, value.clone());
        }
        let (method, bytes) = (request.method.clone(), request.body.unwrap_or_default());
        let bytes = bytes.iter().map(|part| part.len()).sum();
        let result = over(&link.clients).send(Request { method, headers, ..*request });
        let status = result.as_ref().ok().map(|reply| reply.status);
        self.metrics.http(place, request.method.as_str(), status, started.elapsed(), bytes);
        result.map_err(Refusal::Transport)
    }
}

/// Which of the clients sends.
type Over = fn(&Clients) -> &Client;

impl Clients {
    /// Takes the place of former ones.
    fn in_place_of(mut self, former: &Clients) -> Clients {
        self.polls.replace(&former.polls);
        self.notes.replace(&former.notes);
        self.answers.replace(&former.answers);
        self
    }
}

/// A request without the head that all of them carry.
fn request<'a>(method: Method, uri: &'a Uri, body: Option<&'a [&'a [u8]]>, deadline: Instant) -> Request<'a> {
    let replay_when_stale = method == Method::GET;
    Request { method, uri, headers: HeaderMap::new(), body, deadline, replay_when_stale }
}

impl Transport for Plane {
    fn poll(&self, ask: &Ask, on_head: &mut dyn FnMut()) -> Result<Polled, Refusal> {
        let deadline = Instant::now() + ask.time;
        let (limit, wait_ms) = (ask.limit, ask.wait.as_millis().max(1));
        // The channels behind the base hold nothing but letters, digits and dashes.
        let uri: Uri = format!("{}limit={limit}&timeout_ms={wait_ms}", self.poll_prefix)
            .parse()
            .map_err(|_| Error::new(Kind::InvalidRequest, "the poll's URL is not legal"))?;
        let mut request = request(Method::GET, &uri, None, deadline);
        request.headers.extend(ask.token.iter().map(|token| (SHARD_TOKEN, token.clone())));
        let began = Instant::now();
        let reply = self.exchange(|clients| &clients.polls, &self.places.poll, &request)?;
        // Every `response_timeout` of this batch counts from here: a slow body is the caller's time too.
        let received = Instant::now();
        on_head();
        self.round_trip.at_most(received.duration_since(began));
        let tunnel_request_id = request_id(&reply);
        match reply.status {
            // Nothing came up while the plane held the poll; the usual reply of an idle tunnel.
            204 => Ok(Polled { received, body: Body::None, tunnel_request_id }),
            200 => {
                if headers::is_encoded(&reply.headers) {
                    let why = "the reply is compressed, which was not asked for";
                    return Err(Error::new(Kind::Protocol, why).sent(true).into());
                }
                let bytes_max = self.poll_budget.capacity();
                let body = match limit {
                    1 => oversized::read_one(reply, bytes_max)?,
                    _ => Body::Whole(reply.read_all(bytes_max, &self.poll_budget, deadline)?.data),
                };
                Ok(Polled { received, body, tunnel_request_id })
            }
            _ => Err(Refusal::of_poll(reply, &self.poll_budget, deadline)),
        }
    }

    fn post(&self, command: &Command, answer: &Answer, until: Instant) -> Result<u16, Refusal> {
        let deadline = until.min(Instant::now() + self.exchange_time);
        let terminal = answer.kind != AnswerKind::Notification;
        let (head, tail) = answer_json::frame(command, answer);
        let [first, id, rest] = answer.payload.as_ref().map(Payload::parts).unwrap_or_default();
        let parts = [head.as_bytes(), first, id, rest, tail.as_bytes()];
        let mut request = request(Method::POST, &self.post_uri, Some(&parts), deadline);
        // The plane takes one terminal answer a command, however often it arrives.
        request.replay_when_stale = terminal;
        request.headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        request.headers.insert(SHARD_TOKEN, command.shard_token.clone());
        // The caller's own id, so that one call can be found in the logs of all three parties.
        let id = command.headers.get(const { HeaderName::from_static("x-request-id") });
        // One that does not fit is left out: an answer without it is worth more than none.
        if let Some(id) = id.filter(|id| id.len() <= REQUEST_ID_BYTES_MAX) {
            request.headers.insert(CLIENT_REQUEST_ID, id.clone());
        }
        let over: Over = if terminal { |clients| &clients.answers } else { |clients| &clients.notes };
        let (began, bytes) = (Instant::now(), rest.len());
        let reply = self.exchange(over, &self.places.response, &request)?;
        match reply.status {
            status @ (200..300 | 404) => {
                if bytes <= ROUND_TRIP_BYTES_MAX {
                    self.round_trip.measured(began.elapsed());
                }
                // Read to its end, the connection can be used again; what it says does not matter.
                reply.finish(deadline.saturating_duration_since(Instant::now()));
                Ok(status)
            }
            _ => Err(Refusal::of(reply, &self.poll_budget, deadline)),
        }
    }

    fn stop_polls(&self) {
        self.link().clients.polls.shutdown();
    }

    fn stop_notes(&self) {
        self.link().clients.notes.shutdown();
    }

    fn stop_answers(&self) {
        self.link().clients.answers.shutdown();
    }

    fn exchange_time(&self) -> Duration {
        self.exchange_time
    }

    fn round_trip(&self) -> Option<Duration> {
        self.round_trip.get()
    }

    fn has_connected(&self) -> bool {
        self.link().clients.polls.connections_opened() > 0
    }

    fn key_may_change(&self) -> bool {
        self.key_file.may_change(&self.link().key_label)
    }
}

/// The headers of every request. Our own names win over extra headers. They are built with the settings: what could
/// make a request unsendable is found at start, not at the first poll.
pub(crate) fn head(settings: &config::ControlPlane, instance_id: &str) -> Result<HeaderMap, String> {
    let mut head = settings.extra_headers.clone();
    // A copy that gets some more does not have to grow.
    head.reserve(24);
    // What requests own is no extra header's, the shard token above all: with another one an answer would reach
    // another caller.
    for name in [SHARD_TOKEN, CLIENT_REQUEST_ID, CAPABILITIES, header::CONTENT_TYPE] {
        head.remove(name);
    }
    let own = [
        (header::ACCEPT, "application/json".to_owned()),
        (header::USER_AGENT, crate::USER_AGENT.to_owned()),
        (HeaderName::from_static("x-tunnel-client-name"), crate::CLIENT_NAME.to_owned()),
        (HeaderName::from_static("x-tunnel-client-version"), crate::VERSION.to_owned()),
        (HeaderName::from_static("x-tunnel-client-wire-protocol-version"), WIRE_VERSION.to_owned()),
        // 32 lower-case hex characters, new in every process: the plane keeps replicas of one tunnel apart by it.
        (HeaderName::from_static("x-tunnel-client-instance-id"), instance_id.to_owned()),
    ];
    let organization = settings.organization_id.iter();
    let organization = organization.map(|id| (HeaderName::from_static("openai-organization"), id.clone()));
    for (name, value) in own.into_iter().chain(organization) {
        let value =
            HeaderValue::from_str(&value).map_err(|_| format!("{name} is not a legal header value"))?;
        head.insert(name, value);
    }
    let key = key::authorization(&settings.api_key);
    head.insert(header::AUTHORIZATION, key.ok_or("control plane API key is malformed")?);
    Ok(head)
}
