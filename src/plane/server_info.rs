//! `X-Tunnel-MCP-Server-Info`: the channels that can be asked for, as every request declares them.
//!
//! Names only: neither where a server is nor what it can do is anybody's business before it is asked. The bounds are
//! checked at start, since a header above them would make every poll fail.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use ureq::http::HeaderValue;

use crate::config::Channel;

/// Most channels of the contract. With the longest names they stay below its 4 096 bytes, too.
const CHANNELS_MAX: usize = 32;

/// Declaration of one channel.
#[derive(Clone)]
pub struct Declaration {
    /// Its name. Its type keeps it canonical and free of what JSON escapes.
    pub channel: Channel,
    /// Every request can be served by itself, without a session.
    pub stateless: bool,
    /// It answers through this process alone.
    pub proc_affinity: bool,
}

/// The declaration of a process, which has one channel more while that is served.
pub struct ServerInfo {
    /// Without the channel that may come late.
    pub fixed: HeaderValue,
    /// With it.
    pub all: HeaderValue,
    /// Whether it is there.
    pub late: Arc<AtomicBool>,
}

impl ServerInfo {
    /// What a request declares that is sent now.
    pub(super) fn now(&self) -> &HeaderValue {
        if self.late.load(Ordering::Relaxed) { &self.all } else { &self.fixed }
    }
}

/// The header for these channels, in their order: version 2 as soon as one of them is stateless, since the first
/// version has no word for that. Fails where they are too many; that there are none, or one twice, the settings exclude.
pub fn header(channels: &[Declaration]) -> Result<HeaderValue, String> {
    let mark = |is_true: bool, member: &'static str| if is_true { member } else { "" };
    let list: Vec<String> = channels
        .iter()
        .map(|Declaration { channel, stateless, proc_affinity }| {
            let marks =
                [mark(*stateless, ",\"stateless\":true"), mark(*proc_affinity, ",\"proc_affinity\":true")];
            format!("{{\"name\":\"{}\"{}}}", channel.as_str(), marks.concat())
        })
        .collect();
    let version = if channels.iter().any(|one| one.stateless) { 2 } else { 1 };
    let text = format!("{{\"version\":{version},\"channels\":[{}]}}", list.join(","));
    if channels.len() > CHANNELS_MAX {
        let count = channels.len();
        return Err(format!(
            "{count} channels: their number exceeds maximum {CHANNELS_MAX}; configure fewer bindings"
        ));
    }
    HeaderValue::from_str(&text).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(name: &str, stateless: bool, proc_affinity: bool) -> Declaration {
        Declaration { channel: Channel::parse(name).unwrap(), stateless, proc_affinity }
    }

    #[test]
    fn new_008_to_010_exact_declarations() {
        let http = one("main", false, false);
        let stdio = one("main", false, true);
        let stub = one("main", true, false);
        let harpoon = one("harpoon", true, true);
        for (channels, text) in [
            (vec![http.clone()], r#"{"version":1,"channels":[{"name":"main"}]}"#),
            (vec![stdio.clone()], r#"{"version":1,"channels":[{"name":"main","proc_affinity":true}]}"#),
            (
                vec![http, harpoon.clone()],
                r#"{"version":2,"channels":[{"name":"main"},{"name":"harpoon","stateless":true,"proc_affinity":true}]}"#,
            ),
            (
                vec![stdio, harpoon.clone()],
                r#"{"version":2,"channels":[{"name":"main","proc_affinity":true},{"name":"harpoon","stateless":true,"proc_affinity":true}]}"#,
            ),
            (
                vec![harpoon],
                r#"{"version":2,"channels":[{"name":"harpoon","stateless":true,"proc_affinity":true}]}"#,
            ),
            (vec![stub], r#"{"version":2,"channels":[{"name":"main","stateless":true}]}"#),
        ] {
            assert_eq!(header(&channels).unwrap(), text);
        }
    }

    #[test]
    fn new_011_as_many_channels_as_may_be_are_declared() {
        let many = |count: usize, length: usize| -> Vec<Declaration> {
            (0..count).map(|number| one(&format!("c{number:0>length$}"), false, false)).collect()
        };
        assert!(header(&many(32, 2)).is_ok());
        let error = header(&many(33, 2)).unwrap_err();
        assert!(error.contains("exceeds maximum 32"), "{error}");
        let marked = many(CHANNELS_MAX, 63).into_iter();
        let marked = marked.map(|one| Declaration { stateless: true, proc_affinity: true, ..one });
        let longest = header(&marked.collect::<Vec<_>>()).unwrap();
        assert!(
            (3600..4096).contains(&longest.len()),
            "the size of the contract is a matter of the number alone"
        );
    }
}
