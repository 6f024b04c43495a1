//! The limits that the service sets itself at its start: that they are on, what they leave open, and how they are said.
//!
//! All other tests run within them too.

use std::fs;

use nix::sys::signal::Signal;

use crate::support::client::{Builder, Client};
use crate::support::rig::Rig;
use crate::support::stdio;
use crate::support::temp::TempDir;

/// What the kernel says of each thread of a process: whether it can get rights, how its calls are limited, by how many
/// filters.
fn limits(process: impl std::fmt::Display) -> Vec<[String; 3]> {
    let tasks = fs::read_dir(format!("/proc/{process}/task")).unwrap();
    // Threads end at any time.
    let tasks = tasks.filter_map(|task| fs::read_to_string(task.ok()?.path().join("status")).ok());
    let of = |status: &str, name: &str| -> String {
        status.lines().filter_map(|line| line.strip_prefix(name)).map(str::trim).collect()
    };
    tasks.map(|task| ["NoNewPrivs:", "Seccomp:", "Seccomp_filters:"].map(|name| of(&task, name))).collect()
}

/// What the log says of the cage.
fn said(client: &Client) -> String {
    client.wait_log(|line| line.contains("cage: "))
}

/// Whether this kernel has Landlock, which a log line tells.
fn has_landlock(line: &str) -> bool {
    let found = line.contains("Landlock, version");
    if !found {
        eprintln!("SKIPPED: {line}");
    }
    found
}

/// Filters of this process, under which its children run too.
fn filters_before() -> usize {
    limits("self")[0][2].parse().unwrap()
}

#[test]
fn every_thread_is_inside() {
    let rig = Rig::with(|builder| builder.daemon());
    rig.assert_alive();
    let line = said(&rig.client);
    assert!(line.contains("system calls: seccomp\""), "{line}");
    let (all, filters) = (limits(rig.client.pid()), (filters_before() + 3).to_string());
    assert!(all.len() > 10, "{all:?}");
    assert!(all.iter().all(|one| one == &["1", "2", &filters]), "{all:?}");
}

/// Another program is anybody's: it is held to nothing but what no server does.
#[test]
fn servers_over_stdio_are_held_to_little() {
    let rig = stdio::Rig::start("plain");
    rig.assert_alive();
    let line = said(&rig.client);
    assert!(line.contains("servers over stdio would be held too"), "{line}");
    let filters = (filters_before() + 1).to_string();
    let all = limits(rig.server_pid());
    assert!(all.iter().all(|one| one == &["1", "2", &filters]), "{all:?}");
}

#[test]
fn it_is_switched_off_by_a_setting_alone_and_that_is_said() {
    let rig = Rig::with(|builder| builder.yaml("process:\n  cage: off\n"));
    rig.assert_alive();
    assert!(said(&rig.client).contains("not limited (process.cage is off)"));
    assert_eq!(limits(rig.client.pid()), vec![limits("self")[0].clone(); limits(rig.client.pid()).len()]);
    let refused = Builder::run("http://127.0.0.1:1", "http://127.0.0.1:2").flag("process.cage", "sometimes");
    let (code, text) = refused.finish();
    assert_eq!(code, Some(1));
    assert!(text.contains("supported values are \"auto\", \"require\" or \"off\""), "{text}");
}

/// A kernel without seccomp or Landlock is simulated by a unit test.
#[test]
fn what_is_required_and_there_lets_it_start() {
    let rig = Rig::with(|builder| builder.env("PROCESS_CAGE", "auto"));
    if has_landlock(&said(&rig.client)) {
        Rig::with(|builder| builder.env("PROCESS_CAGE", "require")).assert_alive();
    }
}

/// A profile that names a file elsewhere needs a restart, which is said; what lies beside known files is taken.
#[test]
fn a_file_that_is_new_on_reload_and_lies_outside_needs_a_restart() {
    let (inside, outside) = (TempDir::new(), TempDir::new());
    let files = [&inside, &inside, &outside].into_iter().zip(["one", "two", "three"]);
    let [one, two, three] =
        files.map(|(folder, name)| folder.write(name, name)).collect::<Vec<_>>().try_into().unwrap();
    let profile = |file: &str| format!("mcp:\n  extra_headers:\n    X-Own: file:{file}\n");
    let rig = Rig::with(|builder| builder.yaml(&profile(&one)));
    let header = |wanted: &str| {
        let request = rig.forwarded(&crate::support::command::Command::rpc(PING), "ping");
        assert_eq!(request.header("x-own"), Some(wanted));
    };
    header("one");
    let reload = |file: &str, line: &str| {
        fs::write(rig.client.path("config.yaml"), profile(file)).unwrap();
        rig.client.signal(Signal::SIGHUP);
        rig.client.wait_log(|text| text.contains(line))
    };
    reload(&two, "taken over: ");
    header("two");
    if !has_landlock(&said(&rig.client)) {
        return;
    }
    let line = reload(&three, "a file cannot be taken over");
    let sentence = format!("{three} lies outside of the directories that this process has limited itself to");
    assert!(line.contains(&sentence) && line.contains("restart it"), "{line}");
    header("two");
}

/// Names are resolved, by what the system has for it.
#[test]
fn names_are_resolved_inside() {
    let mcp = crate::support::mcp::Mcp::start();
    let url = mcp.url().replace("127.0.0.1", "localhost");
    Rig::over(crate::support::plane::Plane::start(), mcp, |builder| builder.set("mcp.server-url", &url))
        .assert_alive();
}

const PING: &str = r#"{"jsonrpc":"2.0","id":"c","method":"ping"}"#;
