//! String values of a JSON text and where they stand, so that single ones can be replaced.
//!
//! The text is walked, not read into a tree: what is not replaced stays as it is written. It cannot fail.

use crate::relay::json::{self, Span};

/// A string value, and under which name it stands.
#[derive(Clone, Copy)]
pub(super) struct Text {
    /// The name's literal, for elements of arrays that of their array; empty where there is none.
    pub(super) name: Span,
    /// The value's literal, quotes included.
    pub(super) value: Span,
}

/// Lists all string values of a text that [`json::value`] has accepted, however deep, in their order. It walks
/// without recursion; it takes as much memory as there are strings, so the text should be bounded.
pub(super) fn strings(text: &str) -> Vec<Text> {
    let mut found = Vec::new();
    // What is open around the present place: whether it is an object, and the name that it stands under.
    let mut open: Vec<(bool, Span)> = Vec::new();
    let mut name = Span { start: 0, end: 0 };
    let mut names_next = false;
    let mut bytes = text.bytes().enumerate();
    while let Some((start, byte)) = bytes.next() {
        match byte {
            b'"' => {
                let string = Span { start, end: json::end_of_string(&mut bytes) };
                match names_next {
                    true => name = string,
                    false => found.push(Text { name, value: string }),
                }
                names_next = false;
            }
            b'{' | b'[' => {
                names_next = byte == b'{';
                open.push((names_next, name));
            }
            b'}' | b']' => (_, name) = open.pop().unwrap_or((false, name)),
            b',' => names_next = open.last().is_some_and(|(is_object, _)| *is_object),
            _ => {}
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_stand_under_the_name_of_their_object() {
        let text = r#"["a",{"k":"b","n":["c",{"m":{}, "x\"":"d\\"},"e"],"o":1},"f",{"":[[]]},"g"]"#;
        let found = strings(text);
        let found: Vec<_> = found.iter().map(|at| (at.name.of(text), at.value.of(text))).collect();
        let expected = [
            ("", "\"a\""),
            ("\"k\"", "\"b\""),
            ("\"n\"", "\"c\""),
            ("\"x\\\"\"", "\"d\\\\\""),
            ("\"n\"", "\"e\""),
            ("", "\"f\""),
            ("", "\"g\""),
        ];
        assert_eq!(found, expected);
        assert_eq!(strings("\"only\"").len(), 1);
    }
}
