//! Tests of the list of records.

use super::*;
use std::ops::ControlFlow;

fn list() -> Arc<List> {
    Arc::new(List::new(Arc::new(Metrics::new("t", 1, 1, &[]))))
}

fn soon() -> Instant {
    Instant::now() + Duration::from_millis(1)
}

/// A command of which so much is known.
fn begun(list: &Arc<List>, id: &str) -> Arc<Open> {
    let open = list.open();
    sync::lock(&open.told).members.out.push_str(id);
    sync::lock(&open.told).began = Some(Instant::now());
    open
}

fn take(list: &List) -> Work {
    list.take(soon(), false)
}

/// How many records wait, and what has none.
fn drain(list: &List) -> (usize, Gap) {
    let taken = (0..).try_fold((0, Gap::default()), |(count, _), _| {
        let work = take(list);
        match work.batch.records().count() {
            0 => ControlFlow::Break((count, work.gap)),
            more if work.gap != Gap::default() => ControlFlow::Break((count + more, work.gap)),
            more => ControlFlow::Continue((count + more, work.gap)),
        }
    });
    match taken {
        ControlFlow::Break(taken) | ControlFlow::Continue(taken) => taken,
    }
}

#[test]
fn a_record_is_written_once_also_when_its_command_outlives_the_end() {
    let list = list();
    let (one, other) = (begun(&list, "1"), begun(&list, "2"));
    one.close(false);
    one.close(true);
    assert_eq!(take(&list).batch.records().count(), 1);
    assert!(list.refuse());
    let (_, left, gap) = list.finish(Duration::ZERO);
    assert!(gap.refused == 1 && gap.lost == 0);
    let left: Vec<&str> = left.iter().flat_map(|batch| batch.records()).map(|(_, record)| record).collect();
    assert_eq!(left.len(), 1);
    assert!(left[0].starts_with("2,\"outcome\":\"cancelled\""), "{}", left[0]);
    other.close(true);
    assert_eq!(take(&list).batch.records().count(), 0);
}

/// The memory of a record is used again, and nothing of what stood in it.
#[test]
fn a_record_holds_nothing_of_the_one_before() {
    let list = list();
    let first = begun(&list, &"1".repeat(4000));
    sync::lock(&first.told).fate = Some(Fate { status: Some(200), ..Fate::new("ok", None) });
    let other = begun(&list, "3");
    assert!(!Arc::ptr_eq(&first, &other), "two that run have two");
    first.close(true);
    let again = begun(&list, "2");
    assert!(Arc::ptr_eq(&first, &again));
    assert!(sync::lock(&again.told).members.out.capacity() < 4000);
    again.close(true);
    let work = take(&list);
    let (_, last) = work.batch.records().last().unwrap();
    assert!(last.starts_with("2,\"outcome\":\"cancelled\",\"duration_us\":"), "{last}");
}

#[test]
fn what_has_no_room_is_counted() {
    let list = list();
    let megabyte = "x".repeat(1 << 20);
    (0..40).for_each(|_| list.event(&megabyte));
    assert!(list.refuse() && !list.refuse());
    let nothing = list.take(soon(), true);
    assert_eq!(nothing.batch.records().count(), 0, "who has lines in hand gets no more");
    let (count, gap) = drain(&list);
    assert_eq!((count, gap.lost, gap.refused), (32, 8, 2));
    list.event(&megabyte);
    assert_eq!(drain(&list).0, 1);
}

/// A disk that is slow, or that had much to take after it was full, loses nothing for which there is room; and before
/// there is none any more, new commands are refused where they must not run without a record.
#[test]
fn room_comes_back_with_every_batch() {
    let list = list();
    let half = "x".repeat(BATCH_BYTES / 2);
    let add = |count: usize| (0..count).for_each(|_| list.event(&half));
    let batches = CROWDED_BYTES / BATCH_BYTES;
    assert_eq!(list.fault(), None);
    add(2 * batches);
    assert!(list.fault().is_some_and(|fault| fault.contains("faster")));
    assert_eq!(take(&list).batch.records().count(), 2);
    assert_eq!(list.fault(), None);
    add(2 * batches);
    for left in (1..2 * batches).rev() {
        let work = take(&list);
        assert_eq!((work.batch.records().count(), work.gap.lost), (2, 0), "{left}");
    }
    assert_eq!(drain(&list).0, 0);
}

#[test]
fn a_step_that_fails_is_a_fault_until_one_succeeds() {
    let (list, none) = (list(), Lines::default());
    assert_eq!(list.fault(), None);
    list.begin_step(&none);
    assert_eq!(list.fault(), None);
    assert!(list.end_step(&none, Some("full".into())));
    list.begin_step(&none);
    assert_eq!(list.fault().as_deref(), Some("full"), "while it is tried again");
    assert!(!list.end_step(&none, Some("full".into())) && list.end_step(&none, None));
    assert_eq!(list.fault(), None);
    list.since.store(1, Ordering::Relaxed);
    let list = Arc::into_inner(list).unwrap();
    let stalled = List { start: Instant::now() - STALL - Duration::from_millis(2), ..list };
    assert!(stalled.fault().unwrap().contains("no progress"));
}
