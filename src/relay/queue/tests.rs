//! The queue, one worker after the other.

use super::super::command::Body;
use super::super::inflight::InFlight;
use super::super::message::Message;
use super::*;

fn queue(capacity: usize, workers: usize, channels: usize) -> Queue {
    Queue::new(capacity, workers, channels, &Arc::new(Metrics::new("t", capacity, workers, &[])))
}

/// Pushes a command and tells which one is refused.
fn push(queue: &Queue, id: &str, channel: &str, message: &str) -> Result<Option<String>, Box<Command>> {
    let command = Command {
        request_id: id.into(),
        channel: Channel::parse(channel).unwrap(),
        body: Body::Message(Message::parse(message.into()).unwrap().into()),
        ..Command::example(InFlight::default().enter(0))
    };
    Ok(queue.push(command, || ())?.map(|refused| refused.request_id))
}

const CALL: &str = r#"{"jsonrpc":"2.0","id":1,"method":"tools/list"}"#;
const CANCEL: &str = r#"{"jsonrpc":"2.0","method":"notifications/cancelled"}"#;
const LISTEN: &str = r#"{"jsonrpc":"2.0","id":1,"method":"subscriptions/listen"}"#;

fn pop(queue: &Queue, worker: Lane) -> String {
    take(queue, worker).1
}

fn take(queue: &Queue, worker: Lane) -> (Held, String) {
    queue.pop(worker, |command| command.request_id).unwrap()
}

#[test]
fn commands_leave_in_the_order_of_arrival() {
    let queue = queue(10, 2, 1);
    ["a", "b"].iter().for_each(|id| assert_eq!(push(&queue, id, "main", CALL).unwrap(), None));
    assert_eq!(queue.wait_free(1, Instant::now()), 8);
    assert_eq!([pop(&queue, Lane::Ordinary), pop(&queue, Lane::Ordinary)], ["a", "b"]);
}

#[test]
fn whoever_waits_for_room_is_told_in_time() {
    let queue = queue(1, 1, 1);
    push(&queue, "a", "main", CALL).unwrap();
    let answer_by = Some(Instant::now() + std::time::Duration::from_millis(5));
    let late = Command { answer_by, ..Command::example(InFlight::default().enter(0)) };
    assert!(queue.push(late, || ()).unwrap().is_some_and(|late| late.is_overdue()));
}

#[test]
fn a_cancellation_overtakes_waiting_calls_while_all_workers_are_busy() {
    let queue = queue(10, 1, 1);
    ["a", "b"].iter().for_each(|id| assert_eq!(push(&queue, id, "main", CALL).unwrap(), None));
    push(&queue, "c", "main", CANCEL).unwrap();
    assert_eq!(pop(&queue, Lane::Ordinary), "a");
    assert_eq!(pop(&queue, Lane::Quick), "c");
}

#[test]
fn workers_are_shared_while_others_wait() {
    let queue = queue(10, 4, 2);
    let next = || take(&queue, Lane::Ordinary);
    (0..5).for_each(|n| assert_eq!(push(&queue, &format!("x{n}"), "x", CALL).unwrap(), None));
    let (first, second) = (next().0, next().0);
    assert_eq!(next().1, "x2");
    // One channel takes no more than three of four; another one begins at once, also when the four are taken.
    ["y0", "y1", "y2"].iter().for_each(|id| assert_eq!(push(&queue, id, "y", CALL).unwrap(), None));
    assert_eq!(next().1, "y0");
    // What becomes free goes to who has less than a half, though others came before it.
    queue.done(first, Some(200));
    assert_eq!(next().1, "y1");
    queue.done(second, Some(200));
    assert_eq!(next().1, "x3");
}

#[test]
fn the_channel_that_crowds_the_queue_is_refused() {
    let queue = queue(4, 1, 2);
    for (id, channel, expected) in
        [("a", "x", None), ("b", "x", None), ("c", "x", None), ("d", "y", Some("c"))]
    {
        assert_eq!(push(&queue, id, channel, CALL).unwrap().as_deref(), expected, "{id}");
    }
    assert_eq!(push(&queue, "e", "x", CALL).unwrap().as_deref(), Some("e"));
    assert_eq!(["a", "d"].map(|_| pop(&queue, Lane::Ordinary)), ["a", "d"]);
}

#[test]
fn one_channel_holds_one_quick_worker() {
    let queue = queue(10, 1, 2);
    for (id, channel) in [("a", "x"), ("b", "x"), ("c", "y")] {
        push(&queue, id, channel, CANCEL).unwrap();
    }
    let (held, first) = take(&queue, Lane::Quick);
    let _ordinary = take(&queue, Lane::Ordinary);
    push(&queue, "d", "x", CANCEL).unwrap();
    assert_eq!((first.as_str(), pop(&queue, Lane::Quick).as_str()), ("a", "c"));
    queue.done(held, Some(200));
    assert_eq!(pop(&queue, Lane::Quick), "d");
}

#[test]
fn the_fifth_subscription_is_refused_until_one_ends() {
    let queue = queue(10, 1, 1);
    for (id, expected) in [("a", None), ("b", None), ("c", None), ("d", None), ("e", Some("e"))] {
        assert_eq!(push(&queue, id, "main", LISTEN).unwrap().as_deref(), expected);
    }
    let (held, first) = take(&queue, Lane::Listen);
    assert_eq!(first, "a");
    queue.done(held, Some(200));
    push(&queue, "f", "main", LISTEN).unwrap();
    assert_eq!(["b", "c", "d", "f"].map(|_| pop(&queue, Lane::Listen)), ["b", "c", "d", "f"]);
}

/// NEW-036: the earliest deadline wakes, whenever its command came; all places are given back.
#[test]
fn overdue_commands_are_taken_wherever_they_stand() {
    let queue = Arc::new(queue(10, 1, 1));
    let watching = Arc::clone(&queue);
    let watch = std::thread::spawn(move || {
        let next = || watching.pop(Lane::Overdue, |command| command.request_id);
        std::iter::from_fn(next)
            .map(|(held, id)| {
                watching.done(held, Some(200));
                id
            })
            .collect::<Vec<_>>()
    });
    let began = Instant::now();
    let within = |id: &str, text: &str, millis: Option<u64>| {
        let body = Body::Message(Message::parse(text.into()).unwrap().into());
        let answer_by = millis.map(|millis| began + Duration::from_millis(millis));
        let command = Command::example(InFlight::default().enter(0));
        let command = Command { request_id: id.into(), body, answer_by, ..command };
        queue.push(command, || ()).unwrap();
    };
    within("never", CALL, None);
    within("far", CALL, Some(60_000));
    within("listen", LISTEN, Some(60));
    within("first", CALL, Some(20));
    within("second", CANCEL, Some(40));
    while queue.waiting() > 2 {
        std::thread::yield_now();
    }
    assert_eq!(queue.wait_free(10, Instant::now()), 8);
    assert_eq!(pop(&queue, Lane::Ordinary), "never");
    (0..4).for_each(|_| assert_eq!(push(&queue, "listen", "main", LISTEN).unwrap(), None));
    queue.take_rest();
    // Those whose time is over at once are taken in the order in which they came.
    let mut taken = watch.join().unwrap();
    taken.sort();
    assert_eq!(taken, ["first", "listen", "second"]);
}

#[test]
fn the_rest_is_taken_and_nothing_comes_after_it() {
    let queue = queue(10, 1, 1);
    push(&queue, "a", "main", CALL).unwrap();
    let rest: Vec<String> = queue.take_rest().into_iter().map(|command| command.request_id).collect();
    assert_eq!(rest, ["a"]);
    assert!(push(&queue, "b", "main", CALL).is_err());
    assert!(queue.pop(Lane::Quick, drop).is_none());
}

#[test]
fn a_closed_queue_refuses_and_drains() {
    let queue = queue(1, 1, 1);
    push(&queue, "a", "main", CALL).unwrap();
    assert_eq!(queue.wait_free(1, Instant::now() + Duration::from_millis(5)), 0);
    queue.close();
    assert_eq!(push(&queue, "b", "main", CALL).unwrap_err().request_id, "b");
    assert_eq!(pop(&queue, Lane::Ordinary), "a");
    assert!(queue.pop(Lane::Ordinary, drop).is_none());
}
