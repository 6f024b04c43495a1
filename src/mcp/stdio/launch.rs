//! Start of a stdio server behind its guard, with the environment that it may see.
//!
//! Before a start, [`Launch::check`] looks at what the system would execute: the program and, for a script, the
//! interpreter of its first line. What a wrapper (`env`, `sh -c`, an interpreter) starts in turn is not guessed: the
//! wrapper's own complaint on standard error names it.

use std::borrow::Cow;
use std::ffi::{OsStr, OsString};
use std::fs::{File, Metadata};
use std::io::{self, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command, Stdio};

use nix::fcntl::{FcntlArg, FdFlag, OFlag, fcntl};
use nix::unistd::{AccessFlags, access};

use super::guard;
use crate::config::{is_variable_name, trust};

/// What a server may see of our environment. Names ending in `*` stand for all that begin so. Our own
/// settings are not among them, so no key of ours reaches a server.
const PASSED: [&str; 8] = ["PATH", "HOME", "USER", "LANG", "LC_*", "TZ", "TMPDIR", "XDG_*"];

/// Where the system looks for programs when a server gets no `PATH`.
const DEFAULT_PATH: &str = "/usr/bin:/bin";

/// What the kernel itself reads of a script's first line.
const SHEBANG_MAX_BYTES: u64 = 256;

/// How a server is started.
#[derive(Clone, Default)]
pub struct Launch {
    /// Program and arguments; never a shell line.
    pub argv: Vec<String>,
    /// Its whole environment.
    pub environment: Vec<(OsString, OsString)>,
    /// Names of variables of this process that are not among it.
    pub withheld: Vec<String>,
    /// Where it runs; our own directory otherwise.
    pub working_dir: Option<PathBuf>,
}

/// A running server: the guard's handle and the server's pipes.
pub struct Process {
    /// The guard. It ends when the server has ended.
    pub guard: Child,
    /// Closing it ends the server and everything that it started.
    pub lifeline: File,
    /// The server's standard input.
    pub stdin: ChildStdin,
    /// The server's standard output.
    pub stdout: ChildStdout,
    /// The server's standard error.
    pub stderr: ChildStderr,
}

impl Launch {
    /// The file that the system would execute, or why it could not be executed where it is to run.
    pub fn check(&self) -> Result<PathBuf, String> {
        if let Some(folder) = &self.working_dir {
            let usable = usable(folder, Metadata::is_dir, ["is not a directory", "cannot be entered"]);
            usable.map_err(|why| format!("working_dir {}: {why}", folder.display()))?;
        }
        let program = self.argv.first().ok_or("the command is empty")?;
        let found = self.find(program).and_then(|file| match interpreter(&file) {
            Some(interpreter) => match executable(&self.place(&interpreter)) {
                Ok(()) => Ok(file),
                Err(why) => Err(format!("the interpreter {interpreter:?} of its first line: {why}")),
            },
            None => Ok(file),
        });
        found.map_err(|why| format!("{}: {why}", shown(program)))
    }

    /// The program's file as the system would find it: a name without a slash is looked for in `PATH`.
    fn find(&self, program: &str) -> Result<PathBuf, String> {
        if program.contains('/') {
            let file = self.place(program);
            return executable(&file).map(|()| file);
        }
        let path =
            self.environment.iter().find(|(name, _)| name == "PATH").map(|(_, value)| value.as_os_str());
        let folders = std::env::split_paths(path.unwrap_or(OsStr::new(DEFAULT_PATH)));
        let mut files = folders.map(|folder| self.place(folder.join(program)));
        files.find(|file| executable(file).is_ok()).ok_or_else(|| match assignment(program) {
            Some(_) => "is a variable, which only a shell would set: write it into the entry's env".into(),
            None => "not found in PATH: install it, or write its whole path; no shell is run, so \
                     commands of a shell need sh -c '...'"
                .into(),
        })
    }

    /// A path as the server sees it.
    fn place(&self, file: impl AsRef<Path>) -> PathBuf {
        self.working_dir.as_deref().unwrap_or(Path::new("")).join(file)
    }

    /// Starts the guard, which waits to be told the server's environment.
    pub(super) fn spawn(&self) -> io::Result<Process> {
        // The reading end crosses the exec into the guard by its number, the writing end never does.
        let (reading, lifeline) = nix::unistd::pipe2(OFlag::O_CLOEXEC)?;
        fcntl(&reading, FcntlArg::F_SETFD(FdFlag::empty()))?;
        let mut command = Command::new("/proc/self/exe");
        command
            .arg0("tunnel-client")
            .arg(guard::COMMAND)
            .arg(reading.as_raw_fd().to_string())
            .args(&self.argv)
            // The guard is our own program: what is set for the server (LD_PRELOAD, say) must not change it.
            .env_clear()
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            // A terminal's signals are for the tunnel, which ends its guards by their lifelines.
            .process_group(0);
        if let Some(folder) = &self.working_dir {
            command.current_dir(folder);
        }
        let mut guard = command.spawn()?;
        let pipes = (guard.stdin.take(), guard.stdout.take(), guard.stderr.take());
        let (Some(stdin), Some(stdout), Some(stderr)) = pipes else {
            return Err(io::Error::other("a pipe of the server is missing"));
        };
        Ok(Process { guard, lifeline: File::from(lifeline), stdin, stdout, stderr })
    }

    /// Hands the server's environment to its guard, which then starts it.
    pub(super) fn tell(&self, mut lifeline: &File) -> io::Result<()> {
        lifeline.write_all(&guard::environment_bytes(&self.environment))
    }
}

/// A program as texts may show it. A command that was written for a shell has a variable there, whose value may be a
/// secret.
pub fn shown(program: &str) -> Cow<'_, str> {
    match assignment(program) {
        Some(name) => format!("{name}=...").into(),
        None => program.into(),
    }
}

/// The name in `NAME=value`.
fn assignment(word: &str) -> Option<&str> {
    word.split_once('=').map(|(name, _)| name).filter(|name| is_variable_name(name))
}

/// The environment of a server: what every server may see, what `pass` names, and what was set for it.
pub fn environment(
    ours: impl Iterator<Item = (OsString, OsString)>,
    pass: &[String],
    set: &[(String, String)],
) -> Vec<(OsString, OsString)> {
    let mut environment: Vec<(OsString, OsString)> = ours
        .filter(|(name, _)| name.to_str().is_some_and(|name| is_passed(name, pass)))
        .filter(|(name, _)| !set.iter().any(|(own, _)| name == own.as_str()))
        .collect();
    environment.extend(set.iter().map(|(name, value)| (name.into(), value.into())));
    environment
}

/// Whether a server gets this variable of ours: every server does, or `pass` names it.
pub fn is_passed(name: &str, pass: &[String]) -> bool {
    let public = PASSED.iter().any(|known| match known.strip_suffix('*') {
        Some(start) => name.starts_with(start),
        None => name == *known,
    });
    public || pass.iter().any(|passed| passed == name)
}

fn executable(path: &Path) -> Result<(), String> {
    let mode = format!("is not executable: chmod +x {}", path.display());
    usable(path, Metadata::is_file, ["is not a regular file", &mode])
}

/// Checks that we can execute the file or enter the directory. The system is asked: of mode bits only some
/// apply to us, and a file system may have been mounted without execution.
fn usable(path: &Path, of_kind: fn(&Metadata) -> bool, [kind, mode]: [&str; 2]) -> Result<(), String> {
    match std::fs::metadata(path) {
        Err(error) => Err(error.to_string()),
        Ok(metadata) if !of_kind(&metadata) => Err(kind.into()),
        Ok(_) => access(path, AccessFlags::X_OK).map_err(|_| mode.into()),
    }
}

/// The interpreter that a script's first line names. What cannot be read can still be a program, so it has none.
fn interpreter(file: &Path) -> Option<String> {
    // Without waiting: a pipe may have taken the file's place.
    let file = trust::open(file, OFlag::empty()).ok()?;
    let mut bytes = Vec::new();
    file.take(SHEBANG_MAX_BYTES).read_to_end(&mut bytes).ok()?;
    let line = bytes.strip_prefix(b"#!")?.split(|byte| *byte == b'\n').next()?;
    // A line ending of another system stays: it is why such a script does not start.
    let line = String::from_utf8_lossy(line);
    line.split([' ', '\t']).find(|word| !word.is_empty()).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(pass: &[&str], set: &[(&str, &str)]) -> Vec<String> {
        let ours = ["PATH", "LC_ALL", "CONTROL_PLANE_API_KEY", "OPENAI_API_KEY", "MY_TOKEN", "XDG_DATA_HOME"];
        let ours = ours.into_iter().map(|name| (name.into(), "x".into()));
        let pass: Vec<String> = pass.iter().map(|name| (*name).to_owned()).collect();
        let set: Vec<_> = set.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let environment = environment(ours, &pass, &set);
        environment
            .into_iter()
            .map(|(name, value)| format!("{}={}", name.to_string_lossy(), value.to_string_lossy()))
            .collect()
    }

    #[test]
    fn only_named_variables_reach_a_server() {
        assert_eq!(names(&[], &[]), ["PATH=x", "LC_ALL=x", "XDG_DATA_HOME=x"]);
        let set = names(&["MY_TOKEN"], &[("PATH", "/opt"), ("NEW", "1")]);
        assert_eq!(set, ["LC_ALL=x", "MY_TOKEN=x", "XDG_DATA_HOME=x", "PATH=/opt", "NEW=1"]);
    }

    #[test]
    fn programs_are_looked_up_before_the_start() {
        let launch = |program: &str| Launch {
            argv: vec![program.into()],
            environment: vec![("PATH".into(), "/usr/bin:/bin".into())],
            ..Launch::default()
        };
        assert!(launch("sh").check().unwrap().ends_with("bin/sh"));
        assert_eq!(launch("/bin/sh").check(), Ok("/bin/sh".into()));
        assert!(launch("no-such-program-here").check().unwrap_err().contains("not found in PATH"));
        assert!(launch("/etc/passwd").check().unwrap_err().contains("is not executable"));
        assert!(launch("TOKEN=hidden").check().unwrap_err().starts_with("TOKEN=...: "));
        assert!(launch("/usr").check().unwrap_err().contains("is not a regular file"));
        assert_eq!(Launch::default().check().unwrap_err(), "the command is empty");
    }

    #[test]
    fn working_directories_are_looked_at_before_the_start() {
        let launch = |folder: &str| Launch {
            argv: vec!["/bin/sh".into()],
            working_dir: Some(folder.into()),
            ..Launch::default()
        };
        assert!(launch("/usr").check().is_ok());
        assert_eq!(launch("/etc/passwd").check().unwrap_err(), "working_dir /etc/passwd: is not a directory");
        assert!(
            launch("/proc/nonexistent").check().unwrap_err().starts_with("working_dir /proc/nonexistent: ")
        );
    }

    /// What is said of the script `s`, which has this text and mode, where it runs.
    fn said_of(text: &str, mode: u32) -> Result<PathBuf, String> {
        use std::os::unix::fs::PermissionsExt;
        // Each test has a thread of its own.
        let test = std::thread::current().name().unwrap().replace(':', "-");
        let folder = std::env::temp_dir().join(format!("tunnel-client-{}-{test}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        for (file, text, mode) in [("s", text, mode), ("other", "", 0o700)] {
            std::fs::write(folder.join(file), text).unwrap();
            std::fs::set_permissions(folder.join(file), std::fs::Permissions::from_mode(mode)).unwrap();
        }
        let (argv, working_dir) = (vec!["./s".into()], Some(folder.clone()));
        let said = Launch { argv, working_dir, ..Launch::default() }.check();
        std::fs::remove_dir_all(&folder).unwrap();
        said
    }

    #[test]
    fn the_system_says_what_we_can_execute() {
        use std::os::unix::fs::MetadataExt;
        let is_root = std::fs::metadata("/proc/self").unwrap().uid() == 0;
        assert!(said_of("#!/bin/sh\n", 0o700).unwrap().ends_with("s"));
        assert!(said_of("#!/bin/sh\n", 0o600).unwrap_err().starts_with("./s: is not executable: chmod +x /"));
        // A bit that is not ours; for root any of them is.
        assert_eq!(said_of("#!/bin/sh\n", 0o601).is_ok(), is_root);
    }

    #[test]
    fn the_interpreter_of_a_script_is_looked_at() {
        for good in
            ["ELF", "", "#!/bin/sh", "#! /bin/sh -e\n", "#!/usr/bin/env nothing-here\n", "#!./other\n"]
        {
            assert!(said_of(good, 0o700).is_ok(), "{good}");
        }
        for (bad, named) in [
            ("#!/no/such/thing -x\n", "the interpreter \"/no/such/thing\" of its first line: No such file"),
            ("#!/bin/sh\r\n", "the interpreter \"/bin/sh\\r\" of its first line: No such file"),
            ("#!python3\n", "the interpreter \"python3\" of its first line: No such file"),
        ] {
            let why = said_of(bad, 0o700).unwrap_err();
            assert!(why.contains(named), "{why}");
        }
    }
}
