//! The page for people from other machines: with a token, under a name that the operator allows, and nothing else.

use std::net::UdpSocket;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use nix::sys::signal::Signal;

use crate::support::client::{Builder, Client};
use crate::support::http::{Fetched, fetch};
use crate::support::rig::Rig;

const TOKEN: &str = "page-0123456789abcdef";

fn shown(builder: Builder) -> Builder {
    let token = builder.path("token");
    std::fs::write(&token, format!("{TOKEN}\n")).unwrap();
    builder
        .argument("--allow-remote-ui")
        .flag("admin-ui.token", &format!("file:{token}"))
        .env("ADMIN_UI_ALLOWED_HOSTS", "box.example, 192.0.2.1")
}

fn bearer(token: &str) -> String {
    format!("Authorization: Bearer {token}\r\n")
}

fn get(address: &str, path: &str, host: &str, head: &str) -> Fetched {
    fetch(address, "GET", path, &format!("Host: {host}\r\n{head}")).unwrap()
}

/// An address of this machine that is not loopback, if it has one: nothing is sent to find it.
fn own_address(client: &mut Client) -> Option<String> {
    let port = client.address().rsplit(':').next().unwrap().to_owned();
    let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
    let own = socket.connect("192.0.2.1:9").and_then(|()| socket.local_addr()).ok()?;
    Some(format!("{}:{port}", own.ip()))
}

/// NEW-071: the page is shown to whoever has the token and asks by an allowed name; `/health` is as near as ever, and
/// what everybody may read stays open.
#[test]
fn other_machines_see_the_page_with_the_token_and_nothing_more() {
    let mut rig = Rig::with(|b| shown(b).set("health.listen-addr", "0.0.0.0:0"));
    let port = rig.client.address().rsplit(':').next().unwrap().to_owned();
    let address = own_address(&mut rig.client).unwrap_or(format!("127.0.0.1:{port}"));
    let status = |path: &str, host: &str, head: &str| get(&address, path, host, head).status;
    let basic = format!("Authorization: Basic {}\r\n", STANDARD.encode(format!("anybody:{TOKEN}")));
    for path in ["/ui", "/ui/", "/ui?channel=main"] {
        for good in [bearer(TOKEN), basic.clone()] {
            assert_eq!(status(path, "box.example", &good), 200, "{path}");
            assert_eq!(status(path, &format!("192.0.2.1:{port}"), &good), 200, "{path}");
            assert_eq!(status(path, "evil.example", &good), 403, "{path}");
        }
        let asked = get(&address, path, "box.example", "");
        assert_eq!(
            (asked.status, asked.header("www-authenticate")),
            (401, Some("Basic realm=\"tunnel-client\""))
        );
        assert_eq!(status(path, "box.example", &bearer("page-0123456789abcdee")), 401, "{path}");
    }
    assert_eq!(status("/", "box.example", &bearer(TOKEN)), 302);
    let site = format!("{}Sec-Fetch-Site: cross-site\r\nSec-Fetch-Mode: no-cors\r\n", bearer(TOKEN));
    assert_eq!(status("/ui", "box.example", &site), 403);
    for path in ["/healthz", "/metrics"] {
        assert_eq!(status(path, "any.example", ""), 200, "{path}");
    }
    // Only peers of this host get them, by its own names.
    for path in ["/health", "/health/mcp"] {
        assert_eq!(status(path, "box.example", &bearer(TOKEN)), 403, "{path}");
    }
    assert_eq!(status("/harpoon/mcp", "box.example", &bearer(TOKEN)), 404);
    let log = rig.client.log();
    assert!(
        log.contains(&format!("travel in clear; safer: a proxy with TLS before a loopback port, or ssh -L 8080:localhost:{port} HOST")),
        "{log}"
    );
    assert!(!log.contains(TOKEN), "{log}");
}

/// A proxy on this host that brings the name of a browser reaches the page alone, and shows the token as well.
#[test]
fn on_loopback_the_name_opens_the_page_alone() {
    let mut rig = Rig::with(shown);
    let address = rig.client.address();
    let status = |path: &str, host: &str, head: &str| get(&address, path, host, head).status;
    assert_eq!(status("/ui", "box.example", &bearer(TOKEN)), 200);
    assert_eq!(status("/ui", &address, &bearer(TOKEN)), 200);
    assert_eq!(status("/ui", &address, ""), 401);
    for path in ["/metrics", "/readyz", "/health", "/harpoon/mcp"] {
        assert_eq!(status(path, "box.example", &bearer(TOKEN)), 403, "{path}");
    }
    assert_eq!(status("/metrics", &address, ""), 200);
    assert!(!rig.client.log().contains("travel in clear"));
}

/// DESIGN, Reload: another token is taken over from its file, and the old one is none.
#[test]
fn another_token_is_taken_over() {
    let mut rig = Rig::with(shown);
    let address = rig.client.address();
    let status = |token: &str| get(&address, "/ui", "box.example", &bearer(token)).status;
    assert_eq!(status(TOKEN), 200);
    std::fs::write(rig.client.path("token"), "page-another-token-1\n").unwrap();
    rig.client.signal(Signal::SIGHUP);
    rig.client.wait_log(|line| line.contains("taken over: ") && line.contains("token"));
    assert_eq!((status(TOKEN), status("page-another-token-1")), (401, 200));
    assert!(!rig.client.log().contains("page-another"));
}

/// A start that would show the page to everybody, or to nobody, is refused with the remedy.
#[test]
fn half_a_guard_is_refused() {
    let refusal = |more: &[&str], variables: &[(&str, &str)]| {
        let builder = Builder::run("http://127.0.0.1:1", "http://127.0.0.1:1/mcp");
        let builder = variables.iter().fold(builder, |builder, (name, value)| builder.env(name, value));
        let (code, output) = more.iter().fold(builder, |builder, one| builder.argument(one)).finish();
        assert_eq!(code, Some(1), "{output}");
        output.strip_prefix("configure tunnel-client: ").unwrap_or(&output).to_owned()
    };
    let (allow, token) = ("--allow-remote-ui", "--admin-ui.token=env:T");
    let (host, long) = ("--admin-ui.allowed-host=box.example", [("T", TOKEN)]);
    for (arguments, variables, wanted) in [
        (vec![allow], vec![], "allow-remote-ui needs admin-ui.token: "),
        (vec![allow, host], vec![], "allow-remote-ui needs admin-ui.token: "),
        (vec![allow, token], long.to_vec(), "allow-remote-ui needs admin-ui.allowed-host: "),
        (
            vec![allow, token, host],
            vec![("T", "0123456789abcde")],
            "admin-ui.token must be 16 to 4096 visible",
        ),
        (
            vec![allow, "--admin-ui.token=page-0123456789", host],
            vec![],
            "invalid admin-ui.token: value must be",
        ),
        (
            vec![allow, token, "--admin-ui.allowed-host=box:80"],
            long.to_vec(),
            "invalid admin-ui.allowed-host \"box:80\"",
        ),
        (
            vec![allow, token, "--admin-ui.allowed-host=*"],
            long.to_vec(),
            "invalid admin-ui.allowed-host \"*\"",
        ),
        (
            vec![allow, token, host, "--health.unix-socket=/s"],
            long.to_vec(),
            "allow-remote-ui has no effect on health.unix-socket",
        ),
        (vec![token], long.to_vec(), "admin-ui.token is of use only with allow-remote-ui"),
        (vec![host], vec![], "admin-ui.allowed-host is of use only with allow-remote-ui"),
    ] {
        let said = refusal(&arguments, &variables);
        assert!(said.starts_with(wanted), "{arguments:?}: {said}");
    }
}

/// Whoever asks for a browser is told the way.
#[test]
fn no_browser_is_opened() {
    let mut rig = Rig::with(|b| b.argument("--open-web-ui"));
    let address = rig.client.address();
    let way =
        format!("the page is http://{address}/ui, and from another machine: ssh -L 8080:{address} HOST,");
    rig.client.wait_log(|line| line.contains(&way));
    let rig = Rig::with(|b| b.argument("--open-web-ui").set("health.listen-addr", "0.0.0.0:0"));
    rig.client.wait_log(|line| {
        line.contains("no browser is opened; other machines reach this listener, so it has no page")
    });
    let rig = Rig::with(|b| {
        let socket = b.path("health.sock");
        b.env("OPEN_WEB_UI", "true").flag("health.unix-socket", &socket)
    });
    let socket = rig.client.path("health.sock").display().to_string();
    rig.client
        .wait_log(|line| line.contains(&format!("and from another machine: ssh -L 8080:{socket} HOST,")));
}
