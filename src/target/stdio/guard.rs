//! The guard: our own binary between us and a stdio server, so that no process outlives the tunnel.
//!
//! It runs the server in a process group of its own and holds the reading end of a pipe whose other
//! end only the tunnel has. When that closes, be it by a stop or because the tunnel was killed, the
//! group gets TERM, and KILL if it is still there some seconds later; grandchildren go with it. The
//! guard knows no secret and reads no setting. It ends with the server's own status.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Child, Command, ExitCode, ExitStatus};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{SigSet, Signal, killpg};
use nix::unistd::{self, Pid};

/// The hidden command by which the binary becomes a guard.
pub const COMMAND: &str = "stdio-guard";

/// How long a group that was told to end may take before it is killed.
const TERM_WAIT: Duration = Duration::from_secs(3);

/// How long what a dead server left behind may take: nobody waits for its output any more.
const REST_WAIT: Duration = Duration::from_millis(500);

/// How often a group is looked at while it ends.
const LOOK: Duration = Duration::from_millis(10);

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
        Ok((lifeline, server)) => attend(lifeline, server),
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
) -> io::Result<(File, Child)> {
    // The tunnel blocks its stop signals in all threads; a server must be able to receive them.
    SigSet::empty().thread_set_mask()?;
    // A descriptor of our own, closed on exec; the inherited one must not reach the server.
    let own = File::open(format!("/proc/self/fd/{lifeline}"))?;
    close_inherited(own.as_raw_fd())?;
    let server = Command::new(program).args(arguments).process_group(0).spawn()?;
    // A terminal's or a service manager's signals go to every process; this one ends with its server,
    // or else nobody would end that.
    SigSet::all().thread_block()?;
    // Copies of the server's pipes here would hide its closing them.
    let null = File::options().read(true).write(true).open("/dev/null")?;
    unistd::dup2_stdin(&null)?;
    unistd::dup2_stdout(&null)?;
    Ok((own, server))
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

/// Waits for the server's end, or ends it when the lifeline closes.
fn attend(mut lifeline: File, mut server: Child) -> ExitCode {
    let group = i32::try_from(server.id()).map(Pid::from_raw);
    let Ok(group) = group else { return ExitCode::FAILURE };
    let watch = thread::Builder::new().name("lifeline".into()).spawn(move || {
        // Nothing is ever written to it; whatever this returns, the other end is gone.
        let _ = lifeline.read(&mut [0]);
        end(group, TERM_WAIT);
    });
    if watch.is_err() {
        end(group, TERM_WAIT);
    }
    let status = server.wait();
    end(group, REST_WAIT);
    status.map_or(ExitCode::FAILURE, code)
}

/// Asks a group to end and kills what is left of it after `wait`.
fn end(group: Pid, wait: Duration) {
    let deadline = Instant::now() + wait;
    // An error means that nobody is left.
    let mut left = killpg(group, Signal::SIGTERM).is_ok();
    while left && Instant::now() < deadline {
        thread::sleep(LOOK);
        left = killpg(group, None).is_ok();
    }
    if left {
        let _ = killpg(group, Signal::SIGKILL);
    }
}

/// The status in the form of a shell: the code, or 128 and the signal.
fn code(status: ExitStatus) -> ExitCode {
    let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal));
    code.and_then(|code| u8::try_from(code).ok()).map_or(ExitCode::FAILURE, ExitCode::from)
}
