//! Trace contexts of commands: what is put into a request, and that nothing else of it changes.

use super::strict_json::{self as strict, Value};
use crate::relay::json;
use crate::relay::message::{Kind, Message};
use crate::relay::trace::TraceContext;

/// Lines: a command with a context, and the request that it is for.
pub fn run(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let (command, request) = text.split_once('\n').unwrap_or((text, ""));
    let Ok((_, Some(members))) = json::object(command) else { return };
    let Some(context) = TraceContext::of_command(command, &members) else { return };
    let tree = strict::read(command.as_bytes()).expect("it was read");
    let given = tree.only("trace_context").expect("one context");
    let parent = given.only("traceparent").and_then(Value::text).expect("a parent");
    let parts: Vec<&str> = parent.split('-').collect();
    assert_eq!(parts.iter().map(|part| part.len()).collect::<Vec<_>>(), [2, 32, 16, 2]);
    assert!(parts.iter().all(|part| part.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))));
    assert_eq!((parts[0], parts[1]), ("00", context.id()));
    let Ok(message) = Message::parse(request.to_owned()) else { return };
    let Some(injected) = context.inject(&message) else { return };
    assert_eq!(message.kind(), Kind::Request);
    let before = strict::read(request.as_bytes()).expect("it was read");
    let after = strict::read(injected.text().as_bytes()).expect("still JSON");
    let meta = after.only("params").and_then(|params| params.only("_meta")).expect("one _meta");
    assert_eq!(meta.only("traceparent").and_then(Value::text), Some(parent));
    if let Some(state) = meta.only("tracestate").and_then(Value::text) {
        let given = given.only("tracestate").and_then(Value::text).unwrap_or_default();
        let items = |state: &str| {
            let items = state.split(',').map(|item| item.trim_matches([' ', '\t']).to_owned());
            items.filter(|item| !item.is_empty()).collect::<Vec<_>>()
        };
        assert_eq!(items(&state), items(&given));
    }
    // Without what was put in, it is the request that it was.
    assert_eq!(plain(&after, injected.text(), false), plain(&before, request, true));
    assert_eq!((injected.id(), injected.method()), (message.id(), message.method()));
    assert_eq!(context.inject(&injected), None, "twice");
}

/// Everything but the context, as lines: a path and what stands there. Empty objects on the way are left out.
fn plain(value: &Value, text: &str, is_first: bool) -> Vec<String> {
    let mut lines = Vec::new();
    for (name, value) in value.members() {
        let is = |wanted: &str| strict::text(&name.units).as_deref() == Some(wanted);
        if !is("params") {
            lines.push(format!("{:?} {}", name.units, &text[value.at.clone()]));
            continue;
        }
        for (name, value) in value.members() {
            if strict::text(&name.units).as_deref() != Some("_meta") {
                lines.push(format!("params {:?} {}", name.units, &text[value.at.clone()]));
                continue;
            }
            let own = |name: &strict::Name| {
                let name = strict::text(&name.units);
                !is_first && matches!(name.as_deref(), Some("traceparent" | "tracestate"))
            };
            let inner = value.members().iter().filter(|(name, _)| !own(name));
            lines.extend(
                inner.map(|(name, value)| format!("_meta {:?} {}", name.units, &text[value.at.clone()])),
            );
        }
    }
    lines
}
