//! Names that two readers could take for one, against a reading in words: cut at NUL, then compared without case.

use super::strict_json::{self as strict, No, Value};
use crate::relay::json;
use crate::relay::names::{self, Ambiguous};

/// Looks for every list of names among the members of a text.
pub fn run(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let expected = match strict::read(data) {
        Ok(expected) => expected,
        Err(No::Json | No::Verdict) => return,
    };
    let (_, Some(members)) = json::object(text).expect("the oracle reads it") else { return };
    compare(&members, &expected, names::ENVELOPE);
    compare(&members, &expected, names::PARAMS);
    compare(&members, &expected, names::COMPLETION);
    compare(&members, &expected, names::REFERENCE);
    compare(&members, &expected, names::SUBSCRIPTION);
    compare(&members, &expected, names::SUBSCRIBED);
    compare(&members, &expected, names::META);
}

fn compare<const N: usize>(members: &[json::Member<'_>], expected: &Value, known: [&'static str; N]) {
    let found = names::find(members, known);
    let mut ambiguous = false;
    for (at, name) in known.into_iter().enumerate() {
        let alike: Vec<_> = expected.members().iter().filter(|(own, _)| could_be(&own.units, name)).collect();
        match alike[..] {
            [] => assert!(found.is_err() || found.unwrap()[at].is_none()),
            [(own, value)] if strict::text(&own.units).as_deref() == Some(name) => {
                if let Ok(found) = found {
                    assert_eq!(found[at].map(|span| span.start..span.end), Some(value.at.clone()));
                    assert_eq!(names::only(members, name), found[at]);
                }
            }
            _ => ambiguous = true,
        }
    }
    assert_eq!(ambiguous, found.is_err(), "{found:?}");
    if let Err(Ambiguous::Twice(name) | Ambiguous::Alike(name)) = found {
        assert!(known.contains(&name));
    }
}

/// Whether a reader that is generous could take the name for this one.
pub fn could_be(units: &[u16], known: &str) -> bool {
    let head = units.split(|unit| *unit == 0).next().unwrap_or_default();
    // Half a pair before the NUL is no letter of any known name.
    let Some(head) = strict::text(head) else { return false };
    let lower = |letter: char| match letter.to_lowercase().collect::<Vec<_>>()[..] {
        // Letters beyond ASCII whose lower case, or whose capital's, is within it.
        _ if letter == '\u{17f}' => 's',
        [one] => one,
        _ => letter,
    };
    head.chars().map(lower).eq(known.chars().map(lower))
}
