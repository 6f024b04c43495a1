//! `tunnel-client init`: the first profile, from a sample and a few options, checked before it is written.
//!
//! Never asks: what is missing is said, so that scripts can use it. Contacts nobody and starts nothing.
//! Everything that `run` would refuse fails here, before there is a file.

use std::process::ExitCode;

use crate::config::settings::{Kind, Row};
use crate::config::{Environment, Flags, draft};
use crate::mcp::stdio::launch::Launch;
use crate::ops::shell_quoted;

use super::profiles::{self, FORCE, PROFILE_DIR, SAMPLE, plain};
use super::samples::{
    self, API_KEY, BASE_URL, COMMAND, DEFAULT, LISTEN, OPEN_UI, SERVER_URL, TUNNEL_ID, URL_PATH,
};
use super::{Failure, print, usage};

/// It has a default, so that the first profile needs no thought about names.
const PROFILE: Row = Row::option("profile", Kind::Text, "name", DEFAULT, "The name of the profile");

/// What goes into the profile, and where the profile goes.
pub(super) const OPTIONS: &[Row] = &[
    PROFILE,
    SAMPLE,
    PROFILE_DIR,
    FORCE,
    TUNNEL_ID,
    BASE_URL,
    URL_PATH,
    API_KEY,
    SERVER_URL,
    COMMAND,
    LISTEN,
    OPEN_UI,
];

/// The order is what newcomers get wrong: a connector that is made first finds nobody.
const CONNECTOR_NOTE: &str = "\
Connector runtime note:
  Create or refresh the connector while `tunnel-client run` is up: it reaches your server through the tunnel.
";

/// Writes the profile and says what comes next.
pub(super) fn command(flags: &Flags) -> Result<ExitCode, Failure> {
    let environment = Environment::of_process()?;
    // First of all, because its text says where everything else comes from.
    samples::require_tunnel_id(flags)?;
    let name = flags.option(PROFILE.flag);
    let path = profiles::path(flags, &environment, name)?;
    let sample = samples::chosen(flags)?;
    let text = sample.render(flags)?;
    // The text as it will be read, not its parts: quoting is part of what may go wrong.
    let variables = draft::check(&path, &text).map_err(plain)?;
    preflight(flags, &environment, sample)?;
    profiles::write(name, &path, &text, flags.is_on(FORCE.flag))?;

    let mut summary = format!("Created profile {name} at {}\nSample: {}\n", path.display(), sample.name);
    summary.push_str(&format!("Where things come from:\n{}{CONNECTOR_NOTE}", usage::PLACES));
    // Names alone. That they are not set here is no mistake: the service may get them from its manager.
    let unset = variables.iter().filter(|name| environment.get(name).is_none());
    let unset: Vec<String> = unset.map(|name| format!("  export {name}=...\n")).collect();
    if !unset.is_empty() {
        summary.push_str("Not set here, and needed first:\n");
        summary.extend(unset);
    }
    // The last lines of all: they are what is copied.
    let mut selection = format!("--profile {}", shell_quoted(name));
    if let Some(directory) = flags.last(PROFILE_DIR.flag) {
        selection.push_str(&format!(" --profile-dir {}", shell_quoted(directory)));
    }
    summary.push_str("Next:\n");
    summary.push_str(&format!("  tunnel-client doctor {selection} --explain\n"));
    summary.push_str(&format!("  tunnel-client run {selection}\n"));
    Ok(print(&summary))
}

/// Looks whether the server could be started from here, with the `PATH` that it would be given.
fn preflight(flags: &Flags, environment: &Environment, sample: &samples::Sample) -> Result<(), Failure> {
    let argv = match sample.takes_command(flags) {
        true => draft::command(flags.option(COMMAND.flag)).map_err(Failure)?,
        false => Vec::new(),
    };
    // A reference is not followed: where it leads may be known on another host only.
    if argv.is_empty() {
        return Ok(());
    }
    let path = environment.get("PATH").map(|path| ("PATH".into(), path.into()));
    let launch = Launch { argv, environment: path.into_iter().collect(), ..Launch::default() };
    launch.check().map(drop).map_err(|why| Failure(format!("mcp-command preflight failed: {why}")))
}
