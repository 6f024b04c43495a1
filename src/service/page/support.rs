//! What a running tunnel says for support: one text that a person can read before sending it.
//!
//! Made from memory when somebody asks, as the page is, and within bounds; every line passes the redactor. It cannot
//! fail.

use std::fs;
use std::sync::Arc;

use crate::config::Settings;
use crate::config::shown::Shown;
use crate::ops::listener::SupportMaker;
use crate::ops::log::Noted;
use crate::ops::redact::Redactor;
use crate::ops::timestamp;
use crate::relay::calls::Call;
use crate::sync;
use crate::text::bounded;

use super::super::start::Process;
use super::Tunnel;

/// What the text begins with.
const HEAD: &str = include_str!("support_head.txt");

/// Longest text of a section; of the five that may be long, all are below 512 KiB.
const SECTION_BYTES_MAX: usize = 96 * 1024;

/// What stands around a title.
const FRAME: &str = "==";

/// What stands in a line about a call.
const COLUMNS: &str = "ended | channel | method | name | outcome | status | ms waiting | ms running | bytes in | bytes out | request | rpc id | session | trace | why\n";

/// Longest line.
pub(crate) const LINE_BYTES_MAX: usize = 4096;

/// Lines of the kernel about this process that matter.
const STATUS: [&str; 6] = ["Threads", "VmPeak", "VmSize", "VmHWM", "VmRSS", "voluntary_ctxt_switches"];

impl Tunnel {
    /// What makes the text. It holds on to the tunnel, which lives as long as the process anyway.
    pub(crate) fn support(
        self: &Arc<Self>,
        settings: &Settings,
        process: &Process,
        redactor: &Arc<Redactor>,
    ) -> SupportMaker {
        let (recent, redactor) = (Arc::clone(&process.recent), Arc::clone(redactor));
        let (tunnel, health) = (Arc::clone(self), self.health(settings, &process.instance_id));
        let program = format!("{}\ncage: {}", crate::build(), process.limits);
        Box::new(move || {
            let settings: String = sync::lock(&tunnel.shown).iter().map(Shown::to_string).collect();
            let health = health().whole(true).unwrap_or_default();
            let health: serde_json::Value = serde_json::from_str(&health).unwrap_or_default();
            let calls = tunnel.relay.calls.kept();
            let calls: String = calls.last.iter().rev().map(|call| call_line(call)).collect();
            let tools = tunnel.watch.as_ref().map(|watch| watch.shown()).unwrap_or_default();
            let tools: String = tools.iter().map(|row| row.join("  ") + "\n").collect();
            let warning =
                |line: Noted| format!("{} {} {}\n", timestamp::plain(line.at), line.level, line.text);
            let warnings: String = recent.all().into_iter().map(warning).collect();
            let sections = [
                ("program", program.clone()),
                ("readiness", tunnel.readiness.verdict().1),
                ("settings in force", settings),
                ("health", format!("{health:#}")),
                ("last reload", tunnel.last_reload_text()),
                ("tools that were accepted, or are not as they were", tools),
                ("last warnings and errors, the newest first", warnings),
                ("last calls, the newest first", COLUMNS.to_owned() + &calls),
                ("process", kernel()),
                ("metrics", tunnel.metrics.render(&tunnel.readiness)),
            ];
            let mut out = HEAD.to_owned();
            for (title, text) in sections {
                out.push_str(&section([FRAME, title], &text, SECTION_BYTES_MAX, &redactor));
            }
            out
        })
    }
}

/// Line as it may be sent. No line of somebody else passes for a title in its frame.
pub(crate) fn sendable(line: &str, frame: &str, redactor: &Redactor) -> String {
    let mark = if line.starts_with(frame) { " " } else { "" };
    mark.to_owned() + &bounded(&redactor.clean(line), LINE_BYTES_MAX)
}

/// Title and lines without secrets, as many as there is room for.
pub(crate) fn section([frame, title]: [&str; 2], text: &str, mut left: usize, redactor: &Redactor) -> String {
    let mut out = format!("\n{frame} {title} {frame}\n");
    for line in text.lines() {
        let line = sendable(line, frame, redactor);
        if line.len() >= left {
            return out + "(more was left out)\n";
        }
        left -= line.len() + 1;
        out.extend([&line, "\n"]);
    }
    out
}

/// What is known of a call, as texts in the order of [`COLUMNS`].
fn call_line(call: &Call) -> String {
    let fate = &call.fate;
    let numbers = [call.waited.as_millis(), call.ran.as_millis()].map(|time| time.to_string());
    let sizes = [call.bytes_in, fate.bytes].map(|size| size.to_string());
    let status = fate.status.map_or("-".to_owned(), |status| status.to_string());
    let ([waited, ran], [sent, got]) = (&numbers, &sizes);
    let at = timestamp::plain(call.at);
    let outcome =
        [&at, call.channel.as_str(), &call.method, &call.name, fate.failure.unwrap_or(fate.outcome)];
    let ids = [
        &status,
        waited,
        ran,
        sent,
        got,
        &call.request_id,
        &call.rpc_id,
        &call.session,
        &call.trace_id,
        &call.why,
    ];
    // What was chosen by others makes no line.
    bounded(&(outcome.join(" | ") + " | " + &ids.map(String::as_str).join(" | ")), LINE_BYTES_MAX) + "\n"
}

/// What the kernel says of this process, where it does.
fn kernel() -> String {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let limits = fs::read_to_string("/proc/self/limits").unwrap_or_default();
    let matters =
        |line: &&str| STATUS.iter().any(|name| line.starts_with(name)) || line.starts_with("Max open");
    let lines: Vec<&str> = status.lines().chain(limits.lines()).filter(matters).collect();
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Channel;
    use crate::relay::record::Fate;
    use std::time::{Duration, SystemTime};

    /// Whoever chooses a name makes no line of it, and none that begins a section.
    #[test]
    fn a_call_is_one_line() {
        let call = Call {
            at: SystemTime::UNIX_EPOCH,
            request_id: "r".into(),
            rpc_id: "7".into(),
            session: String::new(),
            channel: Channel::main(),
            method: "tools/call".into(),
            name: "x\n\n== health ==\nok".into(),
            trace_id: String::new(),
            fate: Fate::CANCELLED,
            waited: Duration::ZERO,
            ran: Duration::ZERO,
            bytes_in: 1,
            why: String::new(),
        };
        let line = call_line(&call);
        assert_eq!((line.lines().count(), line.ends_with('\n')), (1, true), "{line}");
        let out = section([FRAME, "ours"], "a\n== health ==", 1000, &Redactor::new(Vec::new()));
        assert_eq!(out, "\n== ours ==\na\n == health ==\n");
    }
}
