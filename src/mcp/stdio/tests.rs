//! The state of a child under every interleaving: each caller gets its own answer or its own failure, once.

mod interleavings;

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::net;
use crate::relay::inflight::InFlight;
use crate::relay::message::Message;
use crate::relay::revision::Era;

use super::core::{Admission, Core, Event, under};
use super::mailbox::{End, Letter, Mailbox};
use super::rewrite::Numbers;

fn message(text: &str) -> Arc<Message> {
    Arc::new(Message::parse(text.to_owned()).unwrap())
}

fn new(era: Era) -> Core {
    Core::new(era, Numbers::known())
}

/// Takes a message of the child and hands it on.
fn incoming(core: &mut Core, text: &str) -> Option<Event> {
    let mut deliveries = Vec::new();
    let event = core.incoming(Message::parse(text.to_owned()).unwrap(), &mut deliveries);
    event.or(deliveries.into_iter().filter_map(|delivery| delivery.deliver(None)).next())
}

fn admit(core: &mut Core, text: &str) -> (u64, Arc<Mailbox>) {
    match core.admit(&message(text), None) {
        Admission::Call(number, mailbox) => (number, mailbox),
        other => panic!("{other:?}"),
    }
}

fn written(core: &mut Core) -> Vec<String> {
    std::iter::from_fn(|| core.next_line())
        .map(|line| String::from_utf8(line.into_bytes()).unwrap())
        .collect()
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
    let mut core = new(Era::Legacy);
    core.started();
    let (_, mailbox) = admit(&mut core, r#"{"jsonrpc":"2.0","id":"i","method":"initialize","params":{}}"#);
    assert_eq!(
        written(&mut core),
        ["{\"jsonrpc\":\"2.0\",\"id\":\"tc-1\",\"method\":\"initialize\",\"params\":{}}\n"]
    );
    incoming(&mut core, r#"{"jsonrpc":"2.0","id":"tc-1","result":{"protocolVersion":"x"}}"#);
    assert_eq!(answer(&mailbox), r#"{"jsonrpc":"2.0","id":"i","result":{"protocolVersion":"x"}}"#);
    core.admit(&message(r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#), None);
    assert_eq!(written(&mut core), ["{\"jsonrpc\":\"2.0\",\"method\":\"notifications/initialized\"}\n"]);
    core
}

#[test]
fn a_second_initialize_is_answered_from_memory() {
    let mut core = opened();
    let again = message(r#"{"jsonrpc":"2.0","id":7,"method":"initialize","params":{"x":1}}"#);
    let Admission::Answered(remembered) = core.admit(&again, None) else { panic!() };
    let payload = under(remembered, again.id().unwrap(), None);
    assert_eq!(text(&payload), r#"{"jsonrpc":"2.0","id":7,"result":{"protocolVersion":"x"}}"#);
    core.admit(&message(r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#), None);
    assert!(written(&mut core).is_empty());
}

#[test]
fn initializes_that_meet_share_one_answer() {
    let mut core = new(Era::Legacy);
    core.started();
    let (_, first) = admit(&mut core, r#"{"jsonrpc":"2.0","id":1,"method":"initialize"}"#);
    let (_, second) = admit(&mut core, r#"{"jsonrpc":"2.0","id":"b","method":"initialize"}"#);
    assert_eq!(written(&mut core).len(), 1);
    incoming(&mut core, r#"{"jsonrpc":"2.0","id":1,"result":{}}"#);
    assert_eq!(answer(&first), r#"{"jsonrpc":"2.0","id":1,"result":{}}"#);
    assert_eq!(answer(&second), r#"{"jsonrpc":"2.0","id":"b","result":{}}"#);
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
    let mut core = new(Era::Legacy);
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
        incoming(&mut core, r#"{"jsonrpc":"2.0","id":"s","method":"ping"}"#);
    }
    let long = "s".repeat(5000);
    incoming(&mut core, &format!(r#"{{"jsonrpc":"2.0","id":"{long}","method":"ping"}}"#));
    let lines = written(&mut core);
    assert!(lines.len() <= 512 && lines.iter().all(|line| line.len() < 100));
}

#[test]
fn answers_to_a_dead_child_do_not_reach_the_next() {
    let mut core = opened();
    let ping = r#"{"jsonrpc":"2.0","id":"s","method":"ping"}"#;
    incoming(&mut core, ping);
    core.died(net::Kind::Eof, "gone");
    incoming(&mut core, ping);
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
    incoming(&mut core, r#"{"jsonrpc":"2.0","id":3,"result":{}}"#);
    core.admit(
        &message(r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":3}}"#),
        None,
    );
    assert!(!core.has_work());
}

#[test]
fn the_memory_of_a_handshake_is_bounded() {
    let mut core = new(Era::Legacy);
    core.started();
    admit(&mut core, r#"{"jsonrpc":"2.0","id":1,"method":"initialize"}"#);
    written(&mut core);
    let giant = "x".repeat(300 * 1024);
    incoming(&mut core, &format!(r#"{{"jsonrpc":"2.0","id":1,"result":{{"x":"{giant}"}}}}"#));
    admit(&mut core, r#"{"jsonrpc":"2.0","id":2,"method":"initialize"}"#);
    assert_eq!(written(&mut core).len(), 1, "asked again");
}

#[test]
fn rev_017_a_restarted_child_is_initialized_before_anything_else() {
    let mut core = opened();
    core.died(net::Kind::Eof, "gone");
    let (_, call) = admit(&mut core, r#"{"jsonrpc":"2.0","id":5,"method":"tools/list"}"#);
    core.started();
    let lines = written(&mut core);
    assert_eq!(lines.len(), 1);
    assert!(lines[0].contains("\"initialize\""));
    let number = Numbers::known().read(message(lines[0].trim_end()).id().unwrap()).unwrap();
    incoming(&mut core, &format!(r#"{{"jsonrpc":"2.0","id":"tc-{number}","result":{{}}}}"#));
    let lines = written(&mut core);
    assert!(lines[0].contains("notifications/initialized"), "{lines:?}");
    assert!(lines[1].contains("tools/list"), "{lines:?}");
    assert!(matches!(letter(&call), Letter::Nothing));
}

#[test]
fn rev_017_a_call_that_comes_between_two_children_does_not_change_the_handshake() {
    let mut core = opened();
    core.died(net::Kind::Eof, "gone");
    admit(&mut core, r#"{"jsonrpc":"2.0","id":5,"method":"tools/list"}"#);
    core.started();
    let lines = written(&mut core);
    assert!(lines.len() == 1 && lines[0].contains("\"initialize\",\"params\":{}}"), "{lines:?}");
}

#[test]
fn a_caller_without_a_handshake_gets_one_made() {
    let mut core = new(Era::Legacy);
    core.started();
    admit(&mut core, r#"{"jsonrpc":"2.0","id":5,"method":"tools/list"}"#);
    let lines = written(&mut core);
    assert!(lines.len() == 1 && lines[0].contains("\"initialize\""), "{lines:?}");
    incoming(&mut core, r#"{"jsonrpc":"2.0","id":1,"result":{}}"#);
    let lines = written(&mut core);
    assert!(lines[0].contains("notifications/initialized") && lines[1].contains("tools/list"), "{lines:?}");
}

#[test]
fn an_initialize_that_comes_too_early_waits_for_the_child() {
    let mut core = new(Era::Legacy);
    let (_, first) = admit(&mut core, r#"{"jsonrpc":"2.0","id":5,"method":"initialize"}"#);
    let (_, second) = admit(&mut core, r#"{"jsonrpc":"2.0","id":6,"method":"initialize"}"#);
    core.died(net::Kind::Eof, "gone");
    core.started();
    assert_eq!(written(&mut core), ["{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"initialize\"}\n"]);
    incoming(&mut core, r#"{"jsonrpc":"2.0","id":1,"result":{}}"#);
    assert_eq!(answer(&first), r#"{"jsonrpc":"2.0","id":5,"result":{}}"#);
    assert_eq!(answer(&second), r#"{"jsonrpc":"2.0","id":6,"result":{}}"#);
}

#[test]
fn a_call_that_waits_is_never_written_without_a_handshake() {
    let mut core = new(Era::Legacy);
    let (_, call) = admit(&mut core, r#"{"jsonrpc":"2.0","id":5,"method":"tools/list"}"#);
    for _ in 0..3 {
        core.started();
        let lines = written(&mut core);
        assert!(lines.len() == 1 && lines[0].contains("\"initialize\""), "{lines:?}");
        core.died(net::Kind::Eof, "gone");
    }
    assert!(matches!(letter(&call), Letter::Nothing));
}

#[test]
fn an_initialize_that_is_given_up_early_blocks_nobody() {
    let mut core = new(Era::Legacy);
    core.started();
    let (number, _) = admit(&mut core, r#"{"jsonrpc":"2.0","id":5,"method":"initialize"}"#);
    admit(&mut core, r#"{"jsonrpc":"2.0","id":6,"method":"tools/list"}"#);
    assert!(!core.give_up(number));
    let lines = written(&mut core);
    assert!(lines.len() == 1 && lines[0].contains("tunnel-client-rs"), "{lines:?}");
    incoming(&mut core, r#"{"jsonrpc":"2.0","id":3,"result":{}}"#);
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
        assert_eq!(incoming(&mut core, &note), None);
    }
    for (mailbox, progress) in [(first, 1), (second, 2)] {
        let Letter::Note(payload) = letter(&mailbox) else { panic!() };
        assert!(text(&payload).contains(&format!("\"progressToken\":\"t\",\"progress\":{progress}")));
    }
    // One that names nobody has no home while two calls run.
    let log = r#"{"jsonrpc":"2.0","method":"notifications/message","params":{}}"#;
    assert_eq!(incoming(&mut core, log), Some(Event::Noise));
}

#[test]
fn rev_047_a_cancellation_names_the_private_id() {
    let mut core = opened();
    let (number, _) = admit(&mut core, r#"{"jsonrpc":"2.0","id":"x","method":"tools/call"}"#);
    written(&mut core);
    let cancel = r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":"x"}}"#;
    core.admit(&message(cancel), None);
    assert_eq!(written(&mut core), [format!("{}\n", cancel.replace("\"x\"", &format!("\"tc-{number}\"")))]);
    admit(&mut core, r#"{"jsonrpc":"2.0","id":"x","method":"tools/call"}"#);
    written(&mut core);
    core.admit(&message(cancel), None);
    assert!(written(&mut core).is_empty(), "an ambiguous id cancels nobody");
}

#[test]
fn requests_of_a_legacy_child_are_answered_and_those_of_a_modern_one_dropped() {
    let mut core = opened();
    let ping = r#"{"jsonrpc":"2.0","id":"s","method":"ping"}"#;
    assert_eq!(incoming(&mut core, ping), Some(Event::ServerRequest(true)));
    assert_eq!(written(&mut core), ["{\"jsonrpc\":\"2.0\",\"id\":\"s\",\"result\":{}}\n"]);
    let mut core = new(Era::Modern);
    core.started();
    assert_eq!(incoming(&mut core, ping), Some(Event::ServerRequest(false)));
    assert!(written(&mut core).is_empty());
}

#[test]
fn a_cancellation_reaches_its_own_conversation_alone() {
    let mut core = opened();
    let call = message(r#"{"jsonrpc":"2.0","id":5,"method":"tools/call"}"#);
    let cancel = message(r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":5}}"#);
    core.admit(&call, Some(1));
    written(&mut core);
    for stranger in [None, Some(2)] {
        assert!(!core.is_named_by(&cancel, stranger));
        core.admit(&cancel, stranger);
        assert!(!core.has_work());
    }
    // Another's call of the same id makes one's own no less certain, nor does one that has ended.
    let Admission::Call(other, _) = core.admit(&call, Some(2)) else { panic!() };
    written(&mut core);
    core.give_up(other);
    written(&mut core);
    assert!(core.is_named_by(&cancel, Some(1)));
    core.admit(&cancel, Some(1));
    assert!(written(&mut core)[0].contains("\"requestId\":2"));
}

/// What runs under the lock takes no longer for a long text. Reading one is what it is compared with.
#[test]
fn no_text_is_read_or_copied_under_the_lock() {
    let long = "x".repeat(4 * 1024 * 1024);
    let call = format!(
        r#"{{"jsonrpc":"2.0","id":"{long}","method":"tools/call","params":{{"_meta":{{"progressToken":"{long}"}}}}}}"#
    );
    let progress = r#"{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":"tc-2"}}"#;
    let answer = format!(r#"{{"jsonrpc":"2.0","id":"tc-2","result":"{long}"}}"#);
    let cancel = format!(
        r#"{{"jsonrpc":"2.0","method":"notifications/cancelled","params":{{"requestId":"{long}"}}}}"#
    );
    let mut core = opened();
    let mut deliveries = Vec::new();
    let began = Instant::now();
    let (call, cancel) = (message(&call), message(&cancel));
    let [progress, answer] = [progress, &answer].map(|text| Message::parse(text.to_owned()).unwrap());
    let read = began.elapsed();
    let began = Instant::now();
    assert!(matches!(core.admit(&call, None), Admission::Call(2, _)));
    core.admit(&cancel, None);
    let line = core.next_line().unwrap();
    assert_eq!(core.incoming(progress, &mut deliveries), None);
    assert_eq!(core.incoming(answer, &mut deliveries), None);
    let locked = began.elapsed();
    assert!(locked < read / 20, "{locked:?} against {read:?}");
    assert!(line.into_bytes().starts_with(b"{\"jsonrpc\":\"2.0\",\"id\":\"tc-2\","));
    assert!(deliveries.into_iter().all(|delivery| delivery.deliver(None).is_none()));
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

/// A cancellation goes before all others, and yet is counted until the child has read it.
#[test]
fn what_nobody_waits_for_is_counted_until_it_is_written() {
    let flight = InFlight::default();
    let mut core = new(Era::Modern);
    core.started();
    admit(&mut core, r#"{"jsonrpc":"2.0","id":7,"method":"x"}"#);
    assert_eq!(written(&mut core).len(), 1);
    let cancel = r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":7}}"#;
    for text in [r#"{"jsonrpc":"2.0","method":"notifications/y"}"#, cancel, cancel] {
        let message = message(text);
        assert!(matches!(core.admit(&message, None), Admission::Taken));
        core.hold(&message, flight.enter(1));
    }
    assert_eq!(flight.now(), 3);
    drop(core.next_line());
    assert_eq!(flight.now(), 2);
    assert_eq!(written(&mut core).len(), 2);
    assert_eq!(flight.now(), 0);
    // What was not queued is not counted either.
    let stranger = message(&cancel.replace('7', "8"));
    core.admit(&stranger, None);
    core.hold(&stranger, flight.enter(1));
    assert_eq!(flight.now(), 0);
}
