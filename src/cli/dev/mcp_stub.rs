//! `tunnel-client dev mcp-stub`: the stub MCP server alone, until a signal ends it.
//!
//! It fails only where it cannot listen. What it is good for stands in [`crate::dev::stub`].

use std::process::ExitCode;

use crate::config::settings::{Kind, Row};
use crate::config::{Flags, ListenAddress};
use crate::dev::embed;
use crate::dev::stub::SAMPLE_PROMPTS;

use super::super::{Failure, print};
use crate::service::complain;
use crate::service::start::Process;

const LISTEN: &str = "listen-addr";
const NAME: &str = "server-name";
const VERSION: &str = "server-version";

/// Its options.
pub(in crate::cli) const OPTIONS: &[Row] = &[
    Row::option(LISTEN, Kind::Text, "address", "127.0.0.1:0", "Where it listens; port 0 means any free one"),
    Row::option(NAME, Kind::Text, "name", "mcp-stub", "The name that it gives itself"),
    Row::option(VERSION, Kind::Text, "version", "0.1.0", "The version that it gives itself"),
];

/// Serves until a signal.
pub(in crate::cli) fn command(flags: &Flags) -> Result<ExitCode, Failure> {
    let text = flags.option(LISTEN);
    let listen =
        ListenAddress::parse(text).map_err(|why| Failure(format!("invalid {LISTEN} {text:?}: {why}")))?;
    let process = Process::of_terminal()?;
    let stub = embed::start(&listen.address.into(), flags.option(NAME), flags.option(VERSION), false)
        .map_err(Failure)?;
    if let Some(warning) = embed::openness("MCP stub", listen.address) {
        complain(&warning);
    }
    let (url, prompts) = (stub.mcp_url(), SAMPLE_PROMPTS.map(|prompt| format!("  {prompt}\n")).concat());
    print(&format!(
        "MCP stub listening on {}\n{}\n\
         It asks nobody to log in; the metadata are samples for trying discovery out.\n\n\
         Next:\n  \
         tunnel-client init --profile stub --sample sample_mcp_remote_no_auth --tunnel-id tunnel_... --mcp-server-url {url}\n  \
         tunnel-client doctor --profile stub --explain\n  \
         tunnel-client run --profile stub\n\n\
         Then, in a product that uses the tunnel:\n{prompts}\n\
         Ctrl-C ends it.\n",
        stub.base_url(),
        embed::addresses(&stub, ""),
    ));
    process.wait(None);
    drop(stub);
    Ok(ExitCode::SUCCESS)
}
