//! `tunnel-client dev proxy`: one MCP server, reached through a whole tunnel on this host.
//!
//! Standard output has one thing, how to connect; everything else goes to standard error. It runs until a
//! signal or its duration ends it, with exit code 0 when what was in flight was finished.

use std::path::PathBuf;
use std::process::ExitCode;

use crate::cli::Failure;
use crate::config::Flags;
use crate::config::settings::Kind::{Boolean, Duration, List, Path, Text};
use crate::config::settings::Least::Zero;
use crate::config::settings::Row;
use crate::dev::embed;
use crate::dev::server::Place;
use crate::ops::files;
use crate::service::print;
use crate::service::start::Process;

use super::local::{Connection, LocalTunnel, Options, TUNNEL_ID};
use super::{DURATION, LAST_SEEN_TIMEOUT, RESPONSE_TIMEOUT, address};

/// Its options.
#[rustfmt::skip]
pub(in crate::cli) const OPTIONS: &[Row] = &[
    Row::option("listen", Text, "address", "127.0.0.1:0",
        "Where the MCP endpoint is served"),
    Row::option("listen-unix-socket", Path, "path", "",
        "Unix socket to serve it on instead"),
    Row::option("tunnel-id", Text, "id", TUNNEL_ID,
        "The id that the tunnel goes by"),
    Row::option("mcp-server-url", List(&[]), "entry", "",
        "MCP server over HTTP, written as for run"),
    Row::option("mcp-command", List(&[]), "entry", "",
        "MCP server over stdio, written as for run"),
    Row::option("profile", Text, "name", "",
        "Named YAML file in the profile directory, for servers and how to reach them"),
    Row::option("profile-file", Text, "path", "",
        "The same by its path, which ends in .yaml"),
    Row::option("profile-dir", Text, "directory", "",
        "Where profiles are looked for"),
    Row::option("health-listen-addr", Text, "address", "",
        "Where health, readiness and metrics are served; nowhere unless asked for"),
    Row::option("health-url-file", Path, "path", "",
        "File that receives the address of that listener"),
    Row::option("url-file", Path, "path", "",
        "File that receives how to connect, as JSON"),
    Row::option("backend", Text, "auto|go", "auto",
        "Accepted for command lines of the reference client; there is one backend, in memory"),
    Row::option("engine-queue-backend", Text, "inmem", "inmem",
        "Accepted for command lines of the reference client; there is one queue, in memory"),
    Row::option("print-json", Boolean, "", "false",
        "Print how to connect as JSON"),
    DURATION,
    Row::option("readiness-timeout", Duration(Zero), "duration", "10s",
        "How long the start may take"),
    RESPONSE_TIMEOUT,
    LAST_SEEN_TIMEOUT,
];

/// Runs the tunnel.
pub(in crate::cli) fn command(flags: &Flags) -> Result<ExitCode, Failure> {
    let options = options(flags)?;
    let process = Process::of_terminal()?;
    let tunnel = LocalTunnel::start(&process, &options)?;
    let json = serde_json::to_string_pretty(tunnel.connection()).unwrap_or_default() + "\n";
    let file = match flags.option("url-file") {
        "" => None,
        path => Some(files::write_connection(&PathBuf::from(path), &json)),
    };
    // A file that cannot be written ends the process: whoever asked for it waits for it.
    let file = match file.transpose() {
        Ok(file) => file,
        Err(error) => {
            tunnel.stop(&process);
            return Err(Failure(error.to_string()));
        }
    };
    if let Place::Tcp(listen) = &options.listen {
        if let Some(warning) = embed::openness("MCP endpoint", listen.address) {
            log::warn!("{warning}");
        }
    }
    print(&if flags.is_on("print-json") { json } else { text(tunnel.connection()) });
    let duration = flags.duration("duration");
    process.wait((!duration.is_zero()).then_some(duration));
    let clean = tunnel.stop(&process);
    drop(file);
    Ok(if clean { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// How to connect, for people.
fn text(connection: &Connection) -> String {
    let mut text = match (&connection.mcp_unix_socket, &connection.mcp_url_path) {
        (Some(socket), Some(path)) => format!("MCP Unix socket: {socket}\nMCP URL path: {path}\n"),
        _ => format!("MCP URL: {}\n", connection.mcp_url),
    };
    text.extend(connection.health_url.iter().map(|url| format!("Health URL: {url}\n")));
    text
}

/// The reference's other backends and queues are those of an engine that is not here.
fn check_backend(flags: &Flags) -> Result<(), Failure> {
    let failure = |text: &str| Err(Failure(text.to_owned()));
    match flags.option("backend") {
        "" | "auto" | "go" => {}
        "rust" => return failure("rust local proxy backend is unavailable in this build"),
        other => {
            let text = format!("unknown local proxy backend {other:?} (supported: auto, rust, go)");
            return Err(Failure(text));
        }
    }
    match flags.option("engine-queue-backend") {
        "" | "inmem" => {}
        "redis" => return failure("go local proxy backend does not support redis engine queue backend"),
        other => {
            let text = format!("unknown engine queue backend {other:?} (supported: inmem, redis)");
            return Err(Failure(text));
        }
    }
    Ok(())
}

/// What the flags ask for, in the order in which mistakes are reported.
fn options(flags: &Flags) -> Result<Options, Failure> {
    let failure = |text: &str| Err(Failure(text.to_owned()));
    let given = |flag: &str| Some(flags.option(flag)).filter(|value| !value.is_empty());
    let servers = |flag: &str| flags.all(flag).unwrap_or_default();
    if flags.last("listen").is_some() && given("listen-unix-socket").is_some() {
        return failure("--listen and --listen-unix-socket are mutually exclusive");
    }
    if given("profile").is_some() && given("profile-file").is_some() {
        return failure("--profile and --profile-file are mutually exclusive");
    }
    let bare = servers("mcp-server-url").is_empty() && servers("mcp-command").is_empty();
    if bare && given("profile").is_none() && given("profile-file").is_none() {
        return failure("set --mcp-server-url, --mcp-command, --profile, or --profile-file");
    }
    check_backend(flags)?;
    for flag in ["readiness-timeout", "response-timeout", "client-last-seen-timeout"] {
        if flags.duration(flag).is_zero() {
            return Err(Failure(format!("{flag} must be greater than zero")));
        }
    }
    let listen = match given("listen-unix-socket") {
        Some(path) => Place::Unix(path.into()),
        None => Place::Tcp(address(flags, "listen")?),
    };
    let mut settings = Vec::new();
    for (flag, setting) in [("mcp-server-url", "mcp.server-url"), ("mcp-command", "mcp.command")] {
        settings.extend(servers(flag).iter().map(|value| format!("--{setting}={value}")));
    }
    for flag in ["profile", "profile-file", "profile-dir"] {
        settings.extend(given(flag).map(|value| format!("--{flag}={value}")));
    }
    Ok(Options {
        listen,
        tunnel_id: flags.option("tunnel-id").to_owned(),
        settings,
        health_listen: given("health-listen-addr").map(str::to_owned),
        health_url_file: given("health-url-file").map(PathBuf::from),
        readiness_timeout: flags.duration("readiness-timeout"),
        response_timeout: flags.duration("response-timeout"),
        client_last_seen_timeout: flags.duration("client-last-seen-timeout"),
        ..Options::default()
    })
}
