//! The YAML file as settings: every key must be in the table, every value of the right type.
//!
//! Reads the file, resolves nothing. Failures name the file, the line and the key, never a value:
//! whoever mistypes a key may have written a secret behind it.

use std::path::Path;

use super::reference::text;
use super::settings::{Kind, ROWS, Row, Status};
use super::yaml::{self, Fault, Node, Value, shown};
use super::{Error, trust};

/// A profile is a page of text. The bound is checked before a parser sees any of it.
pub(crate) const CONFIG_FILE_MAX_BYTES: u64 = 1024 * 1024;

/// The version of the file format; there is only one so far.
const CONFIG_VERSION: &str = "1";

/// The keys of entries that hold a list, each with an example of one.
const LISTS: [(&str, &str); 3] =
    [("pass_env", "NAME, NAME"), ("methods", "GET, POST"), ("allowed_networks", "10.0.0.0/8")];

/// A YAML map of texts, in the order written.
pub(crate) type Pairs = Vec<(String, String)>;

/// A value as it was given, whoever gave it.
#[derive(Clone)]
pub(crate) enum Raw {
    /// One text.
    Text(String),
    /// Several texts.
    List(Vec<String>),
    /// A YAML list of maps; for headers the one map that there is.
    Maps(Vec<Pairs>),
}

/// The values of a file in the order written, each with its line. No row occurs twice, since no
/// key does and every row has one key.
pub(crate) type Document = Vec<(&'static Row, usize, Raw)>;

/// Reads a settings file, and says what should be said about where it lies. Whoever may write there chooses
/// where commands and the key go.
pub(crate) fn read(path: &Path) -> Result<(Document, Vec<String>), Error> {
    let unread = |error| Error::invalid(format!("read config file {}: {error}", path.display()));
    let found = trust::read(path, CONFIG_FILE_MAX_BYTES).map_err(unread)?;
    let text = text(found.bytes).map_err(unread)?;
    let document = parse(&text).map_err(|fault| located(path, fault.line, &fault.text))?;
    Ok((document, found.warnings))
}

/// An error about a place in a settings file.
pub(crate) fn located(path: &Path, line: Option<usize>, text: &str) -> Error {
    let line = line.map(|line| format!("line {line}: ")).unwrap_or_default();
    Error::invalid(format!("parse config file {}: {line}{text}", path.display()))
}

/// The text of a file as settings.
pub(crate) fn parse(text: &str) -> Result<Document, Fault> {
    let mut document = Document::new();
    section("", yaml::parse(text)?, &mut document)?;
    Ok(document)
}

/// Takes one map apart. A key is a setting, the name of a deeper map, or a mistake: a key that
/// was silently ignored would leave an operator believing in a protection that is not there. The
/// recursion ends where the table does: no path of it has more than two keys.
fn section(path: &str, node: Node, into: &mut Document) -> Result<(), Fault> {
    let entries = match node.value {
        Value::Map(entries) => entries,
        Value::Null => return Ok(()),
        _ if path.is_empty() => return Err(Fault::at(node.line, "the file must be a map of settings")),
        _ => return Err(Fault::at(node.line, format!("{path} must be a map"))),
    };
    for (key, node) in entries {
        // Paths are compared with dots between their keys, so a key with a dot of its own could
        // pass for two, and give a setting a second time. An empty one would match what the
        // table leaves out.
        let legal = !key.is_empty() && !key.contains('.');
        let path = if path.is_empty() { key } else { format!("{path}.{key}") };
        let row = ROWS.iter().find(|row| row.yaml == path);
        match row {
            _ if !legal => return Err(unknown(node.line, &path)),
            Some(row) if row.status == Status::Never => {
                return Err(Fault::at(node.line, format!("{path} is not supported")));
            }
            Some(row) => {
                let line = node.line;
                into.extend(typed(row, node)?.map(|raw| (row, line, raw)));
            }
            None if path == "config_version" => version(&node)?,
            None if is_section(&path) => section(&path, node, into)?,
            None => return Err(unknown(node.line, &path)),
        }
    }
    Ok(())
}

/// A key that nothing reads.
fn unknown(line: usize, path: &str) -> Fault {
    Fault::at(line, format!("unknown key {:?}", shown(path)))
}

/// Whether settings live below this path.
fn is_section(path: &str) -> bool {
    ROWS.iter().any(|row| row.yaml.strip_prefix(path).is_some_and(|rest| rest.starts_with('.')))
}

/// A file of another version means something that this program does not know.
fn version(node: &Node) -> Result<(), Fault> {
    match &node.value {
        Value::Null => Ok(()),
        Value::Scalar { text, plain: true } if text == CONFIG_VERSION => Ok(()),
        Value::Scalar { text, plain: true } if is_integer(text) => {
            Err(Fault::at(node.line, format!("unsupported config_version {text}")))
        }
        _ => Err(Fault::at(node.line, "config_version must be an integer")),
    }
}

/// The value in the type that the table asks for; `None` for nothing and for empty texts, which
/// leave the default in place. A number or boolean in quotes is refused as Go's decoder refuses it.
/// An empty list is a value: it can say that nothing is allowed.
fn typed(row: &Row, node: Node) -> Result<Option<Raw>, Fault> {
    let raw = match (row.kind, node.value) {
        (_, Value::Null) => return Ok(None),
        (Kind::Boolean, Value::Scalar { text, plain: true }) => {
            boolean(&text).map(|verdict| Raw::Text(verdict.to_string()))
        }
        (Kind::Integer { .. }, Value::Scalar { text, plain: true }) if is_integer(&text) => {
            Some(Raw::Text(text))
        }
        (Kind::Headers, Value::Map(entries)) => Some(Raw::Maps(vec![pairs(row.yaml, entries)?])),
        (Kind::List(_), Value::List(nodes)) => {
            let items = nodes.into_iter().map(|node| text_of(row.yaml, node));
            Some(Raw::List(items.collect::<Result<_, _>>()?))
        }
        (Kind::Entries { keys, .. }, Value::List(nodes)) => {
            let entries = nodes.into_iter().map(|node| entry(row, keys, node));
            Some(Raw::Maps(entries.collect::<Result<_, _>>()?))
        }
        (Kind::Boolean | Kind::Integer { .. }, _) => None,
        (Kind::Headers | Kind::List(_) | Kind::Entries { .. }, _) => None,
        (_, Value::Scalar { text, .. }) if text.is_empty() => return Ok(None),
        (_, Value::Scalar { text, .. }) => Some(Raw::Text(text)),
        _ => None,
    };
    let expected = match row.kind {
        Kind::Boolean => "a boolean",
        Kind::Integer { .. } => "an integer",
        Kind::Headers => "a map of header names and values",
        Kind::List(_) | Kind::Entries { .. } => "a list",
        _ => "text",
    };
    raw.map(Some).ok_or_else(|| Fault::at(node.line, format!("{} must be {expected}", row.yaml)))
}

/// One entry of a list of maps. What is missing or unknown is reported with the line on which the
/// entry begins, since a list has many of them. Keys without a value are left out; the last key of
/// the table is mandatory.
fn entry(row: &Row, keys: &[&str], node: Node) -> Result<Pairs, Fault> {
    let Value::Map(entries) = node.value else {
        return Err(Fault::at(node.line, format!("an entry of {} must be a map", row.yaml)));
    };
    let mut pairs = Pairs::new();
    for (key, member) in entries {
        if !keys.contains(&key.as_str()) {
            return Err(Fault::at(node.line, format!("unknown key {:?} in {}", shown(&key), row.yaml)));
        }
        spread(&format!("{}.{key}", row.yaml), key, member, &mut pairs)?;
    }
    let value_of =
        |needed: &str| pairs.iter().find(|(key, _)| key == needed).map(|(_, value)| value.as_str());
    let missing = match keys.last() {
        Some(needed) if value_of(needed).is_none() => format!("requires {needed}"),
        // The label of a target is known by now, and better found than its line.
        Some(needed) if keys.contains(&"url") && value_of("url").is_none() => {
            format!("{:?} requires url", shown(value_of(needed).unwrap_or_default()))
        }
        _ => return Ok(pairs),
    };
    Err(Fault::at(node.line, format!("{} entry {missing}", row.yaml)))
}

/// Puts what stands one level deeper beside the rest: the members of a map under `key.member`, the
/// items of a list under the same key again. Only what has the shape of its key: whatever else was
/// written there, a server would be started without it.
fn spread(path: &str, key: String, node: Node, into: &mut Pairs) -> Result<(), Fault> {
    let line = node.line;
    let list = LISTS.iter().find(|(known, _)| *known == key);
    let expected = match (key.as_str(), node.value) {
        // A restriction of which nothing is left is a mistake, and the one that would allow everything.
        ("methods" | "allowed_networks", Value::Null) => "a list that names at least one".to_owned(),
        (_, Value::Null) => return Ok(()),
        ("env" | "headers", Value::Map(members)) => {
            for (name, node) in members {
                let path = format!("{path}.{}", shown(&name));
                // Nothing could stand for no variable, an empty one, or ours of that name.
                if key == "env" && matches!(node.value, Value::Null) {
                    return Err(Fault::at(
                        node.line,
                        format!("{path} has no value: write '' for an empty one"),
                    ));
                }
                into.push((format!("{key}.{name}"), text_of(&path, node)?));
            }
            return Ok(());
        }
        ("env" | "headers", _) => format!("a map: write \"{key}: {{NAME: value}}\""),
        (_, Value::List(items)) if list.is_some() => {
            if items.is_empty() && key != "pass_env" {
                return Err(Fault::at(line, format!("{path} must be a list that names at least one")));
            }
            for item in items {
                into.push((key.clone(), text_of(&format!("each item of {path}"), item)?));
            }
            return Ok(());
        }
        (_, value) => match (list, value) {
            (Some((_, example)), _) => format!("a list: write \"{key}: [{example}]\""),
            (None, Value::Scalar { text, .. }) => {
                into.extend(Some((key, text)).filter(|(_, text)| !text.trim().is_empty()));
                return Ok(());
            }
            (None, _) => "text on one line".to_owned(),
        },
    };
    Err(Fault::at(line, format!("{path} must be {expected}")))
}

/// A map of texts.
fn pairs(path: &str, entries: Vec<(String, Node)>) -> Result<Pairs, Fault> {
    let pairs = entries.into_iter().map(|(key, node)| {
        let value = text_of(&format!("{path}.{}", shown(&key)), node)?;
        Ok((key, value))
    });
    pairs.collect()
}

/// Numbers and booleans without quotes are texts here too, as Go's decoder has it.
fn text_of(path: &str, node: Node) -> Result<String, Fault> {
    match node.value {
        Value::Scalar { text, .. } => Ok(text),
        Value::Null => Ok(String::new()),
        _ => Err(Fault::at(node.line, format!("{path} must be text"))),
    }
}

/// Decimal digits with an optional sign, of any length: whether the number fits is decided where
/// its bounds are known. The other YAML notations (octal, hexadecimal, with underscores) only invite
/// surprises.
fn is_integer(text: &str) -> bool {
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    !digits.is_empty() && digits.chars().all(|c| c.is_ascii_digit())
}

/// YAML 1.2 booleans, and the words of YAML 1.1 that Go's decoder takes for a boolean setting.
fn boolean(text: &str) -> Option<bool> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "yes" | "on" => Some(true),
        "false" | "no" | "off" => Some(false),
        _ => None,
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
            matches!(&document[1], (Row { flag: "mcp.server-url", .. }, 6, Raw::Maps(maps)) if maps.len() == 1)
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
            ("config_version: 2\n", 1, "unsupported config_version 2"),
            ("cloudflared:\n  managed: false\n", 2, "cloudflared.managed is not supported"),
            (
                "control_plane:\n  max_inflight_requests: '3'\n",
                2,
                "control_plane.max_inflight_requests must be an integer",
            ),
            ("log:\n  http_raw_unsafe: 'true'\n", 2, "log.http_raw_unsafe must be a boolean"),
            ("log: x\n", 1, "log must be a map"),
            ("- x\n", 1, "the file must be a map of settings"),
            ("mcp:\n  server_urls:\n    - channel: main\n", 3, "mcp.server_urls entry requires url"),
            ("mcp:\n  commands:\n    - channel: main\n", 3, "mcp.commands entry requires command"),
            ("mcp:\n  commands:\n    - cmd: main\n", 3, "unknown key \"cmd\" in mcp.commands"),
            ("mcp:\n  extra_headers:\n    A: [b]\n", 3, "mcp.extra_headers.A must be text"),
        ] {
            assert_eq!(refusal(text), (line, expected.to_string()));
        }
    }

    #[test]
    fn keys_of_entries_have_a_shape() {
        for (text, line, expected) in [
            (
                "mcp:\n  commands:\n    - command:\n        [python3, server.py]\n",
                3,
                "mcp.commands.command must be text on one line",
            ),
            (
                "mcp:\n  commands:\n    - command: x\n      env: [A=hidden]\n",
                4,
                "mcp.commands.env must be a map: write \"env: {NAME: value}\"",
            ),
            (
                "mcp:\n  commands:\n    - command: x\n      env:\n        A:\n",
                5,
                "mcp.commands.env.A has no value: write '' for an empty one",
            ),
            (
                "mcp:\n  commands:\n    - command: x\n      env:\n        A: [hidden]\n",
                5,
                "mcp.commands.env.A must be text",
            ),
            (
                "mcp:\n  commands:\n    - command: x\n      pass_env: {X: B}\n",
                4,
                "mcp.commands.pass_env must be a list: write \"pass_env: [NAME, NAME]\"",
            ),
            (
                "mcp:\n  commands:\n    - command: x\n      pass_env: X\n",
                4,
                "mcp.commands.pass_env must be a list: write \"pass_env: [NAME, NAME]\"",
            ),
            (
                "mcp:\n  commands:\n    - command: x\n      pass_env: [{X: B}]\n",
                4,
                "each item of mcp.commands.pass_env must be text",
            ),
            (
                "mcp:\n  commands:\n    - command: x\n      channel.foo: bar\n",
                3,
                "unknown key \"channel.foo\" in mcp.commands",
            ),
            (
                "mcp:\n  commands:\n    - command: x\n      env.FOO: bar\n",
                3,
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
