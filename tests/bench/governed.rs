//! What policy, pins and audit cost a call: clients without them, with the policy, and with all, side by side.
//!
//! Each of the three gets the same few calls in turn, again and again, and only ratios of the same turn are compared:
//! whatever else the machine does meanwhile slows all three alike. The clients are started anew now and then, since
//! where the memory of a process lies is worth a per cent or two as well.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use super::peers::{Load, Mcp, Peers, Style};
use super::process::Client;
use super::{Row, echo};

/// How often the clients are started, and how many turns they have each time, of which the first warms them up.
const STARTS: usize = 10;
const TURNS: usize = 31;

/// Calls of one turn.
const CALLS: usize = 1_000;

/// How long an audit record may wait until it is written.
const REST: Duration = Duration::from_millis(60);

/// Rules of the profile, of which the last allows what is called.
const RULES: usize = 100;

/// What the clients are called, the one that the others are compared with first.
const WAYS: [&str; 3] = ["without", "100 rules", "rules, pins, audit"];

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
    let profiles = [None, Some(rules), Some(all)];
    let wanted = |name: &str| {
        if names.is_empty() {
            ["http", "stdio", "sse"].contains(&name)
        } else {
            names.iter().any(|one| one == name)
        }
    };
    for row in rows.iter().filter(|row| wanted(row.name)) {
        accept(row, profiles[2].as_deref().expect("a profile"));
        let _ = std::fs::remove_file(&audit);
        let mut taken: [Vec<Duration>; 3] = Default::default();
        let (mut longest, mut many) = (0.0_f64, 0.0);
        for start in 0..STARTS {
            let [most, more] = turns(row, &profiles, start, &folder, &mut taken);
            (longest, many) = (longest.max(most), many + more);
        }
        let text = std::fs::read_to_string(&audit).expect("the records");
        show(row.name, &taken);
        let records = text.lines().filter(|line| line.contains("\"tools/call\"")).count();
        println!(
            "{:<6} {records} records of {} calls; {many} waited for the lock of the audit for more than 1 ms, none for more than {longest:.0} us",
            row.name,
            STARTS * TURNS * CALLS
        );
    }
}

/// Starts one client a way and gives each of them its turns. Adds what the calls of a turn took, and tells how many
/// microseconds somebody has waited for the lock of the audit at most, and how many waited for more than a thousand.
fn turns(
    row: &Row,
    profiles: &[Option<PathBuf>; 3],
    start: usize,
    folder: &Path,
    taken: &mut [Vec<Duration>; 3],
) -> [f64; 2] {
    let load = Load { calls: TURNS * CALLS, ..row.load };
    let log = folder.join("log");
    let file = File::create(&log).expect("a log");
    let mut ways: Vec<(usize, Peers, Client)> = profiles
        .iter()
        .enumerate()
        .map(|(way, profile)| {
            let peers = Peers::start(load, Mcp { style: row.style });
            let mut flags: Vec<String> = row.flags.iter().map(|flag| (*flag).to_owned()).collect();
            flags.push(server(row, &peers));
            flags.extend(profile.iter().map(|file| format!("--config={}", file.display())));
            let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
            let log = (way == 2).then(|| file.try_clone().expect("a file"));
            let client = Client::launch_logged(&peers.plane_url(), &flags, log);
            peers.wait_first_poll();
            (way, peers, client)
        })
        .collect();
    // Who comes first is another one each time.
    ways.rotate_left(start % 3);
    for turn in 0..TURNS {
        for (way, peers, client) in &ways {
            let before = client.cpu();
            peers.release(CALLS);
            let answered = peers.wait_done(Duration::from_secs(120));
            assert_eq!(answered, (turn + 1) * CALLS, "{}: calls are lost", WAYS[*way]);
            // All of them: a client that writes nothing has no rest either, but some threads go to sleep later.
            std::thread::sleep(REST);
            if turn > 0 {
                taken[*way].push(client.cpu() - before);
            }
        }
    }
    for (_, _, client) in ways {
        assert!(client.end().success());
    }
    let text = std::fs::read_to_string(&log).expect("a log");
    ["longest_us=", "above_1_ms="].map(|name| {
        let (_, rest) = text.rsplit_once(name).expect("the waits");
        rest.split_whitespace().next().and_then(|number| number.parse().ok()).expect("a number")
    })
}

/// Prints what a call takes each way: the median over all turns, and the median of its ratios to the first way, with the
/// range that the true median is in with a certainty of 95 %, and the middle half of the ratios.
fn show(row: &str, taken: &[Vec<Duration>; 3]) {
    let [without, ..] = taken;
    for (way, taken) in WAYS.iter().zip(taken) {
        let us = sorted(taken.iter().map(|time| time.as_secs_f64() * 1e6 / CALLS as f64));
        let of =
            |(time, other): (&Duration, &Duration)| (time.as_secs_f64() / other.as_secs_f64() - 1.0) * 100.0;
        let more = sorted(taken.iter().zip(without).map(of));
        let (count, half) = (more.len(), more.len() / 2);
        // Of so many turns as many lie below the median as heads fall when a coin is thrown so often.
        let aside = (0.98 * (count as f64).sqrt()).ceil() as usize;
        println!(
            "{row:<6} {way:<18} {:>6.1} us CPU a call ({:+.1} %, 95 % within {:+.1} to {:+.1}; half of {count} turns within {:+.1} to {:+.1})",
            us[half],
            more[half],
            more[half.saturating_sub(aside)],
            more[(half + aside).min(count - 1)],
            more[count / 4],
            more[count * 3 / 4],
        );
    }
}

fn sorted(numbers: impl Iterator<Item = f64>) -> Vec<f64> {
    let mut numbers: Vec<f64> = numbers.collect();
    numbers.sort_by(f64::total_cmp);
    numbers
}

/// The flag that names the server of a row.
fn server(row: &Row, peers: &Peers) -> String {
    match row.style {
        Style::Stdio => format!("--mcp.command={}", echo::command("bench")),
        _ => format!("--mcp.server-url={}", peers.mcp_url()),
    }
}

/// Accepts what the server of a row offers.
fn accept(row: &Row, profile: &Path) {
    let peers = Peers::start(row.load, Mcp { style: row.style });
    let mut pins = Command::new(env!("CARGO_BIN_EXE_tunnel-client"));
    pins.args(["pins", "accept"]).arg(format!("--config={}", profile.display())).arg(server(row, &peers));
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
