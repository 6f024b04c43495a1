//! The benchmark of the relay: a load driver in this process, the release binary in another.
//!
//! `cargo bench --bench relay` prints one row a scenario; `cargo bench --bench relay -- http` runs
//! those whose name begins with the given word, `-- table` the figures to hold in one table, `-- instructions` those of a
//! call beside what is kept, `-- governed` what policy, pins and audit cost, `-- faults` the faults of the plane, which lose no answer,
//! `-- recorded` the audit records of 200 000 calls under faults, `-- soak SECONDS` the soak alone,
//! `-- replicas` several clients at one control plane, `-- sizes` what a client does by payload and workers, and
//! `-- rotate [SECONDS]` calls while keys and certificates change.
//! Nothing here is a timed test: machines differ, and the table in the design holds what to compare with.

#![allow(unreachable_pub, reason = "a benchmark has no outside")]
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::as_conversions,
    clippy::print_stdout,
    reason = "a benchmark fails by panicking and prints"
)]

#[path = "beside.rs"]
mod beside;
#[path = "../support/certs.rs"]
#[allow(dead_code, reason = "the suite uses the rest")]
mod certs;
#[path = "counts.rs"]
mod counts;
#[path = "echo.rs"]
mod echo;
#[path = "faults.rs"]
mod faults;
#[path = "governed.rs"]
mod governed;
#[path = "instructions.rs"]
mod instructions;
#[path = "peers.rs"]
mod peers;
#[path = "process.rs"]
mod process;
#[path = "recorded.rs"]
mod recorded;
#[path = "rotate.rs"]
mod rotate;
#[path = "rotate_files.rs"]
mod rotate_files;
#[path = "rotate_ledger.rs"]
mod rotate_ledger;
#[path = "rotate_peers.rs"]
mod rotate_peers;
#[path = "sizing.rs"]
mod sizing;
#[path = "soak.rs"]
mod soak;
#[path = "table.rs"]
mod table;
#[path = "../support/temp.rs"]
#[allow(dead_code, reason = "the suite uses the rest")]
mod temp;
#[path = "tls.rs"]
mod tls;

use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use peers::{Load, Mcp, Peers, Style};
use process::{Client, own_program};

/// One row of the table.
#[derive(Clone, Copy)]
struct Row {
    name: &'static str,
    load: Load,
    style: Style,
    flags: &'static [&'static str],
}

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    if words.first().is_some_and(|word| word == echo::ARGUMENT) {
        echo::serve();
        return ExitCode::SUCCESS;
    }
    // What cargo adds is no word of the user.
    let words = words.iter().filter(|word| *word != "--bench");
    let wanted: Vec<String> = words.map(|word| word.trim_start_matches('-').to_owned()).collect();
    let seconds = |text: &String| Duration::from_secs(text.parse().expect("a number of seconds"));
    let (word, rest) = wanted.split_first().map_or(("", &[][..]), |(word, rest)| (word.as_str(), rest));
    match (word, rest) {
        ("governed", _) => governed::run(&rows(), rest),
        ("table", _) => table::run(&rows(), rest),
        ("instructions", _) => return instructions::run(&rows(), rest),
        ("replicas", _) => return sizing::replicas(&rows(), rest),
        ("sizes", _) => sizing::sizes(&rows(), rest),
        ("faults", []) => return faults::run(),
        ("recorded", []) => return recorded::run(),
        ("soak", [length]) => return soak::run(seconds(length)),
        ("rotate", _) => return rotate::run(rest.first().map_or(rotate::LONG, seconds)),
        _ => print_rows(&wanted),
    }
    ExitCode::SUCCESS
}

/// Prints the rows whose names begin with one of the words, or all.
fn print_rows(wanted: &[String]) {
    let runs = |name: &str| wanted.is_empty() || wanted.iter().any(|word| name.starts_with(word.as_str()));
    println!(
        "{:<22} {:>9} {:>11} {:>7} {:>7} {:>9} {:>9}  connections plane/mcp",
        "row", "calls/s", "CPU us/call", "lost", "errors", "RSS MB", "peak MB"
    );
    for row in rows().iter().filter(|row| runs(row.name)) {
        relay(row);
    }
    if runs("beside") {
        beside::run();
    }
    if runs("returned") {
        returned();
    }
    if runs("start") {
        start_up();
    }
    if runs("idle") {
        idle();
    }
}

fn rows() -> [Row; 7] {
    let calls = Load { calls: 40_000, callers: 16, ..Load::default() };
    let http = Row {
        name: "http",
        load: calls,
        style: Style::Json(1024),
        flags: &["--mcp.max-concurrent-requests=16"],
    };
    let far = Load { calls: 2_000, callers: 64, plane_delay: Duration::from_millis(40), ..calls };
    let large = Load { calls: 30, callers: 10, ..calls };
    [
        http,
        Row { name: "tls", load: Load { tls: true, ..calls }, ..http },
        Row { name: "sse", load: Load { calls: 10_000, ..calls }, style: Style::Events(3), ..http },
        Row { name: "wan", load: far, style: Style::Slow(Duration::from_millis(5)), flags: &[] },
        Row { name: "http-default-workers", flags: &[], ..http },
        Row { name: "stdio", style: Style::Stdio, ..http },
        Row { name: "memory-large", load: large, style: Style::Json(60 * 1024 * 1024), flags: &[] },
    ]
}

/// Peers of a load, and a client of theirs, of this program and with these flags, that polls.
fn start(program: Command, row: &Row, load: Load, flags: &[&str]) -> (Peers, Client) {
    let peers = Peers::start(load, Mcp { style: row.style });
    let server = match row.style {
        Style::Stdio => format!("--mcp.command={}", echo::command("bench")),
        _ => format!("--mcp.server-url={}", peers.mcp_url()),
    };
    let client = Client::of(program, &peers, &[&[server.as_str()], flags].concat());
    peers.wait_first_poll();
    (peers, client)
}

/// Runs the load of a row and prints it.
fn relay(row: &Row) {
    let (peers, client) = start(own_program(), row, row.load, row.flags);
    let (cpu_before, started) = (client.cpu(), Instant::now());
    peers.go();
    let answered = peers.wait_done(Duration::from_secs(120));
    let (took, cpu) = (started.elapsed(), client.cpu() - cpu_before);
    let (resident, peak) = client.memory_mb();
    println!(
        "{:<22} {:>9.0} {:>11.1} {:>7} {:>7} {resident:>9.1} {peak:>9.1}  {}/{}",
        row.name,
        answered as f64 / took.as_secs_f64(),
        cpu.as_secs_f64() * 1e6 / row.load.calls as f64,
        row.load.calls - answered,
        peers.errors(),
        peers.plane_connections(),
        peers.mcp_connections(),
    );
}

/// What is left of the memory of large bodies a minute after the last of them has gone.
fn returned() {
    for (calls, mib) in [(40, 60), (400, 8), (2_000, 1)] {
        let load = Load { calls, callers: 16, ..Load::default() };
        let peers = Peers::start(load, Mcp { style: Style::Json(mib * 1024 * 1024) });
        let client = Client::start(&peers, &["--mcp.max-concurrent-requests=16"]);
        peers.wait_first_poll();
        let before = client.memory_mb().0;
        peers.go();
        let answered = peers.wait_done(Duration::from_secs(300));
        let after = client.memory_mb();
        std::thread::sleep(Duration::from_secs(60));
        println!(
            "returned: {answered} answers of {mib} MiB, {before:.1} MB before, {:.1} at the peak, {:.1} after, {:.1} a minute later",
            after.1,
            after.0,
            client.memory_mb().0
        );
    }
}

fn start_up() {
    let mut times: Vec<f64> = (0..11)
        .map(|_| {
            let peers = Peers::start(Load::default(), Mcp { style: Style::Json(16) });
            let started = Instant::now();
            let _client = Client::start(&peers, &[]);
            (peers.wait_first_poll() - started).as_secs_f64() * 1e3
        })
        .collect();
    times.sort_by(f64::total_cmp);
    println!(
        "start to first poll: median {:.1} ms, fastest {:.1}, slowest {:.1}",
        times[5], times[0], times[10]
    );
}

fn idle() {
    let peers = Peers::start(Load::default(), Mcp { style: Style::Json(16) });
    let client = Client::start(&peers, &[]);
    peers.wait_first_poll();
    // The probe and the metadata request belong to the start.
    std::thread::sleep(Duration::from_secs(3));
    let (cpu, wakeups, window) = (client.cpu(), client.wakeups(), Duration::from_secs(20));
    std::thread::sleep(window);
    let seconds = window.as_secs_f64();
    println!(
        "idle: {:.2} ms CPU/s, {:.2} wake-ups/s, {:.1} MB resident",
        (client.cpu() - cpu).as_secs_f64() * 1e3 / seconds,
        (client.wakeups() - wakeups) as f64 / seconds,
        client.memory_mb().0
    );
}
