//! The programs of the build, and the one place where tests start them.

/// The service alone.
pub const DAEMON: &str = env!("CARGO_BIN_EXE_tunnel-clientd");

/// What tests start: the tool for people, or the service where there is no tool.
#[cfg(feature = "operator")]
pub const PROGRAM: &str = env!("CARGO_BIN_EXE_tunnel-client");
#[cfg(not(feature = "operator"))]
pub const PROGRAM: &str = DAEMON;

/// A program of the build, where all tests start one: behind the one that `TUNNEL_CLIENT_UNDER` names, which becomes it
/// under the limits of a small host (`tests/packaging/small.sh`) or of a hard one (`tests/harsh.sh`).
pub fn command(program: &str) -> std::process::Command {
    match std::env::var_os("TUNNEL_CLIENT_UNDER") {
        Some(under) => {
            let mut command = std::process::Command::new(under);
            command.arg(program);
            command
        }
        None => std::process::Command::new(program),
    }
}
