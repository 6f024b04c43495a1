//! The chain of records: each line has a number, and the digest of the line before it.
//!
//! It finds accidents and partial edits. Whoever may write the file can write a whole chain anew; so its head, the
//! number and the digest of the last line, goes to the ordinary log as well, where it can be compared.

use serde::Deserialize;

use crate::crypto;

/// Longest line, its newline included. Every member of one has a bound, so that none comes near it.
pub(crate) const LINE_BYTES_MAX: usize = 64 * 1024;

/// What every line begins with.
const BEGINNING: &[u8] = b"{\"v\":1,\"time\":\"";

/// Digest before the first line.
const NOTHING: &str = "0000000000000000000000000000000000000000000000000000000000000000";

/// End of a chain: the number of a line, and the SHA-256 of it without its newline.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Head {
    /// 0 before the first line.
    pub(crate) seq: u64,
    /// In lower-case hexadecimal digits.
    pub(crate) digest: String,
}

/// Line of a chain.
#[derive(Deserialize)]
pub(crate) struct Link {
    v: u64,
    /// Its number.
    pub(crate) seq: u64,
    /// Digest of the line before it.
    pub(crate) prev: String,
}

impl Default for Head {
    fn default() -> Head {
        Head { seq: 0, digest: NOTHING.to_owned() }
    }
}

impl std::fmt::Display for Head {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.seq, self.digest)
    }
}

impl Link {
    /// Reads a line without its newline; nothing where it is no record.
    pub(crate) fn read(line: &[u8]) -> Option<Link> {
        let link: Link = serde_json::from_slice(line).ok()?;
        (link.v == 1 && is_digest(&link.prev)).then_some(link)
    }
}

/// Whether a text has the form of a digest.
pub(crate) fn is_digest(text: &str) -> bool {
    text.len() == NOTHING.len() && text.bytes().all(|c| c.is_ascii_hexdigit())
}

/// Whether bytes could be what a crash has left of a line.
pub(crate) fn is_torn_line(bytes: &[u8]) -> bool {
    bytes.iter().zip(BEGINNING).all(|(found, wanted)| found == wanted)
}

impl Head {
    /// The head that this line is, without its newline.
    pub(crate) fn of(line: &[u8], seq: u64) -> Head {
        Head { seq, digest: crypto::sha256_hex(line) }
    }

    /// Adds a line at the end of the chain: when, who, and the other members.
    pub(super) fn add(&mut self, lines: &mut Vec<u8>, time: &str, identity: &str, members: &str) {
        let (begin, seq) = (lines.len(), self.seq.saturating_add(1));
        lines.extend_from_slice(BEGINNING);
        let (number, prev) = (seq.to_string(), &self.digest);
        let rest = [time, "\",\"seq\":", &number, ",", identity, ",", members, ",\"prev\":\"", prev, "\"}"];
        rest.iter().for_each(|part| lines.extend_from_slice(part.as_bytes()));
        *self = Head::of(lines.get(begin..).unwrap_or_default(), seq);
        lines.push(b'\n');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_line_names_the_digest_of_the_one_before() {
        let (mut head, mut lines) = (Head::default(), Vec::new());
        for _ in 0..3 {
            head.add(&mut lines, "T", "\"instance\":\"i\"", "\"x\":1");
        }
        let mut before = Head::default();
        for line in String::from_utf8(lines).unwrap().lines() {
            let link = Link::read(line.as_bytes()).unwrap();
            assert_eq!((link.seq, &link.prev), (before.seq + 1, &before.digest));
            before = Head::of(line.as_bytes(), link.seq);
        }
        assert_eq!((before.seq, &before), (3, &head));
    }

    #[test]
    fn other_lines_are_no_records() {
        let zeros = NOTHING;
        for line in [
            String::new(),
            "{}".into(),
            format!("{{\"v\":2,\"seq\":1,\"prev\":\"{zeros}\"}}"),
            format!("{{\"v\":1,\"seq\":-1,\"prev\":\"{zeros}\"}}"),
            format!("{{\"v\":1,\"seq\":1,\"seq\":2,\"prev\":\"{zeros}\"}}"),
            "{\"v\":1,\"seq\":1,\"prev\":\"00\"}".into(),
        ] {
            assert!(Link::read(line.as_bytes()).is_none(), "{line}");
        }
    }
}
