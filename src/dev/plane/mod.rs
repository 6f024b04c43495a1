//! A control plane for one tunnel on this host, with the door that a product would knock at.
//!
//! To a tunnel client it is the published contract: metadata, polls, responses. To callers it is an MCP
//! endpoint. Both sides are served by the same handler, so any number of listeners may lead to it. It holds
//! everything in memory, contacts nobody, and refuses in the contract's form: a status and a JSON error.

use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::server::{Handler, Request, Responder};
use crate::config::Channel;

use board::{Board, Command, Headers, Posted, Refused};
use rehearsal::shown;
use reply::Reply;

pub(crate) use rehearsal::{Fail, Rehearsal};

mod board;
mod ingress;
mod passing;
mod rehearsal;
mod reply;

#[cfg(test)]
mod tests;

/// Most commands that one poll may ask for, from the contract.
const LIMIT_MAX: usize = 25;

/// How long a poll is held: unless it says otherwise, and at most, which is as long as any client waits.
const HOLD: Duration = Duration::from_millis(500);
const HOLD_MAX: Duration = Duration::from_secs(600);

/// Longest id of a tunnel that is taken where any is.
const ID_BYTES_MAX: usize = 128;

/// A control plane.
pub(crate) struct Plane {
    options: Options,
    /// The one tunnel: where any is taken, the first whose client asks.
    tunnel_id: OnceLock<String>,
    board: Board,
}

/// What a control plane has to know.
pub(crate) struct Options {
    /// The one tunnel; else the first whose client asks.
    pub(crate) tunnel_id: Option<String>,
    /// What its client must show; else any key.
    pub(crate) api_key: Option<String>,
    /// How long a caller waits for an answer.
    pub(crate) response_timeout: Duration,
    /// For how long a client that is not heard of counts as connected.
    pub(crate) client_last_seen_timeout: Duration,
    /// What it does besides.
    pub(crate) rehearsal: Option<Rehearsal>,
}

/// What says that all is well.
const OK: Status = Status { status: "ok" };

#[derive(Serialize)]
struct Status {
    status: &'static str,
}

#[derive(Serialize)]
struct Polled {
    commands: Vec<Command>,
}

#[derive(Serialize)]
struct Metadata<'a> {
    id: &'a str,
    name: &'static str,
    description: &'static str,
}

/// The body of a POST to `/response`.
#[derive(Deserialize)]
struct Payload {
    request_id: Option<String>,
    resp_json: Option<Box<RawValue>>,
    resp_headers: Option<Headers>,
    resp_code: Option<u16>,
    resp_type: Option<String>,
}

impl Plane {
    /// A plane on which nothing waits. It is reached through the servers that it is given to.
    pub(crate) fn new(options: Options) -> Arc<Plane> {
        let tunnel_id = options.tunnel_id.clone().map_or_else(OnceLock::new, OnceLock::from);
        Arc::new(Plane { options, tunnel_id, board: Board::new() })
    }

    /// The id of the one tunnel; empty while it is not known.
    fn tunnel_id(&self) -> &str {
        self.tunnel_id.get().map_or("", String::as_str)
    }

    /// Tells a line of a rehearsal.
    pub(crate) fn tell(&self, line: &str) {
        if let Some(rehearsal) = &self.options.rehearsal {
            rehearsal.tell(line);
        }
    }

    /// Whether anybody has polled.
    pub(crate) fn was_polled(&self) -> bool {
        self.board.was_polled()
    }

    /// Everything below `/v1/tunnels/`, for which a client has to show its key.
    fn serve_client(&self, rest: &str, request: &Request, responder: &Responder<'_>) -> Result<Reply, Reply> {
        let (id, action) = rest.split_once('/').unwrap_or((rest, ""));
        if let Some(rehearsal) = &self.options.rehearsal {
            rehearsal.strike(if action.is_empty() { "metadata" } else { action }, responder)?;
        }
        let key = request.header("authorization").and_then(|value| value.strip_prefix("Bearer "));
        let wanted = self.options.api_key.as_deref();
        if !key.is_some_and(|key| wanted.map_or(!key.is_empty(), |wanted| key == wanted)) {
            return Err(Reply::refusal(401, "unauthorized", None));
        }
        let is_id = id.len() <= ID_BYTES_MAX && id.starts_with("tunnel_");
        if is_id && self.tunnel_id.set(id.to_owned()).is_ok() {
            self.tell(&format!("tunnel {id}"));
        }
        if id != self.tunnel_id() {
            return Err(Reply::refusal(404, "this local control plane serves another tunnel", None));
        }
        match (action, request.method.as_str()) {
            ("", "GET") => {
                let description = "The local control plane of tunnel-client";
                Ok(Reply::json(200, &Metadata { id, name: "Local tunnel", description }))
            }
            ("poll", "GET") => self.poll(request, responder),
            ("response", "POST") => self.response(request),
            ("" | "poll", _) => Err(Reply::not_allowed("GET")),
            ("response", _) => Err(Reply::not_allowed("POST")),
            _ => Err(Reply::not_found()),
        }
    }

    fn poll(&self, request: &Request, responder: &Responder<'_>) -> Result<Reply, Reply> {
        let limit = number(request, "limit")?.unwrap_or(1);
        if limit > LIMIT_MAX {
            return Err(Reply::refusal(400, "limit must be at most 25", None));
        }
        let hold = number(request, "timeout_ms")?.map(|hold| hold.try_into().unwrap_or(u64::MAX));
        let hold = hold.map_or(HOLD, Duration::from_millis).min(HOLD_MAX);
        let channels = parameters(request, "channel").map(|name| {
            let refusal = || Reply::refusal(400, "invalid channel", Some("invalid_channel_format"));
            Channel::parse(name).ok_or_else(refusal)
        });
        let channels: Vec<Channel> = channels.collect::<Result<_, _>>()?;
        let end = Instant::now() + hold;
        let commands = self.board.poll(&channels, limit, end, || responder.is_gone());
        commands.iter().for_each(|command| self.tell(&format!("out   {command}")));
        let id = match commands.as_slice() {
            [] => "local-poll-empty".to_owned(),
            _ => {
                let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
                format!("local-poll-{}", now.as_nanos())
            }
        };
        Ok(Reply::json(200, &Polled { commands }).with("X-Request-Id", id))
    }

    fn response(&self, request: &Request) -> Result<Reply, Reply> {
        self.board.saw_client();
        let invalid = || Reply::refusal(400, "invalid response payload", None);
        let payload: Payload = serde_json::from_slice(&request.body).map_err(|_| invalid())?;
        let id = payload.request_id.filter(|id| !id.is_empty());
        let id = id.ok_or_else(|| Reply::refusal(400, "missing request_id", None))?;
        let kind = payload.resp_type.as_deref().unwrap_or("jsonrpc_response");
        let kinds = [
            "jsonrpc_response",
            "jsonrpc_notify",
            "notify_ack",
            "session_termination_response",
            "oauth_discovery_response",
        ];
        if !kinds.contains(&kind) {
            return Err(invalid());
        }
        let posted = Posted {
            is_notification: kind == "jsonrpc_notify",
            is_ack: kind == "notify_ack",
            status: payload.resp_code.ok_or_else(invalid)?,
            headers: payload.resp_headers.unwrap_or_default(),
            body: payload.resp_json,
        };
        let token = request.header("x-tunnel-shard-token").unwrap_or_default();
        let body = posted.body.as_ref().map_or(String::new(), |body| shown(body.get()));
        self.tell(&format!("back  {id}  {} {kind}  {body}", posted.status));
        self.board.post(&id, token, posted).map_err(|refused| match refused {
            Refused::Token => Reply::refusal(400, "invalid shard token", None),
            Refused::Unknown | Refused::Full | Refused::TooLarge => {
                Reply::refusal(404, "no such request is pending", Some("pending_request_not_found"))
            }
        })?;
        Ok(Reply::json(200, &OK).with("X-Request-Id", format!("local-response-{id}")))
    }
}

/// Where some clients look for any server.
const SHORT_PATH: &str = "/mcp";

impl Handler for Plane {
    fn handle(&self, request: Request, responder: Responder<'_>) {
        let outcome = if request.path == "/readyz" {
            Ok(Reply::json(200, &OK))
        } else if let Some(rest) = request.path.strip_prefix("/v1/tunnels/") {
            self.serve_client(rest, &request, &responder)
        } else if let Some(rest) = request.path.strip_prefix("/v1/mcp/") {
            return self.serve_caller(rest, &request, responder);
        } else if let Some(id) = request.path.strip_prefix("/.well-known/oauth-protected-resource/v1/mcp/") {
            return self.serve_metadata(id, &request, responder);
        } else if request.path == SHORT_PATH {
            // Clients that post there whatever their URL says.
            return self.serve_caller(self.tunnel_id(), &request, responder);
        } else if request.path.strip_prefix("/.well-known/oauth-protected-resource") == Some(SHORT_PATH) {
            return self.serve_metadata(self.tunnel_id(), &request, responder);
        } else {
            let text = format!("not found; MCP is spoken at /v1/mcp/{}", self.tunnel_id());
            Err(Reply::refusal(404, &text, None))
        };
        outcome.unwrap_or_else(|refusal| refusal).send(responder);
    }
}

/// The values of a parameter. Those that are known here need no escapes, so none is undone.
fn parameters<'a>(request: &'a Request, name: &'a str) -> impl Iterator<Item = &'a str> {
    let pairs =
        request.query.as_deref().unwrap_or_default().split('&').filter_map(|pair| pair.split_once('='));
    pairs.filter(move |(own, _)| *own == name).map(|(_, value)| value)
}

/// A parameter that is a number from 1 on.
fn number(request: &Request, name: &str) -> Result<Option<usize>, Reply> {
    let Some(text) = parameters(request, name).next() else { return Ok(None) };
    let number = text.parse().ok().filter(|number| *number > 0);
    let refusal = || Reply::refusal(400, &format!("{name} must be a number from 1 on"), None);
    number.map(Some).ok_or_else(refusal)
}
