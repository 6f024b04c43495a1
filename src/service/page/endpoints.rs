//! Harpoon's part of the operator's page: its endpoints and their last calls.

use ureq::http::Method;

use crate::harpoon::Harpoon;
use crate::harpoon::local;
use crate::ops::timestamp;

use super::html::{Page, cell, escaped};
use super::words::{bytes, latency};

/// No payload is written behind so much.
const PAYLOADS_BYTES_MAX: usize = 1_500_000;

/// Writes the section. Payloads, where they are kept, have a page of their own, for they may be large.
pub(in crate::service) fn show(page: &mut Page<'_>, harpoon: &Harpoon, over_http: bool) {
    let (endpoints, calls) = (harpoon.endpoints(), harpoon.calls());
    page.section("harpoon");
    let place = if over_http { local::PATH } else { "not offered on this listener" };
    let count = endpoints.all().len();
    page.paragraph(&format!(
        "Endpoints that may be called by label: {count}. For programs of this host: {place}."
    ));
    let rows = endpoints.all().iter().map(|endpoint| {
        let target = &endpoint.target;
        let methods: Vec<&str> = target.methods.iter().map(Method::as_str).collect();
        let label = cell(&target.label).more(&target.description);
        vec![label, cell(&target.origin), cell(methods.join(" ")), cell(endpoint.category)]
    });
    page.table("harpoon", rows);
    let rows = calls.iter().map(|call| {
        let status = call.status.map_or("-".to_owned(), |status| status.to_string());
        let answer = cell(format!("{status} {}", call.content_type)).more(&call.error);
        let sizes = format!("{} / {}", bytes(call.sent_bytes), bytes(call.received_bytes));
        let (ended, call_) = (timestamp::shown(call.at), format!("{} {}", call.method, call.origin));
        let numbers = [latency(call.took), sizes].map(|number| cell(number).class("n"));
        [cell(ended), cell(&call.label), cell(call_), answer].into_iter().chain(numbers).collect()
    });
    page.table("endpoint-calls", rows);
    for call in calls.iter().filter(|call| call.payloads.is_some()) {
        if !page.view.payloads {
            return page.raw("<p><a href=\"/ui?payloads=1\">What was sent and received</a></p>\n");
        }
        for (what, payload) in ["sent", "received"].iter().zip(call.payloads.iter().flatten()) {
            if page.text.len() > PAYLOADS_BYTES_MAX {
                return page.paragraph("Older ones are not shown here.");
            }
            // Cleaned and cut where it was kept.
            let payload = escaped(payload, usize::MAX);
            page.raw(&format!("<h3>{} {what}</h3><pre>{payload}</pre>\n", timestamp::shown(call.at)));
        }
    }
}
