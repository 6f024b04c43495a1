//! `tunnel-clientd`: the flags, environment and files of `run`, and nothing else.

use std::process::ExitCode;

use crate::config::settings::ROWS;
use crate::config::{Flags, Request};

use super::{Failure, help, print, program, run, version};

/// Runs the service until a signal ends it.
pub fn main() -> ExitCode {
    program(|mut arguments| {
        // A unit that was written for `tunnel-client run` needs only another path.
        if arguments.first().is_some_and(|word| word == "run") {
            arguments.remove(0);
        }
        if arguments.first().is_some_and(|word| !word.as_encoded_bytes().starts_with(b"-")) {
            // The word is not repeated: it may be the value of a flag, and a secret.
            return run::refuse(Failure(
                "tunnel-clientd takes flags alone, each value as --flag=value; commands are those of tunnel-client"
                    .into(),
            ));
        }
        match Flags::of_command(arguments, &[ROWS], 0) {
            Ok(Request::Run(flags)) => run::command(&flags),
            Ok(Request::Help) => Ok(print(&help::of_program("tunnel-clientd"))),
            Ok(Request::Version) => Ok(version()),
            Err(error) => run::refuse(error.into()),
        }
    })
}
