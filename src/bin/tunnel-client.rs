//! `tunnel-client`: all commands for people. Everything but this line lives in the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    tunnel_client::operator()
}
