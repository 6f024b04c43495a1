//! Text of others: as it may be shown, cut and with nothing in it that could fool a terminal or a reader of logs; and
//! numbers in it.

use std::str::FromStr;

/// Makes an enumeration whose values have a word each: on a wire, in a log, as a label.
macro_rules! words {
    ($($(#[$about:meta])* $name:ident { $($(#[$of:meta])* $value:ident = $word:expr,)* })*) => {$(
        $(#[$about])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum $name { $($(#[$of])* $value,)* }

        impl $name {
            pub(crate) fn word(self) -> &'static str {
                match self { $($name::$value => $word,)* }
            }
        }
    )*};
}
pub(crate) use words;

/// Number of a text that is digits alone. The standard parser would take a sign.
pub(crate) fn number<N: FromStr>(text: &str) -> Option<N> {
    let is_plain = text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|_| is_plain)
}

/// Bound of one item of foreign text in a log line.
pub(crate) const MAX_FOREIGN_BYTES: usize = 1024;

/// Foreign text on one line of at most `limit` bytes.
pub(crate) fn bounded(text: &str, limit: usize) -> String {
    let mut out = String::new();
    // Escaping only lengthens, so what lies beyond the limit stays beyond it. Not more is looked at:
    // the text may be a page of a server.
    let end = text.char_indices().map(|(at, c)| at + c.len_utf8()).find(|end| *end > limit);
    escape(&mut out, end.and_then(|end| text.get(..end)).unwrap_or(text));
    cut(out, limit)
}

/// Adds text in which nothing ends a line, moves a terminal's cursor or turns the direction of
/// writing, so that no terminal and no log reader can be fooled.
pub(crate) fn escape(out: &mut String, text: &str) {
    for c in text.chars() {
        match must_escape(c) {
            true => out.extend(c.escape_default()),
            false => out.push(c),
        }
    }
}

/// Adds a character as JSON writes it for readers of ASCII.
pub(crate) fn escape_utf16(out: &mut String, c: char) {
    for unit in c.encode_utf16(&mut [0; 2]) {
        out.push_str(&format!("\\u{unit:04x}"));
    }
}

/// Adds a text as a JSON string in which nothing could fool a reader either.
pub(crate) fn json(out: &mut String, text: &str) {
    // Almost all are plain. To look at every byte takes fewer steps than to look whether to go on.
    let is_plain = |byte: u8| matches!(byte, b' '..=b'~') & !matches!(byte, b'"' | b'\\');
    if text.bytes().fold(true, |all, byte| all & is_plain(byte)) {
        out.push('"');
        out.push_str(text);
        return out.push('"');
    }
    // A string always has a JSON form. What JSON itself leaves alone is escaped after it.
    for c in serde_json::Value::from(text).to_string().chars() {
        if must_escape(c) { escape_utf16(out, c) } else { out.push(c) }
    }
}

/// Members of a JSON object that are texts, parted by commas. Names are ours, values whose ever.
pub(crate) fn members<const N: usize>(members: [(&str, &str); N]) -> String {
    let mut out = String::new();
    for (at, (name, value)) in members.iter().enumerate() {
        out.extend([if at == 0 { "\"" } else { ",\"" }, name, "\":"]);
        json(&mut out, value);
    }
    out
}

/// The first bytes of the text, at most `limit`, ending between two characters.
pub(crate) fn head(text: &str, limit: usize) -> &str {
    let end = (0..=limit.min(text.len())).rev().find(|end| text.is_char_boundary(*end));
    text.get(..end.unwrap_or(0)).unwrap_or_default()
}

/// At most `limit` bytes of the text, with a mark at the end of one that was cut.
pub(crate) fn cut(mut text: String, limit: usize) -> String {
    const MARK: &str = "...";
    if text.len() > limit {
        let room = limit.saturating_sub(MARK.len());
        text.truncate(head(&text, room).len());
        text.push_str(MARK);
    }
    text
}

/// Control characters, line separators, and marks that turn the direction of writing or are invisible.
pub(crate) fn must_escape(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{feff}')
        || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}')
        || matches!(c, '\u{e0000}'..='\u{e007f}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_strings_read_back_and_show_nothing_strange() {
        for text in ["", "plain", "a\"b\\c", "a\n\0\u{7f}", "\u{202e}\u{e0001}é"] {
            let mut out = String::new();
            json(&mut out, text);
            assert_eq!(serde_json::from_str::<String>(&out).unwrap(), text);
            assert!(!out.contains(must_escape), "{out}");
        }
    }

    #[test]
    fn foreign_text_is_bounded_and_harmless() {
        assert_eq!(bounded("plain – text", 20), "plain – text");
        assert_eq!(bounded("a\r\n\u{1b}[2Jb\u{202e}", 100), "a\\r\\n\\u{1b}[2Jb\\u{202e}");
        assert_eq!(bounded("0123456789", 8), "01234...");
        assert_eq!(bounded("0123456789", 10), "0123456789");
        for limit in 3..40 {
            assert!(bounded(&"é\u{1}".repeat(100), limit).len() <= limit);
        }
    }
}
