//! The endpoints for programs of this host, over the listener: who may ask, and how.

use std::io::Write;
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::sync::Arc;

use serde_json::{Value, json};

use super::{Harbour, yaml};
use crate::support::BOUND;
use crate::support::client::Builder;
use crate::support::gate::Gate;
use crate::support::http::{Fetched, exchange, fetch};
use crate::support::plane::Plane;
use crate::support::reply::Reply;
use crate::support::rig::Rig;
use crate::support::server::Server;
use crate::support::temp::TempDir;

const TARGET: &str = "- {label: a, url: ORIGIN/a}";
const TOKEN: &str = "tok-0123456789abcdef";
const MCP: &str = "/harpoon/mcp";
const JSON: &str = "Content-Type: application/json\r\nAccept: application/json, text/event-stream\r\n";

fn offered(builder: Builder) -> Builder {
    let token = builder.path("token");
    std::fs::write(&token, format!("{TOKEN}\n")).unwrap();
    builder
        .flag("harpoon.additional-transport", "http-streamable")
        .flag("harpoon.transport-token", &format!("file:{token}"))
}

fn harbour() -> Harbour {
    Harbour::with(TARGET, offered, |_| Reply::body(200, "text/plain", "here"))
}

/// One whose endpoint answers when the gate is open.
fn gated() -> (Harbour, Arc<Gate>) {
    let gate = Arc::new(Gate::new());
    let behind = Arc::clone(&gate);
    let script = move |_: &_| Reply::body(200, "text/plain", "late").behind(&behind);
    (Harbour::with(TARGET, offered, script), gate)
}

fn connect(address: &str) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(BOUND)).unwrap();
    stream
}

/// A request with a body, as a program with the token sends it.
fn text(head: &str, body: &str) -> String {
    let length = body.len();
    format!(
        "POST {MCP} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {TOKEN}\r\n{head}Content-Length: {length}\r\n\r\n{body}"
    )
}

fn post(address: &str, head: &str, body: &Value) -> Fetched {
    exchange(connect(address), &text(&format!("{JSON}{head}"), &body.to_string())).unwrap()
}

fn request(method: &str, params: &Value) -> Value {
    json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params})
}

fn hello(version: &str) -> Value {
    let client = json!({"name": "t", "version": "1"});
    request("initialize", &json!({"protocolVersion": version, "capabilities": {}, "clientInfo": client}))
}

fn call() -> Value {
    request("tools/call", &json!({"name": "call_target", "arguments": {"label": "a", "method": "GET"}}))
}

/// The header that names a new session.
fn open(address: &str) -> String {
    let opened = post(address, "", &hello("2025-11-25"));
    assert_eq!(opened.status, 200, "{}", opened.body);
    assert_eq!(opened.json()["result"]["serverInfo"]["name"], "harpoon");
    format!("Mcp-Session-Id: {}\r\n", opened.header("mcp-session-id").unwrap())
}

#[test]
fn a_program_with_the_token_calls_in_a_session() {
    let mut harbour = harbour();
    let address = harbour.rig.client.address();
    let session = open(&address);
    let note = json!({"jsonrpc": "2.0", "method": "notifications/initialized"});
    assert_eq!(post(&address, &session, &note).status, 202);
    let listed = post(&address, &session, &request("tools/list", &json!({}))).json();
    assert_eq!(listed["result"]["tools"].as_array().unwrap().len(), 3);
    let called = post(&address, &session, &call());
    assert_eq!(called.header("content-type"), Some("application/json"));
    assert_eq!(called.json()["result"]["structuredContent"]["body_size_bytes"], 4, "{}", called.body);
    let line = harbour.rig.client.wait_log(|line| line.contains("harpoon request completed"));
    assert!(line.contains("\"request_id\":\"local-"), "{line}");
    let head = |more: &str| format!("Host: localhost\r\nAuthorization: Bearer {TOKEN}\r\n{more}");
    let ended = fetch(&address, "DELETE", MCP, &head(&session)).unwrap();
    assert_eq!(ended.status, 204);
    assert_eq!(post(&address, &session, &call()).status, 404);
    assert_eq!(fetch(&address, "DELETE", MCP, &head(&session)).unwrap().status, 404);
    assert_eq!(harbour.paths(), ["/a"]);
    assert!(!harbour.rig.client.log().contains(TOKEN));
}

/// NEW-065.
#[test]
fn the_newest_revision_needs_no_session() {
    let mut harbour = harbour();
    let address = harbour.rig.client.address();
    let meta = json!({
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientCapabilities": {},
    });
    let mut ask = call();
    ask["params"]["_meta"] = meta;
    let head = "MCP-Protocol-Version: 2026-07-28\r\nMcp-Method: tools/call\r\nMcp-Name: call_target\r\n";
    let called = post(&address, head, &ask).json();
    assert_eq!(called["result"]["structuredContent"]["status_code"], 200, "{called}");
    assert_eq!(called["result"]["resultType"], "complete");
    // What a proxy on the way would have believed differs from what is asked.
    let differs = head.replace("call_target", "list_targets");
    assert_eq!(post(&address, &differs, &ask).status, 400);
}

#[test]
fn nobody_else_is_served() {
    let mut harbour = harbour();
    let address = harbour.rig.client.address();
    let body = call().to_string();
    let good = text(JSON, &body);
    let status = |request: &str| exchange(connect(&address), request).unwrap().status;
    for (from, to, wanted) in [
        (format!("Authorization: Bearer {TOKEN}\r\n"), String::new(), 401),
        (TOKEN.to_owned(), format!("{TOKEN}x"), 401),
        (TOKEN.to_owned(), TOKEN.trim_end_matches('f').to_owned(), 401),
        ("Bearer".to_owned(), "Basic".to_owned(), 401),
        ("Host: localhost".to_owned(), "Host: evil.example".to_owned(), 403),
        (
            "Host: localhost\r\n".to_owned(),
            "Host: localhost\r\nOrigin: http://evil.example\r\n".to_owned(),
            403,
        ),
        ("application/json\r\nAccept".to_owned(), "text/plain\r\nAccept".to_owned(), 415),
        (", text/event-stream".to_owned(), String::new(), 400),
        ("application/json, ".to_owned(), String::new(), 400),
        ("Content-Length: ".to_owned(), "Content-Length: 9999999".to_owned(), 413),
        ("Content-Length: ".to_owned(), "Content-Length: 1\r\nContent-Length: ".to_owned(), 400),
        ("Content-Length".to_owned(), "Transfer-Encoding: chunked\r\nX".to_owned(), 411),
        // No session, and one that nobody opened.
        (String::new(), String::new(), 400),
        (JSON.to_owned(), format!("{JSON}Mcp-Session-Id: guessed\r\n"), 404),
        (JSON.to_owned(), format!("{JSON}MCP-Protocol-Version: 1999-01-01\r\n"), 400),
        (format!("POST {MCP}"), format!("GET {MCP}"), 405),
        (format!("POST {MCP}"), format!("PUT {MCP}"), 405),
        (format!("POST {MCP}"), format!("POST {MCP}/"), 404),
    ] {
        assert_eq!(status(&good.replacen(&from, &to, 1)), wanted, "{from:?} -> {to:?}");
    }
    let unasked = exchange(connect(&address), &good.replace(&format!("Bearer {TOKEN}"), "x")).unwrap();
    assert_eq!(unasked.header("www-authenticate"), Some("Bearer"));
    assert_eq!(harbour.paths(), Vec::<String>::new());
}

/// A call waits on a thread of its own; health and readiness do not.
#[test]
fn calls_have_a_bound_and_hold_nobody_up() {
    let (mut harbour, gate) = gated();
    let address = harbour.rig.client.address();
    let session = open(&address);
    let head = format!("{JSON}{session}");
    let calls: Vec<TcpStream> = (0..8)
        .map(|_| {
            let mut stream = connect(&address);
            stream.write_all(text(&head, &call().to_string()).as_bytes()).unwrap();
            stream
        })
        .collect();
    harbour.server.wait_requests(8, |_| true);
    assert_eq!(post(&address, &session, &call()).status, 503);
    assert_eq!(harbour.rig.client.get("/healthz").status, 200);
    gate.open();
    for stream in calls {
        let called = exchange(stream, "").unwrap();
        assert_eq!(called.json()["result"]["structuredContent"]["body_size_bytes"], 4, "{}", called.body);
    }
    assert_eq!(post(&address, &session, &call()).status, 200);
}

/// Who breaks off during a call or in the middle of a body leaves the place to others.
#[test]
fn callers_that_leave_take_no_place() {
    let (mut harbour, gate) = gated();
    let address = harbour.rig.client.address();
    let session = open(&address);
    for _ in 0..20 {
        let mut stream = connect(&address);
        let whole = text(JSON, &call().to_string());
        stream.write_all(&whole.as_bytes()[..whole.len() - 5]).unwrap();
    }
    let waits = std::thread::scope(|scope| {
        let waits = scope.spawn(|| {
            // The listener learns of those that left only by looking at them again, so the first may be refused.
            loop {
                let answer = post(&address, &session, &call());
                if answer.status != 503 {
                    return answer.status;
                }
            }
        });
        harbour.server.wait_requests(1, |_| true);
        gate.open();
        waits.join().unwrap()
    });
    assert_eq!(waits, 200);
}

#[test]
fn a_stop_ends_local_calls_too() {
    let script = |_: &_| Reply::silence();
    let mut harbour = Harbour::with(TARGET, offered, script);
    let address = harbour.rig.client.address();
    let session = open(&address);
    let mut stream = connect(&address);
    stream.write_all(text(&format!("{JSON}{session}"), &call().to_string()).as_bytes()).unwrap();
    harbour.server.wait_requests(1, |_| true);
    assert!(harbour.rig.client.stop().success());
}

/// The mode of the file keeps others out, so no token is needed.
#[test]
fn a_socket_file_needs_no_token() {
    let directory = TempDir::new();
    let socket = directory.join("health.sock");
    let server = Server::start(None, Arc::new(|_: &_| Reply::body(200, "text/plain", "here")));
    let plane = Plane::start();
    let settings = yaml(&TARGET.replace("ORIGIN", &server.origin()));
    let builder = Builder::run(&plane.server.origin(), "http://127.0.0.1:1/mcp")
        .yaml(&settings)
        .argument("--harpoon.allow-plaintext-http")
        .flag("health.unix-socket", socket.to_str().unwrap())
        .flag("harpoon.additional-transport", "http-streamable");
    let _client = builder.start();
    plane.wait_polls(1);
    let send = |head: &str, body: &Value| {
        let stream = UnixStream::connect(&socket).unwrap();
        stream.set_read_timeout(Some(BOUND)).unwrap();
        let whole = text(&format!("{JSON}{head}"), &body.to_string());
        exchange(stream, &whole.replace(&format!("Authorization: Bearer {TOKEN}\r\n"), "")).unwrap()
    };
    let opened = send("", &hello("2025-06-18"));
    let session = format!("Mcp-Session-Id: {}\r\n", opened.header("mcp-session-id").unwrap());
    assert_eq!(send(&session, &call()).json()["result"]["structuredContent"]["status_code"], 200);
}

/// Not asked for: not there. Asked for where nothing can be called: said so.
#[test]
fn it_is_offered_only_when_asked_for() {
    let mut harbour = Harbour::start(TARGET, |_| Reply::status(204));
    let address = harbour.rig.client.address();
    assert_eq!(post(&address, "", &hello("2025-11-25")).status, 404);
    let plane = Plane::start();
    let mut builder = Builder::without_server(&plane.server.origin()).flag("mcp.command", "/bin/cat");
    builder = offered(builder);
    let mut client = builder.start();
    client.wait_log(|line| line.contains("harpoon.additional-transport has no effect"));
    let address = client.address();
    assert_eq!(post(&address, "", &hello("2025-11-25")).status, 404);
}

#[test]
fn other_machines_are_not_offered_it() {
    let rig = Rig::start();
    let builder = offered(Builder::run(&rig.plane.server.origin(), &rig.mcp.url()));
    let (code, output) = builder.set("health.listen-addr", "0.0.0.0:0").finish();
    assert_eq!(code, Some(1), "{output}");
    assert!(output.contains("harpoon.additional-transport needs a listener of this host alone"), "{output}");
}
