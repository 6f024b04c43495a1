//! The body of a poll: which commands it holds, each still as text.
//!
//! It fails as a whole when the envelope is not what it should be; what stands in a command is its own
//! matter, so one bad command costs no other.

use std::marker::PhantomData;

use serde::de::{Error as _, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

/// Most commands of one poll, forty times what is ever asked for. A plane that ignores limits is served,
/// one that floods is not.
const COMMANDS_MAX: usize = 1024;

/// A poll's body, its commands still as text.
#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(borrow, default)]
    commands: Option<Batch<'a>>,
}

/// The commands of one poll. Counted while they are read: sixteen million zeros would fit into a body.
struct Batch<'a>(Vec<&'a RawValue>);

impl<'de: 'a, 'a> Deserialize<'de> for Batch<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Batch<'a>, D::Error> {
        deserializer.deserialize_seq(BatchVisitor(PhantomData))
    }
}

struct BatchVisitor<'a>(PhantomData<&'a ()>);

impl<'de: 'a, 'a> Visitor<'de> for BatchVisitor<'a> {
    type Value = Batch<'a>;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "at most {COMMANDS_MAX} commands")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Batch<'a>, A::Error> {
        let mut batch = Vec::new();
        while let Some(item) = items.next_element()? {
            if batch.len() == COMMANDS_MAX {
                return Err(A::Error::invalid_length(COMMANDS_MAX + 1, &self));
            }
            batch.push(item);
        }
        Ok(Batch(batch))
    }
}

/// Splits a poll's body into commands. Fails as a whole when the envelope is not what it should be, and
/// then runs none of them: half a body may hold half a command. Nothing to do is spelt in many ways.
pub fn commands(body: &[u8]) -> Result<Vec<&RawValue>, serde_json::Error> {
    // The derived decoder would take an array for the members in their order; the contract has objects.
    if body.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'[') {
        return Err(serde::de::Error::custom("an array, not an object"));
    }
    let envelope: Option<Envelope<'_>> = serde_json::from_slice(body)?;
    Ok(envelope.and_then(|envelope| envelope.commands).map(|batch| batch.0).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cp_037_054_envelopes() {
        for empty in ["{}", "null", r#"{"commands":null}"#, r#"{"commands":[]}"#, r#"{"x":1}"#] {
            assert!(commands(empty.as_bytes()).unwrap().is_empty(), "{empty}");
        }
        for bad in ["", "[]", r#"{"commands":{}}"#, "{} x", "{", r#"{"commands":[}"#, "\"a\""] {
            assert!(commands(bad.as_bytes()).is_err(), "{bad}");
        }
        let body = format!(r#"{{"commands":[1,{}]}}"#, "[".repeat(50_000) + &"]".repeat(50_000));
        assert_eq!(commands(body.as_bytes()).unwrap().len(), 2, "depth of a command is its own matter");
    }
}
