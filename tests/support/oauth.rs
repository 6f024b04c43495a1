//! A protected MCP server whose pages a test writes, with a client over it.

use std::sync::Arc;

use serde_json::{Value, json};

use super::client::{Builder, Client};
use super::command::Command;
use super::http::{Fetched, Request};
use super::mcp::answer;
use super::plane::{Plane, Posted};
use super::reply::Reply;
use super::server::Server;

/// Where metadata is at the server's own path, and at the root.
pub const OWN: &str = "/.well-known/oauth-protected-resource/mcp";
/// The latter.
pub const ROOT: &str = "/.well-known/oauth-protected-resource";
/// Where an authorization server without a path has its metadata.
pub const SERVER: &str = "/.well-known/oauth-authorization-server";

/// A client over a server at `/mcp`. Fields drop in order: the client first.
pub struct Site {
    /// The client.
    pub client: Client,
    /// The server, with its request log.
    pub server: Server,
    /// The control plane.
    pub plane: Plane,
}

/// The origin that a request was sent to.
pub fn origin(request: &Request) -> String {
    format!("http://{}", request.header("host").unwrap_or_default())
}

/// Whether a request belongs to discovery: it carries no message.
pub fn is_search(request: &Request) -> bool {
    request.body.is_empty() && matches!(request.method.as_str(), "GET" | "POST")
}

/// The metadata of the server at `origin`, whose authorization server is itself.
pub fn resource(origin: &str) -> Reply {
    let document = json!({"resource": format!("{origin}/mcp"), "authorization_servers": [origin]});
    Reply::json(200, document.to_string())
}

/// A 401 that says where the metadata is.
pub fn challenge(url: &str) -> Reply {
    let value = format!("Basic realm=\"a, b\", Bearer error=\"x\", resource_metadata=\"{url}\"");
    Reply::status(401).header("WWW-Authenticate", &value)
}

impl Site {
    /// `page` answers what carries no message, or leaves it to a 404; messages get the usual answers.
    pub fn start(
        page: impl Fn(&Request) -> Option<Reply> + Send + Sync + 'static,
        adjust: impl FnOnce(Builder) -> Builder,
    ) -> Site {
        let script = move |request: &Request| match is_search(request) {
            true => page(request).unwrap_or_else(|| Reply::status(404)),
            false if request.path() == "/mcp" => answer(request),
            false => page(request).unwrap_or_else(|| Reply::status(404)),
        };
        let server = Server::start(None, Arc::new(script));
        let plane = Plane::start();
        let builder = Builder::run(&plane.server.origin(), &(server.origin() + "/mcp"));
        let client = adjust(builder).start();
        Site { client, server, plane }
    }

    /// The verdict once all searching at start has ended.
    pub fn verdict(&mut self) -> Fetched {
        let settled = |a: &Fetched| !a.body.contains("pending") && !a.body.contains("control plane");
        self.client.wait_get("/readyz", settled)
    }

    /// Sends a command and waits for its answer.
    pub fn send(&self, command: &Command) -> Posted {
        self.plane.queue(command);
        self.plane.wait_answer(command)
    }

    /// Asks for discovery once the start is over, and tells the answer and what the server was asked for it.
    pub fn discover(&mut self) -> (Posted, Vec<Request>) {
        self.discover_by(&Command::of_type("oauth_discovery"))
    }

    /// The same with a command of one's own.
    pub fn discover_by(&mut self, command: &Command) -> (Posted, Vec<Request>) {
        self.verdict();
        self.wait_settled();
        let before = self.searches().len();
        let answer = self.send(command);
        (answer, self.searches().split_off(before))
    }

    /// Waits until the first search has ended and what it found was registered.
    pub fn wait_settled(&self) {
        self.client.wait_log(|line| {
            line.contains("oauth discovery succeeded") || line.contains("oauth discovery failed")
        });
    }

    /// All requests of discovery so far.
    pub fn searches(&self) -> Vec<Request> {
        self.server.requests().into_iter().filter(is_search).collect()
    }

    /// The structured content of a Harpoon tool; null when it failed.
    pub fn tool(&self, name: &str, arguments: Value) -> Value {
        let params = json!({"name": name, "arguments": arguments});
        let call = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params});
        let answer = self.send(&Command::rpc(call).channel("harpoon"));
        answer.payload()["result"]["structuredContent"].clone()
    }

    /// The labels that Harpoon lists now.
    pub fn labels(&self) -> Vec<String> {
        let listed = self.tool("list_targets", json!({}));
        let targets = listed["targets"].as_array().cloned().unwrap_or_default();
        targets.iter().map(|one| one["label"].as_str().unwrap().to_owned()).collect()
    }
}

/// What was asked for, as `METHOD target`.
pub fn lines(requests: &[Request]) -> Vec<String> {
    requests.iter().map(|r| format!("{} {}", r.method, r.target)).collect()
}
