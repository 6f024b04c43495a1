//! The last calls, and in words the last one that failed.

use std::sync::Arc;

use crate::ops::timestamp;
use crate::relay::calls::{Call, Kept};
use crate::text::head;

use super::html::{Cell, Page, cell};
use super::query::{OUTCOMES, View};
use super::words::{bytes, latency, moment};

/// Calls that are shown of all, and of those that a reader chooses.
const SHOWN: [usize; 2] = [50, 100];

/// What to do, by words for failures and ends of calls.
const ADVICE: &str = include_str!("advice.txt");

/// Writes what is known of the last call that failed.
pub(super) fn show_failure(page: &mut Page, kept: &Kept) {
    page.section("last-failure");
    let Some(call) = &kept.failure else { return page.nothing("last-failure") };
    let (channel, at, outcome) = (call.channel.as_str(), moment(call.at), call.fate.outcome);
    let ended = match outcome {
        "refused" => "was refused",
        "expired" => "took longer than its caller waits",
        _ => "failed",
    };
    page.paragraph(&format!("{} on channel {channel} {ended}: {at}.", name(call)));
    let status = call.fate.status.map(|status| format!(", answered as {status}")).unwrap_or_default();
    let class = call.fate.failure.unwrap_or(outcome);
    let why = match (call.why.as_str(), outcome) {
        ("", "tool_error") => "the tool says in its result that it failed",
        ("", "rpc_error") => "the server answered with a JSON-RPC error",
        ("", _) => "the log says it",
        (why, _) => why,
    };
    page.facts(&[
        ("why", format!("{why} ({class}{status})")),
        ("what to do", advice(class).to_owned()),
        ("waited, ran", format!("{}, {}", latency(call.waited), latency(call.ran))),
        ("request", call.request_id.clone()),
        ("rpc id", call.rpc_id.clone()),
        ("trace", call.trace_id.clone()),
    ]);
}

fn advice(word: &str) -> &'static str {
    let mut lines = ADVICE.lines().filter_map(|line| line.split_once('|'));
    let found = lines.find(|(words, _)| words.split(' ').any(|known| known == word));
    found.map_or("Search the log for the request, here and on the server's side.", |(_, advice)| advice)
}

/// Writes the newest calls, the last first.
pub(super) fn show(page: &mut Page, kept: &Kept) {
    page.section("calls");
    let view = page.view.clone();
    let channels = kept.hours.keys().map(|name| Some(name.clone()));
    let channels = [None].into_iter().chain(channels).map(|channel| View { channel, ..view.clone() });
    links(page, "Channel", channels, |view| view.channel.as_deref().unwrap_or("all"));
    let outcomes =
        [None].into_iter().chain(OUTCOMES.map(Some)).map(|outcome| View { outcome, ..view.clone() });
    links(page, "Outcome", outcomes, |view| view.outcome.unwrap_or("all"));
    let is_wanted = |call: &&Arc<Call>| {
        // What no server has is counted, and so chosen, as one.
        let channel = call.channel.as_str();
        let channel = if kept.hours.contains_key(channel) { channel } else { "other" };
        view.channel.as_deref().is_none_or(|wanted| wanted == channel)
            && view.outcome.is_none_or(|wanted| wanted == call.fate.outcome)
    };
    let most = if view.channel.is_some() || view.outcome.is_some() { SHOWN[1] } else { SHOWN[0] };
    page.table("calls", kept.last.iter().rev().filter(is_wanted).take(most).map(|call| row(call)));
}

fn row(call: &Call) -> Vec<Cell> {
    let tone = match call.fate.outcome {
        "ok" => "ok",
        "refused" | "cancelled" => "wait",
        _ => "bad",
    };
    // The log has the whole digest; its beginning finds it.
    let ids = [("", call.request_id.as_str()), ("rpc ", &call.rpc_id), ("session ", head(&call.session, 12))];
    let ids = ids.iter().filter(|(_, id)| !id.is_empty()).map(|(what, id)| format!("{what}{id}"));
    let numbers = [latency(call.ran), latency(call.waited), bytes(call.bytes_in), bytes(call.fate.bytes)];
    let mut cells = vec![
        cell(timestamp::shown(call.at)),
        // Beside the time, so that it is seen on a phone.
        cell(call.fate.outcome).class(tone).more(call.fate.failure.unwrap_or_default()),
        cell(name(call)).more(ids.collect::<Vec<_>>().join(" · ")),
        cell(call.channel.as_str()),
    ];
    cells.extend(numbers.map(|number| cell(number).class("n")));
    cells
}

/// What is asked; a command without a message has no method.
fn name(call: &Call) -> String {
    let method = if call.method.is_empty() { "a command without a method" } else { &call.method };
    format!("{method} {}", call.name).trim_end().to_owned()
}

/// Links to other views, with the present one marked. Names of channels have nothing to escape.
pub(super) fn links(page: &mut Page, what: &str, to: impl Iterator<Item = View>, name: fn(&View) -> &str) {
    let link = |view: View| {
        let mark = if view == page.view { " aria-current=true" } else { "" };
        format!(" <a href=\"{}#calls\"{mark}>{}</a>", view.link(), name(&view))
    };
    let links: String = to.take(32).map(link).collect();
    page.raw(&format!("<p class=choice><strong>{what}</strong>{links}</p>\n"));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_advice_for_every_word() {
        assert!(advice("dial").starts_with("Nothing answers") && advice("expired").contains("its p95"));
        assert!(advice("unheard_of").starts_with("Search the log"));
    }
}
