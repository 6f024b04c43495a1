//! Lists the tools of a server, page by page, as the operator accepts them and as they are compared.
//!
//! The whole list or none: one that repeats a cursor or a name, or goes beyond the bounds, cannot be read. Failures
//! are texts that quote nothing but the names of tools, escaped and cut.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::mcp::http::HttpTarget;
use crate::mcp::http::session::Session;
use crate::mcp::stdio::StdioTarget;
use crate::relay::failure::METHOD_NOT_FOUND;
use crate::relay::json;
use crate::relay::revision::Era;
use crate::text;

use super::definition::Tool;

/// Most tools of a channel, and most pages of their list.
pub(super) const TOOLS_MAX: usize = 4096;
const PAGES_MAX: usize = 32;

/// Longest cursor that is sent back.
const CURSOR_BYTES_MAX: usize = 4 * 1024;

/// How much of a name is shown.
const NAME_SHOWN_BYTES_MAX: usize = 80;

/// A server whose tools can be listed.
#[derive(Clone)]
pub(crate) enum Server {
    Http(Arc<HttpTarget>),
    Stdio(Arc<StdioTarget>),
}

impl Server {
    /// What changes when its list may be another one.
    pub(super) fn generation(&self) -> [u64; 2] {
        match self {
            Server::Http(_) => [0; 2],
            Server::Stdio(target) => target.generation(),
        }
    }
}

/// Lists the tools of a server, sorted by name, within `time`.
pub(crate) fn list(server: &Server, time: Duration) -> Result<Vec<Tool>, String> {
    let deadline = Instant::now() + time;
    match server {
        Server::Http(target) => {
            let session = Session::open(target, deadline)?;
            pages(|cursor| session.tools(cursor, deadline))
        }
        Server::Stdio(target) => {
            let legacy = pages(|cursor| target.tools(Era::Legacy, cursor, deadline));
            // A server that speaks the newer era alone may refuse the older one in any way.
            legacy.or_else(|why| pages(|cursor| target.tools(Era::Modern, cursor, deadline)).map_err(|_| why))
        }
    }
}

/// Asks for all pages.
fn pages(mut ask: impl FnMut(Option<&str>) -> Result<String, String>) -> Result<Vec<Tool>, String> {
    let (mut tools, mut cursors) = (BTreeMap::new(), HashSet::new());
    let mut cursor: Option<String> = None;
    for _ in 0..PAGES_MAX {
        let next = page(&ask(cursor.as_deref())?, &mut tools)?;
        match next {
            None => return Ok(tools.into_values().collect()),
            Some(next) if !cursors.insert(next.clone()) => {
                return Err("the list of tools repeats a cursor".to_owned());
            }
            next => cursor = next,
        }
    }
    Err(format!("the list of tools has more than {PAGES_MAX} pages"))
}

/// Takes the tools of one page; gives the cursor of the next.
fn page(message: &str, tools: &mut BTreeMap<String, Tool>) -> Result<Option<String>, String> {
    let unreadable = |_| "the answer to tools/list cannot be read".to_owned();
    let member = |object, name| -> Result<_, String> {
        let members = json::members(message, object).map_err(unreadable)?.unwrap_or_default();
        json::only(&members, name).map_err(unreadable)
    };
    let whole = json::value(message).map_err(unreadable)?;
    let Some(result) = member(whole, "result")? else {
        let code = match member(whole, "error")? {
            Some(error) => member(error, "code")?.and_then(|span| span.of(message).parse().ok()),
            None => return Err("the answer to tools/list is none".to_owned()),
        };
        // A server of prompts or resources alone.
        return match code {
            Some(METHOD_NOT_FOUND) => Ok(None),
            _ => Err("tools/list was refused with an error".to_owned()),
        };
    };
    let entries = member(result, "tools")?.map(|span| json::elements(message, span));
    let entries = entries.transpose().map_err(unreadable)?.flatten();
    for entry in entries.ok_or("the answer to tools/list has no list of tools")? {
        let number = tools.len() + 1;
        let tool =
            Tool::read(entry.of(message)).map_err(|fault| format!("tool {number} of the list {fault}"))?;
        let name = tool.name.clone();
        if tools.insert(name.clone(), tool).is_some() {
            let name = text::bounded(&name, NAME_SHOWN_BYTES_MAX);
            return Err(format!("the list has two tools \"{name}\""));
        }
        if tools.len() > TOOLS_MAX {
            return Err(format!("the list has more than {TOOLS_MAX} tools"));
        }
    }
    let next =
        member(result, "nextCursor")?.map(|span| span.of(message)).filter(|literal| *literal != "null");
    let Some(literal) = next else { return Ok(None) };
    let cursor = json::exact(literal).ok_or("a cursor of the list is no text")?.into_owned();
    if cursor.len() > CURSOR_BYTES_MAX {
        return Err("a cursor of the list is longer than 4 KiB".to_owned());
    }
    // Clients take an empty one for the end.
    Ok(Some(cursor).filter(|cursor| !cursor.is_empty()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(result: &str) -> Result<String, String> {
        Ok(format!(r#"{{"jsonrpc":"2.0","id":3,"result":{result}}}"#))
    }

    fn names(tools: Result<Vec<Tool>, String>) -> Result<Vec<String>, String> {
        tools.map(|tools| tools.into_iter().map(|tool| tool.name).collect())
    }

    #[test]
    fn all_pages_make_one_sorted_list() {
        let mut asked = Vec::new();
        let listed = pages(|cursor| {
            asked.push(cursor.map(str::to_owned));
            match cursor {
                None => answer(r#"{"tools":[{"name":"b"}],"nextCursor":"\u0031"}"#),
                Some("1") => answer(r#"{"tools":[],"nextCursor":"2"}"#),
                Some(_) => answer(r#"{"nextCursor":null,"tools":[{"name":"a"}]}"#),
            }
        });
        assert_eq!(names(listed), Ok(vec!["a".into(), "b".into()]));
        assert_eq!(asked, [None, Some("1".into()), Some("2".into())]);
    }

    #[test]
    fn a_list_that_cannot_be_read_is_none() {
        let once = |text: &str| names(pages(|_| answer(text)));
        assert_eq!(once(r#"{"tools":[],"nextCursor":""}"#), Ok(vec![]));
        let none = r#"{"jsonrpc":"2.0","id":3,"error":{"code":-32601,"message":""}}"#;
        assert_eq!(names(pages(|_| Ok(none.to_owned()))), Ok(vec![]));
        let mut page = 0;
        let endless = pages(|_| {
            page += 1;
            answer(&format!(r#"{{"tools":[],"nextCursor":"{page}"}}"#))
        });
        assert_eq!(
            (names(endless), page),
            (Err("the list of tools has more than 32 pages".into()), PAGES_MAX)
        );
        let many = |n: usize| (0..n).map(|n| format!(r#"{{"name":"{n}"}}"#)).collect::<Vec<_>>().join(",");
        assert_eq!(once(&format!(r#"{{"tools":[{}]}}"#, many(TOOLS_MAX))).unwrap().len(), TOOLS_MAX);
        for (text, why) in [
            (r#"{"tools":[],"nextCursor":"x"}"#.to_owned(), "the list of tools repeats a cursor"),
            (format!(r#"{{"tools":[{}]}}"#, many(TOOLS_MAX + 1)), "the list has more than 4096 tools"),
            (r#"{"tools":[{"name":"a"},{"name":"\u0061"}]}"#.into(), "the list has two tools \"a\""),
            (r#"{"tools":[{"name":"a","x":1,"x":2}]}"#.into(), "tool 1 of the list has a member twice"),
            (r#"{"tools":[],"tools":[]}"#.into(), "the answer to tools/list cannot be read"),
            (r#"{"tools":{}}"#.into(), "the answer to tools/list has no list of tools"),
            (r#"[]"#.into(), "the answer to tools/list has no list of tools"),
            (r#"{"tools":[],"nextCursor":7}"#.into(), "a cursor of the list is no text"),
            (
                format!(r#"{{"tools":[],"nextCursor":"{}"}}"#, "x".repeat(4097)),
                "a cursor of the list is longer than 4 KiB",
            ),
        ] {
            assert_eq!(once(&text), Err(why.to_owned()), "{}", text::head(&text, 80));
        }
    }
}
