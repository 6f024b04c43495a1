//! The operator's page: what this tunnel is and how it does.
//!
//! It is made anew from memory for each look at it. It shows origins and no paths, because paths can be secrets. It
//! cannot fail.

#[cfg(feature = "harpoon")]
pub(super) mod endpoints;
mod html;
mod support;

use std::sync::Arc;
use std::time::{Instant, SystemTime};

use crate::config::Settings;
use crate::ops::listener::{Made, PageMaker};
use crate::ops::redact::Redactor;
use crate::ops::timestamp;
use crate::sync;

use super::tunnel::Tunnel;

pub(super) use html::Page;

/// Calls that the page shows.
const CALLS_SHOWN: usize = 50;

impl Tunnel {
    /// What makes the page. It holds on to the tunnel, which lives as long as the process anyway.
    pub(crate) fn page(self: &Arc<Self>, settings: &Settings, redactor: Arc<Redactor>) -> PageMaker {
        let (tunnel, started) = (Arc::clone(self), (Instant::now(), SystemTime::now()));
        let facts = [
            ("tunnel", settings.control_plane.tunnel_id.clone()),
            ("control plane", settings.control_plane.origin.to_string()),
            ("started", timestamp::plain(started.1)),
        ];
        // Servers print what they work on. A TCP port would show that to every user of this host.
        let words_too = settings.health.unix_socket.is_some();
        let make = move |_: &str| {
            let mut page = Page { text: String::new(), redactor: &redactor };
            let (ready, verdict) = tunnel.readiness.verdict();
            page.begin(if ready { "ready" } else { "not ready" });
            page.row(&["readiness", &verdict]);
            for (name, value) in &facts {
                page.row(&[name, value]);
            }
            page.row(&["running for", &format!("{} s", started.0.elapsed().as_secs())]);
            let reload = tunnel.last_reload_text();
            page.row(&["last reload", &reload]);
            page.row(&["version", &format!("{} {}", crate::CLIENT_NAME, crate::VERSION)]);
            page.end_table();
            tunnel.show_calls(&mut page);
            tunnel.show_servers(&mut page, words_too);
            if let Some(watch) = &tunnel.watch {
                page.table("Tools that are not as they were accepted", &["channel", "tool", "change"]);
                watch.drifted().iter().for_each(|row| page.row(&row.each_ref().map(String::as_str)));
                page.end_table();
            }
            if let Some(built_in) = &tunnel.built_in {
                built_in.show(&mut page);
            }
            tunnel.show_settings(&mut page);
            Made { html: page.text, refresh: None }
        };
        PageMaker { style: html::style_source(), make: Box::new(make) }
    }

    /// The newest calls, the last first.
    fn show_calls(&self, page: &mut Page) {
        let columns = ["ended", "channel", "method", "name", "outcome", "status", "ms waiting", "ms running"];
        page.table("Calls", &[&columns[..], &["bytes in", "bytes out", "request", "session"]].concat());
        for call in self.relay.calls.last().iter().rev().take(CALLS_SHOWN) {
            let fate = &call.fate;
            let numbers = [
                fate.status.map(u128::from).unwrap_or_default(),
                call.waited.as_millis(),
                call.ran.as_millis(),
                u128::try_from(call.bytes_in).unwrap_or_default(),
                u128::try_from(fate.bytes).unwrap_or_default(),
            ];
            let [status, waited, ran, bytes_in, bytes_out] = numbers.map(|number| number.to_string());
            page.row(&[
                &timestamp::plain(call.at),
                call.channel.as_str(),
                &call.method,
                &call.name,
                fate.failure.unwrap_or(fate.outcome),
                &status,
                &waited,
                &ran,
                &bytes_in,
                &bytes_out,
                &call.request_id,
                &call.session,
            ]);
        }
        page.end_table();
    }

    /// The settings in force that are other than the defaults.
    fn show_settings(&self, page: &mut Page) {
        page.table("Settings", &["setting", "value", "given by"]);
        for one in sync::lock(&self.shown).iter().filter(|one| one.differs) {
            page.row(&[one.key, &one.value, &one.giver]);
        }
        page.end_table();
    }

    /// The last try to take over other settings, in words.
    fn last_reload_text(&self) -> String {
        match *sync::lock(&self.last_reload) {
            None => "none".to_owned(),
            Some((at, is_good)) => {
                let outcome = if is_good { "all taken over" } else { "not all could be used: see the log" };
                format!("{} s ago; {outcome}", at.elapsed().as_secs())
            }
        }
    }

    /// Each channel with its server, how that does, and what it last complained about, where that may be seen.
    fn show_servers(&self, page: &mut Page, words_too: bool) {
        page.table("Servers", &["channel", "server", "proxy", "state"]);
        for (name, client) in self.routes() {
            let route = client.route();
            let channel = self.servers.iter().find(|server| server.channel().as_str() == name);
            let state = channel.map(|server| self.readiness.target_text(server.channel()));
            let proxy = route.proxy.as_deref().unwrap_or("none");
            page.row(&[name, &route.destination, proxy, &state.unwrap_or_default()]);
        }
        for child in &self.children {
            let state = self.readiness.target_text(child.channel());
            page.row(&[child.channel().as_str(), "stdio", "", &state]);
        }
        page.end_table();
        if !words_too && !self.children.is_empty() {
            page.paragraph("What they print on standard error is shown here when health.unix-socket is set.");
        }
        for child in self.children.iter().filter(|_| words_too) {
            let words = child.last_lines();
            if !words.is_empty() {
                page.head(&format!("Standard error of {}", child.channel().as_str()));
                // Line by line, as the log does: a secret must not hide behind the bound of all of them.
                let words: Vec<String> = words.iter().map(|line| page.shown(line)).collect();
                page.raw(&format!("<pre>{}</pre>", words.join("\n")));
            }
        }
    }
}
