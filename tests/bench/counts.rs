//! System calls of a process, counted by the kernel through `perf`, where it is installed and allowed.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::Path;
use std::process::{Command, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::sys::stat::Mode;
use nix::unistd::{Pid, mkfifo};

const EVENTS: &str = "raw_syscalls:sys_enter,syscalls:sys_enter_futex";

/// All system calls, and those to wait for or wake a thread, of a process while `work` runs.
pub fn during(process: u32, work: impl FnOnce()) -> Option<[u64; 2]> {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("counts");
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).expect("a folder");
    // Without the right to see events it ends at once.
    let may = Command::new("perf").args(["stat", "-e", EVENTS, "true"]).stderr(Stdio::null()).status();
    if !may.is_ok_and(|status| status.success()) {
        return None;
    }
    let [control, answers] = ["control", "answers"].map(|name| {
        let path = folder.join(name);
        mkfifo(&path, Mode::S_IRWXU).expect("a pipe");
        // For both directions, since it would wait for its other end.
        let file = File::options().read(true).write(true).open(&path).expect("a pipe");
        (path, file)
    });
    let ((control, mut orders), (answers, mut answered)) = (control, answers);
    let counts = folder.join("counts");
    let mut perf = Command::new("perf");
    perf.args(["stat", "-x,", "-D", "-1", "-e", EVENTS, "-p", &process.to_string(), "-o"]).arg(&counts);
    perf.arg(format!("--control=fifo:{},{}", control.display(), answers.display()));
    // It tells there what it was told.
    let mut perf = perf.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("perf starts");
    let mut tell = |order: &str| {
        orders.write_all(order.as_bytes()).expect("perf lives");
        answered.read_exact(&mut [0; "ack\n".len()]).expect("perf lives");
    };
    tell("enable\n");
    work();
    tell("disable\n");
    kill(Pid::from_raw(i32::try_from(perf.id()).expect("a process id")), Signal::SIGINT).expect("perf lives");
    perf.wait().expect("a child");
    let text = fs::read_to_string(counts).expect("what perf counted");
    let mut lines = text.lines().filter(|line| line.contains("sys_enter"));
    let mut next = || lines.next()?.split(',').next()?.parse().ok();
    Some([next()?, next()?])
}
