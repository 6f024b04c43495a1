//! `dev mcp-stub`, and the stub inside `run`: a server as its clients see it.

mod embedded;

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use super::support::client::{Builder, Client};
use super::support::command::Command;
use super::support::http::{Fetched, fetch};
use super::support::local::{ask, events};
use super::support::plane::Plane;
use super::support::temp::TempDir;

/// Every member that a request of the newer era must have.
const META: &str = r#""_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{}}"#;

struct Stub {
    client: Client,
    address: String,
}

impl Stub {
    fn start() -> Stub {
        Stub::with(Builder::bare("dev").argument("mcp-stub"))
    }

    fn with(builder: Builder) -> Stub {
        let client = builder.start();
        let line = client.wait_log(|line| line.contains("MCP URL: "));
        let address = line.split("http://").nth(1).unwrap().strip_suffix("/mcp").unwrap().to_owned();
        Stub { client, address }
    }

    fn post(&self, head: &str, body: &str) -> Fetched {
        ask(&self.address, "POST", "/mcp", &format!("Content-Type: application/json\r\n{head}"), body)
    }

    /// Opens a session and returns its header line.
    fn open(&self, version: &str) -> String {
        let params = format!(
            r#"{{"protocolVersion":"{version}","capabilities":{{}},"clientInfo":{{"name":"t","version":"1"}}}}"#
        );
        let body = format!(r#"{{"jsonrpc":"2.0","id":0,"method":"initialize","params":{params}}}"#);
        let answer = self.post("", &body);
        assert_eq!((answer.status, &answer.json()["result"]["protocolVersion"]), (200, &json!(version)));
        format!("Mcp-Session-Id: {}\r\n", answer.header("mcp-session-id").unwrap())
    }

    /// A call of the newer era with the headers that belong to it.
    fn modern(&self, method: &str, name: &str, params: &str) -> Fetched {
        let name = if name.is_empty() { String::new() } else { format!("Mcp-Name: {name}\r\n") };
        self.post(&modern_head(method, &name), &request(method, &format!("{params}{META}")))
    }
}

fn modern_head(method: &str, further: &str) -> String {
    format!("MCP-Protocol-Version: 2026-07-28\r\nMcp-Method: {method}\r\n{further}")
}

fn request(method: &str, params: &str) -> String {
    format!(r#"{{"jsonrpc":"2.0","id":"a 1","method":"{method}","params":{{{params}}}}}"#)
}

fn call(name: &str, arguments: &str) -> String {
    format!(r#""name":"{name}","arguments":{arguments}"#)
}

fn code(answer: &Fetched) -> (u16, i64) {
    (answer.status, answer.json()["error"]["code"].as_i64().unwrap_or_default())
}

#[test]
fn a_session_is_opened_used_and_ended() {
    let stub = Stub::start();
    let session = stub.open("2025-11-25");
    let head = format!("{session}MCP-Protocol-Version: 2025-11-25\r\n");
    let told = stub.post(&head, r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#);
    assert_eq!((told.status, told.body.as_str()), (202, ""));
    assert_eq!(
        stub.post(&head, &request("ping", "")).json(),
        json!({"jsonrpc":"2.0","id":"a 1","result":{}})
    );
    let list = stub.post(&head, &request("tools/list", "")).json();
    let tools = list["result"]["tools"].as_array().unwrap();
    let names: Vec<&str> = tools.iter().filter_map(|tool| tool["name"].as_str()).collect();
    assert_eq!(names, ["server_info", "echo", "uppercase"]);
    assert!(tools.iter().all(|tool| tool["annotations"]["readOnlyHint"] == true), "{list}");
    assert_eq!(tools[1]["inputSchema"]["required"], json!(["input"]));
    let echo = stub.post(&head, &request("tools/call", &call("echo", r#"{"input":"grüße"}"#))).json();
    let result = json!({
        "content": [{"type": "text", "text": "grüße"}], "structuredContent": {"echoed": "grüße"}, "isError": false,
    });
    assert_eq!(echo, json!({"jsonrpc": "2.0", "id": "a 1", "result": result}));
    let ended = fetch(&stub.address, "DELETE", "/mcp", &format!("Host: {}\r\n{head}", stub.address)).unwrap();
    assert_eq!(ended.status, 204);
    assert_eq!(stub.post(&head, &request("ping", "")).status, 404);
}

#[test]
fn each_revision_is_negotiated_and_an_unknown_one_yields_the_newest() {
    let stub = Stub::start();
    for version in ["2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25"] {
        stub.open(version);
    }
    let unknown = stub.post("", &request("initialize", r#""protocolVersion":"2031-01-01""#));
    assert_eq!(unknown.json()["result"]["protocolVersion"], "2025-11-25");
    assert_eq!(code(&stub.post("", &request("initialize", ""))), (200, -32602));
}

#[test]
fn the_newer_era_needs_no_session() {
    let stub = Stub::start();
    let known = stub.modern("server/discover", "", "").json();
    assert_eq!(known["result"]["supportedVersions"], json!(["2026-07-28"]));
    assert_eq!(known["result"]["resultType"], "complete");
    let list = stub.modern("tools/list", "", "");
    assert_eq!(list.json()["result"]["cacheScope"], "private");
    assert!(list.header("mcp-session-id").is_none());
    let params = call("uppercase", r#"{"input":"quiet"}"#) + ",";
    let result = &stub.modern("tools/call", "=?base64?dXBwZXJjYXNl?=", &params).json()["result"];
    assert_eq!(result["structuredContent"], json!({"uppercase": "QUIET"}));
    assert_eq!(result["resultType"], "complete");
    assert!(result.get("ttlMs").is_none(), "{result}");
    let info = stub.modern("tools/call", "server_info", &(call("server_info", "{}") + ",")).json();
    assert_eq!(info["result"]["structuredContent"]["name"], "mcp-stub");
    assert_eq!(info["result"]["_meta"]["io.modelcontextprotocol/serverInfo"]["version"], "0.1.0");
    let note = stub
        .post("", &format!(r#"{{"jsonrpc":"2.0","method":"notifications/cancelled","params":{{{META}}}}}"#));
    assert_eq!(note.status, 202);
}

#[test]
fn headers_and_body_of_the_newer_era_must_agree() {
    let stub = Stub::start();
    let params = call("echo", r#"{"input":"x"}"#) + "," + META;
    let body = request("tools/call", &params);
    let good = modern_head("tools/call", "Mcp-Name: echo\r\n");
    assert_eq!(stub.post(&good, &body).status, 200);
    for bad in [
        String::new(),
        modern_head("tools/call", ""),
        modern_head("tools/call", "Mcp-Name: uppercase\r\n"),
        modern_head("tools/list", "Mcp-Name: echo\r\n"),
        good.replace("2026-07-28", "2025-11-25"),
    ] {
        let answer = stub.post(&bad, &body);
        assert_eq!((code(&answer), &answer.json()["id"]), ((400, -32020), &json!("a 1")), "{bad}");
    }
    let newer = |text: &str| text.replace("2026-07-28", "2027-01-01");
    let answer = stub.post(&newer(&good), &newer(&body));
    assert_eq!(code(&answer), (400, -32022));
    let data = json!({"supported": ["2026-07-28"], "requested": "2027-01-01"});
    assert_eq!(answer.json()["error"]["data"], data);
    let lacking = body.replace("clientCapabilities", "other");
    assert_eq!(code(&stub.post(&good, &lacking)), (400, -32602));
    assert_eq!(code(&stub.post(&good, &request("tools/call", ""))), (400, -32602));
    let bare = stub.post(&modern_head("initialize", ""), &request("initialize", r#""protocolVersion":"x""#));
    assert_eq!(code(&bare), (400, -32020));
}

#[test]
fn mistakes_are_told_in_the_words_of_the_protocol() {
    let stub = Stub::start();
    let old = stub.open("2025-06-18");
    let new = stub.open("2025-11-25");
    let bad_call = request("tools/call", &call("echo", r#"{"inptu":"x"}"#));
    assert_eq!(code(&stub.post(&old, &bad_call)), (200, -32602));
    assert_eq!(stub.post(&new, &bad_call).json()["result"]["isError"], true);
    for (head, body, wanted) in [
        (&new, "{", (400, -32700)),
        (&new, "[]", (400, -32600)),
        (&new, r#"{"jsonrpc":"2.0","id":1}"#, (400, -32600)),
        (&new, r#"{"jsonrpc":"2.0","id":1,"id":2,"method":"ping"}"#, (400, -32600)),
        (&new, &request("no/such", ""), (200, -32601)),
        (&new, &request("tools/call", &call("nope", "{}")), (200, -32602)),
        (&new, &request("tools/call", &call("echo", "[]")), (200, -32602)),
        (&new, &request("tools/list", r#""cursor":"2""#), (200, -32602)),
        (&String::new(), &request("tools/list", ""), (400, -32600)),
        (&"Mcp-Session-Id: guessed\r\n".to_owned(), &request("tools/list", ""), (404, -32600)),
        (&format!("{new}MCP-Protocol-Version: 1999-01-01\r\n"), &request("ping", ""), (400, -32600)),
    ] {
        assert_eq!(code(&stub.post(head, body)), wanted, "{head}{body}");
    }
    assert_eq!(code(&stub.modern("no/such", "", "")), (404, -32601));
    assert_eq!(code(&stub.modern("ping", "", "")), (404, -32601));
    let get = fetch(&stub.address, "GET", "/mcp", &format!("Host: {}\r\n", stub.address)).unwrap();
    assert_eq!((get.status, get.header("allow")), (405, Some("POST, DELETE")));
    for incomplete in ["text/html", "application/json", "text/event-stream"] {
        let accept = format!("{new}Accept: {incomplete}\r\n");
        assert_eq!(code(&stub.post(&accept, &request("ping", ""))), (400, -32600), "{incomplete}");
    }
    let in_two = format!("{new}Accept: text/event-stream\r\nAccept: application/json\r\n");
    assert_eq!(stub.post(&in_two, &request("ping", "")).status, 200);
    let form = format!("Host: {}\r\nContent-Type: text/plain\r\nContent-Length: 0\r\n", stub.address);
    assert_eq!(fetch(&stub.address, "POST", "/mcp", &form).unwrap().status, 415);
    assert_eq!(stub.post("Origin: http://evil.example\r\n", &request("ping", "")).status, 403);
}

#[test]
fn progress_is_told_to_who_asked_for_it() {
    let stub = Stub::start();
    let session = stub.open("2025-11-25");
    let params = call("echo", r#"{"input":"x"}"#) + r#","_meta":{"progressToken":7}"#;
    let head = format!("{session}Accept: application/json, text/event-stream\r\n");
    let answer = stub.post(&head, &request("tools/call", &params));
    let events = events(&answer);
    let steps: Vec<&Value> = events.iter().map(|event| &event["params"]["progress"]).collect();
    assert_eq!(steps, [&json!(1), &json!(2), &Value::Null], "{}", answer.body);
    assert_eq!(events[0]["params"]["progressToken"], 7);
    assert_eq!(events[2]["result"]["structuredContent"]["echoed"], "x");
    // Nobody asked: nothing but the result.
    let plain = stub.post(&head, &request("tools/call", &call("echo", r#"{"input":"x"}"#)));
    assert_eq!(plain.json()["result"]["structuredContent"]["echoed"], "x");
}

#[test]
fn metadata_name_the_host_that_was_asked() {
    let stub = Stub::start();
    let port = stub.address.rsplit(':').next().unwrap();
    let get = |path: &str| {
        fetch(&stub.address, "GET", path, &format!("Host: localhost:{port}\r\n")).unwrap().json()
    };
    let base = format!("http://localhost:{port}");
    for path in ["/.well-known/oauth-protected-resource", "/.well-known/oauth-protected-resource/mcp"] {
        let wanted = json!({
            "resource": format!("{base}/mcp"), "authorization_servers": [base], "scopes_supported": ["read", "write"],
        });
        assert_eq!(get(path), wanted);
    }
    let server = get("/.well-known/oauth-authorization-server");
    assert_eq!((&server["issuer"], &server["jwks_uri"]), (&json!(base), &json!(format!("{base}/jwks"))));
    assert_eq!(get("/jwks"), json!({"keys": []}));
    let absent = fetch(&stub.address, "GET", "/token", &format!("Host: {}\r\n", stub.address)).unwrap();
    assert_eq!(absent.status, 404);
}

#[test]
fn it_says_where_it_is_and_ends_on_a_signal() {
    for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP] {
        let builder =
            Builder::bare("dev").argument("mcp-stub").flag("server-name", "mine").flag("server-version", "9");
        let mut stub = Stub::with(builder);
        let info = stub.modern("tools/call", "server_info", &(call("server_info", "{}") + ",")).json();
        let told = &info["result"]["structuredContent"];
        assert_eq!((&told["name"], &told["version"]), (&json!("mine"), &json!("9")));
        // It serves before it has said all of it.
        stub.client.wait_log(|line| line.contains("Next:"));
        let log = stub.client.log();
        assert!(log.starts_with(&format!("MCP stub listening on http://{}", stub.address)), "{log}");
        for wanted in ["Protected resource metadata: ", "Authorization server metadata: ", "Next:"] {
            assert!(log.contains(wanted), "{log}");
        }
        // A client that stays connected does not hold it up.
        let held = std::net::TcpStream::connect(&stub.address).unwrap();
        stub.client.signal(signal);
        assert_eq!(stub.client.wait_exit().code(), Some(0));
        drop(held);
    }
}

#[test]
fn others_than_this_machine_reach_it_only_with_a_warning() {
    let warning = "the MCP stub asks nobody who they are, and its address is not a loopback address";
    assert!(!Stub::start().client.log().contains(warning));
    let open = Stub::with(Builder::bare("dev").argument("mcp-stub").flag("listen-addr", "0.0.0.0:0"));
    open.client.wait_log(|line| line.contains(warning));
    assert_eq!(open.post("Origin: http://evil.example\r\n", &request("ping", "")).status, 403);
    let builder = Builder::without_server("http://127.0.0.1:9").argument("--embedded-mcp-stub");
    let inside = builder.flag("embedded-mcp-listen-addr", "0.0.0.0:0").start();
    inside.wait_log(|line| line.contains(warning));
}

#[test]
fn it_says_why_it_cannot_listen() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let run = |text: &str| Builder::bare("dev").argument("mcp-stub").flag("listen-addr", text).finish();
    let wanted = format!("start MCP stub: listen tcp {address}: bind: address already in use");
    assert_eq!(run(&address), (Some(1), wanted));
    let (status, text) = run("nonsense");
    assert_eq!((status, text.as_str()), (Some(1), "invalid listen-addr \"nonsense\": expected host:port"));
}
