//! Label values, those that outsiders choose reduced to bounded sets.
//!
//! A method name or a status comes from the product or a server. Each distinct value would be a new
//! series here and in every scraper's database for as long as that keeps data, so what is not in a
//! published set becomes `other`.

use super::prometheus::OTHER;
use crate::text::words;

/// Makes a function that returns a word as it is published, or `other`.
macro_rules! published {
    ($(#[$about:meta])* $visible:vis fn $function:ident: $($word:literal)*) => {
        $(#[$about])*
        $visible fn $function(name: &str) -> &'static str {
            match name {
                $($word => $word,)*
                _ => OTHER,
            }
        }
    };
}

published! {
    /// A method that a client may send, over all published revisions of MCP (and `roots/list` and its like, which only
    /// servers send, so that mistakes are visible by name).
    pub(super) fn mcp_method:
        "completion/complete" "elicitation/create" "initialize" "logging/setLevel" "notifications/cancelled"
        "notifications/elicitation/complete" "notifications/initialized" "notifications/message"
        "notifications/progress" "notifications/prompts/list_changed" "notifications/resources/list_changed"
        "notifications/resources/updated" "notifications/roots/list_changed"
        "notifications/subscriptions/acknowledged" "notifications/tasks" "notifications/tasks/status"
        "notifications/tools/list_changed" "ping" "prompts/get" "prompts/list" "resources/list" "resources/read"
        "resources/subscribe" "resources/templates/list" "resources/unsubscribe" "roots/list"
        "sampling/createMessage" "server/discover" "subscriptions/listen" "tasks/cancel" "tasks/get" "tasks/list"
        "tasks/result" "tasks/update" "tools/call" "tools/list"
}

published! {
    /// A command that is no message.
    fn other_command: "oauth_discovery" "session_termination"
}

published! {
    /// A verb that this program sends.
    pub(super) fn http_method: "DELETE" "GET" "POST"
}

/// What a call asks for: a method, or what is no message; else `other`.
pub(super) fn asked(name: &str) -> &'static str {
    match mcp_method(name) {
        OTHER => other_command(name),
        method => method,
    }
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
        for name in ["tools/call", "ping", "notifications/tasks/status", "completion/complete", "tools/list"]
        {
            assert_eq!((mcp_method(name), asked(name)), (name, name));
        }
        for name in ["tools/Call", "", "tools", "tools/call tools/list"] {
            assert_eq!(mcp_method(name), OTHER, "{name}");
        }
        assert_eq!((http_method("POST"), http_method("BREW")), ("POST", OTHER));
        assert_eq!(
            (asked("session_termination"), mcp_method("session_termination")),
            ("session_termination", OTHER)
        );
        assert_eq!([99, 100, 599, 600].map(status), ["other", "100", "599", "other"]);
    }
}
