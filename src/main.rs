//! Turns the command line into an exit code; everything else lives in the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    tunnel_client::cli::main()
}
