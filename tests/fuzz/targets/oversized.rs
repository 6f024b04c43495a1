//! What is picked out of a poll that is too large, against a tree of the same text; and in any pieces.

#![allow(clippy::as_conversions, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]
#![allow(clippy::string_slice, clippy::unwrap_used)]

use super::{ID, MESSAGE, NAMES, Oversized, Scanner, VALUE_BYTES_MAX};
use crate::fuzz::strict_json::{self as strict, Is, Value};

fn scan(bytes: &[u8], piece: usize) -> Oversized {
    let mut scanner = Scanner::default();
    bytes.chunks(piece).for_each(|piece| {
        scanner.read(piece);
    });
    scanner.found
}

/// The first byte says how small the pieces are.
pub fn run(data: &[u8]) {
    let (piece, text) = data.split_first().map_or((1, data), |(first, rest)| (1 + usize::from(*first), rest));
    let found = scan(text, piece);
    assert_eq!(found, scan(text, usize::MAX));
    let (Ok(tree), Ok(text)) = (strict::read(text), std::str::from_utf8(text)) else { return };
    let lists = members(text, &tree, "commands");
    let commands = lists.iter().filter_map(|list| match &list.is {
        Is::List(items) => items.first(),
        _ => None,
    });
    let commands: Vec<&Value> = commands.collect();
    for (name, value) in &found {
        let named = commands.iter().any(|command| values(text, command, name).contains(&value.as_str()));
        assert!(named, "{name}: {value}");
    }
    // Of a poll that is nothing but one command, everything is found that is short.
    let alone = tree.members().len() == 1 && matches!(commands[..], [Value { is: Is::Object(_), .. }]);
    for name in NAMES.into_iter().chain([ID]).filter(|_| alone) {
        let wanted = values(text, commands[0], name).into_iter().find(|value| value.len() <= VALUE_BYTES_MAX);
        let few = matches!(&lists[0].is, Is::List(items) if items.len() == 1);
        assert!(!few || wanted == found.get(name).map(String::as_str), "{name}: {wanted:?} {found:?}");
    }
}

/// The members whose name is written like that.
fn members<'a>(text: &str, object: &'a Value, name: &str) -> Vec<&'a Value> {
    let written = format!("\"{name}\"");
    let named = object.members().iter().filter(|(own, _)| text[own.at.clone()] == written);
    named.map(|(_, value)| value).collect()
}

/// What a command says under this name, as it is written, where that is neither a list nor an object.
fn values<'a>(text: &'a str, command: &Value, name: &str) -> Vec<&'a str> {
    let found = match name == ID {
        true => members(text, command, MESSAGE)
            .into_iter()
            .flat_map(|message| members(text, message, ID))
            .collect(),
        false => members(text, command, name),
    };
    let plain = found.into_iter().filter(|value| !matches!(value.is, Is::List(_) | Is::Object(_)));
    plain.map(|value| &text[value.at.clone()]).collect()
}
