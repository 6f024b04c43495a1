//! One call of an endpoint: what is sent, which redirects are followed, what comes back.
//!
//! The connections' room follows nothing, so every hop is decided here: the URL must be registered and allow the
//! method and the size, and what is dialled is the registered endpoint by its own client, with its own added
//! headers. A caller's headers go along within one origin; beyond it only those go that describe the request.
//! One deadline bounds all hops and the body.
//!
//! A call fails with a [`Fault`]: a fixed text for the caller, a cause for the local log.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ureq::http::{HeaderMap, HeaderName, HeaderValue, Method, Uri, header};

use crate::config::Origin;
use crate::header_names::plain;
use crate::net::{self, Budget, Kind, Reply, Request};
use crate::ops::metrics::harpoon::CallOutcome;
use crate::relay::command::Deadline;
use crate::url;

use super::registry::{CONFIGURED, Endpoint, Endpoints};
use super::rewrite;

/// What says how a request is meant and not who asks. All else may be a credential under any name.
const DESCRIPTIVE: [HeaderName; 3] = [header::ACCEPT, header::ACCEPT_LANGUAGE, header::CONTENT_TYPE];

/// What describes one connection, ours, and means nothing to the caller.
const HOP_BY_HOP: [HeaderName; 3] =
    [header::CONNECTION, HeaderName::from_static("keep-alive"), header::TRANSFER_ENCODING];

/// How long the body of a redirect is read to keep its connection.
const FINISH_WAIT: Duration = Duration::from_millis(50);

/// What the caller asked for, checked.
pub(super) struct Order<'a> {
    pub(super) endpoint: Arc<Endpoint>,
    /// The endpoint's own, or what its template became.
    pub(super) uri: Uri,
    pub(super) method: Method,
    /// What may pass of the caller's headers.
    pub(super) headers: HeaderMap,
    pub(super) body: Option<&'a str>,
    pub(super) deadline: Deadline,
    pub(super) response_bytes_max: usize,
    /// How many redirects are followed; `None` hands the first one back.
    pub(super) redirects_max: Option<usize>,
}

/// What came back, as the caller may see it.
pub(super) struct Received {
    pub(super) status: u16,
    pub(super) headers: BTreeMap<String, Vec<String>>,
    pub(super) body: Vec<u8>,
}

/// Why nothing is handed back.
#[derive(Debug)]
pub(super) struct Fault {
    /// What the caller is told.
    pub(super) text: &'static str,
    pub(super) outcome: CallOutcome,
    /// The status that came, where one came.
    pub(super) status: Option<u16>,
    /// What the log is told.
    pub(super) cause: String,
    /// The call was cut because the process ends.
    pub(super) cut: Option<net::Error>,
}

/// Calls the endpoint and follows redirects among `endpoints`.
pub(super) fn run(order: &Order, endpoints: &Endpoints, budget: &Arc<Budget>) -> Result<Received, Fault> {
    let mut hop = Hop {
        endpoint: Arc::clone(&order.endpoint),
        uri: order.uri.clone(),
        method: order.method.clone(),
        headers: order.headers.clone(),
        body: order.body,
    };
    let mut followed = 0;
    loop {
        // Every hop's reply is awaited under the one deadline, so a chain takes no longer than a single call.
        let reply = hop.send(order.deadline.end())?;
        let location = location(&reply).filter(|_| order.redirects_max.is_some());
        let Some(location) = location else { return receive(order, reply, endpoints, budget) };
        if order.redirects_max.is_none_or(|most| followed >= most) {
            return Err(Fault::of("redirect limit exceeded", reply.status, "redirect_limit".into()));
        }
        // The connection is worth a moment; the body of a redirect is not.
        let status = reply.status;
        reply.finish(FINISH_WAIT.min(order.deadline.end().saturating_duration_since(Instant::now())));
        hop = hop.follow(status, &location, endpoints)?;
        followed += 1;
    }
}

/// One request of a call. A redirect makes a new one out of it, never a changed one: what is sent to an endpoint
/// is put together in one place, from that endpoint's own record.
struct Hop<'a> {
    endpoint: Arc<Endpoint>,
    uri: Uri,
    method: Method,
    headers: HeaderMap,
    body: Option<&'a str>,
}

impl<'a> Hop<'a> {
    fn send(&self, deadline: Instant) -> Result<Reply, Fault> {
        let parts = self.body.map(|body| [body.as_bytes()]);
        let request = Request {
            method: self.method.clone(),
            uri: &self.uri,
            headers: self.all_headers(),
            body: parts.as_ref().map(|parts| parts.as_slice()),
            deadline,
            // The others may have been acted on.
            replay_when_stale: self.method == Method::GET,
        };
        let sent = self.endpoint.client.send(request);
        sent.map_err(|error| Fault::net("request failed", CallOutcome::RequestError, None, error))
    }

    /// The caller's headers with ours over them. What the operator adds wins in every spelling that a server
    /// could take for it.
    fn all_headers(&self) -> HeaderMap {
        let added = &self.endpoint.target.headers;
        let mut all = HeaderMap::with_capacity(self.headers.len() + added.len() + 1);
        for (name, value) in &self.headers {
            if !added.keys().any(|own| plain(own) == plain(name)) {
                all.append(name.clone(), value.clone());
            }
        }
        all.insert(header::USER_AGENT, HeaderValue::from_static(crate::USER_AGENT));
        // Names of the second map take the places of their like in the first.
        all.extend(added.clone());
        all
    }

    /// The next request, when the redirect leads where it may.
    fn follow(self, status: u16, location: &str, endpoints: &Endpoints) -> Result<Hop<'a>, Fault> {
        let from = &self.endpoint.target;
        let url = url::resolve(&from.url, location).unwrap_or_default();
        // 307 and 308 repeat the request; for the others the web has agreed on a GET.
        let repeats = matches!(status, 307 | 308) || self.method == Method::GET;
        let method = if repeats { self.method } else { Method::GET };
        let body = self.body.filter(|_| repeats);
        // Of several labels at one URL the first that allows it: they share the way, not what may be sent.
        let known = endpoints.at(&url);
        // What was learned leads to its like alone: whoever answers there must not choose which of the
        // operator's endpoints is called, with the operator's headers.
        let category = self.endpoint.category;
        let allows = |next: &&Arc<Endpoint>| {
            let (target, length) = (&next.target, body.map_or(0, str::len));
            let may_lead = category == CONFIGURED || category == next.category;
            may_lead && target.methods.contains(&method) && length <= target.max_request_bytes
        };
        let Some(next) = known.iter().find(allows) else {
            let (word, text) = match known {
                [] => endpoints.missed(&url),
                _ => ("request_not_allowed", "redirect blocked"),
            };
            let to = url.parse::<Uri>().ok().and_then(|url| Origin::of(&url));
            let to = to.map_or_else(|| "no URL".to_owned(), |origin| origin.to_string());
            return Err(Fault::of(text, status, format!("{word}: redirected to {to}")));
        };
        let mut headers = self.headers;
        // Once left out they stay out: a redirect back would otherwise bring them again, at another's bidding.
        // Behind another socket there is another server, whatever host both are said to have.
        let (here, there) = (from, &next.target);
        if (&here.origin, &here.unix_socket) != (&there.origin, &there.unix_socket) {
            let mut kept = HeaderMap::new();
            for name in DESCRIPTIVE {
                let value = headers.remove(&name);
                kept.extend(value.map(|value| (name, value)));
            }
            headers = kept;
        }
        if !repeats {
            headers.remove(header::CONTENT_TYPE);
        }
        let uri = next.target.uri.clone();
        Ok(Hop { endpoint: Arc::clone(next), uri, method, headers, body })
    }
}

/// Where a reply leads, when it is a redirect. What is no text is a place that is not registered; an empty one
/// leads nowhere.
fn location(reply: &Reply) -> Option<String> {
    let redirects = matches!(reply.status, 301 | 302 | 303 | 307 | 308);
    let location = reply.headers.get(header::LOCATION).filter(|place| redirects && !place.is_empty())?;
    Some(String::from_utf8_lossy(location.as_bytes()).into_owned())
}

/// Reads the body within its bound and names the endpoints in what is handed back.
fn receive(
    order: &Order,
    reply: Reply,
    endpoints: &Endpoints,
    budget: &Arc<Budget>,
) -> Result<Received, Fault> {
    let (status, headers, limit) = (reply.status, reply.headers.clone(), order.response_bytes_max);
    if !(100..600).contains(&status) {
        return Err(Fault::of("request failed", status, "the status is none".into()));
    }
    // An announced length above the bound is refused unread; one that lies is found out while reading.
    let read = reply.read_all(limit, budget, order.deadline.end()).map_err(|error| match error.kind {
        Kind::TooLarge => Fault::too_large(status, error.to_string()),
        _ => Fault::net("response read failed", CallOutcome::ReadError, Some(status), error),
    })?;
    let (mut body, mut headers) = (read.data, headers);
    if let Some(renamed) = rewrite::body(&body, endpoints) {
        // Names may be longer than what they stand for.
        if renamed.len() > limit {
            return Err(Fault::too_large(status, format!("with its labels the body exceeds {limit} bytes")));
        }
        // It told the length of another text.
        headers.remove(header::CONTENT_LENGTH);
        body = renamed.into_bytes();
    }
    for name in HOP_BY_HOP {
        headers.remove(name);
    }
    Ok(Received { status, headers: rewrite::headers(&headers, endpoints), body })
}

impl Fault {
    /// A request that failed after a reply.
    fn of(text: &'static str, status: u16, cause: String) -> Fault {
        Fault { text, outcome: CallOutcome::RequestError, status: Some(status), cause, cut: None }
    }

    fn too_large(status: u16, cause: String) -> Fault {
        let outcome = CallOutcome::TooLarge;
        Fault { outcome, ..Fault::of("response exceeds size limit", status, cause) }
    }

    fn net(text: &'static str, outcome: CallOutcome, status: Option<u16>, error: net::Error) -> Fault {
        let cause = error.to_string();
        Fault { text, outcome, status, cause, cut: Some(error).filter(|error| error.kind == Kind::Shutdown) }
    }
}
