//! Reads JSON text without turning it into a tree.
//!
//! Payloads are validated here and then travel as they came: callers learn where members stand
//! ([`Span`]) and replace nothing else. A tree would cost several times the text in memory, and would
//! have to be written again: numbers beyond 64 bits, member order and escapes would not survive.
//!
//! What is read was chosen by strangers on both sides. Validation is serde_json's; it passes over values
//! that nobody asked for without recursion and without keeping them, which is what its raw values are
//! for. So only the listed members cost memory. It fails with a [`Fault`] that names the place, never
//! the content.

use std::borrow::Cow;
use std::fmt;

use serde::de::{self, Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

/// Most members of one object that are listed; an envelope has six, an argument map some hundreds.
/// Values that are only passed over may have any number.
const MEMBERS_MAX: usize = 100_000;

/// Deepest nesting that is accepted, the bound of the reference's decoder. It costs us nothing; it
/// spares servers whose parsers recurse.
const DEPTH_MAX: usize = 10_000;

/// Where a value stands in its text, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// Offset of the first byte.
    pub start: usize,
    /// Offset behind the last byte.
    pub end: usize,
}

impl Span {
    /// The text that the span covers; empty when it does not fit `text`.
    pub fn of<'a>(&self, text: &'a str) -> &'a str {
        text.get(self.start..self.end).unwrap_or_default()
    }

    /// Where `part` stands, which was cut from `text`: raw values are slices of what they were read from.
    fn between(text: &str, part: &str) -> Span {
        let start = part.as_ptr().addr().saturating_sub(text.as_ptr().addr());
        Span { start, end: start + part.len() }
    }
}

/// One member of an object.
#[derive(Debug)]
pub struct Member<'a> {
    /// The name after unescaping.
    pub name: Cow<'a, str>,
    /// Where the value stands in the whole text.
    pub value: Span,
}

/// Text that is not JSON, or beyond the bounds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fault {
    /// Offset of the byte that was not expected, give or take one: the parser tells lines and columns.
    pub offset: usize,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "not valid JSON at byte {}", self.offset)
    }
}

impl std::error::Error for Fault {}

/// Checks that `text` is one JSON value with nothing behind it, and tells where it stands.
pub fn value(text: &str) -> Result<Span, Fault> {
    let value: &RawValue = read(text, 0)?;
    shallow(text).map(|()| Span::between(text, value.get()))
}

/// The same, with the members of the value where it is an object: read at once, since most texts are one.
pub fn object(text: &str) -> Result<(Span, Option<Vec<Member<'_>>>), Fault> {
    let inner = text.trim_matches([' ', '\t', '\n', '\r']);
    if !inner.starts_with('{') {
        return Ok((value(text)?, None));
    }
    let whole = Span::between(text, inner);
    let listed = members(text, whole)?;
    shallow(text).map(|()| (whole, listed))
}

/// Lists the members of the object at `span`; `None` when the value there is not an object. Names that
/// occur twice are listed twice: what that means is for the caller to decide.
pub fn members(text: &str, span: Span) -> Result<Option<Vec<Member<'_>>>, Fault> {
    let object = span.of(text);
    if !object.starts_with('{') {
        return Ok(None);
    }
    let Items(items) = read(object, span.start)?;
    let member = |(literal, value)| Member { name: name(literal), value: Span::between(text, value) };
    Ok(Some(items.into_iter().map(member).collect()))
}

/// The one member of this name, if there is one. A second one is a fault: another reader might take it.
pub fn only(members: &[Member<'_>], name: &str) -> Result<Option<Span>, Fault> {
    let mut named = members.iter().filter(|member| member.name == name).map(|member| member.value);
    let first = named.next();
    named.next().map_or(Ok(first), |second| Err(Fault { offset: second.start }))
}

/// Lists the elements of the array at `span`; `None` when the value there is not an array. Arrays
/// of messages come from servers of one old revision only.
pub fn elements(text: &str, span: Span) -> Result<Option<Vec<Span>>, Fault> {
    let array = span.of(text);
    if !array.starts_with('[') {
        return Ok(None);
    }
    let Items(items) = read(array, span.start)?;
    Ok(Some(items.into_iter().map(|(_, value)| Span::between(text, value)).collect()))
}

/// The members of an object as they are written, names with their quotes; or the elements of an array, without names.
pub fn items(text: &str) -> Result<Vec<(&str, &str)>, Fault> {
    read(text, 0).map(|Items(items)| items)
}

/// The bytes of valid JSON that stand outside its strings, and their opening quotes, each with its offset.
pub fn outside_strings(text: &str) -> impl Iterator<Item = (usize, u8)> + '_ {
    let mut bytes = text.bytes().enumerate();
    std::iter::from_fn(move || {
        let (at, byte) = bytes.next()?;
        if byte == b'"' {
            end_of_string(&mut bytes);
        }
        Some((at, byte))
    })
}

/// The offset behind the closing quote of a string whose first quote was just read.
pub fn end_of_string(bytes: &mut impl Iterator<Item = (usize, u8)>) -> usize {
    let mut escaped = false;
    for (at, byte) in bytes {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => return at + 1,
            _ => {}
        }
    }
    // Valid JSON closes its strings.
    0
}

/// The string that a JSON string literal stands for; `None` when `literal` is no string.
pub fn string(literal: &str) -> Option<Cow<'_, str>> {
    literal.starts_with('"').then(|| unescape(literal))
}

/// The same, but nothing for half a surrogate pair, which is no text here: whoever judges by a name must not guess it.
pub fn exact(literal: &str) -> Option<Cow<'_, str>> {
    let inner = literal.strip_prefix('"')?.strip_suffix('"')?;
    match inner.contains('\\') {
        false => Some(Cow::Borrowed(inner)),
        true => serde_json::from_str::<String>(literal).ok().map(Cow::Owned),
    }
}

/// Unescapes a name. Half a surrogate pair hides nothing that stands before a NUL, where some readers end.
fn name(literal: &str) -> Cow<'_, str> {
    let name = unescape(literal);
    let (Cow::Borrowed(inner), true) = (&name, literal.contains('\\')) else { return name };
    let head = inner.split_once(r"\u0000").map(|(head, _)| format!("\"{head}\\u0000\""));
    match head.map(|head| serde_json::from_str::<String>(&head)) {
        Some(Ok(head)) => Cow::Owned(head),
        _ => name,
    }
}

/// Unescapes a validated literal. One that names half a surrogate pair has no text in Rust; it
/// stays as it is written, which keeps it different from every proper name.
fn unescape(literal: &str) -> Cow<'_, str> {
    let inner = || literal.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or(literal);
    exact(literal).unwrap_or_else(|| Cow::Borrowed(inner()))
}

/// Reads `part`, which stands at `start` of its text. Faults are told by their place in the whole, as an
/// offset: messages have no lines to speak of.
fn read<'a, T: Deserialize<'a>>(part: &'a str, start: usize) -> Result<T, Fault> {
    serde_json::from_str(part).map_err(|error| {
        let lines = part.split_inclusive('\n').take(error.line().saturating_sub(1));
        let before: usize = lines.map(str::len).sum();
        let offset = start + before + error.column().saturating_sub(1);
        Fault { offset }
    })
}

/// Checks that valid JSON goes no deeper than it may. What has fewer brackets cannot, those in its strings included:
/// they are counted many times faster than depth is followed.
fn shallow(text: &str) -> Result<(), Fault> {
    // In groups that a byte can count, which is what a compiler makes many at once of.
    let opens = |count: u8, byte: &u8| count.wrapping_add(u8::from(matches!(byte, b'[' | b'{')));
    let groups = text.as_bytes().chunks(255).map(|group| usize::from(group.iter().fold(0, opens)));
    if text.len() <= DEPTH_MAX || groups.sum::<usize>() <= DEPTH_MAX {
        return Ok(());
    }
    let mut depth = 0_usize;
    let mut bytes = outside_strings(text);
    let deeper = bytes.find(|(_, byte)| {
        match byte {
            b'[' | b'{' => depth += 1,
            b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        depth > DEPTH_MAX
    });
    deeper.map_or(Ok(()), |(offset, _)| Err(Fault { offset }))
}

/// What one object or array holds, as it is written: names (empty for elements) and values.
struct Items<'a>(Vec<(&'a str, &'a str)>);

impl<'a> Items<'a> {
    fn push<E: de::Error>(&mut self, name: &'a str, value: &'a RawValue) -> Result<(), E> {
        if self.0.len() >= MEMBERS_MAX {
            return Err(E::custom("too many members"));
        }
        self.0.push((name, value.get()));
        Ok(())
    }
}

impl<'de> Deserialize<'de> for Items<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Items<'de>, D::Error> {
        deserializer.deserialize_any(Collect)
    }
}

/// Collects without decoding. Names stay raw as well: one with half a surrogate pair is valid JSON, but
/// no string of Rust.
struct Collect;

impl<'de> Visitor<'de> for Collect {
    type Value = Items<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object or an array")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Items<'de>, A::Error> {
        let mut items = Items(Vec::new());
        while let Some((name, value)) = map.next_entry::<&RawValue, &RawValue>()? {
            items.push(name.get(), value)?;
        }
        Ok(items)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Items<'de>, A::Error> {
        let mut items = Items(Vec::new());
        while let Some(value) = seq.next_element::<&RawValue>()? {
            items.push("", value)?;
        }
        Ok(items)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepts_what_is_json_and_nothing_else() {
        for good in [
            "0",
            "-1.5e+10",
            "\"\"",
            "\"\\u00e4\\n\"",
            "[]",
            "{}",
            " [1, {\"a\":[true,false,null]}] ",
            "{\"a\":{\"b\":[]},\"c\":[[],{}]}",
            "1E5",
            "\"\u{e4}\"",
            "[[[[]]],1]",
        ] {
            assert!(value(good).is_ok(), "{good}");
            assert!(serde_json::from_str::<serde_json::Value>(good).is_ok(), "{good}");
        }
        for bad in [
            "",
            " ",
            "01",
            "1.",
            ".5",
            "+1",
            "1e",
            "tru",
            "nul",
            "[1,]",
            "[,1]",
            "{\"a\"}",
            "{\"a\":}",
            "{a:1}",
            "[1 2]",
            "\"\t\"",
            "\"\\x\"",
            "\"\\u12g4\"",
            "\"",
            "[",
            "{",
            "[}",
            "{]",
            "1 2",
            "[]]",
            "{\"a\":1,}",
            "{\"a\":1 \"b\":2}",
        ] {
            assert!(value(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn depth_is_bounded_and_takes_no_stack() {
        let deep = |n: usize| format!("{}{}", "[".repeat(n), "]".repeat(n));
        assert!(value(&deep(DEPTH_MAX)).is_ok());
        assert_eq!(value(&deep(DEPTH_MAX + 1)), Err(Fault { offset: DEPTH_MAX }));
        assert!(value(&"[".repeat(5_000_000)).is_err());
        // Brackets in strings, and beside each other, are not deep.
        for wide in [format!("[\"{}\"]", "[".repeat(DEPTH_MAX)), format!("[{}0]", "[],".repeat(DEPTH_MAX))] {
            assert!(value(&wide).is_ok());
        }
    }

    #[test]
    fn members_have_unescaped_names_and_exact_spans() {
        let text = " { \"a\" : 1.50 , \"\\u0062\\u0022\" : { \"x\" : [ ] } } ";
        let found = members(text, value(text).unwrap()).unwrap().unwrap();
        assert_eq!(found.len(), 2);
        assert_eq!((found[0].name.as_ref(), found[0].value.of(text)), ("a", "1.50"));
        assert_eq!((found[1].name.as_ref(), found[1].value.of(text)), ("b\"", "{ \"x\" : [ ] }"));
    }

    #[test]
    fn other_kinds_have_no_members_or_elements() {
        assert!(members("[1]", value("[1]").unwrap()).unwrap().is_none());
        assert!(elements("{}", value("{}").unwrap()).unwrap().is_none());
        let text = "[1, [2], {}]";
        let spans = elements(text, value(text).unwrap()).unwrap().unwrap();
        assert_eq!(spans.iter().map(|s| s.of(text)).collect::<Vec<_>>(), ["1", "[2]", "{}"]);
    }
}
