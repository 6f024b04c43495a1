//! The answer of a proxy to CONNECT, against lines and words.

#![allow(clippy::as_conversions, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]
#![allow(clippy::string_slice, clippy::unwrap_used)]

use super::{Answer, parse};

/// Reads a head, whole and as it comes.
pub fn run(data: &[u8]) {
    let read = parse(data);
    let Ok(Some(Answer { status, schemes, rest })) = read else { return };
    let head = &data[..data.len() - rest];
    // Complete with its last byte and not before.
    assert!(head.ends_with(b"\n"));
    assert!(matches!(parse(&head[..head.len() - 1]), Ok(None)), "it was complete before");
    assert_eq!(parse(head), Ok(Some(Answer { status, schemes: schemes.clone(), rest: 0 })));
    let text = String::from_utf8_lossy(head);
    let mut lines = text.lines().skip_while(|line| line.is_empty());
    let line = lines.next().unwrap();
    let words: Vec<&str> = line.split(' ').collect();
    assert!(matches!(words[0], "HTTP/1.1" | "HTTP/1.0"), "{line}");
    assert_eq!(words[1].parse(), Ok(status), "{line}");
    let named = |line: &str| line.to_ascii_lowercase().starts_with("proxy-authenticate:");
    let offered = lines.filter(|line| named(line)).collect::<Vec<_>>().join("\n");
    assert!(schemes.len() <= 8 * offered.lines().count());
    for scheme in schemes {
        assert!(offered.contains(&scheme) && (1..=32).contains(&scheme.len()), "{scheme}");
        assert!(scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_'));
    }
}
