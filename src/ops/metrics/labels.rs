//! Label values, those that outsiders choose reduced to bounded sets.
//!
//! A method name or a status comes from the product or a server. Each distinct value would be a new
//! series here and in every scraper's database for as long as that keeps data, so what is not in a
//! published set becomes `other`.

use super::prometheus::OTHER;
use crate::text::words;

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
pub(super) fn mcp_method(name: &str) -> &'static str {
    one_of(MCP_METHODS, name)
}

/// Commands that are no message.
const OTHER_COMMANDS: &str = "oauth_discovery session_termination";

/// What a call asks for: a method, or what is no message; else `other`.
pub(super) fn asked(name: &str) -> &'static str {
    match one_of(MCP_METHODS, name) {
        OTHER => one_of(OTHER_COMMANDS, name),
        method => method,
    }
}

/// The verb, or `other`.
pub(super) fn http_method(name: &str) -> &'static str {
    one_of(HTTP_METHODS, name)
}

fn one_of(words: &'static str, name: &str) -> &'static str {
    words.split_ascii_whitespace().find(|word| *word == name).unwrap_or(OTHER)
}

/// The code itself when it is one, else `other`: a server may send any three digits.
pub(super) fn status(code: u16) -> String {
    if (100..=599).contains(&code) { code.to_string() } else { OTHER.to_owned() }
}

words! {
    /// `error_kind` of a poll that failed.
    PollError {
        /// The client gave up waiting.
        Timeout = "timeout",
        /// The process is stopping.
        Canceled = "context_canceled",
        /// Everything else.
        Other = OTHER,
    }
    /// `drop_reason` of a polled command that was not queued.
    DropReason {
        /// Unknown or missing `command_type`.
        InvalidCommandType = "invalid_command_type",
        /// Anything else that made a command undecodable.
        InvalidCommand = "invalid_command",
        /// The process is stopping.
        Canceled = "context_canceled",
    }
    /// `request_kind` of an answered command.
    RequestKind {
        /// A JSON-RPC request.
        Call = "call",
        /// A JSON-RPC notification or response.
        Notification = "notification",
        /// A session's end.
        SessionTermination = "session_termination",
        /// A discovery command.
        OauthDiscovery = "oauth_discovery",
    }
    /// `event` of a stdio child.
    ChildEvent {
        /// It was started.
        Start = "start",
        /// It printed what is no message, or a message that belongs to nobody.
        Noise = "noise",
        /// It answered a call that had ended, or told of one.
        Late = "late",
        /// It printed on standard error faster than is logged.
        Dropped = "dropped",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_published_names_and_codes_are_labels() {
        assert_eq!(MCP_METHODS.split(' ').count(), 36);
        for name in MCP_METHODS.split(' ') {
            assert_eq!(mcp_method(name), name);
        }
        for name in ["tools/Call", "", "tools", "tools/call tools/list"] {
            assert_eq!(mcp_method(name), OTHER, "{name}");
        }
        assert_eq!((http_method("POST"), http_method("BREW")), ("POST", OTHER));
        assert_eq!([99, 100, 599, 600].map(status), ["other", "100", "599", "other"]);
    }
}
