//! What a product concludes from a server's answers to `server/discover` and `initialize`.
//!
//! Products ask the first and fall back to the second. One that finds both answered and the answers at odds is known
//! to refuse the server with 424, in words that do not say what is at odds; so it is said here. Pure: it asks nobody.
//! Words of a server are foreign text, which the report cuts and escapes.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::mcp::http::eras::Said;
use crate::mcp::questions;
use crate::relay::revision::Era;

/// Members that an answer to `server/discover` must have.
const REQUIRED: [&str; 3] = ["resultType", "supportedVersions", "capabilities"];

/// Capabilities that mean the same in both answers.
const SHARED: [&str; 3] = ["tools", "resources", "prompts"];

/// Whether a handshake is answered.
pub(super) fn opens([_, initialize]: &[Said; 2]) -> bool {
    version(initialize).is_some()
}

/// How a product will call the server, in a sentence.
pub(super) fn conclusion([discover, initialize]: &[Said; 2]) -> String {
    let (legacy, modern) = (version(initialize), Era::Modern.newest());
    let fallback = match legacy {
        Some(version) => format!("a product falls back to a handshake ({version})"),
        None => "a product cannot fall back to a handshake, which is not answered either".to_owned(),
    };
    if !questions::is_modern(&discover.message, discover.status == 400) {
        return match (discover.status, questions::error_code(&discover.message)) {
            (0, _) => format!("server/discover stays unanswered: {fallback} once it has waited"),
            (_, Some(code)) => format!("server/discover is refused with error {code}: {fallback}"),
            (status, None) => format!("server/discover is answered {status} without a result: {fallback}"),
        };
    }
    match questions::error_code(&discover.message) {
        Some(code) => format!(
            "server/discover is refused with error {code}: see whether something before the server drops \
             MCP-Protocol-Version or Mcp-Method"
        ),
        None if versions(discover).contains(modern) => {
            format!("a product calls it without a handshake ({modern})")
        }
        None => format!("server/discover does not name {modern}: {fallback}"),
    }
}

/// What is at odds, in a part of a sentence each.
pub(super) fn contradictions([discover, initialize]: &[Said; 2]) -> Vec<String> {
    let Some(found) = discover.message.get("result").filter(|found| found.get("supportedVersions").is_some())
    else {
        return Vec::new();
    };
    let mut all: Vec<String> = REQUIRED
        .iter()
        .filter(|name| found.get(**name).is_none())
        .map(|name| format!("server/discover is answered without {name}"))
        .collect();
    let named = versions(discover);
    let is_old = |date: &&String| Era::of_revision(date) == Era::Legacy;
    match version(initialize) {
        // A server of both eras may name the modern one alone: the others have their handshake.
        Some(chosen) if named.iter().any(|date| is_old(&date)) && !named.contains(chosen) => {
            all.push(format!("initialize chose {chosen}, which server/discover does not name"));
        }
        None if initialize.status != 401 => {
            let old = named.iter().find(is_old);
            all.extend(old.map(|date| format!("server/discover names {date}, and initialize is refused")));
        }
        _ => {}
    }
    let Some(opened) = initialize.message.get("result") else { return all };
    let names = [discover, initialize].map(|said| questions::server_name(&said.message));
    if let [Some(one), Some(other)] = &names {
        if one != other {
            all.push(format!("the server calls itself {one} in one answer and {other} in the other"));
        }
    }
    let offers = |result: &Value, name: &str| result.pointer(&format!("/capabilities/{name}")).is_some();
    for name in SHARED.iter().filter(|name| offers(found, name) != offers(opened, name)) {
        all.push(format!("the capability {name} stands in one answer alone"));
    }
    all
}

/// The revision that `initialize` chose.
fn version(initialize: &Said) -> Option<&str> {
    initialize.message.pointer("/result/protocolVersion")?.as_str()
}

/// The revisions that `server/discover` names.
fn versions(discover: &Said) -> BTreeSet<String> {
    let list = discover.message.pointer("/result/supportedVersions").and_then(Value::as_array);
    list.into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn said(status: u16, message: Value) -> Said {
        Said { status, message }
    }

    fn discovered(versions: &[&str], capabilities: Value) -> Said {
        let info = json!({"io.modelcontextprotocol/serverInfo": {"name": "s", "version": "1"}});
        said(
            200,
            json!({"id": 1, "result": {
            "resultType": "complete", "supportedVersions": versions, "capabilities": capabilities, "_meta": info}}),
        )
    }

    fn opened(version: &str, name: &str, capabilities: Value) -> Said {
        let info = json!({"name": name, "version": "1"});
        said(
            200,
            json!({"id": 2, "result": {"protocolVersion": version, "capabilities": capabilities, "serverInfo": info}}),
        )
    }

    fn refused(status: u16, code: i64) -> Said {
        said(
            status,
            json!({"id": 1, "error": {"code": code, "message": "m", "data": {"supported": ["2026-07-28"]}}}),
        )
    }

    #[test]
    fn what_a_product_will_do_follows_from_both_answers() {
        let tools = || json!({"tools": {}});
        let old = || opened("2025-11-25", "s", tools());
        for (both, wanted) in [
            ([discovered(&["2026-07-28"], tools()), old()], "calls it without a handshake (2026-07-28)"),
            ([discovered(&["2027-01-01"], tools()), old()], "does not name 2026-07-28: a product falls back"),
            ([refused(404, -32601), old()], "error -32601: a product falls back to a handshake (2025-11-25)"),
            ([refused(400, -32020), old()], "drops MCP-Protocol-Version"),
            ([Said::default(), old()], "stays unanswered: a product falls back"),
            ([said(500, Value::Null), old()], "answered 500 without a result"),
            ([said(405, Value::Null), refused(200, -32601)], "a product cannot fall back"),
        ] {
            assert!(conclusion(&both).contains(wanted), "{}", conclusion(&both));
            assert_eq!(contradictions(&both), Vec::<String>::new());
        }
    }

    #[test]
    fn answers_that_are_at_odds_are_named() {
        let (tools, modern) = (json!({"tools": {}}), ["2026-07-28"]);
        let bare = said(200, json!({"result": {"supportedVersions": modern}}));
        for (both, wanted) in [
            ([bare, Said::default()], vec!["without resultType", "without capabilities"]),
            (
                [
                    discovered(&["2026-07-28", "2025-06-18"], tools.clone()),
                    opened("2025-03-26", "s", tools.clone()),
                ],
                vec!["initialize chose 2025-03-26"],
            ),
            (
                [discovered(&["2026-07-28", "2025-06-18"], tools.clone()), refused(400, -32022)],
                vec!["names 2025-06-18, and initialize is refused"],
            ),
            (
                [discovered(&modern, tools.clone()), opened("2025-11-25", "t", tools.clone())],
                vec!["calls itself s 1 in one answer and t 1"],
            ),
            (
                [discovered(&modern, tools), opened("2025-11-25", "s", json!({"prompts": {}}))],
                vec!["capability tools", "capability prompts"],
            ),
        ] {
            let found = contradictions(&both);
            let as_wanted = found.iter().zip(&wanted).all(|(found, wanted)| found.contains(wanted));
            assert!(found.len() == wanted.len() && as_wanted, "{found:?}");
        }
    }
}
