//! Values of labels, those that outsiders choose reduced to bounded sets.
//!
//! A method name or a status comes from the product or a server. Each distinct value would be a new
//! series here and in every scraper's database for as long as that keeps data, so what is not in a
//! published set becomes `other`.

use std::fmt;
use std::sync::Arc;

/// The value of one label. Ordered only so that a family can be a sorted map.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Label {
    /// One of this program's own words; an empty one means that the label is absent.
    Word(&'static str),
    /// A status code.
    Number(u16),
    /// A configured name, or one whose number the family bounds.
    Text(Arc<str>),
}

/// Stands for everything that has no label value of its own.
pub(super) const OTHER: Label = Label::Word("other");

/// Every method that a client may send, over all published revisions of MCP (and `roots/list` and
/// its like, which only servers send, so that mistakes are visible by name).
const MCP_METHODS: &str = "\
    completion/complete elicitation/create initialize logging/setLevel \
    notifications/cancelled notifications/elicitation/complete notifications/initialized \
    notifications/message notifications/progress notifications/prompts/list_changed \
    notifications/resources/list_changed notifications/resources/updated \
    notifications/roots/list_changed notifications/subscriptions/acknowledged \
    notifications/tasks notifications/tasks/status notifications/tools/list_changed \
    ping prompts/get prompts/list resources/list resources/read resources/subscribe \
    resources/templates/list resources/unsubscribe roots/list sampling/createMessage \
    server/discover subscriptions/listen tasks/cancel tasks/get tasks/list tasks/result \
    tasks/update tools/call tools/list";

/// The verbs that this program sends.
const HTTP_METHODS: &str = "DELETE GET POST";

/// The name as published, or `other`.
pub(super) fn mcp_method(name: &str) -> Label {
    one_of(MCP_METHODS, name)
}

/// The verb, or `other`.
pub(super) fn http_method(name: &str) -> Label {
    one_of(HTTP_METHODS, name)
}

/// The entry itself and not the name that was asked for: its lifetime ends with the program.
fn one_of(words: &'static str, name: &str) -> Label {
    words.split(' ').find(|word| *word == name).map_or(OTHER, Label::Word)
}

/// The code itself when it is one, else `other`: a server may send any three digits.
pub(super) fn status(code: u16) -> Label {
    if (100..=599).contains(&code) { Label::Number(code) } else { OTHER }
}

/// The first digit of a status, or `none` when no reply came.
pub(super) fn status_class(code: Option<u16>) -> Label {
    Label::Word(match code.map(|code| code / 100) {
        None => "none",
        Some(1) => "1xx",
        Some(2) => "2xx",
        Some(3) => "3xx",
        Some(4) => "4xx",
        Some(5) => "5xx",
        Some(_) => "other",
    })
}

impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Label::Word(text) => f.write_str(text),
            Label::Number(number) => number.fmt(f),
            Label::Text(text) => f.write_str(text),
        }
    }
}

impl From<&'static str> for Label {
    fn from(word: &'static str) -> Label {
        Label::Word(word)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_published_names_and_codes_are_labels() {
        assert_eq!(MCP_METHODS.split(' ').count(), 36);
        for name in MCP_METHODS.split(' ') {
            assert_eq!(mcp_method(name), Label::Word(name));
        }
        for name in ["tools/Call", "", "tools", "tools/call tools/list"] {
            assert_eq!(mcp_method(name), OTHER, "{name}");
        }
        assert_eq!((http_method("POST"), http_method("BREW")), (Label::Word("POST"), OTHER));
        let codes = [status(99), status(100), status(599), status(600)];
        assert_eq!(codes, [OTHER, Label::Number(100), Label::Number(599), OTHER]);
    }
}
