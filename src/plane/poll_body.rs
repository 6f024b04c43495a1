//! The body of a poll: which commands it holds, each still as text.
//!
//! It fails as a whole when the envelope is not what it should be; what stands in a command is its own
//! matter, so one bad command costs no other.

use crate::relay::json::{self, Span};

/// Most commands of one poll, forty times what is ever asked for. A plane that ignores limits is served,
/// one that floods is not.
const COMMANDS_MAX: usize = 1024;

/// Splits a poll's body into commands. Fails as a whole when the envelope is not what it should be, and
/// then runs none of them: half a body may hold half a command. Nothing to do is spelt in many ways.
pub fn commands(body: &[u8]) -> Result<Vec<&str>, String> {
    let text = std::str::from_utf8(body).map_err(|error| error.to_string())?;
    let text = text.trim_matches([' ', '\t', '\n', '\r']);
    if !text.starts_with('{') {
        return if text == "null" { Ok(Vec::new()) } else { Err("no object".into()) };
    }
    let fault = |fault: json::Fault| fault.to_string();
    let whole = Span { start: 0, end: text.len() };
    let [members, commands] = json::listed(text, whole, &["commands"]).map_err(fault)?;
    match json::only(&members, "commands").map_err(fault)?.map(|list| list.of(text)) {
        None | Some("null") => return Ok(Vec::new()),
        Some(list) if list.starts_with('[') => {}
        Some(_) => return Err("the commands are no list".into()),
    }
    if commands.len() > COMMANDS_MAX {
        return Err(format!("more than {COMMANDS_MAX} commands"));
    }
    Ok(commands.iter().map(|command| command.value.of(text)).collect())
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
