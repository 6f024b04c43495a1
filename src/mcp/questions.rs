//! The questions of a probe, the one for a list of tools, and how answers are read, whatever carries them.
//!
//! `server/discover` needs no handshake; `initialize` opens one. Answers are read as trees, for verdicts only: no
//! command is treated by them. Nothing here sends anything or can fail.

use serde_json::{Value, json};

use crate::relay::revision::{CLAIM, Era};

/// The request `server/discover`.
pub(super) fn discover() -> Value {
    json!({"jsonrpc": "2.0", "id": 1, "method": "server/discover", "params": {"_meta": meta()}})
}

/// What a request without a handshake says of its client.
fn meta() -> Value {
    json!({
        CLAIM: Era::Modern.newest(),
        "io.modelcontextprotocol/clientCapabilities": {},
        "io.modelcontextprotocol/clientInfo": client_info(),
    })
}

/// The request `tools/list` for the page of this cursor.
pub(super) fn tools(era: Era, cursor: Option<&str>) -> Value {
    let mut params = serde_json::Map::new();
    params.extend((era == Era::Modern).then(|| ("_meta".to_owned(), meta())));
    params.extend(cursor.map(|cursor| ("cursor".to_owned(), cursor.into())));
    json!({"jsonrpc": "2.0", "id": 3, "method": "tools/list", "params": params})
}

/// The request `initialize`.
pub(super) fn initialize() -> Value {
    json!({"jsonrpc": "2.0", "id": 2, "method": "initialize", "params": {
        "protocolVersion": Era::Legacy.newest(), "capabilities": {}, "clientInfo": client_info(),
    }})
}

/// Name and version of this program, so that a server's owner can tell probes from calls in the log.
fn client_info() -> Value {
    json!({"name": crate::CLIENT_NAME, "version": crate::VERSION})
}

/// Whether the answer to `server/discover` is that of a server without handshakes. `is_refusal` says whether
/// the answer came in the way in which complaints about a request come.
pub(crate) fn is_modern(message: &Value, is_refusal: bool) -> bool {
    // Refusals in the words of the modern revision: wrong headers, missing capability, another version.
    // A list of versions proves nothing when it names old ones only.
    let supported = message.pointer("/error/data/supported").and_then(Value::as_array);
    match error_code(message) {
        None => message.pointer("/result/supportedVersions").is_some(),
        Some(-32020 | -32021) => is_refusal,
        Some(-32022) => supported.is_some_and(|list| {
            list.iter().filter_map(Value::as_str).any(|date| Era::of_revision(date) == Era::Modern)
        }),
        Some(_) => false,
    }
}

/// The code of an answer that is an error.
pub(crate) fn error_code(message: &Value) -> Option<i64> {
    message.pointer("/error/code").and_then(Value::as_i64)
}

/// Name and version that a server gives itself, in either era.
pub(crate) fn server_name(message: &Value) -> Option<String> {
    let info = message.pointer("/result/_meta/io.modelcontextprotocol~1serverInfo");
    let info = info.or_else(|| message.pointer("/result/serverInfo"))?;
    let word = |name: &str| info.get(name).and_then(Value::as_str);
    Some(format!("{} {}", word("name")?, word("version").unwrap_or_default()).trim_end().to_owned())
}
