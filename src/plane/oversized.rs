//! Reader of a poll's body that is larger than what is held: finds the one command's id, token and kind.
//!
//! The plane hands a command out again until it is answered, so one that is too large must be answered too. Its
//! short members are picked out as the bytes pass; nothing else is kept. The first of equal names counts. What is
//! no JSON yields nothing; reading fails only before the bound.

use std::collections::BTreeMap;
use std::mem;

use crate::net::{Error, Reply};

/// How much of a command that is too large is looked through, and how much of it is read at a time.
const LOOKED_THROUGH_BYTES_MAX: usize = 1024 * 1024 * 1024;
const PIECE_BYTES: usize = 16 * 1024;

/// Longest name that is compared, and longest value that is kept, as written.
const NAME_BYTES_MAX: usize = 32;
const VALUE_BYTES_MAX: usize = 32 * 1024;

/// Depth of a command's members: the reply, its list, the command.
const COMMAND_DEPTH: usize = 3;

/// The body of a poll.
pub enum Body {
    /// 204 has none.
    None,
    /// All of it.
    Whole(Vec<u8>),
    /// One command that is too large to be held, and what of it could be read.
    Oversized(Oversized),
}

/// Members of a command that make it answerable, literals by literals; the id of its message is among them.
pub type Oversized = BTreeMap<&'static str, String>;

/// Names of the members that are looked for, and the place of the message's id.
const NAMES: [&str; 5] = ["request_id", "shard_token", "command_type", "channel", "response_timeout"];
const MESSAGE: &str = "jsonrpc";
/// Name of the message's id.
pub(super) const ID: &str = "id";

/// Reads the reply to a poll for one command. Beyond its bound nothing is held any more; what names the command
/// is looked for in all of it, within the deadline of the poll.
pub(super) fn read_one(mut reply: Reply, bytes_max: usize) -> Result<Body, Error> {
    let announced = reply.announced().unwrap_or_default().min(bytes_max);
    let (mut body, mut piece) = (Vec::with_capacity(announced), vec![0; PIECE_BYTES]);
    while body.len() <= bytes_max {
        match reply.read(&mut piece)? {
            0 => return Ok(Body::Whole(body)),
            count => body.extend_from_slice(piece.get(..count).unwrap_or_default()),
        }
    }
    let (mut scanner, mut passed) = (Scanner::default(), body.len());
    let mut is_named = scanner.read(&body);
    drop(body);
    while !is_named && passed < LOOKED_THROUGH_BYTES_MAX {
        // What was found counts, however the rest fails.
        let Ok(count @ 1..) = reply.read(&mut piece) else { break };
        passed += count;
        is_named = scanner.read(piece.get(..count).unwrap_or_default());
    }
    Ok(Body::Oversized(scanner.found))
}

/// What reads the bytes as they pass.
#[derive(Default)]
struct Scanner {
    found: Oversized,
    depth: usize,
    /// Names on the way to where it is, down to the members of a message.
    path: [Vec<u8>; COMMAND_DEPTH + 2],
    /// The string or number that is being read, as far as it is kept.
    token: Vec<u8>,
    cut: bool,
    in_string: bool,
    escaped: bool,
    commands: usize,
}

impl Scanner {
    /// Reads on; true once no more is needed.
    fn read(&mut self, bytes: &[u8]) -> bool {
        bytes.iter().for_each(|byte| self.step(*byte));
        ["request_id", "shard_token", ID].iter().all(|name| self.found.contains_key(name))
    }

    fn step(&mut self, byte: u8) {
        if self.in_string {
            self.keep(byte);
            match byte {
                _ if self.escaped => self.escaped = false,
                b'\\' => self.escaped = true,
                b'"' => self.in_string = false,
                _ => {}
            }
            return;
        }
        match byte {
            b'"' => {
                self.token.clear();
                (self.in_string, self.cut) = (true, false);
                self.keep(byte);
            }
            b':' => {
                // A name longer than any that is looked for is none of them.
                let name = mem::take(&mut self.token);
                if let Some(slot) = self.path.get_mut(self.depth) {
                    *slot = if name.len() <= NAME_BYTES_MAX { name } else { Vec::new() };
                }
            }
            b',' | b'}' | b']' => {
                self.value();
                self.depth = self.depth.saturating_sub(usize::from(byte != b','));
            }
            b'{' | b'[' => {
                self.token.clear();
                self.depth += 1;
                self.commands += usize::from(self.depth == COMMAND_DEPTH);
                if let Some(slot) = self.path.get_mut(self.depth) {
                    slot.clear();
                }
            }
            byte if byte.is_ascii_whitespace() => {}
            _ => self.keep(byte),
        }
    }

    fn keep(&mut self, byte: u8) {
        self.cut |= self.token.len() >= VALUE_BYTES_MAX;
        if !self.cut {
            self.token.push(byte);
        }
    }

    /// A value has ended; one that stands where it is looked for is kept.
    fn value(&mut self) {
        let token = mem::take(&mut self.token);
        let [_, list, item, member, inner] = &self.path;
        // Elements of a list have no names.
        let is_listed = list == b"\"commands\"" && item.is_empty();
        if mem::take(&mut self.cut) || token.is_empty() || self.commands != 1 || !is_listed {
            return;
        }
        let is = |literal: &[u8], name: &str| {
            literal.strip_prefix(b"\"").and_then(|rest| rest.strip_suffix(b"\"")) == Some(name.as_bytes())
        };
        let name = match self.depth {
            COMMAND_DEPTH => NAMES.into_iter().find(|name| is(member, name)),
            4 if is(member, MESSAGE) && is(inner, ID) => Some(ID),
            _ => None,
        };
        if let Some((name, value)) = name.zip(String::from_utf8(token).ok()) {
            self.found.entry(name).or_insert(value);
        }
    }
}

#[cfg(any(test, fuzzing))]
#[path = "../../tests/fuzz/targets/oversized.rs"]
pub(crate) mod fuzz;

#[cfg(test)]
mod tests {
    use super::*;

    fn scan(text: &str) -> Oversized {
        let mut scanner = Scanner::default();
        // In any pieces.
        for piece in text.as_bytes().chunks(7) {
            scanner.read(piece);
        }
        scanner.found
    }

    #[test]
    fn short_members_are_found_wherever_they_stand() {
        let large = format!("[{}{{\"id\":7,\"request_id\":\"no\"}}]", "\"x\\\"]}\",".repeat(10_000));
        for text in [
            format!(
                r#"{{"x":{{"request_id":"no"}},"commands":[{{"request_id" : "r","shard_token":"t\"}}","jsonrpc":{{"params":{large},"id":-1.50,"method":"m"}},"command_type":"jsonrpc"}}]}}"#
            ),
            format!(
                r#"{{"commands":[{{"command_type":"jsonrpc","jsonrpc":{{"id":-1.50,"id":2,"params":{large}}},"shard_token":"t\"}}","request_id":"r"}}]}}"#
            ),
        ] {
            let found = scan(&text);
            assert_eq!(found["request_id"], "\"r\"");
            assert_eq!(found["shard_token"], r#""t\"}""#);
            assert_eq!(found["command_type"], "\"jsonrpc\"");
            assert_eq!(found["id"], "-1.50");
        }
    }

    #[test]
    fn nothing_is_made_of_other_texts() {
        let long = format!(r#"{{"commands":[{{"request_id":"{}","#, "r".repeat(2 * VALUE_BYTES_MAX));
        for text in [
            r#"["request_id":"r"]"#,
            r#"{"commands":{"request_id":"r"}}"#,
            r#"{"other":[{"request_id":"r"}]}"#,
            r#"{"commands":[[{"request_id":"r"}]]}"#,
            r#"{"commands":{"x":{"request_id":"r"}}}"#,
            r#"{"commands":[{"request_id":{"request_id":"r"}}]}"#,
            r#"{"commands":[{}, {"request_id":"r"}]}"#,
            "}}}}]]]]\"\\",
            &long,
        ] {
            assert_eq!(scan(text), Oversized::default(), "{text}");
        }
    }
}
