//! Names of members that two programs could read differently.
//!
//! What is checked here and what a server reads must be the same thing, but readers of JSON differ: of
//! two members with one name some take the first and some the last, Go's `encoding/json` and others
//! compare names without case, a few end a name at NUL. So a name that counts may stand there once, and
//! nothing may look like it to such a reader. Other names are nobody's business here.

use std::fmt;

use super::json::{self, Member, Span};

/// Members that decide what a message is.
pub const ENVELOPE: [&str; 6] = ["jsonrpc", "id", "method", "params", "result", "error"];

/// Members of `params` that somebody between caller and tool judges or replaces.
pub const PARAMS: [&str; 6] = ["name", "uri", "_meta", "progressToken", "requestId", "arguments"];

/// Member of a completion's `params` that names what is completed.
pub const COMPLETION: [&str; 1] = ["ref"];

/// Members of that: what it is, and its name or URI.
pub const REFERENCE: [&str; 3] = ["type", "name", "uri"];

/// Member of a subscription's `params` that says what is subscribed to.
pub const SUBSCRIPTION: [&str; 1] = ["notifications"];

/// Member of that: the URIs of resources.
pub const SUBSCRIBED: [&str; 1] = ["resourceSubscriptions"];

/// Members of `_meta` that are replaced.
pub const META: [&str; 2] = ["progressToken", "io.modelcontextprotocol/subscriptionId"];

/// A name that readers could take in two ways.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ambiguous {
    /// It occurs twice.
    Twice(&'static str),
    /// Another one differs from it only to some readers.
    Alike(&'static str),
}

impl Ambiguous {
    /// Whether it is a member of the envelope, where it may be the id that an answer would need.
    pub fn is_in_envelope(self) -> bool {
        let (Ambiguous::Twice(name) | Ambiguous::Alike(name)) = self;
        ENVELOPE.contains(&name)
    }
}

impl std::error::Error for Ambiguous {}

impl fmt::Display for Ambiguous {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Ambiguous::Twice(name) => write!(f, "member \"{name}\" occurs twice"),
            Ambiguous::Alike(name) => write!(f, "a member could be read as \"{name}\" and is not"),
        }
    }
}

/// Finds the members of these names, in their order. Names are compared after unescaping, or
/// `"i\u0064"` would be a second id that only the server sees.
pub fn find<const N: usize>(
    members: &[Member<'_>],
    names: [&'static str; N],
) -> Result<[Option<Span>; N], Ambiguous> {
    let mut found = [None; N];
    for member in members {
        for (name, slot) in names.into_iter().zip(found.iter_mut()) {
            if member.name == name {
                if slot.replace(member.value).is_some() {
                    return Err(Ambiguous::Twice(name));
                }
            } else if folds_to(&member.name, name) {
                return Err(Ambiguous::Alike(name));
            }
        }
    }
    Ok(found)
}

/// The member of this name, when there is exactly one: of two, nobody can say which a reader takes.
pub fn only(members: &[Member<'_>], name: &str) -> Option<Span> {
    json::only(members, name).ok().flatten()
}

/// Whether a reader that is generous with names takes `name` for `known`. No folded name is longer than
/// it was, so most names are told apart by their length or first letter.
fn folds_to(name: &str, known: &str) -> bool {
    let read = name.chars().take_while(|letter| *letter != '\0').map(fold);
    name.len() >= known.len() && read.eq(known.chars().map(fold))
}

/// A letter without its case. Two letters beyond ASCII have a lower case within it: the long s, and the
/// sign of the kelvin.
fn fold(letter: char) -> char {
    match letter {
        '\u{17f}' => 's',
        '\u{212a}' => 'k',
        _ => letter.to_ascii_lowercase(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_fold_are_found() {
        for (name, known) in [
            ("ID", "id"),
            ("Method", "method"),
            ("param\u{17f}", "params"),
            ("re\u{17f}ult", "result"),
            ("id\0", "id"),
            ("Id\0anything", "id"),
            ("progressTo\u{212a}en", "progressToken"),
            ("progresstoken", "progressToken"),
            ("REQUESTID", "requestId"),
        ] {
            assert!(folds_to(name, known), "{name:?}");
        }
        for (name, known) in
            [("i", "id"), ("idx", "id"), ("\0id", "id"), ("_id", "id"), ("íd", "id"), ("", "id")]
        {
            assert!(!folds_to(name, known), "{name:?}");
        }
    }

    #[test]
    fn of_the_known_names_each_stands_there_once_and_exactly() {
        let read = |text: &str| {
            let members = json::members(text, json::value(text).unwrap()).unwrap().unwrap();
            find(&members, ["id", "_meta"])
                .map(|found| found.map(|span| span.map(|span| span.of(text).to_owned())))
        };
        assert_eq!(read(r#"{"x":0,"X":0,"\u0069d":7}"#), Ok([Some("7".into()), None]));
        assert_eq!(read(r#"{"id":1,"i\u0064":2}"#), Err(Ambiguous::Twice("id")));
        assert_eq!(read(r#"{"Id":1}"#), Err(Ambiguous::Alike("id")));
        assert_eq!(read(r#"{"id":1,"_META":2}"#), Err(Ambiguous::Alike("_meta")));
        // Half a surrogate pair behind a NUL hides no name.
        assert_eq!(read(r#"{"i\u0064\u0000\ud800":1}"#), Err(Ambiguous::Alike("id")));
        assert_eq!(read(r#"{"id\ud800":1}"#), Ok([None, None]));
    }
}
