//! Instructions a call, counted by an emulator, beside those that are kept in the tree.
//!
//! One worker and one caller: what is counted hardly depends on the machine and not at all on its load.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;

use super::peers::{Load, Style};
use super::process::programs;
use super::{Row, start};

/// Calls of the two runs: their difference holds no start and no end.
const CALLS: [usize; 2] = [300, 1_300];

/// By how many of a hundred a call may take more than what is kept.
const MORE_MAX: f64 = 3.0;

/// The rows that are compared.
const ROWS: [&str; 3] = ["http", "tls", "sse"];

fn kept_file() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/bench/instructions.txt")
}

/// What an emulator counts of a run, or of a call.
#[derive(Clone, Copy)]
pub struct Counts {
    pub instructions: u64,
    pub allocations: u64,
}

/// Compares all rows with the file, or writes the file when the word is `keep`. Fails if a row takes more.
pub fn run(rows: &[Row], words: &[String]) -> ExitCode {
    let (programs, words) = programs(words);
    let old = fs::read_to_string(kept_file()).expect("the file that is kept");
    let mut new: String =
        old.lines().filter(|line| line.starts_with('#')).map(|line| format!("{line}\n")).collect();
    let mut more = false;
    for name in ROWS {
        let row = rows.iter().find(|row| row.name == name).expect("a row");
        let Some(counts) = of_call(&programs[0], row) else {
            println!("instructions are counted by valgrind, which is not there");
            return ExitCode::FAILURE;
        };
        let line = old.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
        let mut kept = line.split_whitespace().map(|number| number.parse::<u64>().expect("a number"));
        for (what, count) in [("instructions", counts.instructions), ("allocations", counts.allocations)] {
            let kept = kept.next();
            let percent = kept.map_or(f64::NAN, |kept| (count as f64 / kept as f64 - 1.0) * 100.0);
            more |= kept.is_none() || percent > MORE_MAX;
            println!("{name:<6} {count:>7} {what} a call, kept {} ({percent:+.1} %)", kept.unwrap_or(0));
        }
        new.push_str(&format!("{name:<6} {} {}\n", counts.instructions, counts.allocations));
    }
    if words == ["keep"] {
        fs::write(kept_file(), new).expect("a writable tree");
    } else if more {
        println!(
            "more than {MORE_MAX} % more: say why in the commit, and keep the new figures with `-- instructions keep`"
        );
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

/// What is counted of one call of a row, or nothing without valgrind, or over stdio: before 3.21 valgrind cannot start
/// a program through `/proc/self/exe`, which the guard of a child is.
pub fn of_call(program: &str, row: &Row) -> Option<Counts> {
    let version = Command::new("valgrind").arg("--version").stdout(Stdio::null()).status();
    if matches!(row.style, Style::Stdio) || !version.is_ok_and(|status| status.success()) {
        return None;
    }
    let each = |counts: [u64; 2]| (counts[1] - counts[0]) / (CALLS[1] - CALLS[0]) as u64;
    Some(Counts {
        instructions: each(CALLS.map(|calls| instructions(program, row, calls))),
        allocations: each(CALLS.map(|calls| allocations(program, row, calls))),
    })
}

/// Instructions of a whole run.
fn instructions(program: &str, row: &Row, calls: usize) -> u64 {
    let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join("callgrind");
    let options = ["--tool=callgrind".to_owned(), format!("--callgrind-out-file={}", file.display())];
    let text = run_under(&options, &file, program, row, calls);
    let total = text.lines().find_map(|line| line.strip_prefix("totals: ")).expect("a total");
    total.trim().parse().expect("a number")
}

/// Allocations of a whole run. A program that holds its own allocator shows none.
fn allocations(program: &str, row: &Row, calls: usize) -> u64 {
    let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join("memcheck");
    let options = ["--leak-check=no".to_owned(), format!("--log-file={}", file.display())];
    let text = run_under(&options, &file, program, row, calls);
    let (_, rest) = text.split_once("total heap usage: ").expect("a total");
    let (number, _) = rest.split_once(' ').expect("a number");
    number.replace(',', "").parse().expect("a number")
}

/// Runs so many calls under valgrind and gives what it wrote into this file.
fn run_under(options: &[String], file: &Path, program: &str, row: &Row, calls: usize) -> String {
    let mut command = Command::new("valgrind");
    command.args(options).arg("--child-silent-after-fork=yes").arg(program);
    let load = Load { calls, callers: 1, ..row.load };
    // What counts makes calls of its own in the same process.
    let (peers, client) =
        start(command, row, load, &["--mcp.max-concurrent-requests=1", "--process.cage=off"]);
    peers.go();
    assert_eq!(peers.wait_done(Duration::from_secs(120)), calls, "{}: calls are lost", row.name);
    assert!(client.end().success());
    fs::read_to_string(file).expect("what was counted")
}
