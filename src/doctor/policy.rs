//! The operator's policy: what would be in force, beside what servers offer now; and where audit records go.
//!
//! A rule that matches nothing, or a tool that no rule mentions, is no failure: servers change. Only tools are compared,
//! and only those of servers over HTTP and of Harpoon: a child is started once, for its handshake alone.

use crate::audit;
use crate::config::{Audit, Channel, ChannelPolicy, Harpoon, PinMode, Pins, Policy};
use crate::ops::os_text;
use crate::pins;
use crate::policy::matches;

use super::examination::Examination;
use super::report::Check;
use super::servers::Site;

/// Most names in one line; the report cuts lines besides.
const NAMES_MAX: usize = 20;

/// Tools of Harpoon that are judged by their own names.
const OF_HARPOON: [&str; 2] = ["list_targets", "get_oauth_target_audience"];

/// Adds a check for each channel with rules.
pub(super) fn check<'a>(
    policy: &Policy,
    harpoon: &Harpoon,
    sites: impl Iterator<Item = &'a Site<'a>> + Clone,
    all: &mut Examination,
    offline: bool,
) {
    for (channel, rules) in &policy.channels {
        let name = channel.as_ref().map_or("*", Channel::as_str);
        let id = if name == "main" { "policy".to_owned() } else { format!("policy:{name}") };
        let check = Check::pass(id.clone(), told(policy.enforces, rules));
        let http = sites.clone().find(|site| Some(site.channel()) == channel.as_ref()).and_then(Site::http);
        match http {
            Some(target) if !offline => {
                let (rules, time) = (rules.clone(), all.server_time());
                all.announce(id, None);
                all.job(false, move || {
                    let listed = pins::list(&pins::Server::Http(target), time);
                    let lines = match listed {
                        Ok(tools) => compared(&rules, tools.iter().map(|tool| tool.name.as_str()).collect()),
                        Err(why) => vec![format!("the tools of the server are not known: {why}")],
                    };
                    vec![check.evidence(lines)]
                });
            }
            _ if *channel == Some(Channel::harpoon()) => {
                let labels = harpoon.targets.iter().map(|target| target.label.as_str());
                all.now([check.evidence(compared(rules, labels.chain(OF_HARPOON).collect()))]);
            }
            _ => all.now([check]),
        }
    }
}

/// Adds a check of the pin file, beside what servers over HTTP offer now.
pub(super) fn pins<'a>(
    pins: &Pins,
    sites: impl Iterator<Item = &'a Site<'a>>,
    all: &mut Examination,
    offline: bool,
) {
    const ID: &str = "pins";
    let accepted = match pins::Pins::read(&pins.file) {
        Ok((accepted, _)) => accepted,
        Err(error) => {
            let why = "run reads it at the start, and would not start.";
            let next = ["tunnel-client pins accept"];
            return all.now([Check::fail(ID, pins::unread(&pins.file, &error), why, next)]);
        }
    };
    let mode = match pins.mode {
        PinMode::Off => "nothing is compared",
        PinMode::Warn => "a change is told",
        PinMode::Block => "what is not accepted is refused",
    };
    let count: usize = accepted.channels.iter().map(|channel| channel.tools.len()).sum();
    let check = Check::pass(ID, format!("{count} tools accepted in {}; {mode}", pins.file.display()));
    let targets = sites.filter_map(|site| Some((site.channel().clone(), site.http()?)));
    let targets: Vec<_> = targets.filter(|_| !offline).collect();
    let time = all.server_time();
    all.announce(ID.to_owned(), None);
    all.job(false, move || {
        let lines = targets.into_iter().flat_map(|(channel, target)| {
            let name = channel.as_str();
            match pins::list(&pins::Server::Http(target), time) {
                Ok(tools) => {
                    let drift = pins::drift(accepted.of(name), &tools).into_iter();
                    drift.map(|(tool, change)| format!("{name}: {tool}: {change}")).collect()
                }
                Err(why) => vec![format!("{name}: the tools of the server are not known: {why}")],
            }
        });
        vec![check.evidence(lines.take(NAMES_MAX).collect::<Vec<String>>())]
    });
}

/// Whether audit records could go where they shall.
pub(super) fn records(audit: &Audit) -> Check {
    const ID: &str = "audit";
    match audit::look(&audit.place) {
        Ok(()) => Check::pass(ID, format!("{} can be written by this user", audit.place)),
        Err(error) => Check::fail(
            ID,
            format!("{} cannot be written by this user: {}", audit.place, os_text(&error)),
            "run opens it at the start, and would not start.",
            ["ask again as the user of the service, or choose another audit.file: tunnel-client help audit"],
        ),
    }
}

/// The rules of a channel in a sentence, with what they leave open.
fn told(enforces: bool, rules: &ChannelPolicy) -> String {
    let key = |place: &str| place.rsplit('.').next().unwrap_or_default().to_owned();
    let mut parts = Vec::new();
    let mut open = Vec::new();
    for names in &rules.names {
        match (&names.allow, names.deny.len()) {
            (None, 0) => {}
            (Some(allow), deny) => {
                parts.push(format!("{}: {} allowed, {deny} denied", key(&names.place), allow.len()))
            }
            (None, deny) => {
                parts.push(format!("{}: {deny} denied", key(&names.place)));
                open.push(key(&names.place));
            }
        }
    }
    // Methods beyond the known ones are refused in any case.
    open.retain(|key| key != "methods");
    if rules.read_only {
        parts.push("read-only".to_owned());
    }
    if !rules.limits.is_empty() {
        parts.push(format!("limits: {}", rules.limits.len()));
    }
    let mode = if enforces { "in force" } else { "observed, which refuses nothing" };
    let mut text =
        format!("{mode}: {}", if parts.is_empty() { "no rules".to_owned() } else { parts.join("; ") });
    if !open.is_empty() {
        let open = open.join(", ");
        text.push_str(&format!(
            ". WARNING: deny without allow is no boundary ({open}): name what may be used"
        ));
    }
    text
}

/// What the rules of tools say about these, in lines.
fn compared(rules: &ChannelPolicy, offered: Vec<&str>) -> Vec<String> {
    let [tools, ..] = &rules.names;
    let allow = tools.allow.iter().flatten().map(|text| (format!("{}.allow", tools.place), text));
    let deny = tools.deny.iter().map(|text| (format!("{}.deny", tools.place), text));
    let limited = rules
        .limits
        .iter()
        .flat_map(|limit| limit.tools.iter().flatten().map(|text| (format!("{}.tools", limit.place), text)));
    let patterns: Vec<(String, &String)> = allow.chain(deny).chain(limited).collect();
    let idle = patterns.iter().filter(|(_, text)| !offered.iter().any(|name| matches(text, name)));
    let mut lines: Vec<String> =
        idle.map(|(place, text)| format!("{place}: {text} matches no tool that is offered now")).collect();
    let is_mentioned = |name: &&str| patterns.iter().any(|(_, text)| matches(text, name));
    let others: Vec<&str> = offered.into_iter().filter(|name| !is_mentioned(name)).collect();
    if !others.is_empty() {
        let fate = if tools.allow.is_some() { "refused" } else { "allowed" };
        let named = others.iter().take(NAMES_MAX).copied().collect::<Vec<_>>().join(", ");
        lines.push(format!("{fate}, since no rule mentions them ({}): {named}", others.len()));
    }
    lines
}
