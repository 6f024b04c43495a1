//! The figures to hold, in one table: a client beside direct calls to the same server, and what the kernel and an
//! emulator count of a call.
//!
//! Programs that are named run by turns, so that whatever else the machine does meets all of them alike.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::Command;
use std::time::{Duration, Instant};

use nix::time::ClockId;

use super::peers::{Load, Mcp, Peers, Style};
use super::process::programs;
use super::{Row, counts, instructions, start};

/// How often each row is timed; the table shows the medians.
const TURNS: usize = 3;

/// Calls whose system calls are counted: counting slows them, so these are not timed.
const COUNTED: usize = 10_000;

/// The rows of the table unless others are named.
const ROWS: [&str; 4] = ["http", "tls", "stdio", "sse"];

/// One turn of a row.
#[derive(Clone)]
struct Turn {
    rate: f64,
    cpu_us: f64,
    switches: f64,
    lost: usize,
    resident: f64,
    connections: [usize; 2],
    handshakes: [usize; 2],
}

/// Prints the rows that are named, of the programs that are named: what holds a slash is a program.
pub fn run(rows: &[Row], words: &[String]) {
    let (programs, names) = programs(words);
    for (number, program) in programs.iter().enumerate() {
        println!("program {}: {program}", number + 1);
    }
    println!(
        "{:<12} {:>8} {:>8} {:>6} {:>6} {:>7} {:>9} {:>6} {:>5} {:>7} {:>10}  plane/mcp connections",
        "row",
        "calls/s",
        "CPU us",
        "calls",
        "futex",
        "switch",
        "instr.",
        "alloc",
        "lost",
        "RSS MB",
        "handshakes"
    );
    let is_wanted = |row: &&Row| match names.as_slice() {
        [] => ROWS.contains(&row.name),
        names => names.iter().any(|name| row.name == *name),
    };
    for row in rows.iter().filter(is_wanted) {
        if matches!(row.style, Style::Json(_) | Style::Events(_)) && !row.load.tls {
            direct(row);
        }
        let mut turns = vec![Vec::new(); programs.len()];
        for _ in 0..TURNS {
            for (turns, program) in turns.iter_mut().zip(&programs) {
                turns.push(turn(program, row));
            }
        }
        for (number, (turns, program)) in turns.iter_mut().zip(&programs).enumerate() {
            show(&format!("{} {}", row.name, number + 1), program, row, turns);
        }
    }
}

/// Runs the load of a row once.
fn turn(program: &str, row: &Row) -> Turn {
    let (peers, client) = start(Command::new(program), row, row.load, row.flags);
    let (cpu, switches, started) = (client.cpu(), client.switches(), Instant::now());
    peers.go();
    let answered = peers.wait_done(Duration::from_secs(120));
    let (took, cpu) = (started.elapsed(), client.cpu() - cpu);
    let calls = row.load.calls as f64;
    Turn {
        rate: answered as f64 / took.as_secs_f64(),
        cpu_us: cpu.as_secs_f64() * 1e6 / calls,
        switches: (client.switches() - switches) as f64 / calls,
        lost: row.load.calls - answered + peers.errors(),
        resident: client.memory_mb().0,
        connections: [peers.plane_connections(), peers.mcp_connections()],
        handshakes: peers.handshakes(),
    }
}

/// System calls and futex calls a call, where they can be counted.
fn counted(program: &str, row: &Row) -> Option<[f64; 2]> {
    let load = Load { calls: COUNTED.min(row.load.calls), ..row.load };
    let (peers, client) = start(Command::new(program), row, load, row.flags);
    let counted = counts::during(client.id(), || {
        peers.go();
        assert_eq!(peers.wait_done(Duration::from_secs(120)), load.calls, "calls are lost");
    })?;
    Some(counted.map(|count| count as f64 / load.calls as f64))
}

fn show(name: &str, program: &str, row: &Row, turns: &mut [Turn]) {
    let median = |figure: fn(&Turn) -> f64| {
        let mut figures: Vec<f64> = turns.iter().map(figure).collect();
        figures.sort_by(f64::total_cmp);
        figures[figures.len() / 2]
    };
    let [calls, futex] = counted(program, row)
        .map_or_else(|| ["-".to_owned(), "-".to_owned()], |counts| counts.map(|count| format!("{count:.1}")));
    let [instructions, allocations] = instructions::of_call(program, row).map_or_else(
        || ["-".to_owned(), "-".to_owned()],
        |counts| [counts.instructions, counts.allocations].map(|count| count.to_string()),
    );
    let last = turns.last().expect("a turn");
    let handshakes = match row.load.tls {
        true => last.handshakes.map(|count| per_10_000(count, row.load.calls)).join("+"),
        false => "-".to_owned(),
    };
    println!(
        "{name:<12} {:>8.0} {:>8.1} {calls:>6} {futex:>6} {:>7.1} {instructions:>9} {allocations:>6} {:>5} {:>7.1} {handshakes:>10}  {}/{}",
        median(|turn| turn.rate),
        median(|turn| turn.cpu_us),
        median(|turn| turn.switches),
        turns.iter().map(|turn| turn.lost).sum::<usize>(),
        median(|turn| turn.resident),
        last.connections[0],
        last.connections[1],
    );
}

fn per_10_000(count: usize, calls: usize) -> String {
    format!("{:.1}", count as f64 * 1e4 / calls as f64)
}

/// Prints what the same callers reach at the server without a tunnel, and what both ends take of the processor.
fn direct(row: &Row) {
    let peers = Peers::start(row.load, Mcp { style: row.style });
    let (each, port) = (row.load.calls / row.load.callers, peers.mcp_port());
    let (cpu, started) = (own_cpu(), Instant::now());
    std::thread::scope(|scope| {
        for _ in 0..row.load.callers {
            scope.spawn(|| call(port, each));
        }
    });
    let (took, cpu, calls) = (started.elapsed(), own_cpu() - cpu, (each * row.load.callers) as f64);
    println!(
        "{:<12} {:>8.0} {:>8.1}  both ends of a direct call",
        format!("{} direct", row.name),
        calls / took.as_secs_f64(),
        cpu.as_secs_f64() * 1e6 / calls
    );
}

/// Makes so many calls, one after the other, over a connection of its own.
fn call(port: u16, calls: usize) {
    let stream = TcpStream::connect(("127.0.0.1", port)).expect("the server listens");
    stream.set_nodelay(true).expect("a TCP socket");
    let mut stream = BufReader::with_capacity(64 * 1024, stream);
    let body = format!(
        "{{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"tools/call\",\"params\":{{\"name\":\"echo\",\"arguments\":{{\"text\":\"{}\"}}}}}}",
        "x".repeat(1024)
    );
    let head = "POST /mcp HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\naccept: application/json, text/event-stream";
    let request = format!("{head}\r\ncontent-length: {}\r\n\r\n{body}", body.len());
    for _ in 0..calls {
        stream.get_mut().write_all(request.as_bytes()).expect("the server reads");
        skip_answer(&mut stream);
    }
}

/// User and system time of this process.
fn own_cpu() -> Duration {
    ClockId::CLOCK_PROCESS_CPUTIME_ID.now().expect("a clock").into()
}

/// Reads one answer and forgets it.
fn skip_answer(stream: &mut BufReader<TcpStream>) {
    let (mut line, mut length) = (String::new(), 0);
    while line != "\r\n" {
        line.clear();
        assert_ne!(stream.read_line(&mut line).expect("the server answers"), 0, "the server has closed");
        if let Some(value) = line.strip_prefix("Content-Length: ") {
            length = value.trim().parse().expect("a length");
        }
    }
    stream.read_exact(&mut vec![0; length]).expect("the server answers");
}
