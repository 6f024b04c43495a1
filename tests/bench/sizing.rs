//! What one client does by payload and number of workers, and what several do together.

use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use super::peers::{Load, Style};
use super::process::{Client, programs};
use super::{Row, start};

/// How many clients share a control plane.
const REPLICAS: [usize; 4] = [1, 2, 4, 8];

/// What each of them is to reach of what one alone reaches, while the processors have time left.
const LINEAR_MIN: f64 = 0.85;

/// Calls that a client makes, and how many are open for it.
const CALLS: usize = 2_000;
const OPEN: usize = 64;

/// Prints calls a second, CPU and memory of a program that may be named.
pub fn sizes(rows: &[Row], words: &[String]) {
    let (programs, _) = programs(words);
    let http = rows.iter().find(|row| row.name == "http").expect("a row");
    println!(
        "{:>8} {:>8} {:>9} {:>8} {:>7} {:>8}",
        "answer", "workers", "calls/s", "CPU us", "RSS MB", "peak MB"
    );
    for (kib, calls) in [(1, 20_000), (100, 4_000), (1_024, 400), (10_240, 60)] {
        for workers in [4, 10, 32, 128] {
            let load = Load { calls, callers: 2 * workers, ..http.load };
            let row = Row { style: Style::Json(kib * 1024), ..*http };
            let flag = format!("--mcp.max-concurrent-requests={workers}");
            let (peers, client) = start(Command::new(&programs[0]), &row, load, &[&flag]);
            let (cpu, started) = (client.cpu(), Instant::now());
            peers.go();
            assert_eq!(peers.wait_done(Duration::from_secs(120)), calls, "calls are lost");
            let (took, cpu, memory) = (started.elapsed(), client.cpu() - cpu, client.memory_mb());
            println!(
                "{:>8} {workers:>8} {:>9.0} {:>8.0} {:>7.1} {:>8.1}",
                format!("{kib} KiB"),
                calls as f64 / took.as_secs_f64(),
                cpu.as_secs_f64() * 1e6 / calls as f64,
                memory.0,
                memory.1
            );
        }
    }
}

/// Lets more and more clients share one control plane, 40 ms away. Fails if a call is lost or answered twice, or if they
/// reach less together than the share of each.
pub fn replicas(rows: &[Row], words: &[String]) -> ExitCode {
    let program = || Command::new(&programs(words).0[0]);
    let wan = rows.iter().find(|row| row.name == "wan").expect("a row");
    println!(
        "{:>8} {:>9} {:>8} {:>8} {:>6} {:>8} {:>7}",
        "replicas", "calls/s", "linear", "CPU us", "lost", "doubled", "RSS MB"
    );
    let (mut one, mut failed) = (0.0, false);
    for count in REPLICAS {
        let calls = CALLS * count;
        let load = Load { calls, callers: OPEN * count, ..wan.load };
        let (peers, first) = start(program(), wan, load, wan.flags);
        let mut clients = vec![first];
        let server = format!("--mcp.server-url={}", peers.mcp_url());
        let flags = [&[server.as_str()], wan.flags].concat();
        clients.extend((1..count).map(|_| Client::of(program(), &peers, &flags)));
        peers.wait_pollers(count);
        let cpu = |clients: &[Client]| clients.iter().map(Client::cpu).sum::<Duration>();
        let (before, started) = (cpu(&clients), Instant::now());
        peers.go();
        let answered = peers.wait_done(Duration::from_secs(120));
        let (took, used) = (started.elapsed(), cpu(&clients) - before);
        let memory = clients.iter().map(|client| client.memory_mb().0).fold(0.0, f64::max);
        // Who would answer a second time has done so when it has ended.
        for client in clients {
            failed |= !client.end().success();
        }
        let rate = answered as f64 / took.as_secs_f64();
        one = if count == 1 { rate } else { one };
        let linear = rate / (one * count as f64);
        println!(
            "{count:>8} {rate:>9.0} {:>7.0}% {:>8.0} {:>6} {:>8} {memory:>7.1}",
            linear * 100.0,
            used.as_secs_f64() * 1e6 / calls as f64,
            calls - answered,
            peers.doubled()
        );
        failed |= answered < calls || peers.doubled() > 0 || linear < LINEAR_MIN;
    }
    if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}
