//! The benchmark of the relay: a load driver in this process, the release binary in another.
//!
//! `cargo bench --bench relay` prints one row a scenario; `cargo bench --bench relay -- http` runs
//! those whose name begins with the given word, `-- governed` what policy, pins and audit cost, `-- faults` the faults of the plane, which lose no answer,
//! `-- recorded` the audit records of 200 000 calls under faults, `-- soak SECONDS` the soak alone, and
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
#[path = "echo.rs"]
mod echo;
#[path = "faults.rs"]
mod faults;
#[path = "governed.rs"]
mod governed;
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
#[path = "soak.rs"]
mod soak;
#[path = "../support/temp.rs"]
#[allow(dead_code, reason = "the suite uses the rest")]
mod temp;

use std::process::ExitCode;
use std::time::{Duration, Instant};

use peers::{Load, Mcp, Peers, Style};
use process::Client;

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
    if let [first, rest @ ..] = wanted.as_slice() {
        if first == "governed" {
            governed::run(&rows(), rest);
            return ExitCode::SUCCESS;
        }
    }
    if wanted == ["faults"] {
        return faults::run();
    }
    if wanted == ["recorded"] {
        return recorded::run();
    }
    let seconds = |text: &String| Duration::from_secs(text.parse().expect("a number of seconds"));
    match wanted.as_slice() {
        [word, length] if word == "soak" => return soak::run(seconds(length)),
        [word, rest @ ..] if word == "rotate" => {
            return rotate::run(rest.first().map_or(rotate::LONG, seconds));
        }
        _ => {}
    }
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
        start();
    }
    if runs("idle") {
        idle();
    }
    ExitCode::SUCCESS
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

/// What one run of a row has shown.
struct Measured {
    calls_per_second: f64,
    cpu_us: f64,
    lost: usize,
    /// Errors, memory and connections, as the table has them.
    rest: String,
}

fn relay(row: &Row) {
    let Measured { calls_per_second, cpu_us, lost, rest, .. } = measure(row, row.flags);
    println!("{:<22} {calls_per_second:>9.0} {cpu_us:>11.1} {lost:>7} {rest}", row.name);
}

/// Runs the load of a row through a client with these flags.
fn measure(row: &Row, flags: &[&str]) -> Measured {
    let peers = Peers::start(row.load, Mcp { style: row.style });
    let client = match row.style {
        Style::Stdio => {
            let server = format!("--mcp.command={}", echo::command("bench"));
            Client::launch(&peers.plane_url(), &[&[server.as_str()], flags].concat())
        }
        _ => Client::start(&peers, flags),
    };
    peers.wait_first_poll();
    let (cpu_before, started) = (client.cpu(), Instant::now());
    peers.go();
    let answered = peers.wait_done(Duration::from_secs(120));
    let (took, cpu) = (started.elapsed(), client.cpu() - cpu_before);
    let (resident, peak) = client.memory_mb();
    let connections = format!("{}/{}", peers.plane_connections(), peers.mcp_connections());
    Measured {
        calls_per_second: answered as f64 / took.as_secs_f64(),
        cpu_us: cpu.as_secs_f64() * 1e6 / row.load.calls as f64,
        lost: row.load.calls - answered,
        rest: format!("{:>7} {resident:>9.1} {peak:>9.1}  {connections}", peers.errors()),
    }
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

fn start() {
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
