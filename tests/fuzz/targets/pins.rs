//! Pins: definitions of tools in their one spelling, and the file of accepted tools, written and read again.

#![allow(clippy::as_conversions, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]
#![allow(clippy::string_slice, clippy::unwrap_used)]

use super::{Channel, Pins, VERSION};
use crate::crypto;
use crate::fuzz::strict_json::{self as strict, Is, Value};
use crate::pins::Tool;

/// Deepest nesting of a definition.
const DEPTH_MAX: usize = 64;

/// Reads a pin file, or a definition.
pub fn run(data: &[u8]) {
    if let Ok(pins) = Pins::parse(data) {
        rewritten(&pins);
    }
    let Ok(text) = std::str::from_utf8(data) else { return };
    let read = Tool::read(text);
    let tree = match strict::read(text.trim().as_bytes()) {
        Err(strict::No::Verdict) => return,
        Err(strict::No::Json) => return assert!(read.is_err()),
        Ok(tree) => tree,
    };
    let text = text.trim();
    let spelt = matches!(tree.is, Is::Object(_)).then(|| spelt(&tree, text)).flatten();
    let name = tree.only("name").and_then(Value::text).filter(|name| !name.is_empty() && name.len() <= 1024);
    match (read, spelt.filter(|_| tree.depth() <= DEPTH_MAX)) {
        (Ok(tool), Some(spelt)) => {
            assert_eq!(Some(&tool.name), name.as_ref());
            assert_eq!(tool.sha256, crypto::sha256_hex(spelt.as_bytes()));
            assert_eq!(Tool::read(&spelt).as_ref(), Ok(&tool));
            rewritten(&Pins {
                version: VERSION,
                channels: vec![Channel { channel: "main".into(), tools: vec![tool] }],
            });
        }
        (Ok(_), None) => panic!("{text}"),
        (Err(_), Some(_)) => assert!(name.is_none(), "{text}"),
        (Err(_), None) => {}
    }
}

/// A value in its one spelling: sorted, without blanks, strings as `serde_json` writes them.
fn spelt(value: &Value, text: &str) -> Option<String> {
    let literal = |units: &[u16]| Some(serde_json::Value::from(strict::text(units)?).to_string());
    Some(match &value.is {
        Is::Text(units) => literal(units)?,
        Is::List(items) => {
            let items = items.iter().map(|item| spelt(item, text)).collect::<Option<Vec<_>>>()?;
            format!("[{}]", items.join(","))
        }
        Is::Object(members) => {
            let mut sorted = std::collections::BTreeMap::new();
            for (name, value) in members {
                let member = format!("{}:{}", literal(&name.units)?, spelt(value, text)?);
                if sorted.insert(strict::text(&name.units)?, member).is_some() {
                    return None;
                }
            }
            format!("{{{}}}", sorted.into_values().collect::<Vec<_>>().join(","))
        }
        _ => text[value.at.clone()].to_owned(),
    })
}

#[cfg(feature = "operator")]
fn rewritten(pins: &Pins) {
    let text = pins.text();
    assert_eq!(Pins::parse(text.as_bytes()).as_ref(), Ok(pins), "{text}");
}

#[cfg(not(feature = "operator"))]
fn rewritten(pins: &Pins) {
    assert_eq!(pins, pins);
}
