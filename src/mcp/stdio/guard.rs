//! The guard: our own binary between us and a stdio server, so that no process outlives the tunnel.
//!
//! It runs the server in a process group of its own and holds the reading end of a pipe whose other
//! end only the tunnel has. When that closes, be it by a stop or because the tunnel was killed, the
//! server gets TERM, and KILL if it is still there some seconds later. Everything that it started goes
//! with it, in whatever group or session: the guard is the reaper of all of them. It reads no setting, and
//! what is set for the server does not apply to itself: the server's environment comes through the pipe, so
//! that no variable of it is in force here, and stands in no argument. It ends with the server's own status.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Write};
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Child, Command, ExitCode, ExitStatus};
use std::thread;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::prctl::set_child_subreaper;
use nix::sys::signal::{SigSet, Signal, kill, killpg};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::wait::{Id, WaitPidFlag, waitid, waitpid};
use nix::unistd::{self, Pid, getpgid};

/// The hidden command by which the binary becomes a guard.
pub const COMMAND: &str = "stdio-guard";

/// How long a family that was told to end may take before it is killed.
const TERM_WAIT: Duration = Duration::from_secs(3);

/// How long what a dead server left behind may take: nobody waits for its output any more.
const REST_WAIT: Duration = Duration::from_millis(500);

/// How long the killed may take to be gone. Who hangs in the kernel for longer is not waited for.
const KILL_WAIT: Duration = Duration::from_secs(1);

/// How often a family is looked at while it ends.
const LOOK_MILLIS: u8 = 10;

/// Status of a server that could not be started, as shells have it.
const NOT_EXECUTED: u8 = 127;

/// Runs as a guard. The arguments are the number of the lifeline's descriptor, then the server's
/// program and its arguments.
pub fn run(mut arguments: impl Iterator<Item = OsString>) -> ExitCode {
    let lifeline = arguments.next().and_then(|number| number.into_string().ok());
    let Some((lifeline, program)) = lifeline.zip(arguments.next()) else {
        return ExitCode::FAILURE;
    };
    match start(&lifeline, &program, arguments) {
        Ok((lifeline, children, server)) => attend(&lifeline, &children, server),
        Err(error) => {
            // Standard error is the server's log line by line; the tunnel shows it.
            let _ = writeln!(io::stderr(), "cannot execute {}: {error}", Path::new(&program).display());
            ExitCode::from(NOT_EXECUTED)
        }
    }
}

fn start(
    lifeline: &str,
    program: &OsString,
    arguments: impl Iterator<Item = OsString>,
) -> io::Result<(File, SignalFd, Child)> {
    // The tunnel blocks its stop signals in all threads; a server must be able to receive them.
    SigSet::empty().thread_set_mask()?;
    // A descriptor of our own, closed on exec; the inherited one must not reach the server.
    let own = File::open(format!("/proc/self/fd/{lifeline}"))?;
    close_inherited(own.as_raw_fd())?;
    let environment = read_environment(&own)?;
    let mut ends = SigSet::empty();
    ends.add(Signal::SIGCHLD);
    let children = SignalFd::with_flags(&ends, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)?;
    // Whoever leaves the group, as detached processes do, comes back to us as an orphan. Without that
    // there is still the group.
    let _ = set_child_subreaper(true);
    let mut server = Command::new(program);
    server.args(arguments).env_clear().envs(environment).process_group(0);
    let server = server.spawn()?;
    // A terminal's or a service manager's signals go to every process; this one ends with its server,
    // or else nobody would end that.
    SigSet::all().thread_block()?;
    // Copies of the server's pipes here would hide its closing them.
    let null = File::options().read(true).write(true).open("/dev/null")?;
    unistd::dup2_stdin(&null)?;
    unistd::dup2_stdout(&null)?;
    Ok((own, children, server))
}

/// A server's environment as it goes through the lifeline: each name and value with a NUL behind it, and an empty name
/// at the end.
pub(super) fn environment_bytes(environment: &[(OsString, OsString)]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (name, value) in environment {
        bytes.extend([name.as_bytes(), b"\0", value.as_bytes(), b"\0"].concat());
    }
    bytes.push(0);
    bytes
}

/// Reads it back. Nothing follows it but the end of the tunnel.
fn read_environment(lifeline: &File) -> io::Result<Vec<(OsString, OsString)>> {
    let mut source = BufReader::new(lifeline);
    let mut text = || {
        let mut bytes = Vec::new();
        source.read_until(0, &mut bytes)?;
        match bytes.pop() {
            Some(0) => Ok(OsString::from_vec(bytes)),
            _ => Err(io::Error::from(io::ErrorKind::UnexpectedEof)),
        }
    };
    let mut environment = Vec::new();
    loop {
        let name = text()?;
        if name.is_empty() {
            return Ok(environment);
        }
        environment.push((name, text()?));
    }
}

/// Closes what this process was given besides its standard streams and `own`: the lifeline under its old
/// number, those of guards that were started at the same moment, and what the tunnel itself inherited.
fn close_inherited(own: RawFd) -> io::Result<()> {
    let entries = fs::read_dir("/proc/self/fd")?;
    let number = |entry: io::Result<fs::DirEntry>| entry.ok()?.file_name().to_str()?.parse::<RawFd>().ok();
    // Collected first: the listing has a descriptor of its own.
    let numbers: Vec<RawFd> = entries.filter_map(number).collect();
    for number in numbers.into_iter().filter(|number| *number > 2 && *number != own) {
        // The listing's is closed already.
        let _ = unistd::close(number);
    }
    Ok(())
}

/// Waits until the server and everything that it started are gone, and ends them when the lifeline closes
/// or the server has ended by itself.
fn attend(lifeline: &File, children: &SignalFd, server: Child) -> ExitCode {
    let Some(mut family) = Family::of(server) else { return ExitCode::FAILURE };
    let mut open = true;
    let mut deadline: Option<Instant> = None;
    loop {
        let ended_before = family.status.is_some();
        let left = family.reap();
        if family.status.is_some() && !ended_before {
            let rest = Instant::now() + REST_WAIT;
            deadline = Some(deadline.map_or(rest, |deadline| deadline.min(rest)));
        }
        if !left {
            break;
        }
        if let Some(deadline) = deadline {
            if Instant::now() >= deadline + KILL_WAIT {
                break;
            }
            if Instant::now() < deadline { family.ask() } else { family.kill() }
        }
        if wait(lifeline, open, children, deadline.is_some()) {
            open = false;
            deadline.get_or_insert_with(|| Instant::now() + TERM_WAIT);
        }
    }
    family.status.map_or(ExitCode::FAILURE, code)
}

/// Waits for the end of a child, for [`LOOK_MILLIS`] if there is haste, and for the lifeline while it is open.
/// Returns whether that has closed.
fn wait(lifeline: &File, open: bool, children: &SignalFd, haste: bool) -> bool {
    let mut watched = vec![PollFd::new(children.as_fd(), PollFlags::POLLIN)];
    if open {
        watched.push(PollFd::new(lifeline.as_fd(), PollFlags::POLLIN));
    }
    let timeout = if haste { PollTimeout::from(LOOK_MILLIS) } else { PollTimeout::NONE };
    if poll(&mut watched, timeout).is_err() {
        // It must not spin, whatever is wrong.
        thread::sleep(Duration::from_millis(LOOK_MILLIS.into()));
        return false;
    }
    // Who has ended is found by looking: signals of one kind are not counted.
    let _ = children.read_signal();
    // Nothing is ever written to it; whatever is reported, the other end is gone.
    watched.get(1).is_some_and(|lifeline| lifeline.any() == Some(true))
}

/// The server and everything that it started. As this process is their reaper, whatever loses its parent
/// becomes a child of it, be it in another group or session.
struct Family {
    server: Child,
    /// The server's process, and the group that it began in.
    group: Pid,
    /// Nobody was found in the group. Its number may come to be another's, so it is used no more.
    empty: bool,
    /// Whether it was asked to end, and who else was; nobody is asked twice.
    group_asked: bool,
    asked: Vec<Pid>,
    /// How the server ended.
    status: Option<ExitStatus>,
}

impl Family {
    fn of(server: Child) -> Option<Family> {
        let group = Pid::from_raw(i32::try_from(server.id()).ok()?);
        Some(Family { server, group, empty: false, group_asked: false, asked: Vec::new(), status: None })
    }

    /// Takes the status of all that have ended, and tells whether anybody is left.
    fn reap(&mut self) -> bool {
        let look = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
        loop {
            match waitid(Id::All, look).map(|status| status.pid()) {
                // The server's status is for its own handle.
                Ok(Some(pid)) if pid == self.group => self.status = self.server.wait().ok(),
                Ok(Some(pid)) => {
                    let _ = waitpid(pid, Some(WaitPidFlag::WNOHANG));
                }
                Ok(None) => return true,
                // No child. Without a reaper the group may have members all the same.
                Err(Errno::ECHILD) => return self.signal_group(None),
                // The crate knows no real-time signals; one of them has killed somebody.
                Err(_) => return self.reap_listed(),
            }
        }
    }

    /// The same, one by one. Whoever is left is found the next time.
    fn reap_listed(&mut self) -> bool {
        self.status = self.status.or_else(|| self.server.try_wait().ok().flatten());
        for pid in children().unwrap_or_default().into_iter().filter(|pid| *pid != self.group) {
            let _ = waitpid(pid, Some(WaitPidFlag::WNOHANG));
        }
        true
    }

    /// Asks those to end who were not asked yet.
    fn ask(&mut self) {
        if !std::mem::replace(&mut self.group_asked, true) {
            self.signal_group(Some(Signal::SIGTERM));
        }
        for pid in children().unwrap_or_default() {
            // The group was asked as a whole; a second TERM can mean haste.
            let inside = getpgid(Some(pid)) == Ok(self.group);
            if !inside && !self.asked.contains(&pid) {
                self.asked.push(pid);
                let _ = kill(pid, Signal::SIGTERM);
            }
        }
    }

    /// Kills everybody in reach. What that orphans is in reach the next time.
    fn kill(&mut self) {
        self.signal_group(Some(Signal::SIGKILL));
        if self.status.is_none() {
            let _ = kill(self.group, Signal::SIGKILL);
        }
        for pid in children().unwrap_or_default() {
            let _ = kill(pid, Signal::SIGKILL);
        }
    }

    /// Whether the group has members that got this signal.
    fn signal_group(&mut self, signal: Option<Signal>) -> bool {
        self.empty = self.empty || killpg(self.group, signal).is_err();
        !self.empty
    }
}

/// The children of this process; `None` where the kernel does not list them.
pub(super) fn children() -> Option<Vec<Pid>> {
    let tasks = fs::read_dir("/proc/self/task").ok()?.flatten();
    let lists = tasks.filter_map(|task| fs::read_to_string(task.path().join("children")).ok());
    let pids =
        |list: String| -> Vec<i32> { list.split_whitespace().filter_map(|pid| pid.parse().ok()).collect() };
    // A thread that ended meanwhile has no list; its children are another one's by then.
    let lists: Vec<Vec<i32>> = lists.map(pids).collect();
    (!lists.is_empty()).then(|| lists.into_iter().flatten().map(Pid::from_raw).collect())
}

/// The status in the form of a shell: the code, or 128 and the signal.
fn code(status: ExitStatus) -> ExitCode {
    let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal));
    code.and_then(|code| u8::try_from(code).ok()).map_or(ExitCode::FAILURE, ExitCode::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_environment_survives_the_way() {
        let (reading, writing) = unistd::pipe().unwrap();
        let (lifeline, mut writing) = (File::from(reading), File::from(writing));
        let long = "x".repeat(10_000);
        for entries in [vec![], vec![("A", "1=2"), ("EMPTY", ""), ("LONG", long.as_str()), ("B", "\n")]] {
            let entries: Vec<(OsString, OsString)> =
                entries.into_iter().map(|(name, value)| (name.into(), value.into())).collect();
            writing.write_all(&environment_bytes(&entries)).unwrap();
            assert_eq!(read_environment(&lifeline).unwrap(), entries);
        }
        drop(writing);
        assert!(read_environment(&lifeline).is_err());
    }
}
