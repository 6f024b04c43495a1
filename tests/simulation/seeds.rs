//! Seeds of the runs of one test.

use std::ops::Range;
use std::time::{Duration, Instant};

/// Chooses the seeds of all tests.
const VARIABLE: &str = "TUNNEL_CLIENT_SEEDS";

/// Runs that failed which are shown.
const SHOWN_MAX: usize = 3;

/// What a run comes to.
pub(super) struct Run {
    /// What is wrong with it.
    pub(super) faults: Vec<String>,
    /// How much time it had.
    pub(super) time: Duration,
    /// How many commands went through it.
    pub(super) commands: usize,
    /// What happened, for a person.
    pub(super) history: String,
}

/// Runs a body for every seed that is asked for, or for so many. `name` is the test's, for whoever runs one again.
pub(super) fn each(name: &str, many: u64, run: impl Fn(u64) -> Run) {
    let given = std::env::var(VARIABLE).ok();
    let seeds = given
        .as_deref()
        .map_or(1..many + 1, |text| parse(text).unwrap_or_else(|| panic!("{VARIABLE}={text}")));
    let (began, alone) = (Instant::now(), seeds.end - seeds.start == 1);
    let (mut time, mut commands, mut failed) = (Duration::ZERO, 0, Vec::new());
    for seed in seeds.clone() {
        let run = run(seed);
        time += run.time;
        commands += run.commands;
        if alone {
            println!("{}", run.history);
        }
        if !run.faults.is_empty() {
            failed.push((seed, run.faults));
        }
    }
    let days = time.as_secs() / 86_400;
    println!(
        "{name}: seeds {seeds:?}, {commands} commands, {days} days of simulated time in {:?}",
        began.elapsed()
    );
    let shown = failed.iter().take(SHOWN_MAX).map(|(seed, faults)| {
        let again = format!("{VARIABLE}={seed}..{} cargo test --lib {name} -- --nocapture", seed + 1);
        format!("seed {seed} ({again}):\n    {}\n", faults.join("\n    "))
    });
    let shown: String = shown.collect();
    assert!(failed.is_empty(), "{} of {seeds:?} failed; the first:\n{shown}", failed.len());
}

fn parse(text: &str) -> Option<Range<u64>> {
    let (from, to) = text.split_once("..")?;
    Some(from.parse().ok()?..to.parse().ok()?)
}
