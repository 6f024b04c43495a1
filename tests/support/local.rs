//! `dev proxy` with what it says about itself, and calls through it.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::BOUND;
use super::client::{Builder, Client};
use super::http::Fetched;

/// The path of the MCP endpoint, without a channel.
pub const PATH: &str = "/v1/mcp/tunnel_22222222222222222222222222222222";

/// What callers say they take.
pub const BOTH: &str = "Accept: application/json, text/event-stream\r\n";

/// A running `dev proxy`.
pub struct Local {
    /// The process.
    pub client: Client,
    /// What its URL file says.
    pub connection: Value,
}

/// `dev proxy` without any server.
pub fn bare() -> Builder {
    let builder = Builder::bare("dev").argument("proxy");
    let url_file = builder.path("connection.json");
    builder.flag("url-file", &url_file)
}

impl Local {
    /// In front of one server over HTTP.
    pub fn start(server_url: &str) -> Local {
        Local::with(bare().flag("mcp-server-url", server_url))
    }

    /// Started like this; waits until it is ready.
    pub fn with(builder: Builder) -> Local {
        let path = builder.path("connection.json");
        let mut client = builder.start();
        let end = Instant::now() + BOUND;
        loop {
            if let Ok(text) = std::fs::read_to_string(&path) {
                return Local { client, connection: serde_json::from_str(&text).unwrap() };
            }
            assert!(client.is_running(), "it ended:\n{}", client.log());
            assert!(Instant::now() < end, "no URL file");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// A member of what it says about itself.
    pub fn said(&self, name: &str) -> &str {
        self.connection[name].as_str().unwrap_or_else(|| panic!("no {name} in {}", self.connection))
    }

    /// Host and port of callers.
    pub fn address(&self) -> String {
        let url = self.said("mcp_url").strip_prefix("http://").unwrap();
        url.split('/').next().unwrap().to_owned()
    }

    /// Host and port of the control plane.
    pub fn plane(&self) -> String {
        self.said("control_plane_base_url").strip_prefix("http://").unwrap().to_owned()
    }

    /// POSTs a message to the main channel as an SDK does.
    pub fn post(&self, body: &str) -> Fetched {
        self.post_to("", BOTH, body)
    }

    /// POSTs a message to a channel (`/side`) with these header lines.
    pub fn post_to(&self, channel: &str, head: &str, body: &str) -> Fetched {
        ask(&self.address(), "POST", &format!("{PATH}{channel}"), head, body)
    }

    /// A poll of a client of one's own.
    pub fn poll(&self, query: &str) -> Vec<Value> {
        let answer = self.of_plane("GET", &format!("/poll?{query}"), "", "");
        assert_eq!(answer.status, 200, "{answer:?}");
        json(&answer)["commands"].as_array().unwrap().clone()
    }

    /// A post of a client of one's own.
    pub fn respond(&self, token: &str, body: &Value) -> Fetched {
        self.of_plane("POST", "/response", &format!("X-Tunnel-Shard-Token: {token}\r\n"), &body.to_string())
    }

    /// A request to the control plane with the right key.
    pub fn of_plane(&self, method: &str, path: &str, head: &str, body: &str) -> Fetched {
        let path = format!("/v1/tunnels/{}{path}", self.said("tunnel_id"));
        let head = format!("Authorization: Bearer local-tunnel-client-dev-proxy\r\n{head}");
        ask(&self.plane(), method, &path, &head, body)
    }
}

/// One request over TCP.
pub fn ask(address: &str, method: &str, path: &str, head: &str, body: &str) -> Fetched {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(BOUND)).unwrap();
    talk(stream, address, method, path, head, body)
}

/// One request over a socket file.
pub fn ask_unix(socket: &str, method: &str, path: &str, head: &str, body: &str) -> Fetched {
    let stream = UnixStream::connect(socket).unwrap();
    stream.set_read_timeout(Some(BOUND)).unwrap();
    talk(stream, "localhost", method, path, head, body)
}

/// The text of a request.
pub fn request(host: &str, method: &str, path: &str, head: &str, body: &str) -> String {
    let length = body.len();
    format!(
        "{method} {path} HTTP/1.1\r\nHost: {host}\r\n{head}Content-Length: {length}\r\nConnection: close\r\n\r\n{body}"
    )
}

fn talk(
    mut stream: impl Read + Write,
    host: &str,
    method: &str,
    path: &str,
    head: &str,
    body: &str,
) -> Fetched {
    stream.write_all(request(host, method, path, head, body).as_bytes()).unwrap();
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).unwrap();
    let text = String::from_utf8(bytes).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
    let status = head.split(' ').nth(1).and_then(|s| s.parse().ok()).unwrap_or(0);
    Fetched { status, head: head.to_owned(), body: body.to_owned() }
}

/// The body as JSON.
pub fn json(answer: &Fetched) -> Value {
    serde_json::from_str(&answer.body).unwrap_or_else(|_| panic!("no JSON: {answer:?}"))
}

/// The message of a refusal.
pub fn message(answer: &Fetched) -> String {
    json(answer)["error"]["message"].as_str().unwrap_or_default().to_owned()
}

/// The messages of an event stream that was sent to its end.
pub fn events(answer: &Fetched) -> Vec<Value> {
    assert!(answer.head.contains("Content-Type: text/event-stream"), "{answer:?}");
    assert!(answer.body.ends_with("\r\n0\r\n\r\n"), "{answer:?}");
    let data = answer.body.lines().filter_map(|line| line.strip_prefix("data: "));
    data.map(|text| serde_json::from_str(text).unwrap()).collect()
}
