//! `tunnel-client support`: one text about a tunnel that runs, and about one that does not start, without secrets.

use std::os::unix::fs::PermissionsExt;

use serde_json::json;

use crate::support::client::{API_KEY, Builder};
use crate::support::command::{Command, SHARD_PREFIX};
use crate::support::mcp::Mcp;
use crate::support::plane::{Plane, TUNNEL};
use crate::support::proxy::{Manner, Proxy};
use crate::support::rig::Rig;
use crate::support::short::Home;
use crate::support::stdio;
use crate::support::temp::TempDir;

/// The number of secrets with names of their own.
const PLANTED: usize = 24;

/// The secret of a place.
fn planted(place: usize) -> String {
    format!("hidden{place:02}x9f3")
}

/// A profile with a secret in every place that takes one, and files beside it.
fn profile(directory: &TempDir, mcp: &Mcp, proxy: &Proxy) -> String {
    let s = planted;
    directory.write("header", s(1));
    directory.write("token", format!("{}-of-16-letters", s(2)));
    directory.write(
        "tunnel.log",
        format!("{{\"msg\":\"sent {} and Bearer {}\"}}\n{{\"msg\":\"seen\"}}\n", s(3), s(4)),
    );
    let path = |name: &str| directory.join(name).to_str().unwrap().to_owned();
    let (port, proxy) = (mcp.server.port(), proxy.url_as(&format!("agent:{}@", s(5))));
    let child = format!(
        "echo \"password={} $BY_REFERENCE $PASSED\" >&2; exec {} plain {}",
        s(6),
        stdio::program(),
        path("journal")
    );
    format!(
        "config_version: 2
control_plane:
  http_proxy: {proxy}
  extra_headers: {{X-Literal: {}, X-File: 'file:{}'}}
log: {{file: '{}', format: json, level: debug}}
mcp:
  server_urls:
    - {{url: 'http://user:{}@127.0.0.1:{port}/{}?token={}'}}
  commands:
    - channel: child
      command: [/bin/sh, -c, '{child}', '{}']
      env: {{INLINE: {}, BY_REFERENCE: 'env:REFERENCE'}}
      pass_env: [PASSED]
  extra_headers: {{X-Inner: 'Bearer {}'}}
  discovery_extra_headers: {{X-Probe: {}}}
harpoon:
  additional_transports: [http-streamable]
  transport_token: 'file:{}'
  targets:
    - {{label: api, url: 'https://127.0.0.1:9/{}?key={}', headers: {{Authorization: 'Bearer {}'}}}}
",
        s(3),
        path("header"),
        path("tunnel.log"),
        s(7),
        s(8),
        s(9),
        s(10),
        s(11),
        s(4),
        s(12),
        path("token"),
        s(13),
        s(14),
        s(15),
    )
}

/// What both commands are given.
fn laden(builder: Builder, plane: &str, directory: &TempDir) -> Builder {
    let path = |name: &str| directory.join(name).to_str().unwrap().to_owned();
    builder
        .flag("config", &path("prod.yaml"))
        .flag("control-plane.base-url", plane)
        .argument("--control-plane.allow-plaintext-http")
        .flag("control-plane.tunnel-id", TUNNEL)
        .flag("health.listen-addr", "127.0.0.1:0")
        .flag("health.url-file", &path("health.url"))
        .env("PATH", "/usr/bin:/bin")
        .env("REFERENCE", &planted(16))
        .env("PASSED", &planted(17))
        .env("HTTPS_PROXY", &format!("u:{}@127.0.0.1:9", planted(18)))
        .env("OPENAI_ADMIN_KEY", &planted(19))
}

fn assert_clean(text: &str) {
    let secrets = (1..=PLANTED).map(planted).chain([API_KEY.to_owned(), SHARD_PREFIX.to_owned()]);
    for secret in secrets {
        let bad: Vec<&str> = text.lines().filter(|line| line.contains(&secret)).collect();
        assert!(bad.is_empty(), "{secret}:\n{}", bad.join("\n"));
    }
    assert!(text.len() < 1 << 20, "{}", text.len());
}

/// DESIGN, What the operator sees: twenty-six secrets in as many places, and none in the text, which says what it holds.
#[test]
fn the_text_of_a_running_tunnel_holds_no_secret() {
    let (plane, mcp, directory) = (Plane::start(), Mcp::start(), TempDir::new());
    let proxy = Proxy::start(None, Manner::Open);
    directory.write("prod.yaml", profile(&directory, &mcp, &proxy));
    let origin = plane.server.origin();
    let client = laden(Builder::bare("run"), &origin, &directory).start();
    let rig = Rig { client, mcp, plane };
    let params = json!({"name": "find", "arguments": {"q": planted(20)}});
    let call =
        Command::rpc(json!({"jsonrpc": "2.0", "id": planted(21), "method": "tools/call", "params": params}))
            .header("Authorization", &[&format!("Bearer {}", planted(22))])
            .header("Mcp-Session-Id", &[&planted(23)])
            .header("Cookie", &[&format!("sid={}", planted(24))]);
    assert_eq!(rig.send(&call).code(), 200);
    let said = laden(Builder::bare("support"), &origin, &directory).flag("output", "-").outcome();
    assert_eq!((said.code, said.stderr.as_str()), (Some(0), ""), "{}", said.stdout);
    // The caller's own id of a call is told: it is what finds the call of somebody who complains.
    let text = said.stdout.replace(&planted(21), "");
    assert_clean(&text);
    for part in [
        "It does not hold:",
        "==== host ====\nkernel: Linux",
        "the settings can be used",
        "channel=child command.0=/bin/sh env.INLINE=[redacted] env.BY_REFERENCE=env:REFERENCE pass_env=PASSED",
        "token: file, mode 0",
        "CHECK control_plane_route",
        "{\"msg\":\"seen\"}",
        "asked at http://127.0.0.1:",
        "| main | tools/call | find | ok | 200 |",
        "\ntunnel_client_build_info{",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert!(!text.contains("CHECK mcp_handshake:child"), "no second child is started: {text}");
}

/// The same of one that does not start, and why it does not.
#[test]
fn the_text_of_a_tunnel_that_does_not_start_holds_no_secret() {
    let (mcp, directory) = (Mcp::start(), TempDir::new());
    let proxy = Proxy::start(None, Manner::Open);
    let text = profile(&directory, &mcp, &proxy)
        .replace("control_plane:\n", "control_plane:\n  poll_timeout: 90000s\n");
    directory.write("prod.yaml", &text);
    let said =
        laden(Builder::bare("support"), "http://127.0.0.1:9", &directory).flag("output", "-").outcome();
    assert_eq!((said.code, said.stderr.as_str()), (Some(0), ""), "{}", said.stdout);
    assert_clean(&said.stdout);
    for part in [
        "the settings cannot be used: ",
        "control_plane.poll_timeout = 90000s  (profile line 3)",
        "FAILED_CHECKS",
        "{\"msg\":\"seen\"}",
        "running tunnel ====\nnot available: ",
    ] {
        assert!(said.stdout.contains(part), "{part}: {}", said.stdout);
    }
}

/// The file is new, and for its owner alone.
#[test]
fn the_text_is_written_to_a_new_file() {
    let home = Home::new();
    let said = home.output(&["support", "--output", "a.txt"]);
    assert!(said.starts_with("a.txt: ") && said.ends_with("read it before you send it\n"), "{said}");
    let mode = std::fs::metadata(home.join("a.txt")).unwrap().permissions().mode();
    assert_eq!(mode & 0o7777, 0o600);
    let there = "it is there already; name another file, or remove it";
    assert_eq!(home.refusal(&["support", "--output", "a.txt"]), format!("create a.txt: {there}"));
    std::os::unix::fs::symlink(home.join("b.txt"), home.join("link")).unwrap();
    assert_eq!(home.refusal(&["support", "--output", "link"]), format!("create link: {there}"));
    assert!(!home.join("b.txt").exists());
    // Whoever may write beside the log cannot have another file shown.
    home.write("other", "what-is-elsewhere\n");
    std::os::unix::fs::symlink(home.join("other"), home.join("log")).unwrap();
    let text = home.output(&["support", "--output=-", "--log.file", &home.path("log")]);
    assert!(
        text.contains("==== log file ====\nnot available: ") && !text.contains("what-is-elsewhere"),
        "{text}"
    );
}
