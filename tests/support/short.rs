//! Commands that end by themselves, with the two streams of what they say kept apart.

use std::path::PathBuf;
use std::process::Stdio;
use std::time::{Duration, Instant};

use super::BOUND;
use super::temp::TempDir;

/// What a command said, and how it ended.
#[derive(Debug)]
pub struct Said {
    /// The exit code; `None` after a signal.
    pub code: Option<i32>,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

/// A home directory in which commands run, with nothing else in their environment but a `PATH`.
pub struct Home {
    directory: TempDir,
    environment: Vec<(String, String)>,
}

impl Home {
    /// An empty one.
    pub fn new() -> Home {
        let directory = TempDir::new();
        let home = directory.path().to_str().unwrap().to_owned();
        let variables = [("HOME", home.as_str()), ("PATH", "/usr/bin:/bin")];
        let environment = variables.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
        Home { directory, environment }
    }

    /// Sets a variable.
    pub fn env(mut self, name: &str, value: &str) -> Home {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// A path in it.
    pub fn join(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    /// A path in it as text.
    pub fn path(&self, name: &str) -> String {
        self.join(name).to_str().unwrap().to_owned()
    }

    /// Writes a file in it and returns the path.
    pub fn write(&self, name: &str, content: &str) -> String {
        self.directory.write(name, content)
    }

    /// Runs the client to its end.
    pub fn run(&self, arguments: &[&str]) -> Said {
        let mut child = super::client::command(super::client::PROGRAM)
            .args(arguments)
            .env_clear()
            .envs(self.environment.iter().cloned())
            .current_dir(self.directory.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // What these commands say fits into a pipe.
        let end = Instant::now() + BOUND;
        while child.try_wait().unwrap().is_none() {
            if Instant::now() >= end {
                child.kill().unwrap();
                panic!("{arguments:?} does not end");
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        let output = child.wait_with_output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        Said { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
    }

    /// Runs it and returns standard output; it must succeed and complain about nothing.
    pub fn output(&self, arguments: &[&str]) -> String {
        let said = self.run(arguments);
        assert_eq!((said.code, said.stderr.as_str()), (Some(0), ""), "{arguments:?}: {}", said.stdout);
        said.stdout
    }

    /// Runs it into status 1 and returns what standard error says, without its line ending.
    pub fn refusal(&self, arguments: &[&str]) -> String {
        let said = self.run(arguments);
        assert_eq!((said.code, said.stdout.as_str()), (Some(1), ""), "{arguments:?}: {}", said.stderr);
        said.stderr.trim_end_matches('\n').to_owned()
    }
}
