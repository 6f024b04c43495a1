//! Calls of stdio servers: concurrent, in order, each with its own answer.

use serde_json::{Value, json};

use crate::support::command::Command;
use crate::support::plane::Posted;
use crate::support::reply::Reply;
use crate::support::stdio::{Rig, call, cancel};

/// The notifications of a command so far.
fn notes_of(rig: &Rig, command: &Command) -> Vec<Posted> {
    rig.plane.posts_of(command).into_iter().filter(|post| post.kind() == "jsonrpc_notify").collect()
}

/// Calls that the server holds back, all in flight when this returns.
fn held<const N: usize>(rig: &Rig, ids: [&str; N]) -> [Command; N] {
    let mut number = 0;
    let calls = ids.map(|id| {
        number += 1;
        let params = format!(r#""n":{number},"_meta":{{"progressToken":"t"}}"#);
        call("late", id, &params)
    });
    rig.plane.queue_all(&calls);
    rig.journal.wait("late", N);
    calls
}

fn release(rig: &Rig) {
    assert_eq!(rig.send(&Command::notification("release")).code(), 200);
}

/// MCP-120 as DESIGN has it: a command is one line of its own text in which only the id is another.
#[test]
fn a_command_keeps_its_text() {
    let rig = Rig::start("plain");
    rig.open();
    let payload = r#"{ "method":"echo", "params":{"n":1.50e0,"x":"\u00e9\/","big":123456789012345678901}, "id":"a\u0062","jsonrpc":"2.0" }"#;
    let answer = rig.send(&Command::rpc(payload));
    assert!(answer.payload_text().contains(r#""id":"a\u0062""#), "{}", answer.payload_text());
    let note = rig.journal.of("echo").remove(0);
    let private = note.json()["id"].clone();
    assert!(private.is_string() && private != "ab");
    assert_eq!(note.text, payload.replace(r#""a\u0062""#, &private.to_string()));
}

/// A pretty-printed command stays one command, even if its lines are commands of their own.
#[test]
fn a_command_of_several_lines_is_one() {
    let rig = Rig::start("plain");
    rig.open();
    let inner = r#"{"jsonrpc":"2.0","id":9,"method":"exit"}"#;
    for end in ["\n", "\r\n", "\r"] {
        let payload = [r#"{"jsonrpc":"2.0","id":1,"method":"echo","params":{"n":["#, inner, "]}}"].join(end);
        let answer = rig.send(&Command::rpc(payload));
        assert_eq!(answer.payload()["result"]["n"][0]["method"], "exit");
    }
    assert_eq!(rig.journal.of("exit"), []);
    assert_eq!(rig.journal.of("echo").len(), 3);
}

/// NEW-054, NEW-064, MCP-121, CP-163 as DESIGN has it: calls run side by side, are written in the order of the poll,
/// and answers in
/// any order find their callers, whose ids may be equal.
#[test]
fn equal_ids_get_their_own_answers() {
    let rig = Rig::start("plain");
    rig.open();
    let calls = held(&rig, ["1", "1", "\"1\"", "1.0", "1", "\"1\"", "0", "\"\""]);
    let order: Vec<Value> = rig.journal.of("late").iter().map(|n| n.json()["params"]["n"].clone()).collect();
    assert_eq!(order, [1, 2, 3, 4, 5, 6, 7, 8]);
    release(&rig);
    for (number, command) in calls.iter().enumerate() {
        let answer = rig.plane.wait_answer(command);
        assert_eq!(answer.payload()["result"]["n"], number + 1);
        let id = ["1", "1", "\"1\"", "1.0", "1", "\"1\"", "0", "\"\""][number];
        assert!(answer.payload_text().contains(&format!("\"id\":{id}")), "{}", answer.payload_text());
    }
}

/// REV-046: equal ids with equal progress tokens: each call sees its own progress under its own token.
#[test]
fn progress_goes_to_its_own_call() {
    let rig = Rig::start("plain");
    rig.open();
    let calls = held(&rig, ["1", "1", "1"]);
    let tokens: Vec<Value> =
        rig.journal.of("late").iter().map(|n| n.json()["params"]["_meta"]["progressToken"].clone()).collect();
    assert!(tokens.iter().all(Value::is_string));
    assert!(tokens[0] != tokens[1] && tokens[1] != tokens[2] && tokens[0] != tokens[2]);
    release(&rig);
    for (number, command) in calls.iter().enumerate() {
        rig.plane.wait_answer(command);
        let notes = notes_of(&rig, command);
        assert_eq!(notes.len(), 1);
        let params = json!({ "progressToken": "t", "progress": number + 1 });
        assert_eq!(notes[0].payload()["params"], params);
    }
}

/// REV-046: a token that is a number stays a number on its way, and comes back as it was written.
#[test]
fn tokens_keep_their_type() {
    let rig = Rig::start("plain");
    rig.open();
    let command = call("late", "\"a\"", r#""n":1,"_meta":{"progressToken":1.0e2}"#);
    rig.begin(&command, "late");
    assert!(rig.journal.of("late")[0].json()["params"]["_meta"]["progressToken"].is_u64());
    release(&rig);
    rig.plane.wait_answer(&command);
    let note = notes_of(&rig, &command).remove(0);
    assert!(note.payload_text().contains("\"progressToken\":1.0e2"), "{}", note.payload_text());
}

/// MCP-122, MCP-123, CP-164: statuses and headers of notifications, results and acknowledgements.
#[test]
fn answers_have_their_usual_form() {
    let rig = Rig::start("plain");
    rig.open();
    let command = call("notify", "1", "");
    let answer = rig.send(&command);
    assert_eq!((answer.kind(), answer.code()), ("jsonrpc_response", 200));
    assert_eq!(answer.header("content-type"), ["application/json"]);
    let notes = notes_of(&rig, &command);
    assert_eq!((notes.len(), notes[0].code()), (1, 200));
    assert_eq!(notes[0].header("content-type"), ["text/event-stream"]);
    assert_eq!(notes[0].payload()["params"]["data"], "during a call");
    let ack = rig.send(&Command::notification("anything"));
    assert_eq!((ack.kind(), ack.code()), ("notify_ack", 200));
    assert!(ack.json.get("resp_headers").is_none_or(|headers| headers == &json!({})));
    rig.journal.wait("anything", 1);
}

/// An error of the server is an answer like any other.
#[test]
fn errors_of_the_server_pass() {
    let rig = Rig::start("locked");
    rig.open();
    let payload = r#"{"jsonrpc":"2.0","id":1,"method":"server/discover","params":{}}"#;
    // A child of its own answers it; what counts is that the first one keeps its era.
    assert_eq!(rig.send(&Command::rpc(payload)).code(), 200);
    rig.assert_alive();
}

/// MCP-135 as DESIGN has it: output between calls is nobody's; during one call it is that call's, during two it is
/// nobody's again.
#[test]
fn output_without_a_home_is_dropped() {
    let mut rig = Rig::start("plain");
    rig.open();
    let talk = |rig: &Rig| assert_eq!(rig.send(&Command::notification("talk")).code(), 200);
    talk(&rig);
    // Only then may a call begin that it could belong to.
    rig.wait_metric("noise", 1.0);
    let quiet = call("echo", "1", "");
    rig.send(&quiet);
    assert_eq!(notes_of(&rig, &quiet).len(), 0);
    let [one] = held(&rig, ["1"]);
    talk(&rig);
    let note = rig.plane.wait_posts(&one, 1, |_| true).remove(0);
    assert_eq!(note.payload()["params"]["data"], "between calls");
    let other = call("late", "1", "");
    rig.begin(&other, "late");
    talk(&rig);
    release(&rig);
    for command in [&one, &other] {
        rig.plane.wait_answer(command);
        let all = notes_of(&rig, command);
        let spoken = all.iter().filter(|note| note.payload()["method"] == "notifications/message");
        assert_eq!(spoken.count(), usize::from(command.id == one.id));
    }
}

/// REV-047, MCP-134 as DESIGN has it: a cancellation reaches the server at once, under the id that the server knows,
/// though every worker is busy.
#[test]
fn a_cancellation_overtakes_busy_workers() {
    let rig = Rig::with("plain", |b| b.flag("mcp.max-concurrent-requests", "2"));
    rig.open();
    let [first, second] = held(&rig, ["\"a\"", "\"b\""]);
    assert_eq!(rig.send(&cancel("\"a\"")).code(), 200);
    assert_eq!(rig.plane.wait_answer(&first).payload()["result"]["cancelled"], true);
    let told = rig.journal.wait("notifications/cancelled", 1).remove(0).json();
    assert_eq!(told["params"]["requestId"], rig.journal.of("late")[0].json()["id"]);
    assert_eq!(rig.plane.posts_of(&second).len(), 0);
    release(&rig);
    assert_eq!(rig.plane.wait_answer(&second).payload()["result"]["n"], 2);
}

/// REV-047: unknown and ambiguous ids are acknowledged and cancel nobody.
#[test]
fn doubtful_cancellations_cancel_nobody() {
    let rig = Rig::start("plain");
    rig.open();
    let calls = held(&rig, ["1", "1", "2"]);
    for id in ["1", "99", "\"2\"", "null"] {
        assert_eq!(rig.send(&cancel(id)).code(), 200, "{id}");
    }
    rig.assert_alive();
    assert_eq!(rig.journal.of("notifications/cancelled"), []);
    release(&rig);
    for command in &calls {
        assert!(rig.plane.wait_answer(command).payload()["result"]["n"].is_u64());
    }
}

/// A cancellation reaches calls of its own conversation alone: that of its session, else of its credentials.
#[test]
fn a_cancellation_reaches_its_own_conversation_alone() {
    let rig = Rig::start("plain");
    rig.open();
    let of = |command: Command, session: &str, credentials: &str| {
        let given = [("Mcp-Session-Id", session), ("Authorization", credentials)];
        let given = given.into_iter().filter(|(_, value)| !value.is_empty());
        given.fold(command, |command, (name, value)| command.header(name, &[value]))
    };
    let [session, credentials, nobody] = [("a", "Bearer v"), ("", "Bearer v"), ("", "")];
    for (number, (own, others)) in [
        (session, [("b", "Bearer v"), credentials, nobody]),
        (credentials, [("", "Bearer w"), session, nobody]),
        (nobody, [("b", ""), session, credentials]),
    ]
    .into_iter()
    .enumerate()
    {
        let command = of(call("late", "5", ""), own.0, own.1);
        rig.begin(&command, "late");
        for other in others {
            assert_eq!(rig.send(&of(cancel("5"), other.0, other.1)).code(), 200);
        }
        rig.assert_alive();
        assert_eq!(rig.journal.of("notifications/cancelled").len(), number);
        // Other credentials in one session are those that were renewed.
        let renewed = if own.0.is_empty() { own.1 } else { "Bearer x" };
        rig.send(&of(cancel("5"), own.0, renewed));
        assert_eq!(rig.plane.wait_answer(&command).payload()["result"]["cancelled"], true);
    }
}

/// Nobody can guess the id under which another's call runs: it begins anywhere, and fits into 32 bits, which is
/// all that some servers keep.
#[test]
fn private_ids_cannot_be_guessed() {
    let ids = [0, 1].map(|_| {
        let rig = Rig::start("plain");
        rig.open();
        rig.send(&call("echo", "7", r#""_meta":{"progressToken":7}"#));
        rig.send(&call("echo", "\"7\"", ""));
        let [number, text] = [0, 1].map(|n| rig.journal.of("echo")[n].json());
        assert_eq!(number["id"], number["params"]["_meta"]["progressToken"]);
        (number["id"].as_u64().unwrap(), text["id"].as_str().unwrap().to_owned())
    });
    assert!(ids[0].0.abs_diff(ids[1].0) > 1000 && ids.iter().all(|id| id.0 < 1 << 31), "{ids:?}");
    let marks = [0, 1].map(|n| ids[n].1.rsplit_once('-').unwrap().0.to_owned());
    assert!(marks[0] != marks[1] && marks[0].len() > 16, "{ids:?}");
}

/// MCP-108, CP-132: a session cannot be ended on stdio; the server does not notice.
#[test]
fn termination_is_not_supported() {
    let rig = Rig::start("plain");
    rig.open();
    let answer = rig.send(&Command::termination("s"));
    assert_eq!((answer.kind(), answer.code()), ("session_termination_response", 405));
    rig.assert_alive();
    assert_eq!(rig.journal.words(), ["(start)", "echo"]);
}

/// NEW-062: an answer that the plane does not take costs its own caller alone; the child and its session stay.
#[test]
fn a_refused_answer_leaves_the_child_alone() {
    let rig = Rig::start("strict");
    rig.plane.next_answer(Reply::status(400));
    rig.open();
    let (lost, slow) = (call("echo", "1", ""), call("late", "1", "\"n\":2"));
    rig.plane.answer_for(&lost, Reply::status(400));
    rig.begin(&slow, "late");
    rig.send(&lost);
    rig.client.wait_log(|line| line.contains("failed to post response") && line.contains(&lost.id));
    rig.assert_alive();
    release(&rig);
    assert_eq!(rig.plane.wait_answer(&slow).payload()["result"]["n"], 2);
    assert_eq!(rig.journal.of("echo").len(), 2);
    for word in ["(start)", "initialize", "notifications/initialized"] {
        assert_eq!(rig.journal.of(word).len(), 1, "{word}");
    }
}
