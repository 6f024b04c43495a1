//! What policy, pins and audit cost a call: the same rows without them, with the policy, and with all, by turns.

use std::path::Path;
use std::process::Command;

use super::peers::{Mcp, Peers, Style};
use super::{Measured, Row, echo, measure};

/// How often each row runs in each way.
const ROUNDS: usize = 5;

/// Rules of the profile, of which the last allows what is called.
const RULES: usize = 100;

/// Prints one line a row and way.
pub fn run(rows: &[Row], names: &[String]) {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("governed");
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder).expect("a folder");
    let (pins, audit) = (folder.join("pins.json"), folder.join("audit.jsonl"));
    let profile = |name: &str, text: &str| {
        let file = folder.join(name);
        std::fs::write(&file, text).expect("a profile");
        file
    };
    let rules = profile("rules.yaml", &policy(""));
    let pinned = policy(&format!("pins: {{file: \"{}\", mode: block}}, ", pins.display()));
    let all = profile("all.yaml", &format!("{pinned}audit: {{file: \"{}\"}}\n", audit.display()));
    let wanted = |name: &str| {
        if names.is_empty() {
            ["http", "stdio", "sse"].contains(&name)
        } else {
            names.iter().any(|one| one == name)
        }
    };
    for row in rows.iter().filter(|row| wanted(row.name)) {
        accept(row, &all);
        let ways = [("without", None), ("100 rules", Some(&rules)), ("rules, pins, audit", Some(&all))];
        let mut runs = ways.map(|_| Vec::new());
        let mut unwritten = 0;
        for _ in 0..ROUNDS {
            for ((_, profile), runs) in ways.iter().zip(&mut runs) {
                let config = profile.map(|file| format!("--config={}", file.display()));
                let config: Vec<&str> = config.iter().map(String::as_str).collect();
                runs.push(measure(row, &[row.flags, &config].concat()));
            }
            // The client is killed as soon as the last answer is there, which may cost the last few.
            unwritten +=
                row.load.calls - std::fs::read_to_string(&audit).map_or(0, |text| text.lines().count());
            std::fs::remove_file(&audit).expect("the records");
        }
        let mut cpu_without = None;
        for ((way, _), mut runs) in ways.iter().zip(runs) {
            runs.sort_by(|one, other| one.cpu_us.total_cmp(&other.cpu_us));
            let lost: usize = runs.iter().map(|one| one.lost).sum();
            let Measured { calls_per_second, cpu_us, wakeups, polls, .. } = runs[ROUNDS / 2];
            let more = (cpu_us / *cpu_without.get_or_insert(cpu_us) - 1.0) * 100.0;
            println!(
                "{:<6} {way:<18} {cpu_us:>6.1} us a call ({more:+.1} %), fastest {:.1}; {calls_per_second:.0} calls/s, {wakeups:.2} wake-ups and {polls:.2} polls a call; {lost} lost",
                row.name, runs[0].cpu_us
            );
        }
        println!("{:<6} {unwritten} records of {} unwritten", row.name, ROUNDS * row.load.calls);
    }
}

/// Accepts what the server of a row offers.
fn accept(row: &Row, profile: &Path) {
    let peers = Peers::start(row.load, Mcp { style: row.style });
    let server = match row.style {
        Style::Stdio => format!("--mcp.command={}", echo::command("bench")),
        _ => format!("--mcp.server-url={}", peers.mcp_url()),
    };
    let mut pins = Command::new(env!("CARGO_BIN_EXE_tunnel-client"));
    pins.args(["pins", "accept"]).arg(format!("--config={}", profile.display())).arg(server);
    pins.arg(format!("--control-plane.tunnel-id=tunnel_{}", "2".repeat(32)));
    let accepted = pins.output().expect("the release binary starts");
    assert!(accepted.status.success(), "{accepted:?}");
}

/// Rules with names and patterns beside what is called.
fn policy(more: &str) -> String {
    let others =
        (0..RULES - 1).map(|n| if n % 2 == 0 { format!("tool_{n}") } else { format!("group_{n}_*") });
    let names: Vec<String> = others.chain(["ech*".to_owned()]).map(|name| format!("\"{name}\"")).collect();
    format!("policy: {{{more}channels: {{main: {{tools: {{allow: [{}]}}}}}}}}\n", names.join(", "))
}
