//! Who may ask for `/health`, and for what: the order of the checks is part of the interface.

use super::http::{Reply, Request};
use crate::ops::health::SnapshotMaker;

/// The pages below `/health`.
pub(super) struct Health {
    pub(super) take: Option<SnapshotMaker>,
    /// Whether `/health` shows the components when it is not asked to.
    pub(super) shows_details: bool,
}

impl Health {
    /// The reply to a request for one of them; `is_near` when neither another machine nor a page of the web sent it.
    pub(super) fn reply(&self, request: &Request, is_near: bool) -> Reply {
        if !is_near {
            return Reply::text(403, "health details are restricted to loopback or a Unix socket\n");
        }
        let (status, body) = match self.body(request) {
            Ok(body) => (200, body),
            Err((status, word)) => (status, format!("{{\"error\":\"{word}\"}}")),
        };
        let headers = if status == 405 { vec![("Allow", "GET".to_owned())] } else { Vec::new() };
        Reply { content_type: "application/json", headers, ..Reply::text(status, body) }
    }

    fn body(&self, request: &Request) -> Result<String, (u16, &'static str)> {
        if request.method != "GET" {
            return Err((405, "method_not_allowed"));
        }
        let name = request.path.strip_prefix("/health/");
        let detailed = match (request.query.as_deref(), name) {
            (None, _) => self.shows_details,
            (Some("details=true"), None) => true,
            (Some("details=false"), None) => false,
            _ => return Err((400, "invalid_query")),
        };
        let unavailable = (500, "snapshot_unavailable");
        let mut snapshot = self.take.as_ref().ok_or(unavailable)?();
        match name {
            Some(name) => snapshot.component(name).ok_or((404, "unknown_component")),
            None => snapshot.whole(detailed).ok_or(unavailable),
        }
    }
}
