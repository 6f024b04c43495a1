//! Named endpoints, called through the channel `harpoon` between a control plane and servers of our own.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::support::client::Builder;
use crate::support::command::Command;
use crate::support::http::Request;
use crate::support::plane::Posted;
use crate::support::reply::Reply;
use crate::support::rig::Rig;
use crate::support::server::Server;

mod attacks;
mod bodies;
mod calls;
mod headers;
mod local;
mod page;
mod policed;
mod protocol;
mod redirects;
mod rewriting;
mod template_discovery;
pub mod templates;
mod ways;

/// A tunnel with endpoints on one server; the client goes first.
pub struct Harbour {
    /// Control plane, MCP server of `main`, client.
    pub rig: Rig,
    /// The server of all endpoints.
    pub server: Server,
}

impl Harbour {
    /// Endpoints as YAML entries, in which `ORIGIN` stands for the server's.
    pub fn start(targets: &str, script: impl Fn(&Request) -> Reply + Send + Sync + 'static) -> Harbour {
        Harbour::with(targets, |builder| builder, script)
    }

    /// The same; `adjust` changes how the client is started.
    pub fn with(
        targets: &str,
        adjust: impl FnOnce(Builder) -> Builder,
        script: impl Fn(&Request) -> Reply + Send + Sync + 'static,
    ) -> Harbour {
        let server = Server::start(None, Arc::new(script));
        let yaml = yaml(&targets.replace("ORIGIN", &server.origin()));
        let rig = Rig::with(|builder| adjust(builder.yaml(&yaml).argument("--harpoon.allow-plaintext-http")));
        Harbour { rig, server }
    }

    /// Calls `call_target`; `more` holds the arguments besides the label.
    pub fn call(&self, label: &str, more: Value) -> Called {
        Called(self.rig.send(&call_command(label, more)))
    }

    /// The paths of the requests that came, in order.
    pub fn paths(&self) -> Vec<String> {
        self.server.requests().into_iter().map(|request| request.target).collect()
    }
}

/// A configuration with these targets.
pub fn yaml(targets: &str) -> String {
    let lines: String = targets.trim().lines().map(|line| format!("    {}\n", line.trim_end())).collect();
    format!("harpoon:\n  targets:\n{lines}")
}

/// A command that calls a tool.
pub fn tool(name: &str, arguments: &Value) -> Command {
    let params = json!({"name": name, "arguments": arguments});
    Command::rpc(json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}))
        .channel("harpoon")
}

/// A command that calls an endpoint, by GET unless `more` says otherwise.
pub fn call_command(label: &str, more: Value) -> Command {
    let mut arguments = json!({"label": label, "method": "GET"});
    arguments.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    tool("call_target", &arguments)
}

/// An answer to a call of an endpoint.
pub struct Called(pub Posted);

impl Called {
    /// The structured result, checked against what every good one has.
    pub fn result(&self) -> &Value {
        let result = &self.0.payload()["result"];
        assert_eq!((self.0.code(), &result["isError"]), (200, &json!(false)), "{}", self.0.payload_text());
        let structured = &result["structuredContent"];
        assert_eq!(structured["truncated"], false);
        assert_eq!(structured["body_size_bytes"], self.body_of(structured).len());
        let text: Value = serde_json::from_str(result["content"][0]["text"].as_str().unwrap()).unwrap();
        assert_eq!(text["body_size_bytes"], structured["body_size_bytes"]);
        structured
    }

    fn body_of(&self, structured: &Value) -> Vec<u8> {
        STANDARD.decode(structured["body_base64"].as_str().unwrap()).unwrap()
    }

    /// The status that the endpoint answered.
    pub fn status(&self) -> u64 {
        self.result()["status_code"].as_u64().unwrap()
    }

    /// The body, decoded.
    pub fn body(&self) -> String {
        String::from_utf8(self.body_of(self.result())).unwrap()
    }

    /// The values of a header.
    pub fn header(&self, name: &str) -> Vec<String> {
        let values = self.result()["headers"][name].as_array().cloned().unwrap_or_default();
        values.iter().map(|value| value.as_str().unwrap().to_owned()).collect()
    }

    /// The text of a tool that failed.
    pub fn fault(&self) -> String {
        let result = &self.0.payload()["result"];
        assert_eq!((self.0.code(), &result["isError"]), (200, &json!(true)), "{}", self.0.payload_text());
        assert!(result.get("structuredContent").is_none());
        result["content"][0]["text"].as_str().unwrap().to_owned()
    }

    /// The text of the JSON-RPC error for arguments that do not fit.
    pub fn refusal(&self) -> String {
        let error = &self.0.payload()["error"];
        assert_eq!((self.0.code(), &error["code"]), (200, &json!(-32602)), "{}", self.0.payload_text());
        error["message"].as_str().unwrap().to_owned()
    }
}
