//! What a reader asks of the page: the text behind the question mark, and links that say the same.
//!
//! Nothing of it reaches the page but words and names that are known here. It cannot fail: what is not known is not there.

/// Least and longest time between two looks of a browser by itself, in seconds.
const REFRESH: [u64; 2] = [2, 3600];

/// How a call can end.
pub(super) const OUTCOMES: [&str; 7] =
    ["ok", "tool_error", "rpc_error", "failed", "expired", "refused", "cancelled"];

/// What is shown.
#[derive(Clone, Default, PartialEq, Eq)]
pub(in crate::service) struct View {
    /// Calls of this channel alone.
    pub(super) channel: Option<String>,
    /// Calls that ended so alone.
    pub(super) outcome: Option<&'static str>,
    /// After how many seconds the browser looks again.
    pub(super) refresh: Option<u64>,
    /// The payloads of endpoints, where they are kept, and nothing else.
    pub(super) payloads: bool,
}

impl View {
    /// Reads a query. A channel counts when it is one of these.
    pub(super) fn read(query: &str, channels: &[&str]) -> View {
        let mut view = View::default();
        for (name, value) in query.split('&').filter_map(|pair| pair.split_once('=')) {
            match name {
                "channel" if channels.contains(&value) => view.channel = Some(value.to_owned()),
                "outcome" => view.outcome = OUTCOMES.into_iter().find(|known| *known == value),
                "refresh" => {
                    view.refresh = value.parse().ok().map(|time: u64| time.clamp(REFRESH[0], REFRESH[1]))
                }
                "payloads" => view.payloads = true,
                _ => {}
            }
        }
        view
    }

    /// The address that shows this.
    pub(super) fn link(&self) -> String {
        let refresh = self.refresh.map(|seconds| seconds.to_string());
        let pairs = [
            ("channel", self.channel.as_deref()),
            ("outcome", self.outcome),
            ("refresh", refresh.as_deref()),
            ("payloads", self.payloads.then_some("1")),
        ];
        let pairs = pairs.into_iter().filter_map(|(name, value)| Some(format!("{name}={}", value?)));
        let query = pairs.collect::<Vec<_>>().join("&amp;");
        if query.is_empty() { "/ui".to_owned() } else { format!("/ui?{query}") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_known_is_read() {
        for (query, link) in [
            ("", "/ui"),
            ("channel=docs&outcome=failed&refresh=10", "/ui?channel=docs&amp;outcome=failed&amp;refresh=10"),
            ("refresh=0", "/ui?refresh=2"),
            ("refresh=999999", "/ui?refresh=3600"),
            ("refresh=x&channel=\"><script>&outcome=<b>&more=1", "/ui"),
            ("channel=nobody&outcome=ok&outcome=", "/ui"),
            ("payloads=1", "/ui?payloads=1"),
        ] {
            assert_eq!(View::read(query, &["main", "docs"]).link(), link, "{query}");
        }
    }
}
