//! Routing corrections (`wrong-cluster-v1`): which token the next poll carries.
//!
//! The plane may answer a poll that it came to the wrong cluster, with a token that leads to the right one. Such a
//! token says where to ask and nothing else: URL, tunnel and key stay, answers carry the token of their own command,
//! and no success teaches one. It lives in memory alone and is shown nowhere.
//!
//! All of this is pure. The poller owns the state and has one poll at a time, so no result is older than the state
//! that it meets. What is not exactly a correction changes nothing.

use std::cmp::Ordering;

use ureq::http::{HeaderMap, HeaderName, HeaderValue};

use crate::relay::json;

/// The capability that every request declares.
pub(super) const CAPABILITY: &str = "wrong-cluster-v1";

/// The header that carries a token, of either direction.
pub(super) const SHARD_TOKEN: HeaderName = HeaderName::from_static("x-tunnel-shard-token");

/// Corrections, and failures of the cluster that a token leads to, in a row: after so many the token is given up.
const CORRECTIONS_MAX: u32 = 3;
const FAILURES_MAX: u32 = 3;

/// Longest token of a correction.
const TOKEN_BYTES_MAX: usize = 4096;

/// Largest revision, the last integer that every reader of JSON knows exactly, and its digits.
const REVISION_MAX: u64 = (1 << 53) - 1;
const REVISION_DIGITS_MAX: usize = 16;

/// Texts of the log. They quote nothing.
pub(super) const REJECTED: &str = "polling placement rejected; retrying after backoff";
const INVALID: &str = "invalid polling routing correction";
const UNREADABLE: &str = "invalid polling error response";

/// Correction: a token, and the revision of the plane's policy that it belongs to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Correction {
    revision: u64,
    token: HeaderValue,
}

/// What the reply to a failed poll says about its place.
#[derive(Debug, Default, PartialEq, Eq)]
pub enum Placement {
    /// Nothing.
    #[default]
    Unsaid,
    /// Nothing that could be read to its end.
    Cut,
    /// It was the wrong one.
    Rejected(Correction),
    /// What looks like a correction and is none; for the log.
    Invalid(&'static str),
}

/// Where the next poll goes, and what that rests on.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Routing {
    /// The token of the next poll; the first one has none.
    pub(super) active: Option<HeaderValue>,
    /// The correction with the highest revision so far.
    accepted: Option<Correction>,
    failures: u32,
    corrections: u32,
}

impl Routing {
    /// A poll was answered, with commands or without.
    pub(super) fn succeeded(&mut self) {
        (self.failures, self.corrections) = (0, 0);
    }

    /// A poll was corrected.
    pub(super) fn corrected(&mut self, new: &Correction) {
        self.failures = 0;
        self.corrections += 1;
        let known = self.accepted.as_ref();
        let newer = known.map_or(Ordering::Greater, |known| new.revision.cmp(&known.revision));
        match newer {
            Ordering::Greater => {
                self.active = Some(new.token.clone());
                self.accepted = Some(new.clone());
            }
            // Two tokens for one revision: neither can be right any more.
            Ordering::Equal => self.active = known.filter(|known| *known == new).map(|new| new.token.clone()),
            Ordering::Less => {}
        }
        if self.corrections == CORRECTIONS_MAX {
            (self.active, self.corrections) = (None, 0);
        }
    }

    /// The cluster that a poll was sent to failed.
    pub(super) fn failed(&mut self) {
        if self.active.is_none() {
            return;
        }
        self.failures += 1;
        if self.failures == FAILURES_MAX {
            (self.active, self.failures) = (None, 0);
        }
    }
}

impl Placement {
    /// Reads the reply to a failed poll; without a body where that was larger than an error may be.
    pub(super) fn read(status: u16, headers: &HeaderMap, body: Option<&[u8]>) -> Placement {
        match (status, body.ok_or(UNREADABLE).and_then(said)) {
            (409, Ok(Some(said))) => {
                correction(headers, said).map_or(Placement::Invalid(INVALID), Placement::Rejected)
            }
            (409, Err(why)) => Placement::Invalid(why),
            // At another time, or without its other half, it is no correction; and nobody else sends such a token.
            (_, Ok(Some(_))) => Placement::Invalid(INVALID),
            _ if headers.contains_key(SHARD_TOKEN) => Placement::Invalid(INVALID),
            _ => Placement::Unsaid,
        }
    }
}

/// The revision as it is written, and the token that is repeated, of a body that says `wrong_cluster`.
struct Said<'a> {
    revision: &'a str,
    token: Option<&'a str>,
}

/// Reads an error body strictly: what another reader could take for something else is no correction.
fn said(body: &[u8]) -> Result<Option<Said<'_>>, &'static str> {
    let text = std::str::from_utf8(body).map_err(|_| UNREADABLE)?;
    // A page comes from something on the way.
    if text.is_empty() || text.trim_start().starts_with('<') {
        return Ok(None);
    }
    let (_, members) = json::object(text).map_err(|_| UNREADABLE)?;
    let error = json::only(&members.ok_or(UNREADABLE)?, "error").map_err(|_| INVALID)?;
    let members = error.map(|error| json::members(text, error)).transpose().map_err(|_| UNREADABLE)?;
    let Some(members) = members.flatten() else { return Ok(None) };
    let member =
        |name| json::only(&members, name).map(|span| span.map(|span| span.of(text))).map_err(|_| INVALID);
    let (code, revision, token) = (member("code")?, member("policy_revision")?, member("shard_token")?);
    match code.and_then(json::string).as_deref() {
        Some("wrong_cluster") => Ok(Some(Said { revision: revision.unwrap_or_default(), token })),
        _ => Ok(None),
    }
}

/// The correction, if both halves of it are what they should be, and agree.
fn correction(headers: &HeaderMap, said: Said<'_>) -> Option<Correction> {
    let mut lines = headers.get_all(SHARD_TOKEN).iter();
    let (mut token, None) = (lines.next()?.clone(), lines.next()) else { return None };
    let bytes = token.as_bytes();
    let is_legal = |byte: &u8| byte.is_ascii_graphic() && *byte != b',';
    let is_repeated =
        said.token.is_none_or(|text| json::string(text).is_some_and(|text| text.as_bytes() == bytes));
    let fits = (1..=TOKEN_BYTES_MAX).contains(&bytes.len()) && bytes.iter().all(is_legal) && is_repeated;
    let digits = Some(said.revision).filter(|text| {
        (1..=REVISION_DIGITS_MAX).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit())
    });
    let revision = digits?.parse().ok().filter(|revision| fits && *revision <= REVISION_MAX)?;
    token.set_sensitive(true);
    Some(Correction { revision, token })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn correction(revision: u64, token: &'static str) -> Correction {
        Correction { revision, token: HeaderValue::from_static(token) }
    }

    fn routing(
        active: Option<&'static str>,
        accepted: Option<(u64, &'static str)>,
        counts: [u32; 2],
    ) -> Routing {
        Routing {
            active: active.map(HeaderValue::from_static),
            accepted: accepted.map(|(revision, token)| correction(revision, token)),
            failures: counts[0],
            corrections: counts[1],
        }
    }

    /// Events of a poll: success, failure of the destination, correction.
    enum Event {
        Success,
        Failure,
        Correction(u64, &'static str),
    }

    fn after(mut state: Routing, event: &Event) -> Routing {
        match event {
            Event::Success => state.succeeded(),
            Event::Failure => state.failed(),
            Event::Correction(revision, token) => state.corrected(&correction(*revision, token)),
        }
        state
    }

    /// All transitions: state, event, state. Counts are failures and corrections.
    #[test]
    fn new_014_018_019_transitions() {
        use Event::{Correction, Failure, Success};
        let (new, five) = (|| routing(None, None, [0, 0]), Some((5, "five")));
        let on_five = |counts| routing(Some("five"), five, counts);
        let off_five = |counts| routing(None, five, counts);
        for (number, (before, event, then)) in [
            (new(), Success, new()),
            (on_five([2, 2]), Success, on_five([0, 0])),
            (off_five([0, 1]), Success, off_five([0, 0])),
            // Without a token nothing can be the fault of where it leads.
            (new(), Failure, new()),
            (off_five([0, 1]), Failure, off_five([0, 1])),
            (on_five([0, 1]), Failure, on_five([1, 1])),
            (on_five([1, 2]), Failure, on_five([2, 2])),
            (on_five([2, 1]), Failure, off_five([0, 1])),
            // Unknown, then greater.
            (new(), Correction(0, "zero"), routing(Some("zero"), Some((0, "zero")), [0, 1])),
            (on_five([2, 0]), Correction(6, "six"), routing(Some("six"), Some((6, "six")), [0, 1])),
            (off_five([0, 1]), Correction(6, "six"), routing(Some("six"), Some((6, "six")), [0, 2])),
            // Equal: the same token comes back, another one ends both.
            (off_five([0, 0]), Correction(5, "five"), on_five([0, 1])),
            (on_five([1, 1]), Correction(5, "five"), on_five([0, 2])),
            (on_five([1, 1]), Correction(5, "other"), off_five([0, 2])),
            (off_five([0, 0]), Correction(5, "other"), off_five([0, 1])),
            // Smaller: the place stays.
            (on_five([2, 0]), Correction(4, "four"), on_five([0, 1])),
            (off_five([0, 0]), Correction(4, "four"), off_five([0, 1])),
            // The third in a row, whatever it says.
            (on_five([0, 2]), Correction(4, "four"), off_five([0, 0])),
            (on_five([2, 2]), Correction(5, "five"), off_five([0, 0])),
            (on_five([0, 2]), Correction(6, "six"), routing(None, Some((6, "six")), [0, 0])),
        ]
        .into_iter()
        .enumerate()
        {
            assert_eq!(after(before, &event), then, "row {number}");
        }
    }

    fn headers(tokens: &[&[u8]]) -> HeaderMap {
        let lines = tokens.iter().map(|token| (SHARD_TOKEN, HeaderValue::from_bytes(token).unwrap()));
        lines.collect()
    }

    fn read(status: u16, tokens: &[&[u8]], body: &str) -> Placement {
        Placement::read(status, &headers(tokens), Some(body.as_bytes()))
    }

    #[test]
    fn new_015_tokens_are_one_line_of_graphic_characters() {
        const BODY: &str = r#"{"error":{"code":"wrong_cluster","policy_revision":42}}"#;
        let longest = [b'~'; TOKEN_BYTES_MAX];
        for good in [&b"a"[..], b"!\"#;=~", &longest] {
            let Placement::Rejected(found) = read(409, &[good], BODY) else { panic!("{good:?}") };
            assert_eq!((found.revision, found.token.as_bytes()), (42, good));
            assert!(found.token.is_sensitive());
        }
        let too_long = [b'~'; TOKEN_BYTES_MAX + 1];
        let none: [&[&[u8]]; 2] = [&[], &[b"a", b"a"]];
        let bad = [&b""[..], b"a b", b"a\tb", b"a,b", b"a\xe4", &too_long].map(|token| [token]);
        for tokens in none.into_iter().chain(bad.iter().map(|one| &one[..])) {
            assert_eq!(read(409, tokens, BODY), Placement::Invalid(INVALID), "{tokens:?}");
        }
    }

    #[test]
    fn new_016_bodies_are_read_as_they_are_written() {
        let is = |body: &str| read(409, &[b"t"], body);
        let error = |members: &str| format!(r#"{{"error":{{"code":"wrong_cluster",{members}}}}}"#);
        for (members, revision) in [
            (r#""policy_revision":0"#, 0),
            (r#""policy_revision": 9007199254740991 "#, REVISION_MAX),
            (r#""policy_revision":7,"shard_token":"t""#, 7),
            (r#""policy_revision":7,"shard_token":"\u0074","x":1,"x":2,"Code":3"#, 7),
        ] {
            assert_eq!(is(&error(members)), Placement::Rejected(correction(revision, "t")), "{members}");
        }
        let escaped = r#" {"x":1,"x":2,"Error":7,"\u0065rror":{"co\u0064e":"wrong\u005fcluster","policy_revision":1}} "#;
        assert_eq!(is(escaped), Placement::Rejected(correction(1, "t")));
    }

    #[test]
    fn new_016_017_what_is_not_exactly_a_correction_is_none() {
        let is = |body: &str| read(409, &[b"t"], body);
        let error = |members: &str| format!(r#"{{"error":{{"code":"wrong_cluster",{members}}}}}"#);
        for bad in [
            "\"x\":1",
            r#""policy_revision":"42""#,
            r#""policy_revision":null"#,
            r#""policy_revision":-1"#,
            r#""policy_revision":1.0"#,
            r#""policy_revision":1e3"#,
            r#""policy_revision":9007199254740992"#,
            r#""policy_revision":00000000000000001"#,
            r#""policy_revision":1,"policy_revision":1"#,
            r#""policy_revision":1,"policy\u005frevision":1"#,
            r#""policy_revision":1,"code":"wrong_cluster""#,
            r#""policy_revision":1,"shard_token":"t","shard_token":"t""#,
            r#""policy_revision":1,"shard_token":"other""#,
            r#""policy_revision":1,"shard_token":null"#,
            r#""policy_revision":1,"shard_token":7"#,
        ] {
            assert!(matches!(is(&error(bad)), Placement::Invalid(_)), "{bad}");
        }
        let good = error("\"policy_revision\":1");
        let twice = good.replacen("{\"error\"", "{\"error\":{},\"error\"", 1);
        for bad in
            [twice, format!("{good}1"), format!("{good} {good}"), format!("[{good}]"), good.replace(':', ";")]
        {
            assert!(matches!(is(&bad), Placement::Invalid(_)), "{bad}");
        }
        assert_eq!(Placement::read(409, &headers(&[b"t"]), None), Placement::Invalid(UNREADABLE));
        assert_eq!(
            Placement::read(409, &headers(&[b"t"]), Some(b"\"\xff\"")),
            Placement::Invalid(UNREADABLE)
        );
        for ordinary in [
            "",
            " <html>",
            "{}",
            r#"{"error":null}"#,
            r#"{"error":"wrong_cluster"}"#,
            r#"{"error":{"code":"x"}}"#,
        ] {
            assert_eq!(read(409, &[], ordinary), Placement::Unsaid, "{ordinary}");
            assert_eq!(read(409, &[b"t"], ordinary), Placement::Invalid(INVALID), "{ordinary}");
        }
        for status in [400, 408, 429, 503] {
            assert_eq!(read(status, &[b"t"], &good), Placement::Invalid(INVALID));
            assert_eq!(read(status, &[], &good), Placement::Invalid(INVALID));
            assert_eq!(read(status, &[b"t"], "{}"), Placement::Invalid(INVALID));
            assert_eq!(read(status, &[], "no JSON"), Placement::Unsaid);
        }
    }
}
