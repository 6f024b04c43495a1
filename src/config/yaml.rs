//! YAML text to a small tree with line numbers.
//!
//! Only the first document counts. Anchors, aliases and tags are refused: they let a short file
//! mean something long or something else than it seems, and no profile needs them. Duplicate keys
//! are refused too, since a reader sees the first and a machine may take the last. Failures name a
//! line and never quote a value. How long a text may be is the caller's to bound.

use std::collections::BTreeSet;

use saphyr_parser::{Event, Parser, ScalarStyle, StrInput};

/// Settings nest four deep; this leaves room and keeps the recursion shallow.
const DEPTH_MAX: usize = 32;

/// Longer than any key of the table.
const SHOWN_KEY_MAX_CHARS: usize = 64;

/// Advice on writing a list.
const LIST: &str = "write each item as \"- VALUE\" on a line of its own";
/// Advice on writing a map.
const MAP: &str = "write each member as \"NAME: value\" on a line of its own";

/// A node, with the line that it (or its key) stands on.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) line: usize,
    pub(crate) value: Value,
}

/// Content of a node.
#[derive(Debug)]
pub(crate) enum Value {
    /// Nothing, `~` or `null`.
    Null,
    /// Text; `plain` when it was written without quotes, so that it may be a number or boolean.
    Scalar { text: String, plain: bool },
    /// A sequence.
    List(Vec<Node>),
    /// A mapping, in the order written, without duplicate keys.
    Map(Vec<(String, Node)>),
}

/// Why the text is not usable.
#[derive(Debug)]
pub(crate) struct Fault {
    /// The line, counted from 1 as editors do; `None` when there is no line to name.
    pub(crate) line: Option<usize>,
    /// Complaint, without the line.
    pub(crate) text: String,
}

impl Fault {
    /// A fault on a line.
    pub(crate) fn at(line: usize, text: impl Into<String>) -> Fault {
        Fault { line: Some(line), text: text.into() }
    }
}

impl Node {
    /// The text of a scalar; `path` names the node in complaints. Numbers and booleans without quotes are texts
    /// too, as Go's decoder has it.
    pub(crate) fn text(self, path: &str) -> Result<String, Fault> {
        match self.value {
            Value::Scalar { text, .. } => Ok(text),
            _ => Err(Fault::at(self.line, format!("{path} must be text on one line"))),
        }
    }

    /// The nodes of a sequence.
    pub(crate) fn list(self, path: &str) -> Result<Vec<Node>, Fault> {
        match self.value {
            Value::List(nodes) => Ok(nodes),
            _ => Err(Fault::at(self.line, format!("{path} must be a list: {LIST}"))),
        }
    }

    /// The entries of a mapping.
    pub(crate) fn map(self, path: &str) -> Result<Vec<(String, Node)>, Fault> {
        match self.value {
            Value::Map(entries) => Ok(entries),
            _ => Err(Fault::at(self.line, format!("{path} must be a map: {MAP}"))),
        }
    }
}

/// Source of events. They are pulled one by one, so that nothing after the first mistake,
/// and nothing after the first document, is ever looked at.
type Events<'a> = Parser<'a, StrInput<'a>>;

/// Parses the first document.
pub(crate) fn parse(text: &str) -> Result<Node, Fault> {
    let mut events = Parser::new_from_str(text);
    loop {
        match next(&mut events)? {
            (Event::StreamStart | Event::DocumentStart(_) | Event::Nothing, _) => {}
            (Event::StreamEnd, _) => return Err(Fault { line: None, text: "the file is empty".into() }),
            (event, line) => return node(&mut events, event, line, 1),
        }
    }
}

/// A text as it stands in a file: in double quotes, with everything escaped that could end them, be taken
/// for something else, or not be seen by a reader.
#[cfg(feature = "operator")]
pub(crate) fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            // Controls of both kinds, separators of lines and paragraphs, and the byte order mark.
            _ if c.is_control() || matches!(c, '\u{2028}' | '\u{2029}' | '\u{feff}') => {
                quoted.push_str(&format!("\\u{:04x}", u32::from(c)));
            }
            _ => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

/// A key as error texts quote it. Where the space after a colon is missing, a YAML key runs on into
/// what was meant as its value, so only what can belong to a key is shown.
pub(crate) fn shown(key: &str) -> String {
    let legal = |c: &char| c.is_ascii_alphanumeric() || "._-".contains(*c);
    let start: String = key.chars().take_while(legal).take(SHOWN_KEY_MAX_CHARS).collect();
    if start.len() == key.len() { start } else { start + "..." }
}

/// The next event with its line. The texts of the scanner are fixed sentences.
fn next<'a>(events: &mut Events<'a>) -> Result<(Event<'a>, usize), Fault> {
    match events.next_event() {
        Some(Ok((event, span))) => Ok((event, span.start.line())),
        Some(Err(error)) => Err(Fault::at(error.marker().line(), error.info())),
        None => Ok((Event::StreamEnd, 0)),
    }
}

/// The node that begins with `event`; what lies in it is read by recursion, which the depth
/// bounds.
fn node<'a>(events: &mut Events<'a>, event: Event<'a>, line: usize, depth: usize) -> Result<Node, Fault> {
    if depth > DEPTH_MAX {
        return Err(Fault::at(line, format!("nested deeper than {DEPTH_MAX} levels")));
    }
    let value = match event {
        Event::Alias(_) => return Err(Fault::at(line, "aliases are not supported")),
        Event::Scalar(_, _, _, Some(_))
        | Event::SequenceStart(_, Some(_))
        | Event::MappingStart(_, Some(_)) => return Err(Fault::at(line, "tags are not supported")),
        // A zero means that the node carries no anchor.
        Event::Scalar(text, style, 0, _) => scalar(&text, style),
        Event::SequenceStart(0, _) => {
            let mut nodes = Vec::new();
            loop {
                match next(events)? {
                    (Event::SequenceEnd, _) => break Value::List(nodes),
                    (event, line) => nodes.push(node(events, event, line, depth + 1)?),
                }
            }
        }
        Event::MappingStart(0, _) => map(events, depth)?,
        Event::Scalar(..) | Event::SequenceStart(..) | Event::MappingStart(..) => {
            return Err(Fault::at(line, "anchors are not supported"));
        }
        _ => return Err(Fault::at(line, "unexpected end of the document")),
    };
    Ok(Node { line, value })
}

/// The rest of a mapping.
fn map(events: &mut Events<'_>, depth: usize) -> Result<Value, Fault> {
    let mut seen = BTreeSet::new();
    let mut entries = Vec::new();
    loop {
        let (event, line) = next(events)?;
        if event == Event::MappingEnd {
            return Ok(Value::Map(entries));
        }
        let Value::Scalar { text: key, .. } = node(events, event, line, depth + 1)?.value else {
            return Err(Fault::at(line, "a key must be text"));
        };
        if !seen.insert(key.clone()) {
            return Err(Fault::at(line, format!("duplicate key {:?}", shown(&key))));
        }
        let (event, _) = next(events)?;
        // Errors about a value name the line of its key, where a reader looks first.
        entries.push((key, node(events, event, line, depth + 1)?));
    }
}

/// Only plain text can mean nothing; a quoted `null` is a word.
fn scalar(text: &str, style: ScalarStyle) -> Value {
    let plain = style == ScalarStyle::Plain;
    if plain && matches!(text, "" | "~" | "null" | "Null" | "NULL") {
        return Value::Null;
    }
    Value::Scalar { text: text.to_string(), plain }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(text: &str) -> (Option<usize>, String) {
        let fault = parse(text).unwrap_err();
        (fault.line, fault.text)
    }

    #[test]
    fn maps_lists_and_scalars_keep_their_lines() {
        let Value::Map(entries) = parse("# top\na:\n  b: 1\n  c: '2'\nd: [x, ~]\n").unwrap().value else {
            panic!("a map");
        };
        assert_eq!(entries[0].0, "a");
        assert_eq!(entries[0].1.line, 2);
        let Value::Map(inner) = &entries[0].1.value else { panic!("a map") };
        assert!(matches!(&inner[0].1, Node { line: 3, value: Value::Scalar { plain: true, .. } }));
        assert!(matches!(&inner[1].1, Node { line: 4, value: Value::Scalar { plain: false, .. } }));
        let Value::List(items) = &entries[1].1.value else { panic!("a list") };
        assert!(matches!(items[1].value, Value::Null));
    }

    #[test]
    fn what_is_quoted_is_read_back_as_it_was() {
        for text in [
            "plain",
            "",
            " spaces ",
            "a \"quoted\" 'word'",
            r"C:\temp\new \u0041",
            "# no comment",
            "key: value",
            "- x",
            "{a: [b]}, &c *d !e |f >g %h @i `j",
            "null",
            "true",
            "line\r\nbreak\ttab\0nul\u{1b}[31m",
            "\u{85}\u{2028}\u{2029}\u{feff}\u{9f}",
            "M\u{fc}nchen \u{4e2d}\u{6587} \u{1f980}",
        ] {
            let line = format!("key: {}\n", quoted(text));
            assert_eq!(line.matches('\n').count(), 1);
            let Value::Map(entries) = parse(&line).unwrap().value else { panic!("a map") };
            let Value::Scalar { text: read, plain: false } = &entries[0].1.value else { panic!("{line}") };
            assert_eq!(read, text, "{line}");
        }
    }

    #[test]
    fn only_the_first_document_is_read() {
        assert!(
            matches!(parse("a: 1\n---\n&x b: [").unwrap().value, Value::Map(entries) if entries.len() == 1)
        );
    }

    #[test]
    fn what_is_not_supported_is_refused_with_its_line() {
        assert_eq!(fault(""), (None, "the file is empty".into()));
        assert_eq!(fault("# nothing\n"), (None, "the file is empty".into()));
        assert_eq!(fault("a: 1\na: 2\n"), (Some(2), "duplicate key \"a\"".into()));
        assert_eq!(fault("a: 1\nb: &x 1\n"), (Some(2), "anchors are not supported".into()));
        assert_eq!(fault("a: !!str 1\n"), (Some(1), "tags are not supported".into()));
        assert_eq!(fault("[a]: 1\n"), (Some(1), "a key must be text".into()));
        assert!(parse("a: &x 1\nb: *x\n").is_err());
        assert_eq!(fault(&format!("{}1", "[".repeat(33))), (Some(1), "nested deeper than 32 levels".into()));
        assert!(parse("a: [1\nb: 2\n").is_err());
        assert!(parse(&"[".repeat(100_000)).is_err());
    }
}
