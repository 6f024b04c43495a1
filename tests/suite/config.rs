//! Settings as an operator meets them: a bad one ends `run` with status 1 and one line that says
//! what was wrong, before anything is opened or sent.

mod files;
mod servers;

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Output;

const TUNNEL: (&str, &str) = ("CONTROL_PLANE_TUNNEL_ID", "tunnel_abcdefghijklmnopqrstuvwxyz012345");
const KEY: (&str, &str) = ("CONTROL_PLANE_API_KEY", "sk-runtime_1");
const SERVER: (&str, &str) = ("MCP_SERVER_URL", "http://127.0.0.1:3000/mcp");

/// What is good in every case, so that the one bad setting is what is complained about.
const GOOD: [(&str, &str); 3] = [TUNNEL, KEY, SERVER];

fn run(arguments: &[&str], variables: &[(&str, &str)]) -> Output {
    crate::support::client::command(crate::support::client::PROGRAM)
        .arg("run")
        .args(arguments)
        .env_clear()
        .envs(variables.iter().copied())
        .output()
        .unwrap()
}

/// Runs into an error and returns standard error without its line ending.
fn line(arguments: &[&str], variables: &[(&str, &str)]) -> String {
    let output = run(arguments, variables);
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(output.stdout.is_empty());
    assert_eq!(text.matches('\n').count(), 1, "{text}");
    text.trim_end().to_string()
}

/// The complaint about settings, without its prefix.
fn refusal(arguments: &[&str], variables: &[(&str, &str)]) -> String {
    let line = line(arguments, &[&GOOD, variables].concat());
    let text = line.strip_prefix("configure tunnel-client: ");
    text.unwrap_or_else(|| panic!("no prefix: {line}")).to_string()
}

/// A file of this test process.
fn file(name: &str, text: &str, mode: u32) -> PathBuf {
    let directory = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("config-{}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    let path = directory.join(name);
    std::fs::write(&path, text).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
    path
}

/// Runs with a YAML file and returns what is said after `parse config file PATH: `.
fn yaml_refusal(name: &str, text: &str) -> String {
    let path = file(name, text, 0o600);
    let path = path.to_str().unwrap();
    let error = refusal(&["--config", path], &[]);
    let prefix = format!("parse config file {path}: ");
    error.strip_prefix(&prefix).unwrap_or_else(|| panic!("{error}")).to_string()
}

/// The three mistakes of a first use come with a hint.
#[test]
fn a_first_use_is_told_what_to_do() {
    let hinted = |variables: &[(&str, &str)], start: &str| {
        let line = line(&[], variables);
        assert!(line.starts_with(&format!("configure tunnel-client: {start}; ")), "{line}");
        let hint = line.rsplit("; ").next().unwrap();
        assert!(hint.contains("https://platform.openai.com/") || hint.contains("for example"), "{hint}");
    };
    hinted(&[KEY, SERVER], "tunnel ID is required; set --control-plane.tunnel-id or CONTROL_PLANE_TUNNEL_ID");
    hinted(
        &[TUNNEL, SERVER],
        "control plane API key is required; set --control-plane.api-key (env:/file:) or CONTROL_PLANE_API_KEY or OPENAI_API_KEY",
    );
    hinted(
        &[TUNNEL, KEY],
        "main channel is required; set --mcp.server-url or --mcp.command, or MCP_SERVER_URL or MCP_COMMAND",
    );
}

/// CP-015: an extra header may not name what the client says about itself.
#[test]
fn reserved_control_plane_headers_are_refused() {
    for (name, shown) in [
        ("authorization", "Authorization"),
        ("ACCEPT", "Accept"),
        ("User-Agent", "User-Agent"),
        ("X-Tunnel-Client-Name", "X-Tunnel-Client-Name"),
        ("x-tunnel-client-version", "X-Tunnel-Client-Version"),
        ("X-Tunnel-MCP-Server-Info", "X-Tunnel-Mcp-Server-Info"),
    ] {
        assert_eq!(
            refusal(&["--control-plane.extra-headers", &format!("{name}: v")], &[]),
            format!(
                "control-plane.extra-headers \"{shown}\" cannot override control-plane authentication or client metadata headers"
            )
        );
    }
}

/// CP-018: a malformed key or tunnel id ends the start, and the key is not printed.
#[test]
fn malformed_identities_are_refused_without_showing_the_key() {
    let kinds = "keys have letters, digits, - and _ alone";
    for (key, why) in [
        ("hidden key", kinds),
        ("hidd\u{e9}n", kinds),
        ("hidden\n", "it begins or ends with a blank or a line ending"),
    ] {
        let error = refusal(&[], &[("CONTROL_PLANE_API_KEY", key)]);
        assert_eq!(error, format!("control plane API key is malformed: env:CONTROL_PLANE_API_KEY: {why}"));
    }
    let two = file("two-keys", "hidden\nhidden\n", 0o600);
    let two = format!("file:{}", two.to_str().unwrap());
    assert_eq!(
        refusal(&["--control-plane.api-key", &two], &[]),
        format!("control plane API key is malformed: {two}: it has more than one line")
    );
    assert_eq!(
        refusal(&["--control-plane.tunnel-id", &format!("tunnel_{} ", "0".repeat(32))], &[]),
        format!(
            "invalid tunnel ID \"tunnel_{} \": must be safe for use as a URL path parameter; \
             it begins or ends with a blank",
            "0".repeat(32)
        )
    );
    assert_eq!(
        refusal(&["--control-plane.api-key", "sk-hidden"], &[]),
        "invalid control-plane.api-key: value must be prefixed with \"env:\" or \"file:\""
    );
    assert_eq!(
        refusal(&["--control-plane.tunnel-id", "a/b"], &[]),
        "invalid tunnel ID \"a/b\": must be safe for use as a URL path parameter"
    );
    assert_eq!(
        refusal(&["--control-plane.tunnel-id", "tunnel_x"], &[]),
        "invalid tunnel ID \"tunnel_x\": must match tunnel_<32 lowercase letters or digits>, or tunnel_<4>_<32> with a namespace"
    );
}

/// The key's references say which of them is wrong, and how.
#[test]
fn key_references_are_checked() {
    let key = |reference: &str| refusal(&["--control-plane.api-key", reference], &[("EMPTY", "")]);
    assert_eq!(
        key("env:"),
        "invalid control-plane.api-key reference \"env:\": environment variable name is required"
    );
    assert_eq!(key("file:"), "invalid control-plane.api-key reference \"file:\": file path is required");
    assert_eq!(
        key("env:NO"),
        "invalid control-plane.api-key reference \"env:NO\": environment variable \"NO\" is not set"
    );
    assert_eq!(
        key("env:EMPTY"),
        "invalid control-plane.api-key reference \"env:EMPTY\": environment variable \"EMPTY\" is empty"
    );
    let empty = file("empty-key", "\n", 0o600);
    let empty = empty.to_str().unwrap();
    assert_eq!(
        key(&format!("file:{empty}")),
        format!("invalid control-plane.api-key reference \"file:{empty}\": file is empty")
    );
    let shared = file("shared-key", "sk-hidden", 0o620);
    let shared = shared.to_str().unwrap();
    assert_eq!(
        key(&format!("file:{shared}")),
        format!(
            "invalid control-plane.api-key reference \"file:{shared}\": read file: group or others may write to the file; run chmod go-w on it"
        )
    );
}

/// CP-033: poll channels are canonical, unique, not blank, and have a server.
#[test]
fn poll_channels_are_checked() {
    let channels = |list: &str| refusal(&[], &[("CONTROL_PLANE_POLL_CHANNELS", list)]);
    for (list, expected) in [
        ("", "control-plane.poll-channel contains an empty channel"),
        ("main,", "control-plane.poll-channel contains an empty channel"),
        ("MAIN", "control-plane.poll-channel \"MAIN\" is not canonical; use \"main\""),
        ("main, x", "control-plane.poll-channel \" x\" is not canonical; use \"x\""),
        ("main,main", "duplicate control-plane.poll-channel \"main\""),
        ("a/b", "invalid control-plane.poll-channel \"a/b\": invalid channel \"a/b\""),
        ("main,x", "control-plane.poll-channel \"x\" has no local handler"),
        ("harpoon", "control-plane.poll-channel harpoon has no routable target"),
    ] {
        assert_eq!(channels(list), expected);
    }
    assert_eq!(
        refusal(
            &["--control-plane.poll-channel", "main", "--mcp.server-url", "channel=x,url=http://h/"],
            &[]
        ),
        "control-plane.poll-channel main has no local MCP handler"
    );
    assert_eq!(
        yaml_refusal("no-channels.yaml", "control_plane:\n  poll_channels: []\n"),
        "line 2: control_plane.poll_channels: control-plane.poll-channel must contain at least one channel"
    );
}

/// CP-034: a poll must end within ten minutes, and the guardrail within one.
#[test]
fn poll_times_are_bounded() {
    let times = |timeout: &str, guardrail: &str| {
        refusal(
            &["--control-plane.poll-timeout", timeout, "--control-plane.poll-deadline-guardrail", guardrail],
            &[],
        )
    };
    assert_eq!(times("30s", "60s"), "control-plane.poll-deadline-guardrail must be less than 1m0s");
    assert_eq!(
        times("9m56s", "5s"),
        "control-plane.poll-timeout plus control-plane.poll-deadline-guardrail must be less than or equal to 10m0s"
    );
    assert_eq!(times("0", "5s"), "control-plane.poll-timeout must be greater than zero");
    assert_eq!(
        refusal(&[], &[("CONTROL_PLANE_POLL_TIMEOUT", "0s")]),
        "CONTROL_PLANE_POLL_TIMEOUT must be greater than zero"
    );
    assert!(
        refusal(&[], &[("CONTROL_PLANE_POLL_TIMEOUT", "30")])
            .starts_with("invalid CONTROL_PLANE_POLL_TIMEOUT: ")
    );
}

/// Numbers and durations keep to their bounds.
#[test]
fn ranges_are_checked() {
    for (arguments, expected) in [
        (["--control-plane.max-inflight", "0"], "control-plane.max-inflight must be greater than zero"),
        (
            ["--control-plane.max-inflight", "10001"],
            "control-plane.max-inflight must be less than or equal to 10000",
        ),
        (["--mcp.max-concurrent-requests", "0"], "mcp.max-concurrent-requests must be greater than zero"),
        (
            ["--mcp.max-concurrent-requests", "129"],
            "mcp.max-concurrent-requests must be less than or equal to 128",
        ),
        (["--mcp.connection-max-ttl", "0s"], "mcp.connection-max-ttl must be greater than zero"),
        (["--mcp.startup-wait-timeout", "-1s"], "mcp.startup-wait-timeout must not be negative"),
        (["--mcp.body-budget-bytes", "1024"], "mcp.body-budget-bytes must be at least 1048576"),
        (["--process.drain-timeout", "11m"], "process.drain-timeout must be less than or equal to 10m0s"),
        (["--proxy.check-interval", "0s"], "proxy.check-interval must be greater than zero"),
        (
            ["--log.level", "debug"],
            "log level requires 'struct-text' or 'json' log format: add --log.format struct-text",
        ),
        (
            ["--log.format", "xml"],
            "unsupported log format \"xml\": supported formats are \"struct-text\" or \"json\"",
        ),
        (
            ["--control-plane.organization-id", "a\nb"],
            "control-plane.organization-id cannot contain header line breaks",
        ),
    ] {
        assert_eq!(refusal(&arguments, &[]), expected);
    }
}

/// More headers than any request carries are refused by their key, from wherever they come.
#[test]
fn maps_of_headers_are_bounded() {
    let map = |count: usize| (0..count).map(|n| format!("    X-{n}: v\n")).collect::<String>();
    let refusal = |name: &str, text: &str| {
        let path = file(name, text, 0o600);
        refusal(&["--config", path.to_str().unwrap()], &[TUNNEL, KEY, SERVER])
    };
    let error = refusal("headers", &format!("mcp:\n  extra_headers:\n{}", map(40_000)));
    assert!(error.ends_with("mcp.extra-headers contains more than 256 headers"), "{error}");
    let target = "harpoon:\n  targets:\n    - label: a\n      url: https://h/\n      headers:\n";
    let error = refusal("target-headers", &format!("{target}{}", map(257).replace("    X", "        X")));
    assert!(error.ends_with("harpoon.targets.headers contains more than 256 headers"), "{error}");
}
