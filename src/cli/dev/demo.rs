//! `tunnel-client demo`: a whole tunnel on this machine, and a first call through it.
//!
//! A control plane, the relay as `run` has it, and the stub server are started, each behind a socket of its
//! own; then a client sends through all of them what a product would send. Nothing has to be configured and
//! nothing that is configured is used: neither this machine's tunnel settings nor anybody's key. All
//! addresses are loopback ones. It fails when a step of the round trip does, and says at which.

mod caller;
mod trip;

use std::net::{Ipv4Addr, SocketAddr};
use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

use log::LevelFilter;

use crate::cli::Failure;
use crate::cli::terminal::{Colour, Progress, paint};
use crate::config::Flags;
use crate::config::settings::Kind::{Boolean, List, Text};
use crate::config::settings::Row;
use crate::dev::{embed, stub::Stub};
use crate::service::print;
use crate::service::start::Process;
use crate::text::bounded;

use super::local::{LocalTunnel, Options};
use caller::Caller;
use trip::{Call, Step, Stopped};

/// How long a server of the user's may take to start: some are fetched first.
const START_TIME: Duration = Duration::from_secs(60);

/// How often main looks whether the round trip is over. Signals end the look early.
const LOOK: Duration = Duration::from_millis(5);

/// How much of the relay's verdict is shown.
const VERDICT_BYTES: usize = 512;

/// Its options.
#[rustfmt::skip]
pub(in crate::cli) const OPTIONS: &[Row] = &[
    Row::option("once", Boolean, "", "false",
        "End after the round trip instead of serving on"),
    Row::option("mcp-server-url", List(&[]), "entry", "",
        "A server of yours in the stub's place, over HTTP, written as for run"),
    Row::option("mcp-command", List(&[]), "entry", "",
        "A server of yours in the stub's place, over stdio, written as for run"),
    Row::option("call", Text, "tool", "",
        "Call this tool of your server, without arguments; without it none is called, since a tool may change things"),
];

/// Runs the demo.
pub(in crate::cli) fn command(flags: &Flags) -> Result<ExitCode, Failure> {
    let servers = own_servers(flags)?;
    let call = match flags.option("call").trim() {
        "" if servers.is_empty() => Call::Echo,
        "" => Call::Nothing,
        _ if servers.is_empty() => {
            let text = "--call names a tool of your server: add --mcp-server-url or --mcp-command";
            return Err(Failure(text.into()));
        }
        tool => Call::Named(tool),
    };
    let process = Process::of_terminal()?;
    let progress = Progress::new();
    print("A whole tunnel on this machine: MCP client -> control plane <- relay -> MCP server.\n\n");
    let begun = Instant::now();
    let stub = if servers.is_empty() {
        let stub = embed::start(
            &SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into(),
            "mcp-stub",
            crate::VERSION,
            false,
        )
        .map_err(Failure)?;
        say("stub server", Some(begun.elapsed()), &stub.mcp_url());
        Some(stub)
    } else {
        None
    };
    progress.show("starting control plane and relay ...");
    let begun = Instant::now();
    let tunnel = LocalTunnel::start(&process, &options(servers, stub.as_ref()))?;
    progress.show("");
    say("control plane and relay", Some(begun.elapsed()), "the relay polls; nothing connects to it");
    print("\nWhat a product says to a server first, there and back:\n\n");
    let outcome = interruptible(&process, &tunnel, &progress, call);
    let serves =
        !flags.is_on("once") && outcome.as_ref().map_or_else(|stopped| stopped.wants_login, |()| true);
    if serves {
        print(&addresses(&tunnel));
    }
    if serves || outcome.is_ok() {
        print(NEXT);
    }
    if serves {
        print("\nCtrl-C ends it.\n");
        process.wait(None);
    }
    // Of the round trip nothing is in flight but what was given up.
    let clean = if serves { tunnel.stop(&process) } else { tunnel.abandon(&process) };
    match outcome {
        Err(stopped) if !serves => Err(Failure(format!("demo: {} failed: {}", stopped.name, stopped.why))),
        _ if clean => Ok(ExitCode::SUCCESS),
        _ => Ok(ExitCode::FAILURE),
    }
}

/// What comes after the demo.
const NEXT: &str = "\
Next, for a tunnel of yours: tunnel-client init writes a profile, doctor checks it, run serves it.
To see a server of yours here: tunnel-client demo --mcp-command 'COMMAND' or --mcp-server-url URL.
Its tools are listed, and none is called unless you name it: --call NAME.
";

/// The flags that put a server of the user's in the stub's place.
fn own_servers(flags: &Flags) -> Result<Vec<String>, Failure> {
    let given = |flag: &str, setting: &str| -> Vec<String> {
        let values = flags.all(flag).unwrap_or_default().iter().filter(|value| !value.trim().is_empty());
        values.map(|value| format!("--{setting}={value}")).collect()
    };
    let (urls, commands) = (given("mcp-server-url", "mcp.server-url"), given("mcp-command", "mcp.command"));
    if !urls.is_empty() && !commands.is_empty() {
        let text = "--mcp-server-url and --mcp-command are mutually exclusive: the demo calls one server";
        return Err(Failure(text.into()));
    }
    Ok([urls, commands].concat())
}

/// The tunnel, with nothing of the environment's settings.
fn options(servers: Vec<String>, stub: Option<&Stub>) -> Options {
    let stub = stub.map(|stub| format!("--mcp.server-url={}", stub.mcp_url()));
    // The steps say what fails; only the last words of a server over stdio stand in the log alone.
    let has_command = servers.iter().any(|flag| flag.starts_with("--mcp.command="));
    Options {
        log_level: if has_command { LevelFilter::Warn } else { LevelFilter::Error },
        settings: servers.into_iter().chain(stub).collect(),
        is_isolated: true,
        takes_dead_servers: true,
        health_listen: Some(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).to_string()),
        readiness_timeout: START_TIME,
        response_timeout: START_TIME,
        ..Options::default()
    }
}

/// The round trip, in a thread of its own: signals are received as data, and a server may hang.
fn interruptible(
    process: &Process,
    tunnel: &LocalTunnel,
    progress: &Progress,
    call: Call<'_>,
) -> Result<(), Stopped> {
    let failed = |why| Stopped {
        name: "the client's start".into(),
        why,
        advice: "Please report this with the output of --version.".into(),
        wants_login: false,
    };
    let mut caller = Caller::new(tunnel.mcp_url()).map_err(failed)?;
    let connections = caller.connections();
    thread::scope(|scope| {
        let trip = thread::Builder::new()
            .name("demo".into())
            .spawn_scoped(scope, || round_trip(&mut caller, tunnel, progress, call))
            .map_err(|error| failed(error.to_string()))?;
        while !trip.is_finished() {
            if process.wait(Some(LOOK)).is_some() {
                connections.shutdown();
            }
        }
        trip.join().unwrap_or_else(|_| Err(failed("the client's thread ended early".into())))
    })
}

/// Says everything that a product would, and shows each step when it is done.
fn round_trip(
    caller: &mut Caller,
    tunnel: &LocalTunnel,
    progress: &Progress,
    call: Call<'_>,
) -> Result<(), Stopped> {
    let (mut count, mut total) = (0_u32, Duration::ZERO);
    progress.show("calling through the tunnel ...");
    let outcome = trip::go(caller, call, |Step { name, took, remark }| {
        progress.show("");
        count += u32::from(took.is_some());
        total += took.unwrap_or_default();
        say(&name, took, &remark);
        progress.show("calling through the tunnel ...");
    });
    progress.show("");
    match &outcome {
        Ok(()) => {
            let total = milliseconds(total);
            print(&format!(
                "\nIt works: {count} messages in {total} ms. The relay fetched each of them; nobody connected to it.\n\n"
            ));
        }
        Err(stopped) => {
            let mark = paint("no", if stopped.wants_login { Colour::Yellow } else { Colour::Red });
            print(&format!("  {mark}  {}: {}\n", stopped.name, stopped.why));
            let (is_ready, verdict) = tunnel.verdict();
            if !is_ready {
                print(&format!("      The relay says: {}\n", bounded(&verdict, VERDICT_BYTES)));
            }
            print(&format!("      {}\n\n", stopped.advice));
        }
    }
    outcome
}

/// Where the tunnel can be used and watched.
fn addresses(tunnel: &LocalTunnel) -> String {
    let ready = tunnel.health_url().unwrap_or_default();
    let base = ready.strip_suffix("readyz").unwrap_or_default();
    format!(
        "Point any MCP client (Streamable HTTP) at\n  {}\nand look at the relay as its operator does at\n  \
         {base}ui       a page for a browser\n  {ready}\n  {base}metrics\n\n",
        tunnel.mcp_url()
    )
}

/// One line about something that is done; without a time it was not tried.
fn say(name: &str, took: Option<Duration>, remark: &str) {
    let (mark, time) = match took {
        Some(took) => (paint("ok", Colour::Green), format!("{:>7} ms", milliseconds(took))),
        None => (paint("--", Colour::Yellow), " ".repeat(10)),
    };
    print(&format!("  {mark}  {name:<26}{time}   {remark}\n"));
}

fn milliseconds(time: Duration) -> String {
    format!("{:.1}", time.as_secs_f64() * 1000.0)
}
