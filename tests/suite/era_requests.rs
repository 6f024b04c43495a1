//! What the revisions of the protocol ask of a message on its way to the server.

use serde_json::Value;

use crate::support::client::Builder;
use crate::support::command::Command;
use crate::support::http::Request;
use crate::support::reply::{Reply, id_text};
use crate::support::rig::Rig;

/// The key by which a request states its revision.
pub const CLAIM: &str = "io.modelcontextprotocol/protocolVersion";
/// The headers that a request of the current revision carries.
const MODERN: [&str; 3] = ["mcp-protocol-version", "mcp-method", "mcp-name"];

/// A request that claims a revision; `claim` and `id` are JSON text, `params` members without braces.
fn claiming(claim: &str, method: &str, id: &str, params: &str) -> String {
    let comma = if params.is_empty() { "" } else { "," };
    let meta = format!(r#""_meta":{{"{CLAIM}":{claim},"io.modelcontextprotocol/clientCapabilities":{{}}}}"#);
    format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"{method}","params":{{{params}{comma}{meta}}}}}"#)
}

/// A request of the current revision.
pub fn modern(method: &str, id: &str, params: &str) -> String {
    claiming("\"2026-07-28\"", method, id, params)
}

fn bare(method: &str, params: &str) -> String {
    format!(r#"{{"jsonrpc":"2.0","id":1,"method":"{method}","params":{{{params}}}}}"#)
}

/// Sends a payload and returns the request that carried exactly its bytes.
fn carried(rig: &Rig, command: &Command, payload: &str) -> Request {
    rig.plane.queue(command);
    rig.plane.wait_answer(command);
    let requests = rig.mcp.server.requests();
    let same = requests.into_iter().rfind(|r| r.body == payload.as_bytes() && r.method == "POST");
    same.unwrap_or_else(|| panic!("not forwarded as it was: {payload}"))
}

fn forwarded(rig: &Rig, payload: &str) -> Request {
    carried(rig, &Command::rpc(payload), payload)
}

fn headers(request: &Request) -> [Option<&str>; 3] {
    MODERN.map(|name| request.header(name))
}

/// REV-001: a claimed call gets the three headers from its body.
#[test]
fn a_claimed_call_gets_its_headers() {
    let rig = Rig::start();
    let request = forwarded(&rig, &modern("tools/call", "1", r#""name":"add""#));
    let wanted = ["2026-07-28", "tools/call", "add"].map(Some);
    assert_eq!(headers(&request), wanted);
}

/// REV-002: the name comes from where each method keeps it, and other methods have none.
#[test]
fn the_name_depends_on_the_method() {
    let rig = Rig::start();
    let params = r#""name":"n","uri":"file:///a%20b","taskId":"t-1""#;
    for (method, name) in [
        ("tools/call", Some("n")),
        ("prompts/get", Some("n")),
        ("resources/read", Some("file:///a%20b")),
        ("tasks/get", Some("t-1")),
        ("tasks/update", Some("t-1")),
        ("tasks/cancel", Some("t-1")),
        ("tools/list", None),
        ("completion/complete", None),
        ("resources/templates/list", None),
    ] {
        let request = forwarded(&rig, &modern(method, "1", params));
        let wanted = [Some("2026-07-28"), Some(method), name];
        assert_eq!(headers(&request), wanted);
    }
    for params in [r#""name":7"#, r#""name":null"#, r#""title":"n""#, ""] {
        let request = forwarded(&rig, &modern("tools/call", "1", params));
        assert_eq!(request.header("mcp-name"), None, "{params}");
    }
}

/// REV-003: names that no header could carry travel in the base64 form, and no others.
#[test]
fn names_have_a_header_form() {
    let rig = Rig::start();
    for (text, value) in [
        ("größe", "=?base64?Z3LDtsOfZQ==?="),
        (" lead", "=?base64?IGxlYWQ=?="),
        ("tail ", "=?base64?dGFpbCA=?="),
        ("x\r\ny", "=?base64?eA0KeQ==?="),
        ("a\tb", "=?base64?YQli?="),
        ("=?base64?abc?=", "=?base64?PT9iYXNlNjQ/YWJjPz0=?="),
        ("a b", "a b"),
        ("=?base64?abc", "=?base64?abc"),
        ("=?BASE64?YQ==?=", "=?BASE64?YQ==?="),
        ("", ""),
    ] {
        let name = serde_json::to_string(text).unwrap();
        let payload = modern("tools/call", "1", &format!("\"name\":{name}"));
        let request = forwarded(&rig, &payload);
        assert_eq!(request.all("mcp-name"), [value], "{text:?}");
    }
}

/// REV-004: what the caller sent is sent once and as given, also when it contradicts the body.
#[test]
fn given_headers_are_kept() {
    let rig = Rig::start();
    let payload = modern("tools/call", "1", r#""name":"add""#);
    let command = Command::rpc(&payload)
        .header("mCp-NaMe", &["other"])
        .header("MCP-METHOD", &["tools/list"])
        .header("mcp-protocol-version", &["2025-11-25"]);
    let request = carried(&rig, &command, &payload);
    assert_eq!(request.all("mcp-name"), ["other"]);
    assert_eq!(request.all("mcp-method"), ["tools/list"]);
    assert_eq!(request.all("mcp-protocol-version"), ["2025-11-25"]);
}

/// REV-005: a bare request gets none of them, whatever its method.
#[test]
fn bare_requests_get_no_headers() {
    let rig = Rig::start();
    for method in ["tools/call", "resources/read", "initialize", "ping", "subscriptions/listen"] {
        let request = forwarded(&rig, &bare(method, r#""name":"n","uri":"u""#));
        assert_eq!(headers(&request), [None; 3], "{method}");
    }
}

/// REV-006: the claim is copied as it is, also that of an unknown revision.
#[test]
fn the_claim_is_copied_verbatim() {
    let rig = Rig::start();
    for claim in ["2099-01-01", "DRAFT-2026-v1", "2025-06-18", "x y"] {
        let payload = claiming(&format!("\"{claim}\""), "tools/list", "1", "");
        let request = forwarded(&rig, &payload);
        assert_eq!(request.all("mcp-protocol-version"), [claim]);
    }
}

/// REV-007: a claim without a header form adds nothing and fails nothing.
#[test]
fn unusable_claims_add_nothing() {
    let rig = Rig::start();
    for claim in ["7", "null", "{}", r#""a\nb""#, r#""ä""#] {
        let request = forwarded(&rig, &claiming(claim, "tools/call", "1", r#""name":"n""#));
        assert_eq!(headers(&request), [None; 3], "{claim}");
    }
}

/// REV-008: parameter headers pass as they are, and none is invented.
#[test]
fn parameter_headers_pass() {
    let rig = Rig::start();
    let payload = modern("tools/call", "1", r#""name":"n","arguments":{"region":"x"}"#);
    let command =
        Command::rpc(&payload).header("Mcp-Param-Region", &["eu  west"]).header("mcp-param-count", &["042"]);
    let request = carried(&rig, &command, &payload);
    assert_eq!(request.all("mcp-param-region"), ["eu  west"]);
    assert_eq!(request.all("mcp-param-count"), ["042"]);
    let request = forwarded(&rig, &payload);
    let invented = |name: &str| name.to_ascii_lowercase().starts_with("mcp-param");
    assert!(!request.headers.iter().any(|(name, _)| invented(name)));
}

/// REV-009 as DESIGN has it: from a claim that stands there twice nothing is derived, and no byte is changed; a
/// name or `_meta` that does is refused.
#[test]
fn duplicates_yield_no_header() {
    let rig = Rig::start();
    for twice in [
        r#""name":"a","n\u0061me":"b""#.to_owned(),
        format!(r#""name":"a","_meta":{{"{CLAIM}":"2025-06-18"}}"#),
    ] {
        assert_eq!(rig.call(modern("tools/call", "1", &twice)).code(), 400);
    }
    assert_eq!(rig.mcp.calls_of("tools/call").len(), 0);
    let claims = format!(r#""name":"a","_meta":{{"{CLAIM}":"2026-07-28","{CLAIM}":"2025-06-18"}}"#);
    let request = forwarded(&rig, &bare("tools/call", &claims));
    assert_eq!(headers(&request), [None; 3]);
}

/// REV-010: while headers are added no byte of the body changes.
#[test]
fn bodies_keep_every_byte() {
    let rig = Rig::start();
    for id in ["1.50e3", "12345678901234567890123", "\"\\u0041\\/b\"", "-0"] {
        let params = "\"name\" : \"a\",\t\"n\":1.0E+2,\"requestState\":\"a\\u002f\\u00e9=\"";
        let request = forwarded(&rig, &modern("tools/call", id, params));
        assert_eq!(headers(&request), ["2026-07-28", "tools/call", "a"].map(Some));
    }
}

/// REV-011: both media types are accepted when the caller names none.
#[test]
fn accept_names_both_types() {
    let rig = Rig::start();
    for payload in [
        bare("tools/list", ""),
        modern("tools/list", "1", ""),
        r#"{"jsonrpc":"2.0","method":"notifications/x"}"#.to_owned(),
        r#"{"jsonrpc":"2.0","id":5,"result":{}}"#.to_owned(),
    ] {
        let accept = forwarded(&rig, &payload).all("accept").join(",");
        assert!(accept.contains("application/json"), "{accept}");
        assert!(accept.contains("text/event-stream"), "{accept}");
    }
    let payload = bare("tools/list", "");
    let own = Command::rpc(&payload).header("Accept", &["application/json"]);
    let request = carried(&rig, &own, &payload);
    assert_eq!(request.all("accept"), ["application/json"]);
}

/// REV-012: without a claim `initialize` is legacy whatever its headers say; with one it is modern.
#[test]
fn initialize_follows_its_claim() {
    let rig = Rig::start();
    rig.mcp.hook(|request| {
        let id = id_text(&request.body);
        let stream = || {
            Reply::sse()
                .event(r#"{"jsonrpc":"2.0","id":"s","method":"ping"}"#)
                .event(format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{{}}}}"#))
        };
        (request.rpc_method() == "initialize").then(stream)
    });
    let legacy = bare("initialize", r#""protocolVersion":"2025-11-25""#);
    let command = Command::rpc(&legacy)
        .header("Mcp-Method", &["initialize"])
        .header("MCP-Protocol-Version", &["2026-07-28"]);
    assert_eq!(rig.send(&command).code(), 200);
    // Only a legacy server's ping is answered.
    let answered = rig.mcp.wait_calls("response", 1).remove(0);
    assert_eq!(answered.json()["result"], Value::Object(serde_json::Map::new()));
    let claimed = modern("initialize", "2", r#""protocolVersion":"2025-11-25""#);
    let request = forwarded(&rig, &claimed);
    assert_eq!(request.header("mcp-method"), Some("initialize"));
    rig.assert_alive();
    assert_eq!(rig.mcp.calls_of("response").len(), 1);
}

/// REV-018: `server/discover` is forwarded each time, and its wait is bounded.
#[test]
fn discovery_of_the_server_is_forwarded() {
    let rig = Rig::start();
    for number in 1..3 {
        let payload = modern("server/discover", &format!("\"own-{number}\""), "");
        let request = forwarded(&rig, &payload);
        assert_eq!(request.header("mcp-method"), Some("server/discover"));
    }
    let bounded = |b: Builder| b.flag("mcp.connection-max-ttl", "600ms");
    let rig = Rig::with(bounded);
    for _ in 0..20 {
        // Some are for the client's own probe.
        rig.mcp.reply("server/discover", Reply::silence());
    }
    let answer = rig.call(modern("server/discover", "1", ""));
    assert_eq!(answer.code(), 502);
    assert_eq!(answer.failure()["source"], "timeout");
}

/// REV-050: a batch is refused clearly, and what is sent to a server is never one.
#[test]
fn batches_are_refused() {
    let rig = Rig::start();
    let one = bare("dropped", "");
    for batch in [format!("[{one}]"), format!("[{one},{one}]"), "[]".to_owned()] {
        let answer = rig.send(&Command::rpc(&batch).off_contract());
        assert_eq!(answer.code(), 400, "{batch}");
        assert_eq!(answer.failure()["transport_error_kind"], "invalid_mcp_request");
    }
    let calls = [(); 10].map(|()| Command::method("m", "1"));
    rig.plane.queue_all(&calls);
    for call in &calls {
        rig.plane.wait_answer(call);
    }
    assert!(rig.mcp.server.requests().iter().all(|r| !r.body.starts_with(b"[")));
    assert_eq!(rig.mcp.calls_of("dropped").len(), 0);
}

/// REV-051: a response of the product reaches the server unchanged and is acknowledged.
#[test]
fn responses_of_the_product_are_forwarded() {
    let rig = Rig::start();
    for payload in [
        r#"{"jsonrpc":"2.0","id":7.0,"result":{"a":1}}"#,
        r#"{"jsonrpc":"2.0","id":"s","error":{"code":-1,"message":"no"}}"#,
    ] {
        let command = Command::rpc(payload).header("Mcp-Session-Id", &["s-1"]);
        let request = carried(&rig, &command, payload);
        assert_eq!(request.header("mcp-session-id"), Some("s-1"));
        assert_eq!(headers(&request), [None; 3]);
        let answer = rig.plane.wait_answer(&command);
        assert_eq!((answer.kind(), answer.code()), ("notify_ack", 202));
    }
}
