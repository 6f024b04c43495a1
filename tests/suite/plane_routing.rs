//! Routing corrections: where the plane sends polls, and what does not follow them there.

use std::time::Duration;

use crate::support::command::{Command, envelope};
use crate::support::http::Request;
use crate::support::mcp::Mcp;
use crate::support::plane::{Plane, TUNNEL};
use crate::support::reply::Reply;
use crate::support::rig::Rig;

/// Clocks of two processes and the kernel's timers agree this well.
const SLACK: Duration = Duration::from_millis(20);
/// The least wait after any failure.
const BACKOFF: Duration = Duration::from_millis(200);

/// A correction, as the plane sends it.
fn correction(token: &str, revision: u64) -> Reply {
    let body = format!(r#"{{"error":{{"code":"wrong_cluster","policy_revision":{revision}}}}}"#);
    Reply::json(409, body).header("X-Tunnel-Shard-Token", token)
}

/// Starts a client whose first polls get these replies.
fn rig_with_polls(replies: impl IntoIterator<Item = Reply>) -> Rig {
    let plane = Plane::start();
    for reply in replies {
        plane.next_poll(reply.off_contract());
    }
    Rig::over(plane, Mcp::start(), |b| b)
}

/// The tokens of the first polls; empty texts where there is none.
fn tokens(polls: &[Request]) -> Vec<&str> {
    polls.iter().map(|poll| poll.all("x-tunnel-shard-token").first().copied().unwrap_or_default()).collect()
}

fn gap(polls: &[Request], after: usize) -> Duration {
    polls[after + 1].at - polls[after].at
}

/// NEW-003, NEW-004, NEW-006, NEW-013, NEW-014, NEW-018, NEW-020, NEW-021: a correction moves the polls that follow,
/// after a pause, and neither answers nor metadata.
#[test]
fn a_correction_moves_polls_and_nothing_else() {
    let token = "token of its own, with comma";
    let command = Command::method("ping", "1").member("shard_token", format!("\"{token}\""));
    let brought = Reply::json(200, envelope(std::slice::from_ref(&command)))
        .header("X-Tunnel-Shard-Token", "learned-from-a-success");
    let rig = rig_with_polls([correction("east-7", 7), brought, Reply::status(204)]);
    let answer = rig.plane.wait_answer(&command);
    assert_eq!(answer.request.all("x-tunnel-shard-token"), [token]);
    let polls = rig.plane.wait_polls(4);
    assert_eq!(tokens(&polls)[..4], ["", "east-7", "east-7", "east-7"]);
    assert!(gap(&polls, 0) + SLACK >= BACKOFF, "{:?}", gap(&polls, 0));
    assert_eq!((polls[0].path(), polls[0].header("host")), (polls[1].path(), polls[1].header("host")));
    rig.assert_alive();
    rig.plane.server.wait_requests(1, |request| request.target.ends_with(TUNNEL));
    for request in rig.plane.server.requests() {
        assert_eq!(request.all("x-tunnel-client-capabilities"), ["wrong-cluster-v1"], "{}", request.dump());
        assert_eq!(request.all("authorization").len(), 1);
        assert!(!request.target.ends_with(TUNNEL) || request.header("x-tunnel-shard-token").is_none());
    }
    let line = rig.client.wait_log(|line| line.contains("backing off"));
    assert!(line.contains("polling placement rejected; retrying after backoff"), "{line}");
    assert!(!rig.client.log().contains("east-7") && !rig.client.log().contains("learned-from"), "{line}");
}

/// NEW-015, NEW-016, NEW-017, NEW-023: what is not exactly a correction is a failed poll, and nothing of it is shown.
#[test]
fn hostile_corrections_change_nothing() {
    let body =
        |members: &str| format!(r#"{{"error":{{"code":"wrong_cluster",{members},"message":"said-it"}}}}"#);
    let good = body("\"policy_revision\":1");
    let with =
        |status: u16, body: &str| Reply::json(status, body).header("X-Tunnel-Shard-Token", "shown-nowhere");
    let filled = |size: usize| {
        let head = good.strip_suffix('}').unwrap();
        format!("{head},\"pad\":\"{}\"}}", "x".repeat(size - head.len() - 10))
    };
    assert_eq!((filled(65_536).len(), filled(65_537).len()), (65_536, 65_537));
    let hostile = [
        with(409, &good).header("X-Tunnel-Shard-Token", "shown-nowhere"),
        Reply::json(409, good.as_str()).header("X-Tunnel-Shard-Token", "shown-nowhere,either"),
        Reply::json(409, good.as_str()).header("X-Tunnel-Shard-Token", "shown nowhere"),
        Reply::json(409, good.as_str()),
        with(409, &body("\"policy_revision\":\"1\"")),
        with(409, &body("\"policy_revision\":12345678901234567")),
        with(409, &body("\"policy_revision\":1,\"policy_revisio\\u006e\":2")),
        with(409, &body("\"policy_revision\":1,\"shard_token\":\"said-it\"")),
        with(409, &format!("{good} said-it")),
        with(409, &filled(65_537)),
        with(409, &filled(65_537)).chunked(),
        with(409, r#"{"error":{"code":"other","message":"said-it"}}"#),
        with(503, &good),
        with(429, &good),
        with(503, "said-it"),
        with(307, &good).header("Location", "/v1/tunnels/elsewhere"),
    ];
    let count = hostile.len();
    let rig = rig_with_polls(hostile.into_iter().flat_map(|reply| [reply, Reply::status(204)]));
    let polls = rig.plane.wait_polls(2 * count + 1);
    assert!(tokens(&polls).iter().all(|token| token.is_empty()), "{:?}", tokens(&polls));
    rig.assert_alive();
    let log = rig.client.log();
    for shown in ["shown-nowhere", "said-it", "elsewhere"] {
        assert!(!log.contains(shown), "{log}");
    }
    let failed: Vec<&str> = log.lines().filter(|line| line.contains("backing off")).collect();
    assert_eq!(failed.len(), count, "{failed:?}");
    let silent = |line: &&str| line.contains("invalid polling ") && line.contains("\"error_message\":\"\"");
    assert!(failed.iter().all(silent), "{failed:?}");
}

/// NEW-016: the largest body that is a correction is one.
#[test]
fn a_correction_may_be_large() {
    let head = r#"{"error":{"code":"wrong_cluster","policy_revision":9007199254740991},"pad":""#;
    let body = format!("{head}{}\"}}", "x".repeat(65_536 - head.len() - 2));
    let rig = rig_with_polls([Reply::json(409, body).header("X-Tunnel-Shard-Token", "east")]);
    assert_eq!(tokens(&rig.plane.wait_polls(2))[..2], ["", "east"]);
}

/// NEW-019, NEW-020: corrections without end are answered by ever longer pauses, and every third ends its token.
#[test]
fn corrections_without_end_are_no_loop() {
    let replies = (1..=6).map(|revision| correction(&format!("token-{revision}"), revision));
    let rig = rig_with_polls(replies);
    let polls = rig.plane.wait_polls(7);
    assert_eq!(tokens(&polls)[..7], ["", "token-1", "token-2", "", "token-4", "token-5", ""]);
    assert!((0..6).all(|number| gap(&polls, number) + SLACK >= BACKOFF));
    rig.assert_alive();
    let told = rig.client.log().lines().filter(|line| line.contains("placement rejected")).count();
    assert_eq!(told, 1, "one line, and one a minute");
}

/// NEW-019: a cluster that fails three times in a row is left; a success in between keeps its token.
#[test]
fn a_cluster_that_fails_is_left() {
    let failed = || Reply::status(503);
    let rig = rig_with_polls([
        correction("east", 1),
        failed(),
        Reply::closed(),
        Reply::status(204),
        failed(),
        Reply::status(429),
        Reply::json(200, "{\"commands\":").declaring(99).close(),
        Reply::status(408),
    ]);
    let polls = rig.plane.wait_polls(9);
    let wanted = ["", "east", "east", "east", "east", "east", "east", "east", ""];
    assert_eq!(tokens(&polls)[..9], wanted);
    rig.assert_alive();
}

/// NEW-020: `Retry-After` of a correction is a least wait, of a minute at most.
#[test]
fn a_correction_may_ask_for_time() {
    let rig = rig_with_polls([correction("east", 1).header("Retry-After", "1"), Reply::status(204)]);
    let polls = rig.plane.wait_polls(2);
    assert!(gap(&polls, 0) + SLACK >= Duration::from_secs(1), "{:?}", gap(&polls, 0));
    let rig = rig_with_polls([correction("east", 1).header("Retry-After", "600")]);
    let line = rig.client.wait_log(|line| line.contains("retry_in_ms"));
    assert!(line.contains("60000"), "{line}");
}

/// NEW-021: a post that is told of another cluster is posted again under its own token, and moves no poll.
#[test]
fn posts_are_not_corrected() {
    let rig = rig_with_polls([]);
    let command = Command::method("ping", "1");
    rig.plane.answer_for(&command, correction("east", 1).off_contract());
    rig.plane.queue(&command);
    let posts = rig.plane.wait_posts(&command, 2, |_| true);
    for post in &posts {
        assert_eq!(post.request.all("x-tunnel-shard-token"), [command.token.as_str()]);
    }
    assert_eq!(posts[0].request.body, posts[1].request.body);
    rig.assert_alive();
    assert!(tokens(&rig.plane.polls()).iter().all(|token| token.is_empty()));
}

/// NEW-024: neither polls nor their replies are in raw dumps; answers are.
#[test]
fn polls_are_not_dumped() {
    let plane = Plane::start();
    plane.next_poll(correction("shown-nowhere", 1));
    let mut rig = Rig::over(plane, Mcp::start(), |b| b.argument("--log.http-raw-unsafe"));
    let command =
        Command::rpc(r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#).header("X-Of-Caller", &["in-the-poll"]);
    rig.send(&command);
    assert!(rig.client.stop().success());
    let log = rig.client.log();
    for text in ["shown-nowhere", "policy_revision", "timeout_ms=", "X-Of-Caller"] {
        assert!(!log.contains(text), "{text}");
    }
    assert!(log.contains("raw http request") && log.contains("jsonrpc_response"), "{log}");
}
