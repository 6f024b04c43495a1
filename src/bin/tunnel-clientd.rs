//! `tunnel-clientd`: the service, and the guards of its children. Everything but this line lives in the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    tunnel_client::daemon()
}
