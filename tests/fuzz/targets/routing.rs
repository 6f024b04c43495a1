//! Corrections of where to poll: what is one, by the strict reader and the contract alone.

use ureq::http::{HeaderMap, HeaderValue};

use super::placements::{Placement, SHARD_TOKEN};
use crate::fuzz::strict_json::{self as strict, Is, Value};

/// The last revision.
const REVISION_MAX: u64 = 9_007_199_254_740_991;

/// Lines: the tokens of the header, parted by `|`; then the body of a reply.
pub fn run(data: &[u8]) {
    let end = data.iter().position(|byte| *byte == b'\n').unwrap_or(data.len());
    let (first, body) = (&data[..end], data.get(end + 1..).unwrap_or_default());
    let mut headers = HeaderMap::new();
    let mut tokens = Vec::new();
    for token in first.split(|byte| *byte == b'|').filter(|token| !token.is_empty()) {
        let Ok(value) = HeaderValue::from_bytes(token) else { return };
        headers.append(SHARD_TOKEN, value);
        tokens.push(token);
    }
    let expected = revision(body, &tokens);
    match (Placement::read(409, &headers, Some(body)), expected) {
        (Placement::Rejected(correction), Some(revision)) => {
            assert!(format!("{correction:?}").contains(&format!("revision: {revision},")), "{correction:?}");
        }
        (Placement::Rejected(correction), None) => panic!("{correction:?}"),
        (other, Some(_)) => panic!("{other:?}"),
        (other, None) => assert!(tokens.is_empty() || other != Placement::Unsaid),
    }
    // Of another status, or not read to its end, nothing is one.
    for (status, body) in [(200, Some(body)), (503, Some(body)), (409, None)] {
        assert!(!matches!(Placement::read(status, &headers, body), Placement::Rejected(_)));
    }
}

/// The revision of a correction.
fn revision(body: &[u8], tokens: &[&[u8]]) -> Option<u64> {
    let [token] = tokens else { return None };
    let text = std::str::from_utf8(body).ok()?;
    let tree = strict::read(body).ok()?;
    let error = tree.only("error").filter(|error| matches!(error.is, Is::Object(_)))?;
    let count = |name: &str| {
        let named =
            error.members().iter().filter(|(own, _)| strict::text(&own.units).as_deref() == Some(name));
        named.count()
    };
    if count("code") != 1 || count("policy_revision") != 1 || count("shard_token") > 1 {
        return None;
    }
    if error.only("code").and_then(Value::text)? != "wrong_cluster" {
        return None;
    }
    if let Some(repeated) = error.only("shard_token") {
        repeated.text().filter(|repeated| repeated.as_bytes() == *token)?;
    }
    let legal = |byte: &u8| matches!(byte, b'!'..=b'~') && *byte != b',';
    let digits = &text[error.only("policy_revision")?.at.clone()];
    let fits =
        token.iter().all(legal) && token.len() <= 4096 && digits.bytes().all(|byte| byte.is_ascii_digit());
    digits.parse().ok().filter(|revision| fits && *revision <= REVISION_MAX)
}
