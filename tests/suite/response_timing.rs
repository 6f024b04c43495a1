//! Times of servers in answers (`resp_timing`), which are sent on demand.

use std::time::Duration;

use serde_json::{Value, json};

use crate::harpoon::{Harbour, call_command};
use crate::support::client::Builder;
use crate::support::command::Command;
use crate::support::plane::Posted;
use crate::support::reply::{Part, Reply, notification};
use crate::support::rig::Rig;
use crate::support::stdio;

fn timed(builder: Builder) -> Builder {
    builder.argument("--control-plane.response-timing")
}

/// The time in an answer, by its way.
fn time_of(answer: &Posted, transport: &str) -> Duration {
    let timing = &answer.json["resp_timing"];
    let elapsed_us =
        timing["target_elapsed_us"].as_u64().unwrap_or_else(|| panic!("{}", answer.request.text()));
    assert_eq!(timing, &json!({"version": 1, "transport": transport, "target_elapsed_us": elapsed_us}));
    Duration::from_micros(elapsed_us)
}

fn is_untimed(answer: &Posted) -> bool {
    answer.json.get("resp_timing").is_none()
}

/// NEW-032, NEW-033: the time until the answer, in streams and errors too; the same bytes in every attempt.
#[test]
fn answers_tell_how_long_their_servers_took() {
    let rig = Rig::with(timed);
    let pause = Duration::from_millis(300);
    let note = notification("notifications/message", &json!({}));
    let late = |reply: Reply| reply.first(Part::Pause(pause));
    let error = r#"{"jsonrpc":"2.0","id":1,"error":{"code":-32000,"message":"m"}}"#;
    for (reply, notes) in [
        (late(Reply::result("1", "{}")), 0),
        (late(Reply::sse().event(&note).event(r#"{"jsonrpc":"2.0","id":1,"result":{}}"#)), 1),
        (late(Reply::json(404, error)), 0),
    ] {
        rig.mcp.reply("m", reply);
        let command = Command::method("m", "1");
        (0..notes).for_each(|_| rig.plane.answer_for(&command, Reply::json(200, r#"{"status":"ok"}"#)));
        rig.plane.answer_for(&command, Reply::status(503));
        rig.plane.queue(&command);
        let posts = rig.plane.wait_posts(&command, notes + 2, |_| true);
        let (notes, answers) = posts.split_at(notes);
        assert!(time_of(&answers[0], "streamable_http") >= pause);
        assert_eq!(answers[0].request.body, answers[1].request.body);
        assert!(notes.iter().all(is_untimed));
    }
    let rig = stdio::Rig::with("plain", timed);
    rig.open();
    let held = stdio::call("late", "1", r#""n":1"#);
    rig.begin(&held, "late");
    std::thread::sleep(pause);
    rig.send(&Command::notification("release"));
    assert!(time_of(&rig.plane.wait_answer(&held), "stdio") >= pause);
}

/// NEW-034: what no server outside this process has answered, or not under its id, has no time.
#[test]
fn nothing_else_has_a_time() {
    let rig = Rig::with(timed);
    rig.mcp.reply("lost", Reply::closed());
    rig.mcp.reply("late", Reply::silence());
    rig.mcp.reply(
        "nameless",
        Reply::json(400, r#"{"jsonrpc":"2.0","id":null,"error":{"code":1,"message":"m"}}"#),
    );
    for command in [
        Command::method("lost", "1"),
        Command::method("late", "1").timeout("400ms"),
        Command::method("nameless", "1"),
        Command::notification("notifications/x"),
        Command::termination("s"),
        Command::of_type("oauth_discovery"),
        Command::method("m", "1").channel("nowhere"),
    ] {
        let answer = rig.send(&command);
        assert!(is_untimed(&answer), "{}", answer.request.text());
    }
    let harbour = Harbour::with("- {label: a, url: ORIGIN/a}", timed, |_| Reply::status(204));
    assert!(is_untimed(&harbour.rig.send(&call_command("a", json!({})))));
    // What the handshake's memory answers has cost the child nothing.
    let rig = stdio::Rig::with("plain", timed);
    time_of(&rig.open(), "stdio");
    assert!(is_untimed(&rig.send(&stdio::initialize("2"))));
}

/// NEW-032: unless it is asked for, since a strict control plane may refuse the member.
#[test]
fn times_are_told_on_demand_alone() {
    let rig = Rig::start();
    let answer = rig.send(&Command::method("m", "1"));
    assert_eq!((answer.code(), answer.json.get("resp_timing")), (200, None::<&Value>));
}
