//! The board between callers and a client.

use super::*;

fn call(channel: &str, text: &str) -> Call {
    Call {
        kind: "jsonrpc",
        channel: Channel::parse(channel).unwrap(),
        headers: Headers::new(),
        message: Some(RawValue::from_string(text.to_owned()).unwrap()),
        end: Instant::now() + Duration::from_secs(60),
    }
}

fn posted(status: u16, is_notification: bool) -> Posted {
    Posted { is_notification, is_ack: false, status, headers: Headers::new(), body: None }
}

fn poll(board: &Board, channels: &[&str], limit: usize) -> Vec<String> {
    let channels: Vec<Channel> = channels.iter().map(|name| Channel::parse(name).unwrap()).collect();
    let commands = board.poll(&channels, limit, Instant::now(), || false);
    commands.into_iter().map(|command| command.request_id).collect()
}

#[test]
fn commands_are_handed_out_once_by_channel_and_limit() {
    let board = Board::new();
    let calls = ["main", "side", "main", "main"].map(|name| board.put(call(name, "{}")).ok().unwrap());
    assert!(board.poll(&[], 9, Instant::now(), || true).is_empty());
    assert_eq!(poll(&board, &["main"], 2), ["local-1", "local-3"]);
    assert_eq!(poll(&board, &[], 9), ["local-2", "local-4"]);
    assert!(poll(&board, &[], 9).is_empty());
    assert_eq!(board.state().waiting_bytes, 0);
    drop(calls);
    assert!(board.state().pending.is_empty());
}

#[test]
fn a_call_whose_caller_has_gone_is_never_handed_out() {
    let board = Board::new();
    drop(board.put(call("main", "{}")));
    assert!(poll(&board, &[], 9).is_empty());
    assert_eq!(board.post("local-1", "shard-local-1", posted(200, false)), Err(Refused::Unknown));
}

/// A caller who reads more slowly than a server speaks loses nothing.
#[test]
fn whoever_posts_waits_for_the_caller() {
    let board = Board::new();
    let ticket = board.put(call("main", "{}")).ok().unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for status in 1..=40 {
                assert_eq!(board.post("local-1", "shard-local-1", posted(status, true)), Ok(()));
            }
            assert_eq!(board.post("local-1", "shard-local-1", posted(200, false)), Ok(()));
        });
        for wanted in (1..=40).chain([200]) {
            let Waited::Event(event) = ticket.next(|| false) else { panic!("no event") };
            assert_eq!(event.status, wanted);
        }
    });
}

#[test]
fn the_answer_survives_any_number_of_notifications() {
    let board = Board { room_wait: Duration::ZERO, ..Board::new() };
    let ticket = board.put(call("main", "{}")).ok().unwrap();
    assert_eq!(board.post("local-1", "local-1", posted(200, false)), Err(Refused::Token));
    for status in 1..=40 {
        assert_eq!(board.post("local-1", "shard-local-1", posted(status, true)), Ok(()));
    }
    assert_eq!(board.post("local-1", "shard-local-1", posted(200, false)), Ok(()));
    assert_eq!(board.post("local-1", "shard-local-1", posted(200, false)), Err(Refused::Unknown));
    let mut seen = Vec::new();
    while let Waited::Event(event) = ticket.next(|| true) {
        seen.push(event.status);
    }
    assert_eq!(seen, (26..=40).chain([200]).collect::<Vec<u16>>());
}

#[test]
fn a_poll_gets_no_more_than_a_client_takes() {
    let board = Board::new();
    let text = |bytes: usize| format!("\"{}\"", "x".repeat(bytes));
    let half = text(POLL_BYTES_MAX / 2);
    let calls = [half.as_str(), &half, "1"].map(|text| board.put(call("main", text)).ok().unwrap());
    assert_eq!(poll(&board, &[], 9), ["local-1"]);
    assert_eq!(poll(&board, &[], 9), ["local-2", "local-3"]);
    assert_eq!(board.put(call("main", &text(POLL_BYTES_MAX))).err(), Some(Refused::TooLarge));
    drop(calls);
}

#[test]
fn the_board_is_bounded() {
    let board = Board::new();
    let held: Vec<_> = (0..WAITING_MAX).map(|_| board.put(call("main", "{}")).ok().unwrap()).collect();
    assert_eq!(board.put(call("main", "{}")).err(), Some(Refused::Full));
    drop(held);
    assert!(board.put(call("main", "{}")).is_ok());
}
