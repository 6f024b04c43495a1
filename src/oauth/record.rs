//! Record of one search: why it ended as it did.
//!
//! Part of it decides how a search goes on; the rest is for a person, and `doctor` shows it. Lines hold URLs without
//! their queries, which may be keys, and nothing else of a document but issuers.

use std::collections::BTreeSet;

use ureq::http::Method;

use crate::text;
use crate::url::Origin;

use super::fetch::{self, Miss};
use super::place::Place;

/// As much of an issuer as a log line repeats: a person recognises it by its beginning.
pub(super) const ISSUER_SHOWN_BYTES: usize = 200;

/// Record of one search.
#[derive(Default)]
pub struct Record {
    /// What each place answered, and which endpoints may be called.
    pub steps: Vec<String>,
    /// Statuses with which places said that there is nothing.
    pub absences: BTreeSet<u16>,
    /// Why an authorization server that should have been read was not.
    pub unread: Option<String>,
    /// Whether the server itself was not reached when it was last asked.
    pub unreached: bool,
    /// Whether every place stayed silent for as long as it was given.
    pub(super) timed_out: bool,
    /// That the authorization server's metadata names another issuer.
    pub(super) foreign: Option<String>,
}

impl Record {
    /// Keeps why the server itself did not answer, if it did not.
    pub(super) fn unanswered(&mut self, method: &Method, place: &Place, miss: Option<&Miss>) {
        self.unreached = miss.is_some_and(Miss::is_unsent);
        if let Some(miss) = miss {
            self.asked(method, place, Err(miss));
        }
    }

    /// Keeps that an authorization server is nobody who is asked.
    pub(super) fn left_out(&mut self, origin: &Origin) {
        let why = "is not the MCP server's origin, so it is not asked; if it is to be called from here, add";
        self.steps.push(format!("authorization server {origin} {why} {}", fetch::setting(origin)));
    }

    /// Keeps that the metadata of one issuer names another one.
    pub(super) fn differs(&mut self, asked: &str, named: &str) {
        let named = text::bounded(named, ISSUER_SHOWN_BYTES);
        self.foreign = Some(format!("metadata of {asked} names another issuer: {named}"));
    }

    /// Keeps what a place answered, or why nothing came of it.
    pub(super) fn asked(&mut self, method: &Method, place: &Place, answer: Result<(u16, String), &Miss>) {
        let answer = match answer {
            Ok((status, what)) => format!("{status}, {what}"),
            // Its text begins with the origin, which the line has named.
            Err(miss) => {
                self.absences.extend(miss.absence());
                let text = miss.to_string();
                let text = text.strip_prefix(&place.origin.to_string()).unwrap_or(&text);
                text.trim_start_matches([':', ' ']).trim_start_matches("answered ").to_owned()
            }
        };
        self.steps.push(format!("{method} {place}: {answer}"));
    }
}
