//! `tunnel-client dev plane`: a control plane on this host for rehearsals, without an account.
//!
//! It takes any key and the first tunnel that asks, shows what it hands out and gets back, and misbehaves as it is told.
//! Standard output has how to connect, and then a line for whatever passes. It runs until a signal or its duration ends
//! it, and fails only where it cannot listen.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::cli::Failure;
use crate::config::settings::Kind::{self, Text};
use crate::config::settings::Row;
use crate::config::{Flags, ListenAddress};
use crate::dev::embed;
use crate::dev::plane::{Fail, Options, Plane, Rehearsal};
use crate::dev::server::{Place, Server};
use crate::service::start::Process;
use crate::service::{complain, print};

use super::{DURATION, LAST_SEEN_TIMEOUT, RESPONSE_TIMEOUT, address};

/// How long the plane is away when it starts anew.
const AWAY: Duration = Duration::from_secs(1);

/// Its options.
#[rustfmt::skip]
pub(in crate::cli) const OPTIONS: &[Row] = &[
    Row::option("listen", Text, "address", "127.0.0.1:0",
        "Where tunnel clients find it; port 0 means any free one"),
    Row::option("mcp-listen", Text, "address", "127.0.0.1:0",
        "Where callers find the MCP endpoint"),
    Row::option("fail", Text, "status[:share]", "",
        "Fail all requests of the tunnel client with this status, or a share of them: 503:0.2"),
    Row::option("delay", Kind::Integer { min: 0, max: 60_000 }, "ms", "0",
        "Hold up each of them for so many milliseconds"),
    Row::option("restart-every", Kind::Integer { min: 0, max: 86_400 }, "seconds", "0",
        "Drop all connections of the tunnel client after so many seconds and be away for one; 0 means never"),
    RESPONSE_TIMEOUT,
    LAST_SEEN_TIMEOUT,
    DURATION,
];

/// Serves until a signal.
pub(in crate::cli) fn command(flags: &Flags) -> Result<ExitCode, Failure> {
    let (mut listen, callers) = (address(flags, "listen")?, address(flags, "mcp-listen")?);
    let fail = Some(flags.option("fail")).filter(|text| !text.is_empty());
    let fail = fail.map(str::parse::<Fail>).transpose().map_err(Failure)?;
    let number = |flag: &str| flags.option(flag).parse::<u64>().unwrap_or_default();
    let (delay, every) = (Duration::from_millis(number("delay")), number("restart-every"));
    let process = Process::of_terminal()?;
    let plane = Plane::new(Options {
        tunnel_id: None,
        api_key: None,
        response_timeout: flags.duration("response-timeout"),
        client_last_seen_timeout: flags.duration("client-last-seen-timeout"),
        // With standard output gone nobody reads.
        rehearsal: Some(Rehearsal::new(fail, delay, |line| _ = print(line))),
    });
    let start = |name: &str, listen: &ListenAddress| {
        let server = Server::start(name, &Place::Tcp(listen.clone()), Arc::<Plane>::clone(&plane));
        server.map_err(|error| Failure(format!("start local control plane: {error}")))
    };
    let endpoint = start("local-mcp", &callers)?;
    let mut server = Some(start("local-plane", &listen)?);
    // It comes back where it was.
    listen.address = server.as_ref().and_then(Server::address).unwrap_or(listen.address);
    for (what, address) in [("control plane", listen.address), ("MCP endpoint", callers.address)] {
        embed::openness(what, address).iter().for_each(|warning| complain(warning));
    }
    print(&introduction(&listen, endpoint.address().map_or(0, |address| address.port())));
    let end = Some(flags.duration("duration")).filter(|time| !time.is_zero());
    let end = end.and_then(|time| Instant::now().checked_add(time));
    let every = Some(Duration::from_secs(every)).filter(|time| !time.is_zero());
    let is_over = |time: Option<Duration>| {
        let left = end.map(|end| end.saturating_duration_since(Instant::now()));
        let time = [time, left].into_iter().flatten().min();
        process.wait(time).is_some() || end.is_some_and(|end| end <= Instant::now())
    };
    while !is_over(every) {
        server = None;
        plane.tell("the control plane is away");
        if is_over(Some(AWAY)) {
            break;
        }
        server = Some(start("local-plane", &listen)?);
        plane.tell("the control plane is back");
    }
    drop((server, endpoint));
    Ok(ExitCode::SUCCESS)
}

/// How to connect, for people.
fn introduction(listen: &ListenAddress, endpoint: u16) -> String {
    format!(
        "A control plane for rehearsals. It takes any key, and the first tunnel that asks.\n\n\
         For the tunnel client:\n  \
         export CONTROL_PLANE_BASE_URL=http://{}\n  \
         export CONTROL_PLANE_API_KEY=rehearsal\n\
         and then, with a profile of yours:\n  \
         tunnel-client run --profile NAME\n\n\
         Call its server with any MCP client (Streamable HTTP) at\n  \
         http://127.0.0.1:{endpoint}/mcp\n\n\
         Ctrl-C ends it. What is handed out and comes back:\n\n",
        listen.address
    )
}
