//! Pins of a server over stdio while the tunnel runs: which child is listed, and whose session it has.

use std::fs;

use serde_json::{Value, json};

use super::run::{BLOCK, changed, request};
use super::{pins, remove, search};
use crate::support::command::Command;
use crate::support::stdio::{Journal, Rig};
use crate::support::temp::TempDir;

/// A tunnel whose operator has accepted what its server in this mode offered at first, with this more of a policy.
fn start(directory: &TempDir, mode: &str, policy: &str) -> (Rig, Journal) {
    let journal = Journal::new(directory.join("journal"));
    directory.write("journal.tools", json!([search()]).to_string());
    let file = directory.join("pins.json").to_str().unwrap().to_owned();
    let accepted = pins("accept", &file).flag("mcp.command", &journal.command(mode)).outcome();
    assert_eq!(accepted.code, Some(0), "{}", accepted.stderr);
    fs::remove_file(journal.path()).unwrap();
    let policy = BLOCK.replace("FILE", &file) + policy;
    let rig = Rig::bound(|builder, _| builder.flag("mcp.command", &journal.command(mode)).yaml(&policy));
    (rig, journal)
}

/// Of a server over stdio a change between calls is heard, and another child is asked anew.
#[test]
fn a_child_is_listed_again_when_it_changes() {
    let directory = TempDir::new();
    let offers = |tools: Value| directory.write("journal.tools", tools.to_string());
    // What this server is told here has no name in any revision.
    let own = "  channels: { main: { methods: { allow: ['*', tools-change, exit] } } }\n";
    let (rig, _) = start(&directory, "plain", own);
    let call = || rig.send(&request("tools/call", &json!({ "name": "search" })));
    assert_eq!(call().payload()["result"]["echo"], "tools/call");
    offers(json!([changed()]));
    rig.send(&request("exit", &json!({})));
    rig.client.wait_log(|line| line.contains("changed (description)"));
    assert_eq!(call().payload()["error"]["code"], -32602);
    offers(json!([remove()]));
    rig.send(&Command::rpc(r#"{"jsonrpc":"2.0","method":"tools-change"}"#));
    rig.client.wait_log(|line| line.contains("\"gone\""));
}

/// An `initialize` of a caller who asks for this revision.
fn initialize(revision: &str) -> Command {
    let info = json!({ "name": "product", "version": "1" });
    request("initialize", &json!({ "protocolVersion": revision, "capabilities": {}, "clientInfo": info }))
}

/// Issue 14: that the service itself lists the tools of a server decides nothing about the sessions of callers.
#[test]
fn the_first_caller_decides_about_the_session_and_not_the_listing() {
    let directory = TempDir::new();
    // It refuses a second handshake.
    let (rig, journal) = start(&directory, "strict", "");
    journal.wait("tools/list", 1);
    let open =
        |revision: &str| rig.send(&initialize(revision)).payload()["result"]["protocolVersion"].clone();
    assert_eq!(open("2025-03-26"), "2025-03-26");
    rig.send(&Command::notification("notifications/initialized"));
    let asked = |at: usize| journal.wait("initialize", at + 1)[at].json()["params"].clone();
    assert_eq!(asked(1)["clientInfo"]["name"], "product");
    // It is theirs from now on: others share it, the next child is told the same, and is listed in it.
    assert_eq!(open("2025-06-18"), "2025-03-26");
    journal.wait("tools/list", 2);
    let call = || rig.send(&request("tools/call", &json!({ "name": "search" })));
    assert_eq!(call().payload()["result"]["echo"], "tools/call");
    assert_eq!(journal.of("(start)").len(), 2);
    let server = journal.of("(start)").last().unwrap().pid;
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(server), nix::sys::signal::Signal::SIGKILL).unwrap();
    assert_eq!(asked(2), asked(1));
    assert_eq!(call().payload()["result"]["echo"], "tools/call");
}

/// A caller who asks for what was asked for already gets that answer at once.
#[test]
fn a_server_is_not_replaced_for_a_caller_who_asks_for_the_same() {
    let directory = TempDir::new();
    let (rig, journal) = start(&directory, "strict", "");
    journal.wait("tools/list", 1);
    let listed = journal.wait("initialize", 1)[0].json()["params"]["protocolVersion"].clone();
    let answer = rig.send(&initialize(listed.as_str().unwrap()));
    assert_eq!(answer.payload()["result"]["protocolVersion"], listed);
    let call = rig.send(&request("tools/call", &json!({ "name": "search" })));
    assert_eq!(call.payload()["result"]["echo"], "tools/call");
    assert_eq!((journal.of("(start)").len(), journal.of("initialize").len()), (1, 1));
}
