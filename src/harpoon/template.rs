//! Calls of templates: `call_target` without a method.
//!
//! Whatever a caller sends is compared with the template's rules by functions that see nothing else
//! (`decide`), and what comes of that is one request: sent once over the endpoint's own guarded connection, to
//! its own origin, with its redirects handed back. What was sent and what came is in no record and no dump, since
//! the operator's headers and a caller's identifiers are in it. What a caller is told of a template
//! (`invocation`) holds neither where it leads nor what the operator adds.

mod decide;
mod given;
mod invocation;

#[cfg(any(test, fuzzing))]
#[path = "../../tests/fuzz/targets/harpoon.rs"]
pub(crate) mod fuzz;

use std::sync::Arc;
use std::time::Instant;

use serde_json::{Map, Value};

use crate::config::HEADERS_BYTES_MAX;
use crate::ops::metrics::harpoon::CallOutcome;
use crate::relay::command::Deadline;

use super::exchange::Order;
use super::mcp_server::Called;
use super::registry::Endpoints;
use super::tools::{Caller, Tools, failed};

use given::Given;
pub(super) use invocation::Invocation;

impl Tools {
    /// Calls a template for this caller.
    pub(super) fn call_template(
        &self,
        caller: &Caller,
        endpoints: &Endpoints,
        arguments: &Map<String, Value>,
    ) -> Called {
        let started = Instant::now();
        let name = arguments.get("label").and_then(Value::as_str).unwrap_or_default();
        let known = endpoints.called(name);
        // Whatever is refused from here on was never sent. No text repeats what came.
        let refuse = |text: &str| {
            self.count(known, None, CallOutcome::InvalidInput, started, None);
            failed(known.map_or("unknown", |endpoint| &endpoint.target.label), text)
        };
        let Some(given) = Given::read(arguments, self.max_response_bytes) else {
            return refuse("invalid template arguments");
        };
        let parts = known.and_then(|endpoint| {
            Some((endpoint, endpoint.target.template.as_ref()?, endpoint.invocation.as_ref()?))
        });
        let Some((endpoint, template, invocation)) = parts else { return refuse("unknown template target") };
        let (uri, headers) = match decide::decide(template, invocation.operation.as_deref(), &given) {
            Ok(decided) => decided,
            Err(text) => return refuse(&text),
        };
        // Names of the operator's headers and of the caller's do not overlap: that was checked as they were read.
        let all = headers.iter().chain(&endpoint.target.headers);
        let size: usize = all.map(|(name, value)| name.as_str().len() + value.len()).sum();
        if size + "user-agent".len() + crate::USER_AGENT.len() > HEADERS_BYTES_MAX {
            return refuse(decide::SIZE);
        }
        // The time of the call begins here and covers everything, but the caller's own ends it all the same.
        let order = Order {
            endpoint: Arc::clone(endpoint),
            uri,
            method: template.method.clone(),
            headers,
            body: given.body,
            deadline: Deadline::new(caller.answer_by, given.timeout.min(self.ttl)),
            response_bytes_max: given.response_bytes_max,
            redirects_max: None,
        };
        // No URL in the reply is given a name: which endpoints there are is nothing to a template.
        self.exchange(caller, &order, &Endpoints::default(), started)
    }
}
