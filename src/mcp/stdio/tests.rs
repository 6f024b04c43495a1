//! The state of a child under every interleaving: each caller gets its own answer or its own failure, once.

mod handshakes;
mod interleavings;

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::net;
use crate::relay::inflight::InFlight;
use crate::relay::message::Message;
use crate::relay::revision::Era;

use super::core::{Admission, Conversation, Core, Event, OURS};
use super::life::Change;
use super::replies::{Replies, Reply};
use super::rewrite::{Line, Numbers, write};

fn message(text: &str) -> Arc<Message> {
    Arc::new(Message::parse(text.to_owned()).unwrap())
}

fn new(era: Era) -> Core {
    Core::new(era, numbers())
}

fn numbers() -> Numbers {
    Numbers::new("tc-".into(), 1)
}

/// A core whose child runs.
fn running(era: Era) -> Core {
    let mut core = new(era);
    start(&mut core);
    core
}

fn start(core: &mut Core) {
    core.change(Change::Start);
    core.started();
}

fn die(core: &mut Core) {
    core.ends(Change::Ended, net::Kind::Eof, "gone");
}

/// Takes a message of the child.
fn incoming(core: &mut Core, text: &str) -> Option<Event> {
    core.incoming(Message::parse(text.to_owned()).unwrap(), None)
}

/// Takes a message for the child.
fn take(core: &mut Core, message: &Arc<Message>, conversation: Conversation) -> Admission {
    core.admit(message, conversation, InFlight::default().enter(0))
}

fn admit(core: &mut Core, text: &str) -> (u64, Call) {
    let message = message(text);
    match take(core, &message, None) {
        Admission::Call(number, replies) => (number, Call { replies, message }),
        other => panic!("{other:?}"),
    }
}

/// A call that waits for its replies.
struct Call {
    replies: Arc<Replies>,
    message: Arc<Message>,
}

/// What a call got.
#[derive(Debug, PartialEq, Eq)]
enum Got {
    Notification(String),
    Answer(String),
    Failed(net::Source),
    Nothing,
}

impl Call {
    fn next(&self) -> Got {
        match self.replies.next(Instant::now(), Instant::now()) {
            Some(Reply::Notification(note)) => Got::Notification(text(&note.notification(&self.message))),
            Some(Reply::Answer(answer)) => Got::Answer(text(&answer.answer(&self.message).unwrap())),
            Some(Reply::Failed(failure)) => Got::Failed(failure.source),
            None => Got::Nothing,
        }
    }
}

fn bytes(line: &Line) -> String {
    let mut bytes = Vec::new();
    write(std::slice::from_ref(line), &mut bytes).unwrap();
    String::from_utf8(bytes).unwrap()
}

fn written(core: &mut Core) -> Vec<String> {
    std::iter::from_fn(|| core.next_line()).map(|line| bytes(&line)).collect()
}

fn text(payload: &crate::relay::payload::Payload) -> String {
    String::from_utf8(payload.parts().concat()).unwrap()
}

fn answer(call: &Call) -> String {
    match call.next() {
        Got::Answer(text) => text,
        other => panic!("{other:?}"),
    }
}

/// A legacy child whose session is open, and what was written for that.
fn opened() -> Core {
    let mut core = running(Era::Legacy);
    let (_, replies) = admit(&mut core, r#"{"jsonrpc":"2.0","id":"i","method":"initialize","params":{}}"#);
    assert_eq!(
        written(&mut core),
        ["{\"jsonrpc\":\"2.0\",\"id\":\"tc-1\",\"method\":\"initialize\",\"params\":{}}\n"]
    );
    incoming(&mut core, r#"{"jsonrpc":"2.0","id":"tc-1","result":{"protocolVersion":"x"}}"#);
    assert_eq!(answer(&replies), r#"{"jsonrpc":"2.0","id":"i","result":{"protocolVersion":"x"}}"#);
    take(&mut core, &message(r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#), None);
    assert_eq!(written(&mut core), ["{\"jsonrpc\":\"2.0\",\"method\":\"notifications/initialized\"}\n"]);
    core
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
    die(&mut core);
    incoming(&mut core, ping);
    start(&mut core);
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
    let cancel = r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":3}}"#;
    take(&mut core, &message(cancel), None);
    assert!(!core.has_work());
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
    for (call, progress) in [(first, 1), (second, 2)] {
        let Got::Notification(text) = call.next() else { panic!() };
        assert!(text.contains(&format!("\"progressToken\":\"t\",\"progress\":{progress}")));
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
    take(&mut core, &message(cancel), None);
    assert_eq!(written(&mut core), [format!("{}\n", cancel.replace("\"x\"", &format!("\"tc-{number}\"")))]);
    admit(&mut core, r#"{"jsonrpc":"2.0","id":"x","method":"tools/call"}"#);
    written(&mut core);
    take(&mut core, &message(cancel), None);
    assert!(written(&mut core).is_empty(), "an ambiguous id cancels nobody");
}

#[test]
fn requests_of_a_legacy_child_are_answered_and_those_of_a_modern_one_dropped() {
    let mut core = opened();
    let ping = r#"{"jsonrpc":"2.0","id":"s","method":"ping"}"#;
    assert_eq!(incoming(&mut core, ping), Some(Event::ServerRequest(true)));
    assert_eq!(written(&mut core), ["{\"jsonrpc\":\"2.0\",\"id\":\"s\",\"result\":{}}\n"]);
    let mut core = running(Era::Modern);
    assert_eq!(incoming(&mut core, ping), Some(Event::ServerRequest(false)));
    assert!(written(&mut core).is_empty());
}

#[test]
fn a_cancellation_reaches_its_own_conversation_alone() {
    let mut core = opened();
    let call = message(r#"{"jsonrpc":"2.0","id":5,"method":"tools/call"}"#);
    let cancel = message(r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":5}}"#);
    take(&mut core, &call, Some(1));
    written(&mut core);
    for stranger in [None, Some(2)] {
        assert!(!core.is_named_by(&cancel, stranger));
        take(&mut core, &cancel, stranger);
        assert!(!core.has_work());
    }
    // Another's call of the same id makes one's own no less certain, nor does one that has ended.
    let Admission::Call(other, _) = take(&mut core, &call, Some(2)) else { panic!() };
    written(&mut core);
    core.give_up(other);
    written(&mut core);
    assert!(core.is_named_by(&cancel, Some(1)));
    take(&mut core, &cancel, Some(1));
    assert!(written(&mut core)[0].contains("\"requestId\":2"));
}

/// A child may know the numbers to come; it cannot answer a call that it was not told of.
#[test]
fn a_call_that_was_not_written_cannot_be_answered() {
    let mut core = opened();
    let (_, call) = admit(&mut core, r#"{"jsonrpc":"2.0","id":"x","method":"tools/call"}"#);
    let early = r#"{"jsonrpc":"2.0","id":"tc-2","result":{}}"#;
    assert_eq!((incoming(&mut core, early), call.next()), (Some(Event::Late), Got::Nothing));
    written(&mut core);
    assert_eq!(incoming(&mut core, early), None);
    assert_eq!(answer(&call), r#"{"jsonrpc":"2.0","id":"x","result":{}}"#);
}

/// Those that are open end at once, and so do later ones; their server is told when their callers go.
#[test]
fn subscriptions_end_when_the_tunnel_does() {
    let mut core = running(Era::Modern);
    let listen = r#"{"jsonrpc":"2.0","id":1,"method":"subscriptions/listen"}"#;
    let (number, open) = admit(&mut core, listen);
    let (_, plain) = admit(&mut core, r#"{"jsonrpc":"2.0","id":2,"method":"tools/call"}"#);
    written(&mut core);
    core.end_subscriptions();
    let (_, late) = admit(&mut core, listen);
    for call in [open, late] {
        assert_eq!(call.next(), Got::Failed(net::Source::TransportClosed));
    }
    assert_eq!(plain.next(), Got::Nothing);
    core.give_up(number);
    // The writer may come to it only after the child was asked to end.
    admit(&mut core, r#"{"jsonrpc":"2.0","id":3,"method":"tools/call"}"#);
    core.change(Change::Close(Instant::now()));
    core.fail_all(net::Kind::ConnectionClosed, "shutting down");
    let last = written(&mut core);
    assert!(last.len() == 1 && last[0].contains("notifications/cancelled"), "{last:?}");
}

/// A server that does not speak an era is told of no message of it, until it may have been replaced.
#[test]
fn an_era_that_is_not_spoken_is_not_tried_again() {
    let mut core = running(Era::Modern);
    let discover = message(r#"{"jsonrpc":"2.0","id":1,"method":"server/discover"}"#);
    let now = Instant::now();
    take(&mut core, &discover, None);
    core.change(Change::Unanswered(now));
    assert!(matches!(take(&mut core, &discover, None), Admission::Unspoken));
    core.change(Change::Renewed);
    assert!(matches!(take(&mut core, &discover, None), Admission::Call(..)));
    die(&mut core);
    assert!(matches!(take(&mut core, &discover, None), Admission::Unspoken));
    core.change(Change::Close(now));
    let Admission::Call(_, replies) = take(&mut core, &discover, None) else { panic!() };
    assert_eq!(Call { replies, message: discover }.next(), Got::Failed(net::Source::TransportClosed));
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
    let began = Instant::now();
    let (call, cancel) = (message(&call), message(&cancel));
    let [progress, answer] = [progress, &answer].map(|text| Message::parse(text.to_owned()).unwrap());
    let read = began.elapsed();
    let began = Instant::now();
    let Admission::Call(2, replies) = take(&mut core, &call, None) else { panic!() };
    take(&mut core, &cancel, None);
    let line = core.next_line().unwrap();
    assert_eq!(core.incoming(progress, None), None);
    assert_eq!(core.incoming(answer, None), None);
    let locked = began.elapsed();
    assert!(locked < read / 20, "{locked:?} against {read:?}");
    assert!(bytes(&line).starts_with("{\"jsonrpc\":\"2.0\",\"id\":\"tc-2\","));
    let call = Call { replies, message: call };
    assert!(matches!(call.next(), Got::Notification(_)) && matches!(call.next(), Got::Answer(_)));
}

#[test]
fn a_call_that_was_given_up_before_its_turn_is_never_written() {
    let mut core = opened();
    let (number, call) = admit(&mut core, r#"{"jsonrpc":"2.0","id":1,"method":"tools/call"}"#);
    assert!(!core.give_up(number));
    assert!(written(&mut core).is_empty());
    assert!(call.replies.next(Instant::now() + Duration::from_millis(1), Instant::now()).is_none());
}

/// A cancellation goes before all others, and yet is counted until the child has read it.
#[test]
fn what_nobody_waits_for_is_counted_until_it_is_written() {
    let flight = InFlight::default();
    let mut core = running(Era::Modern);
    admit(&mut core, r#"{"jsonrpc":"2.0","id":7,"method":"x"}"#);
    assert_eq!(written(&mut core).len(), 1);
    let cancel = r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":7}}"#;
    for text in [r#"{"jsonrpc":"2.0","method":"notifications/y"}"#, cancel, cancel] {
        assert!(matches!(core.admit(&message(text), None, flight.enter(1)), Admission::Taken));
    }
    assert_eq!(flight.now(), 3);
    drop(core.next_line());
    assert_eq!(flight.now(), 2);
    assert_eq!(written(&mut core).len(), 2);
    assert_eq!(flight.now(), 0);
    // What was not queued is not counted either.
    let stranger = message(&cancel.replace('7', "8"));
    core.admit(&stranger, None, flight.enter(1));
    assert_eq!(flight.now(), 0);
}
