//! Reload: what a running client takes over from its profile and from the files that this names, and what it says.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::audit::{verify, wait_records};
use crate::support::client::Builder;
use crate::support::command::Command;
use crate::support::mcp::Mcp;
use crate::support::notify::Notifications;
use crate::support::plane::Plane;
use crate::support::rig::Rig;
use crate::support::temp::TempDir;

/// The line about a profile or file that was taken over.
const TAKEN: &str = "taken over: ";

/// The line about what could not be.
const REFUSED: &str = "a file cannot be taken over; what it held before stays in use";

/// A client with this profile.
fn with_profile(text: &str) -> Rig {
    Rig::with(|b| b.without("log.level").yaml(text))
}

/// Writes the profile anew and has it read; gives the line that tells of it, which holds this.
fn reload(rig: &Rig, profile: &str, line: &str) -> String {
    let before = rig.client.log().lines().filter(|text| text.contains(line)).count();
    fs::write(rig.client.path("config.yaml"), profile).unwrap();
    rig.client.signal(Signal::SIGHUP);
    rig.client.wait_logs(before + 1, |text| text.contains(line))
}

fn sha256(bytes: &[u8]) -> String {
    let digest = ring::digest::digest(&ring::digest::SHA256, bytes);
    digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

fn tool(name: &str) -> Command {
    let params = json!({ "name": name, "arguments": {} });
    Command::rpc(json!({ "jsonrpc": "2.0", "id": "c-1", "method": "tools/call", "params": params }))
}

/// Whether a call of this tool reaches the server.
fn passes(rig: &Rig, name: &str) -> bool {
    rig.send(&tool(name)).payload().get("result").is_some()
}

fn rules(tool: &str) -> String {
    format!("policy:\n  channels:\n    main:\n      tools: {{ allow: [{tool}] }}\n")
}

/// DESIGN, Reload: a profile may change the level of the log and the policy; a change is told, counted and shown.
#[test]
fn a_profile_changes_the_level_and_the_policy() {
    let mut rig = with_profile(&rules("a"));
    assert!(passes(&rig, "a") && !passes(&rig, "b"));
    assert!(!rig.client.log().contains("\"DEBUG\""));
    reload(&rig, &(rules("b") + "log:\n  level: debug\n"), TAKEN);
    assert!(!passes(&rig, "a") && passes(&rig, "b"));
    rig.client.wait_log(|line| line.contains("\"DEBUG\""));
    let metrics = rig.client.get("/metrics").body;
    assert!(metrics.contains("tunnel_client_config_reloads_total{result=\"ok\"} 1"), "{metrics}");
    assert!(metrics.contains("tunnel_client_config_last_reload_timestamp_seconds 1"), "{metrics}");
    let health = rig.client.get("/health?details=true").body;
    let health: Value = serde_json::from_str(&health).unwrap();
    let component = &health["components"]["reload"];
    assert_eq!((&component["status"], &component["state"]), (&json!("ok"), &json!("taken")), "{health}");
    assert!(rig.client.stop().success());
}

/// What was only told is refused once the operator says so: no restart is needed to become stricter.
#[test]
fn rules_that_were_observed_are_enforced() {
    let rig = with_profile(&rules("a").replace("policy:", "policy:\n  mode: observe"));
    assert!(passes(&rig, "a") && passes(&rig, "b"));
    reload(&rig, &rules("a"), TAKEN);
    assert!(passes(&rig, "a") && !passes(&rig, "b"));
}

/// A limit that changes holds at once; an unchanged policy goes on counting, whatever else changes.
#[test]
fn limits_are_taken_over_and_those_that_stay_count_on() {
    let limited = |burst: u32, level: &str| {
        let limit = format!("{{ tools: [a], per_minute: 1, burst: {burst} }}");
        format!("policy:\n  channels:\n    main:\n      limits: [{limit}]\nlog:\n  level: {level}\n")
    };
    let rig = with_profile(&limited(1, "info"));
    assert!(passes(&rig, "a") && !passes(&rig, "a"));
    reload(&rig, &limited(1, "debug"), TAKEN);
    assert!(!passes(&rig, "a"));
    reload(&rig, &limited(2, "debug"), TAKEN);
    assert!(passes(&rig, "a") && passes(&rig, "a") && !passes(&rig, "a"));
}

/// What needs a restart is named, and then nothing of the profile is taken. A profile that is broken changes nothing
/// either, and the log is opened anew all the same.
#[test]
fn a_profile_is_taken_whole_or_not_at_all() {
    let directory = TempDir::new();
    let log = directory.join("log");
    let profile = |rest: &str| rules("a") + &format!("log:\n  file: {}\n", log.display()) + rest;
    let rig = Rig::with(|b| b.without("log.level").yaml(&profile("")));
    let told = |line: &str| {
        let end = std::time::Instant::now() + crate::support::BOUND;
        while !fs::read_to_string(&log).unwrap_or_default().contains(line) {
            assert!(
                std::time::Instant::now() < end,
                "{line}: {}",
                fs::read_to_string(&log).unwrap_or_default()
            );
            std::thread::sleep(Duration::from_millis(10));
        }
    };
    rig.assert_alive();
    let moved = directory.join("moved");
    for (text, line) in [
        (
            profile("mcp:\n  max_concurrent_requests: 3\n").replace("[a]", "[b]"),
            "mcp.max_concurrent_requests cannot change while the program runs: restart it",
        ),
        (profile("bogus: 1\n").replace("[a]", "[b]"), "unknown key \\\"bogus\\\""),
        (
            profile("").replace("channels", "mode: observe\n  channels"),
            "policy.mode from enforce to observe cannot",
        ),
        (format!("log:\n  file: {}\n", log.display()), "whether there is a policy cannot change"),
        (profile("audit: { file: /tmp/none }\n"), "audit cannot change while the program runs: restart it"),
    ] {
        fs::rename(&log, &moved).unwrap();
        fs::write(rig.client.path("config.yaml"), text).unwrap();
        rig.client.signal(Signal::SIGHUP);
        // In the new file, which the same signal has made.
        told(line);
        assert!(passes(&rig, "a") && !passes(&rig, "b"), "{line}");
    }
    fs::write(rig.client.path("config.yaml"), profile("").replace("[a]", "[b]")).unwrap();
    rig.client.signal(Signal::SIGHUP);
    told(TAKEN);
    assert!(!passes(&rig, "a") && passes(&rig, "b"));
}

/// Files are taken one by one: one that cannot be used keeps its last good content and no other from being taken. It
/// is tried again when somebody asks. No text of a file is ever told.
#[test]
fn a_file_that_is_broken_holds_up_no_other() {
    let directory = TempDir::new();
    let (one, two) = (directory.write("one", "secret-one-1"), directory.write("two", "secret-two-1"));
    let headers = format!("mcp:\n  extra_headers: {{ X-One: 'file:{one}', X-Two: 'file:{two}' }}\n");
    let mut rig = with_profile(&headers);
    let sent = |rig: &Rig| {
        let request = rig.forwarded(&tool("a"), "tools/call");
        ["x-one", "x-two"].map(|name| request.header(name).unwrap_or_default().to_owned())
    };
    assert_eq!(sent(&rig), ["secret-one-1", "secret-two-1"]);
    fs::write(&one, "secret-one-2\nanother line").unwrap();
    fs::write(&two, "secret-two-2").unwrap();
    rig.client.signal(Signal::SIGHUP);
    rig.client.wait_log(|line| line.contains(REFUSED));
    rig.client.wait_log(|line| line.contains(TAKEN) && line.contains(&two));
    assert_eq!(sent(&rig), ["secret-one-1", "secret-two-2"]);
    let metrics = rig.client.get("/metrics").body;
    assert!(metrics.contains("tunnel_client_config_reloads_total{result=\"failed\"} 1"), "{metrics}");
    fs::write(&one, "secret-one-3").unwrap();
    rig.client.signal(Signal::SIGHUP);
    rig.client.wait_log(|line| line.contains(TAKEN) && line.contains(&one));
    assert_eq!(sent(&rig), ["secret-one-3", "secret-two-2"]);
    fs::remove_file(&one).unwrap();
    rig.client.signal(Signal::SIGHUP);
    rig.client.wait_log(|line| line.contains(REFUSED) && line.contains("No such file"));
    assert_eq!(sent(&rig), ["secret-one-3", "secret-two-2"]);
    // What nothing names any more was not taken over; what is named instead is warned of as at a start.
    let three = directory.write("three", "secret-three-1");
    fs::set_permissions(&three, fs::Permissions::from_mode(0o644)).unwrap();
    fs::write(rig.client.path("config.yaml"), headers.replace(&one, &three)).unwrap();
    rig.client.signal(Signal::SIGHUP);
    rig.client.wait_log(|line| line.contains(TAKEN) && line.contains("config.yaml"));
    rig.client.signal(Signal::SIGHUP);
    rig.client.wait_log(|line| line.contains("have changed"));
    assert_eq!(sent(&rig), ["secret-three-1", "secret-two-2"]);
    let log = rig.client.log();
    assert_eq!(log.matches(&format!("{TAKEN}{one}")).count(), 1, "{log}");
    assert_eq!(log.matches(&format!("{three} can be read by every user")).count(), 1, "{log}");
    for text in [log, rig.client.get("/metrics").body, rig.client.get("/ui").body] {
        assert!(!text.contains("secret-"), "{text}");
    }
}

/// DESIGN, Reload: a file that has changed and stays so is taken by itself, also where a link was put in the place of
/// another one, as Kubernetes does.
#[test]
fn a_file_that_has_changed_is_taken_by_itself() {
    let directory = TempDir::new();
    directory.write("v1", "value-1");
    let link = directory.join("link");
    std::os::unix::fs::symlink("v1", &link).unwrap();
    let rig = with_profile(&format!("mcp:\n  extra_headers: {{ X-One: 'file:{}' }}\n", link.display()));
    rig.assert_alive();
    directory.write("v2", "value-2");
    std::os::unix::fs::symlink("v2", directory.join("new")).unwrap();
    fs::rename(directory.join("new"), &link).unwrap();
    rig.client.wait_log(|line| line.contains(TAKEN));
    assert_eq!(rig.forwarded(&tool("a"), "tools/call").header("x-one"), Some("value-2"));
}

/// However many files change, the log has a few lines about them.
#[test]
fn many_files_fill_no_log() {
    let directory = TempDir::new();
    let files: Vec<String> = (0..30).map(|n| directory.write(&format!("f{n}"), "value-1")).collect();
    let headers: String = (0..30).map(|n| format!("X-{n}: 'file:{}', ", files[n])).collect();
    let rig = with_profile(&format!("mcp:\n  extra_headers: {{ {headers} }}\n"));
    rig.assert_alive();
    files.iter().for_each(|file| fs::write(file, "value-2").unwrap());
    rig.client.signal(Signal::SIGHUP);
    rig.client.wait_log(|line| line.contains("taken over: 10 files more than"));
    assert_eq!(rig.forwarded(&tool("a"), "tools/call").header("x-29"), Some("value-2"));
    rig.client.wait_logs(21, |line| line.contains(TAKEN));
    rig.client.signal(Signal::SIGHUP);
    rig.client.wait_log(|line| line.contains("have changed"));
    assert_eq!(rig.client.log().matches(TAKEN).count(), 21);
}

/// Every change is an event of the audit record, with digests of what was and what is. A secret cannot be guessed from
/// its own.
#[test]
fn changes_are_recorded() {
    let directory = TempDir::new();
    let (file, value) = (directory.join("audit.jsonl"), directory.write("value", "secret-1"));
    // As Kubernetes mounts it, in a directory that others do not enter.
    fs::set_permissions(&value, fs::Permissions::from_mode(0o644)).unwrap();
    let profile = |rest: &str| {
        let headers = format!("mcp:\n  extra_headers: {{ X-One: 'file:{value}' }}\n");
        format!("audit: {{ file: {} }}\n{headers}{rest}", file.display())
    };
    let rig = with_profile(&profile(""));
    rig.assert_alive();
    let text = profile("log: { level: debug }\n");
    reload(&rig, &text, TAKEN);
    fs::write(&value, "secret-2").unwrap();
    rig.client.signal(Signal::SIGHUP);
    rig.client.wait_logs(2, |line| line.contains(TAKEN));
    let mut events = wait_records(&file, 3);
    events.retain(|record| record["event"] == "reload");
    let digest = |text: &str| sha256(text.as_bytes());
    assert_eq!((&events[0]["event"], &events[0]["to"]), (&json!("reload"), &json!(digest(&text))));
    assert_eq!(events[0]["from"], digest(&profile("")));
    assert_eq!((&events[1]["event"], &events[1]["file"]), (&json!("reload"), &json!(value)));
    let digests = ["from", "to"].map(|name| events[1][name].as_str().unwrap().to_owned());
    assert!(digests[0] != digests[1] && digests.iter().all(|one| one.len() == 32), "{digests:?}");
    assert_eq!(verify(&[file.to_str().unwrap()]).0, Some(0));
}

/// The service manager is told when a reload begins, with the time of its clock, and when it is over.
#[test]
fn the_service_manager_hears_of_a_reload() {
    let directory = TempDir::new();
    let mut notifications = Notifications::at(&directory.join("notify"));
    let rig = Rig::over(Plane::start(), Mcp::start(), |b: Builder| {
        b.env("NOTIFY_SOCKET", directory.join("notify").to_str().unwrap())
    });
    notifications.wait(|line| line == "READY=1");
    rig.client.signal(Signal::SIGHUP);
    notifications.wait(|line| line == "RELOADING=1");
    let clock = notifications.wait(|line| line.starts_with("MONOTONIC_USEC="));
    assert!(clock.trim_start_matches("MONOTONIC_USEC=").parse::<u64>().unwrap() > 0);
    notifications.wait(|line| line == "READY=1");
    rig.client
        .wait_log(|line| line.contains("neither the settings nor the files that they name have changed"));
    rig.assert_alive();
}
