//! What the server answers, and what becomes of it at the control plane.

use crate::support::command::Command;
use crate::support::plane::Posted;
use crate::support::reply::Reply;
use crate::support::rig::Rig;

/// Sends one call with id 1 whose reply is scripted; it is sent and answered exactly once.
fn outcome(rig: &Rig, reply: Reply) -> Posted {
    let before = rig.mcp.calls_of("m").len();
    rig.mcp.reply("m", reply);
    let command = Command::method("m", "1");
    let answer = rig.send(&command);
    let terminal = rig.plane.posts_of(&command).into_iter().filter(|p| p.kind() != "jsonrpc_notify");
    assert_eq!(terminal.count(), 1, "CP-113");
    assert_eq!(rig.mcp.calls_of("m").len(), before + 1, "MCP-083");
    assert_eq!(answer.kind(), "jsonrpc_response");
    assert_eq!(answer.payload()["id"], 1);
    answer
}

fn assert_failure(answer: &Posted, code: u64, message: &str, cause: &str) {
    let text = answer.request.text();
    assert_eq!(answer.code(), code, "{text}");
    assert_eq!(answer.payload()["error"]["code"], -32603, "{text}");
    assert_eq!(answer.payload()["error"]["message"], message, "{text}");
    assert_eq!(answer.cause(), cause, "{text}");
    assert_eq!(answer.failure()["version"], 1, "{text}");
    let is_target = cause.starts_with("target_http/");
    assert_eq!(answer.failure().get("upstream_status").is_some(), is_target, "{text}");
    assert!(!is_target || answer.failure()["upstream_response_received"] == true, "{text}");
}

/// CP-091, CP-094, MCP-034, MCP-035, CP-099: any 2xx with a JSON answer keeps its status.
#[test]
fn json_answers_keep_their_status() {
    let rig = Rig::start();
    for status in [200, 201, 202, 299] {
        let reply =
            Reply::body(status, "application/json; charset=utf-8", r#"{"jsonrpc":"2.0","id":1,"result":{}}"#);
        let answer = outcome(&rig, reply.header("WWW-Authenticate", "a").header("WWW-Authenticate", "b"));
        assert_eq!(answer.code(), u64::from(status));
        assert_eq!(answer.header("content-type"), ["application/json"]);
        assert_eq!(answer.header("www-authenticate"), ["a", "b"]);
        let allowed = ["request_id", "channel", "resp_json", "resp_headers", "resp_code", "resp_type"];
        let members = answer.json.as_object().unwrap();
        assert!(members.keys().all(|k| allowed.contains(&k.as_str())), "{members:?}");
        assert!(!answer.request.text().contains("shard-secret"));
    }
}

/// CP-095, CP-096, MCP-012, MCP-013, MCP-014: answers reach the plane as the server wrote them.
#[test]
fn answers_keep_their_text() {
    let rig = Rig::start();
    for body in [
        r#"{"jsonrpc":"2.0","id":1,"result":{"z":1.50,"a":12345678901234567890,"s":"\u003c<\/"}}"#,
        r#"{"jsonrpc":"2.0","id":1,"result":null}"#,
        r#"{"jsonrpc":"2.0","id":1}"#,
        r#"{ "id" : 1, "extra":[1], "jsonrpc":"2.0", "result":{"resultType":"odd","ttlMs":5} }"#,
        r#"{"jsonrpc":"2.0","id":1,"error":{"code":-32042,"message":"m","data":{"n":1E5},"x":1}}"#,
    ] {
        let answer = outcome(&rig, Reply::json(200, body));
        assert_eq!((answer.code(), answer.payload_text().as_str()), (200, body));
    }
}

/// CP-097, CP-098, MCP-036: six header names pass, unless the reply nominates them away.
#[test]
fn only_six_headers_are_posted() {
    let rig = Rig::start();
    let result = || Reply::result("1", "{}");
    let answer = outcome(
        &rig,
        result()
            .header("Set-Cookie", "a=b")
            .header("Retry-After", "9")
            .header("X-Other", "x")
            .header("Last-Event-ID", "")
            .header("mcp-session-id", "s-2")
            .header("MCP-Protocol-Version", "2025-06-18")
            .header("access-control-expose-headers", "Mcp-Session-Id"),
    );
    let names: Vec<&String> = answer.json["resp_headers"].as_object().unwrap().keys().collect();
    let wanted = ["Access-Control-Expose-Headers", "Content-Type", "Mcp-Protocol-Version", "Mcp-Session-Id"];
    assert_eq!(names, wanted);
    let nominated =
        result().header("Connection", "Mcp-Session-Id, content-type").header("Mcp-Session-Id", "s");
    let answer = outcome(&rig, nominated);
    assert!(answer.json.get("resp_headers").is_none(), "{}", answer.request.text());
}

/// CP-100, CP-101, MCP-064, MCP-065, MCP-068, REV-021, REV-022: structured errors are kept up to 102400 bytes.
#[test]
fn structured_errors_are_kept() {
    let rig = Rig::start();
    let error = r#"{"jsonrpc":"2.0","id":1,"error":{"code":-32020,"message":"m","data":[1.0]},"x":2}"#;
    for status in [400, 401, 404, 429, 500, 503] {
        for content_type in ["application/json", "text/plain"] {
            let answer = outcome(&rig, Reply::body(status, content_type, error));
            assert_eq!((answer.code(), answer.payload_text().as_str()), (u64::from(status), error));
            assert_eq!(answer.header("content-type"), ["application/json"]);
        }
    }
    let sized = |size: usize| {
        let frame = r#"{"jsonrpc":"2.0","id":1,"error":{"code":-1,"message":""}}"#;
        let pad = "y".repeat(size - frame.len());
        frame.replace("\"\"", &format!("\"{pad}\""))
    };
    let answer = outcome(&rig, Reply::json(500, sized(102_400)));
    assert_eq!(answer.payload()["error"]["code"], -1);
    let answer = outcome(&rig, Reply::json(500, sized(102_401)));
    assert_failure(&answer, 500, "Internal Server Error", "target_http/response_body_too_large");
}

/// CP-102, MCP-042, REV-023, REV-024: an error without an id belongs to its exchange, one with another id does not.
#[test]
fn errors_without_an_id_belong_to_the_exchange() {
    let rig = Rig::start();
    for id in [r#""id":null,"#, ""] {
        let body = format!(r#"{{"jsonrpc":"2.0",{id}"error":{{"code":-32000,"message":"no","data":7}}}}"#);
        for status in [200, 400, 404] {
            let answer = outcome(&rig, Reply::json(status, body.as_str()));
            assert_eq!(answer.code(), u64::from(status));
            assert_eq!(answer.payload()["error"]["code"], -32000);
            assert_eq!(answer.payload()["error"]["data"], 7);
        }
    }
    let other = r#"{"jsonrpc":"2.0","id":"1","error":{"code":-32000,"message":"no"}}"#;
    let answer = outcome(&rig, Reply::json(400, other));
    assert_failure(&answer, 400, "Bad Request", "target_http/invalid_mcp_error");
}

/// CP-103, CP-104, CP-105, MCP-066, MCP-067, MCP-069 to MCP-072, MCP-075, MCP-076: other errors are synthesized.
#[test]
fn other_http_errors_are_synthesized() {
    let rig = Rig::start();
    let wordless = r#"{"jsonrpc":"2.0","id":1,"error":{"code":-1}}"#;
    let both = r#"{"jsonrpc":"2.0","id":1,"result":null,"error":{"code":-1,"message":"zz-body"}}"#;
    let cases = [
        (401, "Unauthorized", "", "response_body_missing"),
        (403, "Forbidden", "<html>zz-body</html>", "malformed_json"),
        (404, "Not Found", "zz-body", "malformed_json"),
        (429, "Too Many Requests", r#"{"zz-body":1}"#, "invalid_mcp_error"),
        (500, "Internal Server Error", wordless, "invalid_mcp_error"),
        (503, "Service Unavailable", both, "invalid_mcp_error"),
        (599, "MCP transport error", "[]", "invalid_mcp_error"),
    ];
    for (status, message, body, kind) in cases {
        let reply = Reply::body(status, "text/plain", body)
            .reason("Zz Reason")
            .header("Retry-After", "1")
            .header("WWW-Authenticate", "Bearer realm=\"r\"");
        let answer = outcome(&rig, reply);
        assert_failure(&answer, u64::from(status), message, &format!("target_http/{kind}"));
        assert_eq!(answer.failure()["upstream_status"], status);
        assert_eq!(answer.header("www-authenticate"), ["Bearer realm=\"r\""]);
        let text = answer.request.text();
        assert!(!text.to_lowercase().contains("zz"), "{text}");
    }
    assert_eq!(rig.mcp.calls_of("DELETE").len(), 0, "CP-133, MCP-077: no stray DELETE");
}

/// CP-105: an error whose body breaks off keeps its status.
#[test]
fn an_error_that_breaks_off_keeps_its_status() {
    let rig = Rig::start();
    let cut = outcome(&rig, Reply::json(500, "{\"jsonrpc\"").declaring(100).close());
    assert_failure(&cut, 500, "Internal Server Error", "target_http/response_body_unreadable");
}

/// MCP-074: other statuses than 2xx, 4xx and 5xx are protocol failures.
#[test]
fn odd_statuses_are_protocol_failures() {
    let rig = Rig::start();
    for status in [300, 304] {
        let answer = outcome(&rig, Reply::status(status));
        assert_eq!(answer.payload()["error"]["code"], -32603);
        assert_eq!(answer.failure()["source"], "protocol");
    }
}
