//! Text of others as it is shown: bounded, harmless, as JSON the same text, and without what is secret.

use super::strict_json::{self as strict, Is};
use crate::config::Secret;
use crate::ops::redact::Redactor;
use crate::text;

const SECRET: &str = "p&ss w\u{f6}rd/01";

/// Shows a text in every way that there is.
pub fn run(data: &[u8]) {
    let given = String::from_utf8_lossy(data);
    let mut out = String::new();
    text::json(&mut out, &given);
    let tree = strict::read(out.as_bytes()).expect("JSON");
    assert!(matches!(&tree.is, Is::Text(units) if strict::text(units).as_deref() == Some(&given)));
    assert!(!out.contains(text::must_escape));
    for limit in [3, 17, 200, usize::MAX] {
        let shown = text::bounded(&given, limit);
        assert!(shown.len() <= limit && !shown.contains(text::must_escape), "{shown}");
        let head = text::head(&given, limit);
        assert!(given.starts_with(head) && head.len() <= limit && head.len() + 4 > limit.min(given.len()));
    }
    let members = text::members([("a", &given), ("b", "")]);
    let tree = strict::read(format!("{{{members}}}").as_bytes()).expect("an object");
    assert_eq!(tree.only("a").and_then(strict::Value::text).as_deref(), Some(&*given));
    let redactor = Redactor::new(vec![Secret::new(SECRET.into())]);
    let cleaned = redactor.clean(&given);
    assert!(!cleaned.contains(SECRET), "{cleaned}");
}
