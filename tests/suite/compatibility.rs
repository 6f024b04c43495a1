//! What the reference of today accepts is accepted here: settings in each of their forms.
//!
//! A start with an impossible time-out of the drain, the last thing that is checked, tells an accepted setting from a
//! refused one: the complaint is about that time-out, or about the setting.

mod reference;

use std::path::PathBuf;

use crate::support::rig::Rig;
use crate::support::stdio;

const TUNNEL: (&str, &str) = ("CONTROL_PLANE_TUNNEL_ID", "tunnel_abcdefghijklmnopqrstuvwxyz012345");
/// A key for other programs.
const GENERAL: (&str, &str) = ("OPENAI_API_KEY", "sk-general_1");
const KEY: (&str, &str) = ("CONTROL_PLANE_API_KEY", "sk-runtime_1");
const SERVER: (&str, &str) = ("MCP_SERVER_URL", "http://127.0.0.1:3000/mcp");

/// The complaint of a start whose settings are fine but for the last one.
const LAST: &str = "process.drain-timeout must be less than or equal to 10m0s";

/// What `run` says of these settings; nothing when all of them are accepted.
fn complaint(arguments: &[&str], variables: &[(&str, &str)]) -> Option<String> {
    let good = [TUNNEL, KEY, SERVER].into_iter();
    said(arguments, good.chain(variables.iter().copied()))
}

/// The same without some of the variables that make a start complete.
fn complaint_without(names: &[&str], arguments: &[&str]) -> Option<String> {
    let mut good = vec![TUNNEL, SERVER, GENERAL];
    good.extend((!names.contains(&KEY.0)).then_some(KEY));
    said(arguments, good.into_iter().filter(|(name, _)| *name == GENERAL.0 || !names.contains(name)))
}

fn said<'v>(arguments: &[&str], variables: impl Iterator<Item = (&'v str, &'v str)>) -> Option<String> {
    let output = crate::support::client::command(crate::support::client::PROGRAM)
        .args(["run", "--process.drain-timeout=11m"])
        .args(arguments)
        .env_clear()
        .envs(variables)
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
    let output = crate::support::client::command(crate::support::client::DAEMON)
        .arg("--help")
        .env_clear()
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("MCP_FORWARD_TRACE_CONTEXT"), "{text}");
}

/// NEW-044, NEW-045: the first form reads the first of several documents, the second form wants one alone.
#[test]
fn the_second_form_is_one_document() {
    for text in [
        "log:\n  format: json\n",
        "config_version: 1\n",
        "config_version:\n",
        "config_version: 2\n",
        "log:\n  format: json\nconfig_version: 2\n...\n# the end\n",
        "config_version: 1\n---\nthis: [is not read\n",
        "log:\n  format: json\n---\n",
    ] {
        assert_eq!(complaint_about("forms.yaml", text), None, "{text}");
    }
    for (text, expected) in [
        ("config_version: 2\n---\n", "line 2: exactly one YAML document is required"),
        ("config_version: 2\n---\nlog:\n  format: json\n", "line 2: exactly one YAML document is required"),
        ("config_version: 0\n", "line 1: unsupported config_version 0"),
        ("config_version: 3\n", "line 1: unsupported config_version 3"),
        ("config_version: two\n", "line 1: config_version must be an integer"),
    ] {
        assert_eq!(complaint_about("forms.yaml", text).as_deref(), Some(expected), "{text}");
    }
}

/// NEW-046, NEW-047: an endpoint has an address or a template, and its complaints are those of the reference.
#[test]
#[cfg(feature = "harpoon")]
fn endpoints_are_structures() {
    let target = |lines: &str| format!("config_version: 2\nharpoon:\n  targets:\n    - label: a\n{lines}");
    for lines in [
        "      url: https://h/a,b;c?d=e\n      description: \"one, two; three\"\n",
        "      url: https://h/\n      unix_socket: /run/x.sock\n",
    ] {
        assert_eq!(complaint_about("targets.yaml", &target(lines)), None, "{lines}");
    }
    let combined =
        Some("line 4: harpoon.targets entry \"a\": template cannot be combined with url or unix_socket");
    for (text, expected) in [
        (target("      url: ''\n      template: {version: 1}\n"), combined),
        (target("      url: https://h/\n      template: {version: 1}\n"), combined),
        (target("      unix_socket: /s\n      template: {version: 1}\n"), combined),
        (
            target("      template: {version: 1}\n").replace("version: 2", "version: 1"),
            Some("line 4: harpoon.targets entry \"a\": template requires config_version: 2"),
        ),
        (target(""), Some("line 4: harpoon.targets entry \"a\" requires url or template")),
        (target("      url: http://h/\n"), Some("line 3: harpoon.targets entry \"a\": https is required")),
        (
            target("      url: https://h/\n").replace("label: a", "label: A"),
            Some("line 3: harpoon.targets label must match ^[a-z0-9][a-z0-9_-]{0,63}$"),
        ),
    ] {
        assert_eq!(complaint_about("targets.yaml", &text).as_deref(), expected, "{text}");
    }
}

/// NEW-048: a flag or the variable replaces all endpoints of the file, whose secrets then do not matter.
#[test]
#[cfg(feature = "harpoon")]
fn endpoints_are_replaced_as_a_whole() {
    let text = "harpoon:\n  targets:\n    - label: a\n      url: env:ABSENT\n    \
                - label: b\n      url: https://b/\n      headers: {Authorization: 'file:/absent'}\n";
    let path = file("replaced.yaml", text);
    let config = ["--config", path.as_str()];
    let absent =
        "invalid harpoon.targets.url reference \"env:ABSENT\": environment variable \"ABSENT\" is not set";
    assert!(complaint(&config, &[]).unwrap().ends_with(absent));
    let target = "label=c,url=https://c/";
    assert_eq!(complaint(&[&config[..], &["--harpoon.target", target]].concat(), &[]), None);
    assert_eq!(complaint(&config, &[("HARPOON_TARGETS", target)]), None);
    assert_eq!(complaint(&config, &[("HARPOON_TARGETS", "")]), None);
}

/// NEW-130: an id with a namespace is an id, with `run` and with every command that takes one.
#[test]
fn tunnel_ids_may_have_a_namespace() {
    let own = "0".repeat(32);
    let id = |id: &str| complaint(&["--control-plane.tunnel-id", id], &[]);
    for fine in [format!("tunnel_{own}"), format!("tunnel_ab0z_{own}"), format!("tunnel_0000_{own}")] {
        assert_eq!(id(&fine), None, "{fine}");
    }
    for bad in [
        format!("tunnel_abc_{own}"),
        format!("tunnel_abcde_{own}"),
        format!("tunnel__{own}"),
        format!("tunnel_ABCD_{own}"),
        format!("tunnel_abcd_efgh_{own}"),
        format!("tunnel_abcd{own}"),
        format!("tunnel_abcd_{own}0"),
        "tunnel_abcd_".to_owned(),
    ] {
        let said = id(&bad).unwrap();
        assert!(said.starts_with(&format!("invalid tunnel ID {bad:?}: must match tunnel_<32 ")), "{said}");
    }
}

/// NEW-130: a tunnel with a namespace is served: polled for and answered under its whole id.
#[test]
fn a_tunnel_with_a_namespace_is_served() {
    let id = "tunnel_ab0z_0123456789abcdefghijklmnopqrstuv";
    let rig = Rig::with(|builder| builder.set("control-plane.tunnel-id", id));
    rig.assert_alive();
    let answered = &rig.plane.posts()[0].request;
    for request in rig.plane.polls().iter().chain([answered]) {
        assert!(request.path().starts_with(&format!("/v1/tunnels/{id}/")), "{}", request.path());
    }
}

/// YAML: a profile may say things once, and a command may be a list whose words are nobody's to split.
#[test]
fn aliases_and_commands_as_lists_are_served() {
    let rig = stdio::Rig::bound(|builder, journal| {
        let folder = builder.path("with a space");
        std::fs::create_dir_all(&folder).unwrap();
        let program = format!("{folder}/it's \\ a $server");
        std::os::unix::fs::symlink(stdio::program(), &program).unwrap();
        builder.yaml(&format!(
            "config_version: 2\nlog: &log {{format: json}}\nmcp:\n  commands:\n    - &server\n      \
             command: [{program:?}, plain, {:?}]\n    - {{<<: *server, channel: again}}\n",
            journal.path()
        ))
    });
    rig.assert_alive();
}
