//! The `harpoon.*` settings as flags, variables and files give them.

use std::path::Path;

use super::*;
use crate::config::{Environment, Flags, Request, Settings};

const NEEDED: [(&str, &str); 3] = [
    ("CONTROL_PLANE_TUNNEL_ID", "tunnel_abcdefghijklmnopqrstuvwxyz012345"),
    ("CONTROL_PLANE_API_KEY", "sk-runtime_1"),
    ("MCP_SERVER_URL", "http://h/mcp"),
];

fn load(arguments: &[&str], variables: &[(&str, &str)]) -> Result<Settings, String> {
    let Ok(Request::Run(flags)) = Flags::parse(arguments) else { panic!("{arguments:?}") };
    let environment = Environment::of(NEEDED);
    let environment = variables.iter().fold(environment, |all, (name, value)| all.with(name, value));
    Settings::load(&flags, &environment).map_err(|error| error.to_string())
}

fn targets(items: &[&str]) -> Result<Vec<HarpoonTarget>, String> {
    let arguments: Vec<&str> = items.iter().flat_map(|item| ["--harpoon.target", item]).collect();
    load(&arguments, &[]).map(|settings| settings.harpoon.targets)
}

/// Loads a file whose `harpoon.targets` are these lines; its errors without the place.
fn yaml(name: &str, lines: &str, variables: &[(&str, &str)]) -> Result<Settings, String> {
    let file = format!("tunnel-client-harpoon-{}-{name}.yaml", std::process::id());
    let path = std::env::temp_dir().join(file);
    std::fs::write(&path, format!("harpoon:\n  targets:\n{lines}")).unwrap();
    let place = format!("parse config file {}: ", path.display());
    let loaded = load(&["--config", path.to_str().unwrap()], variables);
    std::fs::remove_file(path).unwrap();
    loaded.map_err(|error| error.strip_prefix(&place).unwrap_or(&error).to_owned())
}

#[test]
fn targets_stand_in_one_line() {
    let all = targets(&[
        "label=a, URL = 'https://H.example/x?y=z' ,unix-socket=/run/s,desc=\" A b \"",
        " ",
        "label=b,url=https://h/,label=c",
    ])
    .unwrap();
    let first = &all[0];
    assert_eq!((first.label.as_str(), first.url.as_str()), ("a", "https://H.example/x?y=z"));
    assert_eq!(first.uri.to_string(), "https://h.example/x?y=z");
    assert_eq!(
        (first.unix_socket.as_deref(), first.description.as_str()),
        (Some(Path::new("/run/s")), "A b")
    );
    assert_eq!(first.methods, [Method::GET, Method::POST, Method::PUT]);
    assert_eq!((first.max_request_bytes, first.headers.len(), first.allowed_networks.len()), (102_400, 0, 0));
    assert_eq!((all[1].label.as_str(), all.len()), ("c", 2));
    let variable = ("HARPOON_TARGETS", "label=a,url=https://h/;label=b,url=https://i/\n;");
    assert_eq!(load(&[], &[variable]).unwrap().harpoon.targets.len(), 2);
    for (text, expected) in [
        ("x", "invalid harpoon target \"x\": expected key=value pairs"),
        ("=x", "invalid harpoon target \"=x\": empty key"),
        ("label=a", "invalid harpoon target \"label=a\": label and url are required"),
        (
            "label=A,url=https://h/?t=hidden",
            "invalid harpoon target \"label=A,url=https://h/?[redacted]\": label must match ^[a-z0-9][a-z0-9_-]{0,63}$",
        ),
        ("label=a,url=h", "invalid harpoon target url \"h\": must include scheme and host"),
        ("label=a,url=http://h/", "invalid harpoon target url \"http://h/\": https is required"),
        (
            "label=a,url=https://u:hidden@h/",
            "invalid harpoon target url \"https://[redacted]@h/\": must not contain credentials; set a header of the target in YAML",
        ),
        ("label=a,url=https://h/a/%2e%2e/b", "harpoon: target \"a\" base URL contains invalid path segments"),
        (
            "label=a,url=https://h/,methods=GET",
            "invalid harpoon target \"label=a,url=https://h/,methods=GET\": unsupported key; use label, url, unix-socket and desc, and YAML for everything else",
        ),
    ] {
        assert_eq!(targets(&[text]).unwrap_err(), expected);
    }
}

#[test]
fn a_registry_holds_no_contradictions() {
    assert!(targets(&["label=a,url=https://h/", "label=b,url=https://H/"]).is_ok());
    assert_eq!(
        targets(&["label=a,url=https://h/", "label=a,url=https://i/"]).unwrap_err(),
        "harpoon: duplicate target label \"a\""
    );
    assert_eq!(
        targets(&["label=a,url=https://h/x", "label=b,url=https://H/x,unix-socket=/s"]).unwrap_err(),
        "harpoon: duplicate target url \"https://h\" uses a different transport"
    );
    let one = targets(&["label=a,url=https://h/"]).unwrap();
    let many = vec![one[0].clone(); TARGETS_MAX + 1];
    assert_eq!(registered(many).unwrap_err(), "harpoon: registry limit 10000 exceeded");
}

#[test]
fn files_say_more_of_a_target() {
    let entry = "    - label: a\n      url: env:U\n      description: x, y; z\n      methods: [put, GET]\n      headers:\n        \
                 Authorization: env:TOKEN\n        X-Plain: b\n      max_request_bytes: 7\n      allowed_networks: [10.0.0.0/8, '::1']\n";
    let settings =
        yaml("more", entry, &[("U", " https://h/a,b?key=hidden-2 "), ("TOKEN", "Bearer hidden-1")]).unwrap();
    let target = &settings.harpoon.targets[0];
    assert_eq!((target.url.as_str(), target.max_request_bytes), ("https://h/a,b?key=hidden-2", 7));
    assert_eq!(target.methods, [Method::GET, Method::PUT]);
    assert_eq!(target.description, "x, y; z");
    assert_eq!(target.headers["authorization"], "Bearer hidden-1");
    assert!(target.allowed_networks[0].contains("10.1.1.1".parse().unwrap()));
    assert!(!format!("{:?}", target.headers).contains("hidden"));
    let known: Vec<String> = settings.secrets().iter().map(|secret| secret.expose().to_owned()).collect();
    for secret in ["Bearer hidden-1", "hidden-2"] {
        assert!(known.iter().any(|text| text == secret), "{secret}");
    }
}

#[test]
fn files_are_held_to_the_same_rules() {
    let with = |line: &str| format!("    - label: a\n      url: https://h/\n      {line}\n");
    for (lines, expected) in [
        ("    - url: https://h/\n".to_owned(), "line 3: harpoon.targets entry requires label"),
        ("    - label: a\n".to_owned(), "line 3: harpoon.targets entry \"a\" requires url or template"),
        (with("color: x"), "line 5: unknown key \"color\" in harpoon.targets"),
        (
            with("methods: [DELETE]"),
            "line 2: harpoon.targets entry \"a\": method \"DELETE\" is not supported; use GET, POST or PUT",
        ),
        (with("methods: []"), "line 5: harpoon.targets.methods must be a list that names at least one"),
        (
            with("allowed_networks:"),
            "line 5: harpoon.targets.allowed_networks must be a list that names at least one",
        ),
        (
            with("methods: GET"),
            "line 5: harpoon.targets.methods must be a list: write each item as \"- VALUE\" on a line of its own",
        ),
        (
            with("headers: [A]"),
            "line 5: harpoon.targets.headers must be a map: write each member as \"NAME: value\" on a line of its own",
        ),
        (
            with("headers: {Host: x}"),
            "line 2: harpoon.targets.headers: \"host\" is set by the client itself; remove it",
        ),
        (
            with("headers: {A: env:ABSENT}"),
            "line 2: invalid harpoon.targets.headers.A reference \"env:ABSENT\": environment variable \"ABSENT\" is not set",
        ),
        (
            with("headers: {A: \"x\\ny\"}"),
            "line 2: harpoon.targets: invalid header value for \"A\": value cannot contain CR or LF",
        ),
        (
            with("max_request_bytes: 0"),
            "line 2: harpoon.targets entry \"a\": max_request_bytes must be a number from 1 to 1048576",
        ),
        (
            with("allowed_networks: [10.0.0.0/40]"),
            "line 2: harpoon.targets entry \"a\": \"10.0.0.0/40\" in allowed_networks is no block such as 10.0.0.0/8",
        ),
        (
            with("unix_socket: /s\n      allowed_networks: [10.0.0.0/8]"),
            "line 2: harpoon.targets entry \"a\": unix_socket cannot be combined with allowed_networks",
        ),
    ] {
        assert_eq!(yaml("rules", &lines, &[]).unwrap_err(), expected, "{lines}");
    }
}

#[test]
fn bounds_have_the_words_of_the_reference() {
    let defaults = load(&[], &[]).unwrap().harpoon;
    assert_eq!((defaults.max_response_bytes, defaults.max_redirects), (102_400, 5));
    assert!(defaults.hosts.loopback && defaults.hosts.private && !defaults.allow_plaintext_http);
    let settings = load(&["--harpoon.max-redirects", "0", "--harpoon.allow-plaintext-http"], &[]).unwrap();
    assert_eq!(settings.harpoon.max_redirects, 0);
    for (flag, value, expected) in [
        ("max-response-bytes", "0", "must be greater than zero"),
        ("max-response-bytes", "102401", "must be less than or equal to 102400"),
        ("max-redirects", "-1", "must be at least 0"),
        ("max-redirects", "6", "must be less than or equal to 5"),
    ] {
        let error = load(&[&format!("--harpoon.{flag}={value}")], &[]).unwrap_err();
        assert_eq!(error, format!("harpoon.{flag} {expected}"));
    }
}

#[test]
fn what_comes_later_is_checked_now() {
    let lists =
        [("HARPOON_HOSTS_INCLUDE_SUFFIX", "Corp.example; .b"), ("HARPOON_HOSTS_INCLUDE_REGEX", "^a.$")];
    let hosts = load(&[], &lists).unwrap().harpoon.hosts;
    assert_eq!(hosts.suffixes, [".corp.example", ".b"]);
    assert!(hosts.regexes[0].is_match("AB") && !hosts.regexes[0].is_match("abc"));
    let refused = |argument| load(&[argument], &[]).unwrap_err();
    assert!(refused("--harpoon.hosts-include-regex=(").starts_with("invalid harpoon host regex \"(\": "));
    assert!(
        refused("--harpoon.hosts-include-suffix=*.x").starts_with("invalid harpoon host suffix \"*.x\": ")
    );
    assert_eq!(refused("--harpoon.additional-transport=sse"), "unsupported harpoon transport \"sse\"");
}

/// A TCP port of this host is open to all of its users, so it is not enough by itself.
#[test]
fn what_the_listener_offers_depends_on_who_can_reach_it() {
    const TRANSPORT: &str = "--harpoon.additional-transport=http-streamable";
    const TOKEN: (&str, &str) = ("T", "0123456789abcdef");
    let refused = |arguments: &[&str]| {
        load(arguments, &[TOKEN, ("SHORT", "x"), ("WIDE", "0123456789abcdeé")]).unwrap_err()
    };
    let capture = "--harpoon.capture-payloads";
    assert!(refused(&[capture]).starts_with("harpoon.capture-payloads needs health.unix-socket: "));
    assert!(
        refused(&[TRANSPORT])
            .starts_with("harpoon.additional-transport needs harpoon.transport-token on a TCP")
    );
    let token = "--harpoon.transport-token=env:T";
    assert!(refused(&[token]).starts_with("harpoon.transport-token is of use only with "));
    let open = "--health.listen-addr=0.0.0.0:0";
    assert!(
        refused(&[TRANSPORT, token, open])
            .starts_with("harpoon.additional-transport needs a listener of this host")
    );
    for bad in ["SHORT", "WIDE"] {
        let text = refused(&[TRANSPORT, &format!("--harpoon.transport-token=env:{bad}")]);
        assert_eq!(text, "harpoon.transport-token must be 16 to 4096 visible ASCII characters");
    }
    let literal = refused(&[TRANSPORT, "--harpoon.transport-token=0123456789abcdef"]);
    assert_eq!(literal, "invalid harpoon.transport-token: value must be prefixed with \"env:\" or \"file:\"");
    let settings = load(&[TRANSPORT, token], &[TOKEN]).unwrap();
    assert!(settings.harpoon.over_http);
    assert!(settings.secrets().iter().any(|secret| secret.expose() == TOKEN.1));
    assert!(
        load(&[TRANSPORT, capture, "--health.unix-socket=/run/x.sock"], &[]).unwrap().harpoon.token.is_none()
    );
}

#[test]
fn the_channel_is_polled_where_something_answers() {
    let only = ["--control-plane.poll-channel", "harpoon"];
    assert_eq!(load(&only, &[]).unwrap_err(), "control-plane.poll-channel harpoon has no routable target");
    assert!(load(&[&only[..], &["--harpoon.target", "label=a,url=https://h/"]].concat(), &[]).is_ok());
}
