//! The same server for programs of this host, over the operator's listener.
//!
//! It speaks Streamable HTTP with sessions, as the SDKs expect of a server at a URL. Who may ask is decided by the
//! listener: by the mode of its socket file, or by a token. A call has the time that it names and no other
//! end, so that it is bounded without a deadline of its caller.

use std::fmt::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::streamable_http::{self, Answer, Asking, Sessions};
use crate::ops::listener::calls::Answering;
use crate::ops::listener::http::{Reply, Request};

use super::server::Desk;
use super::tools::{Caller, Tools};

/// Where it is.
pub(crate) const PATH: &str = "/harpoon/mcp";

/// The server, with the sessions of its clients.
pub(super) struct Local {
    pub(super) tools: Arc<Tools>,
    pub(super) sessions: Sessions,
    /// Names calls in the log.
    pub(super) count: AtomicU64,
}

impl Answering for Local {
    fn answer(&self, request: &Request) -> Reply {
        let mut request_id = "local-".to_owned();
        // Writing to a text cannot fail.
        let _ = write!(request_id, "{}", self.count.fetch_add(1, Ordering::Relaxed));
        let caller = Caller { request_id: &request_id, answer_by: None };
        let asking = Asking { method: &request.method, headers: &request.headers, body: &request.body };
        let desk = Desk { tools: &self.tools, caller };
        let Answer { status, body, session, allow } = streamable_http::answer(&desk, &self.sessions, &asking);
        let session = session.map(|id| ("Mcp-Session-Id", id));
        let allow = allow.map(|methods| ("Allow", methods.to_owned()));
        let headers = session.into_iter().chain(allow).collect();
        Reply { content_type: "application/json", headers, ..Reply::text(status, body) }
    }
}
