//! Where settings come from: files, profiles, the command line, and which of them wins.

use super::{GOOD, file, line, refusal, run, yaml_refusal};

/// Errors in a file name the file, the line and the key.
#[test]
fn yaml_errors_name_file_line_and_key() {
    for (name, text, expected) in [
        ("unknown", "log:\n  format: json\n  colour: red\n", "line 3: unknown key \"log.colour\""),
        ("version", "config_version: 3\n", "line 1: unsupported config_version 3"),
        ("twice", "log:\n  level: info\n  level: info\n", "line 3: duplicate key \"level\""),
        (
            "type",
            "mcp:\n  max_concurrent_requests: '5'\n",
            "line 2: mcp.max_concurrent_requests must be an integer",
        ),
        (
            "range",
            "mcp:\n  connection_max_ttl: 0s\n",
            "line 2: mcp.connection_max_ttl: mcp.connection-max-ttl must be greater than zero",
        ),
        (
            "sum",
            "control_plane:\n  poll_timeout: 10m\n",
            "line 2: control_plane.poll_timeout: control-plane.poll-timeout plus control-plane.poll-deadline-guardrail must be less than or equal to 10m0s",
        ),
        (
            "reference",
            "control_plane:\n  base_url: env:NO\n",
            "line 2: invalid control_plane.base_url reference \"env:NO\": environment variable \"NO\" is not set",
        ),
        ("twice-hidden", "log: {level:sk-hidden, level:sk-hidden}\n", "line 1: duplicate key \"level...\""),
        ("alias", "log:\n  level: &x [*x]\n", "line 2: an alias stands within what it stands for"),
        ("empty", "", "the file is empty"),
        ("cloudflared", "cloudflared:\n  token: env:T\n", "line 2: cloudflared.token is not supported"),
        (
            "harpoon",
            "harpoon:\n  targets:\n    - label: a\n      url: http://h/\n",
            "line 2: harpoon.targets entry \"a\": https is required",
        ),
        ("entry", "mcp:\n  commands:\n    - channel: main\n", "line 3: mcp.commands entry requires command"),
    ] {
        assert_eq!(yaml_refusal(&format!("{name}.yaml"), text), expected, "{name}");
    }
    let large = file("large.yaml", &"#".repeat(1024 * 1024 + 1), 0o600);
    let error = refusal(&["--config", large.to_str().unwrap()], &[]);
    assert!(
        error.starts_with("read config file ") && error.ends_with("larger than 1048576 bytes"),
        "{error}"
    );
}

/// A file is selected once, and a profile by a plain name.
#[test]
fn source_selection_is_checked() {
    for (arguments, expected) in [
        (&["--config", "a", "--profile", "b"][..], "--config and --profile are mutually exclusive"),
        (
            &["--config", "a", "--profile-file", "b.yaml"],
            "--config and --profile-file are mutually exclusive",
        ),
        (
            &["--profile", "a", "--profile-file", "b.yaml"],
            "--profile and --profile-file are mutually exclusive",
        ),
        (&["--config", ""], "config file path is required when --config is set"),
        (&["--profile-file", ""], "profile file path is required when --profile-file is set"),
        (&["--profile", "../a"], "invalid profile name \"../a\": path separators are not allowed"),
        (&["--profile", "a b"], "invalid profile name \"a b\": use letters, numbers, '.', '_' or '-'"),
        (&["--profile-file", "a.yml"], "profile file \"a.yml\" must end with .yaml"),
    ] {
        assert_eq!(refusal(arguments, &[]), expected);
    }
    let both = [("TUNNEL_CLIENT_CONFIG", "a"), ("TUNNEL_CLIENT_PROFILE", "b")];
    assert_eq!(refusal(&[], &both), "TUNNEL_CLIENT_CONFIG and TUNNEL_CLIENT_PROFILE are mutually exclusive");
    let error = refusal(&["--profile", "none", "--profile-dir", "/proc/nonexistent"], &[]);
    assert!(error.starts_with("read config file /proc/nonexistent/none.yaml: "), "{error}");
}

/// The command line's own mistakes are said without a prefix.
#[test]
fn flags_are_checked() {
    let meant = if cfg!(feature = "operator") { " (did you mean --log.level?)" } else { "" };
    assert_eq!(line(&["--log.levle", "x"], &GOOD), format!("unknown flag: --log.levle{meant}"));
    assert_eq!(line(&["--nothing-of-the-kind=hidden"], &GOOD), "unknown flag: --nothing-of-the-kind");
    assert_eq!(line(&["--pid.file"], &GOOD), "flag needs an argument: --pid.file");
}

/// Flags win over variables, variables over the file: what wins is what is complained about.
#[test]
fn precedence_is_flag_environment_file() {
    let path = file("precedence.yaml", "mcp:\n  connection_max_ttl: -1s\n", 0o600);
    let path = path.to_str().unwrap();
    let variable = [("MCP_CONNECTION_MAX_TTL", "from-environment")];
    let from_file = refusal(&["--config", path], &[]);
    assert!(from_file.contains("line 2: mcp.connection_max_ttl: "), "{from_file}");
    let from_environment = refusal(&["--config", path], &variable);
    assert!(
        from_environment.starts_with("invalid MCP_CONNECTION_MAX_TTL: invalid duration \"from-environment\"")
    );
    let from_flag = refusal(&["--config", path, "--mcp.connection-max-ttl", "0s"], &variable);
    assert_eq!(from_flag, "mcp.connection-max-ttl must be greater than zero");
}

/// Features that are absent are refused unless they are off; unsupported ones always.
#[test]
fn absent_features_are_refused_plainly() {
    if cfg!(not(feature = "page")) {
        let what = "is not available in this build, which has no page (feature page); remove it";
        assert_eq!(refusal(&["--open-web-ui"], &[]), format!("open-web-ui {what}"));
        assert_eq!(refusal(&[], &[("ALLOW_REMOTE_UI", "true")]), format!("ALLOW_REMOTE_UI {what}"));
    }
    assert_eq!(refusal(&["--cloudflared.managed=false"], &[]), "cloudflared.managed is not supported");
}

/// `run --help` is made from the table and needs no settings.
#[test]
fn help_needs_no_settings() {
    let output = run(&["--help"], &[]);
    assert!(output.status.success());
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.starts_with("run version "));
    for part in [
        "Usage of run:",
        "--control-plane.poll-timeout duration",
        "Environment variables:",
        "MCP_SERVER_URL\t",
    ] {
        assert!(text.contains(part), "{part}");
    }
    assert!(!text.contains("--control-plane-base-url"));
}
