//! Handshakes: one a child, whoever asks for it, and the same for the next child.

use super::*;

#[test]
fn a_second_initialize_is_answered_from_memory() {
    let mut core = opened();
    let again = message(r#"{"jsonrpc":"2.0","id":7,"method":"initialize","params":{"x":1}}"#);
    let Admission::Call(_, replies) = take(&mut core, &again, None) else { panic!() };
    let call = Call { replies, message: again };
    assert_eq!(answer(&call), r#"{"jsonrpc":"2.0","id":7,"result":{"protocolVersion":"x"}}"#);
    assert!(!core.has_work());
    take(&mut core, &message(r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#), None);
    assert!(written(&mut core).is_empty());
}

#[test]
fn initializes_that_meet_share_one_answer() {
    let mut core = running(Era::Legacy);
    let (_, first) = admit(&mut core, r#"{"jsonrpc":"2.0","id":1,"method":"initialize"}"#);
    let (_, second) = admit(&mut core, r#"{"jsonrpc":"2.0","id":"b","method":"initialize"}"#);
    assert_eq!(written(&mut core).len(), 1);
    incoming(&mut core, r#"{"jsonrpc":"2.0","id":1,"result":{}}"#);
    assert_eq!(answer(&first), r#"{"jsonrpc":"2.0","id":1,"result":{}}"#);
    assert_eq!(answer(&second), r#"{"jsonrpc":"2.0","id":"b","result":{}}"#);
}

#[test]
fn followers_of_a_handshake_are_counted_and_let_go() {
    let mut core = running(Era::Legacy);
    admit(&mut core, r#"{"jsonrpc":"2.0","id":0,"method":"initialize"}"#);
    let (number, _) = admit(&mut core, r#"{"jsonrpc":"2.0","id":1,"method":"initialize"}"#);
    assert_eq!(core.pending(), 2);
    core.give_up(number);
    assert_eq!(core.pending(), 1);
}

#[test]
fn the_memory_of_a_handshake_is_bounded() {
    let mut core = running(Era::Legacy);
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
    die(&mut core);
    let (_, call) = admit(&mut core, r#"{"jsonrpc":"2.0","id":5,"method":"tools/list"}"#);
    start(&mut core);
    let lines = written(&mut core);
    assert_eq!(lines.len(), 1);
    assert!(lines[0].contains("\"initialize\""));
    let number = numbers().read(message(lines[0].trim_end()).id().unwrap()).unwrap();
    incoming(&mut core, &format!(r#"{{"jsonrpc":"2.0","id":"tc-{number}","result":{{}}}}"#));
    let lines = written(&mut core);
    assert!(lines[0].contains("notifications/initialized"), "{lines:?}");
    assert!(lines[1].contains("tools/list"), "{lines:?}");
    assert!(call.next() == Got::Nothing);
}

#[test]
fn rev_017_a_confirmation_goes_with_its_child() {
    let mut core = running(Era::Legacy);
    admit(&mut core, r#"{"jsonrpc":"2.0","id":"i","method":"initialize"}"#);
    written(&mut core);
    incoming(&mut core, r#"{"jsonrpc":"2.0","id":"tc-1","result":{}}"#);
    take(&mut core, &message(r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#), None);
    die(&mut core);
    start(&mut core);
    let lines = written(&mut core);
    assert!(lines.len() == 1 && lines[0].contains("\"initialize\""), "{lines:?}");
    let number = numbers().read(message(lines[0].trim_end()).id().unwrap()).unwrap();
    incoming(&mut core, &format!(r#"{{"jsonrpc":"2.0","id":"tc-{number}","result":{{}}}}"#));
    let lines = written(&mut core);
    assert!(lines.len() == 1 && lines[0].contains("notifications/initialized"), "{lines:?}");
}

#[test]
fn rev_017_a_call_that_comes_between_two_children_does_not_change_the_handshake() {
    let mut core = opened();
    die(&mut core);
    admit(&mut core, r#"{"jsonrpc":"2.0","id":5,"method":"tools/list"}"#);
    start(&mut core);
    let lines = written(&mut core);
    assert!(lines.len() == 1 && lines[0].contains("\"initialize\",\"params\":{}}"), "{lines:?}");
}

#[test]
fn a_caller_without_a_handshake_gets_one_made() {
    let mut core = running(Era::Legacy);
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
    die(&mut core);
    start(&mut core);
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
        start(&mut core);
        let lines = written(&mut core);
        assert!(lines.len() == 1 && lines[0].contains("\"initialize\""), "{lines:?}");
        die(&mut core);
    }
    assert!(call.next() == Got::Nothing);
}

#[test]
fn an_initialize_that_is_given_up_early_blocks_nobody() {
    let mut core = running(Era::Legacy);
    let (number, _) = admit(&mut core, r#"{"jsonrpc":"2.0","id":5,"method":"initialize"}"#);
    admit(&mut core, r#"{"jsonrpc":"2.0","id":6,"method":"tools/list"}"#);
    assert!(!core.give_up(number));
    let lines = written(&mut core);
    assert!(lines.len() == 1 && lines[0].contains("tunnel-client-rs"), "{lines:?}");
    incoming(&mut core, r#"{"jsonrpc":"2.0","id":3,"result":{}}"#);
    assert_eq!(written(&mut core).len(), 2);
}

/// What a caller asks for decides about the session, not what we asked for in order to list the tools.
#[test]
fn a_session_of_our_own_gives_way_to_that_of_a_caller() {
    let ask = |revision: &str, more: &str| {
        let params =
            format!(r#"{{"protocolVersion":"{revision}","capabilities":{{{more}}},"clientInfo":{{}}}}"#);
        message(&format!(r#"{{"jsonrpc":"2.0","id":7,"method":"initialize","params":{params}}}"#))
    };
    let ours = Era::Legacy.newest();
    let long = format!(r#""x":"{}""#, "x".repeat(20_000));
    let list = message(r#"{"jsonrpc":"2.0","id":3,"method":"tools/list"}"#);
    for (revision, more, gives_way) in [
        (ours, "", false),
        ("2025-03-26", "", true),
        (ours, r#""roots":{}"#, true),
        (ours, long.as_str(), true),
    ] {
        let mut core = running(Era::Legacy);
        take(&mut core, &list, OURS);
        assert!(
            core.handshake.yields_to(&ask(revision, more)) == gives_way,
            "while it is unanswered: {revision}"
        );
        written(&mut core);
        incoming(&mut core, r#"{"jsonrpc":"2.0","id":1,"result":{}}"#);
        assert!(core.handshake.yields_to(&ask(revision, more)) == gives_way, "{revision}");
        assert!(!core.handshake.yields_to(&list));
        // Once a caller uses it, it is theirs.
        take(&mut core, &message(r#"{"jsonrpc":"2.0","id":8,"method":"ping"}"#), None);
        assert!(core.handshake.yields_to(&ask(revision, more)) == gives_way);
        take(&mut core, &list, None);
        take(&mut core, &list, OURS);
        assert!(!core.handshake.yields_to(&ask(revision, more)), "{revision}");
    }
    // The next child is not told what no caller has asked for, unless the question still waits.
    for waits in [false, true] {
        let mut core = running(Era::Legacy);
        take(&mut core, &list, OURS);
        written(&mut core);
        incoming(&mut core, r#"{"jsonrpc":"2.0","id":1,"result":{}}"#);
        if !waits {
            written(&mut core);
        }
        die(&mut core);
        assert!(!core.handshake.yields_to(&ask("2025-03-26", "")));
        start(&mut core);
        assert!(written(&mut core).is_empty() != waits);
        assert!(core.handshake.yields_to(&ask("2025-03-26", "")) == waits);
    }
}
