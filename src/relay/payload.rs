//! JSON text on its way out: exact bytes, with one span replaced, and perhaps some cut out.
//!
//! A payload is never copied: numbers, member order and escapes reach the other
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

    /// The same without these spans of its text, which stand in order and apart. What is replaced stands in none of
    /// them. The text is cut in its place: a large one must not take its memory twice.
    pub fn without(mut self, cuts: &[Span]) -> Payload {
        let mut at = 0;
        let mut coming = cuts.iter().peekable();
        self.text.retain(|letter| {
            let here = at;
            at += letter.len_utf8();
            while coming.next_if(|cut| cut.end <= here).is_some() {}
            coming.peek().is_none_or(|cut| here < cut.start)
        });
        if let Some((span, _)) = &mut self.replacement {
            let before = cuts.iter().take_while(|cut| cut.end <= span.start);
            let gone: usize = before.map(|cut| cut.end - cut.start).sum();
            *span = Span { start: span.start - gone, end: span.end - gone };
        }
        self
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
    fn cuts_leave_everything_else_where_it_belongs() {
        let cut = |text: &str, id: &str, cuts: &[&str]| {
            let span = |part: &str| {
                let start = text.find(part).unwrap();
                Span { start, end: start + part.len() }
            };
            let cuts: Vec<Span> = cuts.iter().map(|part| span(part)).collect();
            let payload = Payload::received(text.into(), Some((span(id), "\"i\"".into())), None);
            String::from_utf8(payload.without(&cuts).parts().concat()).unwrap()
        };
        assert_eq!(cut("{ä:[1, ö ,2],id:77}", "77", &["1", " ö "]), "{ä:[,,2],id:\"i\"}");
        assert_eq!(cut("{id:77,ä:[1, ö ,2]}", "77", &["1", " ö ", "2"]), "{id:\"i\",ä:[,,]}");
        assert_eq!(cut("{[1],id:77,[2]}", "77", &["1", "[2]"]), "{[],id:\"i\",}");
        assert_eq!(cut("{id:77}", "77", &[]), "{id:\"i\"}");
    }

    #[test]
    fn an_empty_span_inserts() {
        let id = (Span { start: 1, end: 1 }, "\"id\":2,".to_owned());
        let payload = Payload::received("{\"x\":1}".into(), Some(id), None);
        assert!(payload.is_without_id());
        assert_eq!(payload.parts().concat(), b"{\"id\":2,\"x\":1}");
    }
}
