//! Harpoon's part of the operator's page: its endpoints and their last calls.

use ureq::http::Method;

use crate::harpoon::Harpoon;
use crate::harpoon::history::Record;
use crate::harpoon::local;
use crate::ops::timestamp;

use super::html::{Page, escaped};

/// Most endpoints on the page; there may be ten thousand, and nobody reads as many.
const ENDPOINTS_MAX: usize = 200;

/// Writes both tables.
pub(in crate::service) fn show(page: &mut Page<'_>, harpoon: &Harpoon, over_http: bool) {
    show_endpoints(page, harpoon, over_http);
    show_calls(page, &harpoon.calls());
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
