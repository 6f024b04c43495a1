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

/// What values begin with that are secrets whatever they are called.
const BEGINNINGS: [&str; 3] = ["Bearer ", "Basic ", "sk-"];

/// A sentence for each secret that a file holds.
pub(crate) fn of_file(path: &Path, document: &Document) -> Vec<String> {
    let warn = |(line, what): (usize, String)| {
        format!("{}: line {line}: {what} stands there itself; write env:NAME or file:PATH", path.display())
    };
    let found = document
        .iter()
        .flat_map(|(row, line, raw)| found(row.kind, row.yaml, raw).into_iter().map(|what| (*line, what)));
    found.map(warn).collect()
}

/// A sentence for each secret on the command line.
pub(crate) fn of_flags(flags: &Flags) -> Vec<String> {
    let given = flags
        .given(ROWS)
        .flat_map(|(row, values)| found(row.kind, &format!("--{}", row.flag), &Raw::List(values.to_vec())));
    given
        .map(|what| {
            format!("{what} stands on the command line, where every user of this host can read it; use the setting's variable, or a profile with a reference")
        })
        .collect()
}

/// What of one setting is a secret, by its name. Of two that are alike one is named.
fn found(kind: Kind, name: &str, raw: &Raw) -> Vec<String> {
    let header = |header: &str, value: &str| is_secret(header, value).then(|| format!("{name}.{header}"));
    let mut found: Vec<String> = match (kind, raw) {
        // The key is refused on a command line.
        (Kind::Secret, Raw::Text(text)) if !is_reference(text) => vec![name.to_owned()],
        (Kind::Headers, Raw::List(items)) => items
            .iter()
            .filter_map(|item| item.split_once(':'))
            .filter_map(|(one, value)| header(one.trim(), value.trim()))
            .collect(),
        (Kind::Headers, Raw::Maps(maps)) => {
            maps.iter().flatten().filter_map(|(one, value)| header(one, value.trim())).collect()
        }
        (_, Raw::Maps(maps)) => maps
            .iter()
            .flatten()
            .filter_map(|(key, value)| match key.split_once('.') {
                Some(("env" | "headers", member)) if is_secret(member, value.trim()) => {
                    Some(format!("{name}.{key}"))
                }
                _ => has_password(value).then(|| format!("a password in {name}.{key}")),
            })
            .collect(),
        (_, Raw::List(items)) => {
            items.iter().filter(|item| has_password(item)).map(|_| format!("a password in {name}")).collect()
        }
        (_, Raw::Text(text)) => {
            has_password(text).then(|| format!("a password in {name}")).into_iter().collect()
        }
    };
    found.dedup();
    found
}

/// Whether a value is a secret, by what it is called or by what it looks like.
fn is_secret(name: &str, value: &str) -> bool {
    let name = name.to_ascii_lowercase().replace('_', "-");
    let named = WORDS.iter().any(|word| name.contains(word)) || name.ends_with("-key");
    let looks = BEGINNINGS.iter().any(|beginning| value.starts_with(beginning));
    !value.is_empty() && !is_reference(value) && (named || looks)
}

/// Whether a text holds a URL with a password in it.
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
