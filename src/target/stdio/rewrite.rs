//! Private ids: what leaves for a child and what comes back, with only ids and tokens replaced.
//!
//! Every call of a child carries a number of ours in place of the caller's id, so equal ids of two
//! conversations cannot meet and a late answer cannot reach a newer call. A progress token becomes
//! the same number. Both keep their JSON type; everything else keeps its text.

use crate::relay::json::{self, Span};
use crate::relay::message::Malformed;

/// What a private string looks like; numbers need no mark.
const PREFIX: &str = "tc-";

/// Where a progress token stands in a request, and in a notification.
pub(super) const REQUEST_TOKEN: [&str; 3] = ["params", "_meta", "progressToken"];
pub(super) const PROGRESS_TOKEN: [&str; 2] = ["params", "progressToken"];
/// Where a cancellation names its request.
pub(super) const CANCELLED_ID: [&str; 2] = ["params", "requestId"];
/// Where a subscription's messages name it: in notifications, and in its result.
pub(super) const SUBSCRIPTION: [&str; 3] = ["params", "_meta", "io.modelcontextprotocol/subscriptionId"];
pub(super) const SUBSCRIPTION_RESULT: [&str; 3] =
    ["result", "_meta", "io.modelcontextprotocol/subscriptionId"];

/// The value at a path of members. A member that is named twice is refused: the child could read the
/// other one.
pub(super) fn find(text: &str, path: &[&'static str]) -> Result<Option<Span>, Malformed> {
    let mut at = json::value(text).map_err(Malformed::Json)?;
    for name in path {
        let Some(members) = json::members(text, at).map_err(Malformed::Json)? else {
            return Ok(None);
        };
        let mut named = members.iter().filter(|member| member.name == *name);
        let Some(first) = named.next() else { return Ok(None) };
        if named.next().is_some() {
            return Err(Malformed::Duplicate(name));
        }
        at = first.value;
    }
    Ok(Some(at))
}

/// The private form of number `n` for a caller's id or token, of the same JSON type.
pub(super) fn private(n: u64, like: &str) -> String {
    if like.starts_with('"') { format!("\"{PREFIX}{n}\"") } else { n.to_string() }
}

/// The number behind a private id or token.
pub(super) fn number(literal: &str) -> Option<u64> {
    match json::string(literal) {
        Some(text) => text.strip_prefix(PREFIX)?.parse().ok(),
        None => literal.parse().ok(),
    }
}

/// The text with its spans replaced.
pub(super) fn splice(text: &str, mut replacements: Vec<(Span, String)>) -> String {
    replacements.sort_by_key(|(span, _)| span.start);
    let mut out = String::with_capacity(text.len() + 32);
    let mut at = 0;
    for (span, replacement) in replacements {
        out.push_str(Span { start: at, end: span.start }.of(text));
        out.push_str(&replacement);
        at = span.end;
    }
    out.push_str(Span { start: at, end: text.len() }.of(text));
    out
}

/// A message as one line. Raw line ends can only stand between tokens, where a space is as good:
/// otherwise one command could smuggle in others.
pub(super) fn line(text: String) -> Vec<u8> {
    let mut line = text.into_bytes();
    for byte in &mut line {
        if matches!(byte, b'\n' | b'\r') {
            *byte = b' ';
        }
    }
    line.push(b'\n');
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_lead_to_values_and_duplicates_are_refused() {
        let text = r#"{"params":{"_meta":{"progressToken":"t"}}}"#;
        assert_eq!(find(text, &REQUEST_TOKEN).unwrap().unwrap().of(text), "\"t\"");
        assert_eq!(find(r#"{"params":[]}"#, &REQUEST_TOKEN), Ok(None));
        let twice = r#"{"params":{"_meta":{"progressToken":1,"progress\u0054oken":2}}}"#;
        assert_eq!(find(twice, &REQUEST_TOKEN), Err(Malformed::Duplicate("progressToken")));
    }

    #[test]
    fn private_forms_keep_the_type_and_lead_back() {
        assert_eq!((private(7, "1.5"), private(7, "\"x\"")), ("7".into(), "\"tc-7\"".into()));
        assert_eq!(
            (number("7"), number("\"tc-7\""), number("\"x\""), number("1.5")),
            (Some(7), Some(7), None, None)
        );
    }

    #[test]
    fn only_spans_change_and_lines_stay_lines() {
        let text = "{\"id\":1,\n\"x\":\"a\\nb\",\"t\":2}";
        let spliced = splice(
            text,
            vec![(Span { start: 24, end: 25 }, "9".into()), (Span { start: 6, end: 7 }, "88".into())],
        );
        assert_eq!(spliced, "{\"id\":88,\n\"x\":\"a\\nb\",\"t\":9}");
        assert_eq!(line(spliced), b"{\"id\":88, \"x\":\"a\\nb\",\"t\":9}\n");
    }
}
