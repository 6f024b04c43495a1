//! A key that is refused: its file is read at once, and what was refused is sent again with what that holds.

use crate::support::command::Command;
use crate::support::http::Request;
use crate::support::plane::{Posted, is_poll};
use crate::support::reply::{Reply, id_text};
use crate::support::rig::Rig;
use crate::support::temp::TempDir;

const FIRST: &str = "sk-first-key-of-this-test";
const SECOND: &str = "sk-second-key-of-this-test";

/// The key of a request.
fn key(request: &Request) -> &str {
    request.header("authorization").unwrap().strip_prefix("Bearer ").unwrap()
}

fn has(wanted: &'static str) -> impl Fn(&Posted) -> bool {
    move |post| key(&post.request) == wanted
}

/// A tunnel whose first key stands in a file and is valid.
fn with_key(directory: &TempDir) -> Rig {
    let file = directory.write("key", FIRST);
    let rig = Rig::with(|b| {
        b.without_env("CONTROL_PLANE_API_KEY").flag("control-plane.api-key", &format!("file:{file}"))
    });
    rig.plane.accept_keys(&[FIRST]);
    rig.assert_alive();
    rig
}

/// Nothing was said to have failed, and neither key was shown.
fn assert_quiet(rig: &Rig) {
    let log = rig.client.log();
    for word in ["backing off", "posted again", FIRST, SECOND] {
        assert!(!log.contains(word), "{word}: {log}");
    }
}

/// DESIGN, Reload: a poll whose key is refused is sent again with the key that has come to stand in its file.
#[test]
fn a_refused_poll_is_sent_again_with_the_new_key() {
    let directory = TempDir::new();
    let rig = with_key(&directory);
    directory.write("key", SECOND);
    // Refuses the poll after the one that is held.
    rig.plane.accept_keys(&[SECOND]);
    rig.plane.next_poll(Reply::status(204));
    rig.plane.server.wait_requests(1, |request| is_poll(request) && key(request) == SECOND);
    rig.assert_alive();
    let polls = rig.plane.polls();
    let at = polls.iter().position(|poll| key(poll) == SECOND).unwrap();
    let (refused, next) = (&polls[at - 1], &polls[at]);
    assert_eq!((key(refused), &refused.target), (FIRST, &next.target));
    assert!(polls[at..].iter().all(|poll| key(poll) == SECOND));
    assert_quiet(&rig);
}

/// The same for an answer, which is the same; all that follows has the new key from the start.
#[test]
fn a_refused_answer_is_sent_again_with_the_new_key() {
    let directory = TempDir::new();
    let rig = with_key(&directory);
    directory.write("key", SECOND);
    rig.plane.accept_keys(&[SECOND]);
    let command = Command::method("echo", "7");
    rig.plane.queue(&command);
    let posts = rig.plane.wait_posts(&command, 1, has(SECOND));
    let all = rig.plane.posts_of(&command);
    assert_eq!(all.first().unwrap().request.body, posts[0].request.body);
    assert!(all.iter().all(|post| post.request.header("x-tunnel-shard-token").is_some()));
    let next = rig.call(r#"{"jsonrpc":"2.0","id":8,"method":"echo"}"#);
    assert_eq!((next.code(), key(&next.request)), (200, SECOND));
    assert_quiet(&rig);
}

/// A key that is revoked before there is another one costs no answer and no notification: they come a little later.
#[test]
fn a_gap_between_two_keys_loses_nothing() {
    let directory = TempDir::new();
    let rig = with_key(&directory);
    let note =
        r#"{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":1,"progress":1}}"#;
    rig.mcp.hook(move |request| {
        let answer = format!(r#"{{"jsonrpc":"2.0","id":{},"result":{{}}}}"#, id_text(&request.body));
        (request.rpc_method() == "slow").then(|| Reply::sse().event(note).event(&answer))
    });
    let commands: Vec<Command> = (0..4).map(|id| Command::method("slow", &id.to_string())).collect();
    rig.plane.accept_keys(&[]);
    rig.plane.queue_all(&commands);
    // More refusals than any other cause is given.
    rig.plane.wait_posts(&commands[0], 4, has(FIRST));
    directory.write("key", SECOND);
    rig.plane.accept_keys(&[SECOND]);
    for command in &commands {
        rig.plane.wait_posts(command, 2, has(SECOND));
        let taken = rig.plane.posts_of(command).into_iter().filter(|post| has(SECOND)(post));
        let kinds: Vec<String> = taken.map(|post| post.kind().to_owned()).collect();
        assert_eq!(kinds, ["jsonrpc_notify", "jsonrpc_response"]);
    }
    rig.assert_alive();
    assert!(!rig.client.log().contains("failed to"), "{}", rig.client.log());
}

/// A key that is still the same, or a file that holds none, is no reason to ask again at once.
#[test]
fn a_key_that_did_not_change_is_refused_once_a_wait() {
    let directory = TempDir::new();
    let rig = with_key(&directory);
    for (number, content) in [FIRST, "", "two\nlines", "not a key!"].into_iter().enumerate() {
        directory.write("key", content);
        rig.plane.accept_keys(&[]);
        rig.plane.queue(&Command::notification("wake"));
        let refused = rig.client.wait_logs(number + 1, |line| line.contains("backing off"));
        assert!(refused.contains("401"), "{refused}");
        rig.plane.accept_keys(&[FIRST]);
        rig.assert_alive();
    }
    assert!(rig.plane.polls().iter().all(|poll| key(poll) == FIRST));
    let faults = rig.client.log().matches("the API key's file cannot be used; the key stays").count();
    // Once for each fault, however often it is met.
    assert_eq!(faults, 3, "{}", rig.client.log());
}
