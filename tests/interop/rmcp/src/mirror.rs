//! A client that prints all that it sees of a server, as one document of JSON.

use std::error::Error;
use std::fmt::Debug;

use rmcp::model::{
    CallToolRequest, CallToolRequestParams, ClientRequest, GetPromptRequestParams, ProtocolVersion,
    ReadResourceRequestParams, ServerResult,
};
use rmcp::service::{PeerRequestOptions, RunningService};
use rmcp::transport::{StreamableHttpClientTransport, TokioChildProcess};
use rmcp::{ClientLifecycleMode, ClientServiceExt, RoleClient};
use serde_json::{Map, Value, json};

type Client = RunningService<RoleClient, ()>;

fn outcome<T: serde::Serialize, E: Debug>(of: Result<T, E>) -> Value {
    match of {
        Ok(value) => serde_json::to_value(value).unwrap(),
        Err(error) => json!({ "error": format!("{error:?}") }),
    }
}

async fn connect(era: &str, target: &[&str]) -> Result<Client, Box<dyn Error>> {
    let mode = match era {
        "2025-11-25" => ClientLifecycleMode::Initialize,
        "2026-07-28" => {
            ClientLifecycleMode::Discover { preferred_versions: vec![ProtocolVersion::V_2026_07_28] }
        }
        other => return Err(format!("no era {other}").into()),
    };
    if target[0].starts_with("http") {
        let transport = StreamableHttpClientTransport::from_uri(target[0].to_owned());
        return Ok(().serve_with_lifecycle(transport, mode).await?);
    }
    let mut command = tokio::process::Command::new(target[0]);
    command.args(&target[1..]);
    Ok(().serve_with_lifecycle(TokioChildProcess::new(command)?, mode).await?)
}

/// The calls of a server in mirror.json, as pairs of name and arguments.
fn pairs(of: &Value) -> Vec<(String, Map<String, Value>)> {
    let pair = |entry: &Value| {
        (entry[0].as_str().unwrap().to_owned(), entry[1].as_object().cloned().unwrap_or_default())
    };
    of.as_array().into_iter().flatten().map(pair).collect()
}

/// A call that asks for progress, which the SDK hands on in no certain order: the result alone is kept.
async fn call(client: &Client, name: String, arguments: Map<String, Value>) -> Value {
    let params = CallToolRequestParams::new(name.clone()).with_arguments(arguments);
    let request = ClientRequest::CallToolRequest(CallToolRequest::new(params));
    // The SDK gives each request a token by itself.
    let answer = match client.send_cancellable_request(request, PeerRequestOptions::no_options()).await {
        Ok(sent) => sent.await_response().await,
        Err(error) => Err(error),
    };
    let answer = match answer {
        Ok(ServerResult::CallToolResult(result)) => serde_json::to_value(result).unwrap(),
        other => json!(format!("{other:?}")),
    };
    json!({ "name": name, "answer": answer })
}

/// Connects, asks for everything, and prints what came.
pub async fn print(era: &str, server: &str, target: &[&str]) -> Result<(), Box<dyn Error>> {
    let wanted: Value = serde_json::from_slice(&std::fs::read("tests/interop/mirror.json")?)?;
    let wanted = wanted.get(server).ok_or("no such server in mirror.json")?;
    let client = connect(era, target).await?;
    let mut calls = Vec::new();
    for (name, arguments) in pairs(&wanted["tools"]) {
        calls.push(call(&client, name, arguments).await);
    }
    let mut prompts = Vec::new();
    for (name, arguments) in pairs(&wanted["prompts"]) {
        prompts.push(outcome(
            client.get_prompt(GetPromptRequestParams::new(name).with_arguments(arguments)).await,
        ));
    }
    let mut resources = Vec::new();
    for uri in wanted["resources"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        resources.push(outcome(client.read_resource(ReadResourceRequestParams::new(uri)).await));
    }
    let seen = json!({
        "server": client.peer_info().map(|info| serde_json::to_value(&*info)).transpose()?,
        "tools": outcome(client.list_all_tools().await),
        "prompts": outcome(client.list_all_prompts().await),
        "resources": outcome(client.list_all_resources().await),
        "templates": outcome(client.list_all_resource_templates().await),
        "called": calls,
        "prompted": prompts,
        "read": resources,
    });
    println!("{}", serde_json::to_string_pretty(&seen)?);
    client.cancel().await?;
    Ok(())
}
