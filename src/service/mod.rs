//! The service: what `tunnel-clientd` does, and `tunnel-client run` in the same way.
//!
//! The room reads the settings, puts the other rooms together into one running tunnel, waits for a signal, and
//! takes the tunnel apart without losing answers. It is the whole of `tunnel-clientd`; commands for people use
//! parts of it. A failure is one line on standard error and an exit code.

pub(crate) mod daemon;
pub(crate) mod help;
pub(crate) mod run;

mod reload;
pub(crate) mod start;
mod summary;
mod watched;
#[cfg(feature = "page")]
mod ways;

// One tunnel.
pub(crate) mod drain;
mod health;
mod parts;
mod renewal;
mod routes;
pub(crate) mod tunnel;

mod error;

// The server inside this program.
mod built_in;
#[cfg(feature = "harpoon")]
mod endpoints;

// The operator's page.
#[cfg(feature = "page")]
pub(crate) mod page;

use std::ffi::OsString;
use std::io::{self, Write};
use std::process::ExitCode;

use crate::config;
use crate::mcp::stdio::guard;
use crate::ops::hardening;

#[cfg(feature = "operator")]
pub(crate) use parts::{Shared, launch, lone_discovery};

/// A command that did not do what was asked: the whole line for standard error.
pub(crate) struct Failure(pub(crate) String);

impl From<config::Error> for Failure {
    fn from(error: config::Error) -> Failure {
        Failure(error.report())
    }
}

/// Runs a program: `body` gets its arguments, unless the process was started as a guard.
pub(crate) fn program(body: impl FnOnce(Vec<OsString>) -> Result<ExitCode, Failure>) -> ExitCode {
    // First of all, whatever the command: no core dump and no debugger may see a secret that is read later,
    // nor what a guard's environment holds for its server.
    if let Err(error) = hardening::apply() {
        complain(&format!("start tunnel-client: {error}"));
        return ExitCode::FAILURE;
    }
    let arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
    // Not for people: see the module.
    if let Some((first, rest)) = arguments.split_first() {
        if first.to_str() == Some(guard::COMMAND) {
            return guard::run(rest.iter().cloned());
        }
    }
    body(arguments).unwrap_or_else(|Failure(line)| {
        complain(&line);
        ExitCode::FAILURE
    })
}

/// Writes what was asked for to standard output, in one piece.
pub(crate) fn print(text: &str) -> ExitCode {
    match io::stdout().write_all(text.as_bytes()) {
        Ok(()) => ExitCode::SUCCESS,
        // A reader that closed its end early has seen what it wanted.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

/// Writes one line to standard error: before the log is set up, and for mistakes of the command line.
pub(crate) fn complain(line: &str) {
    // With standard error gone the exit code is all that is left to say.
    let _ = writeln!(io::stderr(), "{line}");
}

/// Prints the version, first and alone: scripts take it so from the reference's `VERSION (git sha: X)` too.
pub(crate) fn version() -> ExitCode {
    print(&format!("{}\n", crate::build()))
}
