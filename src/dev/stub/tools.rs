//! The three tools of the stub: what they are, and what they answer.
//!
//! They compute from their arguments alone. A mistake in these is told in a sentence that a model can act
//! on; which form that takes is decided by whoever knows the revision.

use serde_json::{Map, Value, json};

use crate::harpoon::mcp_server::{self, Called, extended, tool_result};

/// What the server says of itself.
pub(super) struct Identity {
    pub(super) name: String,
    pub(super) version: String,
}

impl Identity {
    /// As MCP writes it.
    pub(super) fn json(&self) -> Value {
        json!({"name": self.name, "title": "Stub MCP server", "version": self.version})
    }
}

/// In the order of the list, which never changes.
const NAMES: [&str; 3] = ["server_info", "echo", "uppercase"];

/// What a person can type into a product that has this server.
pub(crate) const SAMPLE_PROMPTS: [&str; 3] = [
    "Ask the stub which tools it has.",
    "Use the echo tool to say: hello through the tunnel.",
    "Use the uppercase tool on: quiet words.",
];

/// All tools as `tools/list` shows them.
pub(super) fn list() -> Value {
    let input = json!({"input": {"type": "string", "description": "Any text"}});
    let told = |key: &str| json!({key: {"type": "string"}});
    let texts = json!({"type": "array", "items": {"type": "string"}});
    let info = json!({
        "name": {"type": "string"}, "version": {"type": "string"},
        "available_tools": texts, "sample_prompts": texts,
    });
    let [server_info, echo, uppercase] = NAMES;
    json!([
        tool(server_info, "Server info", "Says what this server is and what it can do", json!({}), info),
        tool(echo, "Echo", "Says the given text again", input.clone(), told("echoed")),
        tool(uppercase, "Upper case", "Says the given text in capital letters", input, told("uppercase")),
    ])
}

fn tool(name: &str, title: &str, description: &str, input: Value, output: Value) -> Value {
    json!({
        "name": name,
        "title": title,
        "description": description,
        "inputSchema": object(input),
        "outputSchema": object(output),
        "annotations": {"title": title, "readOnlyHint": true, "idempotentHint": true, "openWorldHint": false},
    })
}

/// The schema of an object with exactly these members.
fn object(properties: Value) -> Value {
    let names: Vec<&String> = properties.as_object().into_iter().flat_map(Map::keys).collect();
    let required = json!(names);
    let schema = json!({"type": "object", "properties": properties, "additionalProperties": false});
    // An empty list was not legal in the oldest dialects of the schema language.
    if required == json!([]) { schema } else { extended(schema, json!({"required": required})) }
}

/// Calls a tool. The text content repeats what the structured content says, for clients that show text.
pub(super) fn call(identity: &Identity, name: &str, arguments: &Map<String, Value>) -> Called {
    if !NAMES.contains(&name) {
        return Called::Unknown;
    }
    let known = |key: &&String| name != "server_info" && key.as_str() == "input";
    if let Some(odd) = arguments.keys().find(|key| !known(key)) {
        let odd = mcp_server::shown(odd);
        return Called::BadArguments(format!("{name} has no argument {odd:?}"));
    }
    let input = arguments.get("input").and_then(Value::as_str);
    let (text, structured) = match (name, input) {
        ("server_info", _) => {
            let text = format!("{} {} has the tools {}.", identity.name, identity.version, NAMES.join(", "));
            let structured = json!({
                "name": identity.name, "version": identity.version,
                "available_tools": NAMES, "sample_prompts": SAMPLE_PROMPTS,
            });
            (text, structured)
        }
        (_, None) => return Called::BadArguments(format!("{name} needs the argument \"input\", a text")),
        ("echo", Some(input)) => (input.to_owned(), json!({"echoed": input})),
        (_, Some(input)) => (input.to_uppercase(), json!({"uppercase": input.to_uppercase()})),
    };
    Called::Result(tool_result(&text, Some(structured)))
}
