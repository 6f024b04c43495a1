//! The door for callers: an MCP endpoint whose requests go through the tunnel.
//!
//! A request becomes a command, its answer a reply: JSON, or a stream of events for callers that take one
//! when there is more than an answer to tell. It fails with a refusal as long as nothing was sent; a stream
//! that has begun ends with a JSON-RPC error.

use std::time::Instant;

use serde_json::value::RawValue;

use super::Plane;
use super::board::{Call, Posted, Refused, Ticket, Waited};
use super::passing::{content_type, host, of_caller, to_caller};
use super::reply::{Reply, borrowed};
use crate::config::Channel;
use crate::dev::server::{EventStream, Request, Responder};
use crate::relay::json;
use crate::relay::message::Message;

/// The type of event streams.
const EVENTS: &str = "text/event-stream";

const TIMED_OUT: &str = "timed out waiting for tunnel-client response";

impl Plane {
    /// Everything below `/v1/mcp/`. Callers show nothing: whoever reaches the listener may call.
    pub(super) fn serve_caller(&self, rest: &str, request: &Request, responder: Responder<'_>) {
        let admitted = self.admit(rest, request).and_then(|(call, id)| Ok((self.put(call)?, id)));
        match admitted {
            Ok((ticket, id)) => relay(&ticket, id.as_deref(), request, responder),
            Err(refusal) => refusal.send(responder),
        }
    }

    /// Metadata of the server behind `main`, as it finds it itself. The resource is named as the caller knows
    /// it; everything else stays.
    pub(super) fn serve_metadata(&self, id: &str, request: &Request, responder: Responder<'_>) {
        let invalid = || Reply::refusal(502, "invalid OAuth discovery response", None);
        let found = self.metadata(id, request, &responder).and_then(|answer| {
            let Some(answer) = answer else { return Ok(None) };
            let body = answer.body.as_ref().map(|body| body.get()).unwrap_or_default();
            let members = json::value(body).ok().and_then(|whole| json::members(body, whole).ok()?);
            let resource = members.iter().flatten().find(|member| member.name == "resource");
            let span = resource.map(|member| member.value).ok_or_else(invalid)?;
            let (before, after) = (body.get(..span.start), body.get(span.end..));
            let url = format!("\"http://{}/v1/mcp/{id}\"", host(request));
            let body = [before.unwrap_or_default(), &url, after.unwrap_or_default()].concat().into_bytes();
            let reply = Reply { status: answer.status, headers: to_caller(&answer.headers, request), body };
            Ok(Some(reply.with("Content-Type", "application/json".to_owned())))
        });
        match found {
            Ok(Some(reply)) | Err(reply) => reply.send(responder),
            Ok(None) => {}
        }
    }

    /// Asks the tunnel client for the metadata; nothing when the caller has gone.
    fn metadata(
        &self,
        id: &str,
        request: &Request,
        responder: &Responder<'_>,
    ) -> Result<Option<Posted>, Reply> {
        if id != self.tunnel_id() {
            return Err(Reply::not_found());
        }
        if request.method != "GET" {
            return Err(Reply::not_allowed("GET"));
        }
        self.check_client()?;
        let end = Instant::now() + self.options.response_timeout;
        let (kind, channel, headers) = ("oauth_discovery", Channel::main(), of_caller(request));
        let ticket = self.put(Call { kind, channel, headers, message: None, end })?;
        match ticket.next(|| responder.is_gone()) {
            Waited::Event(answer) => Ok(Some(answer)),
            Waited::Gone => Ok(None),
            Waited::Expired => {
                let text = "timed out waiting for tunnel-client OAuth discovery response";
                Err(Reply::refusal(504, text, None))
            }
        }
    }

    fn put(&self, call: Call) -> Result<Ticket<'_>, Reply> {
        self.board.put(call).map_err(|refused| match refused {
            Refused::Full => {
                let text = "too many requests wait for the tunnel client; try again later";
                Reply::refusal(503, text, Some("tunnel_queue_full"))
            }
            Refused::TooLarge => {
                let text = "the message is larger than a tunnel client takes";
                Reply::refusal(413, text, Some("request_body_too_large"))
            }
            Refused::Unknown | Refused::Token => Reply::not_found(),
        })
    }

    /// Whether somebody is there to answer.
    fn check_client(&self) -> Result<(), Reply> {
        let within = self.options.client_last_seen_timeout;
        if self.board.has_client(within) {
            return Ok(());
        }
        let text = format!(
            "no tunnel client is connected: none has polled within the last {} ms; start or restart it",
            within.as_millis()
        );
        Err(Reply::refusal(503, &text, Some("tunnel_client_not_seen")))
    }

    /// The call that a request makes, and the id that its answer is for, as JSON.
    fn admit(&self, rest: &str, request: &Request) -> Result<(Call, Option<String>), Reply> {
        let (id, channel) = match rest.split_once('/') {
            Some((id, name)) => (id, Channel::parse(name)),
            None => (rest, Some(Channel::main())),
        };
        // A second slash would stand in the channel's name, where it is not legal.
        let channel = channel.filter(|_| id == self.tunnel_id()).ok_or_else(Reply::not_found)?;
        let (message, id) = match request.method.as_str() {
            "POST" => message(&request.body).map(|(message, id)| (Some(message), id))?,
            "DELETE" if request.header("mcp-session-id").is_none_or(str::is_empty) => {
                let text = "Mcp-Session-Id header is required to end a session";
                return Err(Reply::refusal(400, text, Some("missing_mcp_session_id")));
            }
            "DELETE" => (None, None),
            // Clients take 405 for a GET as: there is no stream to listen to.
            _ => return Err(Reply::not_allowed("POST, DELETE")),
        };
        self.check_client()?;
        let end = Instant::now() + self.options.response_timeout;
        let kind = if message.is_some() { "jsonrpc" } else { "session_termination" };
        Ok((Call { kind, channel, headers: of_caller(request), message, end }, id))
    }
}

/// Reads a body: one JSON object. Whether it is a proper message is the tunnel client's to say.
fn message(body: &[u8]) -> Result<(Box<RawValue>, Option<String>), Reply> {
    if body.trim_ascii().is_empty() {
        return Err(Reply::refusal(400, "jsonrpc request body is required", None));
    }
    let object = std::str::from_utf8(body).ok().filter(|text| {
        let whole = json::value(text).ok();
        whole.is_some_and(|whole| matches!(json::members(text, whole), Ok(Some(_))))
    });
    let raw = object.and_then(|text| RawValue::from_string(text.to_owned()).ok());
    let (Some(text), Some(raw)) = (object, raw) else {
        let text = "the request's body is not one JSON object";
        return Err(Reply::refusal(400, text, Some("invalid_json_payload")));
    };
    let id = Message::parse(text.to_owned()).ok().and_then(|message| message.id().map(str::to_owned));
    Ok((raw, id))
}

/// Waits for what the tunnel client posts and passes it on, in order. Nothing is said to a caller that has
/// gone; its call leaves the board with the ticket.
fn relay(ticket: &Ticket<'_>, id: Option<&str>, request: &Request, responder: Responder<'_>) {
    let streams = accepts_events(request);
    let first = loop {
        match ticket.next(|| responder.is_gone()) {
            Waited::Event(event) if event.is_notification && !streams => {}
            Waited::Event(event) => break event,
            Waited::Expired => return Reply::refusal(504, TIMED_OUT, None).send(responder),
            Waited::Gone => return,
        }
    };
    let final_stream =
        first.status == 200 && first.body.is_some() && content_type(&first.headers).is_some_and(is_events);
    let headers = to_caller(&first.headers, request);
    let is_stream = first.is_notification || (streams && final_stream);
    if !is_stream {
        return whole(first, headers).send(responder);
    }
    pass_on(ticket, id, first, responder.events(&borrowed(&headers)));
}

/// Sends events as they come, up to the answer. A stream that its reader has left is only dropped.
fn pass_on(ticket: &Ticket<'_>, id: Option<&str>, first: Posted, mut stream: EventStream<'_>) {
    let mut event = first;
    loop {
        let is_last = !event.is_notification;
        if !event.body.is_none_or(|body| stream.send(body.get())) {
            return;
        }
        if is_last {
            return stream.finish();
        }
        event = match ticket.next(|| stream.is_gone()) {
            Waited::Event(next) => next,
            Waited::Gone => return,
            Waited::Expired => {
                let error = format!(
                    r#"{{"jsonrpc":"2.0","id":{},"error":{{"code":-32603,"message":"{TIMED_OUT}"}}}}"#,
                    id.unwrap_or("null")
                );
                stream.send(&error);
                return stream.finish();
            }
        };
    }
}

/// An answer as one reply.
fn whole(answer: Posted, headers: Vec<(String, String)>) -> Reply {
    let status = match answer.status {
        // A message without an answer is accepted, whatever the server called it.
        0 | 200..300 if answer.is_ack => 202,
        0 => 200,
        // What is no status of an answer could not be sent as one.
        status if !(200..=599).contains(&status) => 502,
        status => status,
    };
    let kind = content_type(&answer.headers).filter(|kind| !is_events(kind)).unwrap_or("application/json");
    let body = answer.body.map(|body| body.get().as_bytes().to_vec()).unwrap_or_default();
    let reply = Reply { status, headers, body };
    if reply.body.is_empty() { reply } else { reply.with("Content-Type", kind.to_owned()) }
}

fn is_events(kind: &str) -> bool {
    kind.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case(EVENTS)
}

fn accepts_events(request: &Request) -> bool {
    request.all("accept").flat_map(|value| value.split(',')).any(is_events)
}
