//! The command line: one file a command.
//!
//! This room turns arguments into a command, and a command's end into an exit code: 0 when it did
//! what was asked, 1 with one line on standard error when it did not. It decides nothing else.

mod run;
mod tunnel;
mod usage;

use std::ffi::OsString;
use std::io::{self, Write};
use std::process::ExitCode;

use crate::config::{Environment, Flags, Request, Settings};
use crate::target::stdio::guard;

/// Commands of the reference that do not exist here and will not. They are named so that whoever comes
/// from there is not sent looking for a typing mistake.
const ABSENT: [&str; 5] = ["admin-profiles", "cloudflared", "codex", "plugin", "runtimes"];

const HELP: &str = "\
tunnel-client connects a private MCP server to OpenAI products without any inbound port.
It polls a control plane over HTTPS, forwards each command to your server and posts the answer back.

Usage:
  tunnel-client run [flags]     relay commands until a signal ends it
  tunnel-client run --help      every flag, environment variable and default
  tunnel-client --version       the version

Where things come from:
  Tunnels management: https://platform.openai.com/settings/organization/tunnels
  Runtime API keys: https://platform.openai.com/settings/organization/api-keys
  Admin API keys: https://platform.openai.com/settings/organization/admin-keys
  ChatGPT connector settings: https://chatgpt.com/#settings/Connectors
";

/// Runs the command that the process was started with. Without one, help is what was asked for.
pub fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1);
    let command = arguments.next().map(|command| command.to_string_lossy().into_owned());
    match command.as_deref() {
        None | Some("help" | "--help" | "-h") => print(HELP),
        Some("--version") => print(&format!("{}\n", crate::VERSION)),
        Some("run") => run(arguments),
        // Not for people: see the module.
        Some(guard::COMMAND) => guard::run(arguments),
        Some(absent) if ABSENT.contains(&absent) => fail(&format!(
            "tunnel-client {absent} does not exist in this program; see the README for what does"
        )),
        Some(unknown) => {
            // A terminal would act on control characters.
            let unknown = unknown.escape_debug();
            fail(&format!("unknown command \"{unknown}\" for \"tunnel-client\"; see tunnel-client --help"))
        }
    }
}

/// Settings first, as a whole: a mistake in any of them ends the process before anything is opened.
fn run(arguments: impl Iterator<Item = OsString>) -> ExitCode {
    let flags = match Flags::parse(arguments) {
        Ok(Request::Run(flags)) => flags,
        Ok(Request::Help) => return print(&usage::run_help()),
        Ok(Request::Version) => return print(&format!("{}\n", crate::VERSION)),
        Err(error) => return fail(&error.report()),
    };
    let settings = Environment::of_process().and_then(|environment| Settings::load(&flags, &environment));
    match settings {
        Ok(settings) => run::run(&settings).unwrap_or_else(|failure| fail(&failure.0)),
        Err(error) => fail(&error.report()),
    }
}

/// Everything that is asked for goes to standard output, as one write.
fn print(text: &str) -> ExitCode {
    match io::stdout().write_all(text.as_bytes()) {
        Ok(()) => ExitCode::SUCCESS,
        // A reader that closed its end early has seen what it wanted.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

/// One line on standard error: before the log is set up, and for mistakes of the command line.
fn fail(line: &str) -> ExitCode {
    // With standard error gone the exit code is all that is left to say.
    let _ = writeln!(io::stderr(), "{line}");
    ExitCode::FAILURE
}
