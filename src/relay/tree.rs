//! Trees of JSON texts that strangers wrote.
//!
//! serde_json hands its raw values on as objects with one name of its own, and whoever reads a `Value` takes such an
//! object for them, also one that came from outside: the string in it is read as JSON, and its depth is counted
//! anew. What stands there would be another value than everybody else reads, and a few kilobytes could take more
//! stack than a thread has. Here an object is an object, and the depth of the whole text is bounded by the parser.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

/// Reads a text. Of members with one name the last one counts.
pub fn read(text: &[u8]) -> serde_json::Result<Value> {
    serde_json::from_slice(text).map(|Tree(value)| value)
}

struct Tree(Value);

impl<'de> Deserialize<'de> for Tree {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Tree, D::Error> {
        deserializer.deserialize_any(Grow).map(Tree)
    }
}

struct Grow;

macro_rules! leaves {
    ($($visit:ident($kind:ty))*) => {
        $(fn $visit<E>(self, value: $kind) -> Result<Value, E> { Ok(value.into()) })*
    };
}

impl<'de> Visitor<'de> for Grow {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    leaves! { visit_bool(bool) visit_u64(u64) visit_i64(i64) visit_f64(f64) visit_str(&str) }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(Tree(value)) = seq.next_element()? {
            list.push(value);
        }
        Ok(list.into())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut members = Map::new();
        while let Some((name, Tree(value))) = map.next_entry::<String, Tree>()? {
            members.insert(name, value);
        }
        Ok(members.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The name that serde_json gives to its raw values.
    const RAW: &str = "$serde_json::private::RawValue";

    #[test]
    fn a_tree_is_what_stands_there() {
        for text in [
            r#"{"a":[1,-2,2.5,1e400,"\u00e4\ud83d\ude00",true,null,{}],"b":{"c":[[]]},"a":0}"#,
            r#"{"a":[18446744073709551615,-9223372036854775808,1e10,-0,0.1],"b":"\""}"#,
            "[",
            "7 7",
            r#""\ud800""#,
        ] {
            let (own, known) = (read(text.as_bytes()), serde_json::from_str::<Value>(text));
            assert_eq!(own.as_ref().ok(), known.as_ref().ok(), "{text}");
        }
        let raw = Value::Object(Map::from_iter([(RAW.to_owned(), "{\"name\":1}".into())]));
        assert_eq!(read(raw.to_string().as_bytes()).unwrap(), raw);
    }

    #[test]
    fn no_text_is_deeper_than_the_parser_allows() {
        let mut text = String::from("1");
        for _ in 0..12 {
            let raw = format!("{{\"{RAW}\":{}}}", Value::from(text));
            text = format!("{}{raw}{}", "[".repeat(120), "]".repeat(120));
        }
        assert!(text.len() < 64 * 1024, "{}", text.len());
        // As much stack as a worker has.
        let reading = std::thread::Builder::new().stack_size(256 * 1024);
        assert!(reading.spawn(move || read(text.as_bytes()).is_ok()).unwrap().join().unwrap());
    }
}
