//! JSON-RPC messages: what one is, against a naive reading of its tree, and what replacing a span leaves as it was.

use super::names::could_be;
use super::strict_json::{self as strict, Is, No, Value};
use crate::relay::json::Span;
use crate::relay::message::{Kind, Malformed, Message, Places, same_id};
use crate::relay::names;
use crate::relay::payload::Payload;
use crate::relay::revision::CLAIM;

/// Reads a message, and writes it under another id.
pub fn run(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let read = Message::parse(text.to_owned());
    let tree = match strict::read(data) {
        Err(No::Verdict) => return,
        Err(No::Json) => return assert!(matches!(read, Err((Malformed::Json(_), _)))),
        Ok(tree) => tree,
    };
    match (read, expected(text, &tree)) {
        (Ok(message), Some(expected)) => {
            alike(&message, &expected, text);
            rewritten(&message, &tree, text);
        }
        (Err((_, back)), None) => assert_eq!(back, text),
        (read, expected) => panic!("read {read:?}, expected {expected:?}"),
    }
}

/// What the naive reader sees.
#[derive(Debug)]
struct Expected {
    kind: Kind,
    id: Option<Value>,
    method: Option<String>,
    has_outcome: bool,
    is_error: bool,
    is_plain_error: bool,
    places: [Option<Value>; 8],
}

/// The only member of each name; `None` when a reader could take another for it.
fn find<'a, const N: usize>(
    object: Option<&'a Value>,
    known: [&'static str; N],
) -> Option<[Option<&'a Value>; N]> {
    let mut found = [None; N];
    let members = object.map(Value::members).unwrap_or_default();
    for (slot, name) in found.iter_mut().zip(known) {
        let alike: Vec<_> = members.iter().filter(|(own, _)| could_be(&own.units, name)).collect();
        match alike[..] {
            [] => {}
            [(own, value)] if strict::text(&own.units).as_deref() == Some(name) => *slot = Some(value),
            _ => return None,
        }
    }
    Some(found)
}

/// The text of a method: where there is none, as it is written.
fn method_text(text: &str, value: &Value) -> Option<String> {
    let Is::Text(units) = &value.is else { return None };
    Some(strict::text(units).unwrap_or_else(|| text[value.at.start + 1..value.at.end - 1].to_owned()))
}

fn expected(text: &str, tree: &Value) -> Option<Expected> {
    if !matches!(tree.is, Is::Object(_)) {
        return None;
    }
    let [version, id, method, params, result, error] = find(Some(tree), names::ENVELOPE)?;
    if version?.text()? != "2.0" {
        return None;
    }
    let id = match id.map(|id| &id.is) {
        None | Some(Is::Null) => None,
        Some(Is::Text(_) | Is::Number) => id,
        _ => return None,
    };
    let method = match method {
        Some(method) => Some(method_text(text, method)?),
        None => None,
    };
    let outcome = result.or(error);
    let kind = match (method.is_some(), id.is_some(), outcome.is_some()) {
        (true, true, false) => Kind::Request,
        (true, false, false) => Kind::Notification,
        (false, true, _) | (false, false, true) => Kind::Response,
        _ => return None,
    };
    let [mut name, mut uri, meta, progress, cancelled, arguments] = find(params, names::PARAMS)?;
    let mut kind_of_reference = None;
    if method.as_deref() == Some("completion/complete") {
        let [whole] = find(params, names::COMPLETION)?;
        [kind_of_reference, name, uri] = find(whole, names::REFERENCE)?;
    }
    let [token, subscription] = find(meta, names::META)?;
    let places = [name, uri, kind_of_reference, arguments, token, progress, cancelled, subscription];
    let error = error.filter(|_| result.is_none());
    let is_plain = |error: &Value| {
        let code = text[error.only("code")?.at.clone()].parse::<i64>();
        matches!(error.only("message")?.is, Is::Text(_)).then_some(code.ok()?)
    };
    Some(Expected {
        kind,
        id: id.cloned(),
        method,
        has_outcome: outcome.is_some(),
        is_error: error.is_some(),
        is_plain_error: error.is_some_and(|error| is_plain(error).is_some()),
        places: places.map(|place| place.cloned()),
    })
}

fn alike(message: &Message, expected: &Expected, text: &str) {
    assert_eq!(message.text(), text);
    assert_eq!(message.kind(), expected.kind);
    assert_eq!(message.method(), expected.method.as_deref());
    assert_eq!(message.id(), expected.id.as_ref().map(|id| &text[id.at.clone()]));
    assert_eq!(message.has_outcome(), expected.has_outcome);
    assert_eq!(message.is_error(), expected.is_error);
    assert_eq!(message.is_plain_error(), expected.is_plain_error);
    let Places { name, uri, reference, arguments, token, progress, cancelled, subscription, .. } =
        *message.places();
    let places = [name, uri, reference, arguments, token, progress, cancelled, subscription];
    let wanted = expected.places.each_ref();
    let wanted =
        wanted.map(|value| value.as_ref().map(|value| Span { start: value.at.start, end: value.at.end }));
    assert_eq!(places, wanted);
    if let Some(id) = message.id() {
        assert!(message.answers(id) == same_id(id, id) && same_id(id, id));
    }
    // Asked of some messages only; none of them may fail in another way than by its error.
    let _ = (message.result_subscription(), message.subscribed(), message.param("uri"));
    assert!(
        message.claim().is_none() || strict::read(text.as_bytes()).unwrap().only("params").is_some(),
        "{CLAIM}"
    );
}

/// Under another id everything but the id is as it was, and under its own the text.
fn rewritten(message: &Message, tree: &Value, text: &str) {
    for id in ["7", "\"a\\u0022b\"", "-1.5e3"] {
        let payload = Payload::received(text.to_owned(), message.renamed(id), None);
        let written = payload.parts().concat();
        assert_eq!(payload.bytes(), written.len());
        let after = strict::read(&written).expect("still JSON");
        assert_eq!(after.only("id").map(|own| &written[own.at.clone()]), Some(id.as_bytes()));
        assert!(others(tree).len() == others(&after).len());
        for ((name, before), (other, after)) in others(tree).into_iter().zip(others(&after)) {
            assert_eq!(name, other);
            assert!(before.same(text.as_bytes(), after, &written));
        }
        let written = String::from_utf8(written).unwrap();
        let again = Message::parse(written).expect("still a message");
        assert_eq!((again.id(), again.renamed(id)), (Some(id), None));
        assert_eq!(again.method(), message.method());
    }
    if let Some(id) = message.id() {
        assert_eq!(message.renamed(id), None);
    }
}

/// All members but the id.
fn others(tree: &Value) -> Vec<(&[u16], &Value)> {
    let id: Vec<u16> = "id".encode_utf16().collect();
    let members = tree.members().iter().map(|(name, value)| (name.units.as_slice(), value));
    members.filter(|(name, _)| *name != id).collect()
}
