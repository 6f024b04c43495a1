//! Compares what all parties of a run saw. Whatever does not fit together is named.

use std::collections::HashMap;
use std::time::Duration;

use serde_json::Value;

use super::run::{History, Sent};
use crate::support::plane::Posted;

/// A poll's reply may be on its way for so long when the end is asked for: a delay, and what a busy host adds.
const ON_ITS_WAY: Duration = Duration::from_millis(600);

/// What is wrong; nothing as a rule.
pub fn faults(history: &History) -> Vec<String> {
    let mut faults = Vec::new();
    let known: HashMap<&str, &Sent> = history.sent.iter().map(|sent| (sent.id.as_str(), sent)).collect();
    for post in &history.posts {
        let id = post.json["request_id"].as_str().unwrap_or_default();
        match known.get(id) {
            Some(sent) => faults.extend(post_faults(sent, post)),
            None => faults.push(format!("{id}: a post for nobody")),
        }
    }
    for record in history.records.iter().filter(|record| record.get("event").is_none()) {
        let id = record["request_id"].as_str().unwrap_or_default();
        if !known.contains_key(id) {
            faults.push(format!("{id}: a record of nothing: {record}"));
        }
    }
    for sent in &history.sent {
        let mut told = |text: String| faults.push(format!("{} ({}): {text}", sent.id, sent.mark));
        command_faults(history, sent, &mut told);
    }
    faults.extend(batch_faults(history));
    faults.extend(order_faults(history));
    faults.extend(end_faults(history));
    faults
}

/// A post must be about its own command alone.
fn post_faults(sent: &Sent, post: &Posted) -> Vec<String> {
    let mut faults = Vec::new();
    let (text, id) = (post.request.text(), &sent.id);
    let foreign: Vec<&str> = marks(&text).filter(|mark| *mark != sent.mark).collect();
    if !foreign.is_empty() {
        faults.push(format!("{id}: the post holds {foreign:?}: {text}"));
    }
    if text.contains("forged") {
        faults.push(format!("{id}: the post was never said by a server: {text}"));
    }
    if post.request.header("x-tunnel-shard-token") != Some(&sent.token) {
        faults.push(format!("{id}: the post has the token of another"));
    }
    let is_answer = post.kind() == "jsonrpc_response" && !post.payload().is_null();
    if is_answer && post.payload()["id"] != sent.rpc_id && !sent.rpc_id.is_null() {
        faults.push(format!("{id}: the answer has another id: {text}"));
    }
    faults
}

/// All marks in a text.
fn marks(text: &str) -> impl Iterator<Item = &str> {
    let mark = |rest: &'_ str| rest.find('.').map(|end| end + 1);
    text.match_indices("mark-").filter_map(move |(at, _)| {
        let rest = text.get(at..)?;
        rest.get(..mark(rest)?)
    })
}

/// One command: from the poll's reply to its record.
fn command_faults(history: &History, sent: &Sent, told: &mut dyn FnMut(String)) {
    let posts: Vec<&Posted> =
        history.posts.iter().filter(|post| post.json["request_id"] == *sent.id).collect();
    let (notes, answers): (Vec<&Posted>, Vec<&Posted>) =
        posts.iter().partition(|post| post.kind() == "jsonrpc_notify");
    let records: Vec<&Value> =
        history.records.iter().filter(|record| record["request_id"] == *sent.id).collect();
    let heard = if sent.is_stdio { &history.written } else { &history.called };
    let heard = heard.iter().filter(|text| text.contains(&sent.mark)).count();
    let log: Vec<&String> = lines_of(history, &sent.id);
    let says = |words: &str| log.iter().any(|line| line.contains(words));

    if heard > 1 {
        told(format!("its server got it {heard} times"));
    }
    let traces = heard + posts.len() + log.len();
    if records.len() != usize::from(records.len() + traces > 0) {
        told(format!("{} records, and {traces} other traces", records.len()));
    }
    if answers.iter().any(|post| post.request.body != answers[0].request.body) {
        let all: Vec<String> = answers.iter().map(|post| post.request.text()).collect();
        told(format!("different answers: {all:?}"));
    }
    let said: Vec<u64> = notes.iter().filter_map(|note| note.payload()["params"]["k"].as_u64()).collect();
    if !sent.is_stdio && said.iter().zip(1..).any(|(k, wanted)| *k != wanted) {
        told(format!("notifications in this order: {said:?}"));
    }
    let last_note = posts.iter().rposition(|post| post.kind() == "jsonrpc_notify");
    let first_answer = posts.iter().position(|post| post.kind() != "jsonrpc_notify");
    // One whose connection broke may be on its way behind the break, and is the last then.
    let is_overtaken = says("failed to forward notification");
    if !is_overtaken && first_answer.is_some_and(|first| last_note.is_some_and(|last| last > first)) {
        told("a notification behind the answer".into());
    }
    let Some(record) = records.first() else { return };
    let taken = answers.get(sent.refusals);
    let (is_lost, is_silent) = (says("failed to post response"), says("dropping without posting a response"));
    match (record["status"].as_u64(), taken) {
        (Some(status), Some(taken)) if status != taken.code() => {
            told(format!("the record says {status}, and the answer {}", taken.code()));
        }
        (Some(_), None) => told(format!("nobody got what the record says: {record}")),
        (None, _) if !is_lost && !is_silent => told(format!("nothing says why nobody was told: {record}")),
        _ => {}
    }
    if let Some(taken) = taken {
        // What expects no answer is done when it is written, whether its server lives to read it or not.
        let is_written = sent.is_stdio && sent.rpc_id.is_null();
        outcome_faults(record, taken, heard == 1 || is_written, told);
    }
}

/// The record's outcome is that of the answer, and a result was said by a server.
fn outcome_faults(record: &Value, taken: &Posted, heard: bool, told: &mut dyn FnMut(String)) {
    let payload = taken.payload();
    let outcome = record["outcome"].as_str().unwrap_or_default();
    let fits = match outcome {
        "ok" => payload.get("error").is_none() && taken.code() < 300,
        "rpc_error" => payload["error"]["code"] == -32001,
        "failed" => taken.failure().is_object() || taken.code() >= 300,
        "expired" => taken.code() == 504,
        "refused" | "cancelled" => taken.code() >= 300,
        _ => false,
    };
    if !fits {
        told(format!("the record says {outcome}, and the answer {}", taken.request.text()));
    }
    if outcome == "failed" && record["failure"] != taken.failure()["transport_error_kind"] {
        let is_own = payload["error"]["data"]["error_type"] == record["failure"];
        // The end of a session has no payload that could say it.
        if !is_own && !payload.is_null() {
            told(format!("the record says {record}, and the answer {}", taken.request.text()));
        }
    }
    if matches!(outcome, "ok" | "rpc_error") && !heard {
        told(format!("{outcome}, and its server never got it"));
    }
}

/// The lines of the log that name a command.
fn lines_of<'h>(history: &'h History, id: &str) -> Vec<&'h String> {
    let quoted = format!("\"{id}\"");
    history.log.iter().filter(|line| line.contains(&quoted)).collect()
}

/// What a poll's reply holds is taken whole or not at all, and always when nothing happened to it.
fn batch_faults(history: &History) -> Vec<String> {
    let mut faults = Vec::new();
    let gave_up = history.log.iter().any(|line| line.contains("poll timed out"));
    for handed in &history.handed {
        let ids: Vec<String> = handed.commands.iter().map(|text| id_of(text)).collect();
        let taken = ids.iter().filter(|id| history.records.iter().any(|r| r["request_id"] == **id)).count();
        if taken != 0 && taken != ids.len() {
            faults.push(format!("{taken} of the commands of one poll were taken: {ids:?}"));
        }
        let broken = history.done.iter().any(|done| done.port == handed.port && done.deed.breaks());
        let is_late = handed.at + ON_ITS_WAY > history.stopped;
        if taken == 0 && !broken && !is_late && !gave_up {
            faults.push(format!("a poll's reply to which nothing happened was not taken: {ids:?}"));
        }
    }
    let handed: Vec<String> = history.handed.iter().flat_map(|h| &h.commands).map(|t| id_of(t)).collect();
    for record in history.records.iter().filter(|record| record.get("event").is_none()) {
        if !handed.iter().any(|id| record["request_id"] == **id) {
            faults.push(format!("a record of what was not handed out: {record}"));
        }
    }
    faults
}

fn id_of(command: &str) -> String {
    let command: Value = serde_json::from_str(command).unwrap_or_default();
    command["request_id"].as_str().unwrap_or_default().to_owned()
}

/// A server over stdio gets requests in the order in which the control plane handed them out.
fn order_faults(history: &History) -> Option<String> {
    let requests =
        |mark: &str| history.sent.iter().any(|s| s.mark == mark && s.is_stdio && !s.rpc_id.is_null());
    let handed: Vec<&str> =
        history.handed.iter().flat_map(|h| &h.commands).flat_map(|text| marks(text)).collect();
    let written = history.written.iter().flat_map(|text| marks(text)).filter(|mark| requests(mark));
    let places: Vec<usize> = written.filter_map(|mark| handed.iter().position(|h| *h == mark)).collect();
    (!places.is_sorted())
        .then(|| format!("written in another order than handed out: {places:?} of {handed:?}"))
}

/// The end: the exit code says whether callers were not told, and the chain of records holds.
fn end_faults(history: &History) -> Vec<String> {
    let mut faults = Vec::new();
    let lost = history.log.iter().any(|line| line.contains("answers lost in the drain"));
    if history.code != Some(i32::from(lost)) {
        faults.push(format!("exit code {:?}, answers lost in the drain: {lost}", history.code));
    }
    // A client that was stopped at its start has nothing to verify.
    let verified = history.verified.as_ref().filter(|_| !history.records.is_empty());
    let Some((code, output)) = verified else { return faults };
    let head = output.lines().find_map(|line| line.strip_prefix("head ")).unwrap_or("none");
    let head = format!("head of the audit records: {head}");
    if *code != Some(0) || !history.log.iter().any(|line| line.contains(&head)) {
        faults.push(format!("audit verify ends with {code:?}: {output}"));
    }
    faults
}
