//! Templates: what goes out for a call, what is refused, and what nobody learns.

use std::sync::Arc;

use serde_json::{Value, json};

use super::{Called, call_command, tool};
use crate::support::certs::Authority;
use crate::support::client::Builder;
use crate::support::command::Command;
use crate::support::gate::Gate;
use crate::support::http::Request;
use crate::support::plane::Posted;
use crate::support::reply::Reply;
use crate::support::rig::Rig;
use crate::support::server::Server;

/// Templates on one server over TLS, whose authority the client trusts.
pub struct Forms {
    pub rig: Rig,
    pub server: Server,
    /// Its file is read at the start.
    _authority: Authority,
}

/// One that reads and one that writes; `ORIGIN` stands for the server's.
pub const FORMS: &str = "
- label: order
  description: One order
  template:
    version: 1
    origin: ORIGIN
    method: GET
    path_template: /hidden-path/{id}/lines
    query: {hidden_query: '{kind}', fixed: a b}
    parameters:
      id: {type: string, required: true, pattern: '[a-z]{1,8}', max_length: 8, reserved_values: [admin], examples: [abc]}
      kind: {type: string, required: true, enum: [open, closed], max_length: 8}
    headers: {Authorization: 'env:HIDDEN_TOKEN', X-Hidden: hidden-fixed}
    allowed_headers: [Accept, X-Request]
- label: change
  template:
    version: 1
    origin: ORIGIN
    method: PUT
    path_template: /change/{id}
    parameters:
      id: {type: string, required: true, pattern: '[a-z]+', max_length: 8}
    body_policy: {content_types: [application/json], max_bytes: 102400, required: true, validation: {json: true}}
";

impl Forms {
    pub fn start(targets: &str, script: impl Fn(&Request) -> Reply + Send + Sync + 'static) -> Forms {
        Forms::with(targets, |builder| builder, script)
    }

    pub fn with(
        targets: &str,
        adjust: impl FnOnce(Builder) -> Builder,
        script: impl Fn(&Request) -> Reply + Send + Sync + 'static,
    ) -> Forms {
        let authority = Authority::new("template authority");
        let server = Server::start(Some(authority.server()), Arc::new(script));
        let yaml = yaml(&targets.replace("ORIGIN", &server.origin()));
        let rig = Rig::with(|builder| {
            let builder = builder.yaml(&yaml).flag("ca-bundle", &authority.bundle());
            adjust(builder.env("HIDDEN_TOKEN", "hidden-token-1"))
        });
        Forms { rig, server, _authority: authority }
    }

    /// The answer to a call with these arguments.
    pub fn call(&self, arguments: &Value) -> Posted {
        self.rig.send(&tool("call_target", arguments))
    }

    /// The structured result of a good call.
    pub fn result(&self, arguments: &Value) -> Value {
        let posted = self.call(arguments);
        let result = posted.payload()["result"].clone();
        assert_eq!((posted.code(), &result["isError"]), (200, &json!(false)), "{}", posted.payload_text());
        let text: Value = serde_json::from_str(result["content"][0]["text"].as_str().unwrap()).unwrap();
        assert_eq!(text, result["structuredContent"]);
        result["structuredContent"].clone()
    }

    /// The text of a call that is refused.
    pub fn fault(&self, arguments: &Value) -> String {
        Called(self.call(arguments)).fault()
    }

    /// What `list_targets` says, by label.
    pub fn listed(&self, label: &str) -> Value {
        let posted = self.rig.send(&tool("list_targets", &json!({})));
        let targets = &posted.payload()["result"]["structuredContent"]["targets"];
        let targets = targets.as_array().unwrap_or_else(|| panic!("{}", posted.payload_text()));
        targets.iter().find(|target| target["label"] == label).unwrap().clone()
    }
}

/// A configuration of the second form with these targets.
pub fn yaml(targets: &str) -> String {
    format!("config_version: 2\n{}", super::yaml(targets))
}

fn order() -> Value {
    json!({"label": "order", "parameters": {"id": "abc", "kind": "open"}})
}

fn with(mut arguments: Value, name: &str, value: Value) -> Value {
    arguments[name] = value;
    arguments
}

/// NEW-091 to NEW-093, NEW-096, NEW-101: the rendered request with the operator's headers, and its whole reply.
#[test]
fn a_call_fills_the_template() {
    let forms = Forms::start(FORMS, |_| {
        Reply::body(404, "text/plain", "https://localhost/x")
            .header("X-Seen", "yes")
            .header("Connection", "x-hop")
    });
    let given = with(order(), "headers", json!({"x-REQUEST": "r 1", "Accept": "text/plain"}));
    let result = forms.result(&given);
    assert_eq!(result["status_code"], 404);
    assert_eq!(
        (&result["body_size_bytes"], &result["body_base64"]),
        (&json!(19), &json!("aHR0cHM6Ly9sb2NhbGhvc3QveA=="))
    );
    assert_eq!(result["headers"]["X-Seen"], json!(["yes"]));
    assert!(result["headers"].get("Connection").is_none() && result.get("truncated").is_none());
    let requests = forms.server.requests();
    let [request] = requests.as_slice() else { panic!("one request") };
    assert_eq!(request.method, "GET");
    assert_eq!(request.target, "/hidden-path/abc/lines?fixed=a+b&hidden_query=open");
    for (name, value) in [
        ("authorization", "hidden-token-1"),
        ("x-hidden", "hidden-fixed"),
        ("x-request", "r 1"),
        ("accept", "text/plain"),
    ] {
        assert_eq!(request.all(name), [value], "{name}");
    }
    assert!(request.header("user-agent").unwrap().starts_with("tunnel-client-rs/"));
    assert!(request.body.is_empty() && request.header("content-type").is_none());
}

/// NEW-100, NEW-101: a write repeats what its caller was told, and its body goes out as it was given, once.
#[test]
fn a_write_sends_its_body_once() {
    let forms = Forms::start(FORMS, |_| Reply::status(503).header("Retry-After", "0"));
    let schema = forms.listed("change")["invocation"]["input_schema"].clone();
    let operation = schema["properties"]["operation"]["const"].clone();
    let body = "{\"a\" : \"\u{e9}\u{1f980}\", \"n\": 1.50e+1 }";
    let given = json!({
        "label": "change", "parameters": {"id": "abc"}, "operation": operation, "body": body, "content_type": "application/json",
    });
    assert_eq!(forms.result(&given)["status_code"], 503);
    let requests = forms.server.requests();
    let [request] = requests.as_slice() else { panic!("one request") };
    assert_eq!((request.method.as_str(), request.target.as_str()), ("PUT", "/change/abc"));
    assert_eq!(String::from_utf8(request.body.clone()).unwrap(), body);
    assert_eq!(request.header("content-type"), Some("application/json"));
    for (name, value, expected) in [
        ("operation", json!("op1:0"), "write operation must match the discovered invocation schema"),
        ("content_type", json!("text/plain"), "template content type is not permitted"),
        ("body", json!("{"), "template body must be valid JSON"),
        (
            "body",
            json!(format!("\"{}\"", "a".repeat(102_400))),
            "template body violates its byte limit or required-body policy",
        ),
    ] {
        assert_eq!(forms.fault(&with(given.clone(), name, value)), format!("label change: {expected}"));
    }
    assert_eq!(forms.server.requests().len(), 1);
}

/// NEW-092: redirects are handed back, and nothing of them is followed or named.
#[test]
fn a_redirect_is_a_result() {
    let forms = Forms::start(&format!("{FORMS}- {{label: plain, url: ORIGIN/plain}}\n"), |request| {
        match request.path() {
            "/plain" => Reply::status(302).header("Location", "/hidden-path/abc/lines"),
            _ => Reply::status(307).header("Location", "/plain"),
        }
    });
    let result = forms.result(&order());
    assert_eq!((&result["status_code"], &result["headers"]["Location"]), (&json!(307), &json!(["/plain"])));
    // Nor does a redirect of another endpoint lead to a template.
    let called = Called(forms.rig.send(&call_command("plain", json!({}))));
    assert_eq!(called.fault(), "label plain: redirect blocked");
    assert_eq!(forms.server.requests().len(), 2);
}

/// NEW-095, NEW-100, NEW-102: whatever is outside the rules never leaves, and is not repeated.
#[test]
fn hostile_calls_are_refused_before_anything_is_sent() {
    let forms = Forms::start(FORMS, |_| Reply::status(200));
    let identifier = |value: &str| with(order(), "parameters", json!({"id": value, "kind": "open"}));
    const FORBIDDEN: &str = "parameter id: identifier contains forbidden characters or path segments";
    const INVALID: &str = "invalid template arguments";
    const DENIED: &str = "caller header is not permitted by the target";
    let headers = |headers: Value| with(order(), "headers", headers);
    for (arguments, expected) in [
        (identifier(".."), FORBIDDEN),
        (identifier("%2e%2e"), FORBIDDEN),
        (identifier("%252e"), FORBIDDEN),
        (identifier("a%2fb"), FORBIDDEN),
        (identifier("a/b"), FORBIDDEN),
        (identifier("a\\b"), FORBIDDEN),
        (identifier("a?x=1"), FORBIDDEN),
        (identifier("a\r\nX: y"), FORBIDDEN),
        (identifier("ADMIN"), "parameter id: identifier is reserved"),
        (identifier("ABC"), "parameter id: identifier does not match its pattern"),
        (identifier(&"a".repeat(9)), "parameter id: identifier length is outside its bounds"),
        (headers(json!({"Authorization": "Bearer mine-1"})), DENIED),
        (headers(json!({"authorization\r\nx": "mine-1"})), DENIED),
        (headers(json!({"X-Hidden": "mine-1"})), DENIED),
        (headers(json!({"Host": "mine-1"})), DENIED),
        (headers(json!({"x_request": "mine-1"})), DENIED),
        (headers(json!({"Accept": "mine-1\r\nHost: evil"})), "invalid caller header value"),
        (headers(json!({"Accept": "mine-1", "accept": "mine-1"})), "duplicate caller header name"),
        (headers(json!({"Accept": "x".repeat(8192)})), "template headers exceed size limit"),
        (
            with(order(), "parameters", json!({"id": "abc"})),
            "template parameter keys must match the declared schema",
        ),
        (
            with(order(), "parameters", json!({"id": ["abc"], "kind": "open"})),
            "parameter id must be a string",
        ),
        (with(order(), "parameters", json!({"id": null, "kind": "open"})), "parameter id must be a string"),
        (
            with(order(), "parameters", json!({"id": [[[["x"]]]], "kind": "open"})),
            "parameter id must be a string",
        ),
        (with(order(), "parameters", Value::Null), INVALID),
        (with(order(), "follow_redirects", json!(true)), INVALID),
        (with(order(), "timeout_ms", json!(99)), INVALID),
        (with(order(), "max_response_bytes", json!(102_401)), INVALID),
        (with(order(), "operation", json!("op1:x")), "GET templates do not accept a write operation"),
        (
            with(order(), "body", json!("")),
            "template GET requests cannot contain body or content_type arguments",
        ),
    ] {
        assert_eq!(forms.fault(&arguments), format!("label order: {expected}"), "{arguments:.200}");
    }
    for label in ["nobody", "hr1:00:order", "ORDER", "x:order"] {
        let fault = forms.fault(&with(order(), "label", json!(label)));
        assert_eq!(fault, "label unknown: unknown template target", "{label}");
    }
    // With a method it is the old call, which knows no templates.
    assert_eq!(forms.fault(&json!({"label": "order", "method": "GET"})), "label order: unknown target");
    assert!(forms.server.requests().is_empty());
}

/// NEW-100: what occurs twice, and half a character, is no message.
#[test]
fn ambiguous_arguments_are_no_message() {
    let forms = Forms::start(FORMS, |_| Reply::status(200));
    for arguments in [
        r#"{"label":"order","parameters":{"id":"abc","id":"abd","kind":"open"}}"#,
        r#"{"label":"order","label":"change","parameters":{"id":"abc","kind":"open"}}"#,
        r#"{"label":"order","parameters":{"id":"abc","\u0069d":"abd","kind":"open"}}"#,
        r#"{"label":"order","parameters":{"id":"\ud800","kind":"open"}}"#,
    ] {
        let text = format!(
            r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{"name":"call_target","arguments":{arguments}}}}}"#
        );
        let posted = forms.rig.send(&Command::rpc(text).off_contract().channel("harpoon"));
        assert!(posted.payload()["error"].is_object(), "{arguments}: {}", posted.payload_text());
    }
    assert!(forms.server.requests().is_empty());
}

/// NEW-101, NEW-103, NEW-106: neither log, dump nor list tells what the operator adds or what a caller sends.
#[test]
fn nothing_of_an_exchange_is_kept() {
    let mut forms = Forms::with(
        FORMS,
        |builder| builder.argument("--log.http-raw-unsafe").flag("log.level", "debug"),
        |request| match request.path() {
            "/hidden-path/sentbad/lines" => Reply::raw("reply-secret-1 is no HTTP\r\n\r\n").close(),
            _ => Reply::body(200, "text/plain", "reply-secret-1"),
        },
    );
    let given = with(
        with(order(), "parameters", json!({"id": "sentid", "kind": "open"})),
        "headers",
        json!({"X-Request": "sent-header-1"}),
    );
    forms.result(&given);
    let line = forms.rig.client.wait_log(|line| line.contains("harpoon template request completed"));
    let line: Value = serde_json::from_str(&line).unwrap();
    for (name, value) in
        [("label", json!("order")), ("outcome", json!("success")), ("status_code", json!(200))]
    {
        assert_eq!(line[name], value, "{line}");
    }
    assert!(line["latency_ms"].is_number(), "{line}");
    let broken = json!({"label": "order", "parameters": {"id": "sentbad", "kind": "open"}});
    assert_eq!(forms.fault(&broken), "label order: template request failed");
    forms.listed("order");
    let metrics = forms.rig.client.get("/metrics").body;
    assert!(
        metrics.contains("harpoon_call_total{label=\"order\",status_class=\"2xx\",outcome=\"success\""),
        "{metrics}"
    );
    let page = forms.rig.client.get("/ui").body;
    let log = forms.rig.client.log();
    // The plane's own dump has the command; what went to the endpoint has not.
    for secret in ["hidden-token-1", "hidden-fixed", "hidden-path", "hidden_query"] {
        assert!(!log.contains(secret), "{secret}");
        assert!(!page.contains(secret), "{secret}");
    }
    assert!(!page.contains("sentid") && !page.contains("sentbad") && !page.contains("reply-secret-1"));
    assert!(!log.contains("sentid") && !log.contains("sentbad") && !log.contains("sent-header-1"));
    assert!(!log.contains("GET https://") && !log.contains("GET /hidden-path"));
    assert!(!log.lines().any(|line| line.contains("raw http") && line.contains("reply-secret-1")));
}

/// NEW-101: a reply is bounded, and so is its time; neither is more than a failed tool.
#[test]
fn replies_are_bounded() {
    let gate = Arc::new(Gate::new());
    let behind = Arc::clone(&gate);
    let forms = Forms::start(FORMS, move |request| match request.path() {
        "/hidden-path/slow/lines" => Reply::status(200).behind(&behind),
        "/hidden-path/cut/lines" => Reply::raw("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc").close(),
        _ => Reply::body(200, "text/plain", "x".repeat(11)),
    });
    let call = |id: &str| json!({"label": "order", "parameters": {"id": id, "kind": "open"}, "max_response_bytes": 10});
    assert_eq!(forms.fault(&call("abc")), "label order: response exceeds size limit");
    assert_eq!(forms.fault(&call("cut")), "label order: response read failed");
    assert_eq!(
        forms.fault(&with(call("slow"), "timeout_ms", json!(200))),
        "label order: template request failed"
    );
    gate.open();
    assert_eq!(forms.result(&with(call("abc"), "max_response_bytes", json!(11)))["body_size_bytes"], 11);
}

/// The guard of all endpoints holds for templates too.
#[test]
fn templates_stay_within_their_networks() {
    let targets = FORMS.replace("  description: One order\n", "  allowed_networks: [10.0.0.0/8]\n");
    let forms = Forms::start(&targets.replace("ORIGIN", "https://localhost:1"), |_| Reply::status(200));
    assert_eq!(forms.fault(&order()), "label order: template request failed");
    forms.rig.client.wait_log(|line| {
        line.contains("harpoon template request completed") && line.contains("request_error")
    });
    let (code, output) = Builder::run("http://127.0.0.1:1", "http://127.0.0.1:1/mcp")
        .yaml(&yaml(&FORMS.replace("ORIGIN", "https://169.254.169.254")))
        .env("HIDDEN_TOKEN", "hidden-token-1")
        .finish();
    assert!(code == Some(1) && output.contains("harpoon: target \"order\""), "{output}");
}
