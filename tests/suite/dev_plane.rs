//! The local control plane of `dev proxy`, as a tunnel client of the test meets it on a channel of its own.

mod rehearsal;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::thread::{JoinHandle, spawn};

use serde_json::{Value, json};

use crate::support::http::Fetched;
use crate::support::local::{BOTH, Local, PATH, ask, bare, events, json as body, message, request};
use crate::support::mcp::Mcp;

/// A control plane whose own relay takes commands of `main` alone.
fn plane() -> (Local, Mcp) {
    plane_with("30s")
}

fn plane_with(response_timeout: &str) -> (Local, Mcp) {
    let mcp = Mcp::start();
    let builder = bare()
        .flag("mcp-server-url", &mcp.url())
        .flag("response-timeout", response_timeout)
        .env("CONTROL_PLANE_POLL_CHANNELS", "main");
    (Local::with(builder), mcp)
}

/// A caller of `side` on a thread of its own.
fn call(local: &Local, method: &'static str, head: &str, text: &str) -> JoinHandle<Fetched> {
    let (address, head, text) = (local.address(), head.to_owned(), text.to_owned());
    spawn(move || ask(&address, method, &format!("{PATH}/side"), &head, &text))
}

/// Polls `side` until there is something.
fn poll(local: &Local, limit: usize) -> Vec<Value> {
    local.poll(&format!("channel=side&limit={limit}&timeout_ms=20000"))
}

fn token(command: &Value) -> &str {
    command["shard_token"].as_str().unwrap()
}

const CALL: &str = r#"{"jsonrpc":"2.0","id":1,"method":"a","params":{"n": 1.0}}"#;

#[test]
fn a_command_is_what_the_contract_says() {
    let (local, _mcp) = plane();
    let caller = call(&local, "POST", "X-Custom: a\r\nVia: proxy\r\n", CALL);
    let command = poll(&local, 25).remove(0);
    assert!(local.poll("channel=side&timeout_ms=1").is_empty(), "handed out once");
    assert_eq!((&command["command_type"], &command["channel"]), (&json!("jsonrpc"), &json!("side")));
    assert_eq!(command["headers"], json!({ "x-custom": ["a"] }));
    assert_eq!(command["jsonrpc"]["params"]["n"], json!(1.0));
    let created = command["created_at"].as_str().unwrap();
    assert!(created.starts_with("20") && created.ends_with('Z'), "{created}");
    let left: u64 = command["response_timeout"].as_str().unwrap().trim_end_matches("ms").parse().unwrap();
    assert!((10_000..=30_000).contains(&left), "{left}");
    let id = &command["request_id"];
    let answer = json!({ "request_id": id, "resp_code": 418, "resp_json": { "x": 1 }, "resp_headers": {
        "Connection": ["X-Hop"], "X-Hop": ["1"], "Content-Length": ["9"], "Mcp-Session-Id": ["s"],
        "Www-Authenticate": ["Bearer resource_metadata=\"https://mcp.internal/meta\""] } });
    for wrong in ["", "another"] {
        let refused = local.respond(wrong, &answer);
        assert_eq!((refused.status, message(&refused).as_str()), (400, "invalid shard token"));
    }
    let taken = local.respond(token(&command), &answer);
    assert_eq!((taken.status, taken.body.as_str()), (200, r#"{"status":"ok"}"#));
    let header = format!("X-Request-Id: local-response-{}", id.as_str().unwrap());
    assert!(taken.head.contains(&header), "{taken:?}");
    assert_eq!(local.respond(token(&command), &answer).status, 404, "answered already");
    let told = caller.join().unwrap();
    assert_eq!((told.status, told.body.as_str()), (418, r#"{"x":1}"#));
    assert!(told.head.contains("Mcp-Session-Id: s") && !told.head.contains("X-Hop"), "{told:?}");
    let metadata = format!("http://{}/.well-known/oauth-protected-resource{PATH}/side", local.address());
    assert!(told.head.contains(&format!("resource_metadata=\"{metadata}\"")), "{told:?}");
}

#[test]
fn notifications_are_passed_on_in_order_and_the_answer_ends_them() {
    let (local, _mcp) = plane();
    let caller = call(&local, "POST", BOTH, CALL);
    let command = poll(&local, 1).remove(0);
    for n in 0..8 {
        let note = json!({ "request_id": command["request_id"], "resp_code": 200,
            "resp_type": "jsonrpc_notify", "resp_json": { "n": n } });
        assert_eq!(local.respond(token(&command), &note).status, 200);
    }
    let answer = json!({ "request_id": command["request_id"], "resp_code": 200, "resp_json": { "end": 1 } });
    assert_eq!(local.respond(token(&command), &answer).status, 200);
    let seen = events(&caller.join().unwrap());
    let expected: Vec<Value> = (0..8).map(|n| json!({ "n": n })).chain([json!({ "end": 1 })]).collect();
    assert_eq!(seen, expected);
}

#[test]
fn a_poll_gets_its_channels_and_no_more_than_it_asks_for() {
    let (local, _mcp) = plane();
    let callers: Vec<_> = (0..3).map(|_| call(&local, "POST", "", CALL)).collect();
    let mut seen = Vec::new();
    while seen.len() < 3 {
        let got = poll(&local, 2);
        assert!((1..=2).contains(&got.len()));
        seen.extend(got);
    }
    assert!(local.poll("channel=third&channel=fourth&timeout_ms=1").is_empty());
    for command in &seen {
        let ack = json!({ "request_id": command["request_id"], "resp_code": 200, "resp_type": "notify_ack" });
        assert_eq!(local.respond(token(command), &ack).status, 200);
    }
    for caller in callers {
        assert_eq!(caller.join().unwrap().status, 202);
    }
}

#[test]
fn a_call_is_forgotten_with_its_caller() {
    let (local, _mcp) = plane();
    let text = request(&local.address(), "POST", &format!("{PATH}/side"), "", CALL);
    let mut caller = TcpStream::connect(local.address()).unwrap();
    caller.write_all(text.as_bytes()).unwrap();
    let command = poll(&local, 1).remove(0);
    drop(caller);
    let answer = json!({ "request_id": command["request_id"], "resp_code": 200, "resp_json": {} });
    // The plane looks for its callers now and then.
    let note = json!({ "request_id": command["request_id"], "resp_code": 200, "resp_type": "jsonrpc_notify",
        "resp_json": {} });
    let end = std::time::Instant::now() + crate::support::BOUND;
    while local.respond(token(&command), &note).status == 200 {
        assert!(std::time::Instant::now() < end, "still pending");
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    let refused = local.respond(token(&command), &answer);
    assert_eq!(
        (refused.status, &body(&refused)["error"]["code"]),
        (404, &json!("pending_request_not_found"))
    );
}

#[test]
fn what_was_not_polled_in_time_is_never_handed_out() {
    let (local, _mcp) = plane_with("50ms");
    assert_eq!(call(&local, "POST", "", CALL).join().unwrap().status, 504);
    assert!(local.poll("channel=side&timeout_ms=1").is_empty());
}

#[test]
fn sessions_end_with_a_command_of_their_own() {
    let (local, _mcp) = plane();
    let caller = call(&local, "DELETE", "Mcp-Session-Id: s\r\n", "");
    let command = poll(&local, 1).remove(0);
    assert_eq!(command["command_type"], "session_termination");
    assert_eq!(command["headers"]["mcp-session-id"], json!(["s"]));
    assert!(command.get("jsonrpc").is_none());
    let answer = json!({ "request_id": command["request_id"], "resp_code": 404,
        "resp_type": "session_termination_response" });
    assert_eq!(local.respond(token(&command), &answer).status, 200);
    assert_eq!(caller.join().unwrap().status, 404);
}

#[test]
fn clients_are_refused_in_the_contracts_words() {
    let (local, _mcp) = plane();
    let path = format!("/v1/tunnels/{}", local.said("tunnel_id"));
    for head in ["", "Authorization: Bearer wrong\r\n", "Authorization: local-tunnel-client-dev-proxy\r\n"] {
        let refused = ask(&local.plane(), "GET", &format!("{path}/poll"), head, "");
        assert_eq!((refused.status, message(&refused).as_str()), (401, "unauthorized"));
    }
    let metadata = local.of_plane("GET", "", "", "");
    assert_eq!(body(&metadata)["id"], local.said("tunnel_id"));
    for (method, path, text, status, said) in [
        ("POST", "", "", 405, "method not allowed"),
        ("POST", "/poll", "", 405, "method not allowed"),
        ("GET", "/response", "", 405, "method not allowed"),
        ("GET", "/poll?limit=0", "", 400, "limit must be a number from 1 on"),
        ("GET", "/poll?limit=26", "", 400, "limit must be at most 25"),
        ("GET", "/poll?channel=a%20b", "", 400, "invalid channel"),
        ("GET", "/poll?timeout_ms=soon", "", 400, "timeout_ms must be a number from 1 on"),
        ("POST", "/response", "[]", 400, "invalid response payload"),
        ("POST", "/response", r#"{"resp_code":200}"#, 400, "missing request_id"),
        ("POST", "/response", r#"{"request_id":"x"}"#, 400, "invalid response payload"),
        ("POST", "/response", r#"{"request_id":"x","resp_code":200}"#, 404, "no such request is pending"),
        ("GET", "/elsewhere", "", 404, "not found"),
    ] {
        let refused = local.of_plane(method, path, "", text);
        assert_eq!((refused.status, message(&refused).as_str()), (status, said), "{method} {path} {text}");
    }
    let other = ask(
        &local.plane(),
        "GET",
        "/v1/tunnels/tunnel_11111111111111111111111111111111",
        "Authorization: Bearer local-tunnel-client-dev-proxy\r\n",
        "",
    );
    assert_eq!(other.status, 404);
}

#[test]
fn callers_are_refused_before_anything_is_queued() {
    let (local, _mcp) = plane();
    for (text, status, code) in [
        ("", 400, Value::Null),
        ("nonsense", 400, json!("invalid_json_payload")),
        (r#"[{"jsonrpc":"2.0","id":1,"method":"a"}]"#, 400, json!("invalid_json_payload")),
    ] {
        let refused = local.post_to("/side", "", text);
        assert_eq!((refused.status, &body(&refused)["error"]["code"]), (status, &code), "{text}");
    }
    assert_eq!(message(&local.post("")), "jsonrpc request body is required");
    let other = "/v1/mcp/tunnel_11111111111111111111111111111111";
    assert_eq!(ask(&local.address(), "POST", other, "", CALL).status, 404);
    assert!(local.poll("channel=side&timeout_ms=1").is_empty());
    // Too large is said before it is read, and pages of the web are told nothing.
    let mut stream = TcpStream::connect(local.address()).unwrap();
    let large = format!("POST {PATH} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 67108865\r\n\r\n");
    stream.write_all(large.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
    let page = local.post_to("", "Origin: https://evil.example\r\n", CALL);
    assert_eq!(page.status, 403);
}

/// The metadata of the server behind `main` is asked for through the tunnel, and the resource is named as the caller
/// knows it.
#[test]
fn metadata_is_asked_for_through_the_tunnel() {
    use crate::support::mcp::answer;
    use crate::support::oauth::{OWN, is_search};
    use crate::support::reply::Reply;
    use crate::support::server::Server;
    const DOCUMENT: &str =
        r#"{"n": 1.50, "resource" : "https://inside/mcp", "authorization_servers":["https://a"]}"#;
    let script = |r: &crate::support::http::Request| match r.path() {
        OWN => Reply::json(200, DOCUMENT).header("Set-Cookie", "a=b"),
        _ if is_search(r) => Reply::status(404),
        _ => answer(r),
    };
    let server = Server::start(None, std::sync::Arc::new(script));
    let local = Local::start(&(server.origin() + "/mcp"));
    let path = format!("/.well-known/oauth-protected-resource{PATH}");
    let found = ask(&local.address(), "GET", &path, "", "");
    let url = format!("http://{}{PATH}", local.address());
    assert_eq!((found.status, found.body), (200, DOCUMENT.replace("https://inside/mcp", &url)));
    assert!(found.head.contains("application/json") && !found.head.contains("Set-Cookie"), "{}", found.head);
    assert_eq!(ask(&local.address(), "POST", &path, "", "").status, 405);
    assert_eq!(ask(&local.address(), "GET", &format!("{path}/side"), "", "").status, 404);
    let (local, _mcp) = plane();
    let refused = ask(&local.address(), "GET", &path, "", "");
    assert_eq!((refused.status, message(&refused).as_str()), (502, "invalid OAuth discovery response"));
}
