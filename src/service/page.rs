//! The page of the listener for the operator: what this tunnel is, how it does, and what was called by name.
//!
//! One page of plain HTML without scripts, made anew from memory for each look at it. Whatever comes from outside, and that
//! is nearly all text on it, passes the redactor, is cut, and is escaped here. It shows origins and no paths,
//! because paths can be secrets. It cannot fail.

use std::fmt::{Display, Write};
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use ureq::http::Method;

use crate::config::Settings;
use crate::harpoon::Harpoon;
use crate::harpoon::history::Record;
use crate::harpoon::local;
use crate::ops::listener::PageMaker;
use crate::ops::redact::Redactor;
use crate::ops::timestamp;
use crate::text::{MAX_FOREIGN_BYTES, bounded};

use super::tunnel::Tunnel;

/// Most endpoints on the page; there may be ten thousand, and nobody reads as many.
const ENDPOINTS_MAX: usize = 200;

const STYLE: &str = "body{font:14px/1.4 sans-serif;margin:2em auto;max-width:75em;padding:0 1em}\
    table{border-collapse:collapse;margin:.5em 0}td,th{border:1px solid #999;padding:.2em .6em;text-align:left;\
    vertical-align:top}pre{white-space:pre-wrap;overflow-wrap:anywhere;margin:0;max-height:20em;overflow:auto}";

impl Tunnel {
    /// What makes the page. It holds on to the tunnel, which lives as long as the process anyway.
    pub(crate) fn page(self: &Arc<Self>, settings: &Settings, redactor: Arc<Redactor>) -> PageMaker {
        let (tunnel, started) = (Arc::clone(self), (Instant::now(), SystemTime::now()));
        let facts = [
            ("tunnel", settings.control_plane.tunnel_id.clone()),
            ("control plane", settings.control_plane.origin.to_string()),
            ("started", timestamp::plain(started.1)),
        ];
        let over_http = settings.harpoon.over_http;
        // Servers print what they work on. A TCP port would show that to every user of this host.
        let words_too = settings.health.unix_socket.is_some();
        Box::new(move || {
            let mut page = Page { text: String::new(), redactor: &redactor };
            let (ready, verdict) = tunnel.readiness.verdict();
            page.begin(if ready { "ready" } else { "not ready" });
            page.row(&["readiness", &verdict]);
            for (name, value) in &facts {
                page.row(&[name, value]);
            }
            page.row(&["running for", &format!("{} s", started.0.elapsed().as_secs())]);
            page.row(&["version", &format!("{} {}", crate::CLIENT_NAME, crate::VERSION)]);
            page.end_table();
            tunnel.show_servers(&mut page, words_too);
            if let Some(harpoon) = &tunnel.harpoon {
                show_endpoints(&mut page, harpoon, over_http);
                show_calls(&mut page, &harpoon.calls());
            }
            page.text
        })
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
            let words = child.last_words();
            if !words.is_empty() {
                page.head(&format!("Standard error of {}", child.channel().as_str()));
                // Line by line, as the log does: a secret must not hide behind the bound of all of them.
                let words: Vec<String> = words.iter().map(|line| page.shown(line)).collect();
                page.raw(&format!("<pre>{}</pre>", words.join("\n")));
            }
        }
    }
}

fn show_endpoints(page: &mut Page, harpoon: &Harpoon, over_http: bool) {
    let endpoints = harpoon.endpoints();
    let place = if over_http { local::PATH } else { "not offered on this listener" };
    page.head("Endpoints");
    page.paragraph(&format!(
        "{} may be called by name. For programs of this host: {place}.",
        endpoints.all().len()
    ));
    page.table("", &["label", "origin", "methods", "from", "description"]);
    for endpoint in endpoints.all().iter().take(ENDPOINTS_MAX) {
        let target = &endpoint.target;
        let methods: Vec<&str> = target.methods.iter().map(Method::as_str).collect();
        let (methods, origin) = (methods.join(" "), target.origin.to_string());
        page.row(&[&target.label, &origin, &methods, endpoint.category, &target.description]);
    }
    page.end_table();
}

fn show_calls(page: &mut Page, calls: &[Record]) {
    page.table("Last calls", &["time", "label", "call", "answer", "ms", "sent", "received", "error"]);
    for call in calls {
        let answer =
            format!("{} {}", call.status.map_or("-".into(), |status| status.to_string()), call.content_type);
        page.row(&[
            &timestamp::plain(call.at),
            &call.label,
            &format!("{} {}", call.method, call.origin),
            &answer,
            &call.took.as_millis().to_string(),
            &call.sent_bytes.to_string(),
            &call.received_bytes.to_string(),
            &call.error,
        ]);
        // Under the call and not in a column: most calls have none, and those that have need the room.
        for (what, payload) in ["sent", "received"].iter().zip(call.payloads.iter().flatten()) {
            if !payload.is_empty() {
                // Cleaned and cut where it was kept.
                let payload = escaped(payload);
                page.raw(&format!("<tr><td>{what}</td><td colspan=7><pre>{payload}</pre></td></tr>\n"));
            }
        }
    }
    page.end_table();
}

/// The page in the making.
struct Page<'a> {
    text: String,
    redactor: &'a Redactor,
}

impl Page<'_> {
    /// Everything up to the first table. The page fetches itself anew, since there is no script that could.
    fn begin(&mut self, title: &str) {
        self.write(format_args!(
            "<!DOCTYPE html>\n<html lang=en><head><meta charset=utf-8><meta http-equiv=refresh content=10>\
             <title>tunnel-client: {title}</title><style>{STYLE}</style></head><body>\n\
             <h1>tunnel-client: {title}</h1>\n<p>Also here: <a href=/healthz>/healthz</a> \
             <a href=/readyz>/readyz</a> <a href=/metrics>/metrics</a></p>\n<table>\n"
        ));
    }

    fn head(&mut self, title: &str) {
        let title = self.shown(title);
        self.write(format_args!("<h2>{title}</h2>\n"));
    }

    fn paragraph(&mut self, text: &str) {
        let text = self.shown(text);
        self.write(format_args!("<p>{text}</p>\n"));
    }

    /// Opens a table; title and names of columns are ours.
    fn table(&mut self, title: &str, columns: &[&str]) {
        if !title.is_empty() {
            self.head(title);
        }
        let columns: String = columns.iter().map(|column| format!("<th>{column}</th>")).collect();
        self.write(format_args!("<table>\n<tr>{columns}</tr>\n"));
    }

    /// One row of texts from anywhere.
    fn row(&mut self, cells: &[&str]) {
        let cells: String = cells.iter().map(|cell| format!("<td>{}</td>", self.shown(cell))).collect();
        self.write(format_args!("<tr>{cells}</tr>\n"));
    }

    fn end_table(&mut self) {
        self.raw("</table>\n");
    }

    /// Text as it may stand on the page: without secrets, within a bound, without meaning as markup.
    fn shown(&self, text: &str) -> String {
        escaped(&bounded(&self.redactor.clean(text), MAX_FOREIGN_BYTES))
    }

    /// Markup of ours.
    fn raw(&mut self, markup: &str) {
        self.text.push_str(markup);
    }

    fn write(&mut self, markup: impl Display) {
        // Writing to a text cannot fail.
        let _ = write!(self.text, "{markup}");
    }
}

/// Text without meaning as markup.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Secret;

    #[test]
    fn what_comes_from_outside_is_cleaned_cut_and_escaped() {
        let redactor = Redactor::new(vec![Secret::new("hunter2hunter2".into())]);
        let mut page = Page { text: String::new(), redactor: &redactor };
        page.row(&["<script>alert('x')</script>", "key hunter2hunter2", "\"&"]);
        page.head("<b>");
        assert!(
            !page.text.contains("<script") && !page.text.contains("hunter2") && !page.text.contains("<b>")
        );
        assert!(page.text.contains("&lt;script&gt;alert(&#39;x&#39;)") && page.text.contains("&quot;&amp;"));
        assert!(page.shown(&"x".repeat(5000)).len() <= MAX_FOREIGN_BYTES);
    }
}
