//! The audit record: one line a command, whatever became of it, in a chain that holds.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use serde_json::Value;

use crate::support::BOUND;
use crate::support::client::Builder;
use crate::support::command::Command;
use crate::support::gate::Gate;
use crate::support::plane::TUNNEL;
use crate::support::reply::Reply;
use crate::support::rig::Rig;
use crate::support::temp::TempDir;

const ZEROS: &str = "0000000000000000000000000000000000000000000000000000000000000000";

/// A client whose records go to this file, with these further settings.
pub fn audited(builder: Builder, file: &Path, more: &str) -> Builder {
    builder.yaml(&format!("audit:\n  file: {}\n{more}", file.display()))
}

pub fn records(file: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    text.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"))).collect()
}

/// Waits until the file holds so many records.
pub fn wait_records(file: &Path, count: usize) -> Vec<Value> {
    let end = Instant::now() + BOUND;
    loop {
        // The last line may be half written when it is read.
        let text = std::fs::read_to_string(file).unwrap_or_default();
        if text.lines().count() >= count && text.ends_with('\n') {
            return records(file);
        }
        assert!(Instant::now() < end, "{count} records did not come: {text}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

pub fn verify(arguments: &[&str]) -> (Option<i32>, String) {
    let builder = Builder::none().argument("audit").argument("verify");
    arguments.iter().fold(builder, |builder, argument| builder.argument(argument)).finish()
}

fn outcome_of<'r>(records: &'r [Value], command: &Command) -> &'r Value {
    let own: Vec<&Value> = records.iter().filter(|record| record["request_id"] == *command.id).collect();
    assert_eq!(own.len(), 1, "{}: {records:?}", command.id);
    own[0]
}

pub fn tool(name: &str, id: u32) -> Command {
    Command::rpc(format!(
        r#"{{"jsonrpc":"2.0","id":{id},"method":"tools/call","params":{{"name":"{name}","arguments":{{"q":"argument-inside"}}}}}}"#
    ))
}

/// The log would break the chain, by whatever name it goes there.
#[test]
fn log_and_records_have_a_file_each() {
    let directory = TempDir::new();
    let file = directory.join("one.log");
    std::fs::write(&file, "").unwrap();
    let link = directory.join("link.log");
    std::os::unix::fs::symlink(&file, &link).unwrap();
    for log in [&file, &link] {
        let text = format!("audit:\n  file: {}\nlog:\n  file: {}\n", file.display(), log.display());
        let (code, output) =
            Builder::run("http://127.0.0.1:1", "http://127.0.0.1:1/mcp").yaml(&text).finish();
        assert!(code == Some(1) && output.contains("line 2: audit.file is the file of log.file"), "{output}");
    }
}

/// Every command has one record, in order, whatever became of it; none shows what was sent.
#[test]
fn every_command_has_one_record() {
    let directory = TempDir::new();
    let file = directory.join("audit.jsonl");
    let mut rig = Rig::with(|b| audited(b, &file, ""));
    rig.mcp.reply("tools/call", Reply::result("1", r#"{"content":[]}"#));
    let ok = tool("search", 1).header("Mcp-Session-Id", &["session-inside"]);
    rig.send(&ok);
    rig.mcp.reply("tools/call", Reply::result("2", r#"{"content":[],"isError":true}"#));
    let tool_error = tool("search", 2);
    rig.send(&tool_error);
    let error = r#"{"jsonrpc":"2.0","id":3,"error":{"code":-32601,"message":"no"}}"#;
    rig.mcp.reply("tools/call", Reply::json(200, error));
    let rpc_error = tool("missing", 3);
    rig.send(&rpc_error);
    rig.mcp.reply("tools/call", Reply::closed());
    let failed = tool("search", 4);
    rig.send(&failed);
    let note = Command::notification("notifications/initialized");
    rig.send(&note);
    let elsewhere = Command::method("ping", "5").channel("elsewhere");
    rig.send(&elsewhere);
    let malformed = Command::rpc(r#"{"jsonrpc":"2.0","id":6,"id":6,"method":"ping"}"#);
    rig.send(&malformed);
    let dropped = Command::method("ping", "7").without("shard_token").off_contract();
    rig.plane.queue(&dropped);
    wait_records(&file, 8);
    assert!(rig.client.stop().success());
    let records = records(&file);
    assert_eq!(records.len(), 8, "{records:?}");
    for (command, outcome, status, failure) in [
        (&ok, "ok", Some(200), None),
        (&tool_error, "tool_error", Some(200), None),
        (&rpc_error, "rpc_error", Some(200), None),
        (&failed, "failed", Some(502), Some("eof")),
        (&note, "ok", Some(202), None),
        (&elsewhere, "refused", Some(400), Some("unsupported_channel")),
        (&malformed, "refused", Some(400), Some("invalid_mcp_request")),
        (&dropped, "refused", None, Some("invalid_command")),
    ] {
        let record = outcome_of(&records, command);
        assert_eq!(record["outcome"], outcome, "{record}");
        assert_eq!(record.get("status").and_then(Value::as_u64), status, "{record}");
        assert_eq!(record.get("failure").and_then(Value::as_str), failure, "{record}");
    }
    // The log calls the conversation the same, so that one leads to the other.
    let line = rig.client.wait_log(|line| line.contains("call ended: ok") && line.contains(&ok.id));
    let line: Value = serde_json::from_str(&line).unwrap();
    assert_eq!(outcome_of(&records, &ok)["session"], line["session"]);
    check_lines(&file, &records, &ok);
    let (code, output) = verify(&[file.to_str().unwrap()]);
    assert!(code == Some(0) && output.contains("8 records"), "{output}");
    // The end of the log has the head that verify finds.
    let head = output.lines().find_map(|line| line.strip_prefix("head ")).unwrap();
    assert!(rig.client.log().contains(&format!("head of the audit records: {head}")));
}

/// Nobody was told where the control plane did not take the answer.
#[test]
fn an_answer_that_was_given_up_has_no_status() {
    let directory = TempDir::new();
    let file = directory.join("audit.jsonl");
    let rig = Rig::with(|b| audited(b, &file, ""));
    let command = tool("search", 1);
    rig.mcp.reply("tools/call", Reply::result("1", r#"{"content":[]}"#));
    rig.plane.answer_for(&command, Reply::status(403).off_contract());
    rig.plane.queue(&command);
    let records = wait_records(&file, 1);
    let record = outcome_of(&records, &command);
    assert_eq!((&record["outcome"], &record["bytes_out"]), (&"ok".into(), &0.into()), "{record}");
    assert_eq!(record.get("status"), None, "{record}");
    rig.client.wait_log(|line| line.contains("failed to post response") && line.contains(&command.id));
}

/// Numbers, ids and sizes are there, and nothing of what was sent.
fn check_lines(file: &Path, records: &[Value], ok: &Command) {
    let record = outcome_of(records, ok);
    assert_eq!((&record["channel"], &record["tunnel"]), (&"main".into(), &TUNNEL.into()));
    assert_eq!(
        (&record["method"], &record["name"], &record["rpc_id"]),
        (&"tools/call".into(), &"search".into(), &1.into())
    );
    assert_eq!(record["session"].as_str().unwrap().len(), 32);
    assert!(record["bytes_in"].as_u64() > Some(90) && record["bytes_out"].as_u64() > Some(30), "{record}");
    let text = std::fs::read_to_string(file).unwrap();
    assert!(!text.contains("-inside") && !text.contains(&ok.token), "{text}");
    for (number, record) in (1..).zip(records) {
        assert_eq!((&record["seq"], &record["v"]), (&Value::from(number), &1.into()));
    }
    assert_eq!(records[0]["prev"], ZEROS);
}

/// What runs when the process ends has its record too, also when nobody waits for the end.
#[test]
fn commands_that_still_run_at_the_end_are_written() {
    for twice in [false, true] {
        let directory = TempDir::new();
        let file = directory.join("audit.jsonl");
        let mut rig = Rig::with(|b| {
            audited(b, &file, "").flag("process.drain-timeout", if twice { "30s" } else { "100ms" })
        });
        let gate = Gate::new();
        rig.mcp.reply("tools/call", Reply::result("1", "{}").behind(&gate));
        let command = tool("slow", 1);
        rig.plane.queue(&command);
        rig.mcp.wait_calls("tools/call", 1);
        rig.client.signal(Signal::SIGTERM);
        if twice {
            rig.client.wait_log(|line| line.contains("stopping control-plane poller"));
            // Sooner it would count as the same one.
            std::thread::sleep(Duration::from_millis(150));
            rig.client.signal(Signal::SIGTERM);
        }
        rig.client.wait_exit();
        let records = records(&file);
        assert_eq!(outcome_of(&records, &command)["outcome"], "cancelled", "{twice}: {records:?}");
    }
}

/// The chain goes on over a restart and over rotation; verify reads both files as one.
#[test]
fn the_chain_goes_on_over_restarts_and_rotation() {
    let directory = TempDir::new();
    let (file, old) = (directory.join("audit.jsonl"), directory.join("audit.jsonl.1"));
    let mut first = Rig::with(|b| audited(b, &file, ""));
    first.assert_alive();
    assert!(first.client.stop().success());
    // What a crash leaves of a record is cut off.
    let mut text = std::fs::read_to_string(&file).unwrap();
    text.push_str("{\"v\":1,\"time\":\"2026-");
    std::fs::write(&file, text).unwrap();
    let (code, output) = verify(&[file.to_str().unwrap()]);
    assert!(code == Some(0) && output.contains("audit.jsonl:2: cut off after 20 bytes"), "{output}");
    let mut second = Rig::with(|b| audited(b, &file, ""));
    second.assert_alive();
    wait_records(&file, 2);
    second.client.wait_log(|line| line.contains("ended within a record"));
    std::fs::rename(&file, &old).unwrap();
    // Until it is told, the old file is written.
    second.assert_alive();
    wait_records(&old, 3);
    second.client.signal(Signal::SIGHUP);
    second.client.wait_log(|line| line.contains("head of the audit records: 4:"));
    second.assert_alive();
    let records = wait_records(&file, 2);
    assert_eq!((&records[0]["seq"], &records[0]["event"]), (&4.into(), &"rotated".into()));
    assert_eq!(records[1]["seq"], 5);
    assert!(second.client.stop().success());
    let (code, output) = verify(&[old.to_str().unwrap(), file.to_str().unwrap()]);
    assert!(code == Some(0) && output.contains("5 records in 2 file(s) are whole: 1 to 5"), "{output}");
    let (code, output) = verify(&[file.to_str().unwrap(), old.to_str().unwrap()]);
    assert!(code == Some(1) && output.contains("audit.jsonl.1:1: a new chain begins here"), "{output}");
}

/// Names the place of the first break, whatever was changed.
#[test]
fn verify_names_the_place_of_a_change() {
    let directory = TempDir::new();
    let file = directory.join("audit.jsonl");
    let mut rig = Rig::with(|b| audited(b, &file, ""));
    (0..4).for_each(|_| rig.assert_alive());
    assert!(rig.client.stop().success());
    let whole = std::fs::read_to_string(&file).unwrap();
    let lines: Vec<&str> = whole.lines().collect();
    let head =
        verify(&[file.to_str().unwrap()]).1.lines().find_map(|l| l.strip_prefix("head ").map(str::to_owned));
    let head = head.unwrap();
    let joined = |order: &[usize]| order.iter().map(|at| format!("{}\n", lines[*at])).collect::<String>();
    let edited = |at: usize| whole.replacen(lines[at], &lines[at].replace("\"ok\"", "\"no\""), 1);
    for (text, head, wanted) in [
        (edited(1), "", ":3: it was not written behind"),
        (edited(0), "", ":2: it was not written behind"),
        (edited(3), head.as_str(), ":4: record 4 is not the one that --head names"),
        (joined(&[0, 2, 3]), "", ":2: record 3 follows record 1"),
        (joined(&[0, 2, 1, 3]), "", ":2: record 3 follows record 1"),
        (joined(&[0, 1, 1, 2, 3]), "", ":3: record 2 follows record 2"),
        (joined(&[0, 1, 2]), head.as_str(), "record 4 is not there: the files hold records 1 to 3"),
        (format!("{whole}{{\"x\":1}}\n"), "", ":5: not an audit record"),
        (format!("{whole}something else"), "", ":5: not an audit record"),
    ] {
        let path = directory.write("changed", text);
        let mut arguments = vec![path.as_str()];
        if !head.is_empty() {
            arguments.extend(["--head", head]);
        }
        let (code, output) = verify(&arguments);
        assert!(code == Some(1) && output.contains(wanted), "{wanted}: {output}");
    }
    // A tail alone is whole from where it begins, and an edit of the last record shows only beside the head.
    for (text, arguments) in [(joined(&[2, 3]), vec!["--head", &head]), (edited(3), vec![])] {
        let path = directory.write("changed", text);
        let (code, output) = verify(&[&[path.as_str()], arguments.as_slice()].concat());
        assert_eq!(code, Some(0), "{output}");
    }
    // Nothing is left of what the head says, but a part of a line at most.
    for text in ["", lines[0].get(..40).unwrap()] {
        let path = directory.write("changed", text);
        let (code, output) = verify(&[&path, "--head", &head]);
        assert!(
            code == Some(1) && output.contains("record 4 is not there: the files hold no record"),
            "{output}"
        );
    }
    for text in ["", &whole] {
        let path = directory.write("changed", text);
        let (code, output) = verify(&[&path, "--head", &format!("0:{ZEROS}")]);
        assert_eq!(code, Some(0), "{output}");
    }
    let last = format!("{{\"v\":1,\"seq\":{},\"prev\":\"{ZEROS}\"}}\n", u64::MAX);
    let (code, output) = verify(&[&directory.write("changed", last.repeat(2))]);
    assert!(code == Some(1) && output.contains(":2: record"), "{output}");
    assert_eq!(verify(&[file.to_str().unwrap(), "--head", "4:zz"]).0, Some(1));
}

/// A file belongs to one process, and to nobody else.
#[test]
fn a_file_that_cannot_be_trusted_ends_the_start() {
    let directory = TempDir::new();
    let file = directory.join("audit.jsonl");
    let rig = Rig::with(|b| audited(b, &file, ""));
    rig.assert_alive();
    let start = |file: &Path| {
        audited(Builder::run("http://127.0.0.1:1", "http://127.0.0.1:1/mcp"), file, "").finish()
    };
    let (code, output) = start(&file);
    assert!(code == Some(1) && output.contains("another process writes it"), "{output}");
    let profile: PathBuf = directory.write("profile", "a: b\n").into();
    let (code, output) = start(&profile);
    assert!(code == Some(1) && output.contains("no audit record; move the file away"), "{output}");
    assert_eq!(std::fs::read_to_string(&profile).unwrap(), "a: b\n");
    let (code, output) = start(&directory.join("missing/audit"));
    assert!(code == Some(1) && output.contains("missing/audit: no such file or directory"), "{output}");
}

/// Settings that would leave somebody without the record that they believe in.
#[test]
fn settings_are_refused_with_their_line() {
    for (text, wanted) in [
        ("audit:\n  file: x\n  colour: y\n", "line 3: unknown key \"colour\" in audit"),
        ("audit:\n  file: x\n  on_error: ignore\n", "line 3: audit.on_error must be one of: count, refuse"),
        ("audit:\n  file: x\n  arguments: all\n", "line 3: audit.arguments must be one of: none, hash, full"),
        ("audit:\n  on_error: refuse\n", "line 1: audit must have file"),
        ("audit:\n  file: '-'\n", "line 2: audit.file is -, and the log goes to standard output too"),
        ("audit:\n  file: 'unix:'\n", "line 2: audit.file names no path"),
    ] {
        let builder = Builder::run("http://127.0.0.1:1", "http://127.0.0.1:1/mcp").yaml(text);
        let (code, output) = builder.finish();
        assert!(code == Some(1) && output.contains(wanted), "{wanted}: {output}");
    }
    let builder = Builder::run("http://127.0.0.1:1", "http://127.0.0.1:1/mcp").flag("audit.file", "x");
    let (code, output) = builder.finish();
    assert!(code == Some(1) && output.contains("unknown flag"), "{output}");
}

/// Arguments are kept when asked for, and secrets never.
#[test]
fn arguments_are_kept_when_asked_for() {
    let directory = TempDir::new();
    for mode in ["hash", "full"] {
        let file = directory.join(mode);
        let mut rig = Rig::with(|b| audited(b, &file, &format!("  arguments: {mode}\n")));
        let payload = r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"t","arguments":{"q":"argument-inside","password":"hidden-inside"}}}"#;
        rig.call(payload);
        assert!(rig.client.stop().success());
        let record = &records(&file)[0];
        assert_eq!(record["arguments_sha256"].as_str().unwrap().len(), 64);
        let text = record.get("arguments").and_then(Value::as_str).unwrap_or_default();
        assert_eq!(text.contains("argument-inside"), mode == "full", "{record}");
        assert!(!record.to_string().contains("hidden-inside"), "{record}");
    }
}

/// What the policy said stands in the record, with the rule that nobody outside hears of.
#[test]
fn decisions_of_the_policy_are_recorded() {
    let directory = TempDir::new();
    for (mode, decision, outcome) in [("enforce", "deny", "refused"), ("observe", "observe", "ok")] {
        let file = directory.join(mode);
        let rules =
            format!("policy:\n  mode: {mode}\n  channels:\n    main:\n      tools: {{allow: [get_*]}}\n");
        let text = format!("audit:\n  file: {}\n{rules}", file.display());
        let mut rig = Rig::with(|b| b.yaml(&text));
        let (allowed, denied) = (tool("get_it", 1), tool("delete_it", 2));
        rig.send(&allowed);
        assert!(!rig.send(&denied).request.text().contains("get_*"));
        assert!(rig.client.stop().success());
        let records = records(&file);
        let record = outcome_of(&records, &allowed);
        assert_eq!((&record["decision"], &record["outcome"]), (&"allow".into(), &"ok".into()), "{record}");
        let record = outcome_of(&records, &denied);
        assert_eq!(
            (&record["decision"], &record["outcome"]),
            (&decision.into(), &outcome.into()),
            "{record}"
        );
        assert!(record["rule"].as_str().is_some_and(|rule| rule.contains("channels.main.tools")), "{record}");
        assert_eq!(record["failure"] == "policy_denied", mode == "enforce", "{record}");
    }
}
