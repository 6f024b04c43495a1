//! The grammars of `mcp.server-url` and `mcp.command` entries, of channel names, and of commands.
//!
//! Entries may hold credentials in URLs and in arguments. What an error text quotes of a server
//! entry has them removed; of a command it quotes nothing but the keys.
//!
//! Both grammars end in the map that YAML writes at once, so that what an entry means is decided
//! in one place, however it was given.

#[cfg(feature = "harpoon")]
use std::sync::Arc;

#[cfg(feature = "harpoon")]
use super::template::Template;
use super::yaml::{Node, shown};
use crate::url::without_credentials;

/// Names are labels of metrics and members of a header of 4 KiB.
const CHANNEL_MAX_BYTES: usize = 64;

/// The keys of server entries. These and `command` make an entry a list of `key=value` instead of
/// a plain URL or command.
const SERVER_KEYS: &[&str] = &["channel", "http-proxy", "url", "unix-socket", "client-cert", "client-key"];

/// A map of texts, in the order written.
pub(crate) type Pairs = Vec<(String, String)>;

/// An entry, taken apart but not yet resolved.
#[derive(Clone, Default)]
pub(crate) struct Entry {
    /// By the keys of YAML. The members of a map have keys like `env.NAME`, so have the arguments of a command
    /// that is a list; the items of another list have its key.
    pub(crate) pairs: Pairs,
    /// A structure that belongs to it.
    pub(crate) tree: Option<Node>,
    /// The same, read.
    #[cfg(feature = "harpoon")]
    pub(crate) template: Option<Arc<Template>>,
    /// The line that it begins on, in a file.
    pub(crate) line: usize,
    /// The text as complaints may quote it.
    pub(crate) shown: String,
}

/// By what they say, wherever they stand.
impl PartialEq for Entry {
    fn eq(&self, other: &Entry) -> bool {
        self.pairs == other.pairs && self.tree == other.tree
    }
}

/// A canonical channel name: 1 to 64 of `[a-z0-9_-]`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Channel(String);

impl Channel {
    /// The channel that every tunnel has.
    pub fn main() -> Channel {
        Channel("main".into())
    }

    /// The channel of the endpoints that this program itself calls; no server may have it.
    pub fn harpoon() -> Channel {
        Channel("harpoon".into())
    }

    /// Trims, lower-cases and checks; blank means `main`.
    pub fn parse(text: &str) -> Option<Channel> {
        let name = text.trim().to_ascii_lowercase();
        if name.is_empty() {
            return Some(Channel::main());
        }
        let legal = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_' || c == '-';
        (name.len() <= CHANNEL_MAX_BYTES && name.chars().all(legal)).then_some(Channel(name))
    }

    /// The canonical name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Entry {
    /// Parses a server entry: a plain URL, or `key=value` pairs separated by commas.
    pub(crate) fn server(text: &str) -> Result<Entry, String> {
        let text = text.trim();
        if text.is_empty() {
            return Err("mcp config: http-streamable entry is empty".into());
        }
        let shown = without_credentials(text);
        if !is_qualified(text) {
            return Ok(Entry { pairs: vec![("url".into(), text.into())], shown, ..Entry::default() });
        }
        let mut pairs = Pairs::new();
        for piece in text.split(',') {
            let (key, value) = piece
                .split_once('=')
                .ok_or_else(|| format!("mcp config: invalid entry {shown:?} (expected key=value)"))?;
            let key = key.trim();
            if key.is_empty() {
                return Err(format!("mcp config: invalid entry {shown:?} (empty key)"));
            }
            // A key that was let pass could be a certificate that is then not shown.
            if !SERVER_KEYS.contains(&key) {
                // What looks like a key may be the tail of a password that holds a comma.
                let key = if shown.contains(&format!("{key}=")) { key } else { "" };
                return Err(format!("mcp config: unsupported key {key:?} in entry {shown:?}"));
            }
            pairs.push((key.replace('-', "_"), value.to_string()));
        }
        Ok(Entry { pairs, shown, ..Entry::default() })
    }

    /// Parses a command entry: a plain command, `channel=X,command=…` or `command=…[,channel=X]`.
    /// Commas in a command need no escape, so only these two orders can be told apart from it.
    pub(crate) fn command(text: &str) -> Result<Entry, String> {
        let text = text.trim();
        let shown = keys_only(text);
        if !is_qualified(text) {
            return Ok(Entry { pairs: vec![("command".into(), text.into())], shown, ..Entry::default() });
        }
        // Looked for in the whole text, though it refuses some commands: a server's key behind a
        // command would else become one of its arguments, and the server start without it.
        let lower = text.to_ascii_lowercase();
        let is_there = |key: &&&str| **key != "channel" && lower.contains(&format!(",{key}="));
        if let Some(key) = SERVER_KEYS.iter().find(is_there) {
            return Err(format!("mcp config: unsupported key {key:?} in entry {shown:?}"));
        }
        let missing = || format!("mcp config: command entry {shown:?} missing command");
        let (channel, command) = if let Some(rest) = text.strip_prefix("channel=") {
            let (channel, rest) = rest.split_once(',').ok_or_else(missing)?;
            let command = rest
                .trim_start()
                .strip_prefix("command=")
                .ok_or_else(|| format!("mcp config: invalid entry {shown:?} (expected command=...)"))?;
            (channel, command)
        } else if let Some(rest) = text.strip_prefix("command=") {
            rest.rsplit_once(",channel=").map_or(("", rest), |(command, channel)| (channel, command))
        } else {
            return Err(format!("mcp config: invalid entry {shown:?} (expected channel=... or command=...)"));
        };
        if command.trim().is_empty() {
            return Err(missing());
        }
        let pairs = vec![("channel".into(), channel.into()), ("command".into(), command.into())];
        Ok(Entry { pairs, shown, ..Entry::default() })
    }

    /// The value of a key, unless it is blank; the last one, where it was given more than once.
    pub(crate) fn get(&self, key: &str) -> Option<&str> {
        let (_, value) = self.pairs.iter().rev().find(|(known, _)| known == key)?;
        Some(value.trim()).filter(|value| !value.is_empty())
    }

    /// All values of a key.
    pub(crate) fn all<'a>(&'a self, key: &'a str) -> impl Iterator<Item = &'a str> {
        self.pairs.iter().filter(move |(known, _)| known == key).map(|(_, value)| value.trim())
    }

    /// The members of a map, by their names.
    pub(crate) fn members<'a>(&'a self, key: &'a str) -> impl Iterator<Item = (&'a str, &'a str)> {
        let member = move |name: &'a str| name.strip_prefix(key)?.strip_prefix('.');
        self.pairs.iter().filter_map(move |(name, value)| Some((member(name)?, value.as_str())))
    }

    /// Checks what must stand together in a server entry.
    pub(crate) fn complete(self) -> Result<Entry, String> {
        let missing = match (self.get("client_cert"), self.get("client_key")) {
            _ if self.get("url").is_none() => "url",
            (Some(_), None) => "client-key",
            (None, Some(_)) => "client-cert",
            _ => return Ok(self),
        };
        Err(format!("mcp config: server-url entry {:?} missing {missing}", self.shown))
    }

    /// The channel. Where a comma of a URL or a command was read as one of the entry, what stands
    /// for the name may be the tail of a password or an argument, so it is quoted with care.
    pub(crate) fn channel(&self) -> Result<Channel, String> {
        let text = self.get("channel").unwrap_or_default();
        let visible = match self.get("command") {
            Some(_) => shown(text),
            None => without_credentials(text),
        };
        Channel::parse(text).ok_or_else(|| format!("invalid channel {visible:?}"))
    }
}

/// Splits a command into arguments without a shell: white space separates, single quotes are
/// literal, and elsewhere a backslash takes the next character as it is. Nothing is expanded: no
/// variable, no pattern, no second command. Quoted empty arguments are kept, since a program can
/// tell them from none (the reference client loses them).
pub(crate) fn arguments(command: &str) -> Result<Vec<String>, &'static str> {
    let mut arguments = Vec::new();
    // `None` between arguments, so that `''` can be told from nothing.
    let mut current: Option<String> = None;
    let mut quote: Option<char> = None;
    let mut characters = command.chars();
    while let Some(c) = characters.next() {
        match (quote, c) {
            (Some(open), _) if c == open => quote = None,
            (None, '\'' | '"') => {
                quote = Some(c);
                current.get_or_insert_default();
            }
            (None | Some('"'), '\\') => {
                let escaped = characters.next().ok_or("unterminated escape sequence")?;
                current.get_or_insert_default().push(escaped);
            }
            (None, _) if c.is_whitespace() => arguments.extend(current.take()),
            _ => current.get_or_insert_default().push(c),
        }
    }
    if quote.is_some() {
        return Err("unterminated quoted string");
    }
    arguments.extend(current);
    match arguments.first() {
        Some(program) if !program.is_empty() => Ok(arguments),
        _ => Err("command is empty"),
    }
}

/// Tells whether an entry begins with a known key. Any case counts here although keys are
/// case-sensitive: `URL=…` is a misspelt key and not the name of a program.
fn is_qualified(text: &str) -> bool {
    let known =
        |key: &str| SERVER_KEYS.iter().chain(&["command"]).any(|known| known.eq_ignore_ascii_case(key));
    text.split_once('=').is_some_and(|(key, _)| known(key))
}

/// A command entry without what follows `command=` or an unknown key. Positions are found in the
/// lower-cased text and used in the other: ASCII letters keep their length, and the split fails
/// softly should that ever not hold.
fn keys_only(text: &str) -> String {
    let lower = text.to_ascii_lowercase();
    let start = match lower.strip_prefix("channel=") {
        Some(_) => match lower.find("command=") {
            Some(at) => Some(at + "command=".len()),
            None => lower.find(',').map(|at| at + 1),
        },
        None => lower.find('=').map(|at| at + 1),
    };
    match start.and_then(|start| text.split_at_checked(start)) {
        Some((keys, "")) => keys.to_string(),
        Some((keys, _)) => format!("{keys}..."),
        None => text.chars().take(CHANNEL_MAX_BYTES).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn channels_are_canonical() {
        assert_eq!(Channel::parse(" MAIN ").unwrap().as_str(), "main");
        assert_eq!(Channel::parse("").unwrap(), Channel::main());
        assert_eq!(Channel::parse("a_b-9").unwrap().as_str(), "a_b-9");
        assert!(Channel::parse("a/b").is_none());
        assert!(Channel::parse(&"a".repeat(65)).is_none());
        assert!(Channel::parse("\u{212a}").is_none());
    }

    #[test]
    fn server_entries_are_urls_or_pairs() {
        let parse = |text| Entry::server(text).and_then(Entry::complete);
        let entry = parse(" http://h/mcp?a=1,2 ").ok().unwrap();
        assert_eq!((entry.get("channel"), entry.get("url")), (None, Some("http://h/mcp?a=1,2")));
        let entry = parse("channel= docs ,url=http://h/, unix-socket=/run/s").ok().unwrap();
        assert_eq!((entry.get("channel"), entry.get("unix_socket")), (Some("docs"), Some("/run/s")));
        for (text, expected) in [
            ("", "mcp config: http-streamable entry is empty"),
            ("url=http://h,x", "mcp config: invalid entry \"url=http://h,x\" (expected key=value)"),
            ("url=http://h,=x", "mcp config: invalid entry \"url=http://h,=x\" (empty key)"),
            ("URL=http://h", "mcp config: unsupported key \"URL\" in entry \"URL=http://h\""),
            ("url=http://h,nope=1", "mcp config: unsupported key \"nope\" in entry \"url=http://h,nope=1\""),
            ("channel=a", "mcp config: server-url entry \"channel=a\" missing url"),
            (
                "url=http://h,client-cert=c",
                "mcp config: server-url entry \"url=http://h,client-cert=c\" missing client-key",
            ),
            (
                "url=http://h,client-key=c",
                "mcp config: server-url entry \"url=http://h,client-key=c\" missing client-cert",
            ),
            (
                "url=http://u:hid,den@h",
                "mcp config: invalid entry \"url=http://[redacted]@h\" (expected key=value)",
            ),
        ] {
            assert_eq!(parse(text).err().unwrap(), expected);
        }
    }

    #[test]
    fn command_entries_are_commands_or_pairs() {
        let parse = |text| {
            let get = |entry: &Entry, key| entry.get(key).unwrap_or_default().to_string();
            Entry::command(text).map(|entry| (get(&entry, "channel"), get(&entry, "command")))
        };
        let ok = |channel: &str, command: &str| Ok((channel.to_string(), command.to_string()));
        assert_eq!(parse("npx server --a=b,c"), ok("", "npx server --a=b,c"));
        assert_eq!(parse("channel=x,command=run a,b"), ok("x", "run a,b"));
        assert_eq!(parse("command=run a,channel=y,channel=x"), ok("x", "run a,channel=y"));
        for (text, expected) in [
            ("channel=x", "mcp config: command entry \"channel=x\" missing command"),
            ("command=", "mcp config: command entry \"command=\" missing command"),
            ("channel=x,run", "mcp config: invalid entry \"channel=x,...\" (expected command=...)"),
            (
                "CHANNEL=main,command=x y",
                "mcp config: invalid entry \"CHANNEL=main,command=...\" (expected channel=... or command=...)",
            ),
            (
                "command=x --key hidden,URL=http://h",
                "mcp config: unsupported key \"url\" in entry \"command=...\"",
            ),
        ] {
            assert_eq!(parse(text).unwrap_err(), expected);
        }
    }

    #[test]
    fn commands_are_split_without_a_shell() {
        for (command, expected) in [
            ("a b\tc", &["a", "b", "c"][..]),
            ("x'y'z", &["xyz"]),
            ("a '' \"\"", &["a", "", ""]),
            (r"a '\n' \ b", &["a", r"\n", " b"]),
            (r#"a "q\"r $HOME""#, &["a", "q\"r $HOME"]),
        ] {
            assert_eq!(arguments(command).unwrap(), expected, "{command}");
        }
        assert_eq!(arguments(" "), Err("command is empty"));
        assert_eq!(arguments("''"), Err("command is empty"));
        assert_eq!(arguments("a \\"), Err("unterminated escape sequence"));
        assert_eq!(arguments("a 'b"), Err("unterminated quoted string"));
    }
}
