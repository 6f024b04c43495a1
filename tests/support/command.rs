//! Commands as the control plane hands them out, as text so that every spelling is possible.

use std::sync::atomic::{AtomicUsize, Ordering};

/// Every shard token begins so; the runner looks for it in the client's output.
pub const SHARD_PREFIX: &str = "shard-secret-";

static NEXT: AtomicUsize = AtomicUsize::new(1);

/// One item of `commands`, a list of members with raw JSON values.
#[derive(Clone)]
pub struct Command {
    /// The request id.
    pub id: String,
    /// The shard token.
    pub token: String,
    members: Vec<(String, String)>,
    headers: Vec<(String, Vec<String>)>,
    off_contract: bool,
}

impl Command {
    /// A command of this type with a request id and a token of its own.
    pub fn of_type(command_type: &str) -> Command {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let id = format!("req_{number}");
        let token = format!("{SHARD_PREFIX}{number}");
        let members = vec![
            ("request_id".to_owned(), format!("\"{id}\"")),
            ("shard_token".to_owned(), format!("\"{token}\"")),
            ("command_type".to_owned(), format!("\"{command_type}\"")),
            ("created_at".to_owned(), "\"2026-01-01T00:00:00Z\"".to_owned()),
        ];
        Command { id, token, members, headers: Vec::new(), off_contract: false }
    }

    /// Says that the control plane's contract knows no such command, which is meant.
    pub fn off_contract(mut self) -> Command {
        self.off_contract = true;
        self
    }

    /// Whether that was said.
    pub fn is_off_contract(&self) -> bool {
        self.off_contract
    }

    /// A JSON-RPC command with this payload text.
    pub fn rpc(payload: impl std::fmt::Display) -> Command {
        Command::of_type("jsonrpc").member("jsonrpc", payload)
    }

    /// A JSON-RPC request for a method, with `params` `{}`; `id` is JSON text.
    pub fn method(method: &str, id: &str) -> Command {
        Command::rpc(format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"{method}","params":{{}}}}"#))
    }

    /// A JSON-RPC notification.
    pub fn notification(method: &str) -> Command {
        Command::rpc(format!(r#"{{"jsonrpc":"2.0","method":"{method}"}}"#))
    }

    /// A session termination for this session.
    pub fn termination(session: &str) -> Command {
        Command::of_type("session_termination").header("Mcp-Session-Id", &[session])
    }

    /// Sets a member to JSON text, replacing one of the same name.
    pub fn member(mut self, name: &str, raw: impl std::fmt::Display) -> Command {
        self.members.retain(|(known, _)| known != name);
        self.members.push((name.to_owned(), raw.to_string()));
        self
    }

    /// Leaves a member out.
    pub fn without(mut self, name: &str) -> Command {
        self.members.retain(|(known, _)| known != name);
        self
    }

    /// Sets the channel.
    pub fn channel(self, name: &str) -> Command {
        let text = serde_json::to_string(name).unwrap();
        self.member("channel", text)
    }

    /// Sets the response timeout.
    pub fn timeout(self, text: &str) -> Command {
        self.member("response_timeout", format!("\"{text}\""))
    }

    /// Adds a header with its values.
    pub fn header(mut self, name: &str, values: &[&str]) -> Command {
        let values = values.iter().map(|v| (*v).to_owned()).collect();
        self.headers.push((name.to_owned(), values));
        self
    }

    /// The JSON text of the command.
    pub fn text(&self) -> String {
        let mut members: Vec<String> =
            self.members.iter().map(|(name, raw)| format!("\"{name}\":{raw}")).collect();
        if !self.headers.is_empty() {
            let one = |(name, values): &(String, Vec<String>)| {
                let name = serde_json::to_string(name).unwrap();
                format!("{name}:{}", serde_json::to_string(values).unwrap())
            };
            let all: Vec<String> = self.headers.iter().map(one).collect();
            members.push(format!("\"headers\":{{{}}}", all.join(",")));
        }
        format!("{{{}}}", members.join(","))
    }
}

/// The poll body that holds these commands.
pub fn envelope(commands: &[Command]) -> String {
    let all: Vec<String> = commands.iter().map(Command::text).collect();
    format!(r#"{{"commands":[{}]}}"#, all.join(","))
}
