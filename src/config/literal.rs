//! Literal secrets: keys and passwords that stand in a profile or on a command line themselves.
//!
//! They work, as in the reference client; but whoever can read the file, or the list of processes, has them. Each is
//! named with its place and without its value, so that `run` and `doctor` can warn. It is a guess by names and
//! forms, made before anything is resolved, and nothing relies on it.

use std::path::Path;

use super::Flags;
use super::document::{Document, Raw};
use super::reference::is_reference;
use super::settings::{Kind, ROWS};

/// Words that names of secrets hold, in lower case.
const WORDS: [&str; 9] =
    ["authorization", "cookie", "token", "secret", "password", "passwd", "credential", "api-key", "apikey"];

/// Beginnings of values that are secrets whatever they are called.
const BEGINNINGS: [&str; 3] = ["Bearer ", "Basic ", "sk-"];

/// A sentence for each secret that a file holds.
pub(crate) fn of_file(path: &Path, document: &Document) -> Vec<String> {
    let path = &path.display();
    let said = document.iter().flat_map(|(row, line, raw)| {
        let found = found(row.kind, row.yaml, raw).into_iter();
        found.map(move |what| {
            format!("{path}: line {line}: {what} stands there itself; write env:NAME or file:PATH")
        })
    });
    said.collect()
}

/// A sentence for each secret on the command line.
pub(crate) fn of_flags(flags: &Flags) -> Vec<String> {
    const REMEDY: &str = "stands on the command line, where every user of this host can read it; use the setting's variable, or a profile with a reference";
    let given = flags.given(ROWS);
    let found =
        given.flat_map(|(row, all)| found(row.kind, &format!("--{}", row.flag), &Raw::List(all.to_vec())));
    found.map(|what| format!("{what} {REMEDY}")).collect()
}

/// The places of a setting that hold secrets. Of two that are alike one is named.
fn found(kind: Kind, name: &str, raw: &Raw) -> Vec<String> {
    let members: Vec<(&str, &str)> = match raw {
        Raw::Text(text) => vec![("", text.as_str())],
        Raw::List(items) if kind == Kind::Headers => {
            items.iter().filter_map(|item| item.split_once(':')).collect()
        }
        Raw::List(items) => items.iter().map(|item| ("", item.as_str())).collect(),
        Raw::Map(_) | Raw::Entries(_) | Raw::Tree(_) => raw.pairs(),
    };
    let named = members.into_iter().filter_map(|(member, value)| {
        let (member, value) = (member.trim(), value.trim());
        let place = if member.is_empty() { name.to_owned() } else { format!("{name}.{member}") };
        let is_named = match (kind, member.split_once('.')) {
            // On a command line the key is refused anyway.
            (Kind::Secret, _) => matches!(raw, Raw::Text(_)) && !is_reference(value),
            (Kind::Headers, _) => is_secret(member, value),
            (_, Some(("env" | "headers", variable))) => is_secret(variable, value),
            _ => false,
        };
        if is_named { Some(place) } else { has_password(value).then(|| format!("a password in {place}")) }
    });
    let mut found: Vec<String> = named.collect();
    found.dedup();
    found
}

/// Tells by its name or its form whether a value is a secret.
pub(super) fn is_secret(name: &str, value: &str) -> bool {
    let name = name.to_ascii_lowercase().replace('_', "-");
    let named = WORDS.iter().any(|word| name.contains(word)) || name.ends_with("-key");
    let looks = BEGINNINGS.iter().any(|beginning| value.starts_with(beginning));
    !value.is_empty() && !is_reference(value) && (named || looks)
}

/// Tells whether a text holds a URL with a password in it.
fn has_password(text: &str) -> bool {
    text.split("://").skip(1).any(|rest| {
        let authority = rest.split(['/', '?', '#', ' ']).next().unwrap_or_default();
        authority
            .rsplit_once('@')
            .is_some_and(|(user, _)| user.split_once(':').is_some_and(|(_, word)| !word.is_empty()))
    })
}

#[cfg(test)]
mod tests {
    use super::super::{Request, document};
    use super::*;

    #[test]
    fn secrets_in_a_file_are_named_with_their_line() {
        let text = "control_plane:\n  api_key: sk-hidden-1\n  http_proxy: http://u:hidden-2@p:1\nmcp:\n  extra_headers:\n    X-Tenant: acme\n    X-Api-Key: hidden-3\n    X-Token: env:T\n  commands:\n    - command: x\n      env: {DB_PASSWORD: hidden-4, LANG: C, API_KEY: 'file:k'}\n";
        let said = of_file(Path::new("p.yaml"), &document::parse(text).unwrap());
        let places: Vec<&str> = said.iter().map(|said| said.split(" stands").next().unwrap()).collect();
        assert_eq!(
            places,
            [
                "p.yaml: line 2: control_plane.api_key",
                "p.yaml: line 3: a password in control_plane.http_proxy",
                "p.yaml: line 5: mcp.extra_headers.X-Api-Key",
                "p.yaml: line 9: mcp.commands.env.DB_PASSWORD",
            ]
        );
        assert!(!said.concat().contains("hidden"));
    }

    #[test]
    fn secrets_on_the_command_line_are_named() {
        let given = [
            "--mcp.server-url=http://u:hidden@h/mcp",
            "--mcp.extra-headers=Authorization: Bearer hidden",
            "--mcp.extra-headers=X-A: b",
            "--control-plane.api-key=env:K",
            "--http-proxy=http://user@h:1",
        ];
        let Ok(Request::Run(flags)) = Flags::parse(given) else { panic!() };
        let mut said = of_flags(&flags);
        said.sort();
        assert!(
            said[0].starts_with("--mcp.extra-headers.Authorization stands on the command line"),
            "{said:?}"
        );
        assert!(said[1].starts_with("a password in --mcp.server-url stands"), "{said:?}");
        assert!(said.len() == 2 && !said.concat().contains("hidden"), "{said:?}");
    }
}
