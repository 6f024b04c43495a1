//! Checks of settings that are not used yet, for the commands that write profiles.
//!
//! Nothing is opened and nothing that a profile refers to is resolved: its secrets may be on another host.
//! Values of single options are held to the grammars of `run`, so that what was written also starts.
//! Failures name what `run` would name, and repeat no value that may be a secret.

use std::path::Path;

use super::document::{self, Raw};
use super::reference::syntax;
use super::settings::{Kind, Row, Shape};
use super::{Error, audit, policy, yaml};
use crate::url::Url;

pub(crate) use super::document::CONFIG_FILE_MAX_BYTES;
pub(crate) use super::plane::{base_url, tunnel_id, url_path};
pub(crate) use super::reference::{is_reference, read_text};
pub(crate) use yaml::quoted;

/// Checks the text of a profile that is, or is to be, at this path: its schema, and how its references are
/// written. Yields the names of the variables that it refers to.
pub(crate) fn check(path: &Path, text: &str) -> Result<Vec<String>, Error> {
    let document = document::parse(text).map_err(|fault| document::located(path, fault.line, &fault.text))?;
    let mut variables = Vec::new();
    for (row, line, raw) in &document {
        if let Raw::Tree(node) = raw {
            let read = match row.yaml {
                "audit" => audit::audit(node.clone(), None).map(drop),
                // Its channels may be named by a variable.
                _ => policy::policy(node.clone(), |_| true).map(drop),
            };
            read.map_err(|fault| document::located(path, fault.line, &fault.text))?;
        }
        for (source, value) in referring(row, raw) {
            let name =
                syntax(&source, value).map_err(|fault| document::located(path, Some(*line), &fault))?;
            variables.extend(name.map(str::to_owned));
        }
    }
    Ok(variables)
}

/// The values of a setting that may be references, with what complaints call them.
fn referring<'r>(row: &Row, raw: &'r Raw) -> Vec<(String, &'r str)> {
    let refers = |key: &str, value: &str| match row.kind {
        Kind::Entries { keys, .. } => keys.iter().any(|known| match known.shape {
            Shape::Value | Shape::Command | Shape::Place => known.name == key && !value.trim().is_empty(),
            // A variable of a server may hold anything, unless it is a reference.
            Shape::Map => {
                key.split_once('.').is_some_and(|(map, _)| map == known.name)
                    && (known.name != "env" || is_reference(value))
            }
            Shape::Text | Shape::Tree | Shape::List | Shape::Restriction => false,
        }),
        _ => true,
    };
    match raw {
        Raw::Text(text) if row.reference || matches!(row.kind, Kind::Path | Kind::Proxy | Kind::Secret) => {
            vec![(row.yaml.to_owned(), text)]
        }
        Raw::Map(_) | Raw::Entries(_) => {
            let pairs = raw.pairs().into_iter().filter(|(key, value)| refers(key, value));
            pairs.map(|(key, value)| (format!("{}.{key}", row.yaml), value)).collect()
        }
        _ => Vec::new(),
    }
}

/// Checks that a key is named and not given. The text is not repeated: it may be the key.
pub(crate) fn key_reference(text: &str) -> Result<(), &'static str> {
    let is_sound = is_reference(text) && syntax("control-plane.api-key", text).is_ok();
    if is_sound { Ok(()) } else { Err("use env:VARNAME or file:/path/to/key") }
}

/// Checks the URL of a server, or how a reference to one is written. The complaint is what is wrong, alone.
pub(crate) fn server_url(text: &str) -> Result<(), String> {
    const SETTING: &str = "mcp.server-url";
    let url = match is_reference(text) {
        true => return syntax(SETTING, text).map(drop),
        false => Url::parse(text.trim()),
    };
    let checked = url.and_then(|url| match url.credentials {
        Some(_) => Err("credentials would be written to the profile; pass the URL as env:NAME or file:PATH"),
        None => url.origin().and(url.uri()).map(drop),
    });
    checked.map_err(str::to_owned)
}

/// The words of a server's command, or none where it is a reference, which is not followed.
pub(crate) fn command(text: &str) -> Result<Vec<String>, String> {
    const SETTING: &str = "mcp.command";
    if is_reference(text) {
        return syntax(SETTING, text).map(|_| Vec::new());
    }
    super::arguments(text).map_err(|what| format!("invalid {SETTING}: {what}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_are_checked_and_not_followed() {
        let text = "ca_bundle: env:BUNDLE\ncontrol_plane:\n  api_key: file:/no/such/file\n\
                    mcp:\n  extra_headers:\n    X: env:TOKEN\n  commands:\n    - command: x\n      env: {A: '', B: env:C}\n\
                    harpoon:\n  targets:\n    - label: a\n      url: env:D\n      headers: {A: env:E, B: c}\n      methods: [GET]\n";
        assert_eq!(check(Path::new("p"), text).unwrap(), ["BUNDLE", "TOKEN", "C", "D", "E"]);
        for (text, expected) in [
            (
                "http_proxy: 'env:'\n",
                "line 1: invalid http_proxy reference \"env:\": environment variable name is required",
            ),
            (
                "ca_bundle: 'env:A-B'\n",
                "line 1: invalid ca_bundle reference \"env:A-B\": environment variable name is invalid",
            ),
            (
                "control_plane:\n  api_key: 'file:'\n",
                "line 2: invalid control_plane.api_key reference \"file:\": file path is required",
            ),
            (
                "control_plane:\n  api_key: \"a\\nb\"\n",
                "line 2: control_plane.api_key cannot contain CR or LF",
            ),
            ("health:\n  listen_addr: ' '\n", "line 2: health.listen_addr cannot be empty"),
            ("bogus: 1\n", "line 1: unknown key \"bogus\""),
        ] {
            let error = check(Path::new("p"), text).unwrap_err().to_string();
            assert_eq!(error, format!("parse config file p: {expected}"));
        }
    }

    #[test]
    fn servers_are_named_without_credentials() {
        for fine in ["http://127.0.0.1:1/mcp", "https://h", "env:URL", "file:/url"] {
            assert_eq!(server_url(fine), Ok(()));
        }
        for bad in ["h:1", "ftp://h", "http://u:hidden@h/", "env:", "env:hidden-", "http://h/a b"] {
            let error = server_url(bad).unwrap_err();
            assert!(!error.contains("u:hidden"), "{error}");
        }
        assert_eq!(command("a 'b c'").unwrap(), ["a", "b c"]);
        assert!(command("env:COMMAND").unwrap().is_empty());
        assert_eq!(command("'").unwrap_err(), "invalid mcp.command: unterminated quoted string");
    }
}
