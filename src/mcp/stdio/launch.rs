//! Starts a stdio server behind its guard, with the environment that it may see.

use std::borrow::Cow;
use std::ffi::{OsStr, OsString};
use std::fs::{File, Metadata};
use std::io::{self, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command, Stdio};

use nix::fcntl::{FcntlArg, FdFlag, OFlag, fcntl};
use nix::unistd::{AccessFlags, access};

use super::guard;
use crate::config::is_variable_name;

/// Words that a shell knows itself and that no file need exist for.
const SHELL_WORDS: &str = ". : [ [[ alias bg bind break builtin caller case cd command compgen complete \
    continue coproc declare dirs disown echo enable eval exec exit export false fc fg for function getopts hash \
    history if jobs kill let local logout mapfile popd print printf pushd pwd read readarray readonly return \
    select set shift shopt source suspend test time times trap true type typeset ulimit umask unalias unset \
    until wait while";

/// What a server may see of our environment. Names ending in `*` stand for all that begin so. Our own
/// settings are not among them, so no key of ours reaches a server.
const PASSED: [&str; 8] = ["PATH", "HOME", "USER", "LANG", "LC_*", "TZ", "TMPDIR", "XDG_*"];

/// How a server is started.
#[derive(Debug, Clone)]
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
    pub lifeline: OwnedFd,
    /// The server's standard input.
    pub stdin: ChildStdin,
    /// The server's standard output.
    pub stdout: ChildStdout,
    /// The server's standard error.
    pub stderr: ChildStderr,
}

impl Launch {
    /// Whether the program can be found and executed where it is to run, looked up as the system would.
    pub fn check(&self) -> Result<(), String> {
        let Some(program) = self.argv.first() else {
            return Err("the command is empty".into());
        };
        if let Some(folder) = &self.working_dir {
            enterable(folder)?;
        }
        let path =
            self.environment.iter().find(|(name, _)| name == "PATH").map(|(_, value)| value.as_os_str());
        let found = find(program, path, self.working_dir.as_deref());
        found.map(drop).map_err(|why| format!("{}: {why}", shown(program)))
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
        let missing = || io::Error::other("a pipe of the server is missing");
        let stdin = guard.stdin.take().ok_or_else(missing)?;
        let stdout = guard.stdout.take().ok_or_else(missing)?;
        let stderr = guard.stderr.take().ok_or_else(missing)?;
        Ok(Process { guard, lifeline, stdin, stdout, stderr })
    }

    /// Hands the server's environment to its guard, which then starts it.
    pub(super) fn tell(&self, process: &Process) -> io::Result<()> {
        let mut lifeline = File::from(process.lifeline.try_clone()?);
        lifeline.write_all(&guard::environment_bytes(&self.environment))
    }
}

/// A program as texts may show it. Whoever took the command for a shell's has put a variable there, and its
/// value may be a secret.
pub fn shown(program: &str) -> Cow<'_, str> {
    match assignment(program) {
        Some((name, _)) => format!("{name}=...").into(),
        None => program.into(),
    }
}

/// Name and value of `NAME=value`.
pub(super) fn assignment(word: &str) -> Option<(&str, &str)> {
    word.split_once('=').filter(|(name, _)| is_variable_name(name))
}

/// The environment of a server: what everybody may see, what `pass` names, and what was set for it.
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

/// Whether a server gets this variable of ours: everybody does, or `pass` names it.
pub fn is_passed(name: &str, pass: &[String]) -> bool {
    let public = PASSED.iter().any(|known| match known.strip_suffix('*') {
        Some(start) => name.starts_with(start),
        None => name == *known,
    });
    public || pass.iter().any(|passed| passed == name)
}

/// The program's file as the system would find it: a name without a slash is looked for in `path`.
pub(super) fn find(program: &str, path: Option<&OsStr>, folder: Option<&Path>) -> Result<PathBuf, String> {
    if program.contains('/') {
        let file = folder.unwrap_or(Path::new("")).join(program);
        return executable(&file).map(|()| file);
    }
    let folders = std::env::split_paths(path.unwrap_or(OsStr::new("/usr/bin:/bin")));
    let mut files = folders.map(|folder| folder.join(program));
    let missing = || match is_shell_word(program) {
        true => "a word of shells, and no shell is run: write sh -c '...', or set working_dir",
        false => "not found in PATH",
    };
    files.find(|file| executable(file).is_ok()).ok_or_else(|| missing().into())
}

/// Whether a shell does itself what the word says.
pub(super) fn is_shell_word(word: &str) -> bool {
    SHELL_WORDS.split(' ').any(|known| known == word)
}

/// Whether a server could run in this directory.
pub(super) fn enterable(folder: &Path) -> Result<(), String> {
    let usable = usable(folder, Metadata::is_dir, ["is not a directory", "cannot be entered"]);
    usable.map_err(|why| format!("working_dir {}: {why}", folder.display()))
}

/// Whether we can execute the file.
pub(super) fn executable(path: &Path) -> Result<(), String> {
    usable(path, Metadata::is_file, ["is not a regular file", "is not executable"])
}

/// Whether we can execute the file or enter the directory. The system is asked: of mode bits only some
/// apply to us, and a file system may have been mounted without execution.
fn usable(path: &Path, of_kind: fn(&Metadata) -> bool, [kind, mode]: [&str; 2]) -> Result<(), String> {
    match std::fs::metadata(path) {
        Err(error) => Err(error.to_string()),
        Ok(metadata) if !of_kind(&metadata) => Err(kind.into()),
        Ok(_) => access(path, AccessFlags::X_OK).map_err(|_| mode.into()),
    }
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
            withheld: Vec::new(),
            working_dir: None,
        };
        assert_eq!(launch("sh").check(), Ok(()));
        assert!(launch("no-such-program-here").check().unwrap_err().contains("not found in PATH"));
        assert!(launch("/etc/passwd").check().unwrap_err().contains("is not executable"));
        assert!(launch("TOKEN=hidden").check().unwrap_err().starts_with("TOKEN=...: "));
        assert!(launch("/usr").check().unwrap_err().contains("is not a regular file"));
    }
    #[test]
    fn working_directories_are_looked_at_before_the_start() {
        let launch = |folder: &str| Launch {
            argv: vec!["/bin/sh".into()],
            environment: Vec::new(),
            withheld: Vec::new(),
            working_dir: Some(folder.into()),
        };
        assert_eq!(launch("/usr").check(), Ok(()));
        assert_eq!(launch("/etc/passwd").check().unwrap_err(), "working_dir /etc/passwd: is not a directory");
        assert!(
            launch("/proc/nonexistent").check().unwrap_err().starts_with("working_dir /proc/nonexistent: ")
        );
    }

    #[test]
    fn the_system_says_what_we_can_execute() {
        use std::os::unix::fs::{MetadataExt, PermissionsExt};
        let is_root = std::fs::metadata("/proc/self").unwrap().uid() == 0;
        let path = std::env::temp_dir().join(format!("tunnel-client-launch-{}", std::process::id()));
        std::fs::write(&path, "#!/bin/sh\n").unwrap();
        for (mode, outcome) in [(0o700, Ok(())), (0o600, Err("is not executable".to_owned()))] {
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
            assert_eq!(executable(&path), outcome);
        }
        // A bit that is not ours; for root any of them is.
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o601)).unwrap();
        assert_eq!(executable(&path).is_ok(), is_root);
        std::fs::remove_file(&path).unwrap();
    }
}
