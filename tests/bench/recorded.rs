//! Audit records of 200 000 calls, while the disk is full at times and the file is rotated: one each, in one chain.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::peers::{Load, Mcp, Peers, Style};
use super::process::Client;

const CALLS: usize = 200_000;

/// Between two changes of the file.
const STEP: Duration = Duration::from_millis(300);

/// Fails unless there are as many records as calls, and `audit verify` finds them whole.
pub fn run() -> ExitCode {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("recorded");
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder).expect("a folder");
    let (profile, file) = (folder.join("profile.yaml"), folder.join("audit.jsonl"));
    std::fs::write(&profile, format!("audit: {{file: \"{}\"}}\n", file.display())).expect("a profile");
    let config = format!("--config={}", profile.display());
    let load = Load { calls: CALLS, callers: 16, ..Load::default() };
    let peers = Peers::start(load, Mcp { style: Style::Json(200) });
    let client = Client::start(&peers, &["--mcp.max-concurrent-requests=16", &config]);
    peers.wait_first_poll();
    peers.go();
    let (done, began) = (AtomicBool::new(false), Instant::now());
    let mut files = std::thread::scope(|scope| {
        let faults = scope.spawn(|| faults(&client, &file, &done));
        let answered = peers.wait_done(Duration::from_secs(1200));
        done.store(true, Ordering::Relaxed);
        println!("{answered} of {CALLS} calls answered in {:.0} s", began.elapsed().as_secs_f64());
        faults.join().expect("the faults")
    });
    assert!(client.end().success(), "every caller was told");
    files.push(file);
    let text = files.iter().map(|file| std::fs::read_to_string(file).expect("a file of records"));
    let calls = text.map(|text| text.lines().filter(|line| line.contains("\"tools/call\"")).count());
    let records: usize = calls.sum();
    let mut verify = Command::new(env!("CARGO_BIN_EXE_tunnel-client"));
    let whole = verify.args(["audit", "verify"]).args(&files).status().expect("the program").success();
    println!("{records} records of calls in {} files", files.len());
    if records == CALLS && whole { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Fills the disk, makes room again and rotates, by turns. Gives the files that were moved away, in order.
fn faults(client: &Client, file: &Path, done: &AtomicBool) -> Vec<PathBuf> {
    let mut moved = Vec::new();
    for number in 0.. {
        std::thread::sleep(STEP);
        let is_last = done.load(Ordering::Relaxed);
        match number % 4 {
            // It holds more already, so that the next write fails at once; or else in the middle of one.
            0 if !is_last => client.limit_files("65000"),
            2 => client.limit_files("unlimited"),
            3 if is_last => return moved,
            3 => {
                let old = file.with_extension(number.to_string());
                std::fs::rename(file, &old).expect("the file is there");
                client.hang_up();
                moved.push(old);
            }
            _ => {}
        }
    }
    moved
}
