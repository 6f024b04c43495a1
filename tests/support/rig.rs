//! The usual trio: a control plane, an MCP server, and a client between them.

use super::client::{Builder, Client};
use super::command::Command;
use super::http::Request;
use super::mcp::Mcp;
use super::plane::{Plane, Posted};

/// Fields drop in order: the client first, then its peers.
pub struct Rig {
    /// The client.
    pub client: Client,
    /// The MCP server behind `main`.
    pub mcp: Mcp,
    /// The control plane.
    pub plane: Plane,
}

impl Rig {
    /// Plain peers and default settings.
    pub fn start() -> Rig {
        Rig::with(|builder| builder)
    }

    /// Plain peers; `adjust` changes how the client is started.
    pub fn with(adjust: impl FnOnce(Builder) -> Builder) -> Rig {
        Rig::over(Plane::start(), Mcp::start(), adjust)
    }

    /// The usual peers with short polls, for tests about time.
    pub fn quick(adjust: impl FnOnce(Builder) -> Builder) -> Rig {
        Rig::with(|b| {
            adjust(
                b.flag("control-plane.poll-timeout", "500ms")
                    .flag("control-plane.poll-deadline-guardrail", "300ms"),
            )
        })
    }

    /// Peers of one's own.
    pub fn over(plane: Plane, mcp: Mcp, adjust: impl FnOnce(Builder) -> Builder) -> Rig {
        let builder = Builder::run(&plane.server.origin(), &mcp.url());
        let client = adjust(builder).start();
        Rig { client, mcp, plane }
    }

    /// Queues one command and waits for its terminal answer.
    pub fn send(&self, command: &Command) -> Posted {
        self.plane.queue(command);
        self.plane.wait_answer(command)
    }

    /// The same for a command whose time ends before its server answers. A host that gives the client no time while the
    /// caller could be told makes it silent, as it says in its log; then another such command is sent.
    pub fn send_expiring(&self, command: impl Fn() -> Command) -> Posted {
        for _ in 0..20 {
            let command = command();
            self.plane.queue(&command);
            if let Some(posted) = self.plane.wait_answer_unless(&command, || self.client.is_silent(&command))
            {
                return posted;
            }
        }
        panic!("no command of twenty was answered in time");
    }

    /// Queues one JSON-RPC payload and waits for its terminal answer.
    pub fn call(&self, payload: impl std::fmt::Display) -> Posted {
        self.send(&Command::rpc(payload))
    }

    /// Sends a command and returns the request that reached the server.
    pub fn forwarded(&self, command: &Command, method: &str) -> Request {
        let before = self.mcp.calls_of(method).len();
        self.send(command);
        self.mcp.calls_of(method).swap_remove(before)
    }

    /// Proves that service goes on: one plain call is answered 200.
    pub fn assert_alive(&self) {
        let answer = self.call(r#"{"jsonrpc":"2.0","id":"alive","method":"ping"}"#);
        assert_eq!(answer.code(), 200, "{}", answer.request.text());
    }
}
