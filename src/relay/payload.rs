//! JSON text on its way out: exact bytes, with one span replaced.
//!
//! A payload is never parsed again and never copied: numbers, member order and escapes reach the other
//! side as they were written. It cannot fail; that the text is a message was checked before.

use std::sync::Arc;

use crate::net::Reservation;

use super::json::Span;

/// Text that is posted as it came except for its replaced span: the id.
///
/// Large texts are never copied: [`Payload::parts`] lends the pieces in order.
#[derive(Debug)]
pub struct Payload {
    text: String,
    replacement: Option<(Span, String)>,
    /// Given back when the payload goes, that is, after the last attempt to post it.
    _held: Option<Arc<Reservation>>,
}

impl Payload {
    /// A text of our own making.
    pub fn own(text: String) -> Payload {
        Payload::received(text, None, None)
    }

    /// A text that arrived, with what takes the place of a span in it, and with the memory that it occupies of the byte
    /// budget; messages that arrived together share that. An empty span inserts. It must come from this very text: one
    /// that does not fit would silently shorten it.
    pub fn received(
        text: String,
        replacement: Option<(Span, String)>,
        held: Option<Arc<Reservation>>,
    ) -> Payload {
        Payload { text, replacement, _held: held }
    }

    /// The text as it came, under the id that it had then.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Whether it came without the id that it has now.
    pub fn is_without_id(&self) -> bool {
        let replaced = self.replacement.as_ref().map(|(span, _)| span.of(&self.text));
        matches!(replaced, Some("" | "null"))
    }

    /// How many bytes will be sent.
    pub fn bytes(&self) -> usize {
        self.parts().iter().map(|part| part.len()).sum()
    }

    /// The pieces to be sent, in order.
    pub fn parts(&self) -> [&[u8]; 3] {
        let Some((span, replacement)) = &self.replacement else {
            return [self.text.as_bytes(), b"", b""];
        };
        let before = Span { start: 0, end: span.start };
        let after = Span { start: span.end, end: self.text.len() };
        [before.of(&self.text).as_bytes(), replacement.as_bytes(), after.of(&self.text).as_bytes()]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_span_changes() {
        let id = (Span { start: 7, end: 8 }, "\"a\"".to_owned());
        let payload = Payload::received("{\"id\": 1 ,\"x\":1.50}".into(), Some(id), None);
        assert!(!payload.is_without_id());
        assert_eq!(payload.parts().concat(), b"{\"id\": \"a\" ,\"x\":1.50}");
    }

    #[test]
    fn an_empty_span_inserts() {
        let id = (Span { start: 1, end: 1 }, "\"id\":2,".to_owned());
        let payload = Payload::received("{\"x\":1}".into(), Some(id), None);
        assert!(payload.is_without_id());
        assert_eq!(payload.parts().concat(), b"{\"id\":2,\"x\":1}");
    }
}
