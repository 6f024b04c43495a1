//! Reading templates: what is accepted, and what is refused with its line.

use super::*;
use crate::config::yaml;

/// The template of a text, or the complaint with its line.
pub(crate) fn template(text: &str) -> Result<Template, String> {
    let read = yaml::parse(text).and_then(|(node, _)| Template::read("template".into(), node));
    read.map(|(template, _)| template)
        .map_err(|fault| format!("{}: {}", fault.line.unwrap_or_default(), fault.text))
}

const GET: &str = "\
version: 1
origin: https://api.internal:8443
method: GET
path_template: /v1/orders/{order}/lines
parameters:
  order: {type: string, required: true, pattern: '[A-Z]{2}-[0-9]{1,6}', max_length: 9}
";

const BODY: &str = "\
body_policy:
  content_types: [application/json]
  max_bytes: 1000
  required: true
  validation: {json: true}
";

/// The template for reading with one of its lines replaced.
fn with(line: &str, other: &str) -> Result<Template, String> {
    assert!(GET.contains(line), "{line}");
    template(&GET.replace(line, other))
}

/// The template for writing, with more lines.
fn write(body: &str, more: &str) -> Result<Template, String> {
    template(&format!("{}{body}{more}", GET.replace("GET", "PUT")))
}

fn complaint(read: Result<Template, String>) -> String {
    read.map(|template| template.route.summary()).unwrap_err()
}

#[test]
fn new_091_092_members_and_methods() {
    let read =
        template(&format!("{GET}follow_redirects: false\nheaders: {{X-Team: a}}\nquery: {{}}\n")).unwrap();
    assert_eq!(read.route.summary(), "https://api.internal:8443/v1/orders/{order}/lines");
    assert!(write(BODY, "").unwrap().body.is_some());
    for (line, other, expected) in [
        ("version: 1\n", "", "1: template version must be 1"),
        ("version: 1", "version: '1'", "1: template version must be 1"),
        ("method: GET", "method: get", "3: template.method must be GET, POST or PUT"),
        ("method: GET", "method: POST", "1: template with method POST or PUT requires body_policy"),
        ("method: GET\n", "", "1: template requires method"),
        ("parameters:", "timeout: 1\nparameters:", "5: template: unknown key \"timeout\""),
        ("parameters:", "query:\nparameters:", "5: template.query has no value"),
    ] {
        assert_eq!(complaint(with(line, other)), expected, "{other}");
    }
    assert_eq!(
        complaint(template(&format!("{GET}{BODY}"))),
        "1: template with method GET cannot have body_policy"
    );
    let follows = complaint(template(&format!("{GET}follow_redirects: true\n")));
    assert!(follows.contains("follow_redirects must be false"), "{follows}");
}

#[test]
fn new_092_origins_are_literal() {
    for origin in ["https://h", "https://h/", "https://10.0.0.1:65535", "https://[fd00::1]:1"] {
        with("https://api.internal:8443", origin).unwrap_or_else(|error| panic!("{origin}: {error}"));
    }
    for origin in [
        "http://h",
        "h",
        "https://",
        "https://h:0",
        "https://h:65536",
        "https://h:",
        "https://u:p@h",
        "https://h/a",
        "https://h//",
        "https://h?x",
        "https://{h}",
        "https://h%2e",
        "https://h\\",
        "https://h#x",
        "https://h.",
        "https://127.1",
        "file:///etc",
    ] {
        let error = complaint(with("https://api.internal:8443", &format!("'{origin}'")));
        assert!(error.starts_with("2: template.origin "), "{origin}: {error}");
        assert!(!error.contains("u:p"), "{error}");
    }
}

#[test]
fn new_093_paths_have_one_reading() {
    for path in ["/{order}", "/a/{order}/", "/a.b/{order}", "/%41/{order}", "/a:b@c/{order}/{order}"] {
        with("/v1/orders/{order}/lines", path).unwrap_or_else(|error| panic!("{path}: {error}"));
    }
    for path in [
        "v1/{order}",
        "/v1",
        "/x{order}",
        "/{order}x",
        "/{order}{order}",
        "/{}",
        "/{order",
        "/{other}/{order}",
        "/./{order}",
        "/../{order}",
        "/%2e%2e/{order}",
        "/.%2E/{order}",
        "/..%2fb/{order}",
        "/a%5c../{order}",
        "/%zz/{order}",
        "//h/{order}",
        "/a//{order}",
        "/a?b={order}",
        "/a#{order}",
        "/a b/{order}",
        "/a\\b/{order}",
        "/\u{e9}/{order}",
    ] {
        assert!(with("/v1/orders/{order}/lines", &format!("'{path}'")).is_err(), "{path}");
    }
}

#[test]
fn new_093_queries_are_fixed_or_filled() {
    let query = |query: &str| {
        template(
            &GET.replace("/{order}/", "/x/").replace("parameters:", &format!("query: {query}\nparameters:")),
        )
    };
    let read = query("{z: '{order}', a: 'b c&d=\u{e9}%', A: ''}").unwrap();
    let url = read.route.url(|_| Some("AB-1")).unwrap();
    assert_eq!(
        url.to_string(),
        "https://api.internal:8443/v1/orders/x/lines?A=&a=b+c%26d%3D%C3%A9%25&z=AB-1"
    );
    for wrong in [
        "{a: b}",
        "{a: 'x{order}'}",
        "{'a b': '{order}'}",
        "{'': '{order}'}",
        "{a: '{order}', b: \"x\\n\"}",
        "{a: '{order}', b: [x]}",
        "{a: '{order}', b: ~}",
        "{a: '{other}', b: '{order}'}",
        "[a]",
    ] {
        assert!(query(wrong).is_err(), "{wrong}");
    }
    let many: Vec<String> = (0..32).map(|number| format!("a{number}: '{{order}}'")).collect();
    assert!(query(&format!("{{{}}}", many.join(", "))).is_ok());
    assert!(query(&format!("{{{}, b: c}}", many.join(", "))).is_err());
    let long = |length: usize| query(&format!("{{a: '{{order}}', b: {}}}", "x".repeat(length)));
    assert!(long(256).is_ok() && long(257).is_err());
    // Each of these bytes takes three on the wire.
    let wide: Vec<String> = (0..5).map(|number| format!("a{number}: '{}'", "/".repeat(256))).collect();
    assert!(query(&format!("{{{}, z: '{{order}}'}}", wide.join(", "))).is_ok());
    let error =
        complaint(query(&format!("{{{}, y: '{}', z: '{{order}}'}}", wide.join(", "), "/".repeat(80))));
    assert_eq!(error, "1: template can become a URL of more than 4096 bytes");
}

#[test]
fn new_094_parameters_have_bounds() {
    let parameter = |rule: &str| {
        with("{type: string, required: true, pattern: '[A-Z]{2}-[0-9]{1,6}', max_length: 9}", rule)
    };
    let read = parameter(
        "{type: string, required: true, enum: [a, b, Ab], max_length: 2, reserved_values: [x], examples: [b, Ab], description: Which}",
    );
    assert_eq!(read.unwrap().parameters[0].rule.choices, ["a", "b", "Ab"]);
    for (wrong, expected) in [
        ("{required: true, enum: [a], max_length: 2}", "requires type"),
        ("{type: integer, required: true, enum: [a], max_length: 2}", "requires type: string"),
        ("{type: string, enum: [a], max_length: 2}", "required: true"),
        ("{type: string, required: false, enum: [a], max_length: 2}", "required: true"),
        ("{type: string, required: true, enum: [a]}", "requires max_length"),
        ("{type: string, required: true, max_length: 2}", "requires pattern or enum"),
        ("{type: string, required: true, enum: [], max_length: 2}", "enum must have 1 to 64 entries"),
        (
            "{type: string, required: true, enum: [a], max_length: 257}",
            "max_length must be a number from 1 to 256",
        ),
        (
            "{type: string, required: true, enum: [a], max_length: 2, min_length: 3}",
            "min_length must be a number from 1 to 2",
        ),
        ("{type: string, required: true, enum: [a, a], max_length: 2}", "enum must be there once"),
        ("{type: string, required: true, enum: [abc], max_length: 2}", "not right: identifier length"),
        ("{type: string, required: true, enum: [a/], max_length: 2}", "not right: identifier contains"),
        ("{type: string, required: true, enum: ['..'], max_length: 2}", "not right: identifier contains"),
        (
            "{type: string, required: true, enum: [a], max_length: 2, examples: [b]}",
            "examples is not right: identifier is outside",
        ),
        (
            "{type: string, required: true, enum: [a], max_length: 2, examples: [a, a]}",
            "examples must be there once",
        ),
        ("{type: string, required: true, enum: [a, ~], max_length: 2}", "enum must have a value"),
        ("{type: string, required: true, pattern: '(a', max_length: 2}", "pattern is not closed"),
        ("{type: string, required: true, pattern: a, max_length: 2, default: x}", "unknown key \"default\""),
        (
            "{type: string, required: true, pattern: a, max_length: 2, description: \"a\\nb\"}",
            "description must not contain control",
        ),
    ] {
        let error = complaint(parameter(wrong));
        assert!(error.starts_with("6: ") && error.contains(expected), "{wrong}: {error}");
    }
}

#[test]
fn new_094_parameters_have_plain_names() {
    for name in ["_a", "1a", "a-b", "a.b", &"a".repeat(65)] {
        assert!(
            template(&GET.replace("order:", &format!("{name}:")).replace("{order}", &format!("{{{name}}}")))
                .is_err(),
            "{name}"
        );
    }
}

#[test]
fn new_095_values_are_one_segment() {
    let read = with(
        "{type: string, required: true, pattern: '[A-Z]{2}-[0-9]{1,6}', max_length: 9}",
        "{type: string, required: true, pattern: '.*', max_length: 20, reserved_values: [Admin]}",
    )
    .unwrap();
    let parameter = &read.parameters[0];
    for value in ["a", "A-b_c.~9", "...", ".a", "admins"] {
        assert_eq!(parameter.check(value), Ok(()), "{value}");
    }
    const FORBIDDEN: &str = "identifier contains forbidden characters or path segments";
    for (value, expected) in [
        ("", "identifier length is outside its bounds"),
        ("aaaaaaaaaaaaaaaaaaaaa", "identifier length is outside its bounds"),
        (".", FORBIDDEN),
        ("..", FORBIDDEN),
        ("%2e%2e", FORBIDDEN),
        ("a%2fb", FORBIDDEN),
        ("%252e", FORBIDDEN),
        ("a/b", FORBIDDEN),
        ("..\\b", FORBIDDEN),
        ("a?b=c", FORBIDDEN),
        ("a&b", FORBIDDEN),
        ("a#b", FORBIDDEN),
        ("a b", FORBIDDEN),
        ("a\r\nHost: b", FORBIDDEN),
        ("a\0", FORBIDDEN),
        ("\u{ff0e}\u{ff0e}", FORBIDDEN),
        ("\u{e9}", FORBIDDEN),
        ("ADMIN", "identifier is reserved"),
    ] {
        assert_eq!(parameter.check(value), Err(expected.to_owned()), "{value:?}");
    }
}

#[test]
fn new_096_097_headers_do_not_overlap() {
    let headers = |text: &str| template(&format!("{GET}{text}"));
    let rule = |rule: &str| headers(&format!("header_rules:\n  - {rule}\n"));
    let read = headers(
        "headers: {X-Team: env:TEAM, Authorization: 'file:/token'}\nallowed_headers: [Accept, x-request]\n",
    )
    .unwrap();
    assert_eq!((read.headers.rules.len(), read.headers.is_bound), (2, false));
    assert!(!headers("header_rules: [x-a, x-b]\n").unwrap().headers.is_bound);
    let read = rule(
        "{name: X-Who, description: Who, forward_as: x-user, validation: {pattern: '[a-z]+', max_length: 5}}",
    )
    .unwrap();
    assert!(read.headers.is_bound && read.headers.rules[0].forward_as == "x-user");
    for (text, expected) in [
        ("allowed_headers: [a]\nheader_rules: [b]\n", "header_rules and allowed_headers cannot be combined"),
        ("allowed_headers: [a, A]\n", "must be there once"),
        ("allowed_headers: [x-a, x_a]\n", "must be there once"),
        ("allowed_headers: [a, ~]\n", "must have a value"),
        ("allowed_headers: ['a b']\n", "must be a header name"),
        ("headers: {X-A: b}\nallowed_headers: [x_a]\n", "names must not overlap"),
        ("headers: {X-A: b, x-a: c}\n", "names must not overlap"),
        ("headers: {Host: b}\n", "cannot set header \"host\""),
        ("headers: {X-A: ~}\n", "must have a value"),
        ("allowed_headers: [x-forwarded-for]\n", "cannot set header \"x-forwarded-for\""),
        ("header_rules: [{name: a, description: b}, mcp-x]\n", "cannot set header \"mcp-x\""),
        ("header_rules: [{name: a, description: b, forward_as: c}, c]\n", "names must not overlap"),
        (
            "header_rules: [{name: a, description: b, forward_as: c}, {name: d, description: b, forward_as: c}]\n",
            "names must not overlap",
        ),
        ("header_rules: [{name: a, description: b, forward_as: te}]\n", "cannot set header \"te\""),
        ("allowed_headers: [x-real-ip]\n", "cannot let callers set header \"x-real-ip\""),
        ("allowed_headers: [x_http.method_override]\n", "cannot let callers set header"),
        (
            "header_rules: [{name: a, description: b, forward_as: cf-access-x}]\n",
            "cannot let callers set header",
        ),
        ("header_rules: [{name: a}]\n", "requires description"),
        ("header_rules: [{name: a, description: ''}]\n", "description must have 1 to 1024 bytes"),
        ("header_rules: [{name: a, description: b, validation: {enum: []}}]\n", "enum must have 1 to 64"),
        (
            "header_rules: [{name: a, description: b, validation: {max_length: 8193}}]\n",
            "must be a number from 0 to 8192",
        ),
        (
            "header_rules: [{name: a, description: b, validation: {min_length: 2, max_length: 1}}]\n",
            "must be a number from 0 to 1",
        ),
    ] {
        let error = complaint(headers(text));
        assert!(error.contains(expected), "{text}: {error}");
    }
    let many: Vec<String> = (0..32).map(|number| format!("x-{number}")).collect();
    assert!(headers(&format!("allowed_headers: [{}]\n", many.join(", "))).is_ok());
    assert!(headers(&format!("headers: {{A: b}}\nallowed_headers: [{}]\n", many.join(", "))).is_err());
    assert!(headers(&format!("allowed_headers: [{}]\n", "x".repeat(129))).is_err());
    assert!(complaint(write(BODY, "allowed_headers: [content-type]\n")).contains("cannot set header"));
}

#[test]
fn new_098_credentials_are_the_operators() {
    let rule = |rule: &str| template(&format!("{GET}header_rules: [{rule}]\n"));
    const BOUNDS: &str = "validation: {pattern: 'Bearer [a-z]+', min_length: 8, max_length: 100}";
    for (name, destination) in
        [("authorization", "authorization"), ("x-user-auth", "authorization"), ("X-Api-Key", "x-caller")]
    {
        let rule = rule(&format!(
            "{{name: {name}, forward_as: {destination}, description: a, credential: true, {BOUNDS}}}"
        ));
        assert!(rule.is_ok(), "{name}");
    }
    for wrong in [
        "authorization".to_owned(),
        "x-session-token".to_owned(),
        "{name: authorization, description: a}".to_owned(),
        "{name: x-who, forward_as: cookie, description: a}".to_owned(),
        format!("{{name: x-token, description: a, credential: true, {BOUNDS}}}"),
        format!("{{name: x-who, description: a, credential: true, {BOUNDS}}}"),
        "{name: authorization, description: a, credential: true}".to_owned(),
        "{name: authorization, description: a, credential: true, validation: {pattern: a, max_length: 9}}".to_owned(),
        "{name: authorization, description: a, credential: true, validation: {pattern: a, min_length: 0, max_length: 9}}".to_owned(),
        "{name: authorization, description: a, credential: true, validation: {pattern: a, min_length: 1, max_length: 9, enum: [a]}}".to_owned(),
    ] {
        assert!(rule(&wrong).is_err(), "{wrong}");
    }
    for name in ["Authorization", "x-api-key", "X-Auth-Token", "cookie", "client_secret", "x-password"] {
        assert!(template(&format!("{GET}allowed_headers: [{name}]\n")).is_err(), "{name}");
    }
}

#[test]
fn new_099_bodies_have_a_policy() {
    let with = |line: &str, other: &str| write(&BODY.replace(line, other), "");
    assert!(with("required: true", "required: false").is_ok());
    assert!(with("application/json", "text/plain; charset=utf-8, application/problem+json").is_ok());
    assert!(write("body_policy: {content_types: [text/csv], max_bytes: 102400, required: false, validation: {enum: [a, b]}}\n", "").is_ok());
    assert!(write("body_policy: {content_types: [text/csv], max_bytes: 9, required: false, validation: {pattern: '[a-z,]+'}}\n", "").is_ok());
    for (line, other, expected) in [
        ("  required: true\n", "", "requires required"),
        ("  max_bytes: 1000\n", "", "requires max_bytes"),
        ("max_bytes: 1000", "max_bytes: 102401", "must be a number from 1 to 102400"),
        ("  content_types: [application/json]\n", "", "requires content_types"),
        ("[application/json]", "[]", "must have 1 to 16 entries"),
        ("[application/json]", "[Application/JSON]", "must be a media type"),
        ("[application/json]", "['application/*']", "must be a media type"),
        ("[application/json]", "[json]", "must be a media type"),
        ("[application/json]", "['text/plain;charset=utf-8']", "must be a media type"),
        ("[application/json]", "[\"text/plain\\r\\nX: y\"]", "must be a media type"),
        ("  validation: {json: true}\n", "", "requires validation"),
        ("{json: true}", "{}", "requires one of"),
        ("{json: true}", "{json: false}", "requires one of"),
        ("{json: true}", "{pattern: '[a-z]'}", "requires json: true"),
        ("{json: true}", "{json: true, pattern: 'a.b'}", "pattern has a dot"),
        ("{json: true}", "{json: true, enum: []}", "must have 1 to 64 entries"),
        ("{json: true}", "{json: true, schema: {}}", "unknown key"),
        ("max_bytes: 1000", "max_bytes: 1\n  x: 1", "unknown key"),
    ] {
        let error = complaint(with(line, other));
        assert!(error.contains(expected), "{other}: {error}");
    }
}
