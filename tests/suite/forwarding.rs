//! What of a command reaches the MCP server, byte for byte.

use crate::support::client::{API_KEY, Builder};
use crate::support::command::Command;
use crate::support::http::Request;
use crate::support::mcp::{Mcp, is_probe};
use crate::support::plane::Plane;
use crate::support::rig::Rig;

/// CP-076, CP-077, CP-078, MCP-001 to MCP-007: payload and id keep their spelling on both wires.
#[test]
fn payloads_keep_their_text_both_ways() {
    let plane = Plane::start();
    let mcp = Mcp::start();
    let url = mcp.url() + "?tenant=a%20b&x=1";
    let rig = Rig::over(plane, mcp, |b| b.set("mcp.server-url", &url));
    for id in [
        "1",
        "0",
        "-7",
        "\"\"",
        "\"a\\u00e9\"",
        "1.5",
        "1e3",
        "9007199254740993",
        "12345678901234567890",
        "\"1\"",
    ] {
        for params in [
            r#","params":{"z":1.50,"a":1E5,"n":12345678901234567890,"s":"\u003c\/","d":{}}"#,
            r#","params":null"#,
            r#","params": [ 1 , 2 ]"#,
            "",
        ] {
            let payload =
                format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"echo","_meta":{{"x":1}}{params}}}"#);
            let command = Command::rpc(&payload);
            let request = rig.forwarded(&command, "echo");
            assert_eq!((request.method.as_str(), request.text()), ("POST", payload));
            assert_eq!(request.target, "/mcp?tenant=a%20b&x=1");
            let answer = rig.plane.wait_answer(&command);
            let sent = params.trim_start_matches(r#","params":"#).trim();
            let echoed = if sent.is_empty() { "null" } else { sent };
            let wanted = format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{{"echo":{echoed}}}}}"#);
            assert_eq!(answer.payload_text(), wanted);
        }
    }
    // A search for OAuth metadata opens no stream.
    let opens_stream = |r: &Request| r.method != "POST" && r.header("accept") != Some("application/json");
    assert!(!rig.mcp.server.requests().iter().any(opens_stream), "MCP-025");
}

/// MCP-008: a null id makes a notification; its text still reaches the server as it is.
#[test]
fn a_null_id_is_a_notification() {
    let rig = Rig::start();
    let text = r#"{"jsonrpc":"2.0","id":null,"method":"note"}"#;
    // The server takes a null id for an id and answers 200; that is the status of the acknowledgement.
    let answer = rig.call(text);
    assert_eq!((answer.kind(), answer.code()), ("notify_ack", 200));
    assert_eq!(rig.mcp.calls_of("note")[0].body, text.as_bytes());
}

/// CP-079, CP-080, MCP-018, MCP-019: a command's headers arrive unchanged, values as lines in order.
#[test]
fn command_headers_arrive_unchanged() {
    let rig = Rig::start();
    let command = Command::method("m", "1")
        .header("X-Multi", &["one", "two, three"])
        .header("x-multi", &["four"])
        .header("Authorization", &["Bearer user-token"])
        .header("mcp-session-id", &["s-1"])
        .header("MCP-Protocol-Version", &["2025-06-18"])
        .header("X-Openai-Session", &["abc"])
        .header("X-Accent", &["grün"])
        .header("X-Request-Id", &["rq-9"]);
    let request = rig.forwarded(&command, "m");
    let mut multi = request.all("x-multi");
    multi.sort_unstable();
    assert_eq!(multi, ["four", "one", "two, three"]);
    assert_eq!(request.all("authorization"), ["Bearer user-token"]);
    assert_eq!(request.all("mcp-session-id"), ["s-1"]);
    assert_eq!(request.all("mcp-protocol-version"), ["2025-06-18"]);
    assert_eq!(request.all("x-openai-session"), ["abc"]);
    assert_eq!(request.all("x-accent"), ["grün"]);
    let answer = rig.plane.wait_answer(&command);
    assert_eq!(answer.request.header("x-client-request-id"), Some("rq-9"), "CP-093");
}

/// CP-081, CP-090, MCP-023, MCP-024: neither key nor session nor version is invented.
#[test]
fn nothing_of_ours_reaches_the_server() {
    let rig = Rig::start();
    let request = rig.forwarded(&Command::method("m", "1"), "m");
    for name in ["authorization", "mcp-session-id", "mcp-protocol-version", "cookie", "last-event-id"] {
        assert_eq!(request.header(name), None, "{name}");
    }
    for request in rig.mcp.server.requests() {
        assert!(!request.dump().contains(API_KEY));
        assert!(!request.dump().to_lowercase().contains("x-tunnel-"), "{}", request.dump());
    }
    let plain = rig.plane.posts().pop().unwrap();
    assert_eq!(plain.request.header("x-client-request-id"), None, "CP-093");
}

/// CP-082, MCP-015, MCP-016, MCP-017, REV-011: `Accept` names both types unless the command has one.
#[test]
fn accept_has_a_default() {
    let rig = Rig::start();
    let both = "application/json, text/event-stream";
    let plain = rig.forwarded(&Command::method("m", "1"), "m");
    assert_eq!(plain.all("accept"), [both]);
    assert_eq!(plain.all("content-type"), ["application/json"]);
    assert!(!plain.header("accept-encoding").unwrap_or("").contains("gzip"));
    let empty = rig.forwarded(&Command::method("m", "1").header("Accept", &[""]), "m");
    assert_eq!(empty.all("accept"), [both]);
    let own = rig.forwarded(&Command::method("m", "1").header("accept", &["text/x"]), "m");
    assert_eq!(own.all("accept"), ["text/x"]);
}

/// CP-083, CP-084, MCP-020, MCP-021: framing, hop-by-hop and identity headers stay behind.
#[test]
fn headers_that_are_not_the_callers_are_dropped() {
    let rig = Rig::start();
    let names = [
        "Host",
        "Content-Length",
        "Transfer-Encoding",
        "Trailer",
        "Content-Type",
        "Connection",
        "Keep-Alive",
        "TE",
        "Upgrade",
        "Proxy-Authorization",
        "Proxy-Connection",
        "Cookie",
        "X-Forwarded-For",
        "Forwarded",
        "Via",
        "X-Real-Ip",
        "User-Agent",
        "Accept-Encoding",
        "OpenAI-Organization",
        "X-Tunnel-Traffic-Source",
    ];
    let mut command = Command::method("m", "1").header("X-Nominated", &["zzz-evil"]);
    for name in names {
        let value = if name == "Connection" { "x-nominated, zzz-evil" } else { "zzz-evil" };
        command = command.header(name, &[value]);
    }
    let request = rig.forwarded(&command, "m");
    assert!(!request.dump().contains("zzz-evil"), "{}", request.dump());
    assert!(rig.mcp.server.origin().ends_with(request.header("host").unwrap()));
    assert_eq!(request.header("content-length"), Some(request.body.len().to_string().as_str()));
    rig.assert_alive();
}

/// Names by which proxies say who calls, and that servers behind them believe, are nobody's to send; credentials of
/// callers pass.
#[test]
fn names_of_identity_do_not_pass() {
    let rig = Rig::start();
    let names = [
        "X-Remote-User",
        "Remote-User",
        "REMOTE_USER",
        "X-Auth-Request-User",
        "X-Auth-Request-Email",
        "X-WEBAUTH-USER",
        "X-Goog-Authenticated-User-Email",
        "X-Goog-IAP-JWT-Assertion",
        "X-Amzn-Oidc-Data",
        "X-Amzn-Mtls-Clientcert",
        "X-MS-CLIENT-PRINCIPAL",
        "X-MS-CLIENT-PRINCIPAL-NAME",
        "X-SSL-Client-Verify",
        "SSL_CLIENT_CERT",
        "Client-Cert",
        "Client-Cert-Chain",
        "X-Client-Cert",
        "X-ARR-ClientCert",
        "Tailscale-User-Login",
        "Cf-Access-Jwt-Assertion",
        "X-Pomerium-Claim-Email",
        "X-Authentik-Username",
        "X-Authenticated-Userid",
        "X-Consumer-Username",
        "X-Vouch-User",
        "OIDC_CLAIM_email",
        "X-Original-Host",
        "X-Host",
        "X-Forwarded",
        "X-Forwarded-User",
        "Fastly-Client-IP",
        "X-Azure-ClientIP",
        "X-Appengine-User-Email",
        "OpenAI-Project",
        "OpenAI-Organization",
    ];
    let pass = ["X-Goog-Api-Key", "X-Api-Key", "X-Tenant", "Private-Token"];
    let mut command = Command::method("m", "1");
    for name in names {
        command = command.header(name, &["zzz-evil"]);
    }
    for name in pass {
        command = command.header(name, &["good"]);
    }
    let request = rig.forwarded(&command, "m");
    assert!(!request.dump().contains("zzz-evil"), "{}", request.dump());
    for name in pass {
        assert_eq!(request.header(&name.to_lowercase()), Some("good"), "{name}");
    }
}

/// `mcp.forward_headers` shuts out what it does not name, but for the protocol's own.
#[test]
fn an_allow_list_shuts_all_others_out() {
    let command = Command::method("m", "1")
        .header("Authorization", &["Bearer b"])
        .header("X-Tenant", &["t"])
        .header("X-Remote-User", &["root"])
        .header("Mcp-Session-Id", &["s"]);
    let seen = |adjust: &dyn Fn(Builder) -> Builder| {
        let request = Rig::with(adjust).forwarded(&command, "m");
        ["authorization", "x-tenant", "x-remote-user", "mcp-session-id"]
            .map(|name| request.header(name).is_some())
    };
    assert_eq!(seen(&|b| b), [true, true, false, true]);
    assert_eq!(seen(&|b| b.flag("mcp.forward-headers", "X-Tenant")), [false, true, false, true]);
    let both = |b: Builder| b.env("MCP_FORWARD_HEADERS", "authorization, x-remote-user");
    assert_eq!(seen(&both), [true, false, false, true]);
    assert_eq!(seen(&|b| b.yaml("mcp:\n  forward_headers: []\n")), [false, false, false, true]);
}

/// CP-085, MCP-022: a header that cannot be sent is a 502, and no request.
#[test]
fn illegal_headers_are_refused() {
    let rig = Rig::start();
    for (name, value) in [("bad name", "v"), ("X-A", "a\r\nX-Evil: 1"), ("X-B", "a\nb"), ("", "v")] {
        let answer = rig.send(&Command::method("m", "1").header(name, &[value]));
        assert_eq!(answer.code(), 502, "{name:?}");
        assert_eq!(answer.payload()["error"]["code"], -32603);
    }
    assert_eq!(rig.mcp.calls_of("m").len(), 0);
}

/// CP-086, CP-087, MCP-027 to MCP-029, MCP-031: static headers, and who beats whom.
#[test]
fn static_headers_have_their_place() {
    let second = Mcp::start();
    let rig = Rig::with(|b| {
        b.flag("mcp.extra-headers", "X-Static: base")
            .flag("mcp.extra-headers", "X-Beaten: base")
            .flag("mcp.discovery-extra-headers", "X-Discovery: yes")
            .flag("mcp.server-url", &format!("channel=two,url={}", second.url()))
    });
    // Before any call: a server that has just answered is not probed.
    let probes = rig.mcp.server.wait_requests(1, is_probe);
    let command = Command::method("m", "1").header("x-beaten", &["command"]);
    let request = rig.forwarded(&command, "m");
    assert_eq!(request.all("x-static"), ["base"]);
    assert_eq!(request.all("x-beaten"), ["command"]);
    assert_eq!(request.header("x-discovery"), None);
    rig.send(&Command::termination("s"));
    assert_eq!(rig.mcp.calls_of("DELETE")[0].all("x-static"), ["base"]);
    rig.send(&Command::method("n", "1").channel("two"));
    assert_eq!(second.calls_of("n")[0].all("x-static"), ["base"]);
    let probe = &probes[0];
    assert_eq!((probe.all("x-static"), probe.all("x-discovery")), (vec!["base"], vec!["yes"]));
    assert!(rig.plane.server.requests().iter().all(|r| r.header("x-static").is_none()), "MCP-030");
}

/// MCP-026: userinfo of the server URL is Basic authorization, unless the command has its own.
#[test]
fn userinfo_becomes_basic_authorization() {
    let (plane, mcp) = (Plane::start(), Mcp::start());
    let url = mcp.url().replace("http://", "http://user:pass%21@");
    let rig = Rig::over(plane, mcp, |b| b.set("mcp.server-url", &url));
    let request = rig.forwarded(&Command::method("m", "1"), "m");
    assert_eq!(request.all("authorization"), ["Basic dXNlcjpwYXNzIQ=="]);
    let own = Command::method("m", "1").header("authorization", &["Bearer x"]);
    assert_eq!(rig.forwarded(&own, "m").all("authorization"), ["Bearer x"]);
}

/// MCP-032, MCP-033: header values are resolved at start; what cannot be ends it.
#[test]
fn static_header_values_are_resolved_at_start() {
    let rig = Rig::with(|b| {
        let file = b.path("value.txt");
        std::fs::write(&file, "from-file\n").unwrap();
        b.flag("mcp.extra-headers", "X-Env: env:SITE_VALUE")
            .flag("mcp.extra-headers", &format!("X-File: file:{file}"))
            .flag("mcp.extra-headers", "X-Same: a")
            .flag("mcp.extra-headers", "x-same: a")
            .env("SITE_VALUE", " from-env ")
    });
    let request = rig.forwarded(&Command::method("m", "1"), "m");
    assert_eq!(request.all("x-env"), ["from-env"]);
    assert_eq!(request.all("x-file"), ["from-file"]);
    assert_eq!(request.all("x-same"), ["a"]);
    for (one, other) in [("X-Env: env:NOT_SET", "X-A: b"), ("X-A: a", "x-a: b")] {
        let builder = Builder::run(&rig.plane.server.origin(), &rig.mcp.url())
            .flag("mcp.extra-headers", one)
            .flag("mcp.extra-headers", other);
        assert_eq!(builder.finish().0, Some(1), "{one} {other}");
    }
}
