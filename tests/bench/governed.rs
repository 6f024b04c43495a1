//! What policy and audit cost a call: the same rows with them and without, by turns.

use std::path::Path;

use super::{Measured, Row, measure};

/// How often each row runs with them, and as often without.
const ROUNDS: usize = 5;

/// Rules of the profile, of which the last allows what is called.
const RULES: usize = 100;

/// Prints one line a row.
pub fn run(rows: &[Row]) {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let (profile, audit) = (folder.join("governed.yaml"), folder.join("governed.audit.jsonl"));
    let text = format!("{}audit: {{file: \"{}\"}}\n", policy(), audit.display());
    std::fs::write(&profile, text).expect("a profile");
    let config = format!("--config={}", profile.display());
    for row in rows.iter().filter(|row| ["http", "stdio", "sse"].contains(&row.name)) {
        let with = [row.flags, &[config.as_str()]].concat();
        let (mut free, mut governed, mut unwritten) = (Vec::new(), Vec::new(), 0);
        let _ = std::fs::remove_file(&audit);
        for _ in 0..ROUNDS {
            free.push(measure(row, row.flags));
            governed.push(measure(row, &with));
            // The client is killed as soon as the last answer is there, which may cost the last few.
            unwritten +=
                row.load.calls - std::fs::read_to_string(&audit).map_or(0, |text| text.lines().count());
            std::fs::remove_file(&audit).expect("the records");
        }
        let median = |mut all: Vec<Measured>| {
            all.sort_by(|one, other| one.cpu_us.total_cmp(&other.cpu_us));
            let lost: usize = all.iter().map(|one| one.lost).sum();
            (all[ROUNDS / 2].cpu_us, all[ROUNDS / 2].calls_per_second, lost)
        };
        let ((cpu, calls, lost), (cpu_with, calls_with, lost_with)) = (median(free), median(governed));
        println!(
            "{:<8} {cpu:.1} us a call without, {cpu_with:.1} with {RULES} rules and audit ({:+.1} %); {calls:.0} and {calls_with:.0} calls/s; {} lost, {unwritten} records unwritten",
            row.name,
            (cpu_with / cpu - 1.0) * 100.0,
            lost + lost_with
        );
    }
}

/// Rules with names and patterns beside what is called.
fn policy() -> String {
    let others =
        (0..RULES - 1).map(|n| if n % 2 == 0 { format!("tool_{n}") } else { format!("group_{n}_*") });
    let names: Vec<String> = others.chain(["ech*".to_owned()]).map(|name| format!("\"{name}\"")).collect();
    format!("policy: {{channels: {{main: {{tools: {{allow: [{}]}}}}}}}}\n", names.join(", "))
}
