//! What the reference of today accepts is accepted here: settings in each of their forms.
//!
//! A start with an impossible time-out of the drain, the last thing that is checked, tells an accepted setting from a
//! refused one: the complaint is about that time-out, or about the setting.

use std::path::PathBuf;
use std::process::Command;

const TUNNEL: (&str, &str) = ("CONTROL_PLANE_TUNNEL_ID", "tunnel_abcdefghijklmnopqrstuvwxyz012345");
const KEY: (&str, &str) = ("CONTROL_PLANE_API_KEY", "sk-runtime_1");
const SERVER: (&str, &str) = ("MCP_SERVER_URL", "http://127.0.0.1:3000/mcp");

/// The complaint of a start whose settings are fine but for the last one.
const LAST: &str = "process.drain-timeout must be less than or equal to 10m0s";

/// What `run` says of these settings; nothing when all of them are accepted.
fn complaint(arguments: &[&str], variables: &[(&str, &str)]) -> Option<String> {
    let output = Command::new(crate::support::client::PROGRAM)
        .args(["run", "--process.drain-timeout=11m"])
        .args(arguments)
        .env_clear()
        .envs([TUNNEL, KEY, SERVER].into_iter().chain(variables.iter().copied()))
        .output()
        .unwrap();
    let text = String::from_utf8(output.stderr).unwrap();
    let said = text.trim_end();
    let said = said.strip_prefix("configure tunnel-client: ").unwrap_or(said);
    (said != LAST).then(|| said.to_owned())
}

/// A file of this test process.
fn file(name: &str, text: &str) -> String {
    let directory = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("compat-{}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    let path = directory.join(name);
    std::fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}

/// What is said of a file, without where it lies.
fn complaint_about(name: &str, text: &str) -> Option<String> {
    let path = file(name, text);
    let said = complaint(&["--config", &path], &[])?;
    Some(said.strip_prefix(&format!("parse config file {path}: ")).unwrap_or(&said).to_owned())
}

/// NEW-038, NEW-039: the settings of 0.0.16 have the names of 0.0.16, and the one without a key has none.
#[test]
fn the_settings_of_today_are_accepted_in_every_form() {
    for (flag, variable, key, value) in [
        ("health.show-details", "HEALTH_SHOW_DETAILS", "health.show_details", "true"),
        ("health-show-details", "HEALTH_SHOW_DETAILS", "", "1"),
        (
            "mcp.stdio-send-initialized-notification",
            "MCP_STDIO_SEND_INITIALIZED_NOTIFICATION",
            "mcp.stdio_send_initialized_notification",
            "true",
        ),
        ("mcp.forward-trace-context", "MCP_FORWARD_TRACE_CONTEXT", "mcp.forward_trace_context", "true"),
        (
            "mcp.oauth-trusted-origin",
            "MCP_OAUTH_TRUSTED_ORIGINS",
            "mcp.oauth_trusted_origins",
            "https://login.example.com/",
        ),
        ("control-plane.initial-poll-timeout", "CONTROL_PLANE_INITIAL_POLL_TIMEOUT", "", "5s"),
    ] {
        assert_eq!(complaint(&[&format!("--{flag}={value}")], &[]), None);
        assert_eq!(complaint(&[], &[(variable, value)]), None);
        if let Some((section, key)) = key.split_once('.') {
            let value = if value.starts_with("http") { format!("[{value:?}]") } else { value.to_owned() };
            assert_eq!(complaint_about("today.yaml", &format!("{section}:\n  {key}: {value}\n")), None);
        }
    }
    let text = "control_plane:\n  initial_poll_timeout: 5s\n";
    let expected = "line 2: unknown key \"control_plane.initial_poll_timeout\"";
    assert_eq!(complaint_about("no-key.yaml", text).as_deref(), Some(expected));
}

/// NEW-040: the first poll may ask for nothing shorter than nothing, and an empty variable is none.
#[test]
fn the_first_poll_waits_for_more_than_nothing() {
    const FLAG: &str = "control-plane.initial-poll-timeout";
    const VARIABLE: &str = "CONTROL_PLANE_INITIAL_POLL_TIMEOUT";
    for value in ["0", "-1s"] {
        let said = complaint(&[&format!("--{FLAG}={value}")], &[]);
        assert_eq!(said, Some(format!("{FLAG} must be greater than zero")));
        assert_eq!(
            complaint(&[], &[(VARIABLE, value)]),
            Some(format!("{VARIABLE} must be greater than zero"))
        );
    }
    assert!(complaint(&[], &[(VARIABLE, "5")]).unwrap().starts_with(&format!("invalid {VARIABLE}: ")));
    assert_eq!(complaint(&[], &[(VARIABLE, "")]), None);
    // It is no part of the sum that is bounded.
    assert_eq!(complaint(&[&format!("--{FLAG}=20m")], &[]), None);
}

/// NEW-041: what is no boolean is refused, whoever says it.
#[test]
fn new_switches_are_booleans() {
    for (flag, variable) in [
        ("health.show-details", "HEALTH_SHOW_DETAILS"),
        ("mcp.forward-trace-context", "MCP_FORWARD_TRACE_CONTEXT"),
        ("mcp.stdio-send-initialized-notification", "MCP_STDIO_SEND_INITIALIZED_NOTIFICATION"),
    ] {
        let said = complaint(&[&format!("--{flag}=maybe")], &[]).unwrap();
        assert!(said.starts_with(&format!("invalid argument \"maybe\" for \"--{flag}\" flag: ")), "{said}");
        let said = complaint(&[], &[(variable, "maybe")]).unwrap();
        assert!(said.starts_with(&format!("invalid {variable}: ")), "{said}");
    }
    let said = complaint_about("maybe.yaml", "health:\n  show_details: maybe\n");
    assert_eq!(said.as_deref(), Some("line 2: health.show_details must be a boolean"));
}

/// NEW-042: a trusted origin is scheme, host and port, and a complaint says which of them is wrong.
#[test]
fn a_trusted_origin_has_nothing_behind_it() {
    const ALONE: &str = "expected an absolute HTTP(S) origin without credentials, path, query, or fragment";
    const ADDRESS: &str = "origin IPv6 host must use a valid bracketed address";
    const EMPTY: &str = "origin port must not be empty";
    const PORT: &str = "origin port must be between 1 and 65535";
    for (origin, expected) in [
        ("idp.internal", ALONE),
        ("ftp://h", ALONE),
        ("https://u:hidden@h", ALONE),
        ("https://h/path", ALONE),
        ("https://h//", ALONE),
        ("https://h?hidden", ALONE),
        ("https://h#", ALONE),
        ("https://", ALONE),
        ("https://::1", ADDRESS),
        ("https://[::1", ADDRESS),
        ("https://[fe80::1%25eth0]", ADDRESS),
        ("https://h:", EMPTY),
        ("https://[::1]:", EMPTY),
        ("https://h:0", PORT),
        ("https://h:65536", PORT),
        ("https://[::1]:99999", PORT),
        ("https://h:x", PORT),
    ] {
        let said = complaint(&["--mcp.oauth-trusted-origin", origin], &[]);
        assert_eq!(said, Some(format!("mcp.oauth-trusted-origin: {expected}")), "{origin}");
        let said = complaint(&[], &[("MCP_OAUTH_TRUSTED_ORIGINS", &format!("https://fine\n{origin}"))]);
        assert_eq!(said, Some(format!("mcp.oauth-trusted-origin: {expected}")), "{origin}");
        let text = format!("mcp:\n  oauth_trusted_origins:\n    - '{origin}'\n");
        let said = complaint_about("origins.yaml", &text);
        assert_eq!(said, Some(format!("line 2: mcp.oauth_trusted_origins: {expected}")), "{origin}");
    }
    for origin in ["http://h", "https://h:8443/", "https://[2001:db8::1]:8443", "HTTPS://H.Example:080"] {
        assert_eq!(complaint(&["--mcp.oauth-trusted-origin", origin], &[]), None, "{origin}");
    }
}

/// NEW-043: the service alone names the variable for trace contexts in its usage text.
#[test]
fn the_usage_text_of_the_service_names_the_variables() {
    let output = Command::new(crate::support::client::DAEMON).arg("--help").env_clear().output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("MCP_FORWARD_TRACE_CONTEXT"), "{text}");
}
