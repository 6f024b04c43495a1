//! The operator's page: what this tunnel is and how it does.
//!
//! It is made anew from memory for each look at it. It shows origins and no paths, because paths can be secrets. However
//! much there is to show, it stays under 100 KB, but for payloads of endpoints, which have a page of their own. It
//! cannot fail.

#[cfg(feature = "harpoon")]
pub(super) mod endpoints;

mod calls;
mod cards;
mod hour;
mod html;
mod places;
mod policy;
mod query;
pub(crate) mod support;
mod words;

use std::sync::Arc;
use std::time::SystemTime;

use crate::config::Settings;
use crate::net::Net;
use crate::ops::listener::{Made, PageMaker};
use crate::ops::log::Recent;
use crate::ops::redact::Redactor;
use crate::ops::timestamp;

use super::start::Process;
use super::tunnel::Tunnel;
use html::{cell, room};
use query::View;
use words::{duration, since};

pub(super) use html::Page;

/// Longest line of what a child prints.
const LINE_BYTES_MAX: usize = 200;

impl Tunnel {
    /// What makes the page. It holds on to the tunnel, which lives as long as the process anyway.
    pub(super) fn page(
        self: &Arc<Self>,
        settings: &Settings,
        net: &Net,
        process: &Process,
        redactor: &Arc<Redactor>,
    ) -> PageMaker {
        let (tunnel, recent, redactor) =
            (Arc::clone(self), Arc::clone(&process.recent), Arc::clone(redactor));
        let plane = &settings.control_plane;
        let (id, origin) = (plane.tunnel_id.clone(), plane.origin.to_string());
        let is_unix = settings.health.unix_socket.is_some();
        let (roots, limits, started) = (net.roots_summary(), process.limits.clone(), SystemTime::now());
        let make = move |query: &str| {
            let kept = tunnel.relay.calls.kept();
            let channels: Vec<&str> = kept.hours.keys().map(String::as_str).collect();
            let view = View::read(query, &channels);
            let refresh = view.refresh;
            let mut page = Page::new(&redactor, view);
            let word = tunnel.show_verdict(&mut page, &kept);
            let harpoon = tunnel.built_in.as_ref().filter(|built_in| built_in.count() > 0);
            if page.view.payloads {
                harpoon.inspect(|built_in| built_in.show(&mut page));
            } else {
                tunnel.show_cards(&mut page, &kept);
                hour::show(&mut page, &kept);
                calls::show_failure(&mut page, &kept);
                calls::show(&mut page, &kept);
                show_warnings(&mut page, &recent);
                tunnel.show_policy(&mut page);
                tunnel.show_certificates(&mut page);
                tunnel.show_routes(&mut page, &roots);
                tunnel.show_sign_in(&mut page);
                harpoon.inspect(|built_in| built_in.show(&mut page));
                // Servers print what they work on. A TCP port would show that to every user of this host.
                tunnel.show_words(&mut page, is_unix);
                tunnel.show_settings(&mut page, &limits);
                page.section("support");
                page.nothing("support");
                page.raw("<p><a href=\"/ui/support.txt\">What this process knows, for support</a></p>\n");
            }
            let top = tunnel.top([&id, &origin], started, &mut page);
            Made { html: page.whole(&format!("{word} – tunnel-client"), &top), refresh }
        };
        PageMaker { style: html::style_source(), make: Box::new(make) }
    }

    /// What stands above all sections.
    fn top(&self, [id, origin]: [&str; 2], started: SystemTime, page: &mut Page) -> String {
        let [name, id, origin] =
            [self.readiness.name(), id, origin].map(|text| page.shown(text, LINE_BYTES_MAX));
        let (version, age) = (crate::VERSION, duration(since(started)));
        let now = timestamp::shown(SystemTime::now());
        let body = std::mem::take(&mut page.text);
        let views = [None, Some(10), Some(60)].map(|refresh| View { refresh, ..page.view.clone() });
        calls::links(page, "Refresh", views.into_iter(), |view| match view.refresh {
            None => "off",
            Some(10) => "10 s",
            _ => "60 s",
        });
        let links = std::mem::replace(&mut page.text, body);
        let name = if name.is_empty() { "tunnel-client".to_owned() } else { name };
        format!(
            "<h1>{name} <span>{id}</span></h1><p>tunnel-client {version} · running for {age} · {origin} · seen at {now}</p>{links}"
        )
    }

    /// What children last complained about, where that may be seen.
    fn show_words(&self, page: &mut Page, words_too: bool) {
        if self.children.is_empty() {
            return;
        }
        page.section("words");
        if !words_too {
            return page.nothing("words");
        }
        let lines = room("words") / self.children.len() / LINE_BYTES_MAX;
        for child in &self.children {
            // Line by line, as the log does: a secret must not hide behind the bound of all of them.
            let last = child.last_lines();
            let last = last.iter().skip(last.len().saturating_sub(lines));
            let last: Vec<String> = last.map(|line| page.shown(line, LINE_BYTES_MAX)).collect();
            let (name, last) = (child.channel().as_str(), last.join("\n"));
            page.raw(&format!("<h3>Standard error of {name}</h3><pre tabindex=0>{last}</pre>\n"));
        }
    }
}

/// The last warnings and errors of the log.
fn show_warnings(page: &mut Page, recent: &Recent) {
    page.section("warnings");
    let rows = recent.all().into_iter().map(|line| {
        let tone = if line.level == "ERROR" { "bad" } else { "wait" };
        vec![cell(timestamp::shown(line.at)), cell(line.level).class(tone), cell(line.text)]
    });
    page.table("warnings", rows);
}
