//! What the model may call: the operator's rules in words, what was accepted of tools, and what was refused.

use crate::config::{self, Channel, ChannelPolicy, Limit, Names, PinMode};

use super::super::tunnel::Tunnel;
use super::html::{Cell, Page, cell};

/// Kinds of names, in the order of the settings.
const KINDS: [&str; 4] = ["tool", "prompt", "resource", "method"];

impl Tunnel {
    /// Writes the section.
    pub(super) fn show_policy(&self, page: &mut Page) {
        page.section("policy");
        let given = self.policy.as_ref().and_then(|policy| policy.given());
        let Some(given) = given else { return page.nothing("policy") };
        page.paragraph(match given.enforces {
            true => "The policy is in force: what is against it is refused.",
            false => "The policy is only observed: what is against it is told in the log, and goes on.",
        });
        let mut channels: Vec<&Channel> = self.relay.targets.keys().collect();
        channels.sort_by_key(|channel| channel.as_str());
        page.table("policy", channels.into_iter().flat_map(|channel| self.rules(&given, channel)));
        if let Some((watch, pins)) = self.watch.as_ref().zip(given.pins.as_ref()) {
            page.paragraph(match pins.mode {
                PinMode::Off => "Accepted tools are not compared with those that servers offer.",
                PinMode::Warn => "Tools that are not as they were accepted are told, and may be called.",
                PinMode::Block => "Tools that are not as they were accepted are hidden and refused.",
            });
            page.table("tools", watch.shown().into_iter().map(|row| row.map(cell).into()));
        }
    }

    /// The rules of one channel: a row for tools, and one for each other kind that has rules.
    fn rules(&self, given: &config::Policy, channel: &Channel) -> Vec<Vec<Cell>> {
        let of = |wanted: Option<&Channel>| given.channels.iter().find(|(known, _)| known.as_ref() == wanted);
        let none = (None, ChannelPolicy::default());
        let (_, rules) = of(Some(channel)).or_else(|| of(None)).unwrap_or(&none);
        let row = |(names, kind): (&Names, &&str)| {
            let counts = |labels: &[String]| {
                labels.iter().zip([channel.as_str(), kind]).all(|(label, wanted)| label == wanted)
                    && labels.last().is_some_and(|decision| decision != "allow")
            };
            let (refused, is_tool) = (self.metrics.policy_decisions.sum(counts), *kind == "tool");
            if !is_tool && names.allow.is_none() && names.deny.is_empty() && refused == 0 {
                return None;
            }
            let allowed = match &names.allow {
                None => format!("all {kind}s"),
                Some(allow) if allow.is_empty() => format!("no {kind}s"),
                Some(allow) => format!("{kind}s {}", some(allow)),
            };
            let reads = if rules.read_only && is_tool {
                "of these those that were accepted as only reading"
            } else {
                ""
            };
            let limits: Vec<String> = rules.limits.iter().filter(|_| is_tool).map(limit).collect();
            let (channel, refused) = (cell(channel.as_str()), cell(refused).class("n"));
            Some(vec![
                channel,
                cell(allowed).more(reads),
                cell(some(&names.deny)),
                cell(limits.join("; ")),
                refused,
            ])
        };
        rules.names.iter().zip(&KINDS).filter_map(row).collect()
    }
}

/// The first names of a list, and how many more there are.
fn some(names: &[String]) -> String {
    let first = names.iter().take(12).map(String::as_str).collect::<Vec<_>>().join(", ");
    if names.len() > 12 { format!("{} more than these: {first}", names.len() - 12) } else { first }
}

fn limit(limit: &Limit) -> String {
    let parts = [(limit.per_minute, "a minute"), (limit.burst, "at once"), (limit.concurrent, "running")];
    let parts = parts.iter().filter_map(|(count, what)| Some(format!("{} {what}", (*count)?)));
    let of = limit.tools.as_ref().map(|tools| format!(" of {}", some(tools))).unwrap_or_default();
    format!("{}{of}", parts.collect::<Vec<_>>().join(", "))
}
