//! What a control plane was told, and what it handed out.

use std::time::Instant;

use serde_json::Value;

use super::http::Request;
use super::reply::raw_member;

/// One POST to `/response`.
#[derive(Debug, Clone)]
pub struct Posted {
    /// The request as it came.
    pub request: Request,
    /// The body.
    pub json: Value,
}

/// One poll's reply that held commands.
#[derive(Debug, Clone)]
pub struct Handed {
    /// Their texts, in order.
    pub commands: Vec<String>,
    /// The port that the poll came from; 0 where the peer has none.
    pub port: u16,
    /// When.
    pub at: Instant,
}

impl Posted {
    /// `resp_code`.
    pub fn code(&self) -> u64 {
        self.json["resp_code"].as_u64().unwrap_or(0)
    }

    /// `resp_type`, with the contract's default.
    pub fn kind(&self) -> &str {
        self.json["resp_type"].as_str().unwrap_or("jsonrpc_response")
    }

    /// `resp_json`, parsed.
    pub fn payload(&self) -> &Value {
        &self.json["resp_json"]
    }

    /// `resp_json` as it stood in the body.
    pub fn payload_text(&self) -> String {
        raw_member(&self.request.body, "resp_json").unwrap_or_default()
    }

    /// The values of one of `resp_headers`.
    pub fn header(&self, name: &str) -> Vec<&str> {
        let found = self.json["resp_headers"].as_object().into_iter().flatten();
        found
            .filter(|(key, _)| key.eq_ignore_ascii_case(name))
            .flat_map(|(_, values)| values.as_array().into_iter().flatten())
            .filter_map(Value::as_str)
            .collect()
    }

    /// `error.data.tunnel_failure` of the payload.
    pub fn failure(&self) -> &Value {
        &self.json["resp_json"]["error"]["data"]["tunnel_failure"]
    }

    /// `source/transport_error_kind` of the failure.
    pub fn cause(&self) -> String {
        let text = |key: &str| self.failure()[key].as_str().unwrap_or("-").to_owned();
        format!("{}/{}", text("source"), text("transport_error_kind"))
    }
}
