//! What an outcome comes to, as the record of its command says it.

use crate::net;

use super::command::Command;
use super::failure::{Class, Source};
use super::json;
use super::message::Kind;
use super::payload::Payload;
use super::port::Outcome;
use super::record::Fate;

/// What an outcome comes to. A tool that failed says so within its result.
pub(super) fn of(command: &Command, outcome: &Outcome) -> Fate {
    match outcome {
        Outcome::Response { payload, .. } => {
            let message = command.message().filter(|message| message.kind() == Kind::Request);
            Fate::new(message.and_then(|_| fault(payload)).unwrap_or("ok"), None)
        }
        Outcome::Done { status: ..400, .. } => Fate::new("ok", None),
        Outcome::Done { .. } => Fate::new("failed", None),
        Outcome::Failed(failure) => match (failure.class, failure.source) {
            (Class::Exchange(net::Kind::Shutdown), _) => Fate::CANCELLED,
            (Class::Deadline, _) => Fate::new("expired", Some(failure.class.word())),
            (Class::Exchange(_) | Class::Internal, _) => Fate::new("failed", Some(failure.class.word())),
            (class, Source::ClientInternal) => Fate::new("refused", Some(class.word())),
            (class, _) => Fate::new("failed", Some(class.word())),
        },
    }
}

/// What a response says of itself when it is no success. Most responses hold the word of neither, and are not read.
fn fault(payload: &Payload) -> Option<&'static str> {
    let text = payload.text();
    if !text.contains("rror\"") {
        return None;
    }
    let members = json::object(text).ok()?.1?;
    let of = |name| json::only(&members, name).ok().flatten();
    let Some(result) = of("result") else { return of("error").map(|_| "rpc_error") };
    let result = json::members(text, result).ok()??;
    let flag = json::only(&result, "isError").ok()??;
    (flag.of(text) == "true").then_some("tool_error")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_result_says_itself_that_it_is_no_success() {
        for (text, fate) in [
            (r#"{"jsonrpc":"2.0","id":1,"result":{"content":[]}}"#, None),
            (r#" {"jsonrpc":"2.0","id":1,"result":{"isError":true}}"#, Some("tool_error")),
            (r#"{"jsonrpc":"2.0","id":1,"result":{"isError": true ,"x":1}} "#, Some("tool_error")),
            (r#"{"jsonrpc":"2.0","id":1,"result":{"isError":false}}"#, None),
            (r#"{"jsonrpc":"2.0","id":1,"result":{"x":{"isError":true}}}"#, None),
            (r#"{"jsonrpc":"2.0","id":1,"result":"error\"isError\":true"}"#, None),
            (r#"{"jsonrpc":"2.0","id":1,"error":{"code":1,"message":""}}"#, Some("rpc_error")),
            (r#"{"result":{},"error":{"code":1}}"#, None),
            ("\"rror\"", None),
        ] {
            assert_eq!(fault(&Payload::own(text.to_owned())), fate, "{text}");
        }
    }
}
