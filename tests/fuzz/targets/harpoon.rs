//! Targets that look into `harpoon`: calls of templates, and the strings of an answer in which URLs are named.

#![allow(clippy::as_conversions, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]
#![allow(clippy::string_slice, clippy::unwrap_used)]

use std::sync::OnceLock;

use serde_json::{Map, Value};

use super::decide::decide;
use super::given::Given;
use crate::config::Template;
use crate::fuzz::strict_json::{self as strict, Is};
use crate::harpoon::strings;
use crate::relay::tree;

/// For reading and for writing, with every kind of place that a caller may fill.
const TEMPLATES: [&str; 2] = [
    "\
version: 1
origin: https://api.internal:8443
method: GET
path_template: /v1/orders/{order}/lines
query: {page: '{page}', fixed: a}
parameters:
  order: {type: string, required: true, pattern: '[A-Z]{2}-[0-9]{1,6}', max_length: 9}
  page: {type: string, required: true, pattern: '[a-z0-9._~-]{1,8}', max_length: 8}
",
    "\
version: 1
origin: https://[fd00::1]:1
method: PUT
path_template: /things/{name}
parameters:
  name: {type: string, required: true, pattern: '[A-Za-z0-9._~-]+', max_length: 20}
body_policy:
  content_types: [application/json]
  max_bytes: 100
  required: true
  validation: {json: true}
",
];

fn templates() -> &'static Vec<Template> {
    static READ: OnceLock<Vec<Template>> = OnceLock::new();
    READ.get_or_init(|| TEMPLATES.map(|text| crate::config::fuzz::template(text).expect("a template")).into())
}

/// The arguments of a call: whatever a caller sends, the request leads where the template says.
pub fn template(data: &[u8]) {
    let Ok(Value::Object(arguments)) = tree::read(data) else { return };
    let Some(given) = Given::read(&arguments, 1000) else { return };
    for (template, operation) in templates().iter().zip([None, Some("put")]) {
        let Ok((uri, headers)) = decide(template, operation, &given) else { continue };
        let text = uri.to_string();
        assert_eq!(crate::config::Origin::of(&uri).as_ref(), Some(&template.route.origin), "{text}");
        assert_eq!(text, expected(operation.is_some(), given.parameters.unwrap()), "{text}");
        let mut parts = uri.path().split('/').skip(1);
        assert!(!parts.any(|part| matches!(part, "." | ".." | "")), "{text}");
        // These templates take no header of the caller but the kind of a body.
        assert_eq!(headers.len(), usize::from(given.content_type.is_some()));
        if let Some(body) = given.body {
            assert!(body.len() <= 100 && serde_json::from_str::<serde::de::IgnoredAny>(body).is_ok());
        }
        assert_eq!(given.body.is_some(), operation.is_some());
    }
}

/// The URL that the values make: unreserved letters alone, which stand for themselves.
fn expected(writes: bool, parameters: &Map<String, Value>) -> String {
    let value = |name: &str| {
        let value = parameters[name].as_str().unwrap();
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._~-".contains(&byte);
        assert!(!value.is_empty() && value.bytes().all(plain), "{value}");
        value.to_owned()
    };
    match writes {
        true => format!("https://[fd00::1]:1/things/{}", value("name")),
        false => {
            format!(
                "https://api.internal:8443/v1/orders/{}/lines?fixed=a&page={}",
                value("order"),
                value("page")
            )
        }
    }
}

/// Every string that is a value, with the name that it stands under.
pub fn strings_of_answers(data: &[u8]) {
    let (Ok(tree), Ok(text)) = (strict::read(data), std::str::from_utf8(data)) else { return };
    let found = strings::strings(text);
    let found: Vec<_> = found.iter().map(|one| (one.name.of(text), one.value.of(text))).collect();
    let mut expected = Vec::new();
    collect(&tree, text, "", &mut expected);
    assert_eq!(found, expected);
}

fn collect<'a>(value: &strict::Value, text: &'a str, name: &'a str, into: &mut Vec<(&'a str, &'a str)>) {
    match &value.is {
        Is::Text(_) => into.push((name, &text[value.at.clone()])),
        Is::List(items) => items.iter().for_each(|item| collect(item, text, name, into)),
        Is::Object(members) => {
            members.iter().for_each(|(name, value)| collect(value, text, &text[name.at.clone()], into));
        }
        _ => {}
    }
}
