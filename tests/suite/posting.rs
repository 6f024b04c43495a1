//! Answers on their way to the plane: what is sent again, what is not, and how.

use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use crate::support::command::Command;
use crate::support::gate::Gate;
use crate::support::http::Request;
use crate::support::plane::{Plane, Posted};
use crate::support::reply::Reply;
use crate::support::rig::Rig;
use crate::support::temp::TempDir;

/// Clocks of two processes and the kernel's timers agree this well.
const SLACK: Duration = Duration::from_millis(20);
/// The least wait before an attempt is repeated.
const BACKOFF: Duration = Duration::from_millis(200);
/// Longer than any wait before a third attempt; nothing can announce that none comes.
const NO_MORE: Duration = Duration::from_millis(1200);

fn gap(posts: &[Posted], after: usize) -> Duration {
    posts[after + 1].request.at - posts[after].request.at
}

/// Everything that a repetition must leave as it was.
fn sent(request: &Request) -> (String, Vec<(String, String)>, Vec<u8>) {
    let mut headers = request.headers.clone();
    headers.sort();
    (request.target.clone(), headers, request.body.clone())
}

fn assert_identical(posts: &[Posted]) {
    for post in posts {
        assert_eq!(sent(&post.request), sent(&posts[0].request));
    }
}

/// Queues one call for each reply, has the plane say it `times`, and returns the calls.
fn answered_by(rig: &Rig, replies: &[Reply], times: usize) -> Vec<Command> {
    let commands: Vec<Command> = replies.iter().map(|_| Command::method("m", "1")).collect();
    for (command, reply) in commands.iter().zip(replies) {
        for _ in 0..times {
            rig.plane.answer_for(command, reply.clone().off_contract());
        }
    }
    rig.plane.queue_all(&commands);
    commands
}

/// CP-114, CP-142, CP-143: refusals that may pass are met with the same bytes until one is accepted.
#[test]
fn passing_refusals_are_met_with_the_same_bytes() {
    let mut rig = Rig::start();
    let replies = [408, 409, 429, 500, 501, 502, 503, 504].map(Reply::status);
    let commands = answered_by(&rig, &replies, 3);
    for command in &commands {
        rig.plane.wait_posts(command, 4, |_| true);
    }
    std::thread::sleep(NO_MORE);
    for command in &commands {
        let posts = rig.plane.posts_of(command);
        assert_eq!(posts.len(), 4, "{}", command.id);
        assert_identical(&posts);
    }
    assert!(rig.client.get("/metrics").body.contains("\nanswers_lost_total 0\n"));
    assert_eq!(rig.mcp.calls_of("m").len(), commands.len());
    rig.assert_alive();
}

/// CP-114, CP-142: an attempt that is taken is the last one.
#[test]
fn a_taken_answer_is_not_posted_again() {
    let rig = Rig::start();
    let commands = answered_by(&rig, &[503, 429].map(Reply::status), 1);
    for command in &commands {
        rig.plane.wait_posts(command, 2, |_| true);
    }
    std::thread::sleep(NO_MORE);
    for command in &commands {
        assert_eq!(rig.plane.posts_of(command).len(), 2);
    }
}

/// CP-143, CP-144: refusals for good are not argued with, and the server is not asked again. An answer that the
/// plane has is not lost.
#[test]
fn final_refusals_get_one_post() {
    let mut rig = Rig::start();
    let mut replies = [400, 401, 403, 413, 404].map(Reply::status).to_vec();
    replies.push(Reply::json(409, r#"{"error":{"message":"response already fulfilled"}}"#));
    replies.push(Reply::json(409, r#"{"error":{"code":"pending_request_not_found"}}"#));
    let commands = answered_by(&rig, &replies, 9);
    for command in &commands {
        rig.plane.wait_answer(command);
    }
    std::thread::sleep(NO_MORE);
    for command in &commands {
        assert_eq!(rig.plane.posts_of(command).len(), 1, "{}", command.id);
    }
    assert_eq!(rig.mcp.calls_of("m").len(), commands.len());
    assert!(rig.client.get("/metrics").body.contains("\nanswers_lost_total 4\n"));
    rig.assert_alive();
}

/// NEW-035: what the plane cannot read is posted once, counted and named; the plane has told the caller.
#[test]
fn an_answer_that_the_plane_cannot_read_is_posted_once() {
    let mut rig = Rig::start();
    let refusal = Reply::json(400, r#"{"error":{"code":"invalid_json_payload","message":"m"}}"#);
    let command = &answered_by(&rig, &[refusal], 9)[0];
    rig.client.wait_log(|line| line.contains("could not read a post") && line.contains(&command.id));
    rig.assert_alive();
    let metrics = rig.client.get("/metrics").body;
    assert!(metrics.contains("\nposts_unreadable_total 1\n") && metrics.contains("\nanswers_lost_total 0\n"));
    std::thread::sleep(NO_MORE);
    assert_eq!((rig.plane.posts_of(command).len(), rig.mcp.calls_of("m").len()), (1, 1));
}

/// NEW-035: a notification that the plane cannot read ends neither the stream nor the call.
#[test]
fn a_notification_that_the_plane_cannot_read_is_left_out() {
    let mut rig = Rig::start();
    let note =
        |text: &str| format!(r#"{{"jsonrpc":"2.0","method":"notifications/message","params":{text}}}"#);
    let answer = r#"{"jsonrpc":"2.0","id":1,"result":{}}"#;
    let stream = Reply::sse().event(note("[1]")).event(note("[2]")).event(answer);
    rig.mcp.reply("m", stream);
    let command = Command::method("m", "1");
    let refusal = Reply::json(400, r#"{"error":{"code":"invalid_json_payload"}}"#);
    rig.plane.answer_for(&command, refusal.off_contract());
    assert_eq!(rig.send(&command).code(), 200);
    let posts = rig.plane.posts_of(&command);
    let kinds: Vec<&str> = posts.iter().map(|post| post.kind()).collect();
    assert_eq!(kinds, ["jsonrpc_notify", "jsonrpc_notify", "jsonrpc_response"]);
    let told = rig.client.log().lines().filter(|line| line.contains("could not read a post")).count();
    assert_eq!(told, 1);
    assert!(rig.client.get("/metrics").body.contains("\nposts_unreadable_total 1\n"));
}

/// DESIGN, Answers, NEW-031: a plane that is away for longer than any number of attempts gets every answer.
#[test]
fn an_answer_outlasts_the_planes_absence() {
    let mut rig = Rig::start();
    let gate = Gate::new();
    let held = gate.clone();
    rig.mcp.hook(move |request| {
        (request.rpc_method() == "held").then(|| Reply::result("1", "{}").behind(&held))
    });
    let commands = [(); 10].map(|()| Command::method("held", "1"));
    rig.plane.queue_all(&commands);
    gate.wait_arrivals(10);
    rig.plane.stop();
    gate.open();
    // Three attempts took 0.6 s at most.
    std::thread::sleep(Duration::from_millis(1500));
    rig.plane.restart();
    for command in &commands {
        assert_eq!(rig.plane.wait_answer(command).code(), 200);
    }
    assert!(rig.client.get("/metrics").body.contains("\nanswers_lost_total 0\n"));
}

/// DESIGN, Answers: however many answers are told to wait, fresh ones are posted at once.
#[test]
fn a_wait_holds_no_courier() {
    let rig = Rig::start();
    let replies = vec![Reply::status(503).header("Retry-After", "60"); 60];
    for command in &answered_by(&rig, &replies, 1) {
        rig.plane.wait_answer(command);
    }
    rig.assert_alive();
}

/// DESIGN, Answers: an answer that meets 500 while others are accepted is given up, counted and named.
#[test]
fn an_answer_that_the_plane_cannot_take_is_given_up() {
    let mut rig = Rig::start();
    let command = &answered_by(&rig, &[Reply::status(500)], 9)[0];
    rig.plane.wait_answer(command);
    rig.assert_alive();
    rig.client.wait_log(|line| line.contains("failed to post response") && line.contains(&command.id));
    assert_eq!(rig.plane.posts_of(command).len(), 5);
    assert!(rig.client.get("/metrics").body.contains("\nanswers_lost_total 1\n"));
}

/// DESIGN, Answers: a key that is replaced in its file is used for the next attempt, and shown nowhere.
#[test]
fn a_refused_key_is_read_again_from_its_file() {
    let directory = TempDir::new();
    let file = directory.write("key", "sk-first-key-of-this-test");
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
    let rig = Rig::with(|b| b.flag("control-plane.api-key", &format!("file:{file}")));
    let echo = r#"{"error":{"message":"refused: second-key-of-this-test"}}"#;
    let command = &answered_by(&rig, &[Reply::json(401, echo)], 3)[0];
    rig.plane.wait_answer(command);
    directory.write("key", "second-key-of-this-test\n");
    let posts = rig.plane.wait_posts(command, 4, |_| true);
    let key = |post: &Posted| post.request.header("authorization").unwrap().to_owned();
    assert_eq!(key(&posts[0]), "Bearer sk-first-key-of-this-test");
    assert_eq!(key(&posts[3]), "Bearer second-key-of-this-test");
    rig.client.wait_log(|line| line.contains("posted again"));
    assert!(!rig.client.log().contains("second-key"), "{}", rig.client.log());
}

/// CP-146: `Retry-After` is the least wait before the next attempt.
#[test]
fn retry_after_delays_the_next_attempt() {
    let rig = Rig::start();
    let replies = [503, 429].map(|s| Reply::status(s).header("Retry-After", "2"));
    for command in &answered_by(&rig, &replies, 1) {
        let posts = rig.plane.wait_posts(command, 2, |_| true);
        assert!(gap(&posts, 0) + SLACK >= Duration::from_secs(2));
    }
}

/// CP-147: a plane that never answers a post is given up after poll time and guardrail, then retried.
#[test]
fn a_hanging_post_is_given_up_and_repeated() {
    let rig = Rig::quick(|b| b);
    let commands = answered_by(&rig, &[Reply::silence(), Reply::status(200).declaring(9).hang()], 1);
    let posts = rig.plane.wait_posts(&commands[0], 2, |_| true);
    assert_identical(&posts);
    assert!(gap(&posts, 0) + SLACK >= Duration::from_millis(800));
    // The second one's success was said before its body stalled.
    rig.plane.wait_answer(&commands[1]);
    rig.assert_alive();
}

/// CP-148: attempts keep the least distance.
#[test]
fn attempts_keep_their_distance() {
    let rig = Rig::start();
    let command = &answered_by(&rig, &[Reply::status(503)], 2)[0];
    let posts = rig.plane.wait_posts(command, 3, |_| true);
    assert!(gap(&posts, 0) + SLACK >= BACKOFF && gap(&posts, 1) + SLACK >= BACKOFF);
}

/// CP-149: acknowledgements and session ends are retried like answers.
#[test]
fn every_terminal_post_is_retried() {
    let rig = Rig::start();
    let commands = [
        (Command::notification("notifications/x"), "notify_ack"),
        (Command::termination("s1"), "session_termination_response"),
    ];
    for (command, kind) in &commands {
        rig.plane.answer_for(command, Reply::status(503));
        rig.plane.queue(command);
        let posts = rig.plane.wait_posts(command, 2, |_| true);
        assert_identical(&posts);
        assert_eq!(posts[1].kind(), *kind);
    }
    assert_eq!(rig.mcp.calls_of("notifications/x").len(), 1);
    assert_eq!(rig.mcp.calls_of("DELETE").len(), 1);
}

/// CP-150: redirects of a post are refusals: neither body nor token nor key goes elsewhere.
#[test]
fn redirects_of_posts_are_not_followed() {
    let other = Plane::start();
    let rig = Rig::start();
    let elsewhere = other.server.origin() + "/v1/elsewhere";
    let statuses = [301, 302, 303, 307, 308];
    let mut replies: Vec<Reply> =
        statuses.iter().map(|s| Reply::status(*s).header("Location", &elsewhere)).collect();
    replies.push(Reply::status(307).header("Location", "/own-elsewhere"));
    let commands = answered_by(&rig, &replies, 1);
    for command in &commands {
        rig.plane.wait_answer(command);
    }
    rig.assert_alive();
    assert_eq!(other.server.connections(), 0);
    let targets = rig.plane.server.requests();
    assert!(!targets.iter().any(|r| r.target == "/own-elsewhere"));
    for command in &commands {
        assert_eq!(rig.plane.posts_of(command).len(), 1);
    }
}

/// CP-142, CP-147: answers that wait for a slow plane hold up neither other answers nor servers.
#[test]
fn a_slow_post_holds_nobody_up() {
    let rig = Rig::with(|b| b.flag("mcp.max-concurrent-requests", "1"));
    let gate = Gate::new();
    let slow = Command::method("slow", "1");
    rig.plane.answer_for(&slow, Reply::json(200, "{}").behind(&gate));
    rig.plane.queue(&slow);
    gate.wait_arrivals(1);
    rig.assert_alive();
    rig.assert_alive();
    gate.open();
    assert_eq!(rig.plane.posts_of(&slow).len(), 1);
}

/// CP-142, DESIGN, Answers: a slow plane holds no MCP slot. Where workers post themselves, as many of them as may do
/// so hang, and the slot still goes on; the posts at once have their bound.
#[test]
fn slow_posts_hold_no_slot() {
    let rig = Rig::with(|b| b.flag("mcp.max-concurrent-requests", "1"));
    let gate = Gate::new();
    let calls = answered_by(&rig, &vec![Reply::json(200, "{}").behind(&gate); 4], 1);
    rig.mcp.wait_calls("m", calls.len());
    gate.wait_arrivals(2);
    assert_eq!(calls.iter().map(|call| rig.plane.posts_of(call).len()).sum::<usize>(), 2);
    gate.open();
    for call in &calls {
        rig.plane.wait_answer(call);
        assert_eq!(rig.plane.posts_of(call).len(), 1);
    }
}

/// CP-142: whatever body comes with a success, the answer was taken.
#[test]
fn the_body_of_a_success_does_not_matter() {
    let rig = Rig::start();
    let replies = [
        Reply::status(204),
        Reply::body(200, "text/html", "<html>"),
        Reply::json(200, "{\"status\":").declaring(99).close(),
        Reply::json(202, "x".repeat(100_000)),
    ];
    let commands = answered_by(&rig, &replies, 1);
    for command in &commands {
        rig.plane.wait_answer(command);
    }
    std::thread::sleep(BACKOFF * 3);
    for command in &commands {
        assert_eq!(rig.plane.posts_of(command).len(), 1);
    }
}

/// CP-161, CP-162: a signal during a hanging post, or in a wait for the next, ends the process soon.
#[test]
fn a_signal_ends_posts_and_their_waits() {
    let waiting = Reply::status(503).header("Retry-After", "60");
    for (reply, code) in [(Reply::silence(), 1), (waiting, 0)] {
        let mut rig = Rig::with(|b| b.flag("process.drain-timeout", "500ms"));
        let command = &answered_by(&rig, &[reply], 1)[0];
        rig.plane.wait_answer(command);
        let polls = rig.plane.wait_polls(2).len();
        // A plane that asks for more than what is left is asked once more.
        assert_eq!(rig.client.stop().code(), Some(code));
        assert!(rig.plane.polls().len() <= polls + 1);
        assert_eq!(rig.plane.posts_of(command).len(), if code == 0 { 2 } else { 1 });
    }
}

/// CP-092: answers carry their own id and token although they finish in another order.
#[test]
fn answers_may_finish_in_any_order() {
    let rig = Rig::start();
    let gates: Vec<_> = (0..5).map(|_| Gate::new()).collect();
    let mut commands = Vec::new();
    for (number, gate) in gates.iter().enumerate() {
        let (method, id) = (format!("m/{number}"), number.to_string());
        rig.mcp.reply(&method, Reply::result(&id, &id).behind(gate));
        commands.push(Command::method(&method, &id));
    }
    rig.plane.queue_all(&commands);
    for (number, gate) in gates.iter().enumerate().rev() {
        gate.wait_arrivals(1);
        gate.open();
        let answer = rig.plane.wait_answer(&commands[number]);
        assert_eq!(answer.payload()["result"], number);
        let token = commands[number].token.as_str();
        assert_eq!(answer.request.header("x-tunnel-shard-token"), Some(token));
    }
    assert_eq!(rig.plane.posts().len(), 5);
}

/// CP-057, CP-145: a plane whose connections were cut while a call ran still gets the answer.
#[test]
fn cut_connections_cost_no_answer() {
    let mut rig = Rig::start();
    let gate = Gate::new();
    rig.mcp.reply("held", Reply::result("1", "{}").behind(&gate));
    let command = Command::method("held", "1");
    rig.plane.queue(&command);
    gate.wait_arrivals(1);
    rig.plane.server.cut_connections();
    gate.open();
    rig.plane.wait_answer(&command);
    rig.plane.stop();
    rig.plane.restart();
    rig.assert_alive();
}
