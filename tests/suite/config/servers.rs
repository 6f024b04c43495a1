//! Headers, proxies and bindings: what is said about the MCP side of the settings.

use super::{GOOD, refusal, run};
use std::process::Output;

/// MCP-032: header references are resolved at the start; what is missing ends it.
#[test]
fn header_references_are_resolved_at_the_start() {
    let header = |text: &str| refusal(&["--mcp.extra-headers", text], &[("EMPTY", " "), ("LINES", "a\nb")]);
    for (text, expected) in [
        (
            "x-key: env:NO",
            "invalid mcp.extra-headers.X-Key reference \"env:NO\": environment variable \"NO\" is not set",
        ),
        (
            "X-Key: ENV:9X",
            "invalid mcp.extra-headers.X-Key reference \"ENV:9X\": environment variable \"9X\" is not set",
        ),
        (
            "X-Key: env:EMPTY",
            "invalid mcp.extra-headers.X-Key reference \"env:EMPTY\": environment variable \"EMPTY\" is empty",
        ),
        ("X-Key: env:LINES", "mcp.extra-headers contains invalid HTTP header value for \"X-Key\""),
        ("X-Key: file:", "invalid mcp.extra-headers.X-Key reference \"file:\": file path is required"),
        ("no colon, hidden", "invalid header: expected 'Key: Value'"),
        (": hidden", "invalid header: key cannot be empty"),
        ("X-Key:", "invalid header value for \"X-Key\": value cannot be empty"),
        ("X Key: hidden", "mcp.extra-headers contains invalid HTTP header name \"X Key\""),
        ("X-Key: hid\u{1}den", "mcp.extra-headers contains invalid HTTP header value for \"X-Key\""),
    ] {
        assert_eq!(header(text), expected);
    }
    let error = header("X-Key: file:/proc/nonexistent/key");
    assert!(
        error.starts_with(
            "invalid mcp.extra-headers.X-Key reference \"file:/proc/nonexistent/key\": read file: "
        ),
        "{error}"
    );
}

/// MCP-033: two spellings of one header must agree.
#[test]
fn conflicting_spellings_of_a_header_are_refused() {
    let two = |first: &str, second: &str| {
        run(&["--mcp.extra-headers", first, "--mcp.extra-headers", second, "--log.level=bad"], &GOOD)
    };
    let text = |output: Output| String::from_utf8(output.stderr).unwrap();
    assert_eq!(
        text(two("X-Key: hidden", "x-key: other")),
        "configure tunnel-client: mcp.extra-headers contains conflicting values for case-insensitive HTTP header \"X-Key\"\n"
    );
    // Equal values collapse: the complaint is then about the next bad setting.
    assert!(text(two("X-Key: same", "x-key: same")).contains("parse log level \"bad\""));
}

/// MCP-095: a proxy is spoken to in http or https.
#[test]
fn proxy_urls_are_checked_and_not_shown() {
    for flag in ["http-proxy", "control-plane.http-proxy", "mcp.http-proxy"] {
        assert_eq!(
            refusal(&[&format!("--{flag}"), "socks5://u:hidden@proxy"], &[]),
            format!("invalid {flag} proxy: proxy URL scheme must be http or https, got \"socks5\"")
        );
        assert_eq!(
            refusal(&[&format!("--{flag}"), "u:hidden@proxy:3128"], &[]),
            format!("invalid {flag} proxy: proxy URL must include scheme and host")
        );
    }
    assert_eq!(
        refusal(&[], &[("HTTPS_PROXY", "socks5://u:hidden@proxy")]),
        "invalid HTTPS_PROXY: proxy URL scheme must be http or https, got \"socks5\""
    );
    assert_eq!(
        refusal(&["--http-proxy", "env:PROXY"], &[]),
        "invalid http-proxy reference \"env:PROXY\": environment variable \"PROXY\" is not set"
    );
}

/// Bindings that contradict each other are refused.
#[test]
fn bindings_are_consistent() {
    let server = "--mcp.server-url";
    for (arguments, expected) in [
        (
            &[server, "channel=harpoon,url=http://h/"][..],
            "mcp config: mcp.server-url channel \"harpoon\" is reserved",
        ),
        (
            &["--mcp.command", "x"],
            "mcp config: duplicate channel \"main\" from mcp.command (http-streamable already configured)",
        ),
        (
            &[server, "url=http://h/,unix-socket=/s,http-proxy=http://p/"],
            "mcp config: unix-socket cannot be combined with http-proxy for channel \"main\"",
        ),
        (
            &[server, "channel=x,url=http://h/"],
            "main channel is required; add channel=main to one --mcp.server-url or --mcp.command entry",
        ),
        (&[server, "channel=a b,url=http://h/"], "invalid channel \"a b\""),
        (&[server, "h/mcp"], "invalid mcp.server-url: must include scheme and host"),
        (&[server, "channel=x"], "mcp config: server-url entry \"channel=x\" missing url"),
        (
            &[server, "url=http://u:hid,den@h/"],
            "mcp config: invalid entry \"url=http://[redacted]@h/\" (expected key=value)",
        ),
        (
            &["--mcp.client-cert", "c"],
            "invalid MCP client certificate configuration: client key path is required when certificate path is set",
        ),
    ] {
        assert_eq!(refusal(arguments, &[]), expected);
    }
    let stdio = ["--mcp.command", "x", "--mcp.client-cert", "c", "--mcp.client-key", "k"];
    assert_eq!(
        refusal(&stdio, &[("MCP_SERVER_URL", "")]),
        "mcp.client-cert and mcp.client-key require at least one http-streamable mcp.server-url binding"
    );
}
