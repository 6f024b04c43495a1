//! Lists of what a server offers, without the entries that could not be called.
//!
//! Entries are found as spans of the result's text and cut out together with one comma each. All other bytes stay:
//! paging, caching times, members that nobody here knows. What a client could read in another way than this reader is
//! cut, where it is an entry, or makes the result [`Unreadable`]: what is hidden for one reader must not be seen by
//! another.

use std::borrow::Cow;
use std::error::Error;

use crate::relay::json::{self, Span};
use crate::relay::names;
use crate::text::words;

words! {
    /// A list that is policed, by the method that asks for it.
    List {
        /// Tools.
        Tools = "tools/list",
        /// Prompts.
        Prompts = "prompts/list",
        /// Resources.
        Resources = "resources/list",
        /// Templates of resources.
        Templates = "resources/templates/list",
    }
}

/// Why a result is not the list that was asked for: no JSON within the bounds, a member that could be read in two ways,
/// or no object with a list.
pub(super) type Unreadable = Box<dyn Error>;

/// What no list stands in.
const SHAPELESS: &str = "the result is no object with a list";

impl List {
    /// The list that a method asks for.
    pub(super) fn of_method(method: &str) -> Option<List> {
        [List::Tools, List::Prompts, List::Resources, List::Templates]
            .into_iter()
            .find(|list| list.word() == method)
    }

    /// The member that holds the entries, and the one by which an entry is called.
    fn members(self) -> (&'static str, &'static str) {
        match self {
            List::Tools => ("tools", "name"),
            List::Prompts => ("prompts", "name"),
            List::Resources => ("resources", "uri"),
            List::Templates => ("resourceTemplates", "uriTemplate"),
        }
    }

    /// The spans to cut out of a response, in their order: the entries that are not to be kept, by their names, where
    /// they have one, and texts.
    /// An error has nothing to cut, nor has a result without entries.
    pub(super) fn cuts(
        self,
        response: &str,
        keeps: impl Fn(Option<Cow<'_, str>>, &str) -> bool,
    ) -> Result<Vec<Span>, Unreadable> {
        let entries = self.entries(response)?;
        let keeps = |entry: &Span| keeps(self.name(response, *entry), entry.of(response));
        Ok(without(&entries, keeps))
    }

    /// Where the entries stand.
    pub(super) fn entries(self, response: &str) -> Result<Vec<Span>, Unreadable> {
        let (_, members) = json::object(response)?;
        let [_, _, _, _, result, _] = names::find(&members.ok_or(SHAPELESS)?, names::ENVELOPE)?;
        let Some(result) = result else { return Ok(Vec::new()) };
        let members = json::members(response, result)?.ok_or(SHAPELESS)?;
        let [list] = names::find(&members, [self.members().0])?;
        // Some servers write null for a list that is empty.
        match list.filter(|list| list.of(response) != "null") {
            None => Ok(Vec::new()),
            Some(list) => Ok(json::elements(response, list)?.ok_or(SHAPELESS)?),
        }
    }

    /// The one name of an entry.
    pub(super) fn name(self, response: &str, entry: Span) -> Option<Cow<'_, str>> {
        let members = json::members(response, entry).ok().flatten()?;
        let [name] = names::find(&members, [self.members().1]).ok()?;
        json::exact(name?.of(response))
    }
}

/// What is cut when only some elements of an array stay. A kept element is followed by the comma before the next kept
/// one; the blanks before it go with what was cut.
fn without(entries: &[Span], keeps: impl Fn(&Span) -> bool) -> Vec<Span> {
    let mut cuts: Vec<Span> = Vec::new();
    // Where a cut begins: behind the last element that stays, or at the first element.
    let mut from = entries.first().map_or(0, |first| first.start);
    let mut is_first = true;
    for entry in entries {
        if keeps(entry) {
            if let Some(cut) = cuts.last_mut().filter(|_| is_first) {
                cut.end = entry.start;
            }
            is_first = false;
            from = entry.end;
        } else {
            match cuts.last_mut().filter(|cut| cut.start == from) {
                Some(cut) => cut.end = entry.end,
                None => cuts.push(Span { start: from, end: entry.end }),
            }
        }
    }
    cuts
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::relay::payload::Payload;

    /// The text when only these may be called.
    fn filtered(list: List, response: &str, kept: &[&str]) -> Result<String, Unreadable> {
        let cuts = list.cuts(response, |name, _| name.is_some_and(|name| kept.contains(&&*name)))?;
        let payload = Payload::own(response.to_owned()).without(&cuts);
        let text = String::from_utf8(payload.parts().concat()).unwrap();
        assert!(json::value(&text).is_ok(), "{text}");
        Ok(text)
    }

    fn tools(result: &str) -> String {
        format!(r#"{{"jsonrpc":"2.0","id":1,"result":{result}}}"#)
    }

    /// One row a list: what it was, what it is when only `a` and `b` may be called.
    #[test]
    fn entries_are_cut_with_their_commas_and_nothing_else_is() {
        for (entries, left) in [
            ("", ""),
            ("  ", "  "),
            (r#"{"name":"a"}"#, r#"{"name":"a"}"#),
            (r#" {"name":"x"} "#, "  "),
            (r#"{"name":"x"} , {"name":"y"}"#, ""),
            (r#" {"name":"x"} , {"name":"a"} "#, r#" {"name":"a"} "#),
            (r#" {"name":"a"} , {"name":"x"} "#, r#" {"name":"a"} "#),
            (r#"{"name":"a"},{"name":"x"},{"name":"b"}"#, r#"{"name":"a"},{"name":"b"}"#),
            (
                "{\"name\":\"a\"}\n,\t{\"name\":\"x\"} , {\"name\":\"b\"}",
                "{\"name\":\"a\"} , {\"name\":\"b\"}",
            ),
            (
                r#"{"name":"x"},{"name":"y"},{"name":"a"},{"name":"x"},{"name":"y"},{"name":"b"},{"name":"x"},{"name":"y"}"#,
                r#"{"name":"a"},{"name":"b"}"#,
            ),
            // What is kept stays as it is written, and is known by its decoded name.
            (r#"{"\u006eame":"\u0061","n":1.50},{"name":"x"}"#, r#"{"\u006eame":"\u0061","n":1.50}"#),
            (r#"{"name":"\u0078"},{"name":"A"},{"name":"a "},{"name":"a\u0000"},{"name":"a\ud800"}"#, ""),
            // Without a name, with two, with one that others read differently, or no entry at all.
            (r#"{},{"title":"a"},{"name":1},{"name":null},{"name":["a"]},7,null,"a",[{"name":"a"}]"#, ""),
            (r#"{"name":"a","name":"a"},{"name":"a","n\u0061me":"x"},{"name":"a"}"#, r#"{"name":"a"}"#),
            (r#"{"name":"a","Name":"x"},{"NAME":"a"},{"name\u0000":"a"},{"name":"b"}"#, r#"{"name":"b"}"#),
            // Names further inside are nobody's.
            (
                r#"{"name":"a","inputSchema":{"name":"x","Name":1}},{"x":{"name":"a"}}"#,
                r#"{"name":"a","inputSchema":{"name":"x","Name":1}}"#,
            ),
        ] {
            let whole = |entries: &str| {
                tools(&format!(
                    r#"{{"_meta":{{"tools":[{{"name":"x"}}]}}, "tools" : [{entries}] ,"nextCursor":"\u0078","ttlMs":1e3,"n":12345678901234567890}}"#
                ))
            };
            assert_eq!(
                filtered(List::Tools, &whole(entries), &["a", "b"]).unwrap(),
                whole(left),
                "{entries}"
            );
            // What may all be called stays byte for byte.
            let all = List::Tools.cuts(&whole(r#"{"name":"a"} , {"name":"b"}"#), |_, _| true);
            assert!(all.unwrap().is_empty());
        }
    }

    #[test]
    fn each_list_has_its_member_and_its_name() {
        for (method, entry) in [
            ("tools/list", r#""tools":[{"name":"a"}"#),
            ("prompts/list", r#""prompts":[{"name":"a"}"#),
            ("resources/list", r#""resources":[{"uri":"a"}"#),
            ("resources/templates/list", r#""resourceTemplates":[{"uriTemplate":"a"}"#),
        ] {
            let list = List::of_method(method).unwrap();
            let text = tools(&format!("{{{entry},{{\"name\":\"b\",\"uri\":\"b\",\"uriTemplate\":\"b\"}}]}}"));
            let left = tools(&format!("{{{entry}]}}"));
            assert_eq!(filtered(list, &text, &["a"]).unwrap(), left, "{method}");
        }
        assert_eq!(List::of_method("tools/call"), None);
        assert_eq!(List::of_method("Tools/list"), None);
    }

    #[test]
    fn what_holds_no_list_is_left_alone() {
        for response in [
            r#"{"jsonrpc":"2.0","id":1,"error":{"code":-32601,"message":"m","data":{"tools":[{"name":"x"}]}}}"#,
            r#"{"jsonrpc":"2.0","id":1,"result":{}}"#,
            r#"{"jsonrpc":"2.0","id":1,"result":{"tools":null,"nextCursor":null}}"#,
            r#"{"jsonrpc":"2.0","id":1,"result":{"prompts":[{"name":"x"}]}}"#,
        ] {
            assert!(List::Tools.cuts(response, |_, _| false).unwrap().is_empty(), "{response}");
        }
    }

    /// Each of these could show an entry to one reader and none to another.
    #[test]
    fn what_can_be_read_in_two_ways_is_unreadable() {
        let entry = r#"[{"name":"x"}]"#;
        for result in [
            "7",
            "null",
            entry,
            r#"{"tools":{"name":"x"}}"#,
            r#"{"tools":"x"}"#,
            &format!(r#"{{"tools":[],"tools":{entry}}}"#),
            &format!(r#"{{"tools":[],"tool\u0073":{entry}}}"#),
            &format!(r#"{{"tools":[],"Tools":{entry}}}"#),
            &format!(r#"{{"tool\u017f":{entry}}}"#),
            &format!(r#"{{"tools\u0000":{entry}}}"#),
        ] {
            assert!(List::Tools.cuts(&tools(result), |_, _| true).is_err(), "{result}");
        }
        for response in [
            format!(r#"{{"jsonrpc":"2.0","id":1,"error":{{}},"result":{{}},"Result":{{"tools":{entry}}}}}"#),
            format!(r#"{{"jsonrpc":"2.0","id":1,"result":{{}},"resul\u0074":{{"tools":{entry}}}}}"#),
            "[]".to_owned(),
            "{".to_owned(),
        ] {
            assert!(List::Tools.cuts(&response, |_, _| true).is_err(), "{response}");
        }
    }
}
