//! YAML text to a small tree with line numbers.
//!
//! Aliases are written out while they are read, within bounds, since a short file could else mean a very long one.
//! Tags are refused: they let a text mean something else than it seems, and no profile needs them. Duplicate keys
//! are refused too, since a reader sees the first and a machine may take the last. Failures name a
//! line and never quote a value. How long a text may be is the caller's to bound.

use std::collections::{BTreeMap, BTreeSet};

use saphyr_parser::{Event, Parser, ScalarStyle, StrInput};

/// Settings nest four deep; this leaves room and keeps the recursion shallow.
const DEPTH_MAX: usize = 32;

/// Most aliases of a file.
const ALIASES_MAX: usize = 100;

/// Memory for what anchors and aliases stand for: as much as a file may have.
const EXPANSION_BYTES_MAX: usize = 1 << 20;

/// Longer than any key of the table.
const SHOWN_KEY_MAX_CHARS: usize = 64;

/// Advice on writing a list.
const LIST: &str = "write each item as \"- VALUE\" on a line of its own";
/// Advice on writing a map.
const MAP: &str = "write each member as \"NAME: value\" on a line of its own";

/// A node, with the line that it (or its key) stands on.
#[derive(Debug, Clone)]
pub(crate) struct Node {
    pub(crate) line: usize,
    pub(crate) value: Value,
}

/// By what they say, wherever they stand.
impl PartialEq for Node {
    fn eq(&self, other: &Node) -> bool {
        self.value == other.value
    }
}

/// Content of a node.
#[derive(Debug, Clone, PartialEq)]
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

    /// Decimal digits with an optional sign, of any length: whether the number fits is decided where its bounds are
    /// known. The other YAML notations (octal, hexadecimal, with underscores) only invite surprises.
    pub(crate) fn integer(self, path: &str) -> Result<String, Fault> {
        let is_integer = |text: &str| {
            let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
            !digits.is_empty() && digits.chars().all(|c| c.is_ascii_digit())
        };
        match self.value {
            Value::Scalar { text, plain: true } if is_integer(&text) => Ok(text),
            _ => Err(Fault::at(self.line, format!("{path} must be an integer"))),
        }
    }

    /// Levels below this one, and about how much memory all of it takes.
    fn extent(&self) -> (usize, usize) {
        let key_bytes = |(key, _): &(String, Node)| size_of::<String>() + key.len();
        let (own, below): (usize, Vec<&Node>) = match &self.value {
            Value::Null => (0, Vec::new()),
            Value::Scalar { text, .. } => (text.len(), Vec::new()),
            Value::List(nodes) => (0, nodes.iter().collect()),
            Value::Map(entries) => {
                (entries.iter().map(key_bytes).sum(), entries.iter().map(|(_, node)| node).collect())
            }
        };
        below
            .iter()
            .map(|node| node.extent())
            .fold((0, size_of::<Node>() + own), |all, one| (all.0.max(one.0 + 1), all.1 + one.1))
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

/// Reader of events. They are pulled one by one, so that nothing after the first mistake is ever looked at.
struct Reader<'a> {
    events: Parser<'a, StrInput<'a>>,
    /// The nodes with an anchor that were read whole, by its number.
    anchored: BTreeMap<usize, Node>,
    /// Aliases so far.
    aliases: usize,
    /// Memory of what is anchored, and of its copies.
    expanded_bytes: usize,
}

/// Parses the first document, and says whether it is the only one.
pub(crate) fn parse(text: &str) -> Result<(Node, Result<(), Fault>), Fault> {
    let events = Parser::new_from_str(text);
    let mut reader = Reader { events, anchored: BTreeMap::new(), aliases: 0, expanded_bytes: 0 };
    loop {
        match reader.next()? {
            (Event::StreamStart | Event::DocumentStart(_) | Event::Nothing, _) => {}
            (Event::StreamEnd, _) => return Err(Fault { line: None, text: "the file is empty".into() }),
            (event, line) => return Ok((reader.node(event, line, 1)?, reader.end())),
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

impl<'a> Reader<'a> {
    /// The next event with its line. The texts of the scanner are fixed sentences.
    fn next(&mut self) -> Result<(Event<'a>, usize), Fault> {
        match self.events.next_event() {
            Some(Ok((event, span))) => Ok((event, span.start.line())),
            Some(Err(error)) => Err(Fault::at(error.marker().line(), error.info())),
            None => Ok((Event::StreamEnd, 0)),
        }
    }

    /// Checks that nothing stands behind the first document.
    fn end(&mut self) -> Result<(), Fault> {
        self.next()?;
        match self.next()? {
            (Event::StreamEnd, _) => Ok(()),
            (_, line) => Err(Fault::at(line, "exactly one YAML document is required")),
        }
    }

    /// The node that begins with `event`; what lies in it is read by recursion, which the depth
    /// bounds.
    fn node(&mut self, event: Event<'a>, line: usize, depth: usize) -> Result<Node, Fault> {
        if depth > DEPTH_MAX {
            return Err(too_deep(line));
        }
        let (value, anchor) = match event {
            Event::Alias(anchor) => return self.copy(anchor, line, depth),
            Event::Scalar(_, _, _, Some(_))
            | Event::SequenceStart(_, Some(_))
            | Event::MappingStart(_, Some(_)) => return Err(Fault::at(line, "tags are not supported")),
            Event::Scalar(text, style, anchor, _) => (scalar(&text, style), anchor),
            Event::SequenceStart(anchor, _) => {
                let mut nodes = Vec::new();
                loop {
                    match self.next()? {
                        (Event::SequenceEnd, _) => break (Value::List(nodes), anchor),
                        (event, line) => nodes.push(self.node(event, line, depth + 1)?),
                    }
                }
            }
            Event::MappingStart(anchor, _) => (self.map(depth)?, anchor),
            _ => return Err(Fault::at(line, "unexpected end of the document")),
        };
        let node = Node { line, value };
        // A zero means that the node carries no anchor.
        if anchor != 0 {
            self.count(&node, line)?;
            self.anchored.insert(anchor, node.clone());
        }
        Ok(node)
    }

    /// The rest of a mapping. What is merged into it by `<<` gives way to what stands in it.
    fn map(&mut self, depth: usize) -> Result<Value, Fault> {
        let mut seen = BTreeSet::new();
        let (mut entries, mut merged) = (Vec::new(), Vec::new());
        loop {
            let (event, line) = self.next()?;
            if event == Event::MappingEnd {
                break;
            }
            let Value::Scalar { text: key, plain } = self.node(event, line, depth + 1)?.value else {
                return Err(Fault::at(line, "a key must be text"));
            };
            if !seen.insert(key.clone()) {
                return Err(Fault::at(line, format!("duplicate key {:?}", shown(&key))));
            }
            let (event, _) = self.next()?;
            // Errors about a value name the line of its key, where a reader looks first.
            match self.node(event, line, depth + 1)? {
                Node { value: Value::List(nodes), .. } if key == "<<" && plain => merged.extend(nodes),
                node if key == "<<" && plain => merged.push(node),
                node => entries.push((key, node)),
            }
        }
        for node in merged {
            let members = node.map("what is merged")?;
            entries.extend(members.into_iter().filter(|(key, _)| seen.insert(key.clone())));
        }
        Ok(Value::Map(entries))
    }

    /// What an alias stands for.
    fn copy(&mut self, anchor: usize, line: usize, depth: usize) -> Result<Node, Fault> {
        self.aliases += 1;
        if self.aliases > ALIASES_MAX {
            return Err(Fault::at(line, format!("more than {ALIASES_MAX} aliases")));
        }
        let node = self.anchored.get(&anchor).cloned();
        let node = node.ok_or_else(|| Fault::at(line, "an alias stands within what it stands for"))?;
        if depth + node.extent().0 > DEPTH_MAX {
            return Err(too_deep(line));
        }
        self.count(&node, line)?;
        Ok(Node { line, value: node.value })
    }

    /// Counts what is kept besides the file's own nodes.
    fn count(&mut self, node: &Node, line: usize) -> Result<(), Fault> {
        self.expanded_bytes += node.extent().1;
        match self.expanded_bytes > EXPANSION_BYTES_MAX {
            true => Err(Fault::at(line, "anchors and aliases stand for more than 1 MiB")),
            false => Ok(()),
        }
    }
}

fn too_deep(line: usize) -> Fault {
    Fault::at(line, format!("nested deeper than {DEPTH_MAX} levels"))
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
mod tests;
