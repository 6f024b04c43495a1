//! Revisions of MCP: which there are, and what tells them apart. A new revision is one row of `REVISIONS`.
//!
//! Revisions are dates and compare as text. One that is not listed is judged by its neighbours: nothing here
//! refuses a revision, since the two programs that speak it have to agree and not this one between them.

use ureq::http::HeaderName;

use crate::text::words;

words! {
    /// Family of revisions.
    Era {
        /// Revisions with a handshake, and everything that does not say otherwise.
        Legacy = "legacy",
        /// 2026-07-28 and later: every request describes itself.
        Modern = "modern",
    }
}

/// One revision.
struct Revision {
    date: &'static str,
    era: Era,
    /// Whether requests after the handshake bring the revision in a header.
    has_header: bool,
    /// Whether a mistake in a tool's arguments is told to the model, as a result, and not to the program.
    #[cfg_attr(not(feature = "harpoon"), allow(dead_code))]
    tells_model: bool,
}

/// All known revisions, the oldest first.
const REVISIONS: [Revision; 5] = [
    Revision { date: "2024-11-05", era: Era::Legacy, has_header: false, tells_model: false },
    Revision { date: "2025-03-26", era: Era::Legacy, has_header: false, tells_model: false },
    Revision { date: "2025-06-18", era: Era::Legacy, has_header: true, tells_model: false },
    Revision { date: "2025-11-25", era: Era::Legacy, has_header: true, tells_model: true },
    Revision { date: "2026-07-28", era: Era::Modern, has_header: true, tells_model: true },
];

/// Header that names the revision of a request.
pub const VERSION_HEADER: HeaderName = HeaderName::from_static("mcp-protocol-version");

/// Key inside `params._meta` by which a request states its revision. One flat key: dots and slash
/// belong to its name.
pub const CLAIM: &str = "io.modelcontextprotocol/protocolVersion";

/// Methods that exist only in revisions with a handshake: they decide the era where a request does not
/// state it.
const LEGACY_METHODS: &str = "initialize ping logging/setLevel resources/subscribe resources/unsubscribe tasks/list \
    tasks/result notifications/initialized notifications/progress notifications/roots/list_changed";

/// Methods that exist only since 2026-07-28.
const MODERN_METHODS: [&str; 3] = ["server/discover", "subscriptions/listen", "tasks/update"];

/// Requests of clients, over all revisions, the most frequent first.
const REQUESTS: &str = "tools/call tools/list resources/read prompts/get completion/complete initialize logging/setLevel \
    ping prompts/list resources/list resources/subscribe resources/templates/list resources/unsubscribe server/discover \
    subscriptions/listen tasks/cancel tasks/get tasks/list tasks/result tasks/update";

impl Era {
    /// The known revisions of this era, the oldest first.
    pub fn revisions(self) -> impl DoubleEndedIterator<Item = &'static str> {
        REVISIONS.iter().filter(move |revision| revision.era == self).map(|revision| revision.date)
    }

    /// The newest revision of this era: the one that is asked for and offered.
    pub fn newest(self) -> &'static str {
        self.revisions().next_back().unwrap_or_default()
    }

    /// The era of a revision, known or not.
    pub fn of_revision(date: &str) -> Era {
        if Era::Modern.revisions().next().is_some_and(|first| date >= first) {
            Era::Modern
        } else {
            Era::Legacy
        }
    }

    /// The only era that has this method. A message without a method belongs to no revision in particular, and
    /// those with a handshake are the ones that read it.
    pub(super) fn of_method(method: Option<&str>) -> Option<Era> {
        match method {
            None | Some("") => Some(Era::Legacy),
            Some(method) if LEGACY_METHODS.split_ascii_whitespace().any(|legacy| legacy == method) => {
                Some(Era::Legacy)
            }
            Some(method) => MODERN_METHODS.contains(&method).then_some(Era::Modern),
        }
    }
}

/// Whether clients make this request in some revision.
pub fn is_request(method: &str) -> bool {
    REQUESTS.split(' ').any(|known| known == method)
}

/// Whether requests of this revision bring it in [`VERSION_HEADER`].
pub fn has_header(date: &str) -> bool {
    since(date, |revision| revision.has_header)
}

/// Whether a mistake in a tool's arguments is told to the model in this revision.
#[cfg(feature = "harpoon")]
pub fn tells_model(date: &str) -> bool {
    since(date, |revision| revision.tells_model)
}

fn since(date: &str, has: impl Fn(&Revision) -> bool) -> bool {
    REVISIONS.iter().find(|revision| has(revision)).is_some_and(|first| date >= first.date)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn revisions_stand_in_their_order_and_so_do_their_eras() {
        assert!(REVISIONS.is_sorted_by_key(|revision| revision.date));
        assert_eq!((Era::Legacy.newest(), Era::Modern.newest()), ("2025-11-25", "2026-07-28"));
        for Revision { date, era, has_header: listed, tells_model } in REVISIONS {
            assert_eq!((Era::of_revision(date), has_header(date)), (era, listed), "{date}");
            assert_eq!(since(date, |revision| revision.tells_model), tells_model, "{date}");
        }
        assert_eq!(Era::of_revision("2099-01-01"), Era::Modern);
    }
}
