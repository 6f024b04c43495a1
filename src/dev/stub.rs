//! The stub MCP server: three harmless tools, both families of protocol revisions, no dependencies.
//!
//! It is what newcomers point a tunnel at before they have a server of their own, and what the demo calls.
//! It answers from memory: it opens no connection, reads no file, and what callers send changes nothing but
//! the list of sessions, which has a bound. Requests that are wrong are told so in the words of the protocol.

mod tools;

pub(crate) use tools::SAMPLE_PROMPTS;

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use serde::Serialize;
use serde_json::{Map, Value, json};

use super::server::{Handler, Place, Request, Responder, Server};
use crate::harpoon::mcp_server::{self, Asked, Called, Introduction};
use crate::harpoon::streamable_http::{self, Answer, Asking, Sessions};
use crate::relay::message::Message;
use crate::relay::revision::Era;

use tools::Identity;

/// Where MCP is spoken.
pub(crate) const MCP_PATH: &str = "/mcp";
/// Where a client learns who protects the server. This path, and the same with [`MCP_PATH`] behind it.
pub(crate) const RESOURCE_PATH: &str = "/.well-known/oauth-protected-resource";
/// Where a client learns how to get a token.
pub(crate) const AUTHORIZATION_PATH: &str = "/.well-known/oauth-authorization-server";
/// Where the keys of tokens would be.
const KEYS_PATH: &str = "/jwks";

const INSTRUCTIONS: &str = "A stub for trying out a tunnel: its tools repeat what they are told.";

/// The name of this host behind a socket file, where no name leads anywhere.
const LOCAL: &str = "localhost";

const JSON: (&str, &str) = ("Content-Type", "application/json");

/// A running stub. Dropping it stops it.
pub(crate) struct Stub {
    _server: Server,
    /// Nothing behind a socket file.
    address: Option<SocketAddr>,
}

/// What answers; connections share it.
struct Answering {
    identity: Identity,
    /// The authority of a caller that names none.
    authority: String,
    sessions: Sessions,
    /// Whether the revision without handshakes alone is spoken.
    stateless: bool,
}

impl Stub {
    /// Listens at this place. Port 0 lets the system choose.
    pub(crate) fn start(place: &Place, name: &str, version: &str, stateless: bool) -> io::Result<Stub> {
        let answering = Answering {
            identity: Identity { name: name.to_owned(), version: version.to_owned() },
            authority: match place {
                Place::Tcp(listen) => listen.address.to_string(),
                Place::Unix(_) => LOCAL.to_owned(),
            },
            sessions: Sessions::default(),
            stateless,
        };
        let server = Server::start("mcp-stub", place, Arc::new(answering))?;
        let address = server.address();
        Ok(Stub { _server: server, address })
    }

    /// Scheme, address and port. A stub that listens everywhere is named by the loopback address, where
    /// whoever reads this can reach it.
    pub(crate) fn base_url(&self) -> String {
        let Some(address) = self.address else { return format!("http://{LOCAL}") };
        let ip = match address.ip() {
            IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::from(std::net::Ipv4Addr::LOCALHOST),
            IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::from(std::net::Ipv6Addr::LOCALHOST),
            ip => ip,
        };
        format!("http://{}", SocketAddr::new(ip, address.port()))
    }

    /// Where MCP is spoken.
    pub(crate) fn mcp_url(&self) -> String {
        self.base_url() + MCP_PATH
    }

    /// Where a client learns who protects the server.
    pub(crate) fn resource_url(&self) -> String {
        self.base_url() + RESOURCE_PATH + MCP_PATH
    }

    /// Where a client learns how to get a token.
    pub(crate) fn authorization_url(&self) -> String {
        self.base_url() + AUTHORIZATION_PATH
    }
}

impl Handler for Answering {
    fn handle(&self, request: Request, responder: Responder<'_>) {
        let answer = self.answer(&request);
        let notes = if answer.status == 200 { progress(&request) } else { Vec::new() };
        if !notes.is_empty() {
            let mut events = responder.events(&[]);
            // Who has left wants no more of it.
            if notes.iter().chain([&answer.body]).all(|event| events.send(event)) {
                events.finish();
            }
            return;
        }
        let session = answer.session.as_deref().map(|id| ("Mcp-Session-Id", id));
        let allow = answer.allow.map(|methods| ("Allow", methods));
        let form = Some(JSON).filter(|_| !answer.body.is_empty());
        let headers: Vec<(&str, &str)> = [form, session, allow].into_iter().flatten().collect();
        responder.whole(answer.status, &headers, answer.body.as_bytes());
    }
}

impl Answering {
    fn answer(&self, request: &Request) -> Answer {
        let document = |value: String| match request.method.as_str() {
            "GET" => Answer::of(200, value),
            _ => Answer::not_allowed("GET"),
        };
        let base = || self.base_url(request);
        let path = request.path.as_str();
        match path {
            MCP_PATH => {
                let Request { method, headers, body, .. } = request;
                let refusal = if self.stateless { handshake_refused(request) } else { None };
                refusal.unwrap_or_else(|| {
                    streamable_http::answer(self, &self.sessions, &Asking { method, headers, body })
                })
            }
            AUTHORIZATION_PATH => document(text(&AuthorizationServer::at(&base()))),
            KEYS_PATH => document(json!({"keys": []}).to_string()),
            _ if path.strip_prefix(RESOURCE_PATH).is_some_and(|rest| rest.is_empty() || rest == MCP_PATH) => {
                document(text(&Resource::at(&base())))
            }
            _ => Answer::of(404, json!({"error": "no such path; MCP is spoken at /mcp"}).to_string()),
        }
    }

    /// The address that the caller used, so that what it reads leads back here through any forwarding.
    fn base_url(&self, request: &Request) -> String {
        match request.header("host").filter(|host| !host.is_empty()) {
            Some(host) => format!("http://{host}"),
            None => format!("http://{}", self.authority),
        }
    }
}

impl mcp_server::Server for Answering {
    fn introduction(&self) -> Introduction {
        Introduction { server: self.identity.json(), instructions: INSTRUCTIONS }
    }

    fn tools(&self) -> Value {
        tools::list()
    }

    fn call(&self, name: &str, arguments: &Map<String, Value>) -> Called {
        tools::call(&self.identity, name, arguments)
    }
}

/// What is answered to whoever needs sessions, where there are none.
fn handshake_refused(request: &Request) -> Option<Answer> {
    if request.method != "POST" {
        return Some(Answer::not_allowed("POST"));
    }
    let message = Message::parse(String::from_utf8_lossy(&request.body).into_owned()).ok()?;
    let refusal = match message.era(request.header("mcp-protocol-version")) {
        Era::Legacy => mcp_server::check_modern(Era::Legacy.newest()).err()?,
        Era::Modern => return None,
    };
    Some(Answer::of(refusal.status, refusal.message(message.id().unwrap_or("null"))))
}

/// Two steps of progress before the answer of `echo`, for a caller that asked for them; with any, all is sent
/// as a stream.
fn progress(request: &Request) -> Vec<String> {
    let text = String::from_utf8_lossy(&request.body).into_owned();
    let Some(message) = Message::parse(text).ok().filter(|_| request.path == MCP_PATH) else {
        return Vec::new();
    };
    let Ok(asked) = Asked::read(&message) else { return Vec::new() };
    let is_echo = asked.method == "tools/call" && asked.params.get("name") == Some(&json!("echo"));
    let token = asked.params.get("_meta").and_then(|meta| meta.get("progressToken"));
    let Some(token) = token.filter(|token| is_echo && (token.is_string() || token.is_number())) else {
        return Vec::new();
    };
    let note = |step: u8| {
        json!({"jsonrpc": "2.0", "method": "notifications/progress", "params": {
            "progressToken": token, "progress": step, "total": 2,
        }})
    };
    [1, 2].map(|step| note(step).to_string()).to_vec()
}

/// Metadata of the protected resource (RFC 9728).
#[derive(Serialize)]
struct Resource {
    resource: String,
    authorization_servers: [String; 1],
    scopes_supported: [&'static str; 2],
}

impl Resource {
    fn at(base: &str) -> Resource {
        Resource {
            resource: format!("{base}{MCP_PATH}"),
            authorization_servers: [base.to_owned()],
            scopes_supported: ["read", "write"],
        }
    }
}

/// Metadata of the authorization server (RFC 8414). Only its keys are there: nobody can get a token, and
/// nobody needs one.
#[derive(Serialize)]
struct AuthorizationServer {
    issuer: String,
    authorization_endpoint: String,
    token_endpoint: String,
    jwks_uri: String,
    registration_endpoint: String,
    response_types_supported: [&'static str; 1],
    grant_types_supported: [&'static str; 2],
    token_endpoint_auth_methods_supported: [&'static str; 2],
    code_challenge_methods_supported: [&'static str; 1],
}

impl AuthorizationServer {
    fn at(base: &str) -> AuthorizationServer {
        AuthorizationServer {
            issuer: base.to_owned(),
            authorization_endpoint: format!("{base}/authorize"),
            token_endpoint: format!("{base}/token"),
            jwks_uri: format!("{base}{KEYS_PATH}"),
            registration_endpoint: format!("{base}/register"),
            response_types_supported: ["code"],
            grant_types_supported: ["authorization_code", "refresh_token"],
            token_endpoint_auth_methods_supported: ["none", "client_secret_post"],
            code_challenge_methods_supported: ["S256"],
        }
    }
}

/// These values have no maps with keys that are no text, so they always have a text.
fn text(value: &impl Serialize) -> String {
    serde_json::to_string(value).unwrap_or_default()
}
