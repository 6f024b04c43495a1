//! Starts the built binary in a clean environment and watches what it says.

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::BOUND;
use super::command::{Command, SHARD_PREFIX};
use super::http::{Fetched, fetch};
use super::plane::TUNNEL;
pub use super::programs::{DAEMON, PROGRAM, command};
use super::temp::TempDir;

/// The key in every client's environment; it may stand in no line that a client writes.
pub const API_KEY: &str = "sk-runtime_KEY-4f9a1c77";

/// What a client is started with.
pub struct Builder {
    program: &'static str,
    arguments: Vec<String>,
    environment: Vec<(String, String)>,
    directory: TempDir,
    /// What a shell does before it becomes the client.
    before: Option<String>,
}

/// What a command that ended by itself left behind.
pub struct Outcome {
    /// Its exit code.
    pub code: Option<i32>,
    /// Its standard output.
    pub stdout: String,
    /// Its standard error.
    pub stderr: String,
}

/// A running client.
pub struct Client {
    child: Child,
    output: Arc<Output>,
    readers: Vec<std::thread::JoinHandle<()>>,
    directory: TempDir,
    started: Instant,
    status: Option<ExitStatus>,
}

#[derive(Default)]
struct Output {
    lines: Mutex<Vec<String>>,
    changed: Condvar,
}

impl Builder {
    /// The bare subcommand with the API key in the environment.
    pub fn bare(command: &str) -> Builder {
        Builder::none().argument(command)
    }

    /// The program alone, with the API key in the environment.
    pub fn none() -> Builder {
        Builder {
            program: PROGRAM,
            arguments: Vec::new(),
            environment: vec![("CONTROL_PLANE_API_KEY".to_owned(), API_KEY.to_owned())],
            directory: TempDir::new(),
            before: None,
        }
    }

    /// Starts the service in place of the tool.
    pub fn daemon(mut self) -> Builder {
        self.program = DAEMON;
        self
    }

    /// Has a shell do this and then become the client, as start scripts of containers do.
    pub fn after(mut self, script: &str) -> Builder {
        self.before = Some(script.to_owned());
        self
    }

    /// `run` with all that every test needs.
    pub fn run(base_url: &str, server_url: &str) -> Builder {
        Builder::without_server(base_url).flag("mcp.server-url", server_url)
    }

    /// The same without a server.
    pub fn without_server(base_url: &str) -> Builder {
        let builder = Builder::bare("run");
        let url_file = builder.path("health.url");
        builder
            .flag("control-plane.base-url", base_url)
            // Tests send plain http through proxies, which is refused otherwise.
            .argument("--control-plane.allow-plaintext-http")
            .flag("control-plane.tunnel-id", TUNNEL)
            .flag("health.listen-addr", "127.0.0.1:0")
            .flag("health.url-file", &url_file)
            .flag("log.format", "json")
            .flag("log.level", "debug")
    }

    /// Adds `--name value`.
    pub fn flag(mut self, name: &str, value: &str) -> Builder {
        self.arguments.push(format!("--{name}"));
        self.arguments.push(value.to_owned());
        self
    }

    /// Adds one argument as it stands.
    pub fn argument(mut self, text: &str) -> Builder {
        self.arguments.push(text.to_owned());
        self
    }

    /// Takes a flag and its value away again.
    pub fn without(mut self, name: &str) -> Builder {
        let flag = format!("--{name}");
        while let Some(at) = self.arguments.iter().position(|a| *a == flag) {
            self.arguments.drain(at..at + 2);
        }
        self
    }

    /// Replaces a flag's value.
    pub fn set(self, name: &str, value: &str) -> Builder {
        self.without(name).flag(name, value)
    }

    /// Sets an environment variable.
    pub fn env(mut self, name: &str, value: &str) -> Builder {
        self.environment.retain(|(known, _)| known != name);
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Takes an environment variable away.
    pub fn without_env(mut self, name: &str) -> Builder {
        self.environment.retain(|(known, _)| known != name);
        self
    }

    /// Passes a YAML file.
    pub fn yaml(self, text: &str) -> Builder {
        let path = self.directory.write("config.yaml", text);
        self.flag("config", &path)
    }

    /// A path in the client's own directory.
    pub fn path(&self, name: &str) -> String {
        self.directory.join(name).to_str().unwrap().to_owned()
    }

    /// Starts it.
    pub fn start(self) -> Client {
        let output: Arc<Output> = Arc::default();
        self.start_into(&output, &output)
    }

    fn start_into(self, output: &Arc<Output>, complaints: &Arc<Output>) -> Client {
        let script = self.before.map(|script| format!("{script} exec \"$0\" \"$@\""));
        let shell = script.iter().flat_map(|script| ["/bin/sh", "-c", script]);
        // These tests may run under `nohup`, and what is ignored stays so in children.
        let program = command(self.program);
        let mut child = std::process::Command::new("/usr/bin/env")
            .arg("--default-signal=HUP")
            .args(shell)
            .arg(program.get_program())
            .args(program.get_args())
            .args(&self.arguments)
            .env_clear()
            .envs(self.environment)
            .current_dir(self.directory.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let readers = vec![
            collect(child.stdout.take().unwrap(), output),
            collect(child.stderr.take().unwrap(), complaints),
        ];
        let (started, output) = (Instant::now(), Arc::clone(output));
        Client { child, output, readers, directory: self.directory, started, status: None }
    }

    /// Runs it to its end and returns what it wrote where, line ends normalized.
    pub fn outcome(self) -> Outcome {
        let (output, complaints): (Arc<Output>, Arc<Output>) = (Arc::default(), Arc::default());
        let code = self.start_into(&output, &complaints).wait_exit().code();
        let text = |of: &Output| of.lines.lock().unwrap().iter().map(|line| format!("{line}\n")).collect();
        let (stdout, stderr): (String, String) = (text(&output), text(&complaints));
        assert!(!stdout.contains(API_KEY) && !stderr.contains(API_KEY), "{stdout}{stderr}");
        Outcome { code, stdout, stderr }
    }

    /// Runs it to its end and returns the exit code and all output.
    pub fn finish(self) -> (Option<i32>, String) {
        let mut client = self.start();
        let status = client.wait_exit();
        (status.code(), client.log())
    }
}

/// Reads lines on a thread of its own. Bytes that are no UTF-8 are replaced, not lost.
fn collect(from: impl std::io::Read + Send + 'static, output: &Arc<Output>) -> std::thread::JoinHandle<()> {
    let output = Arc::clone(output);
    std::thread::spawn(move || {
        let mut reader = BufReader::new(from);
        let mut line = Vec::new();
        while reader.read_until(b'\n', &mut line).is_ok_and(|count| count > 0) {
            let text = String::from_utf8_lossy(&line).trim_end_matches('\n').to_owned();
            output.lines.lock().unwrap().push(text);
            output.changed.notify_all();
            line.clear();
        }
    })
}

impl Client {
    /// When the process was started.
    pub fn started(&self) -> Instant {
        self.started
    }

    /// The process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The most memory that it has had at once, in bytes, as the kernel counted.
    pub fn memory_peak(&self) -> u64 {
        self.memory("VmHWM:")
    }

    /// What of its memory is the program's file, which is several times larger in a test build.
    pub fn memory_of_file(&self) -> u64 {
        self.memory("RssFile:")
    }

    fn memory(&self, name: &str) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        line.trim().strip_suffix(" kB").unwrap().parse::<u64>().unwrap() * 1024
    }

    /// How many of its threads have such a name.
    pub fn threads(&self, name: &str) -> usize {
        let tasks = std::fs::read_dir(format!("/proc/{}/task", self.child.id())).unwrap();
        let names = tasks.filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("comm")).ok());
        names.filter(|found| found.starts_with(name)).count()
    }

    /// Holds it to its promise: never more than `mcp.body-budget-bytes` and 128 MB.
    pub fn assert_within(&self, budget_bytes: u64) {
        let (peak, most) = (self.memory_peak(), budget_bytes + 128_000_000);
        assert!(peak <= most, "{} MB at once, and {} MB are promised", peak / 1_000_000, most / 1_000_000);
    }

    /// A path in the client's own directory.
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    /// All output so far.
    pub fn log(&self) -> String {
        self.output.lines.lock().unwrap().join("\n")
    }

    /// Waits for a line and returns it.
    pub fn wait_log(&self, wanted: impl Fn(&str) -> bool) -> String {
        self.wait_logs(1, wanted)
    }

    /// Waits until there are so many lines and returns the last of them.
    pub fn wait_logs(&self, count: usize, wanted: impl Fn(&str) -> bool) -> String {
        let end = Instant::now() + BOUND;
        let mut lines = self.output.lines.lock().unwrap();
        loop {
            if let Some(line) = lines.iter().filter(|line| wanted(line)).nth(count - 1) {
                return line.clone();
            }
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                drop(lines);
                panic!("the line did not come");
            }
            lines = self.output.changed.wait_timeout(lines, left).unwrap().0;
        }
    }

    /// Whether the log says that a command ended without an answer.
    pub fn is_silent(&self, command: &Command) -> bool {
        let (log, id) = (self.log(), format!("\"{}\"", command.id));
        let mut lines = log.lines().filter(|line| line.contains(&id));
        lines
            .any(|line| line.contains("dropping without posting") || line.contains("failed to post response"))
    }

    /// The listener's address, from the URL file.
    pub fn address(&mut self) -> String {
        let path = self.directory.join("health.url");
        let end = Instant::now() + BOUND;
        loop {
            let text = std::fs::read_to_string(&path).unwrap_or_default();
            if let Some(address) = text.trim().strip_prefix("http://") {
                return address.to_owned();
            }
            let ended = self.child.try_wait().unwrap();
            assert!(ended.is_none(), "the client ended: {ended:?}");
            assert!(Instant::now() < end, "no URL file at {}", path.display());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// GETs a path of the listener.
    pub fn get(&mut self, path: &str) -> Fetched {
        let address = self.address();
        fetch(&address, "GET", path, &format!("Host: {address}\r\n")).unwrap()
    }

    /// Asks a path until the answer fits.
    pub fn wait_get(&mut self, path: &str, wanted: impl Fn(&Fetched) -> bool) -> Fetched {
        let end = Instant::now() + BOUND;
        loop {
            let answer = self.get(path);
            if wanted(&answer) {
                return answer;
            }
            assert!(Instant::now() < end, "{path} stays {answer:?}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.child.id()).unwrap();
        kill(Pid::from_raw(pid), signal).unwrap();
    }

    /// Whether it still runs.
    pub fn is_running(&mut self) -> bool {
        self.status.is_none() && self.child.try_wait().unwrap().is_none()
    }

    /// Waits for its end.
    pub fn wait_exit(&mut self) -> ExitStatus {
        let end = Instant::now() + BOUND;
        while self.status.is_none() {
            self.status = self.child.try_wait().unwrap();
            assert!(Instant::now() < end, "the client does not end");
            std::thread::sleep(Duration::from_millis(2));
        }
        for reader in self.readers.drain(..) {
            let _ = reader.join();
        }
        self.status.unwrap()
    }

    /// SIGTERM, then the end.
    pub fn stop(&mut self) -> ExitStatus {
        self.signal(Signal::SIGTERM);
        self.wait_exit()
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        // One that has ended by itself cannot be killed, which is fine.
        let _ = self.child.kill();
        let _ = self.child.wait();
        for reader in self.readers.drain(..) {
            let _ = reader.join();
        }
        let log = self.log();
        if std::thread::panicking() {
            eprintln!("---- output of the client:\n{log}\n----");
            return;
        }
        for secret in [API_KEY, SHARD_PREFIX, "panicked", "AddressSanitizer"] {
            let bad: Vec<&str> = log.lines().filter(|line| line.contains(secret)).collect();
            assert!(bad.is_empty(), "the client wrote `{secret}`:\n{}", bad.join("\n"));
        }
    }
}
