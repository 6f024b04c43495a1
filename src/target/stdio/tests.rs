//! The state of a child under every interleaving: each caller gets its own answer or its own failure, once.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::relay::message::{Era, Message};

use super::core::{Admission, Core, Event};
use super::mailbox::{End, Letter, Mailbox};

fn message(text: &str) -> Message {
    Message::parse(text.to_owned()).unwrap()
}

fn admit(core: &mut Core, text: &str) -> (u64, Arc<Mailbox>) {
    match core.admit(&message(text)) {
        Admission::Call(number, mailbox) => (number, mailbox),
        other => panic!("{other:?}"),
    }
}

fn written(core: &mut Core) -> Vec<String> {
    std::iter::from_fn(|| core.next_line()).map(|line| String::from_utf8(line).unwrap()).collect()
}

fn letter(mailbox: &Mailbox) -> Letter {
    mailbox.next(Instant::now(), Instant::now())
}

fn text(payload: &crate::relay::payload::Payload) -> String {
    String::from_utf8(payload.parts().concat()).unwrap()
}

fn answer(mailbox: &Mailbox) -> String {
    match letter(mailbox) {
        Letter::End(End::Answer(payload)) => text(&payload),
        other => panic!("{other:?}"),
    }
}

/// A legacy child whose session is open, and what was written for that.
fn opened() -> Core {
    let mut core = Core::new(Era::Legacy);
    core.started();
    let (_, mailbox) = admit(&mut core, r#"{"jsonrpc":"2.0","id":"i","method":"initialize","params":{}}"#);
    assert_eq!(
        written(&mut core),
        ["{\"jsonrpc\":\"2.0\",\"id\":\"tc-1\",\"method\":\"initialize\",\"params\":{}}\n"]
    );
    core.incoming(message(r#"{"jsonrpc":"2.0","id":"tc-1","result":{"protocolVersion":"x"}}"#), None);
    assert_eq!(answer(&mailbox), r#"{"jsonrpc":"2.0","id":"i","result":{"protocolVersion":"x"}}"#);
    core.admit(&message(r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#));
    assert_eq!(written(&mut core), ["{\"jsonrpc\":\"2.0\",\"method\":\"notifications/initialized\"}\n"]);
    core
}

#[test]
fn a_second_initialize_is_answered_from_memory() {
    let mut core = opened();
    let (_, mailbox) = admit(&mut core, r#"{"jsonrpc":"2.0","id":7,"method":"initialize","params":{"x":1}}"#);
    assert_eq!(answer(&mailbox), r#"{"jsonrpc":"2.0","id":7,"result":{"protocolVersion":"x"}}"#);
    core.admit(&message(r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#));
    assert!(written(&mut core).is_empty());
}

#[test]
fn initializes_that_meet_share_one_answer() {
    let mut core = Core::new(Era::Legacy);
    core.started();
    let (_, first) = admit(&mut core, r#"{"jsonrpc":"2.0","id":1,"method":"initialize"}"#);
    let (_, second) = admit(&mut core, r#"{"jsonrpc":"2.0","id":"b","method":"initialize"}"#);
    assert_eq!(written(&mut core).len(), 1);
    core.incoming(message(r#"{"jsonrpc":"2.0","id":1,"result":{}}"#), None);
    assert_eq!(answer(&first), r#"{"jsonrpc":"2.0","id":1,"result":{}}"#);
    assert_eq!(answer(&second), r#"{"jsonrpc":"2.0","id":"b","result":{}}"#);
}

#[test]
fn a_malformed_initialize_leaves_the_handshake_open() {
    let mut core = Core::new(Era::Legacy);
    core.started();
    let twice = r#"{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"_meta":{"progressToken":1,"progressToken":2}}}"#;
    assert!(matches!(core.admit(&message(twice)), Admission::Refused(_)));
    admit(&mut core, r#"{"jsonrpc":"2.0","id":2,"method":"initialize"}"#);
    assert_eq!(written(&mut core).len(), 1);
}

#[test]
fn what_was_given_up_takes_no_place() {
    let mut core = opened();
    for _ in 0..2000 {
        let (number, _) = admit(&mut core, r#"{"jsonrpc":"2.0","id":1,"method":"tools/list"}"#);
        assert!(!core.give_up(number));
    }
    assert!(!core.has_work() && core.pending() == 0);
}

#[test]
fn followers_of_a_handshake_are_counted_and_let_go() {
    let mut core = Core::new(Era::Legacy);
    core.started();
    admit(&mut core, r#"{"jsonrpc":"2.0","id":0,"method":"initialize"}"#);
    let (number, _) = admit(&mut core, r#"{"jsonrpc":"2.0","id":1,"method":"initialize"}"#);
    assert_eq!(core.pending(), 2);
    core.give_up(number);
    assert_eq!(core.pending(), 1);
}

#[test]
fn a_child_that_asks_and_does_not_read_fills_no_memory() {
    let mut core = opened();
    for _ in 0..2000 {
        core.incoming(message(r#"{"jsonrpc":"2.0","id":"s","method":"ping"}"#), None);
    }
    core.incoming(
        message(&format!(r#"{{"jsonrpc":"2.0","id":"{}","method":"ping"}}"#, "s".repeat(5000))),
        None,
    );
    let lines = written(&mut core);
    assert!(lines.len() <= 512 && lines.iter().all(|line| line.len() < 100));
}

#[test]
fn answers_to_a_dead_child_do_not_reach_the_next() {
    let mut core = opened();
    let ping = r#"{"jsonrpc":"2.0","id":"s","method":"ping"}"#;
    core.incoming(message(ping), None);
    core.died("eof", "gone");
    core.incoming(message(ping), None);
    core.started();
    let lines = written(&mut core);
    assert!(lines.len() == 1 && lines[0].contains("\"initialize\""), "{lines:?}");
}

#[test]
fn a_late_cancellation_hits_no_other_call() {
    let mut core = opened();
    admit(&mut core, r#"{"jsonrpc":"2.0","id":3,"method":"tools/call"}"#);
    admit(&mut core, r#"{"jsonrpc":"2.0","id":3,"method":"tools/call"}"#);
    written(&mut core);
    core.incoming(message(r#"{"jsonrpc":"2.0","id":3,"result":{}}"#), None);
    core.admit(&message(r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":3}}"#));
    assert!(!core.has_work());
}

#[test]
fn the_memory_of_a_handshake_is_bounded() {
    let mut core = Core::new(Era::Legacy);
    core.started();
    admit(&mut core, r#"{"jsonrpc":"2.0","id":1,"method":"initialize"}"#);
    written(&mut core);
    let giant = "x".repeat(300 * 1024);
    core.incoming(message(&format!(r#"{{"jsonrpc":"2.0","id":1,"result":{{"x":"{giant}"}}}}"#)), None);
    admit(&mut core, r#"{"jsonrpc":"2.0","id":2,"method":"initialize"}"#);
    assert_eq!(written(&mut core).len(), 1, "asked again");
}

#[test]
fn rev_017_a_restarted_child_is_initialized_before_anything_else() {
    let mut core = opened();
    core.died("eof", "gone");
    let (_, call) = admit(&mut core, r#"{"jsonrpc":"2.0","id":5,"method":"tools/list"}"#);
    core.started();
    let lines = written(&mut core);
    assert_eq!(lines.len(), 1);
    assert!(lines[0].contains("\"initialize\""));
    let number = super::rewrite::number(message(lines[0].trim_end()).id().unwrap()).unwrap();
    core.incoming(message(&format!(r#"{{"jsonrpc":"2.0","id":"tc-{number}","result":{{}}}}"#)), None);
    let lines = written(&mut core);
    assert!(lines[0].contains("notifications/initialized"), "{lines:?}");
    assert!(lines[1].contains("tools/list"), "{lines:?}");
    assert!(matches!(letter(&call), Letter::Nothing));
}

#[test]
fn rev_017_a_call_that_comes_between_two_children_does_not_change_the_handshake() {
    let mut core = opened();
    core.died("eof", "gone");
    admit(&mut core, r#"{"jsonrpc":"2.0","id":5,"method":"tools/list"}"#);
    core.started();
    let lines = written(&mut core);
    assert!(lines.len() == 1 && lines[0].contains("\"initialize\",\"params\":{}}"), "{lines:?}");
}

#[test]
fn a_caller_without_a_handshake_gets_one_made() {
    let mut core = Core::new(Era::Legacy);
    core.started();
    admit(&mut core, r#"{"jsonrpc":"2.0","id":5,"method":"tools/list"}"#);
    let lines = written(&mut core);
    assert!(lines.len() == 1 && lines[0].contains("\"initialize\""), "{lines:?}");
    core.incoming(message(r#"{"jsonrpc":"2.0","id":1,"result":{}}"#), None);
    let lines = written(&mut core);
    assert!(lines[0].contains("notifications/initialized") && lines[1].contains("tools/list"), "{lines:?}");
}

#[test]
fn an_initialize_that_comes_too_early_waits_for_the_child() {
    let mut core = Core::new(Era::Legacy);
    let (_, first) = admit(&mut core, r#"{"jsonrpc":"2.0","id":5,"method":"initialize"}"#);
    let (_, second) = admit(&mut core, r#"{"jsonrpc":"2.0","id":6,"method":"initialize"}"#);
    core.died("eof", "gone");
    core.started();
    assert_eq!(written(&mut core), ["{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"initialize\"}\n"]);
    core.incoming(message(r#"{"jsonrpc":"2.0","id":1,"result":{}}"#), None);
    assert_eq!(answer(&first), r#"{"jsonrpc":"2.0","id":5,"result":{}}"#);
    assert_eq!(answer(&second), r#"{"jsonrpc":"2.0","id":6,"result":{}}"#);
}

#[test]
fn a_call_that_waits_is_never_written_without_a_handshake() {
    let mut core = Core::new(Era::Legacy);
    let (_, call) = admit(&mut core, r#"{"jsonrpc":"2.0","id":5,"method":"tools/list"}"#);
    for _ in 0..3 {
        core.started();
        let lines = written(&mut core);
        assert!(lines.len() == 1 && lines[0].contains("\"initialize\""), "{lines:?}");
        core.died("eof", "gone");
    }
    assert!(matches!(letter(&call), Letter::Nothing));
}

#[test]
fn an_initialize_that_is_given_up_early_blocks_nobody() {
    let mut core = Core::new(Era::Legacy);
    core.started();
    let (number, _) = admit(&mut core, r#"{"jsonrpc":"2.0","id":5,"method":"initialize"}"#);
    admit(&mut core, r#"{"jsonrpc":"2.0","id":6,"method":"tools/list"}"#);
    assert!(!core.give_up(number));
    let lines = written(&mut core);
    assert!(lines.len() == 1 && lines[0].contains("tunnel-client-rs"), "{lines:?}");
    core.incoming(message(r#"{"jsonrpc":"2.0","id":3,"result":{}}"#), None);
    assert_eq!(written(&mut core).len(), 2);
}

#[test]
fn rev_046_progress_goes_to_its_own_call_under_its_own_token() {
    let mut core = opened();
    let call = r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"_meta":{"progressToken":"t"}}}"#;
    let (a, first) = admit(&mut core, call);
    let (b, second) = admit(&mut core, call);
    written(&mut core);
    for (number, progress) in [(b, 2), (a, 1)] {
        let note = format!(
            r#"{{"jsonrpc":"2.0","method":"notifications/progress","params":{{"progressToken":"tc-{number}","progress":{progress}}}}}"#
        );
        assert_eq!(core.incoming(message(&note), None), None);
    }
    for (mailbox, progress) in [(first, 1), (second, 2)] {
        let Letter::Note(payload) = letter(&mailbox) else { panic!() };
        assert!(text(&payload).contains(&format!("\"progressToken\":\"t\",\"progress\":{progress}")));
    }
    // One that names nobody has no home while two calls run.
    let log = r#"{"jsonrpc":"2.0","method":"notifications/message","params":{}}"#;
    assert_eq!(core.incoming(message(log), None), Some(Event::Noise));
}

#[test]
fn rev_047_a_cancellation_names_the_private_id() {
    let mut core = opened();
    let (number, _) = admit(&mut core, r#"{"jsonrpc":"2.0","id":"x","method":"tools/call"}"#);
    written(&mut core);
    let cancel = r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":"x"}}"#;
    core.admit(&message(cancel));
    assert_eq!(written(&mut core), [format!("{}\n", cancel.replace("\"x\"", &format!("\"tc-{number}\"")))]);
    admit(&mut core, r#"{"jsonrpc":"2.0","id":"x","method":"tools/call"}"#);
    written(&mut core);
    core.admit(&message(cancel));
    assert!(written(&mut core).is_empty(), "an ambiguous id cancels nobody");
}

#[test]
fn requests_of_a_legacy_child_are_answered_and_those_of_a_modern_one_dropped() {
    let mut core = opened();
    let ping = message(r#"{"jsonrpc":"2.0","id":"s","method":"ping"}"#);
    assert_eq!(core.incoming(ping.clone(), None), Some(Event::ServerRequest(true)));
    assert_eq!(written(&mut core), ["{\"jsonrpc\":\"2.0\",\"id\":\"s\",\"result\":{}}\n"]);
    let mut core = Core::new(Era::Modern);
    core.started();
    assert_eq!(core.incoming(ping, None), Some(Event::ServerRequest(false)));
    assert!(written(&mut core).is_empty());
}

/// Numbers that are the same in every run.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap() % sides
    }
}

/// A child's answer to a line: the call's own number under its private id.
fn echo(line: &str) -> Option<Message> {
    let line = message(line.trim_end());
    let n = super::rewrite::find(line.text(), &["params", "n"]).unwrap();
    let n = n.map_or("null", |span| span.of(line.text()));
    Some(message(&format!(r#"{{"jsonrpc":"2.0","id":{},"result":{{"n":{n}}}}}"#, line.id()?)))
}

/// Any interleaving of calls, answers, deadlines and restarts gives each caller its own answer or its
/// own failure, once.
#[test]
fn every_caller_gets_its_own_end_once() {
    for seed in 0..300 {
        let mut dice = Dice(seed);
        let mut core = opened();
        let mut open: BTreeMap<u64, (usize, String, Arc<Mailbox>)> = BTreeMap::new();
        let mut lines: Vec<String> = Vec::new();
        for step in 0..400 {
            match dice.roll(10) {
                0..=3 => {
                    let id = ["1", "\"1\"", "2", "\"a\""][dice.roll(4)];
                    let call = format!(
                        r#"{{"jsonrpc":"2.0","id":{id},"method":"tools/call","params":{{"n":{step},"_meta":{{"progressToken":"t"}}}}}}"#
                    );
                    if let Admission::Call(number, mailbox) = core.admit(&message(&call)) {
                        open.insert(number, (step, id.to_owned(), mailbox));
                    }
                }
                4 | 5 => lines.extend(core.next_line().map(|line| String::from_utf8(line).unwrap())),
                6 | 7 if !lines.is_empty() => {
                    // Sometimes the line stays, and the child answers it again later.
                    let at = dice.roll(lines.len());
                    let line = if dice.roll(4) == 0 { lines[at].clone() } else { lines.swap_remove(at) };
                    if let Some(answer) = echo(&line) {
                        core.incoming(answer, None);
                    }
                }
                8 if !open.is_empty() => {
                    let number = *open.keys().nth(dice.roll(open.len())).unwrap();
                    core.give_up(number);
                    let (_, _, mailbox) = open.remove(&number).unwrap();
                    while !matches!(letter(&mailbox), Letter::Nothing) {}
                }
                9 if dice.roll(5) == 0 => {
                    core.died("eof", "gone");
                    core.started();
                }
                _ => {}
            }
            open.retain(|_, (n, id, mailbox)| match letter(mailbox) {
                Letter::End(End::Answer(payload)) => {
                    let wanted = format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{{"n":{n}}}}}"#);
                    assert_eq!(text(&payload), wanted, "seed {seed}");
                    assert!(matches!(letter(mailbox), Letter::Nothing), "seed {seed}");
                    false
                }
                Letter::End(End::Failed(failure)) => {
                    assert_eq!(failure.source, "transport_closed");
                    false
                }
                _ => true,
            });
        }
        core.closed("the end");
        let failed = |mailbox: &Mailbox| matches!(letter(mailbox), Letter::End(End::Failed(_)));
        assert!(open.values().all(|(_, _, mailbox)| failed(mailbox)), "seed {seed}");
    }
}

#[test]
fn a_call_that_was_given_up_before_its_turn_is_never_written() {
    let mut core = opened();
    let (number, mailbox) = admit(&mut core, r#"{"jsonrpc":"2.0","id":1,"method":"tools/call"}"#);
    assert!(!core.give_up(number));
    assert!(written(&mut core).is_empty());
    assert!(matches!(
        mailbox.next(Instant::now() + Duration::from_millis(1), Instant::now()),
        Letter::Nothing
    ));
}
