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
use std::marker::PhantomData;

use serde::de::{self, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

/// Most members of one object that are listed; an envelope has six, an argument map some hundreds.
/// Values that are only passed over may have any number.
const MEMBERS_MAX: usize = 100_000;

/// Deepest nesting that is accepted, the bound of the reference's decoder. It costs us nothing; it
/// spares servers whose parsers recurse.
const DEPTH_MAX: usize = 10_000;

/// What was listed; nothing where there is no object.
pub type Lists<'a, const N: usize> = Option<[Vec<Member<'a>>; N]>;

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
    /// The name after unescaping; empty for an element of an array.
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
    let value = read(text, 0, PhantomData::<&RawValue>)?;
    shallow(text).map(|()| Span::between(text, value.get()))
}

/// The same, with the members of the value where it is an object: read at once, since most texts are one.
pub fn object(text: &str) -> Result<(Span, Option<Vec<Member<'_>>>), Fault> {
    outline(text, &[]).map(|(whole, lists)| (whole, lists.map(|[members]| members)))
}

/// The same, with the lists of [`listed`].
pub fn outline<'a, const N: usize>(text: &'a str, path: &[&str]) -> Result<(Span, Lists<'a, N>), Fault> {
    let inner = text.trim_matches([' ', '\t', '\n', '\r']);
    if !inner.starts_with('{') {
        return Ok((value(text)?, None));
    }
    let whole = Span::between(text, inner);
    let lists = listed(text, whole, path)?;
    shallow(text).map(|()| (whole, Some(lists)))
}

/// Lists the members of the object at `span`; `None` when the value there is not an object. Names that
/// occur twice are listed twice: what that means is for the caller to decide.
pub fn members(text: &str, span: Span) -> Result<Option<Vec<Member<'_>>>, Fault> {
    let is_object = span.of(text).starts_with('{');
    is_object.then(|| listed(text, span, &[]).map(|[members]| members)).transpose()
}

/// Lists what the object or array at `span` holds, and in each further list the members, or the elements, of what stands
/// in it under the next name of the path: all found in one reading.
pub fn listed<'a, const N: usize>(
    text: &'a str,
    span: Span,
    path: &[&str],
) -> Result<[Vec<Member<'a>>; N], Fault> {
    let member = |(literal, value)| Member { name: name(literal), value: Span::between(text, value) };
    written(text, span, path).map(|lists| lists.map(|list: Vec<_>| list.into_iter().map(member).collect()))
}

/// The same as it is written: names with their quotes, and values.
fn written<'a, const N: usize>(
    text: &'a str,
    span: Span,
    path: &[&str],
) -> Result<[Vec<(&'a str, &'a str)>; N], Fault> {
    let mut lists = [const { Vec::new() }; N];
    read(span.of(text), span.start, Listing { text, path, lists: &mut lists })?;
    Ok(lists)
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
    if !span.of(text).starts_with('[') {
        return Ok(None);
    }
    listed(text, span, &[]).map(|[items]| Some(items.into_iter().map(|item| item.value).collect()))
}

/// The members of an object as they are written, names with their quotes; or the elements of an array, without names.
pub fn items(text: &str) -> Result<Vec<(&str, &str)>, Fault> {
    written(text, Span { start: 0, end: text.len() }, &[]).map(|[items]| items)
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
        // A backslash that is escaped makes no NUL of the digits behind it.
        Some(Ok(head)) if head.ends_with('\0') => Cow::Owned(head),
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
fn read<'a, S: DeserializeSeed<'a>>(part: &'a str, start: usize, seed: S) -> Result<S::Value, Fault> {
    let mut reader = serde_json::Deserializer::from_str(part);
    let value = seed.deserialize(&mut reader).and_then(|value| reader.end().map(|()| value));
    value.map_err(|error| {
        let lines = part.split_inclusive('\n').take(error.line().saturating_sub(1));
        let before: usize = lines.map(str::len).sum();
        let offset = start + before + error.column().saturating_sub(1);
        Fault { offset }
    })
}

/// Where behind `at` something stands, blanks and the colon of a name aside.
fn next(text: &str, at: usize) -> usize {
    let rest = text.get(at..).unwrap_or_default();
    at + rest.find(|letter| !matches!(letter, ' ' | '\t' | '\n' | '\r' | ':')).unwrap_or_default()
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

/// Lists what an object or array holds, and what stands there under the path. Names stay raw until then: one with half
/// a surrogate pair is valid JSON, but no string of Rust.
struct Listing<'p, 'a> {
    text: &'a str,
    path: &'p [&'p str],
    lists: &'p mut [Vec<(&'a str, &'a str)>],
}

impl<'a> Listing<'_, 'a> {
    fn push<E: de::Error>(&mut self, name: &'a str, value: &'a str) -> Result<(), E> {
        match self.lists.first_mut().filter(|own| own.len() < MEMBERS_MAX) {
            Some(own) => own.push((name, value)),
            None => return Err(E::custom("too many members")),
        }
        Ok(())
    }
}

impl<'a> DeserializeSeed<'a> for Listing<'_, 'a> {
    type Value = ();

    fn deserialize<D: Deserializer<'a>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'a> Visitor<'a> for Listing<'_, 'a> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object or an array")
    }

    fn visit_map<A: MapAccess<'a>>(mut self, mut map: A) -> Result<(), A::Error> {
        let text = self.text;
        while let Some(literal) = map.next_key::<&RawValue>()? {
            let literal = literal.get();
            let value = match (self.path, &mut *self.lists) {
                ([first, path @ ..], [_, lists @ ..]) if name(literal) == *first => {
                    let start = next(text, Span::between(text, literal).end);
                    if text.get(start..).is_some_and(|value| value.starts_with(['{', '['])) {
                        map.next_value_seed(Listing { text, path, lists })?;
                        // Behind the last of what was listed, or the bracket that opens, the next that is no blank closes.
                        let last = lists.first().and_then(|list| list.last());
                        let last = last.map_or(0, |(_, last)| Span::between(text, last).end);
                        let end = next(text, last.max(start + 1)) + 1;
                        text.get(start..end).unwrap_or_default()
                    } else {
                        map.next_value::<&RawValue>()?.get()
                    }
                }
                _ => map.next_value::<&RawValue>()?.get(),
            };
            self.push(literal, value)?;
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'a>>(mut self, mut seq: A) -> Result<(), A::Error> {
        while let Some(value) = seq.next_element::<&RawValue>()? {
            self.push("", value.get())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
