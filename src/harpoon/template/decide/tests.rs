//! Every text with which a call is refused, and what goes out when it is not.

use serde_json::json;

use super::*;
use crate::config;

const READ: &str = "\
version: 1
origin: https://h:8443
method: GET
path_template: /a/{id}
query: {kind: '{kind}', fixed: x y}
parameters:
  id: {type: string, required: true, pattern: '[a-z]+', max_length: 5, reserved_values: [root]}
  kind: {type: string, required: true, enum: [Big, small], max_length: 5}
header_rules:
  - accept
  - {name: x-who, forward_as: X-User, description: Who, validation: {pattern: '[a-z]+', max_length: 5}}
  - {name: x-mode, description: How, validation: {enum: [slow, fast]}}
  - {name: x-free, description: Of any length, validation: {pattern: '[a-z]+'}}
";

const WRITE: &str = "\
version: 1
origin: https://h
method: PUT
path_template: /a/{id}
parameters:
  id: {type: string, required: true, pattern: '[a-z]+', max_length: 5}
body_policy: {content_types: [application/json, text/plain], max_bytes: 20, required: true, validation: {json: true, pattern: '[-{}\":a-z0-9 ]*'}}
";

fn outcome(template: &str, operation: Option<&str>, given: Value) -> Result<String, String> {
    let template = config::template(template).unwrap();
    let given = given.as_object().unwrap();
    let given = Given::read(given, 1000).ok_or("invalid template arguments")?;
    decide(&template, operation, &given).map(|(uri, headers)| {
        let headers: Vec<String> =
            headers.iter().map(|(name, value)| format!(" {name}={}", value.to_str().unwrap())).collect();
        format!("{}{} {}", uri, headers.concat(), given.body.unwrap_or_default())
    })
}

/// NEW-102: the texts of the reference for a template that reads; none repeats what was given.
#[test]
fn reads_are_decided() {
    const KEYS: &str = "template parameter keys must match the declared schema";
    let right = json!({"id": "abc", "kind": "Big"});
    let url = "https://h:8443/a/abc?fixed=x+y&kind=Big";
    assert_eq!(outcome(READ, None, json!({"label": "l", "parameters": right})), Ok(format!("{url} ")));
    let headers = json!({"X-Who": "me", "ACCEPT": "a/b, c"});
    let given = json!({"label": "l", "parameters": right, "headers": headers});
    assert_eq!(outcome(READ, None, given), Ok(format!("{url} accept=a/b, c x-user=me ")));
    let parameters = |id: Value| json!({"label": "l", "parameters": {"id": id, "kind": "Big"}});
    for (given, expected) in [
        (json!({"label": "l"}), KEYS),
        (json!({"label": "l", "parameters": {"id": "abc"}}), KEYS),
        (json!({"label": "l", "parameters": {"id": "abc", "kind": "Big", "more": "x"}}), KEYS),
        (json!({"label": "l", "parameters": {"id": "abc", "Kind": "Big"}}), KEYS),
        (parameters(json!(1)), "parameter id must be a string"),
        (parameters(json!(["abc"])), "parameter id must be a string"),
        (parameters(json!("abcdef")), "parameter id: identifier length is outside its bounds"),
        (parameters(json!("..")), "parameter id: identifier contains forbidden characters or path segments"),
        (parameters(json!("%2e")), "parameter id: identifier contains forbidden characters or path segments"),
        (
            parameters(json!("a%2fb")),
            "parameter id: identifier contains forbidden characters or path segments",
        ),
        (
            parameters(json!("a\r\nb")),
            "parameter id: identifier contains forbidden characters or path segments",
        ),
        (parameters(json!("Root")), "parameter id: identifier is reserved"),
        (parameters(json!("a1")), "parameter id: identifier does not match its pattern"),
        (
            json!({"label": "l", "parameters": {"id": "a", "kind": "big"}}),
            "parameter kind: identifier is outside its enum",
        ),
        (
            json!({"label": "l", "parameters": right, "operation": "op1:x"}),
            "GET templates do not accept a write operation",
        ),
        (
            json!({"label": "l", "parameters": right, "body": ""}),
            "template GET requests cannot contain body or content_type arguments",
        ),
        (
            json!({"label": "l", "parameters": right, "content_type": "text/plain"}),
            "template GET requests cannot contain body or content_type arguments",
        ),
    ] {
        assert_eq!(outcome(READ, None, given.clone()), Err(expected.to_owned()), "{given}");
    }
}

/// NEW-102: the same for the headers of callers.
#[test]
fn headers_of_callers_are_decided() {
    const DENIED: &str = "caller header is not permitted by the target";
    const VALUE: &str = "invalid caller header value";
    let right = json!({"id": "abc", "kind": "Big"});
    let headers = |headers: Value| json!({"label": "l", "parameters": right, "headers": headers});
    let many: Map<String, Value> = (0..33).map(|number| (format!("x-{number}"), json!("v"))).collect();
    for (given, expected) in [
        (headers(json!({"x-other": "v"})), DENIED),
        (headers(json!({"x-user": "v"})), DENIED),
        (headers(json!({"x_who": "me"})), DENIED),
        (headers(json!({"host": "v"})), DENIED),
        (headers(json!({"a b": "v"})), DENIED),
        (headers(json!({"accept\r\nhost": "v"})), DENIED),
        (headers(json!({"accept": "a\r\nhost: b"})), VALUE),
        (headers(json!({"accept": "a\0"})), VALUE),
        (headers(json!({"accept": " a"})), VALUE),
        (headers(json!({"accept": "a\t"})), VALUE),
        (headers(json!({"accept": 1})), VALUE),
        (headers(json!({"accept": "a", "Accept": "a"})), "duplicate caller header name"),
        (headers(json!({"x-who": "abcdef"})), "caller header length is outside its bounds"),
        (headers(json!({"x-who": "ME"})), "caller header does not match its pattern"),
        (headers(json!({"x-mode": "off"})), "caller header is outside its enum"),
        (headers(Value::Object(many)), "too many template headers"),
        (headers(json!({"accept": "a\u{85}host: b"})), VALUE),
        // What is too long for a request is not matched with a pattern either.
        (headers(json!({"x-free": "A".repeat(600_000)})), "template headers exceed size limit"),
        (
            headers(json!({"x-free": "A".repeat(5000), "accept": "a".repeat(4000)})),
            "template headers exceed size limit",
        ),
    ] {
        assert_eq!(outcome(READ, None, given.clone()), Err(expected.to_owned()), "{given}");
    }
}

/// NEW-102: the same for one that writes.
#[test]
fn writes_are_decided() {
    const LIMIT: &str = "template body violates its byte limit or required-body policy";
    const PAIR: &str = "template body and content_type must be supplied together";
    const OPERATION: &str = "write operation must match the discovered invocation schema";
    let write = |body: Value, kind: Value| {
        let mut given = json!({"label": "l", "parameters": {"id": "a"}, "operation": "op1:x"});
        for (name, value) in [("body", body), ("content_type", kind)] {
            given.as_object_mut().unwrap().extend((!value.is_null()).then(|| (name.to_owned(), value)));
        }
        outcome(WRITE, Some("op1:x"), given)
    };
    let sent = write(json!("{\"a\": 1}"), json!("application/json"));
    assert_eq!(sent.unwrap(), "https://h/a/a content-type=application/json {\"a\": 1}");
    let json = json!("application/json");
    for (body, kind, expected) in [
        (json!("{}"), Value::Null, PAIR),
        (Value::Null, json.clone(), PAIR),
        (Value::Null, Value::Null, LIMIT),
        (json!(""), json.clone(), LIMIT),
        (json!(format!("\"{}\"", "a".repeat(19))), json.clone(), LIMIT),
        (json!("{}"), json!("text/html"), "template content type is not permitted"),
        (json!("{}"), json!("Application/JSON"), "template content type is not permitted"),
        (json!("{}"), json!("application/json "), "template content type is not permitted"),
        (json!("{} {}"), json.clone(), "template body must be valid JSON"),
        (json!("{"), json!("text/plain"), "template body must be valid JSON"),
        (json!("\"A\""), json.clone(), "template body does not match its pattern"),
    ] {
        assert_eq!(write(body.clone(), kind), Err(expected.to_owned()), "{body}");
    }
    for given in
        [json!({"label": "l", "parameters": {"id": "a"}}), json!({"label": "l", "operation": "op1:y"})]
    {
        assert_eq!(outcome(WRITE, Some("op1:x"), given), Err(OPERATION.to_owned()));
    }
    let closed = WRITE.replace("{json: true, pattern: '[-{}\":a-z0-9 ]*'}", "{json: true, enum: ['1', '2']}");
    let given = json!({"label": "l", "parameters": {"id": "a"}, "operation": "o", "body": "3", "content_type": "text/plain"});
    assert_eq!(outcome(&closed, Some("o"), given), Err("template body is outside its enum".to_owned()));
    let open = WRITE.replace("required: true, validation", "required: false, validation");
    let given = json!({"label": "l", "parameters": {"id": "a"}, "operation": "o"});
    assert_eq!(outcome(&open, Some("o"), given), Ok("https://h/a/a ".to_owned()));
}

#[test]
fn required_headers_are_asked_for() {
    let strict = READ.replace("description: Who,", "description: Who, required: true,");
    let right = json!({"id": "abc", "kind": "Big"});
    let refused = outcome(&strict, None, json!({"label": "l", "parameters": right}));
    assert_eq!(refused, Err("caller header is required by the target".to_owned()));
}
