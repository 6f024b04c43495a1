//! `subscriptions/listen`: a call that never ends, beside those that do.

use std::time::Duration;

use serde_json::json;

use crate::era_requests::modern;
use crate::support::command::Command;
use crate::support::gate::Gate;
use crate::support::reply::{Reply, id_text, notification};
use crate::support::rig::Rig;
use crate::time_limits::assert_told;

const LISTEN: &str = "subscriptions/listen";
const CHANGED: &str = "notifications/tools/list_changed";

fn listen(id: &str) -> Command {
    let params = r#""notifications":{"toolsListChanged":true}"#;
    Command::rpc(modern(LISTEN, id, params))
}

fn tagged(method: &str, id: &str) -> String {
    let key = "io.modelcontextprotocol/subscriptionId";
    let id: serde_json::Value = serde_json::from_str(id).unwrap();
    notification(method, &json!({"_meta": {key: id}}))
}

fn acknowledged(id: &str) -> String {
    tagged("notifications/subscriptions/acknowledged", id)
}

/// The graceful end of a subscription.
fn graceful(id: &str) -> String {
    let meta = format!(r#"{{"io.modelcontextprotocol/subscriptionId":{id}}}"#);
    format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{{"resultType":"complete","_meta":{meta}}}}}"#)
}

/// A rig whose server acknowledges every subscription and then waits for the gate to end it.
fn listening(
    adjust: impl FnOnce(crate::support::client::Builder) -> crate::support::client::Builder,
) -> (Rig, Gate) {
    let rig = Rig::with(adjust);
    let gate = Gate::new();
    let held = gate.clone();
    rig.mcp.hook(move |request| {
        let id = id_text(&request.body);
        let stream = || Reply::sse().event(acknowledged(&id)).wait(&held).event(graceful(&id));
        (request.rpc_method() == LISTEN).then(stream)
    });
    (rig, gate)
}

/// REV-042, REV-045: everything arrives as it is said, beyond the TTL of calls, and the end is a success.
#[test]
fn subscriptions_stream_as_it_arrives() {
    let rig = Rig::with(|b| b.flag("mcp.connection-max-ttl", "400ms"));
    let (change, end) = (Gate::new(), Gate::new());
    let stream = Reply::sse()
        .event(acknowledged("\"s-1\""))
        .wait(&change)
        .event(tagged(CHANGED, "\"s-1\""))
        .wait(&end)
        .event(graceful("\"s-1\""));
    rig.mcp.reply(LISTEN, stream);
    let command = listen("\"s-1\"");
    rig.plane.queue(&command);
    let first = rig.plane.wait_posts(&command, 1, |_| true).remove(0);
    assert_eq!(first.kind(), "jsonrpc_notify");
    assert_eq!(first.payload_text(), acknowledged("\"s-1\""));
    // The subject is that the time of ordinary calls passes without an end.
    std::thread::sleep(Duration::from_millis(700));
    assert_eq!(rig.plane.posts_of(&command).len(), 1);
    change.open();
    let second = rig.plane.wait_posts(&command, 2, |_| true).remove(1);
    assert_eq!(second.payload_text(), tagged(CHANGED, "\"s-1\""));
    end.open();
    let last = rig.plane.wait_answer(&command);
    assert_eq!((last.code(), last.payload_text()), (200, graceful("\"s-1\"")));
    assert_eq!(rig.plane.posts_of(&command).len(), 3);
}

/// REV-042, REV-043: four run at once beside a single worker, which stays free for calls.
#[test]
fn four_subscriptions_delay_no_call() {
    let (rig, gate) = listening(|b| b.flag("mcp.max-concurrent-requests", "1"));
    let commands = ["1", "2", "3", "4"].map(listen);
    rig.plane.queue_all(&commands);
    gate.wait_arrivals(4);
    let answer = rig.call(modern("tools/call", "9", r#""name":"quick""#));
    assert_eq!(answer.code(), 200);
    rig.assert_alive();
    gate.open();
    for command in &commands {
        assert_eq!(rig.plane.wait_answer(command).code(), 200);
        assert_eq!(rig.plane.posts_of(command).len(), 2);
    }
}

/// REV-043: a fifth is refused at once, the others go on, and a place that is given back is used.
#[test]
fn a_fifth_subscription_is_refused() {
    let (rig, gate) = listening(|b| b.flag("mcp.max-concurrent-requests", "1"));
    let four = ["1", "2", "3", "4"].map(listen);
    rig.plane.queue_all(&four);
    gate.wait_arrivals(4);
    for id in ["5", "6", "7", "8", "9", "10"] {
        let refused = rig.send(&listen(id));
        assert_eq!(refused.code(), 503, "{}", refused.request.text());
        assert_eq!(refused.failure()["source"], "client_internal");
    }
    assert_eq!(rig.mcp.calls_of(LISTEN).len(), 4);
    rig.assert_alive();
    gate.open();
    for command in &four {
        assert_eq!(rig.plane.wait_answer(command).code(), 200);
    }
    assert_eq!(rig.send(&listen("11")).code(), 200);
}

/// REV-043: while all ordinary workers are busy a subscription starts all the same.
#[test]
fn busy_workers_do_not_delay_a_subscription() {
    let (rig, gate) = listening(|b| b.flag("mcp.max-concurrent-requests", "1"));
    let stuck = Gate::new();
    rig.mcp.reply("held", Reply::result("1", "{}").behind(&stuck));
    let held = Command::method("held", "1");
    rig.plane.queue(&held);
    stuck.wait_arrivals(1);
    let command = listen("2");
    rig.plane.queue(&command);
    rig.plane.wait_posts(&command, 1, |_| true);
    gate.open();
    assert_eq!(rig.plane.wait_answer(&command).code(), 200);
    stuck.open();
    assert_eq!(rig.plane.wait_answer(&held).code(), 200);
}

/// REV-045: a break without a result is a loss, also when ids were seen or a cancellation was sent.
#[test]
fn a_broken_subscription_is_a_loss() {
    let rig = Rig::start();
    let cancelled = notification("notifications/cancelled", &json!({"requestId": 1}));
    let breaks = [
        Reply::sse().event(acknowledged("1")).close(),
        Reply::sse().event(acknowledged("1")),
        Reply::sse().event_with_id("e1", acknowledged("1")).close(),
        Reply::sse().event(acknowledged("1")).event(cancelled),
    ];
    let count = breaks.len();
    for broken in breaks {
        rig.mcp.reply(LISTEN, broken);
        let answer = rig.send(&listen("1"));
        assert_eq!(answer.code(), 502, "{}", answer.request.text());
        assert_eq!(answer.failure()["source"], "transport_closed");
    }
    assert_eq!(rig.mcp.calls_of(LISTEN).len(), count);
    assert_eq!(rig.mcp.calls_of("GET").len(), 0);
    rig.assert_alive();
}

/// REV-042: a server that refuses to listen is heard at once.
#[test]
fn a_refused_subscription_is_an_answer() {
    let rig = Rig::start();
    let error = r#"{"jsonrpc":"2.0","id":1,"error":{"code":-32601,"message":"Method not found"}}"#;
    rig.mcp.reply(LISTEN, Reply::json(404, error));
    let answer = rig.send(&listen("1"));
    assert_eq!((answer.code(), answer.payload_text().as_str()), (404, error));
    rig.assert_alive();
}

/// CP-153, REV-042: a subscription has a deadline when its caller gave one, and ends in silence.
#[test]
fn a_subscription_keeps_its_callers_deadline() {
    let (rig, _gate) = listening(|b| b);
    rig.mcp.reply(LISTEN, Reply::sse().event(acknowledged("1")).hang());
    let command = listen("1").timeout("700ms");
    rig.plane.queue(&command);
    assert_told(&rig.plane, &rig.client, &command, "1");
    rig.mcp.server.wait_abandoned(1);
    rig.assert_alive();
    assert_eq!(rig.mcp.calls_of("notifications/cancelled").len(), 0);
}
