//! How `doctor` tries servers over stdio, and that none of its children stays.

use std::time::Duration;

use nix::sys::signal::Signal;

use super::{Findings, doctor};
use crate::support::client::Builder;
use crate::support::plane::Plane;
use crate::support::stdio::{Journal, program};
use crate::support::temp::TempDir;

/// Settings without anybody but a stdio server.
fn alone() -> Builder {
    doctor("http://127.0.0.1:1").argument("--offline")
}

/// A server in a directory of its own, which goes with it.
struct Tried {
    journal: Journal,
    _directory: TempDir,
}

impl Tried {
    fn new() -> Tried {
        let directory = TempDir::new();
        Tried { journal: Journal::new(directory.join("journal")), _directory: directory }
    }

    /// What is found of it in this mode; none of its processes is left afterwards.
    fn found(&self, mode: &str) -> Findings {
        let found = Findings::of(alone().flag("mcp.command", &self.journal.command(mode)));
        self.journal.wait_gone();
        found
    }
}

/// What is said of a good server in this mode.
fn summary(mode: &str) -> String {
    let found = Tried::new().found(mode);
    found.assert_ok();
    found.summary("mcp_handshake").to_owned()
}

/// All is well over stdio as well: one child is asked without a handshake, another one with.
#[test]
fn a_good_server_passes() {
    let (plane, tried) = (Plane::start(), Tried::new());
    let builder = doctor(&plane.server.origin());
    let found = Findings::of(builder.flag("mcp.command", &tried.journal.command("plain")));
    found.assert_ok();
    let ids = found.ids();
    let at = ids.iter().position(|id| *id == "mcp_target").unwrap();
    assert_eq!(ids[at + 1..at + 3], ["mcp_command_executable", "mcp_server_reachable"]);
    assert_eq!(found.status("mcp_server_reachable"), "SKIP");
    assert_eq!(found.summary("mcp_command_executable"), program());
    assert!(found.summary("mcp_handshake").contains("it is scripted 1"));
    let (first, second) = (tried.journal.of("server/discover"), tried.journal.of("initialize"));
    assert_eq!((first.len(), second.len()), (1, 1));
    assert_ne!(first[0].pid, second[0].pid);
    tried.journal.wait_gone();
}

/// REV-058: a server that is silent to discovery is asked with a handshake.
#[test]
fn a_server_that_is_silent_to_discovery_passes() {
    for mode in ["deaf", "strict"] {
        assert!(summary(mode).contains("with a handshake"));
    }
}

/// REV-058: so is one that ends on it, on a fresh child.
#[test]
fn a_server_that_exits_on_discovery_passes() {
    assert!(summary("fragile").contains("with a handshake"));
}

/// REV-058: five seconds are no reason to give a server up.
#[test]
fn a_server_that_needs_five_seconds_passes() {
    let tried = Tried::new();
    let journal = &tried.journal;
    let mut client = alone().flag("mcp.command", &journal.command("slow")).start();
    journal.wait("(start)", 1);
    let gate = journal.clone();
    let opener = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_secs(5));
        gate.open_gate();
    });
    assert_eq!(client.wait_exit().code(), Some(0), "{}", client.log());
    opener.join().unwrap();
    journal.wait_gone();
}

/// REV-058: a server that answers nothing, ends at once or resists its end is judged, and none is left.
#[test]
fn servers_that_fail_leave_nothing() {
    for (mode, wanted) in [("mute", "neither server/discover nor initialize"), ("down", "exit status: 1")] {
        let found = Tried::new().found(mode);
        let text = found.assert_failed(&["mcp_handshake"]);
        assert!(text.contains(wanted), "{text}");
    }
    assert!(summary("stubborn").contains("with a handshake"));
}

/// One that kills or stops its own guard does not outlive the report either.
#[test]
fn servers_that_get_rid_of_their_guards_are_ended() {
    for signal in ["KILL", "STOP"] {
        let tried = Tried::new();
        let command = format!("sh -c 'kill -{signal} $PPID; exec {}'", tried.journal.command("stubborn"));
        Findings::of(alone().flag("mcp.command", &command)).assert_ok();
        assert_eq!(tried.journal.processes(), [0; 0], "{signal}");
    }
}

/// How long a server may take is the user's to say; one that says nothing may just be slow.
#[test]
fn the_time_of_a_slow_server_can_be_set() {
    let tried = Tried::new();
    let builder = alone().flag("mcp.command", &tried.journal.command("mute")).flag("wait", "1500ms");
    let found = Findings::of(builder);
    let text = found.assert_failed(&["mcp_handshake"]);
    assert!(text.contains("was answered within 1 s") && text.contains("--wait 60s"), "{text}");
    tried.journal.wait_gone();
    for (given, wanted) in [("11m", "--wait must be above zero and at most 10m"), ("x", "invalid argument")] {
        let (code, output) = alone().flag("wait", given).finish();
        assert!(code == Some(1) && output.starts_with(wanted), "{output}");
    }
}

/// A server that asks without end and never reads is judged in time.
#[test]
fn a_flood_of_pings_holds_nothing_up() {
    let ping = r#"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"ping\"}"#;
    let found =
        Findings::of(alone().flag("mcp.command", &format!("sh -c 'while echo \"{ping}\"; do :; done'")));
    let text = found.assert_failed(&["mcp_handshake"]);
    assert!(text.contains("neither server/discover nor initialize"), "{text}");
}

/// The last words of a server that fails are evidence, without secrets and harmless to terminals.
#[test]
fn last_words_are_evidence() {
    let command = "sh -c 'echo cannot open $SECRET >&2; exit 4'";
    let yaml =
        format!("mcp:\n  commands:\n    - command: {command}\n      env: {{SECRET: child-secret-1}}\n");
    let found = Findings::of(alone().yaml(&yaml));
    let text = found.assert_failed(&["mcp_handshake"]);
    assert!(text.contains("standard error: cannot open [REDACTED]"), "{text}");
    let summary = found.summary("mcp_handshake");
    assert!(summary.ends_with("; it said last: cannot open [REDACTED]"), "{summary}");
    assert!(text.contains("exit status: 4") && !text.contains("child-secret-1"), "{text}");
}

/// A program that is not there is found before anything is started.
#[test]
fn a_missing_program_is_found() {
    let found = Findings::of(alone().flag("mcp.command", "TOKEN=child-secret-1 sh"));
    let text = found.assert_failed(&["mcp_command_executable"]);
    assert!(text.contains("TOKEN=...") && text.contains("is a variable, which only a shell"), "{text}");
    assert!(!found.json.to_string().contains("child-secret-1"), "{}", found.json);
    let builder: Builder = alone().flag("mcp.command", "surely-absent x");
    let found = Findings::of(builder);
    let text = found.assert_failed(&["mcp_command_executable"]);
    assert!(text.contains("surely-absent"), "{text}");
    assert_eq!(found.summary("mcp_handshake"), "blocked by mcp_command_executable");
}

/// An interrupted doctor leaves no child.
#[test]
fn an_interrupt_ends_the_children() {
    let tried = Tried::new();
    let journal = &tried.journal;
    let mut client = alone().flag("mcp.command", &journal.command("mute")).start();
    journal.wait("server/discover", 1);
    client.signal(Signal::SIGINT);
    assert!(!client.wait_exit().success());
    journal.wait_gone();
}
