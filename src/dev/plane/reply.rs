//! Whole replies of the local control plane: JSON, and refusals in the contract's form.

use serde::Serialize;

use crate::dev::server::Responder;

/// A reply that is ready to be sent.
pub(super) struct Reply {
    pub(super) status: u16,
    pub(super) headers: Vec<(String, String)>,
    pub(super) body: Vec<u8>,
}

#[derive(Serialize)]
struct Problem<'a> {
    error: ProblemBody<'a>,
}

#[derive(Serialize)]
struct ProblemBody<'a> {
    message: &'a str,
    r#type: &'static str,
    code: Option<&'static str>,
}

impl Reply {
    /// A reply with a JSON body.
    pub(super) fn json(status: u16, value: &impl Serialize) -> Reply {
        let headers = vec![("Content-Type".to_owned(), "application/json".to_owned())];
        // What is written here is texts, numbers and JSON that was read before; none of it can fail.
        let body = serde_json::to_vec(value).unwrap_or_default();
        Reply { status, headers, body }
    }

    /// A refusal, with one of the contract's codes where one fits.
    pub(super) fn refusal(status: u16, message: &str, code: Option<&'static str>) -> Reply {
        let r#type = if status < 500 { "invalid_request_error" } else { "server_error" };
        Reply::json(status, &Problem { error: ProblemBody { message, r#type, code } })
    }

    /// There is nothing at this path.
    pub(super) fn not_found() -> Reply {
        Reply::refusal(404, "not found", None)
    }

    /// The path knows other methods only.
    pub(super) fn not_allowed(allowed: &str) -> Reply {
        Reply::refusal(405, "method not allowed", None).with("Allow", allowed.to_owned())
    }

    /// Adds a header.
    pub(super) fn with(mut self, name: &str, value: String) -> Reply {
        self.headers.push((name.to_owned(), value));
        self
    }

    /// Sends it.
    pub(super) fn send(self, responder: Responder<'_>) {
        responder.whole(self.status, &borrowed(&self.headers), &self.body);
    }
}

/// Headers as responders take them.
pub(super) fn borrowed(headers: &[(String, String)]) -> Vec<(&str, &str)> {
    headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect()
}
