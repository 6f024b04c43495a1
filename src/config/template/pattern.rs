//! Patterns that whole values are matched with, in a language that cannot be made slow.
//!
//! A pattern is the operator's, and what it is matched with is a stranger's. Two things keep that cheap. What is
//! accepted is a small part of what libraries read, without anything that needs a second look at the text
//! (references back, look-around), and it means the same to Go, to ECMAScript, which reads it as a part of JSON
//! Schema, and here. And the library beside us steps through a text once, with all states of the pattern
//! side by side: its time is at most states times bytes, whatever either of them looks like. Repeats are states as often
//! as they repeat, so what a pattern may take when it is built bounds that product.

use std::iter::Peekable;
use std::str::Bytes;

use regex_lite::{Regex, RegexBuilder};

/// Longest pattern that is read.
const TEXT_BYTES_MAX: usize = 512;
/// Highest bound of a repeat, that of Go's library.
const REPEAT_MAX: usize = 1000;
/// Most memory of a pattern.
const BUILT_BYTES_MAX: usize = 256 * 1024;
/// Most memory times bytes of a value. A state takes some 30 bytes, so that a match takes less than a second.
const WORK_MAX: usize = 1 << 31;

/// Pattern that is matched with whole values.
#[derive(Debug, Clone)]
pub struct Pattern {
    text: String,
    regex: Regex,
}

/// What a pattern is for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Use {
    /// A parameter or a header.
    Value,
    /// A body: every class says what is in it, since a class by exclusion is wider than it looks.
    Body,
}

type Rest<'p> = Peekable<Bytes<'p>>;

impl Pattern {
    /// Reads a pattern for values of at most so many bytes. The complaint does not repeat it.
    pub(super) fn read(text: &str, of: Use, value_bytes_max: usize) -> Result<Pattern, String> {
        if text.is_empty() || text.len() > TEXT_BYTES_MAX {
            return Err(format!("must have 1 to {TEXT_BYTES_MAX} bytes"));
        }
        let breaks = |byte| of == Use::Body && matches!(byte, b'\t' | b'\n' | b'\r');
        if !text.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic() || breaks(byte)) {
            return Err("must be of visible ASCII characters".into());
        }
        check(&mut text.bytes().peekable(), of)?;
        let bytes_max = BUILT_BYTES_MAX.min(WORK_MAX / value_bytes_max.max(1));
        // The ends are those of the value, whatever stands between.
        let built = RegexBuilder::new(&format!(r"\A(?:{text})\z")).size_limit(bytes_max).build();
        let why = "is not closed, not in order, or too large for the longest value";
        Ok(Pattern { text: text.to_owned(), regex: built.map_err(|_| why)? })
    }

    /// Whether all of the value is what the pattern says.
    pub(super) fn matches(&self, value: &str) -> bool {
        self.regex.is_match(value)
    }

    /// The same pattern as JSON Schema has it, where a pattern may match a part.
    pub fn anchored(&self) -> String {
        format!("^(?:{})$", self.text)
    }
}

/// Checks that there is nothing in a pattern but what is understood alike by all. Whether brackets are closed and
/// ranges are in order is seen by the library.
fn check(rest: &mut Rest, of: Use) -> Result<(), &'static str> {
    let mut may_repeat = false;
    while let Some(byte) = rest.next() {
        may_repeat = match byte {
            b'(' if rest.next_if_eq(&b'?').is_some() && rest.next() != Some(b':') => {
                return Err("has a group that is neither ( ) nor (?: )");
            }
            b'(' | b'|' | b'^' | b'$' => false,
            // A second one would be a mistake, or a lazy repeat, which means nothing for whole values.
            b'?' | b'*' | b'+' | b'{' if !may_repeat => return Err("repeats nothing, or twice"),
            b'?' | b'*' | b'+' => false,
            b'{' => check_times(rest).map(|()| false)?,
            b'}' | b']' => return Err("has a bracket that must be escaped"),
            b'[' => check_class(rest, of).map(|()| true)?,
            b'\\' => check_escape(rest, of).map(|()| true)?,
            b'.' if of == Use::Body => {
                return Err("has a dot, which is not allowed for bodies: name a class");
            }
            _ => true,
        };
    }
    Ok(())
}

/// `2}`, `2,}` or `2,5}`, without zeros in front, which others read as no number at all.
fn check_times(rest: &mut Rest) -> Result<(), &'static str> {
    let inner: Vec<u8> = rest.by_ref().take_while(|byte| *byte != b'}').collect();
    let inner = String::from_utf8_lossy(&inner);
    let (least, most) = inner.split_once(',').unwrap_or((&inner, &inner));
    let number = |text: &str| text.parse().ok().filter(|number: &usize| number.to_string() == text);
    let (least, most) = (number(least), if most.is_empty() { Some(REPEAT_MAX) } else { number(most) });
    match least.zip(most) {
        Some((least, most)) if least <= most && most <= REPEAT_MAX => Ok(()),
        _ => Err("has a repeat that is not {N}, {N,} or {N,M} with numbers up to 1000"),
    }
}

/// What stands in square brackets. Nothing in it may be a form of its own to some reader.
fn check_class(rest: &mut Rest, of: Use) -> Result<(), &'static str> {
    if rest.next_if_eq(&b'^').is_some() && of == Use::Body {
        return Err("has a class by exclusion, which is not allowed for bodies");
    }
    if rest.peek() == Some(&b']') {
        return Err("has an empty class");
    }
    while let Some(byte) = rest.next() {
        match byte {
            b']' => return Ok(()),
            b'\\' => check_escape(rest, of)?,
            b'[' => return Err("has a bracket within a class that must be escaped"),
            b'&' | b'~' | b'-' if rest.peek() == Some(&byte) => {
                return Err("has a doubled character within a class");
            }
            _ => {}
        }
    }
    Err("has a class that is not closed")
}

/// What stands behind a backslash.
fn check_escape(rest: &mut Rest, of: Use) -> Result<(), &'static str> {
    match rest.next() {
        Some(byte) if b"\\.^$|?*+()[]{}/-".contains(&byte) => Ok(()),
        Some(byte) if b"dDsSwW".contains(&byte) && of == Use::Value => Ok(()),
        _ => Err("has an escape that is not supported, for bodies also a shorthand: write the class out"),
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    fn value(text: &str) -> Result<Pattern, String> {
        Pattern::read(text, Use::Value, 256)
    }

    /// NEW-095: the whole value is matched, whatever the pattern's own ends are.
    #[test]
    fn whole_values_are_matched() {
        for (pattern, matching, other) in [
            ("a|b", "b", "ab"),
            ("[A-Z]{2}-[0-9]{4}", "AB-1234", "AB-12345"),
            ("(?:ab)+", "abab", "aba"),
            ("^x$", "x", "x\n"),
            (r"\d{1,3}", "12", "1234"),
            (r"[\d.-]*", "1.2-3", "a"),
            (r"[^0-9]", "a", "1"),
            (r"a\.b\/c\-d", "a.b/c-d", "axb/c-d"),
            (r"[a\]\[]+", "[a]", "b"),
            ("a{0}b{2,}", "bbb", "ab"),
            ("|a", "", "aa"),
            ("[a-]", "-", "b"),
            ("(a|b?)(c)*", "bcc", "ab"),
        ] {
            let pattern = value(pattern).unwrap_or_else(|error| panic!("{pattern}: {error}"));
            assert!(pattern.matches(matching) && !pattern.matches(other), "{}", pattern.text);
        }
    }

    /// NEW-095: what is outside the language.
    #[test]
    fn other_patterns_are_refused() {
        for pattern in [
            "",
            "(?i)a",
            "(?=a)",
            "(?!a)",
            "(?<=a)",
            "(?P<n>a)",
            "(?<n>a)",
            r"(a)\1",
            r"\b",
            r"\p{L}",
            r"\x41",
            r"\n",
            r"\A",
            "[]",
            "[^]",
            "[]a]",
            "[[:alpha:]]",
            "[a[b]]",
            "[a&&b]",
            "[a--b]",
            "[a~~b]",
            "[z-a]",
            r"[\d-z]",
            "[a",
            "[",
            r"[\",
            "(a",
            "a)",
            "(",
            ")",
            "a**",
            "a+?",
            "a{2}{3}",
            "*a",
            "(|*a)",
            "a{",
            "a{x}",
            "a{,2}",
            "a{3,2}",
            "a{01}",
            "a{1001}",
            "a{1",
            "}",
            "]",
            "^*",
            "${2}",
            "\\",
            "\u{e9}",
            "a\tb",
            "a\nb",
        ] {
            assert!(value(pattern).is_err(), "{pattern:?}");
        }
        assert!(value(&"a".repeat(513)).is_err() && value(&"a".repeat(512)).is_ok());
        assert!(value(&format!("{}a{}", "(".repeat(200), ")".repeat(200))).is_err());
    }

    /// NEW-099: bodies have a stricter one.
    #[test]
    fn classes_of_bodies_are_written_out() {
        for pattern in ["a.b", "[^a]", r"\d", r"[\w]", "(^)*", "^{2}", "a{02}"] {
            let read = Pattern::read(pattern, Use::Body, 1);
            assert!(read.is_err() || pattern == "(^)*", "{pattern}");
        }
        let body = Pattern::read("[ -~\t\n]+", Use::Body, 100).unwrap();
        assert!(body.matches("two\nlines") && !body.matches("\u{e9}"));
    }

    /// NEW-095: a pattern that is slow elsewhere is not here, and one that would take long is not accepted.
    #[test]
    fn no_pattern_takes_long() {
        for pattern in
            ["(a+)+b", "(a|a)*b", "(a*)*b", "(.*)(.*)(.*)(.*)b", "((a?){30}){30}b", "(a{0,30}){0,30}b"]
        {
            let pattern =
                Pattern::read(pattern, Use::Value, 8192).unwrap_or_else(|error| panic!("{pattern}: {error}"));
            let began = Instant::now();
            assert!(!pattern.matches(&"a".repeat(2048)));
            assert!(began.elapsed() < Duration::from_secs(20), "{}: {:?}", pattern.text, began.elapsed());
        }
        for pattern in ["(a{1000}){1000}", "((a{100}){100}){100}", "(((((a{9}){9}){9}){9}){9}){9}"] {
            assert!(value(pattern).unwrap_err().contains("too large"), "{pattern}");
        }
        assert!(Pattern::read("[a-z]{1000}", Use::Body, 102_400).is_err());
        assert!(Pattern::read("[a-z]{1000}", Use::Body, 10_000).is_ok());
    }
}
