//! What a search went through, step by step, for a person who wonders why it ended as it did.
//!
//! Written by the search itself, so that what is shown is what happened. Sentences hold URLs without their
//! queries, which may be keys, and nothing of a document. Decides nothing, asks nobody and cannot fail. What it
//! holds is bounded by the number of places and of members that a search looks at.

use std::collections::BTreeSet;
use std::sync::Arc;

use ureq::http::{Method, Uri};

use crate::config::Origin;
use crate::harpoon::registry::Endpoint;

use super::fetch::{self, Miss};
use super::register::Refusal;

/// The steps of one search.
#[derive(Default)]
pub(super) struct Trail {
    /// A line for each, in their order.
    pub(super) steps: Vec<String>,
    /// Why an authorization server that should have been read was not.
    pub(super) unread: Option<String>,
    /// That the authorization server's metadata names another issuer.
    pub(super) foreign: Option<String>,
    /// With which statuses places said that there is nothing.
    pub(super) absences: BTreeSet<u16>,
    /// The server itself was not reached when it was last asked.
    pub(super) unreached: bool,
}

/// One search as it ended.
pub struct Examined {
    /// What answered with metadata; nothing on a server without any. Or why it was not found.
    pub verdict: Result<Option<String>, String>,
    /// With which statuses places said that there is nothing.
    pub absences: BTreeSet<u16>,
    /// What to add when it was not found because an origin is not trusted.
    pub setting: Option<String>,
    /// Why an authorization server that should have been read was not.
    pub unread: Option<String>,
    /// It was not found because the server itself was not reached.
    pub unreached: bool,
    /// What each place answered, and which endpoints may be called.
    pub steps: Vec<String>,
}

impl Trail {
    /// What a place answered, or why nothing came of it.
    pub(super) fn asked(&mut self, method: &Method, url: &Uri, answer: Result<(u16, String), &Miss>) {
        let what = match answer {
            Ok((status, what)) => format!("{status}, {what}"),
            // Its text begins with the origin, which the line has named.
            Err(miss) => {
                self.absences.extend(miss.status.filter(|_| miss.absent));
                let origin = Origin::of(url).map(|origin| origin.to_string()).unwrap_or_default();
                let text = miss.text.strip_prefix(&origin).unwrap_or(&miss.text);
                text.trim_start_matches([':', ' ']).trim_start_matches("answered ").to_owned()
            }
        };
        self.steps.push(format!("{method} {}: {what}", shown(url)));
    }

    /// An authorization server that is not trusted.
    pub(super) fn unasked(&mut self, origin: &Origin) {
        let why = "is not the MCP server's origin, so it is not asked; if it is to be called from here, add";
        self.steps.push(format!("authorization server {origin} {why} {}", fetch::setting(origin)));
    }

    /// Whether what a document names may be called.
    pub(super) fn offered(&mut self, role: &str, url: Option<&Uri>, made: Result<&Arc<Endpoint>, &Refusal>) {
        let place = url.map(|url| format!(" {}", shown(url))).unwrap_or_default();
        let verdict = match made {
            Ok(endpoint) => format!("may be called, as {}", endpoint.target.label),
            Err(Refusal::NotAllowed(why)) => format!("may not be called ({why})"),
            Err(Refusal::Failed(why)) => format!("cannot be called ({why})"),
        };
        self.steps.push(format!("{role}{place} {verdict}"));
    }
}

/// A URL without its query.
pub(super) fn shown(url: &Uri) -> String {
    let origin = Origin::of(url).map(|origin| origin.to_string()).unwrap_or_default();
    format!("{origin}{}", url.path())
}

/// A text of a document, cut: a person recognises an issuer by its beginning.
pub(super) fn bounded(text: &str) -> String {
    text.chars().take(200).collect()
}
