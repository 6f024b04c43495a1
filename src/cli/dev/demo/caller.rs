//! The client of the demo: as much of MCP over Streamable HTTP as a product needs to call one tool.
//!
//! It speaks to addresses of this host alone, without proxy and without anybody's key, through the same
//! connections as everything else. It fails with an error of these; what a server says is not its concern.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use ureq::http::{HeaderMap, HeaderValue, Method, header};

use crate::config::{HttpServer, Network, Roots};
use crate::mcp::http::probe::first_answer;
use crate::mcp::http::reply::{Content, content};
use crate::net::{Client, Error, Net, Reply};
use crate::relay::mcp_headers;
use crate::relay::message::Message;
use crate::relay::revision::{self, CLAIM, Era, VERSION_HEADER};

const SESSION: &str = "mcp-session-id";

/// Largest answer that is read; servers describe their tools at length.
const ANSWER_BYTES_MAX: usize = 4 * 1024 * 1024;

/// How long one answer may take: servers that are fetched before they start take their time.
const ANSWER_TIME: Duration = Duration::from_secs(60);

/// A client that has an address.
pub(super) struct Caller {
    net: Net,
    client: Arc<Client>,
    server: HttpServer,
    session: Option<HeaderValue>,
    /// Negotiated; empty before.
    version: String,
    count: u32,
}

/// What came back.
pub(super) struct Told {
    pub(super) status: u16,
    /// Null when it was no JSON.
    pub(super) message: Value,
    pub(super) took: Duration,
}

impl Caller {
    /// A client of the endpoint at this URL. Nothing is dialled yet.
    pub(super) fn new(url: &str) -> Result<Caller, String> {
        let bytes = 2 * ANSWER_BYTES_MAX;
        let network = Network { roots: Roots::None, body_budget_bytes: bytes, ..Network::default() };
        let server = HttpServer::at(url)?;
        let net = Net::new(&network).map_err(|error| error.to_string())?;
        let client = net.mcp(&server, &None, 1).map_err(|error| error.to_string())?;
        Ok(Caller { net, client: Arc::new(client), server, session: None, version: String::new(), count: 0 })
    }

    /// Ends what is being waited for when it is told to shut down.
    pub(super) fn connections(&self) -> Arc<Client> {
        Arc::clone(&self.client)
    }

    /// Sends a request and waits for its answer. From the moment at which the version is the modern one, it
    /// brings everything that such a request must.
    pub(super) fn ask(&mut self, method: &str, mut params: Value) -> Result<Told, Error> {
        self.count += 1;
        if self.version == Era::Modern.newest() {
            if let Some(params) = params.as_object_mut() {
                let meta = json!({
                    CLAIM: Era::Modern.newest(),
                    "io.modelcontextprotocol/clientCapabilities": {},
                    "io.modelcontextprotocol/clientInfo": client_info(),
                });
                params.insert("_meta".into(), meta);
            }
        }
        self.send(&json!({"jsonrpc": "2.0", "id": self.count, "method": method, "params": params}))
    }

    /// Sends a notification; its answer has no message.
    pub(super) fn tell(&mut self, method: &str) -> Result<Told, Error> {
        self.send(&json!({"jsonrpc": "2.0", "method": method}))
    }

    /// The revision to speak from now on.
    pub(super) fn speak(&mut self, version: &str) {
        version.clone_into(&mut self.version);
    }

    fn send(&mut self, message: &Value) -> Result<Told, Error> {
        let text = message.to_string();
        let mut headers = HeaderMap::new();
        headers.insert(header::ACCEPT, HeaderValue::from_static("application/json, text/event-stream"));
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if let Some(session) = &self.session {
            headers.insert(SESSION, session.clone());
        }
        let version = HeaderValue::from_str(&self.version).ok();
        let version = version.filter(|_| revision::has_header(&self.version));
        if let Some(version) = version {
            headers.insert(VERSION_HEADER, version);
        }
        if let Ok(message) = Message::parse(text.clone()) {
            mcp_headers::complete(&mut headers, &message);
        }
        let begun = Instant::now();
        let deadline = begun + ANSWER_TIME;
        let reply = self.client.send(crate::net::Request {
            method: Method::POST,
            uri: &self.server.url,
            headers,
            body: Some(&[text.as_bytes()]),
            deadline,
            replay_when_stale: false,
        })?;
        let status = reply.status;
        if let Some(session) = reply.headers.get(SESSION) {
            self.session = Some(session.clone());
        }
        let text = self.text(reply, deadline)?;
        let took = begun.elapsed();
        // Whatever is not JSON is no answer; what it was does not matter.
        Ok(Told { status, message: serde_json::from_str(&text).unwrap_or_default(), took })
    }

    /// The body, or the first event that is no notification.
    fn text(&self, reply: Reply, deadline: Instant) -> Result<String, Error> {
        if content(&reply) != Content::Events {
            let body = reply.read_all(ANSWER_BYTES_MAX, self.net.budget(), deadline)?;
            return Ok(String::from_utf8_lossy(&body.data).into_owned());
        }
        first_answer(reply, self.net.budget(), ANSWER_BYTES_MAX, deadline)
    }
}

/// Who calls, for the server's log.
pub(super) fn client_info() -> Value {
    json!({"name": "tunnel-demo", "version": crate::VERSION})
}
