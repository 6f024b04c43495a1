//! What the operator's policy costs a call: the same rows with it and without, by turns.

use std::path::Path;

use super::{Measured, Row, measure};

/// How often each row runs with it, and as often without.
const ROUNDS: usize = 5;

/// Rules of the profile, of which the last allows what is called.
const RULES: usize = 100;

/// Prints one line a row.
pub fn run(rows: &[Row]) {
    let profile = Path::new(env!("CARGO_TARGET_TMPDIR")).join("governed.yaml");
    std::fs::write(&profile, text()).expect("a profile");
    let config = format!("--config={}", profile.display());
    for row in rows.iter().filter(|row| ["http", "stdio", "sse"].contains(&row.name)) {
        let with = [row.flags, &[config.as_str()]].concat();
        let (mut free, mut governed) = (Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            free.push(measure(row, row.flags));
            governed.push(measure(row, &with));
        }
        let median = |mut all: Vec<Measured>| {
            all.sort_by(|one, other| one.cpu_us.total_cmp(&other.cpu_us));
            let lost: usize = all.iter().map(|one| one.lost).sum();
            (all[ROUNDS / 2].cpu_us, all[ROUNDS / 2].calls_per_second, lost)
        };
        let ((cpu, calls, lost), (cpu_with, calls_with, lost_with)) = (median(free), median(governed));
        println!(
            "{:<8} {cpu:.1} us a call without, {cpu_with:.1} with {RULES} rules ({:+.1} %); {calls:.0} and {calls_with:.0} calls/s; {} lost",
            row.name,
            (cpu_with / cpu - 1.0) * 100.0,
            lost + lost_with
        );
    }
}

/// A profile with names and patterns beside what is called.
fn text() -> String {
    let others =
        (0..RULES - 1).map(|n| if n % 2 == 0 { format!("tool_{n}") } else { format!("group_{n}_*") });
    let names: Vec<String> = others.chain(["ech*".to_owned()]).map(|name| format!("\"{name}\"")).collect();
    format!("policy: {{channels: {{main: {{tools: {{allow: [{}]}}}}}}}}\n", names.join(", "))
}
