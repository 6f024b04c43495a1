//! Polls that fail: the client backs off, obeys the plane, and goes on.

use std::time::{Duration, SystemTime};

use crate::support::command::{Command, envelope};
use crate::support::http::Request;
use crate::support::mcp::Mcp;
use crate::support::plane::Plane;
use crate::support::reply::{Part, Reply};
use crate::support::rig::Rig;

/// Clocks of two processes and the kernel's timers agree this well.
const SLACK: Duration = Duration::from_millis(20);
/// The least wait after any failure.
const BACKOFF: Duration = Duration::from_millis(200);

/// Starts a client whose first polls get these replies.
fn rig_with_polls(replies: impl IntoIterator<Item = Reply>) -> Rig {
    let plane = Plane::start();
    for reply in replies {
        plane.next_poll(reply.off_contract());
    }
    Rig::over(plane, Mcp::start(), |b| b)
}

fn gap(polls: &[Request], after: usize) -> Duration {
    polls[after + 1].at - polls[after].at
}

/// CP-043, CP-045, CP-046, CP-048, NEW-031: every odd status is a failure; a success ends the backoff.
#[test]
fn failed_polls_are_repeated_after_a_wait() {
    let statuses = [500, 502, 503, 504, 429, 400, 404, 409, 201, 202, 302];
    let replies = statuses.iter().flat_map(|s| [Reply::status(*s), Reply::status(204)]);
    let rig = rig_with_polls(replies);
    let polls = rig.plane.wait_polls(statuses.len() * 2);
    for (number, status) in statuses.iter().enumerate() {
        let waited = gap(&polls, number * 2);
        assert!(waited + SLACK >= BACKOFF, "{status}: {waited:?}");
    }
    rig.assert_alive();
}

/// CP-044: a refused key is no tight loop, and the log says what an operator must do.
#[test]
fn refused_keys_are_retried_slowly_and_explained() {
    for (status, code) in [(401, "tunnel_missing_principals"), (403, "tunnel_use_forbidden")] {
        let body = format!(r#"{{"error":{{"message":"m","type":"t","code":"{code}"}}}}"#);
        let rig = rig_with_polls([Reply::json(status, body.clone()), Reply::json(status, body)]);
        rig.client.wait_log(|line| line.contains(code));
        let polls = rig.plane.wait_polls(3);
        assert!(gap(&polls, 0) + SLACK >= BACKOFF && gap(&polls, 1) + SLACK >= BACKOFF);
        rig.assert_alive();
    }
}

/// CP-049, CP-053: `Retry-After` in seconds is obeyed on every failure.
#[test]
fn retry_after_is_the_least_wait() {
    let after = |status| Reply::status(status).header("Retry-After", "1");
    let rig = rig_with_polls([after(503), after(429), after(401), after(408)]);
    let polls = rig.plane.wait_polls(5);
    for number in 0..4 {
        assert!(gap(&polls, number) + SLACK >= Duration::from_secs(1));
    }
}

/// CP-050: `Retry-After` as a date is obeyed.
#[test]
fn retry_after_may_be_a_date() {
    let date = httpdate::fmt_http_date(SystemTime::now() + Duration::from_secs(4));
    let rig = rig_with_polls([Reply::status(503).header("Retry-After", &date)]);
    let polls = rig.plane.wait_polls(2);
    // Two seconds for the start of the client and the date's own precision.
    assert!(gap(&polls, 0) >= Duration::from_secs(2), "{:?}", gap(&polls, 0));
}

/// CP-051: an unusable `Retry-After` leaves the ordinary backoff.
#[test]
fn a_bad_retry_after_is_ignored() {
    let past = httpdate::fmt_http_date(SystemTime::now() - Duration::from_secs(60));
    let values = ["1.5", "later", "-1", "+5", "0", past.as_str()];
    let replies =
        values.iter().flat_map(|v| [Reply::status(503).header("Retry-After", v), Reply::status(204)]);
    let rig = rig_with_polls(replies);
    let polls = rig.plane.wait_polls(12);
    for (number, value) in values.iter().enumerate() {
        assert!(gap(&polls, number * 2) + SLACK >= BACKOFF, "{value}");
    }
}

/// CP-052: 25 hours of `Retry-After` are cut to a minute.
#[test]
fn a_huge_retry_after_is_capped() {
    for value in ["90000", "99999999999999999999999"] {
        let rig = rig_with_polls([Reply::status(503).header("Retry-After", value)]);
        let line = rig.client.wait_log(|line| line.contains("retry_in_ms"));
        assert!(line.contains("60000"), "{line}");
    }
}

/// CP-054, CP-055, CP-058: a body that is no envelope executes nothing, whatever its type.
#[test]
fn garbage_polls_execute_nothing() {
    let command = Command::method("never", "1");
    let good = envelope(std::slice::from_ref(&command));
    let bodies = [
        "{\"commands\":[".to_owned(),
        String::new(),
        format!("[{}]", command.text()),
        format!(r#"{{"commands":{}}}"#, command.text()),
        format!("{good} trailing"),
        "<html>502</html>".to_owned(),
    ];
    let mut replies: Vec<Reply> = Vec::new();
    for body in &bodies {
        replies.push(Reply::json(200, body.as_str()));
        replies.push(Reply::status(204));
    }
    replies.push(Reply::json(200, good.as_str()).declaring(good.len() + 7).close());
    replies.push(Reply::status(204));
    replies.push(Reply::json(200, &good.as_bytes()[..good.len() / 2]).chunked().close());
    let welcome = Command::method("welcome", "2");
    replies.push(Reply::body(200, "text/plain", envelope(std::slice::from_ref(&welcome))));
    let rig = rig_with_polls(replies);
    assert_eq!(rig.plane.wait_answer(&welcome).code(), 200);
    assert_eq!(rig.mcp.calls_of("never").len(), 0);
    assert_eq!(rig.plane.posts_of(&command).len(), 0);
}

/// CP-056: a plane that never answers, or stalls in its answer, is given up and asked again.
#[test]
fn a_silent_plane_is_given_up() {
    for reply in [Reply::silence(), Reply::json(200, "{\"commands\":").declaring(99).hang()] {
        let plane = Plane::start();
        plane.next_poll(reply.off_contract());
        let rig = Rig::over(plane, Mcp::start(), |b| {
            b.flag("control-plane.poll-timeout", "500ms")
                .flag("control-plane.poll-deadline-guardrail", "300ms")
        });
        rig.assert_alive();
        let polls = rig.plane.wait_polls(2);
        assert!(gap(&polls, 0) + SLACK >= Duration::from_millis(800), "{:?}", gap(&polls, 0));
    }
}

/// CP-057: a plane that closes, resets or restarts is asked again.
#[test]
fn a_broken_plane_connection_is_no_end() {
    let mut rig = rig_with_polls([Reply::closed(), Reply::raw("nonsense\r\n\r\n")]);
    rig.assert_alive();
    rig.plane.stop();
    rig.client.wait_log(|line| line.contains("backing off"));
    rig.plane.restart();
    rig.assert_alive();
}

/// CP-059, CP-060, NEW-022: redirects of the plane are failures; the key goes nowhere else.
#[test]
fn redirects_of_the_plane_are_not_followed() {
    let other = Plane::start();
    let location = other.server.origin() + "/v1/elsewhere";
    let mut replies: Vec<Reply> =
        [301, 302, 303, 307, 308].iter().map(|s| Reply::status(*s).header("Location", &location)).collect();
    replies.push(Reply::status(307).header("Location", "/loop"));
    let rig = rig_with_polls(replies);
    rig.plane.metadata(Reply::status(307).header("Location", &location).off_contract());
    rig.plane.wait_polls(7);
    rig.assert_alive();
    assert_eq!(other.server.connections(), 0);
    assert!(!rig.plane.server.requests().iter().any(|r| r.target == "/loop"));
    let polls = rig.plane.polls();
    assert!((0..6).all(|number| gap(&polls, number) + SLACK >= BACKOFF));
}

/// NEW-029: a plane that moves to another host is asked again, and what to do about lost calls is said.
#[test]
fn a_plane_that_moves_is_asked_again() {
    let body = r#"{"error":{"message":"m","code":"tunnel_transport_unavailable"}}"#;
    let rig = rig_with_polls([Reply::json(503, body)]);
    let line = rig.client.wait_log(|line| line.contains("backing off"));
    assert!(
        line.contains("tunnel_transport_unavailable") && line.contains("moved to another host"),
        "{line}"
    );
    rig.assert_alive();
}

/// What answers in the plane's place is named as what it is, and the key is not blamed.
#[test]
fn portals_are_named() {
    let page = |status| Reply::body(status, "text/html", "<html><title>Hotel</title>Sign in</html>");
    let away = Reply::status(302).header("Location", "http://portal.example:8080/login?secret=1");
    for (reply, error, mitigation) in [
        (page(200), "answered 200 with a web page", "captive portal"),
        (page(403), "answered 403 with a web page", "captive portal"),
        (away, "answered 302, a redirect to portal.example", "makes no redirects"),
    ] {
        let mut rig = rig_with_polls(vec![reply; 4]);
        rig.plane.metadata(Reply::status(503).off_contract());
        let line = rig.client.wait_log(|line| line.contains("backing off"));
        assert!(line.contains(error) && line.contains(mitigation) && !line.contains("API key"), "{line}");
        assert!(!line.contains("secret=1") && !line.contains("Sign in"), "{line}");
        assert_eq!(line.contains("\"error_message\":\"Hotel\""), error.contains("page"), "{line}");
        let down = rig.client.wait_get("/readyz", |a| a.status == 503 && a.body.contains(error));
        assert!(
            down.body.starts_with("control plane not reached: ") && down.body.contains(mitigation),
            "{down:?}"
        );
    }
}

/// A failure that repeats is told once; another one is told again.
#[test]
fn failures_that_repeat_are_told_once() {
    let replies = [503, 503, 503, 401, 503].map(Reply::status);
    let rig = rig_with_polls(replies);
    rig.assert_alive();
    let log = rig.client.log();
    let told: Vec<&str> = log.lines().filter(|line| line.contains("backing off")).collect();
    assert_eq!(told.len(), 3, "{told:?}");
    assert!(told[1].contains("401") && told[1].contains("\"repeated\":2"), "{told:?}");
}

/// Batches that are too large are asked for in smaller parts, and in larger ones again with each success.
#[test]
fn a_batch_that_is_too_large_is_asked_for_in_parts() {
    let huge = Reply::json(200, "").declaring(65 << 20);
    let rig =
        rig_with_polls([huge.clone(), huge.clone(), huge, Reply::json(200, "{}"), Reply::json(200, "{}")]);
    rig.assert_alive();
    let polls = rig.plane.polls();
    let limits: Vec<&str> = polls.iter().take(6).map(|poll| poll.parameter("limit").unwrap()).collect();
    assert_eq!(limits, ["20", "10", "5", "2", "4", "8"]);
    rig.client.wait_log(|line| line.contains("asking for fewer commands") && line.contains("\"limit\":10"));
}

/// A single command that is too large is answered under its id, wherever that stands, and does not come again.
#[test]
fn a_command_that_is_too_large_is_answered() {
    let plane = Plane::start();
    let fill = |head: String, tail: &str| Reply::json(200, head).then(Part::Fill(65 << 20)).bytes(tail);
    let commands = [Command::method("early", "1"), Command::method("late", "2")];
    let names = commands.each_ref().map(|command| {
        format!(r#""command_type":"jsonrpc","request_id":"{}","shard_token":"{}""#, command.id, command.token)
    });
    let head = format!(
        r#"{{"commands":[{{{},"jsonrpc":{{"jsonrpc":"2.0","id":"e","method":"x","params":{{"a":""#,
        names[0]
    );
    plane.next_poll(fill(head, r#""}}}]}"#).off_contract());
    let tail = format!(r#""}},"id":7}},{}}}]}}"#, names[1]);
    plane.next_poll(
        fill(r#"{"commands":[{"jsonrpc":{"jsonrpc":"2.0","method":"x","params":{"a":""#.into(), &tail)
            .off_contract(),
    );
    let rig = Rig::over(plane, Mcp::start(), |b| b.flag("control-plane.max-inflight", "1"));
    for (command, id) in commands.iter().zip([serde_json::json!("e"), serde_json::json!(7)]) {
        let answer = rig.plane.wait_answer(command);
        assert_eq!((answer.code(), &answer.payload()["id"]), (413, &id));
        assert_eq!(answer.cause(), "client_internal/command_too_large");
        rig.client.wait_log(|line| line.contains("larger than a poll may be") && line.contains(&command.id));
    }
    rig.assert_alive();
    assert!(rig.mcp.calls_of("x").is_empty());
}

/// CP-061: a poll of 30 MB is accepted, one above the stated bound of 64 MiB is a failure.
#[test]
fn poll_bodies_are_bounded_at_64_mib() {
    let padded = |command: &Command, size: usize| {
        let tail = format!(r#"","commands":[{}]}}"#, command.text());
        let head = Reply::json(200, r#"{"pad":""#).then(Part::Fill(size));
        head.bytes(tail)
    };
    let (large, huge) = (Command::method("large", "1"), Command::method("huge", "2"));
    let rig = rig_with_polls([padded(&huge, 65 << 20), padded(&large, 30_000_000)]);
    assert_eq!(rig.plane.wait_answer(&large).code(), 200);
    assert_eq!(rig.mcp.calls_of("huge").len(), 0);
    rig.assert_alive();
}
