//! The filters of `packaging/audit.md`, run over records as the program writes them.

use std::io::Write;
use std::path::Path;
use std::process::{Command as Program, Stdio};

use serde_json::Value;

use crate::audit::{audited, tool};
use crate::support::command::Command;
use crate::support::rig::Rig;
use crate::support::temp::TempDir;

/// The filter below a heading of the page.
fn filter(heading: &str) -> String {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging/audit.md");
    let page = std::fs::read_to_string(page).unwrap();
    let section = page.split(&format!("\n## {heading}\n")).nth(1).unwrap();
    section.split("```jq\n").nth(1).unwrap().split("```").next().unwrap().to_owned()
}

/// What a filter makes of records; nothing where there is no jq.
fn jq(option: &str, filter: &str, records: &str) -> Option<Vec<String>> {
    let run = Program::new("jq").args([option, filter]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
    let Ok(mut child) = run else {
        eprintln!("SKIPPED: jq is not installed");
        return None;
    };
    child.stdin.take().unwrap().write_all(records.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{filter}");
    Some(String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect())
}

/// Records of a call with a hostile name, of a refusal, of a gap, and of two other events.
fn samples() -> String {
    let directory = TempDir::new();
    let file = directory.join("audit.jsonl");
    let mut rig = Rig::with(|b| audited(b, &file, ""));
    rig.send(&tool("a|b=c\\\\\\nd", 1).header("Mcp-Session-Id", &["s"]));
    rig.send(&Command::method("ping", "2").channel("elsewhere"));
    assert!(rig.client.stop().success());
    let gap = r#"{"v":1,"time":"2026-11-30T08:00:00.125Z","seq":3,"instance":"i","tunnel":"t","event":"gap","refused":7,"lost":0,"prev":"00"}"#;
    let drift = r#"{"v":1,"time":"2026-11-30T08:00:00.125Z","seq":4,"instance":"i","tunnel":"t","event":"drift","channel":"main","name":"n","change":"changed (description)","prev":"00"}"#;
    let rotated = r#"{"v":1,"time":"2026-11-30T08:00:00.125Z","seq":5,"instance":"i","tunnel":"t","event":"rotated","prev":"00"}"#;
    format!("{}{gap}\n{drift}\n{rotated}\n", std::fs::read_to_string(&file).unwrap())
}

#[test]
fn records_map_to_ocsf_and_cef() {
    let samples = samples();
    let Some(lines) = jq("-c", &filter("OCSF"), &samples) else { return };
    let events: Vec<Value> = lines.iter().map(|line| serde_json::from_str(line).unwrap()).collect();
    let statuses: Vec<&Value> = events.iter().map(|event| &event["status_id"]).collect();
    assert_eq!(statuses, [1, 2, 2, 1, 1], "{events:?}");
    let severities: Vec<&Value> = events.iter().map(|event| &event["severity_id"]).collect();
    assert_eq!(severities, [1, 3, 4, 3, 1], "{events:?}");
    assert_eq!(events[3]["unmapped"]["change"], "changed (description)");
    assert_eq!(events[0]["api"]["operation"], "a|b=c\\\nd");
    assert_eq!(
        (&events[1]["status_code"], &events[1]["status_detail"]),
        (&"400".into(), &"unsupported_channel".into())
    );
    assert_eq!(
        (&events[2]["time"], &events[2]["unmapped"]["refused"]),
        (&1_796_025_600_125_u64.into(), &7.into())
    );
    assert!(lines.iter().all(|line| !line.contains("null")), "{lines:?}");

    let lines = jq("-r", &filter("CEF"), &samples).unwrap();
    assert_eq!(lines.len(), 5, "{lines:?}");
    assert!(lines[0].starts_with("CEF:0|tunnel-client|tunnel-client|1|ok|tools/call|1|rt="), "{}", lines[0]);
    assert!(lines[0].contains(r"cs1=a|b\=c\\\nd cs2Label"), "{}", lines[0]);
    assert!(
        lines[1].contains("|refused|ping|6|") && lines[1].contains("reason=unsupported_channel"),
        "{}",
        lines[1]
    );
    assert!(lines[2].contains("|gap|gap|8|rt=1796025600125 "), "{}", lines[2]);
    let (name, change) = ("cs1=n", "msg=changed (description)");
    let drift = lines[3].contains("|drift|drift|6|") && lines[3].contains(name) && lines[3].ends_with(change);
    assert!(drift && lines[4].contains("|rotated|rotated|1|"), "{lines:?}");
}

/// Servers over stdio belong to the unit too, and SIGHUP would end them at every rotation.
#[test]
fn rotation_signals_nobody_but_the_program() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging/systemd/examples/audit.logrotate");
    let text = std::fs::read_to_string(file).unwrap();
    let kills: Vec<&str> = text.lines().filter(|line| line.contains("systemctl kill")).collect();
    assert!(kills.len() == 1 && kills[0].contains(" --kill-who=main "), "{kills:?}");
}
