//! The tools: the audience of an endpoint, and the call of one. Which endpoints there are tells `catalogue`.
//!
//! They are what a model sees, so they are three, their names are those of the reference, and what goes wrong
//! is told in texts that a model can act on. A caller learns labels and what the operator says of them, never
//! a URL, save the one that it must name to that very server. What it sends is checked before anything is
//! dialled; what comes back is bounded. Bodies and values of headers never reach the log.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};
use ureq::http::{HeaderMap, HeaderName, Method, header};

use super::mcp_server::{Called, extended, tool_result};
use crate::header_names::is_refused;
use crate::net::Budget;
use crate::ops::metrics::Metrics;
use crate::ops::metrics::harpoon::CallOutcome;
use crate::relay::command::Deadline;
use crate::relay::failure::Failure;
use crate::relay::headers;
use crate::relay::port::Outcome;

use super::arguments::{Arguments, TIMEOUT_DEFAULT_MS, TIMEOUT_MS};
use super::exchange::{self, Fault, Order, Received};
use super::history::{History, Record};
use super::registry::{Endpoint, Endpoints, OAUTH, Registry};

/// How much of a content type the log shows.
const CONTENT_TYPE_MAX_CHARS: usize = 256;

/// Names whose values are credentials. That somebody sends them here is worth more of an operator's attention
/// than a stray framing header, so the log tells the classes apart.
const SENSITIVE: [HeaderName; 3] = [header::AUTHORIZATION, header::COOKIE, header::PROXY_AUTHORIZATION];

/// The tools and what they work on. Shared by all calls; only the registry in it ever changes.
pub(super) struct Tools {
    pub(super) registry: Arc<Registry>,
    pub(super) max_response_bytes: usize,
    pub(super) max_redirects: usize,
    /// Bounds a call, whatever time it asks for (`mcp.connection-max-ttl`).
    pub(super) ttl: Duration,
    pub(super) budget: Arc<Budget>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) history: History,
}

/// Who calls, as far as a call depends on it.
pub(super) struct Caller<'a> {
    /// Names the call in the log.
    pub(super) request_id: &'a str,
    /// By this it is to be answered.
    pub(super) answer_by: Option<Instant>,
}

impl Tools {
    /// Calls one of them for this caller.
    pub(super) fn call(&self, caller: &Caller, name: &str, arguments: &Map<String, Value>) -> Called {
        let called = match name {
            "list_targets" => self.list_targets(arguments),
            "get_oauth_target_audience" => self.audience(arguments),
            "call_target" => self.call_endpoint(caller, arguments),
            _ => Ok(Called::Unknown),
        };
        called.unwrap_or_else(Called::BadArguments)
    }

    fn audience(&self, arguments: &Map<String, Value>) -> Result<Called, String> {
        let label = Arguments::of(arguments, "label")?.label()?;
        let endpoints = self.registry.now();
        let Some(endpoint) = endpoints.labelled(label) else { return Ok(failed(label, "unknown target")) };
        let of_server = endpoint.has_tag("auth-server-metadata") && endpoint.has_tag("token-endpoint");
        if endpoint.category != OAUTH || !of_server {
            return Ok(failed(label, "target is not an OAuth token endpoint"));
        }
        // To the letter: the server compares it with what it calls itself.
        let audience = json!({"audience": endpoint.target.url});
        Ok(Called::Result(tool_result(&audience.to_string(), Some(audience))))
    }

    /// A call without a method is one of a template, where there are any.
    fn call_endpoint(&self, caller: &Caller, arguments: &Map<String, Value>) -> Result<Called, String> {
        // One snapshot for the whole call: a set that is replaced meanwhile changes nothing halfway.
        let endpoints = self.registry.now();
        match !arguments.contains_key("method") && endpoints.has_templates() {
            true => Ok(self.call_template(caller, &endpoints, arguments)),
            false => self.call_target(caller, &endpoints, arguments),
        }
    }

    fn call_target(
        &self,
        caller: &Caller,
        endpoints: &Endpoints,
        arguments: &Map<String, Value>,
    ) -> Result<Called, String> {
        let started = Instant::now();
        let label = arguments.get("label").and_then(Value::as_str);
        let known = label.and_then(|label| endpoints.labelled(label));
        let known = known.filter(|endpoint| endpoint.target.template.is_none());
        // Whatever is refused from here on was never sent, and is counted as the caller's mistake.
        let invalid = || self.count(known, None, CallOutcome::InvalidInput, started, None);
        let asked = Asked::read(self, arguments).inspect_err(|_| invalid())?;
        let refuse = |text: &str| {
            invalid();
            Ok(failed(asked.label, text))
        };
        let Some(endpoint) = known else { return refuse("unknown target") };
        let target = &endpoint.target;
        if !target.methods.contains(&asked.method) {
            return refuse("invalid method");
        }
        // Framed or not, servers disagree about what such a body means.
        if asked.method == Method::GET && asked.body.is_some_and(|body| !body.is_empty()) {
            return refuse("invalid parameters");
        }
        if asked.body.is_some_and(|body| body.len() > target.max_request_bytes) {
            return refuse("request body exceeds size limit");
        }
        // The time of the call begins here and covers everything, but the caller's own ends it all the same.
        let order = Order {
            endpoint: Arc::clone(endpoint),
            uri: target.uri.clone(),
            method: asked.method,
            headers: passing(&asked.headers, &target.label),
            body: asked.body,
            deadline: Deadline::new(caller.answer_by, asked.timeout.min(self.ttl)),
            response_bytes_max: asked.response_bytes_max,
            redirects_max: asked.redirects_max,
        };
        Ok(self.exchange(caller, &order, endpoints, started))
    }

    /// What comes of a call that may be sent. Some ends belong to the command and not to the tool: nobody waits, its
    /// time is over, or it was cut.
    pub(super) fn exchange(
        &self,
        caller: &Caller,
        order: &Order,
        endpoints: &Endpoints,
        started: Instant,
    ) -> Called {
        let result = exchange::run(order, endpoints, &self.budget);
        self.observe(caller, order, &result, started);
        let (target, ended) = (&order.endpoint.target, |failure| Called::Ended(Outcome::Failed(failure)));
        match result {
            Ok(received) => Called::Result(response(received, target.template.is_some())),
            Err(_) if order.deadline.is_expired() => ended(Failure::expired()),
            Err(_) if started.elapsed() >= self.ttl => ended(Failure::timeout()),
            Err(Fault { cut: Some(error), .. }) => ended(Failure::transport(&error)),
            Err(fault) if target.template.is_some() && fault.outcome == CallOutcome::RequestError => {
                failed(&target.label, "template request failed")
            }
            Err(fault) => failed(&target.label, fault.text),
        }
    }

    /// One line, one record and one count a call that reached the network. The line names the endpoint by label and origin:
    /// paths can be secrets, and queries often are. The content type is the endpoint's word, so it is cut.
    fn observe(&self, caller: &Caller, order: &Order, result: &Result<Received, Fault>, started: Instant) {
        let (status, outcome, size) = match result {
            Ok(received) => (Some(received.status), CallOutcome::Success, Some(received.body.len())),
            Err(fault) => (fault.status, fault.outcome, None),
        };
        self.count(Some(&order.endpoint), status, outcome, started, size);
        let kind = result.as_ref().ok().and_then(|received| received.headers.get("Content-Type")?.first());
        let kind = kind.and_then(|kind| kind.split(';').next()).unwrap_or_default().trim();
        let kind: String = kind.chars().take(CONTENT_TYPE_MAX_CHARS).collect();
        // What was sent to a template, and what came of it, is not kept: it is made of identifiers and of secrets.
        let is_template = order.endpoint.target.template.is_some();
        let (event, level) = match outcome {
            CallOutcome::Success if is_template => ("harpoon template request completed", log::Level::Info),
            _ if is_template => ("harpoon template request completed", log::Level::Warn),
            CallOutcome::TooLarge => ("harpoon response too large", log::Level::Warn),
            CallOutcome::ReadError => ("harpoon response read failed", log::Level::Warn),
            CallOutcome::Success => ("harpoon request completed", log::Level::Info),
            _ => ("harpoon request failed", log::Level::Warn),
        };
        let record = Record {
            at: SystemTime::now(),
            took: started.elapsed(),
            label: order.endpoint.target.label.clone(),
            origin: order.endpoint.target.origin.to_string(),
            method: order.method.to_string(),
            status,
            content_type: kind.to_ascii_lowercase(),
            sent_bytes: order.body.map_or(0, str::len),
            received_bytes: size.unwrap_or_default(),
            error: result.as_ref().err().map(|fault| fault.cause.clone()).unwrap_or_default(),
            payloads: None,
        };
        log::log!(
            level,
            request_id = caller.request_id,
            label = record.label.as_str(),
            origin = record.origin.as_str(),
            method = record.method.as_str(),
            outcome = outcome.word(),
            status = status.unwrap_or_default(),
            status_code = status.unwrap_or_default(),
            request_bytes = record.sent_bytes,
            response_bytes = record.received_bytes,
            latency_ms = u64::try_from(record.took.as_millis()).unwrap_or(u64::MAX),
            content_type = record.content_type.as_str(),
            error = record.error.as_str();
            "{event}"
        );
        let sent = order.body.unwrap_or_default().as_bytes();
        let received = result.as_ref().map_or(&[][..], |received| &received.body);
        self.history.add(record, Some([sent, received]).filter(|_| !is_template));
    }

    /// Counts a call. Only a registered label becomes one of a metric: the others are whatever a caller makes up.
    pub(super) fn count(
        &self,
        endpoint: Option<&Arc<Endpoint>>,
        status: Option<u16>,
        outcome: CallOutcome,
        started: Instant,
        size: Option<usize>,
    ) {
        let label = endpoint.map(|endpoint| endpoint.target.label.as_str());
        self.metrics.harpoon_call(label, status, outcome, started.elapsed(), size);
    }
}

/// The arguments of `call_target`, each within the bounds of its schema. Whether the endpoint allows them is
/// another question.
struct Asked<'a> {
    label: &'a str,
    method: Method,
    headers: HeaderMap,
    body: Option<&'a str>,
    timeout: Duration,
    response_bytes_max: usize,
    redirects_max: Option<usize>,
}

impl<'a> Asked<'a> {
    /// Reads them in the order in which a person would check them; the first that is wrong is told.
    fn read(tools: &Tools, given: &'a Map<String, Value>) -> Result<Asked<'a>, String> {
        const NAMES: &str =
            "label method headers body timeout_ms max_response_bytes follow_redirects max_redirects";
        let arguments = Arguments::of(given, NAMES)?;
        let timeout = arguments.number("timeout_ms", TIMEOUT_MS, TIMEOUT_DEFAULT_MS)?;
        let (bytes_max, redirects_max) = (tools.max_response_bytes, tools.max_redirects);
        let redirects_max = arguments.number("max_redirects", 0..=redirects_max, redirects_max)?;
        Ok(Asked {
            label: arguments.label()?,
            method: arguments.method()?,
            headers: arguments.headers()?,
            body: arguments.text("body")?,
            timeout: Duration::from_millis(u64::try_from(timeout).unwrap_or(u64::MAX)),
            response_bytes_max: arguments.number("max_response_bytes", 1..=bytes_max, bytes_max)?,
            redirects_max: arguments.truth("follow_redirects", true)?.then_some(redirects_max),
        })
    }
}

/// What may pass of a caller's headers. What may not is logged by its kind: even a name can tell something.
fn passing(given: &HeaderMap, label: &str) -> HeaderMap {
    let kept = headers::forwardable_with_body(given);
    let dropped: Vec<&HeaderName> = given.keys().filter(|name| !kept.contains_key(*name)).collect();
    if !dropped.is_empty() {
        let class = |name: &&HeaderName| match **name {
            header::USER_AGENT => "user-agent",
            ref name if SENSITIVE.contains(name) => "sensitive-name",
            ref name if is_refused(name) => "not-forwardable",
            _ => "custom",
        };
        let classes: BTreeSet<&str> = dropped.iter().map(class).collect();
        let classes = Vec::from_iter(classes).join(",");
        log::info!(label = label, count = dropped.len(), classes = classes.as_str(); "harpoon request dropped non-forwardable headers");
    }
    kept
}

/// The result of a call that was answered, whatever the status: a 404 is what the endpoint says, and the model
/// should read it. The text is for clients that show text; it leaves out what is empty.
fn response(received: Received, is_template: bool) -> Value {
    let own = json!({
        "status_code": received.status,
        "headers": received.headers,
        "body_base64": STANDARD.encode(&received.body),
        "body_size_bytes": received.body.len(),
    });
    if is_template {
        return tool_result(&own.to_string(), Some(own));
    }
    let structured = extended(own, json!({"truncated": false}));
    let mut shown = structured.clone();
    if let Some(members) = shown.as_object_mut() {
        members.retain(|_, value| *value != json!({}) && *value != json!(""));
    }
    tool_result(&shown.to_string(), Some(structured))
}

/// The result of a tool that failed: a text that says where and why, out of a fixed list. The cause behind it, a
/// host or an address perhaps, is for the local log.
pub(super) fn failed(label: &str, text: &str) -> Called {
    Called::Result(tool_result(&format!("label {label}: {text}"), None))
}

#[cfg(test)]
mod tests {
    use super::super::registry::CONFIGURED;
    use super::super::registry::tests::endpoint;
    use super::*;

    fn tools() -> Tools {
        let metrics = Arc::new(Metrics::new("t", 1, 1, &[]));
        let registry = Registry::default();
        let (max_response_bytes, max_redirects) = (7, 0);
        Tools {
            registry: registry.into(),
            max_response_bytes,
            max_redirects,
            ttl: Duration::MAX,
            budget: Budget::new(0),
            metrics,
            history: History::default(),
        }
    }

    #[test]
    fn the_bounds_are_those_of_the_settings() {
        let list = tools().list();
        let input = list.pointer("/2/inputSchema/properties").unwrap();
        assert_eq!(input.pointer("/max_response_bytes/maximum"), Some(&json!(7)));
        assert_eq!(input.pointer("/max_redirects/default"), Some(&json!(0)));
        assert_eq!(list.pointer("/2/outputSchema/properties/body_size_bytes/maximum"), Some(&json!(7)));
    }

    #[test]
    fn only_discovered_token_endpoints_have_an_audience() {
        let tools = tools();
        let tags = ["auth-server-metadata", "token-endpoint"];
        let url = "https://Idp.example/Token?x=1";
        let learned =
            vec![endpoint("token", url, OAUTH, &tags), endpoint("keys", "https://h/k", OAUTH, &tags[..1])];
        tools.registry.replace(OAUTH, learned).unwrap();
        let own = vec![endpoint("own", "https://h/o", CONFIGURED, &tags)];
        tools.registry.replace(CONFIGURED, own).unwrap();
        let ask = |label: &str| match tools.audience(json!({"label": label}).as_object().unwrap()) {
            Ok(Called::Result(result)) => result,
            _ => panic!("no result"),
        };
        assert_eq!(ask("token").pointer("/structuredContent/audience"), Some(&json!(url)));
        for label in ["keys", "own"] {
            let text = format!("label {label}: target is not an OAuth token endpoint");
            assert_eq!(ask(label).pointer("/content/0/text"), Some(&json!(text)));
        }
        let listed = tools.list_targets(json!({"tags": ["token-endpoint"]}).as_object().unwrap());
        let Ok(Called::Result(listed)) = listed else { panic!("no result") };
        let targets = listed.pointer("/structuredContent/targets").unwrap().as_array().unwrap();
        let labels: Vec<_> = targets.iter().filter_map(|one| one.pointer("/label")?.as_str()).collect();
        assert_eq!(labels, ["token", "own"]);
        assert_eq!(targets.first().unwrap().pointer("/tags"), Some(&json!(tags)));
    }
}
