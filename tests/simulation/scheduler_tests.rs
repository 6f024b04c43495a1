//! What the other tests of the simulation rely on: that its scheduler leaps, repeats itself, and finds what is stuck.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::scheduler::{self, run};
use crate::relay::stop::{Phase, Stop};
use crate::sync::{self, Condition};

const YEAR: Duration = Duration::from_secs(365 * 86_400);

#[test]
fn a_year_of_waiting_takes_no_time() {
    let began = Instant::now();
    let done = run(1, || {
        let (stop, start) = (Stop::default(), sync::now());
        assert!(!stop.sleep(YEAR, Phase::Draining));
        sync::since(start)
    });
    let Ok(done) = done else { panic!("{:?}", done.err()) };
    assert!(done.result >= YEAR && done.time >= YEAR && done.turns < 1000);
    assert!(began.elapsed() < Duration::from_secs(20));
}

/// The order in which three threads have written.
fn order(seed: u64) -> Vec<u32> {
    let done = run(seed, || {
        let shared = Arc::new((Mutex::new(Vec::new()), Condition::default()));
        for number in 0..3 {
            let shared = Arc::clone(&shared);
            let body = move || {
                for _ in 0..5 {
                    sync::lock(&shared.0).push(number);
                    shared.1.notify_all();
                    scheduler::sleep(Duration::from_millis(1));
                }
            };
            sync::spawn("writer", body).unwrap();
        }
        let all = shared.1.wait_while(sync::lock(&shared.0), YEAR, |written| written.len() < 15);
        all.clone()
    });
    done.map(|done| done.result).unwrap()
}

#[test]
fn a_seed_is_an_order_of_threads_and_seeds_differ() {
    let orders: std::collections::BTreeSet<_> = (1..20).map(|seed| [order(seed), order(seed)]).collect();
    assert!(orders.iter().all(|[one, same]| one == same));
    assert!(orders.len() > 5, "{}", orders.len());
}

#[test]
fn threads_that_wait_for_each_other_are_a_deadlock() {
    let locks = || {
        let shared = Arc::new((Mutex::new(0), Mutex::new(0)));
        let other = Arc::clone(&shared);
        let body = move || {
            let _held = sync::lock(&other.1);
            scheduler::sleep(Duration::from_secs(1));
            drop(sync::lock(&other.0));
        };
        sync::spawn("other", body).unwrap();
        let _held = sync::lock(&shared.0);
        scheduler::sleep(Duration::from_secs(1));
        drop(sync::lock(&shared.1));
    };
    let told = run(3, locks).err().unwrap();
    assert!(told.starts_with("deadlock") && told.contains("other Locked"), "{told}");
    let waits = || {
        let mutex = Mutex::new(());
        drop(Condition::default().wait(sync::lock(&mutex)));
        scheduler::sleep(YEAR);
        drop(Condition::default().wait(sync::lock(&mutex)));
    };
    assert!(run(4, waits).err().is_none_or(|told| told.starts_with("deadlock")));
}

#[test]
fn a_thread_that_fails_or_does_not_end_fails_the_run() {
    let fails = || sync::spawn("fails", || assert!(sync::now() > Instant::now(), "as it should")).map(drop);
    assert_eq!(run(5, fails).err().unwrap(), "as it should");
    let stays = || {
        sync::spawn("stays", || {
            loop {
                scheduler::sleep(Duration::from_secs(1));
            }
        })
        .map(drop)
    };
    assert!(run(6, stays).err().unwrap().contains("threads go on: [\"stays\"]"));
}
