//! What can be said of settings that may not be usable, for a text for support.
//!
//! Nothing here fails: what cannot be read is left out, and the first mistake is kept as a sentence. Secrets are looked
//! for more widely than elsewhere, because a text that is sent away passes a redactor that knows them.

use std::path::PathBuf;

use super::binding::{Entry, arguments};
use super::document::{self, Raw};
use super::literal;
use super::lookup::{Found, Lookup};
use super::profile::{self, Source};
use super::reference::{is_reference, split};
use super::settings::{Kind, ROWS, TREES};
use super::shown::{self, Shown};
use super::yaml::{Node, Value};
use super::{AuditPlace, Environment, Flags, Secret, Settings};
use crate::url::{Parts, percent_decoded};

/// Least length of a part of a path that may be a key by itself.
const KEY_BYTES_MIN: usize = 16;

/// What was found.
pub(crate) struct Glimpse {
    /// The file, where one was chosen.
    pub(crate) source: Source,
    /// The first mistake.
    pub(crate) fault: Option<String>,
    /// The settings, when they can be used but for a missing key.
    pub(crate) settings: Option<Settings>,
    /// All that were given, and the defaults.
    pub(crate) shown: Vec<Shown>,
    /// What must not be shown.
    pub(crate) secrets: Vec<Secret>,
    /// Files that are named, each once.
    pub(crate) files: Vec<PathBuf>,
    /// The listener's socket, the file with its URL, and its address, where they are given.
    pub(crate) listener: [Option<String>; 3],
    /// The log's file.
    pub(crate) log: Option<PathBuf>,
    /// The file with the process id.
    pub(crate) pid: Option<PathBuf>,
}

/// Value of a setting, or of a member of one, with the member's name.
struct Leaf {
    kind: Kind,
    name: String,
    text: String,
}

/// Looks at what flags, variables and the file say.
pub(crate) fn glimpse(flags: &Flags, environment: &Environment) -> Glimpse {
    let mut fault = None;
    let source = profile::select(flags, environment).map_err(|error| fault = Some(error.to_string()));
    let source = source.unwrap_or_default();
    let file = source.path.as_deref().map(document::read).transpose();
    let file = file.map_err(|error| fault = fault.take().or(Some(error.to_string()))).ok().flatten();
    let settings = Settings::load(flags, environment).map_err(|error| {
        fault = fault.take().or(Some(error.to_string()));
    });
    let settings = settings.ok().or_else(|| Settings::load_keyless(flags, environment).ok());
    let lookup = Lookup::of(flags, environment, file.as_ref(), true);
    let given: Vec<Found> = ROWS.iter().chain(TREES).filter_map(|row| lookup.given(row)).collect();
    let leaves: Vec<Leaf> = given.iter().flat_map(leaves).collect();
    let mut secrets = settings.as_ref().map(Settings::secrets).unwrap_or_default();
    secrets.extend(leaves.iter().flat_map(|leaf| of_leaf(leaf, &lookup)).map(Secret::new));
    let proxies = shown::PROXIES.iter().filter_map(|name| environment.filled(name));
    secrets.extend(proxies.flat_map(of_url).map(Secret::new));
    let path = |flag: &str| lookup.plain_path(flag).ok().flatten();
    let (log, pid, socket, url) =
        (path("log.file"), path("pid.file"), path("health.unix-socket"), path("health.url-file"));
    let mut files: Vec<PathBuf> = source.path.iter().cloned().collect();
    files.extend(leaves.iter().filter_map(named));
    files.extend([&log, &pid, &socket, &url].into_iter().flatten().cloned());
    if let Some(settings) = &settings {
        files.extend(settings.pin_file().map(PathBuf::from));
        if let Some(AuditPlace::File(path) | AuditPlace::Socket(path)) =
            settings.audit.as_ref().map(|it| &it.place)
        {
            files.push(path.clone());
        }
    }
    files.sort();
    files.dedup();
    let text = |path: Option<PathBuf>| path.map(|path| path.display().to_string());
    let address =
        lookup.read("health.listen-addr", |found| Ok(found.text().trim().to_owned())).ok().flatten();
    let shown = shown::of(&lookup);
    Glimpse {
        fault,
        settings,
        shown,
        secrets,
        files,
        listener: [text(socket), text(url), address],
        log,
        pid,
        source,
    }
}

/// The texts of a value.
fn leaves(found: &Found) -> Vec<Leaf> {
    let kind = found.row.kind;
    let leaf = |name: &str, text: &str| Leaf { kind, name: name.to_owned(), text: text.trim().to_owned() };
    let of_entry = |entry: &Entry| {
        let mut leaves: Vec<Leaf> = entry.pairs.iter().map(|(name, text)| leaf(name, text)).collect();
        entry.tree.iter().for_each(|node| of_tree("", node, &mut leaves));
        leaves
    };
    match &found.raw {
        Raw::Text(text) => vec![leaf("", text)],
        Raw::List(items) if kind == Kind::Headers => items
            .iter()
            .filter_map(|item| item.split_once(':'))
            .map(|(name, text)| leaf(name, text))
            .collect(),
        Raw::List(items) if matches!(kind, Kind::Entries { .. }) => items
            .iter()
            .flat_map(|text| match shown::parsed(found.row.flag, text) {
                Ok(entry) => of_entry(&entry),
                Err(_) => vec![leaf("", text)],
            })
            .collect(),
        Raw::List(items) => items.iter().map(|text| leaf("", text)).collect(),
        Raw::Map(pairs) => pairs.iter().map(|(name, text)| leaf(name, text)).collect(),
        Raw::Entries(entries) => entries.iter().flat_map(of_entry).collect(),
        Raw::Tree(node) => {
            let mut leaves = Vec::new();
            of_tree("", node, &mut leaves);
            leaves
        }
    }
}

fn of_tree(name: &str, node: &Node, into: &mut Vec<Leaf>) {
    match &node.value {
        Value::Null => {}
        Value::Scalar { text, .. } => {
            into.push(Leaf { kind: Kind::Tree, name: name.to_owned(), text: text.trim().to_owned() });
        }
        Value::List(nodes) => nodes.iter().for_each(|node| of_tree(name, node, into)),
        Value::Map(members) => members.iter().for_each(|(name, node)| of_tree(name, node, into)),
    }
}

/// What of a text is secret: what it refers to, what stands where secrets do, and parts of URLs.
fn of_leaf(leaf: &Leaf, lookup: &Lookup) -> Vec<String> {
    let Leaf { kind, name, text } = leaf;
    let references = &lookup.references;
    if is_reference(text) {
        // Most often a key or a password, and a path in a variable is shown by the reference.
        let is_path =
            *kind == Kind::Path || ["unix_socket", "client_cert", "client_key"].contains(&name.as_str());
        let resolved = if is_path { None } else { references.lasting(name, text).ok() };
        return resolved.iter().flat_map(|text| of_url(text).into_iter().chain([text.clone()])).collect();
    }
    let is_passed = name == "pass_env";
    let passed = if is_passed { references.environment.filled(text).map(str::to_owned) } else { None };
    let stands = matches!(kind, Kind::Secret | Kind::Headers)
        || name.starts_with("env.")
        || name.starts_with("headers.")
        || literal::is_secret(name, text);
    of_url(text).into_iter().chain(passed).chain(stands.then(|| text.clone())).collect()
}

/// Credentials, path and values of the query of a URL, or of what a variable says of a proxy. A path may be a key, and
/// so may a long part of one.
fn of_url(text: &str) -> Vec<String> {
    let whole = if text.contains("://") { text.to_owned() } else { format!("http://{text}") };
    let Some(Parts { userinfo, path, tail, .. }) = Parts::of(&whole) else { return Vec::new() };
    let path = if text.contains("://") { path.trim_matches('/') } else { "" };
    let segments = path.split('/').filter(|segment| segment.len() >= KEY_BYTES_MIN);
    let values = tail.split(['?', '&', '#']).filter_map(|pair| pair.split_once('=')).map(|(_, value)| value);
    let parts =
        userinfo.into_iter().chain(values).chain([path]).chain(segments).filter(|part| !part.is_empty());
    parts.flat_map(|part| [Some(part.to_owned()), percent_decoded(part)]).flatten().collect()
}

/// The file that a text names.
fn named(leaf: &Leaf) -> Option<PathBuf> {
    match split(&leaf.text) {
        Some(("file", path)) => Some(PathBuf::from(path)),
        Some(_) => None,
        None if leaf.text.is_empty() => None,
        None if leaf.kind == Kind::Path => Some(PathBuf::from(&leaf.text)),
        None => {
            let names = ["unix_socket", "client_cert", "client_key", "working_dir", "command", "command.0"];
            let is_named = names.contains(&leaf.name.as_str()) && leaf.text.starts_with('/');
            // Of a command the program.
            let path = if leaf.name == "command" {
                arguments(&leaf.text).ok()?.into_iter().next()?
            } else {
                leaf.text.clone()
            };
            is_named.then(|| PathBuf::from(path))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Request;

    #[test]
    fn of_settings_that_cannot_be_used_all_secrets_are_known() {
        let directory = std::env::temp_dir().join(format!("tunnel-client-glimpse-{}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        let profile = directory.join("p.yaml");
        std::fs::write(directory.join("h"), "hidden-01\n").unwrap();
        let text = "control_plane:\n  api_key: hidden-02\n  http_proxy: http://u:hidden-03@p:1\n  extra_headers: {X-A: hidden-04, X-B: 'file:DIR/h'}\n  max_inflight_requests: 0\nmcp:\n  server_urls: [{url: 'http://u:hidden-05@h/?k=hidden-06'}]\n  commands: [{channel: c, command: /opt/s, env: {A: hidden-07, B: 'env:B'}, pass_env: [C]}]\n";
        std::fs::write(&profile, text.replace("DIR", directory.to_str().unwrap())).unwrap();
        let Ok(Request::Run(flags)) = Flags::parse(&["--config", profile.to_str().unwrap()]) else {
            panic!()
        };
        let environment = Environment::of([
            ("CONTROL_PLANE_TUNNEL_ID", "tunnel_abcdefghijklmnopqrstuvwxyz012345"),
            ("B", "hidden-08"),
            ("C", "hidden-09"),
            ("HTTPS_PROXY", "u:hidden-10@p:1"),
            ("HARPOON_TRANSPORT_TOKEN", "hidden-11"),
        ]);
        let found = glimpse(&flags, &environment);
        assert!(found.settings.is_none() && found.fault.unwrap().contains("max_inflight"));
        for number in 1..=11 {
            let secret = format!("hidden-{number:02}");
            assert!(found.secrets.iter().any(|known| known.expose().contains(&secret)), "{secret}");
        }
        assert_eq!(
            found.files,
            [PathBuf::from("/opt/s")].into_iter().chain([directory.join("h"), profile]).collect::<Vec<_>>()
        );
        std::fs::remove_dir_all(directory).unwrap();
    }
}
