//! Settings in force, as people may see them: what each is, and who gave it.
//!
//! Made from what was given and not from what became of it, so that a start that fails can show it too. References
//! are shown as such. What may be a secret by itself is never shown: keys, values of headers and variables, arguments
//! of commands, and of a URL all but scheme, host and port. Nothing here fails or opens anything.

use std::fmt;

use super::binding::{Entry, arguments};
use super::document::Raw;
use super::lookup::{Found, Giver, Lookup};
use super::reference::{is_variable_name, split};
use super::settings::{Kind, ROWS, Row, TREES};
use super::yaml::{Node, Value};
use crate::text::bounded;
use crate::url::Parts;

/// Longest value that is shown.
const VALUE_BYTES_MAX: usize = 2048;

/// Stands for what is not shown.
const HIDDEN: &str = "[redacted]";

/// Variables with proxies.
pub(super) const PROXIES: [&str; 4] = ["HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy"];

/// Others that count beside those of the table.
const FURTHER: [&str; 4] = ["NO_PROXY", "no_proxy", "SSL_CERT_FILE", "SSL_CERT_DIR"];

/// Setting in force.
#[derive(Debug, Clone)]
pub struct Shown {
    /// Its path in a file; its flag where no file can hold it; or a variable.
    pub key: &'static str,
    /// Its value without secrets.
    pub value: String,
    /// Who gave it: a flag, a variable, a line of the profile, or the default.
    pub giver: String,
    /// Whether it is other than the default.
    pub differs: bool,
}

/// One line of a text for support.
impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} = {}  ({})", self.key, self.value, self.giver)
    }
}

/// All settings that have a value, in the order of the table.
pub(crate) fn of(lookup: &Lookup) -> Vec<Shown> {
    let rows = ROWS.iter().chain(TREES).filter_map(|row| of_row(lookup, row));
    let variables = PROXIES.into_iter().chain(FURTHER).filter_map(|key| {
        let text = lookup.references.environment.filled(key)?;
        let value = if PROXIES.contains(&key) { proxy(text) } else { text.to_owned() };
        Some(Shown { key, value: bounded(&value, VALUE_BYTES_MAX), giver: key.to_owned(), differs: true })
    });
    rows.chain(variables).collect()
}

fn of_row(lookup: &Lookup, row: &'static Row) -> Option<Shown> {
    let key = if row.yaml.is_empty() { row.flag } else { row.yaml };
    let found = lookup.given(row);
    let giver = match found.as_ref().map(|found| found.giver) {
        Some(Giver::Flag) => format!("--{}", row.flag),
        Some(Giver::Environment(name)) => name.to_owned(),
        Some(Giver::File(_, line)) => format!("profile line {line}"),
        _ if row.default.is_empty() || !row.is_live() => return None,
        _ => "default".to_owned(),
    };
    let value = found.map_or_else(|| row.default.to_owned(), |found| value(&found));
    Some(Shown { key, differs: value != row.default, value: bounded(&value, VALUE_BYTES_MAX), giver })
}

fn value(found: &Found) -> String {
    let one = |text: &String| match found.row.kind {
        Kind::Secret => secret(text),
        Kind::Proxy => proxy(text),
        Kind::Headers => text.split_once(':').map_or(HIDDEN.to_owned(), header),
        Kind::Entries { .. } => parsed(found.row.flag, text).map_or(HIDDEN.to_owned(), |read| entry(&read)),
        _ => place(text),
    };
    match &found.raw {
        Raw::Text(text) => one(text),
        Raw::List(items) => joined(items.iter().map(one), ", "),
        Raw::Map(pairs) => joined(pairs.iter().map(|(name, value)| header((name, value))), ", "),
        Raw::Entries(entries) => joined(entries.iter().map(entry), "; "),
        Raw::Tree(node) => tree(node),
    }
}

/// An entry that stands in one text.
pub(super) fn parsed(flag: &str, text: &str) -> Result<Entry, String> {
    match flag {
        "mcp.server-url" => Entry::server(text),
        "mcp.command" => Entry::command(text),
        #[cfg(feature = "harpoon")]
        "harpoon.target" => super::endpoint::of_text(text),
        _ => Err(String::new()),
    }
}

fn entry(entry: &Entry) -> String {
    let pairs = entry.pairs.iter().filter_map(|(name, value)| {
        let value = match name.as_str() {
            "command" => {
                arguments(value).map_or(HIDDEN.to_owned(), |words| words.into_iter().take(1).collect())
            }
            "command.0" => value.clone(),
            "http_proxy" => proxy(value),
            "pass_env" if !is_variable_name(value) => HIDDEN.to_owned(),
            _ if name.starts_with("command.") => return None,
            _ if name.contains('.') => secret(value),
            _ => place(value),
        };
        Some(format!("{name}={value}"))
    });
    joined(pairs.chain(entry.tree.as_ref().map(|_| "template=...".to_owned())), " ")
}

fn header((name, value): (&str, &str)) -> String {
    format!("{}: {}", name.trim(), secret(value))
}

/// A secret, unless it is a reference.
fn secret(text: &str) -> String {
    let is_shown = split(text).is_some_and(|(kind, name)| kind == "file" || is_variable_name(name));
    if is_shown { text.trim().to_owned() } else { HIDDEN.to_owned() }
}

/// A proxy, which a variable may name without a scheme.
fn proxy(text: &str) -> String {
    match text.split_once("://") {
        None if split(text).is_some() => secret(text),
        None => place(&format!("http://{text}")),
        Some(_) => place(text),
    }
}

/// A text as it is, or a reference; of a URL what is no secret.
fn place(text: &str) -> String {
    match Parts::of(text) {
        _ if split(text).is_some() => secret(text),
        None => text.to_owned(),
        Some(Parts { scheme, place, path, tail, .. }) => {
            let rest = if path.len() > 1 || !tail.is_empty() { "/..." } else { "" };
            format!("{scheme}://{place}{rest}")
        }
    }
}

/// A structure on one line. Nothing in one is a secret, and URLs are shown as elsewhere.
fn tree(node: &Node) -> String {
    let member = |(name, node): &(String, Node)| format!("{name}: {}", tree(node));
    match &node.value {
        Value::Null => "null".to_owned(),
        Value::Scalar { text, .. } => place(text),
        Value::List(nodes) => format!("[{}]", joined(nodes.iter().map(tree), ", ")),
        Value::Map(members) => format!("{{{}}}", joined(members.iter().map(member), ", ")),
    }
}

fn joined(items: impl Iterator<Item = String>, between: &str) -> String {
    items.collect::<Vec<_>>().join(between)
}

#[cfg(test)]
mod tests {
    use super::super::{Environment, Flags, Request, document};
    use super::*;

    #[test]
    fn settings_are_shown_with_their_giver_and_without_secrets() {
        let path = std::env::temp_dir().join(format!("tunnel-client-shown-{}.yaml", std::process::id()));
        let text = "config_version: 2\nca_bundle: file:/ca.pem\ncontrol_plane:\n  api_key: file:/run/key\n  http_proxy: http://u:hidden1@p:3128\n  extra_headers: {X-A: hidden2, X-B: env:B}\nmcp:\n  server_urls:\n    - {channel: docs, url: 'https://u:hidden3@h/hidden4?k=hidden5', http_proxy: env:P}\n  commands:\n    - {command: 'npx server --key hidden6', env: {A: hidden7, B: file:b}, pass_env: [LANG, 'B=hidden17']}\n    - {channel: two, command: [python3, hidden8]}\nharpoon:\n  transport_token: hidden9\n  targets:\n    - {label: t, url: 'https://h2/hidden10', headers: {Authorization: hidden11}, methods: [GET]}\npolicy:\n  channels: {docs: {tools: {allow: [a, b]}}}\n";
        std::fs::write(&path, text).unwrap();
        let Ok(Request::Run(flags)) = Flags::parse(&["--mcp.max-concurrent-requests=3", "--log.level=info"])
        else {
            panic!()
        };
        let environment = Environment::of([
            ("OPENAI_API_KEY", "hidden12"),
            ("HARPOON_HTTP_PROXY", "env:hidden-13"),
            ("HTTPS_PROXY", "u:hidden14@proxy:1"),
            ("MCP_EXTRA_HEADERS", "A: hidden15,hidden16"),
        ]);
        let file = document::read(&path).unwrap();
        let shown = of(&Lookup::of(&flags, &environment, Some(&file), true));
        let differing: Vec<_> = shown.iter().filter(|one| one.differs).cloned().collect();
        let text: String = differing.iter().map(Shown::to_string).collect();
        assert!(!text.contains("hidden"), "{text}");
        let expected = "ca_bundle = file:/ca.pem  (profile line 2)\n\
            control_plane.api_key = file:/run/key  (profile line 4)\n\
            control_plane.http_proxy = http://p:3128  (profile line 5)\n\
            control_plane.extra_headers = X-A: [redacted], X-B: env:B  (profile line 6)\n\
            mcp.server_urls = channel=docs url=https://h/... http_proxy=env:P  (profile line 8)\n\
            mcp.commands = command=npx env.A=[redacted] env.B=file:b pass_env=LANG pass_env=[redacted]; channel=two command.0=python3  (profile line 10)\n\
            mcp.extra_headers = A: [redacted], [redacted]  (MCP_EXTRA_HEADERS)\n\
            mcp.max_concurrent_requests = 3  (--mcp.max-concurrent-requests)\n\
            harpoon.targets = label=t url=https://h2/... headers.Authorization=[redacted] methods=GET  (profile line 15)\n\
            harpoon.http_proxy = [redacted]  (HARPOON_HTTP_PROXY)\n\
            harpoon.transport_token = [redacted]  (profile line 14)\n\
            policy = {channels: {docs: {tools: {allow: [a, b]}}}}  (profile line 17)\n\
            HTTPS_PROXY = http://proxy:1  (HTTPS_PROXY)\n";
        assert_eq!(text, expected);
        for (text, wanted) in [("env:A", "env:A"), ("env:http://h/hidden", HIDDEN), ("file:/k", "file:/k")] {
            assert_eq!(place(text), wanted);
        }
        let level = shown.iter().find(|one| one.key == "log.level").unwrap();
        assert_eq!((level.differs, level.giver.as_str()), (false, "--log.level"));
        std::fs::remove_file(path).unwrap();
    }
}
