//! The YAML file as settings: every key must be in the table, every value of the right type.
//!
//! Reads the file, resolves nothing. Failures name the file, the line and the key, never a value:
//! whoever mistypes a key may have written a secret behind it.

use std::path::{Path, PathBuf};

use super::binding::{Entry, Pairs};
#[cfg(feature = "harpoon")]
use super::entry_template;
use super::reference::text;
use super::settings::{Key, Kind, ROWS, Row, Shape, Status, TREES};
use super::yaml::{self, Fault, Node, Value, shown};
use super::{Error, trust};
use crate::crypto;
use crate::url::without_credentials;

/// A profile is a page of text. The bound is checked before a parser sees any of it.
pub(crate) const CONFIG_FILE_MAX_BYTES: u64 = 1024 * 1024;

/// The key that says what the file's form is.
const VERSION: &str = "config_version";

/// A value as it was given, whoever gave it.
#[derive(Clone, PartialEq)]
pub(crate) enum Raw {
    /// Single text.
    Text(String),
    /// List of texts.
    List(Vec<String>),
    /// Map of texts.
    Map(Pairs),
    /// List of maps.
    Entries(Vec<Entry>),
    /// Structure that its section reads.
    Tree(Node),
}

impl Raw {
    /// The pairs of a map, or of all entries.
    pub(crate) fn pairs(&self) -> Vec<(&str, &str)> {
        let pairs: Vec<&(String, String)> = match self {
            Raw::Map(pairs) => pairs.iter().collect(),
            Raw::Entries(entries) => entries.iter().flat_map(|entry| &entry.pairs).collect(),
            Raw::Text(_) | Raw::List(_) | Raw::Tree(_) => Vec::new(),
        };
        pairs.into_iter().map(|(key, value)| (key.as_str(), value.as_str())).collect()
    }
}

/// The values of a file in the order written, each with its line. No row occurs twice, since no
/// key does and every row has one key.
pub(crate) type Document = Vec<(&'static Row, usize, Raw)>;

/// Settings file that was read.
pub(crate) struct File {
    pub(crate) path: PathBuf,
    pub(crate) document: Document,
    /// SHA-256 of its text, in hex.
    pub(crate) digest: String,
    /// What should be said about where it lies.
    pub(crate) warnings: Vec<String>,
}

/// Reads a settings file. Whoever may write there chooses where commands and the key go.
pub(crate) fn read(path: &Path) -> Result<File, Error> {
    let unread = |error| Error::invalid(format!("read config file {}: {error}", path.display()));
    let found = trust::read(path, CONFIG_FILE_MAX_BYTES).map_err(unread)?;
    let text = text(found.bytes).map_err(unread)?;
    let document = parse(&text).map_err(|fault| located(path, fault.line, &fault.text))?;
    let digest = crypto::sha256_hex(text.as_bytes());
    Ok(File { path: path.to_owned(), document, digest, warnings: found.warnings })
}

/// An error about a place in a settings file.
pub(crate) fn located(path: &Path, line: Option<usize>, text: &str) -> Error {
    let line = line.map(|line| format!("line {line}: ")).unwrap_or_default();
    Error::invalid(format!("parse config file {}: {line}{text}", path.display()))
}

/// The text of a file as settings.
pub(crate) fn parse(text: &str) -> Result<Document, Fault> {
    let (node, only) = yaml::parse(text)?;
    let is_second = is_second(&node)?;
    if is_second {
        only?;
    }
    let mut document = Document::new();
    section("", node, &mut document)?;
    #[cfg(feature = "harpoon")]
    for (row, _, raw) in &mut document {
        if let (Raw::Entries(entries), "harpoon.target") = (raw, row.flag) {
            entries.iter_mut().try_for_each(|entry| entry_template::read(row.yaml, entry, is_second))?;
        }
    }
    Ok(document)
}

/// Whether the file has the second form, which is one document and has templates. A file of another
/// version means something that this program does not know.
fn is_second(node: &Node) -> Result<bool, Fault> {
    let Value::Map(entries) = &node.value else { return Ok(false) };
    let Some((_, node)) = entries.iter().find(|(key, _)| key == VERSION) else { return Ok(false) };
    match node.value {
        Value::Null => Ok(false),
        _ => match node.clone().integer(VERSION)?.as_str() {
            "1" => Ok(false),
            "2" => Ok(true),
            other => Err(Fault::at(node.line, format!("unsupported {VERSION} {other}"))),
        },
    }
}

/// Takes one map apart. A key is a setting, the name of a deeper map, or a mistake: a key that
/// was silently ignored would leave an operator believing in a protection that is not there. The
/// recursion ends where the table does: no path of it has more than two keys.
fn section(path: &str, node: Node, into: &mut Document) -> Result<(), Fault> {
    if matches!(node.value, Value::Null) {
        return Ok(());
    }
    for (key, node) in node.map(if path.is_empty() { "the file" } else { path })? {
        // Paths are compared with dots between their keys, so a key with a dot of its own could
        // pass for two, and give a setting a second time. An empty one would match what the
        // table leaves out.
        let legal = !key.is_empty() && !key.contains('.');
        let path = if path.is_empty() { key } else { format!("{path}.{key}") };
        let line = node.line;
        match ROWS.iter().chain(TREES).find(|row| row.yaml == path).filter(|_| legal) {
            Some(row) if row.status == Status::Never => {
                return Err(Fault::at(line, format!("{path} is not supported")));
            }
            Some(row) => into.extend(typed(row, node)?.map(|raw| (row, line, raw))),
            None if path == VERSION => {}
            None if legal && is_section(&path) => section(&path, node, into)?,
            None => return Err(Fault::at(line, format!("unknown key {:?}", shown(&path)))),
        }
    }
    Ok(())
}

/// Tells whether settings live below this path.
fn is_section(path: &str) -> bool {
    ROWS.iter().any(|row| row.yaml.strip_prefix(path).is_some_and(|rest| rest.starts_with('.')))
}

/// The value in the type that the table asks for; `None` for nothing and for empty texts, which
/// leave the default in place. A number or boolean in quotes is refused as Go's decoder refuses it.
/// An empty list is a value: it can say that nothing is allowed.
fn typed(row: &Row, node: Node) -> Result<Option<Raw>, Fault> {
    if matches!(node.value, Value::Null) {
        return Ok(None);
    }
    Ok(Some(match row.kind {
        Kind::Boolean => Raw::Text(boolean(row.yaml, node)?.to_string()),
        Kind::Integer { .. } => Raw::Text(node.integer(row.yaml)?),
        Kind::Headers => Raw::Map(members(row.yaml, node)?),
        Kind::List(_) => Raw::List(items(row.yaml, node)?),
        Kind::Tree => Raw::Tree(node),
        Kind::Entries { keys, .. } => {
            let entries = node.list(row.yaml)?.into_iter().map(|node| entry(row.yaml, keys, node));
            Raw::Entries(entries.collect::<Result<_, _>>()?)
        }
        _ => Raw::Text(match node.text(row.yaml)? {
            text if text.is_empty() => return Ok(None),
            text => text,
        }),
    }))
}

/// Entry of a list of maps. A missing key is reported with the line on
/// which the entry begins, since a list has many entries. Keys without a value are left out.
fn entry(list: &str, keys: &[Key], node: Node) -> Result<Entry, Fault> {
    let mut entry = Entry { line: node.line, ..Entry::default() };
    let pairs = &mut entry.pairs;
    for (name, node) in node.map(&format!("an entry of {list}"))? {
        let Some(key) = keys.iter().find(|key| key.name == name) else {
            return Err(Fault::at(node.line, format!("unknown key {:?} in {list}", shown(&name))));
        };
        let path = format!("{list}.{name}");
        let line = node.line;
        match (key.shape, &node.value) {
            (Shape::Restriction, _) => {
                let texts = if matches!(node.value, Value::Null) { Vec::new() } else { items(&path, node)? };
                if texts.is_empty() {
                    return Err(Fault::at(line, format!("{path} must be a list that names at least one")));
                }
                pairs.extend(texts.into_iter().map(|text| (name.clone(), text)));
            }
            (_, Value::Null) => {}
            (Shape::List, _) => {
                pairs.extend(items(&path, node)?.into_iter().map(|text| (name.clone(), text)))
            }
            (Shape::Map, _) => {
                let members = members(&path, node)?.into_iter();
                pairs.extend(members.map(|(member, text)| (format!("{name}.{member}"), text)));
            }
            (Shape::Tree, _) => entry.tree = Some(node),
            (Shape::Command, Value::List(_)) => {
                let arguments = items(&path, node)?.into_iter().enumerate();
                pairs.extend(arguments.map(|(at, text)| (format!("{name}.{at}"), text)));
            }
            (Shape::Text | Shape::Value | Shape::Command | Shape::Place, _) => {
                pairs.push((name, node.text(&path)?));
            }
        }
    }
    entry.shown = without_credentials(entry.get("url").unwrap_or_default());
    let is_given = |key: &Key| entry.get(key.name).is_some() || entry.members(key.name).next().is_some();
    match keys.iter().find(|key| key.required && !is_given(key)) {
        Some(key) => Err(Fault::at(entry.line, format!("{list} entry requires {}", key.name))),
        None => Ok(entry),
    }
}

/// A list of texts.
fn items(path: &str, node: Node) -> Result<Vec<String>, Fault> {
    let path_of_items = format!("each item of {path}");
    node.list(path)?.into_iter().map(|item| item.text(&path_of_items)).collect()
}

/// A map of texts. Nothing could stand for no value, an empty one, or one that comes from elsewhere.
fn members(path: &str, node: Node) -> Result<Pairs, Fault> {
    let members = node.map(path)?.into_iter().map(|(name, node)| {
        let path = format!("{path}.{}", shown(&name));
        match node.value {
            Value::Null => {
                Err(Fault::at(node.line, format!("{path} has no value: write '' for an empty one")))
            }
            _ => Ok((name, node.text(&path)?)),
        }
    });
    members.collect()
}

/// YAML 1.2 booleans, and the words of YAML 1.1 that Go's decoder takes for a boolean setting.
fn boolean(path: &str, node: Node) -> Result<bool, Fault> {
    let word = match &node.value {
        Value::Scalar { text, plain: true } => text.to_ascii_lowercase(),
        _ => String::new(),
    };
    match word.as_str() {
        "true" | "yes" | "on" => Ok(true),
        "false" | "no" | "off" => Ok(false),
        _ => Err(Fault::at(node.line, format!("{path} must be a boolean"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(text: &str) -> (usize, String) {
        let fault = parse(text).err().unwrap();
        (fault.line.unwrap(), fault.text)
    }

    #[test]
    fn keys_become_settings() {
        let document = parse(
            "config_version: 1\nlog:\n  level: debug\nhealth:\nmcp:\n  server_urls:\n    - url: http://h/\n",
        )
        .unwrap();
        assert!(
            matches!(&document[0], (Row { flag: "log.level", .. }, 3, Raw::Text(text)) if text == "debug")
        );
        assert!(
            matches!(&document[1], (Row { flag: "mcp.server-url", .. }, 6, Raw::Entries(all)) if all.len() == 1)
        );
        assert_eq!(document.len(), 2);
    }

    #[test]
    fn unknown_keys_and_wrong_types_are_refused() {
        for (text, line, expected) in [
            ("log:\n  colour: x\n", 2, "unknown key \"log.colour\""),
            ("control_plane: {api_key:sk-hidden}\n", 1, "unknown key \"control_plane.api_key...\""),
            ("'': x\n", 1, "unknown key \"\""),
            ("log.level: debug\n", 1, "unknown key \"log.level\""),
            ("control_plane:\n  '': x\n", 2, "unknown key \"control_plane.\""),
            ("bogus: 1\n", 1, "unknown key \"bogus\""),
            ("log:\nconfig_version: 3\n", 2, "unsupported config_version 3"),
            ("config_version: '1'\n", 1, "config_version must be an integer"),
            ("config_version: 2\n---\n", 2, "exactly one YAML document is required"),
            ("cloudflared:\n  managed: false\n", 2, "cloudflared.managed is not supported"),
            (
                "control_plane:\n  max_inflight_requests: '3'\n",
                2,
                "control_plane.max_inflight_requests must be an integer",
            ),
            ("log:\n  http_raw_unsafe: 'true'\n", 2, "log.http_raw_unsafe must be a boolean"),
            ("log: x\n", 1, "log must be a map: write each member as \"NAME: value\" on a line of its own"),
            ("- x\n", 1, "the file must be a map: write each member as \"NAME: value\" on a line of its own"),
            ("mcp:\n  server_urls:\n    - channel: main\n", 3, "mcp.server_urls entry requires url"),
            ("mcp:\n  commands:\n    - channel: main\n", 3, "mcp.commands entry requires command"),
            ("mcp:\n  commands:\n    - cmd: main\n", 3, "unknown key \"cmd\" in mcp.commands"),
            ("mcp:\n  extra_headers:\n    A: [b]\n", 3, "mcp.extra_headers.A must be text on one line"),
        ] {
            assert_eq!(refusal(text), (line, expected.to_string()));
        }
    }

    #[test]
    fn a_command_is_a_text_or_a_list() {
        let command = |value: &str| parse(&format!("mcp:\n  commands:\n    - command: {value}\n"));
        let document = command("[a b, 'env:C', 7]").unwrap();
        let [(_, _, Raw::Entries(entries))] = document.as_slice() else { panic!("a list") };
        let arguments: Vec<&str> = entries[0].members("command").map(|(_, argument)| argument).collect();
        assert_eq!(arguments, ["a b", "env:C", "7"]);
        for (value, expected) in [
            ("[python3, ~]", "each item of mcp.commands.command must be text on one line"),
            ("{a: b}", "mcp.commands.command must be text on one line"),
            ("[]", "mcp.commands entry requires command"),
            ("''", "mcp.commands entry requires command"),
        ] {
            assert_eq!(command(value).err().unwrap().text, expected);
        }
    }

    #[test]
    fn keys_of_entries_have_a_shape() {
        for (text, line, expected) in [
            (
                "mcp:\n  commands:\n    - command: x\n      env: [A=hidden]\n",
                4,
                "mcp.commands.env must be a map: write each member as \"NAME: value\" on a line of its own",
            ),
            (
                "mcp:\n  commands:\n    - command: x\n      env:\n        A:\n",
                5,
                "mcp.commands.env.A has no value: write '' for an empty one",
            ),
            (
                "mcp:\n  commands:\n    - command: x\n      env:\n        A: [hidden]\n",
                5,
                "mcp.commands.env.A must be text on one line",
            ),
            (
                "mcp:\n  commands:\n    - command: x\n      pass_env: {X: B}\n",
                4,
                "mcp.commands.pass_env must be a list: write each item as \"- VALUE\" on a line of its own",
            ),
            (
                "mcp:\n  commands:\n    - command: x\n      pass_env: X\n",
                4,
                "mcp.commands.pass_env must be a list: write each item as \"- VALUE\" on a line of its own",
            ),
            (
                "mcp:\n  commands:\n    - command: x\n      pass_env: [{X: B}]\n",
                4,
                "each item of mcp.commands.pass_env must be text on one line",
            ),
            (
                "mcp:\n  commands:\n    - command: x\n      channel.foo: bar\n",
                4,
                "unknown key \"channel.foo\" in mcp.commands",
            ),
            (
                "mcp:\n  commands:\n    - command: x\n      env.FOO: bar\n",
                4,
                "unknown key \"env.FOO\" in mcp.commands",
            ),
            (
                "mcp:\n  server_urls:\n    - url: [http://h/, http://i/]\n",
                3,
                "mcp.server_urls.url must be text on one line",
            ),
        ] {
            assert_eq!(refusal(text), (line, expected.to_string()));
        }
    }
}
