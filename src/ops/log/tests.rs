//! Lines of all formats.

use super::*;
use crate::config::Secret;
use std::time::{Duration, UNIX_EPOCH};

fn line(format: LogFormat, args: std::fmt::Arguments<'_>, attributes: &[(&str, Value<'_>)]) -> String {
    let identity = Identity { instance_id: "i".into(), tunnel_id: "t".into(), ..Identity::default() };
    let redactor = Arc::new(Redactor::new(vec![Secret::new("hidden-value".into())]));
    let record = Record::builder()
        .level(Level::Warn)
        .target("tunnel_client::plane::poller")
        .args(args)
        .key_values(&attributes)
        .build();
    let now = UNIX_EPOCH + Duration::new(1_795_183_538, 5);
    Lines { format, identity, redactor }.line(now, &record)
}

fn attributes<'a>() -> Vec<(&'a str, Value<'a>)> {
    vec![
        ("status_code", Value::from(503)),
        ("big", Value::from(u64::MAX)),
        ("wait_ms", Value::from(7_u128)),
        ("error", Value::from("a \"b\"\n\\")),
        ("cookie", Value::from("c=d")),
        ("ok", Value::from(true)),
        ("id", Value::from("cmd-1")),
    ]
}

/// What the page shows of it has no part that a server printed.
#[cfg(feature = "page")]
#[test]
fn kept_lines_leave_out_what_servers_print() {
    let identity = Identity::default();
    let recent = Arc::clone(&identity.recent);
    let lines = Lines { format: LogFormat::Unset, identity, redactor: Arc::new(Redactor::new(Vec::new())) };
    let attributes = [("channel", "main"), ("first", "row 17: Jane"), ("last_words", "row 18: Joe")];
    let attributes = attributes.map(|(key, value)| (key, Value::from(value)));
    let (args, attributes) = (format_args!("it ended"), &attributes[..]);
    let record = Record::builder().level(Level::Warn).args(args).key_values(&attributes).build();
    assert!(lines.line(UNIX_EPOCH, &record).contains("row 18: Joe"));
    assert_eq!(recent.all()[0].text, "it ended channel=main");
}

#[test]
fn each_format_writes_one_line_with_everything() {
    let args = format_args!("poll failed; backing off");
    let plain = line(LogFormat::Unset, args, &attributes());
    let common = "client_instance_id=i tunnel_id=t component=controlplane status_code=503 \
        big=18446744073709551615 wait_ms=7 error=\"a \\\"b\\\"\\n\\\\\" cookie=[REDACTED] ok=true id=cmd-1\n";
    assert_eq!(plain, format!("2026/11/20 14:05:38 WARN poll failed; backing off {common}"));
    let text = line(LogFormat::StructText, args, &attributes());
    let head = "time=2026-11-20T14:05:38.000Z level=WARN msg=\"poll failed; backing off\" ";
    assert_eq!(text, format!("{head}{common}"));
    let json = line(LogFormat::Json, args, &attributes());
    let value: serde_json::Value = serde_json::from_str(&json).unwrap();
    for (key, expected) in [
        ("time", "2026-11-20T14:05:38.000000005Z"),
        ("level", "WARN"),
        ("msg", "poll failed; backing off"),
        ("client_instance_id", "i"),
        ("tunnel_id", "t"),
        ("component", "controlplane"),
        ("error", "a \"b\"\n\\"),
        ("cookie", "[REDACTED]"),
    ] {
        assert_eq!(value[key], expected, "{json}");
    }
    assert_eq!((&value["status_code"], &value["ok"]), (&503.into(), &true.into()));
    assert_eq!(value["wait_ms"], 7);
    assert_eq!(json.matches('\n').count(), 1);
}

#[test]
fn no_format_lets_secrets_or_control_characters_through() {
    for format in [LogFormat::Unset, LogFormat::StructText, LogFormat::Json] {
        let evil = "hidden-value \u{1b}[2J\u{202e}\r\nlevel=ERROR";
        let attributes = [("error", Value::from(evil)), ("api_key", Value::from(12))];
        let line = line(format, format_args!("{evil}"), &attributes);
        assert!(!line.contains("hidden-value") && !line.contains("12"), "{line}");
        assert!(!line.trim_end_matches('\n').contains(text::must_escape), "{line}");
    }
}

#[test]
fn values_are_bounded_and_dumps_less_so() {
    let long = "x".repeat(100_000);
    let attributes = [("error", Value::from(long.as_str())), ("dump", Value::from(long.as_str()))];
    let line = line(LogFormat::Json, format_args!("m"), &attributes);
    let value: serde_json::Value = serde_json::from_str(&line).unwrap();
    assert_eq!(value["error"].as_str().unwrap().len(), text::MAX_FOREIGN_BYTES);
    assert_eq!(value["dump"].as_str().unwrap().len(), MAX_DUMP_BYTES);
}

#[test]
fn rooms_have_the_names_that_operators_know() {
    for (target, name) in [
        ("tunnel_client::relay", "dispatcher"),
        ("tunnel_client::mcp::http", "mcpclient"),
        ("tunnel_client::ops::listener", "health"),
        ("tunnel_client::ops::files", "process"),
        ("tunnel_client", "process"),
    ] {
        assert_eq!(component(target), name);
    }
}

#[test]
fn only_our_own_records_reach_the_file_and_nobody_else_may_read_it() {
    use std::os::unix::fs::PermissionsExt;
    let scratch = crate::ops::files::tests::Scratch::new("log");
    let path = scratch.0.join("log");
    let settings = config::Log {
        level: LevelFilter::Info,
        format: LogFormat::Json,
        file: Some(path.clone()),
        http_raw_unsafe: false,
        on_stderr: false,
    };
    let redactor = Arc::new(Redactor::new(Vec::new()));
    init(&settings, Identity::default(), Arc::clone(&redactor), Arc::default()).unwrap();
    ::log::error!(target: "ureq::run", "foreign");
    ::log::debug!(target: "tunnel_client::plane", "quiet");
    ::log::info!(target: "tunnel_client::plane", request_id = "cmd-1"; "ours");
    let text = std::fs::read_to_string(&path).unwrap();
    assert!(!text.contains("foreign") && !text.contains("quiet"), "{text}");
    let ours = text.lines().find(|line| line.contains("ours")).unwrap();
    let value: serde_json::Value = serde_json::from_str(ours).unwrap();
    assert_eq!(value["request_id"], "cmd-1");
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let again = init(&settings, Identity::default(), redactor, Arc::default()).unwrap_err();
    assert_eq!(again.to_string(), "start logging: it was started before");
}
