//! Targets that look into `policy`: decisions against its plain implementation, and lists without some entries.

#![allow(clippy::as_conversions, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]
#![allow(clippy::string_slice, clippy::unwrap_used)]

use super::lists::List;
use super::plain_tests;
use crate::fuzz::names::could_be;
use crate::fuzz::strict_json::{self as strict, Is, Value};
use crate::relay::names::ENVELOPE;
use crate::relay::payload::Payload;

/// Rules, messages and headers that the input chooses.
pub fn rules(data: &[u8]) {
    plain_tests::compare(data);
}

/// A list of a server, of which only entries with an `a` in their name stay.
pub fn lists(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let Ok(before) = strict::read(data) else { return };
    let kinds = [
        (List::Tools, "tools", "name"),
        (List::Prompts, "prompts", "name"),
        (List::Resources, "resources", "uri"),
        (List::Templates, "resourceTemplates", "uriTemplate"),
    ];
    for (list, member, by) in kinds {
        let keeps =
            |name: Option<std::borrow::Cow<'_, str>>, _: &str| name.is_some_and(|name| name.contains('a'));
        let cuts = list.cuts(text, keeps);
        let Some(entries) = entries(&before, member) else { return assert!(cuts.is_err(), "{member}") };
        let cuts = cuts.unwrap_or_else(|why| panic!("{member}: {why}"));
        let after = Payload::own(text.to_owned()).without(&cuts).parts().concat();
        let tree = strict::read(&after).expect("still JSON");
        let kept: Vec<&Value> = entries.iter().filter(|entry| stays(entry, by)).collect();
        let left = self::entries(&tree, member).expect("still a list");
        assert_eq!(kept.len(), left.len());
        assert!(
            kept.iter()
                .zip(&left)
                .all(|(kept, left)| text.as_bytes()[kept.at.clone()] == after[left.at.clone()])
        );
        // Outside of the list nothing changes.
        let removed: usize = cuts.iter().map(|cut| cut.end - cut.start).sum();
        assert_eq!(after.len() + removed, text.len());
        assert!(cuts.is_empty() == (kept.len() == entries.len()));
    }
}

/// The only member that could be taken for this one, when it is this one.
fn clear<'a>(object: &'a Value, name: &str) -> Result<Option<&'a Value>, ()> {
    let alike: Vec<_> = object.members().iter().filter(|(own, _)| could_be(&own.units, name)).collect();
    match alike[..] {
        [] => Ok(None),
        [(own, value)] if strict::text(&own.units).as_deref() == Some(name) => Ok(Some(value)),
        _ => Err(()),
    }
}

/// The entries; nothing where the answer can be read in two ways, or has no list.
fn entries(tree: &Value, member: &str) -> Option<Vec<Value>> {
    if !matches!(tree.is, Is::Object(_)) || ENVELOPE.iter().any(|name| clear(tree, name).is_err()) {
        return None;
    }
    let Some(result) = clear(tree, "result").ok()? else { return Some(Vec::new()) };
    if !matches!(result.is, Is::Object(_)) {
        return None;
    }
    match clear(result, member).ok()?.map(|list| &list.is) {
        None | Some(Is::Null) => Some(Vec::new()),
        Some(Is::List(items)) => Some(items.clone()),
        _ => None,
    }
}

fn stays(entry: &Value, by: &str) -> bool {
    clear(entry, by).ok().flatten().and_then(Value::text).is_some_and(|name| name.contains('a'))
}
