//! `tunnel-client pins`: accepts the tools that servers offer, shows what was accepted, and tells what has changed.
//!
//! Servers are asked over the connections of `run`, and those over stdio are started for this alone. Nothing is
//! accepted of a channel whose list cannot be read as a whole, and nothing is written when one of them fails. What
//! servers wrote is shown cut and escaped.

use std::io;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use crate::config::{Environment, Flags, Settings};
use crate::net::Net;
use crate::ops::os_text;
use crate::ops::redact::Redactor;
use crate::pins::{self, Pins, Server, Tool};
use crate::relay::port::Target;
use crate::service::{Shared, complain};

use super::terminal::{Progress, foreign};
use super::{Failure, print};

/// What `pins` has to say beyond its flags.
pub(super) const DETAILS: &str = "tunnel-client help pins explains pins and their file.\n";

/// How long a server may take to list its tools. Launchers that fetch packages take most of it.
const LIST_TIME: Duration = Duration::from_secs(60);

/// Exit code of a difference, and of trouble, as those of diff(1).
const DIFFERS: u8 = 1;
const TROUBLE: u8 = 2;

/// `pins accept`.
pub(super) fn accept(flags: &Flags) -> Result<ExitCode, Failure> {
    let settings = load(flags)?;
    let path = path(&settings)?;
    if path.is_symlink() {
        let path = path.display();
        return Err(Failure(format!("{path} is a symbolic link: write policy.pins.file as the file itself")));
    }
    let before = match read(path) {
        Ok(pins) => Some(pins),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(unread(path, &error)),
    };
    let offered = offered(flags, settings.clone())?;
    let mut after = before.clone().unwrap_or_default();
    let mut text = told(&after, &offered);
    let names: Vec<&str> = settings.mcp.bindings.iter().map(|binding| binding.channel.as_str()).collect();
    text.extend(after.channels.iter().filter(|known| !names.contains(&known.channel.as_str())).map(
        |known| {
            format!("{}: {} tools of a channel that is gone\n", foreign(&known.channel), known.tools.len())
        },
    ));
    after.channels.retain(|known| names.contains(&known.channel.as_str()));
    for (channel, tools) in offered {
        after.accept(&channel, tools);
    }
    let count: usize = after.channels.iter().map(|channel| channel.tools.len()).sum();
    let shown = path.display();
    if before.as_ref() == Some(&after) {
        return Ok(print(&format!("{shown} has these {count} tools already\n")));
    }
    after.write(path).map_err(|error| Failure(format!("write pin file {shown}: {}", os_text(&error))))?;
    Ok(print(&format!("{}accepted {count} tools in {shown}\n", text.concat())))
}

/// `pins show`.
pub(super) fn show(flags: &Flags) -> Result<ExitCode, Failure> {
    let settings = load(flags)?;
    let path = path(&settings)?;
    let pins = read(path).map_err(|error| unread(path, &error))?;
    let mut text = String::new();
    for channel in &pins.channels {
        text.push_str(&format!("{}: {} tools\n", foreign(&channel.channel), channel.tools.len()));
        for tool in &channel.tools {
            let digest = tool.sha256.get(..12).unwrap_or_default();
            let hint = if tool.read_only_hint == Some(true) { "read-only" } else { "-" };
            let says = tool.title.as_deref().or(tool.description.as_deref()).unwrap_or_default();
            let line = format!("  {digest}  {hint:9}  {}  {}", foreign(&tool.name), foreign(says));
            text.push_str(&format!("{}\n", line.trim_end()));
        }
    }
    Ok(print(&text))
}

/// `pins diff`.
pub(super) fn diff(flags: &Flags) -> Result<ExitCode, Failure> {
    let compared = || -> Result<Vec<String>, Failure> {
        let settings = load(flags)?;
        let path = path(&settings)?;
        let pins = read(path).map_err(|error| unread(path, &error))?;
        Ok(told(&pins, &offered(flags, settings.clone())?))
    };
    match compared() {
        Ok(lines) if lines.is_empty() => Ok(ExitCode::SUCCESS),
        Ok(lines) => {
            print(&lines.concat());
            Ok(ExitCode::from(DIFFERS))
        }
        Err(Failure(why)) => {
            complain(&why);
            Ok(ExitCode::from(TROUBLE))
        }
    }
}

/// A line for each tool that is not as it was accepted.
fn told(pins: &Pins, offered: &[(String, Vec<Tool>)]) -> Vec<String> {
    let mut lines = Vec::new();
    for (channel, tools) in offered {
        let drift = pins::drift(pins.of(channel), tools).into_iter();
        lines.extend(drift.map(|(tool, what)| format!("{channel}: {}: {what}\n", foreign(&tool))));
    }
    lines
}

/// The settings; the API key is none of this.
fn load(flags: &Flags) -> Result<Settings, Failure> {
    Ok(Settings::load_keyless(flags, &Environment::of_process()?)?)
}

/// The pin file of the settings.
fn path(settings: &Settings) -> Result<&Path, Failure> {
    let pins = settings.policy.as_ref().and_then(|policy| policy.pins.as_ref());
    let path = pins.map(|pins| pins.file.as_path());
    path.ok_or_else(|| {
        Failure("no pin file: write policy.pins.file into the profile; help pins shows how".into())
    })
}

fn read(path: &Path) -> io::Result<Pins> {
    let (pins, warnings) = Pins::read(path)?;
    warnings.iter().for_each(|warning| complain(&format!("warning: {warning}")));
    Ok(pins)
}

fn unread(path: &Path, error: &io::Error) -> Failure {
    Failure(pins::unread(path, error))
}

/// What the servers of the channels that were named offer, or of all.
fn offered(flags: &Flags, mut settings: Settings) -> Result<Vec<(String, Vec<Tool>)>, Failure> {
    let wanted = flags.arguments();
    let known: Vec<String> =
        settings.mcp.bindings.iter().map(|binding| binding.channel.as_str().to_owned()).collect();
    if let Some(unknown) = wanted.iter().find(|channel| !known.contains(channel)) {
        let (unknown, known) = (foreign(unknown), known.join(", "));
        return Err(Failure(format!("no channel \"{unknown}\" has a server; those that have: {known}")));
    }
    settings
        .mcp
        .bindings
        .retain(|one| wanted.is_empty() || wanted.iter().any(|name| name == one.channel.as_str()));
    let redactor = Redactor::new(settings.secrets());
    let failed = |why: String| Failure(redactor.clean(&why).into_owned());
    let net = Net::new(&settings.network).map_err(|error| failed(error.to_string()))?;
    let shared = Shared::new(&settings, &net);
    let servers = shared.servers().map_err(|error| failed(error.to_string()))?;
    let children = shared.children().map_err(|error| failed(error.to_string()))?;
    let all = servers.into_iter().map(|server| (server.channel().clone(), Server::Http(server)));
    let of_children =
        children.iter().map(|child| (child.channel().clone(), Server::Stdio(Arc::clone(child))));
    let progress = Progress::new();
    let listed = all.chain(of_children).map(|(channel, server)| {
        let channel = channel.as_str();
        progress.show(&format!("listing the tools of channel {channel}"));
        let tools = pins::list(&server, LIST_TIME);
        tools
            .map(|tools| (channel.to_owned(), tools))
            .map_err(|why| format!("channel \"{channel}\": {}", foreign(&why)))
    });
    let listed: Result<Vec<_>, String> = listed.collect();
    drop(progress);
    children.iter().for_each(|child| child.stop());
    children.iter().for_each(|child| child.close());
    let mut listed = listed.map_err(failed)?;
    listed.sort_unstable_by(|(one, _), (other, _)| one.cmp(other));
    Ok(listed)
}
