//! `tunnel-client health`: what probes of supervisors and containers see.

use std::sync::Arc;
use std::time::{Instant, SystemTime};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use crate::support::BOUND;
use crate::support::client::{Builder, Outcome};
use crate::support::plane::Plane;
use crate::support::reply::Reply;
use crate::support::rig::Rig;
use crate::support::server::Server;
use crate::support::temp::TempDir;

const LAST_POLL: &str = "commands_poll_last_successful_timestamp_seconds";

fn health(arguments: &[&str]) -> Outcome {
    arguments.iter().fold(Builder::bare("health"), |builder, argument| builder.argument(argument)).outcome()
}

/// Asks until all is well: the probes have half a second each, and machines are slow.
fn healthy(arguments: &[&str]) -> Outcome {
    let end = Instant::now() + BOUND;
    loop {
        let outcome = health(arguments);
        if outcome.code == Some(0) || Instant::now() > end {
            assert_eq!((outcome.code, outcome.stderr.as_str()), (Some(0), ""), "{}", outcome.stdout);
            return outcome;
        }
        assert_eq!(outcome.code, Some(2), "{}", outcome.stderr);
    }
}

fn report(arguments: &[&str]) -> (Option<i32>, Value) {
    let outcome = health(&[arguments, &["--json"]].concat());
    (outcome.code, serde_json::from_str(&outcome.stdout).unwrap())
}

/// A listener of our own making.
fn listener(answer: impl Fn(&str) -> Reply + Send + Sync + 'static) -> Server {
    Server::start(None, Arc::new(move |request| answer(request.path())))
}

/// Who follows a client sees each change once, and the verdict of the last look in the exit code.
#[test]
fn changes_are_followed() {
    let mut rig = Rig::start();
    let address = rig.client.address();
    healthy(&["--url", &format!("http://{address}")]);
    let follow = |time: &str| {
        let url = format!("--url=http://{address}");
        health(&[&url, "--follow", "--interval=100ms", &format!("--for={time}")])
    };
    let said = follow("1s");
    assert_eq!((said.code, said.stderr.as_str()), (Some(0), ""), "{}", said.stdout);
    for part in ["listener: answers at http://127.0.0.1:", "readyz: PASS ", "channel main: up\n"] {
        assert_eq!(said.stdout.matches(part).count(), 1, "{part}: {}", said.stdout);
    }
    rig.client.stop();
    let said = follow("300ms");
    assert_eq!((said.code, said.stdout.lines().count()), (Some(2), 1), "{}", said.stdout);
    assert!(said.stdout.contains("  listener: does not answer: "), "{}", said.stdout);
}

/// A running client passes every check, by every way to name it.
#[test]
fn a_running_client_is_healthy() {
    let mut rig = Rig::with(|b| {
        let path = b.path("client.pid");
        b.flag("pid.file", &path)
    });
    let address = rig.client.address();
    let port = address.rsplit(':').next().unwrap();
    rig.plane.queue(&crate::support::command::Command::rpc(r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#));
    let (url_file, pid_file) = (rig.client.path("health.url"), rig.client.path("client.pid"));
    let (url_file, pid_file) = (url_file.to_str().unwrap(), pid_file.to_str().unwrap());

    let outcome = healthy(&["--url-file", url_file, "--pid-file", pid_file, "--require-control-plane-poll"]);
    let lines: Vec<&str> = outcome.stdout.lines().collect();
    assert_eq!(lines[0], format!("Locator: url_file={url_file}"));
    assert_eq!(lines[1], format!("Base URL: http://{address}"));
    assert_eq!(lines[2], format!("UI URL: http://{address}/ui"));
    assert_eq!(lines[3], format!("Healthz: PASS | http://{address}/healthz | HTTP 200 | live"));
    assert_eq!(lines[4], format!("Readyz: PASS | http://{address}/readyz | HTTP 200 | ready"));
    let poll = format!("Control-plane poll: PASS | http://{address}/metrics | last_success_unix_seconds=");
    assert!(lines[5].strip_prefix(&poll).unwrap().parse::<u64>().unwrap() > 1_700_000_000);
    assert_eq!(lines[6], format!("Process: PASS | pid={} | pid_file={pid_file}", rig.client.pid()));
    // A table of what /health says, for people, before the verdict.
    let [table @ .., verdict] = &lines[7..] else { panic!("{lines:?}") };
    assert_eq!(*verdict, "Result: OK");
    let row = |name: &str| table.iter().find(|row| row.split_whitespace().next() == Some(name)).unwrap();
    assert_eq!(row("cloudflared").split_whitespace().collect::<Vec<_>>()[1..], ["disabled", "disabled"]);
    assert_eq!(row("control-plane").split_whitespace().nth(1), Some("ok"));
    assert_eq!(table.len(), 9 + usize::from(cfg!(feature = "harpoon")));
    let (_, json) = report(&["--url-file", url_file]);
    assert_eq!(json["health"]["runtime"]["lifecycle"], "running");

    let pid = rig.client.pid().to_string();
    assert!(healthy(&["--port", port, "--pid", &pid]).stdout.contains(&format!("Locator: port={port}\n")));
    let url = format!("http://{address}/readyz");
    assert!(healthy(&["--url", &url]).stdout.starts_with(&format!("Locator: url={url}\n")));
}

/// JSON has these members in this order, and none without a value.
#[test]
fn json_is_exact() {
    let server = listener(|path| match path {
        "/metrics" => Reply::body(200, "text/plain", format!("# x\n{LAST_POLL}{{a=\"b c\"}} 1.7e+09\n")),
        "/healthz" => Reply::body(200, "text/plain", " live\n"),
        _ => Reply::body(503, "text/plain", "not \u{9b}yet"),
    });
    let (origin, port) = (server.origin(), server.port());
    let pid = std::process::id();
    let outcome = health(&[
        "--port",
        &port.to_string(),
        "--pid",
        &pid.to_string(),
        "--require-control-plane-poll",
        "--json",
    ]);
    let expected = format!(
        r#"{{
  "locator": {{
    "kind": "port",
    "port": {port},
    "resolved_base_url": "{origin}"
  }},
  "process": {{
    "pid": {pid},
    "running": true
  }},
  "base_url": "{origin}",
  "ui_url": "{origin}/ui",
  "healthz": {{
    "url": "{origin}/healthz",
    "ok": true,
    "status": 200,
    "body": "live"
  }},
  "readyz": {{
    "url": "{origin}/readyz",
    "ok": false,
    "status": 503,
    "body": "not \u009byet"
  }},
  "control_plane_poll": {{
    "url": "{origin}/metrics",
    "value": 1700000000,
    "ok": true
  }},
  "result": "fail"
}}
"#
    );
    assert_eq!((outcome.code, outcome.stdout), (Some(2), expected));
}

/// A socket is reached by the URL that the listener writes for it.
#[test]
fn sockets_are_asked_too() {
    let directory = TempDir::new();
    let socket = directory.join("health.sock");
    let mut rig = Rig::with(|b| b.flag("health.unix-socket", socket.to_str().unwrap()));
    rig.client.wait_log(|line| line.contains("tunnel-client started"));
    let url_file = rig.client.path("health.url");
    let outcome = healthy(&["--url-file", url_file.to_str().unwrap()]);
    let name = URL_SAFE_NO_PAD.encode(socket.to_str().unwrap());
    assert!(
        outcome.stdout.contains(&format!("Healthz: PASS | http+unix://{name}/healthz | HTTP 200 | live\n"))
    );
    // As people type it.
    let path = socket.to_str().unwrap();
    for arguments in [
        ["--unix-socket", path],
        ["--url", &format!("http+unix://{path}")],
        ["--url", &format!("http+unix://{}/readyz", path.replace('/', "%2F"))],
    ] {
        assert!(healthy(&arguments).stdout.contains("Healthz: PASS | "), "{arguments:?}");
    }
    rig.client.stop();
    let (code, report) = report(&["--url", &format!("http+unix://{name}")]);
    assert_eq!((code, &report["healthz"]["ok"]), (Some(2), &json!(false)));
    assert!(report["healthz"]["error"].as_str().unwrap().starts_with("connect to unix socket"), "{report}");
}

/// No poll has succeeded: healthy without the check, not with it.
#[test]
fn polls_are_asked_for_on_request_only() {
    let plane = Plane::start();
    plane.next_poll(Reply::silence());
    let mut rig = Rig::over(plane, crate::support::mcp::Mcp::start(), |b| b);
    let address = rig.client.address();
    rig.plane.wait_polls(1);
    let url = format!("http://{address}");
    healthy(&["--url", &url]);
    let (code, found) = report(&["--url", &url, "--require-control-plane-poll"]);
    assert_eq!((code, &found["result"]), (Some(2), &json!("fail")));
    assert_eq!(found["control_plane_poll"]["error"], "no successful control-plane poll observed");
    assert_eq!(found["control_plane_poll"]["value"], 0);

    let server = listener(|path| match path {
        "/metrics" => Reply::body(200, "text/plain", "other 1\n"),
        _ => Reply::body(200, "text/plain", "ok"),
    });
    let (_, found) = report(&["--url", &server.origin(), "--require-control-plane-poll"]);
    assert_eq!(found["control_plane_poll"]["error"], format!("missing {LAST_POLL} metric"));
    let server = listener(|path| Reply::status(if path == "/metrics" { 404 } else { 204 }));
    let outcome = health(&["--url", &server.origin(), "--require-control-plane-poll"]);
    assert!(
        outcome.stdout.contains("/metrics | HTTP 404\n") && outcome.code == Some(2),
        "{}",
        outcome.stdout
    );
}

/// What a listener says is one short line on a terminal, however long, slow or strange it is.
#[test]
fn strange_listeners_are_bounded() {
    let server = listener(|path| match path {
        "/healthz" => Reply::body(200, "text/plain", format!("\x1b[2J\n{}", "x".repeat(100_000))),
        _ => Reply::silence(),
    });
    let outcome = health(&["--url", &server.origin()]);
    assert_eq!((outcome.code, outcome.stdout.lines().count()), (Some(2), 6), "{}", outcome.stdout);
    assert!(outcome.stdout.len() < 3000 && !outcome.stdout.contains('\x1b'));
    assert!(outcome.stdout.contains(" | HTTP 200 | \\u{1b}[2J\\n"), "{}", outcome.stdout);
    assert!(outcome.stdout.contains("Readyz: FAIL | "), "{}", outcome.stdout);
}

/// Certificates are shown with what is left of their lives; one that has ended fails, one with little left does not.
#[test]
fn certificates_are_judged_by_what_is_left() {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
    let hour = 3600;
    for (age, rest, code, wanted) in [
        (2 * hour, 22 * hour + 60, 0, " of 24 hours left | loaded 2"),
        (17 * hour, 7 * hour, 0, " of 24 hours left, renew it | loaded 2"),
        (25 * hour, -hour, 2, "0 of 24 hours left | loaded 2"),
    ] {
        let (begins, ends) = (now - u64::try_from(age).unwrap(), now.checked_add_signed(rest).unwrap());
        let times = [("not_before", begins), ("expiry", ends), ("loaded", now)];
        let lines = times.map(|(what, at)| {
            format!("tunnel_client_certificate_{what}_timestamp_seconds{{purpose=\"mcp:main\"}} {at}\n")
        });
        let metrics = lines.concat();
        let server = listener(move |path| match path {
            "/metrics" => Reply::body(200, "text/plain", metrics.clone()),
            _ => Reply::body(200, "text/plain", "ok"),
        });
        let outcome = health(&["--url", &server.origin()]);
        let line = outcome.stdout.lines().find(|line| line.starts_with("Certificate: ")).unwrap();
        let verdict = if code == 2 {
            "FAIL"
        } else if wanted.contains("renew") {
            "WARN"
        } else {
            "PASS"
        };
        assert!(line.starts_with(&format!("Certificate: {verdict} | mcp:main | valid until 2")), "{line}");
        assert!(line.contains(wanted) && outcome.code == Some(code), "{line}");
        let (_, found) = report(&["--url", &server.origin()]);
        let one = &found["certificates"][0];
        assert_eq!((&one["purpose"], &one["not_after"]), (&json!("mcp:main"), &json!(ends)), "{found}");
        let state = match verdict {
            "PASS" => "ok",
            "WARN" => "renew",
            _ => "ended",
        };
        assert_eq!(one["state"], state);
    }
}

/// A redirect is no health, and is not followed.
#[test]
fn redirects_are_failures() {
    let server = listener(|path| match path {
        "/healthz" => Reply::status(302).header("Location", "/elsewhere"),
        _ => Reply::body(200, "text/plain", "ready"),
    });
    let outcome = health(&["--url", &server.origin()]);
    assert!(outcome.stdout.contains("Healthz: FAIL | ") && outcome.code == Some(2), "{}", outcome.stdout);
    assert!(server.requests().iter().all(|request| request.path() != "/elsewhere"));
}

/// A page that is not there is not offered.
#[test]
fn a_page_that_is_not_there_is_not_named() {
    for (status, named) in [(404, false), (200, true)] {
        let server = listener(move |path| match path {
            "/ui" => Reply::body(status, "text/html", "x"),
            _ => Reply::body(200, "text/plain", "ok"),
        });
        assert_eq!(health(&["--url", &server.origin()]).stdout.contains("UI URL: "), named);
        let (_, found) = report(&["--url", &server.origin()]);
        assert_eq!(found["ui_url"].is_string(), named, "{found}");
    }
}

/// What cannot be found is a failed check, not a mistake.
#[test]
fn what_is_not_there_fails() {
    let directory = TempDir::new();
    let text_of = |arguments: &[&str]| {
        let outcome = health(arguments);
        assert_eq!((outcome.code, outcome.stderr.as_str()), (Some(2), ""), "{}", outcome.stdout);
        outcome.stdout
    };
    let absent = directory.join("absent");
    let absent = absent.to_str().unwrap();
    let text = text_of(&["--url-file", absent, "--pid-file", absent]);
    let nothing = "no such file or directory";
    let lines = [
        format!("Locator: url_file={absent}"),
        format!("Locator error: read {absent}: {nothing}"),
        format!("Process: FAIL | pid_file={absent} | read {absent}: {nothing}"),
        "Result: FAIL\n".to_owned(),
    ];
    assert_eq!(text, lines.join("\n"));
    let empty = directory.write("empty", " \n");
    assert!(
        text_of(&["--url-file", &empty])
            .contains(&format!("Locator error: {empty} did not contain a health URL\n"))
    );
    assert!(
        text_of(&["--url", "/readyz"]).contains("Locator error: health URL is empty after normalization\n")
    );
    assert!(!text_of(&["--url", "http://u:hidden@h/"]).contains("hidden"));
    let bad = directory.write("pid", "no number\n");
    let text = text_of(&["--port", "1", "--pid-file", &bad]);
    assert!(text.contains(&format!(" | parse {bad} as pid: \"no number\"\n")), "{text}");
    assert!(text.contains("Healthz: FAIL | http://127.0.0.1:1/healthz | connect to 127.0.0.1:1: "), "{text}");
    let key = directory.write("key", "sk-key-that-was-named-by-mistake\n");
    let text = text_of(&["--port", "1", "--pid-file", &key]);
    assert!(text.contains("as pid: \"sk-key-th...\"\n"), "{text}");
    // Above the highest id that Linux gives.
    assert!(text_of(&["--port", "1", "--pid", "4194305"]).contains("Process: FAIL | pid=4194305\n"));
    // Some process of another user, unless the tests run as root.
    assert!(text_of(&["--port", "1", "--pid", "1"]).contains("Process: PASS | pid=1\n"));
}

/// Mistakes of the command line are one line on standard error and exit 1.
#[test]
fn arguments_are_checked() {
    let one = "choose exactly one of --url, --unix-socket, --url-file, or --port";
    for (arguments, wanted) in [
        (&[][..], one),
        (&["--url", "http://h", "--port", "1"], one),
        (&["--url", " "], one),
        (&["--unix-socket", "/x", "--port", "1"], one),
        (&["--port", "0"], "--port must be positive"),
        (&["--port", "-1"], "--port must be positive"),
        (&["--port", "65536"], "--port must be at most 65535"),
        (&["--port", "1", "--pid", "0"], "--pid must be positive"),
        (&["--port", "1", "--pid", "1", "--pid-file", "x"], "choose at most one of --pid or --pid-file"),
        (&["bogus"], "unexpected argument: write every value as --flag=value"),
        (&["--prot", "1"], "unknown flag: --prot (did you mean --port?)"),
    ] {
        let outcome = health(arguments);
        assert_eq!((outcome.code, outcome.stdout.as_str()), (Some(1), ""), "{arguments:?}");
        assert_eq!(outcome.stderr, format!("{wanted}\n"));
    }
}
