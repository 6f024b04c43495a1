//! A Streamable HTTP MCP server that answers everything, unless a test scripts it.

use std::collections::{HashMap, VecDeque};
use std::path::Path;
use std::sync::{Arc, Mutex};

use rustls::ServerConfig;

use super::http::Request;
use super::reply::{Reply, id_text, raw_member, result_for};
use super::server::{Script, Server};

/// A script may answer a request itself or leave it to the default.
pub type Hook = Arc<dyn Fn(&Request) -> Option<Reply> + Send + Sync>;

/// An MCP server on loopback.
pub struct Mcp {
    /// The server beneath, with its request log.
    pub server: Server,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    by_method: Mutex<HashMap<String, VecDeque<Reply>>>,
    hook: Mutex<Option<Hook>>,
}

impl Mcp {
    /// Plain HTTP.
    pub fn start() -> Mcp {
        Mcp::start_with(None)
    }

    /// TLS, with client certificates when the configuration asks for them.
    pub fn start_with(tls: Option<Arc<ServerConfig>>) -> Mcp {
        let shared = Arc::default();
        let server = Server::start(tls, script(&shared));
        Mcp { server, shared }
    }

    /// On a socket file.
    pub fn start_unix(path: &Path) -> Mcp {
        let shared = Arc::default();
        let server = Server::start_unix(path, script(&shared));
        Mcp { server, shared }
    }

    /// The URL that a client is given.
    pub fn url(&self) -> String {
        self.server.origin() + "/mcp"
    }

    /// The next message with this JSON-RPC method gets this; several are used in order.
    /// For requests without a body the HTTP method (`GET`, `DELETE`) stands for it.
    pub fn reply(&self, method: &str, reply: Reply) {
        let mut scripts = self.shared.by_method.lock().unwrap();
        scripts.entry(method.to_owned()).or_default().push_back(reply);
    }

    /// Asks this for every request that has no scripted reply and is not the client's own probe.
    pub fn hook(&self, hook: impl Fn(&Request) -> Option<Reply> + Send + Sync + 'static) {
        *self.shared.hook.lock().unwrap() = Some(Arc::new(hook));
    }

    /// All requests that commands caused, without the client's own probes.
    pub fn calls(&self) -> Vec<Request> {
        self.server.requests().into_iter().filter(|r| !is_probe(r)).collect()
    }

    /// All requests with this JSON-RPC method, or HTTP method when they have no body.
    pub fn calls_of(&self, method: &str) -> Vec<Request> {
        self.calls().into_iter().filter(|r| key(r) == method).collect()
    }

    /// Waits for `count` requests of this method and returns them.
    pub fn wait_calls(&self, method: &str, count: usize) -> Vec<Request> {
        self.server.wait_requests(count, |r| !is_probe(r) && key(r) == method)
    }
}

/// What a scripted reply is chosen by.
fn key(request: &Request) -> String {
    let method = request.rpc_method();
    if !method.is_empty() {
        method
    } else if request.method == "POST" {
        // A JSON-RPC response has no method.
        "response".to_owned()
    } else {
        request.method.clone()
    }
}

/// The client's own start-up and readiness traffic.
pub fn is_probe(request: &Request) -> bool {
    let message = request.json();
    let name = message["params"]["clientInfo"]["name"].as_str().unwrap_or_default();
    match request.method.as_str() {
        "POST" if request.body.is_empty() => true,
        "POST" => match request.rpc_method().as_str() {
            "server/discover" | "notifications/initialized" => true,
            "initialize" => name.starts_with("tunnel-client"),
            _ => false,
        },
        "GET" => request.header("last-event-id").is_none(),
        _ => false,
    }
}

fn script(shared: &Arc<Shared>) -> Script {
    let shared = Arc::clone(shared);
    Arc::new(move |request| {
        // What is scripted is for calls and the probe; the search for OAuth metadata gets the usual answer.
        let searches = request.body.is_empty() && request.header("accept") == Some("application/json");
        let mut scripts = shared.by_method.lock().unwrap();
        let scripted = scripts.get_mut(&key(request)).filter(|_| !searches).and_then(VecDeque::pop_front);
        drop(scripts);
        if let Some(reply) = scripted {
            return reply;
        }
        let hook = shared.hook.lock().unwrap().clone();
        let own = hook.filter(|_| !is_probe(request)).and_then(|hook| hook(request));
        own.unwrap_or_else(|| answer(request))
    })
}

/// What a plain, friendly, sessionless legacy server says.
pub fn answer(request: &Request) -> Reply {
    match request.method.as_str() {
        "POST" => {}
        "DELETE" => return Reply::status(204),
        _ => return Reply::status(405),
    }
    let message = request.json();
    if message.get("method").is_none() || message.get("id").is_none() {
        return Reply::status(202);
    }
    let params = raw_member(&request.body, "params").unwrap_or_else(|| "null".to_owned());
    match request.rpc_method().as_str() {
        "initialize" => {
            let wanted = message["params"]["protocolVersion"].as_str().unwrap_or("2025-06-18");
            let info = r#""capabilities":{},"serverInfo":{"name":"scripted","version":"1"}"#;
            result_for(&request.body, &format!(r#"{{"protocolVersion":"{wanted}",{info}}}"#))
        }
        "server/discover" => {
            let id = id_text(&request.body);
            let error = r#"{"code":-32601,"message":"Method not found"}"#;
            Reply::json(200, format!(r#"{{"jsonrpc":"2.0","id":{id},"error":{error}}}"#))
        }
        "ping" => result_for(&request.body, "{}"),
        "tools/list" => result_for(&request.body, r#"{"tools":[]}"#),
        _ => result_for(&request.body, &format!(r#"{{"echo":{params}}}"#)),
    }
}
