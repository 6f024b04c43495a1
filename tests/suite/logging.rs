//! The log: formats, levels, correlation, and what outsiders can make it say.

use std::os::unix::fs::PermissionsExt;

use serde_json::Value;

use crate::support::client::Builder;
use crate::support::command::Command;
use crate::support::http::Request;
use crate::support::mcp::Mcp;
use crate::support::oauth::{self, Site};
use crate::support::plane::{Plane, TUNNEL};
use crate::support::reply::{Part, Reply};
use crate::support::rig::Rig;
use crate::support::temp::TempDir;

/// A client without any log setting.
fn silent(builder: Builder) -> Builder {
    builder.without("log.format").without("log.level")
}

/// A poll's refusal with this code and message.
fn refusal(status: u16, code: &str, message: &str) -> Reply {
    let error = serde_json::json!({"error": {"message": message, "type": "t", "code": code}});
    Reply::json(status, error.to_string())
}

/// DESIGN, log: JSON lines parse, each with time, level, message, instance, tunnel and component.
#[test]
fn json_lines_parse_and_say_who_speaks() {
    let mut rig = Rig::start();
    rig.assert_alive();
    rig.mcp.reply("ping", Reply::closed());
    rig.send(&Command::method("ping", "1"));
    assert!(rig.client.stop().success());
    let mut instances = Vec::new();
    for line in rig.client.log().lines() {
        let json: Value = serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"));
        for key in ["time", "level", "msg", "client_instance_id", "component"] {
            assert!(json[key].as_str().is_some_and(|v| !v.is_empty()), "{key}: {line}");
        }
        assert!(["ERROR", "WARN", "INFO", "DEBUG"].contains(&json["level"].as_str().unwrap()));
        assert_eq!(json["tunnel_id"], TUNNEL);
        instances.push(json["client_instance_id"].to_string());
    }
    instances.dedup();
    assert_eq!(instances.len(), 1);
    let polled = rig.plane.polls();
    let sent = polled[0].header("x-tunnel-client-instance-id").unwrap();
    assert_eq!(instances[0], format!("\"{sent}\""));
}

/// DESIGN, log: `struct-text` lines begin with time, level and message.
#[test]
fn struct_text_lines_are_key_value_pairs() {
    let mut rig = Rig::with(|b| b.set("log.format", "Struct-Text"));
    rig.assert_alive();
    assert!(rig.client.stop().success());
    for line in rig.client.log().lines() {
        assert!(line.starts_with("time=") && line.contains(" level=") && line.contains(" msg="), "{line}");
    }
    assert!(rig.client.log().contains("msg=\"poller started\""));
}

/// Events that scripts and alerts of the Go client match on have its texts, and times its milliseconds.
#[test]
fn events_have_the_texts_of_the_reference() {
    let directory = TempDir::new();
    let pid = directory.join("pid").to_str().unwrap().to_owned();
    let adjust = |b: Builder| b.set("log.format", "struct-text").flag("pid.file", &pid);
    let own = |r: &Request| oauth::resource(&oauth::origin(r));
    let mut site = Site::start(move |r| (r.path() == oauth::OWN).then(|| own(r)), adjust);
    site.verdict();
    site.wait_settled();
    let address = site.client.address().to_string();
    let pid = format!("pid={}", site.client.pid());
    for parts in [
        ["msg=\"health server listening\"", &format!("addr={address}")],
        ["🩺 HEALTH URL: http://", &address],
        ["🌐 WEB UI: http://", &format!("{address}/ui")],
        ["msg=\"pid file written\"", &pid],
        ["🟢 tunnel-client started", "version="],
        ["msg=\"mcp session initialized\"", "protocol_version="],
        ["OAuth discovery ProtectedResourceMetaData fetched", "level=INFO"],
    ] {
        site.client.wait_log(|line| parts.iter().all(|part| line.contains(part)));
    }
    let log = site.client.log();
    let time = log.split_once("time=").and_then(|(_, rest)| rest.split_once(' ')).unwrap().0;
    assert_eq!(time.len(), "2026-11-20T14:05:38.123Z".len(), "{time}");
}

/// DESIGN, log: without a format the lines are for people, and nothing below info is written.
#[test]
fn without_a_format_lines_are_for_people() {
    let mut rig = Rig::with(silent);
    rig.assert_alive();
    rig.client.wait_log(|line| line.contains("INFO") && line.contains("poller started"));
    assert!(rig.client.stop().success());
    let log = rig.client.log();
    assert!(!log.contains("DEBUG") && !log.contains("msg=") && !log.contains("{\""), "{log}");
}

/// What a first look needs stands in ten lines: listener, page, roots, ways, rules and bounds, sources, version, files.
#[test]
fn the_start_is_told_in_ten_lines() {
    let rig =
        Rig::with(|b| silent(b).yaml("policy: {mode: observe, channels: {main: {tools: {allow: [a]}}}}\n"));
    rig.client.wait_log(|line| line.contains("files that are taken over when they change"));
    let log = rig.client.log();
    // The poller tells of its own start, before or after that.
    let lines = log.lines().take_while(|line| !line.contains("tunnel-client started"));
    assert!(lines.filter(|line| !line.contains("poller started")).count() < 10, "{log}");
    for part in [
        "health server listening",
        "tls trust summary",
        "route=\"control plane\"",
        "route=main",
        "policy=observe pins=off audit=off max_inflight=20",
        "config_source=",
        "component=process version=",
        "component=process count=",
    ] {
        assert!(log.contains(part), "{part}: {log}");
    }
    assert!(log.contains("WEB UI: http://127.0.0.1:") == cfg!(feature = "page"), "{log}");
}

/// DESIGN, log: a level needs a format; unknown levels and formats end the start.
#[test]
fn levels_need_a_format() {
    let start = || silent(Builder::run("http://127.0.0.1:1", "http://127.0.0.1:1/mcp"));
    for (builder, wanted) in [
        (
            start().flag("log.level", "debug"),
            "log level requires 'struct-text' or 'json' log format: add --log.format struct-text",
        ),
        (start().flag("log.format", "xml"), "unsupported log format"),
        (start().flag("log.format", "json").flag("log.level", "loud"), "parse log level"),
    ] {
        let (code, output) = builder.finish();
        assert_eq!(code, Some(1), "{output}");
        assert!(output.contains(wanted), "{output}");
    }
}

/// DESIGN, log: each level shows itself and what is worse.
#[test]
fn levels_filter() {
    for (level, shown, hidden) in [
        ("debug", "\"level\":\"DEBUG\"", "\"level\":\"TRACE\""),
        ("INFO", "\"level\":\"INFO\"", "\"level\":\"DEBUG\""),
        ("warn", "\"level\":\"WARN\"", "\"level\":\"INFO\""),
    ] {
        let plane = Plane::start();
        plane.next_poll(Reply::status(500).off_contract());
        let mut rig = Rig::over(plane, Mcp::start(), |b| b.set("log.level", level));
        rig.assert_alive();
        rig.client.wait_log(|line| line.contains(shown));
        assert!(rig.client.stop().success());
        assert!(!rig.client.log().contains(hidden), "{level}");
    }
    let plane = Plane::start();
    plane.next_poll(Reply::status(500).off_contract());
    let mut rig = Rig::over(plane, Mcp::start(), |b| b.set("log.level", "error"));
    rig.assert_alive();
    assert!(rig.client.stop().success());
    assert_eq!(rig.client.log(), "");
}

/// DESIGN, log: a file gets all lines, appended, with mode 0600, and makes the format `struct-text`.
#[test]
fn a_log_file_is_private() {
    let directory = TempDir::new();
    let path = directory.join("client.log");
    for round in 1..=2 {
        let mut rig = Rig::with(|b| silent(b).flag("log.file", path.to_str().unwrap()));
        rig.assert_alive();
        assert!(rig.client.stop().success());
        assert_eq!(rig.client.log(), "");
        let text = std::fs::read_to_string(&path).unwrap();
        assert_eq!(text.matches("msg=\"poller started\"").count(), round);
        assert!(text.lines().all(|line| line.starts_with("time=")));
    }
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let nowhere = directory.join("missing/client.log");
    let builder = Builder::run("http://127.0.0.1:1", "http://127.0.0.1:1/mcp");
    let (code, output) = builder.flag("log.file", nowhere.to_str().unwrap()).finish();
    assert_eq!(code, Some(1));
    assert!(output.contains("missing/client.log"), "{output}");
}

/// DESIGN, log: `RUST_LOG` neither adds nor takes lines, and no library speaks.
#[test]
fn rust_log_is_ignored() {
    for value in ["trace", "off"] {
        let mut rig = Rig::with(|b| b.env("RUST_LOG", value));
        rig.assert_alive();
        assert!(rig.client.stop().success());
        let log = rig.client.log();
        assert!(log.contains("poller started") && log.contains("poll cycle started"));
        for library in ["ureq", "rustls", "TRACE"] {
            assert!(!log.contains(library), "{library}");
        }
    }
}

/// CP, log: a failed call names the command, the caller's id, the JSON-RPC id and no URL or payload.
#[test]
fn a_failed_call_can_be_correlated() {
    let rig = Rig::start();
    rig.mcp.reply("tools/call", Reply::closed());
    let command = Command::rpc(
        r#"{"jsonrpc":"2.0","id":"rpc-77","method":"tools/call","params":{"x":"payload-inside"}}"#,
    )
    .header("X-Request-Id", &["caller-id-1"]);
    assert_eq!(rig.send(&command).code(), 502);
    let line = rig.client.wait_log(|line| line.contains("upstream error"));
    let json: Value = serde_json::from_str(&line).unwrap();
    assert_eq!(json["level"], "WARN");
    assert_eq!(json["component"], "dispatcher");
    assert_eq!(json["request_id"], *command.id);
    assert_eq!(json["cmd_request_id"], "caller-id-1");
    assert!(json["rpc_request_id"].to_string().contains("rpc-77"), "{line}");
    assert_eq!(json["failure_source"], "transport_closed");
    assert!(!line.contains("payload-inside") && !line.contains("/mcp"), "{line}");
}

/// CP, log: a failed poll carries the plane's request id, status, code, message and the next wait.
#[test]
fn a_failed_poll_can_be_correlated() {
    let plane = Plane::start();
    plane.next_poll(refusal(429, "rate_limit_exceeded", "slow down").header("X-Request-Id", "plane-id-9"));
    let rig = Rig::over(plane, Mcp::start(), |b| b);
    let line = rig.client.wait_log(|line| line.contains("backing off"));
    let json: Value = serde_json::from_str(&line).unwrap();
    assert_eq!(json["msg"], "poll failed; backing off");
    assert_eq!(json["component"], "controlplane");
    assert_eq!(json["tunnel_request_id"], "plane-id-9");
    assert_eq!((&json["status_code"], &json["error_code"]), (&429.into(), &"rate_limit_exceeded".into()));
    assert_eq!(json["error_message"], "slow down");
    assert!(json["retry_in_ms"].as_u64().unwrap() >= 100);
    rig.assert_alive();
    rig.client.wait_log(|line| line.contains("poller recovered; polling operational"));
}

/// CP-044: a refusal is explained by the plane's own error code, and by its status without one.
#[test]
fn refusals_are_explained() {
    for (status, code, wanted) in [
        (401, "invalid_api_key", "API key"),
        (403, "tunnel_use_forbidden", "tunnel's settings"),
        (403, "tunnel_active_organization_required", "organization-id"),
        (401, "some_new_code", "API key"),
        (403, "", "tunnel"),
    ] {
        let plane = Plane::start();
        plane.next_poll(refusal(status, code, "m").off_contract());
        let rig = Rig::over(plane, Mcp::start(), |b| b);
        let line = rig.client.wait_log(|line| line.contains("backing off"));
        let json: Value = serde_json::from_str(&line).unwrap();
        assert!(json["mitigation"].as_str().unwrap().contains(wanted), "{line}");
    }
}

/// DESIGN, log: what comes from outside can neither break a line nor steer a terminal, in any format.
#[test]
fn foreign_text_is_escaped() {
    let hostile = "a\u{1b}[31m\r\nFAKE level=INFO\u{7}\u{202e}\u{9b}\u{2028}\u{200b}end";
    for format in ["json", "struct-text", ""] {
        let plane = Plane::start();
        plane.next_poll(refusal(403, hostile, hostile).off_contract());
        plane.metadata(Reply::json(
            200,
            serde_json::json!({"id": TUNNEL, "name": hostile, "description": hostile}).to_string(),
        ));
        let mut rig = Rig::over(plane, Mcp::start(), |b| {
            if format.is_empty() { silent(b) } else { b.set("log.format", format) }
        });
        rig.client.wait_log(|line| line.contains("backing off"));
        rig.client.wait_log(|line| line.contains("tunnel metadata"));
        rig.plane.queue(&Command::method("ping", "1").channel(hostile));
        let kind = serde_json::to_string(hostile).unwrap();
        rig.plane.queue(&Command::method("ping", "1").member("command_type", kind).off_contract());
        rig.assert_alive();
        rig.client.stop();
        let log = rig.client.log();
        let bad = |c: char| c != '\n' && c.is_control() || matches!(c, '\u{202e}' | '\u{2028}' | '\u{200b}');
        assert!(!log.contains(bad), "{format}: {log:?}");
        assert!(!log.lines().any(|line| line.starts_with("FAKE")));
        assert!(log.contains("end"), "{log}");
    }
}

/// DESIGN, log: one item of foreign text takes at most 1 KiB of a line.
#[test]
fn foreign_text_is_bounded() {
    let long = "y".repeat(60_000);
    let plane = Plane::start();
    plane.next_poll(refusal(403, &long, &long).off_contract());
    plane.next_poll(Reply::body(500, "text/html", long.as_str()).off_contract());
    let name = serde_json::json!({"id": TUNNEL, "name": long, "description": long});
    plane.metadata(Reply::json(200, name.to_string()));
    let mut rig = Rig::over(plane, Mcp::start(), |b| b);
    rig.client.wait_log(|line| line.contains("tunnel metadata"));
    rig.plane.wait_polls(3);
    rig.client.stop();
    for line in rig.client.log().lines() {
        let json: Value = serde_json::from_str(line).unwrap();
        for (key, value) in json.as_object().unwrap() {
            assert!(value.as_str().unwrap_or_default().len() <= 1024, "{key}");
        }
    }
}

/// CP-170: debug lines hold no payload, no result and no header value without the raw lock.
#[test]
fn debug_lines_hold_no_payload() {
    for raw_at_info in [false, true] {
        let mut rig = Rig::with(|b| {
            if raw_at_info { b.set("log.level", "info").argument("--log.http-raw-unsafe") } else { b }
        });
        rig.mcp.reply("tools/call", Reply::result("1", r#"{"answer":"result-inside"}"#));
        let command =
            Command::rpc(r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"x":"payload-inside"}}"#)
                .header("X-Custom", &["header-inside"]);
        rig.send(&command);
        assert!(rig.client.stop().success());
        let log = rig.client.log();
        for text in ["payload-inside", "result-inside", "header-inside", &command.token] {
            assert!(!log.contains(text), "{text}");
        }
        assert_eq!(log.contains("raw HTTP logging is enabled"), raw_at_info);
    }
}

/// DESIGN, log: with both locks open, whole exchanges are shown, without credentials.
#[test]
fn raw_lines_hold_payloads_and_no_credentials() {
    let mut rig = Rig::with(|b| {
        b.argument("--log.http-raw-unsafe").flag("mcp.extra-headers", "X-Static: configured-value-9")
    });
    let result = Reply::result("1", r#"{"answer":"result-inside"}"#)
        .header("Set-Cookie", "sid=cookie-inside")
        .header("Mcp-Session-Id", "session-inside");
    rig.mcp.reply("tools/call", result);
    let command =
        Command::rpc(r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"x":"payload-inside"}}"#)
            .header("Authorization", &["Bearer bearer-inside"])
            .header("Cookie", &["a=1; b=biscuit-inside"]);
    let posted = rig.send(&command);
    assert_eq!(posted.code(), 200);
    assert!(rig.client.stop().success());
    let log = rig.client.log();
    for text in ["payload-inside", "result-inside", "raw HTTP logging is enabled"] {
        assert!(log.contains(text), "{text}");
    }
    for text in [
        "bearer-inside",
        "cookie-inside",
        "biscuit-inside",
        "session-inside",
        "configured-value-9",
        &command.token,
    ] {
        assert!(!log.contains(text), "{text}");
    }
    assert!(log.lines().all(|line| serde_json::from_str::<Value>(line).is_ok()));
}

/// Gets this reply of the server with both locks open and returns what was logged.
fn log_of_a_call(reply: Reply) -> String {
    let mut rig = Rig::with(|b| b.argument("--log.http-raw-unsafe"));
    rig.mcp.reply("m", reply);
    assert_eq!(rig.send(&Command::method("m", "1")).code(), 200);
    assert!(rig.client.stop().success());
    rig.client.log()
}

/// DESIGN, log: headers may be lists in a body; no element is shown.
#[test]
fn raw_lines_redact_lists() {
    let headers = r#"{"Authorization":["Bearer first-inside","Bearer second-inside"],
        "cookie":["a=1; sid=third-inside","fourth-inside"],"Mcp-Session-Id":["fifth, inside"],"x":"open-inside"}"#;
    let log = log_of_a_call(Reply::result("1", headers));
    assert!(log.contains("open-inside"), "{log}");
    for secret in ["first-inside", "second-inside", "third-inside", "fourth-inside", "fifth", " inside"] {
        assert!(!log.contains(secret), "{secret}");
    }
}

/// DESIGN, log: a credential is taken out of a dump also when it arrives in two pieces.
#[test]
fn raw_lines_redact_across_pieces() {
    let text = r#"{"jsonrpc":"2.0","id":1,"result":{"Cookie":["sid=HeadOfCookieTailOfCookie"]}}"#;
    let (head, tail) = text.split_at(text.find("TailOfCookie").unwrap());
    let pause = Part::Pause(std::time::Duration::from_millis(300));
    let log = log_of_a_call(Reply::json(200, head).declaring(text.len()).then(pause).bytes(tail));
    assert!(!log.contains("TailOfCookie"), "{log}");
}
