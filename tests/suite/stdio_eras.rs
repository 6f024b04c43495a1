//! Two eras behind one channel: a child for each, none is fed the other's messages.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::era_requests::modern;
use crate::support::command::Command;
use crate::support::stdio::{Note, Rig, call, cancel};

const CLAIM: &str = "io.modelcontextprotocol/protocolVersion";

fn modern_call(method: &str, params: &str) -> Command {
    Command::rpc(modern(method, "1", params))
}

/// A notification that belongs to the newer era.
fn modern_note(method: &str) -> Command {
    let meta = json!({ "_meta": { CLAIM: "2026-07-28" } });
    Command::rpc(json!({ "jsonrpc": "2.0", "method": method, "params": meta }))
}

/// What each process received, in the order of their starts.
fn by_process(rig: &Rig) -> Vec<Vec<Note>> {
    let notes = rig.journal.notes();
    let starts = rig.journal.of("(start)");
    let of =
        |pid: i32| notes.iter().filter(|note| note.pid == pid && note.text != "(start)").cloned().collect();
    starts.iter().map(|start| of(start.pid)).collect()
}

fn words(notes: &[Note]) -> Vec<String> {
    notes.iter().map(Note::word).collect()
}

/// REV-014, REV-015, REV-016: each era has a child of its own, the newer one from its first message on and without
/// a handshake; a server that is locked to one era never has to refuse.
#[test]
fn each_era_has_its_own_child() {
    let rig = Rig::start("locked");
    rig.open();
    for _ in 0..2 {
        for command in [call("tools/list", "1", ""), modern_call("tools/list", "")] {
            let answer = rig.send(&command);
            assert_eq!(answer.payload()["result"]["echo"], "tools/list", "{}", answer.request.text());
        }
    }
    assert_eq!(rig.send(&Command::rpc(r#"{"jsonrpc":"2.0","id":5,"result":{}}"#)).code(), 200);
    assert_eq!(rig.send(&modern_note("anything")).code(), 200);
    rig.journal.wait("anything", 1);
    rig.assert_alive();
    let [legacy, newer] = &by_process(&rig)[..] else { panic!("{:?}", rig.journal.notes()) };
    assert!(legacy.iter().all(|note| !note.text.contains(CLAIM)), "{legacy:?}");
    assert_eq!(words(newer), ["tools/list", "tools/list", "anything"]);
    assert!(newer.iter().all(|note| note.text.contains(CLAIM)), "{newer:?}");
}

/// REV-015: the order of the eras does not matter; no handshake is made for the newer child.
#[test]
fn the_newer_era_may_come_first() {
    let rig = Rig::start("locked");
    rig.send(&modern_call("tools/list", ""));
    rig.assert_alive();
    let all = by_process(&rig);
    let newer = all.iter().find(|notes| notes[0].text.contains(CLAIM)).unwrap();
    let legacy = all.iter().find(|notes| !notes[0].text.contains(CLAIM)).unwrap();
    assert_eq!(words(newer), ["tools/list"]);
    assert_eq!(words(legacy), ["initialize", "notifications/initialized", "echo"]);
}

/// REV-016: a newer child that dies is started again, without a handshake.
#[test]
fn a_newer_child_restarts_without_a_handshake() {
    let rig = Rig::start("locked");
    rig.open();
    rig.send(&modern_call("tools/list", ""));
    let lost = rig.send(&modern_call("exit", ""));
    assert_eq!((lost.code(), lost.cause().as_str()), (502, "transport_closed/eof"));
    let answer = rig.send(&modern_call("echo", "\"n\":1"));
    assert_eq!(answer.payload()["result"]["n"], 1, "{}", answer.request.text());
    assert_eq!(words(&by_process(&rig)[2]), ["echo"]);
    assert_eq!(words(&by_process(&rig)[0]), ["initialize", "notifications/initialized"]);
}

/// REV-020: a server that has spoken the newer era is never said not to, however often it dies.
#[test]
fn deaths_do_not_unlearn_an_era() {
    let rig = Rig::start("locked");
    rig.send(&modern_call("tools/list", ""));
    for _ in 0..3 {
        let lost = rig.send(&modern_call("exit", ""));
        assert_eq!(lost.cause(), "transport_closed/eof", "{}", lost.request.text());
    }
    let answer = rig.send(&modern_call("echo", "\"n\":1"));
    assert_eq!(answer.payload()["result"]["n"], 1, "{}", answer.request.text());
}

/// REV-018: `server/discover` is asked of the server each time.
#[test]
fn discovery_is_not_answered_from_memory() {
    let rig = Rig::start("locked");
    for _ in 0..3 {
        let answer = rig.send(&modern_call("server/discover", ""));
        assert_eq!(answer.payload()["result"]["echo"], "server/discover");
    }
    assert_eq!(rig.journal.of("server/discover").len(), 3);
}

/// REV-019, REV-020: a server that exits on an unknown method costs one call; it is not started again for the newer
/// era, whose calls are refused at once, until the other child is started again.
#[test]
fn a_server_that_exits_on_discovery_is_noted() {
    let rig = Rig::start("fragile");
    rig.open();
    let command = modern_call("server/discover", "");
    let lost = rig.send(&command);
    assert!(lost.payload()["error"]["code"].is_i64(), "{}", lost.request.text());
    assert_ne!(lost.payload()["error"]["code"], -32022);
    for method in ["server/discover", "tools/list", "echo"] {
        let refused = rig.send(&modern_call(method, ""));
        assert_eq!((refused.code(), &refused.payload()["error"]["code"]), (200, &json!(-32601)), "{method}");
        assert_eq!(refused.payload()["id"], 1);
    }
    let ack = rig.send(&modern_note("anything"));
    assert_eq!((ack.kind(), ack.code()), ("notify_ack", 200));
    assert_eq!(rig.plane.posts_of(&command).len(), 1);
    let served = rig.call("tools/list", "");
    assert_eq!(served.payload()["result"]["echo"], "tools/list");
    assert_eq!(rig.journal.of("(start)").len(), 2);
    // A call that this server does not know ends its legacy child.
    rig.call("unknown", "");
    rig.journal.wait("(start)", 3);
    rig.call("tools/list", "");
    let again = rig.send(&modern_call("tools/list", ""));
    assert_eq!(again.payload()["result"]["echo"], "tools/list", "{}", again.request.text());
    assert_eq!(rig.journal.of("(start)").len(), 4);
}

/// REV-018, REV-020: silence is bounded, ends in an answer, and is noted like an exit.
#[test]
fn a_server_that_is_silent_on_discovery_is_noted() {
    let rig = Rig::start("deaf");
    rig.open();
    let lost = rig.send(&modern_call("server/discover", ""));
    assert!(lost.payload()["error"]["code"].is_i64(), "{}", lost.request.text());
    let began = Instant::now();
    let refused = rig.send(&modern_call("tools/list", ""));
    assert_eq!((refused.code(), &refused.payload()["error"]["code"]), (200, &json!(-32601)));
    assert!(began.elapsed() < Duration::from_secs(5));
    rig.assert_alive();
}

/// REV-044: subscriptions of callers with equal ids each get their own messages, under their own id.
#[test]
fn subscriptions_with_equal_ids_do_not_meet() {
    let rig = Rig::start("plain");
    let ids = ["1", "1", "\"1\""];
    let listens = ids.map(|id| Command::rpc(modern("subscriptions/listen", id, r#""notifications":{}"#)));
    rig.plane.queue_all(&listens);
    rig.journal.wait("subscriptions/listen", 3);
    assert_eq!(rig.send(&modern_note("change")).code(), 200);
    for command in &listens {
        rig.plane.wait_posts(command, 2, |_| true);
    }
    assert_eq!(rig.send(&modern_note("close")).code(), 200);
    for (command, id) in listens.iter().zip(ids) {
        rig.plane.wait_answer(command);
        let posts = rig.plane.posts_of(command);
        let methods: Vec<_> = posts.iter().map(|post| post.payload()["method"].as_str()).collect();
        let wanted =
            ["notifications/subscriptions/acknowledged", "notifications/tools/list_changed"].map(Some);
        assert_eq!((methods[..2].to_vec(), methods[2]), (wanted.to_vec(), None));
        for post in &posts {
            let tag = format!("\"io.modelcontextprotocol/subscriptionId\":{id}");
            assert!(post.payload_text().contains(&tag), "{id}: {}", post.payload_text());
        }
        assert!(posts[2].payload_text().contains(&format!("\"id\":{id}")));
    }
}

/// MCP-132, REV-034: a request of a newer server is dropped, nothing is written back.
#[test]
fn newer_servers_get_no_responses() {
    let rig = Rig::start("plain");
    let asked = modern_call("ask", "").timeout("500ms");
    rig.begin(&asked, "ask");
    let answer = rig.send(&modern_call("echo", "\"n\":2"));
    assert_eq!(answer.payload()["result"]["n"], 2);
    rig.journal.wait("notifications/cancelled", 1);
    assert!(rig.journal.notes().iter().all(|note| note.json().get("error").is_none()));
    assert!(rig.journal.notes().iter().all(|note| note.json().get("result").is_none()));
}

/// REV-047, REV-015: a cancellation stays in its era; a bare one that could mean calls of both cancels nobody.
#[test]
fn cancellations_stay_in_their_era() {
    let rig = Rig::start("locked");
    rig.open();
    let (bare, newer) = (call("late", "1", "\"n\":1"), modern_call("late", ""));
    rig.begin(&bare, "late");
    rig.begin(&newer, "late");
    assert_eq!(rig.send(&cancel("1")).code(), 200);
    rig.assert_alive();
    assert_eq!(rig.journal.of("notifications/cancelled"), []);
    let params = json!({ "requestId": 1, "_meta": { CLAIM: "2026-07-28" } });
    let claiming = json!({ "jsonrpc": "2.0", "method": "notifications/cancelled", "params": params });
    assert_eq!(rig.send(&Command::rpc(claiming)).code(), 200);
    assert_eq!(rig.plane.wait_answer(&newer).payload()["result"]["cancelled"], true);
    rig.send(&Command::notification("release"));
    assert_eq!(rig.plane.wait_answer(&bare).payload()["result"]["n"], 1);
    let told = rig.journal.of("notifications/cancelled");
    assert_eq!((told.len(), told[0].pid), (1, rig.journal.of("late")[1].pid));
}

/// REV-047: a bare cancellation finds the newer child's call when nobody else's is meant.
#[test]
fn a_bare_cancellation_finds_the_newer_call() {
    let rig = Rig::start("locked");
    rig.open();
    let newer = modern_call("late", "");
    rig.begin(&newer, "late");
    assert_eq!(rig.send(&cancel("1")).code(), 200);
    assert_eq!(rig.plane.wait_answer(&newer).payload()["result"]["cancelled"], true);
}
