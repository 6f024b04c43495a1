//! The release binary under load, and what the kernel says of it.

use std::fs::{self, File};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::time::ClockId;
use nix::unistd::Pid;

use super::peers::Peers;

/// The program of this build, before its arguments.
pub fn own_program() -> Command {
    Command::new(env!("CARGO_BIN_EXE_tunnel-client"))
}

/// Programs among the words of a command, which hold a slash, or else that of this build; and the other words.
pub fn programs(words: &[String]) -> (Vec<String>, Vec<String>) {
    let (mut programs, others): (Vec<_>, _) = words.iter().cloned().partition(|word| word.contains('/'));
    if programs.is_empty() {
        programs.push(env!("CARGO_BIN_EXE_tunnel-client").to_owned());
    }
    (programs, others)
}

/// A running client; killed when dropped.
pub struct Client {
    child: Child,
}

impl Client {
    /// A client of these peers, whose server speaks HTTP.
    pub fn start(peers: &Peers, flags: &[&str]) -> Client {
        let server = format!("--mcp.server-url={}", peers.mcp_url());
        Client::of(own_program(), peers, &[&[server.as_str()], flags].concat())
    }

    /// The same of this program; the flags name its server.
    pub fn of(program: Command, peers: &Peers, flags: &[&str]) -> Client {
        let mut flags = flags.to_vec();
        let bundle = peers.ca_bundle().map(|bundle| format!("--ca-bundle={}", bundle.display()));
        if let Some(bundle) = &bundle {
            flags.extend(["--tls.roots=none", bundle]);
        }
        Client::launch_program(program, &peers.plane_url(), &flags, None)
    }

    /// A client of this control plane; the flags name its servers.
    pub fn launch(plane_url: &str, flags: &[&str]) -> Client {
        Client::launch_logged(plane_url, flags, None)
    }

    /// The same, which logs to this file.
    pub fn launch_logged(plane_url: &str, flags: &[&str], log: Option<File>) -> Client {
        Client::launch_program(own_program(), plane_url, flags, log)
    }

    fn launch_program(mut command: Command, plane_url: &str, flags: &[&str], log: Option<File>) -> Client {
        command
            .arg("run")
            .arg(format!("--control-plane.base-url={plane_url}"))
            .arg(format!("--control-plane.tunnel-id=tunnel_{}", "2".repeat(32)))
            .arg("--health.listen-addr=127.0.0.1:0")
            .args(flags)
            .env_clear()
            .env("CONTROL_PLANE_API_KEY", "sk-bench-0123456789")
            .stdin(Stdio::null())
            .stdout(Stdio::null());
        if log.is_some() || std::env::var_os("BENCH_LOG").is_none() {
            command.stderr(log.map_or_else(Stdio::null, Stdio::from));
        }
        Client { child: command.spawn().expect("the release binary starts") }
    }

    /// User and system time of the process so far.
    pub fn cpu(&self) -> Duration {
        let clock = ClockId::pid_cpu_clock_id(self.pid()).expect("the client still runs");
        clock.now().expect("a clock").into()
    }

    /// Voluntary context switches of all threads: how often something woke up.
    pub fn wakeups(&self) -> u64 {
        self.sum("voluntary_ctxt_switches:")
    }

    /// All context switches of all threads.
    pub fn switches(&self) -> u64 {
        self.wakeups() + self.sum("nonvoluntary_ctxt_switches:")
    }

    fn sum(&self, name: &str) -> u64 {
        let tasks = fs::read_dir(format!("/proc/{}/task", self.child.id())).expect("threads");
        tasks
            .filter_map(|task| fs::read_to_string(task.ok()?.path().join("status")).ok())
            .map(|status| number(&status, name))
            .sum()
    }

    /// Resident memory now and at its peak.
    pub fn memory_mb(&self) -> (f64, f64) {
        let status = self.read("status");
        let mb = |name| number(&status, name) as f64 / 1024.0;
        (mb("VmRSS:"), mb("VmHWM:"))
    }

    /// How many entries a folder of the process has: `fd` or `task`.
    pub fn count(&self, folder: &str) -> usize {
        let entries = fs::read_dir(format!("/proc/{}/{folder}", self.child.id()));
        entries.expect("the client still runs").count()
    }

    /// Bounds how large a file the client may write, as a full disk would.
    pub fn limit_files(&self, bytes: &str) {
        let (pid, limit) = (self.child.id().to_string(), format!("--fsize={bytes}:unlimited"));
        assert!(Command::new("prlimit").args(["--pid", &pid, &limit]).status().expect("prlimit").success());
    }

    /// Sends SIGHUP.
    pub fn hang_up(&self) {
        kill(self.pid(), Signal::SIGHUP).expect("the client still runs");
    }

    /// Asks the client to end and waits for it.
    pub fn end(mut self) -> ExitStatus {
        kill(self.pid(), Signal::SIGTERM).expect("the client still runs");
        self.child.wait().expect("a child")
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    fn pid(&self) -> Pid {
        Pid::from_raw(i32::try_from(self.child.id()).expect("a process id"))
    }

    fn read(&self, file: &str) -> String {
        fs::read_to_string(format!("/proc/{}/{file}", self.child.id())).expect("the client still runs")
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn number(status: &str, name: &str) -> u64 {
    let line = status.lines().find(|line| line.starts_with(name)).expect("a field of the kernel");
    line.split_whitespace().nth(1).expect("a value").parse().expect("a number")
}
