//! `tunnel-client ui`: the page of a socket, on a port of this host, for whoever has the printed address.

use crate::support::client::{Builder, Client};
use crate::support::http::{Fetched, fetch};
use crate::support::rig::Rig;

/// The command, and where it says that the page is.
fn shown(builder: Builder) -> (Client, String, String) {
    let client = builder.without_env("CONTROL_PLANE_API_KEY").start();
    let line = client.wait_log(|line| line.trim().starts_with("http://127.0.0.1:"));
    let (address, path) = line.trim().strip_prefix("http://").unwrap().split_once('/').unwrap();
    (client, address.to_owned(), format!("/{path}"))
}

fn get(address: &str, path: &str, head: &str) -> Fetched {
    fetch(address, "GET", path, &format!("Host: {address}\r\n{head}")).unwrap()
}

/// A tunnel on a socket, and the socket.
fn on_socket() -> (Rig, String) {
    let rig = Rig::with(|b| {
        let socket = b.path("health.sock");
        b.flag("health.unix-socket", &socket)
    });
    rig.client.wait_log(|line| line.contains("tunnel-client started"));
    let socket = rig.client.path("health.sock").display().to_string();
    (rig, socket)
}

/// DESIGN, What the operator sees: the token of the address becomes a cookie, and without it there is nothing.
#[test]
fn the_page_of_a_socket_is_shown_to_who_has_the_address() {
    let (rig, socket) = on_socket();
    let (mut ui, address, path) = shown(Builder::bare("ui").flag("unix-socket", &socket));
    for head in ["", "Cookie: a=b\r\n"] {
        assert_eq!(get(&address, "/ui", head).status, 403);
    }
    let opened = get(&address, &path, "");
    assert_eq!((opened.status, opened.header("location")), (303, Some("/ui")));
    let cookie = opened.header("set-cookie").unwrap().to_owned();
    assert!(cookie.ends_with("; Path=/ui; HttpOnly; SameSite=Strict"), "{cookie}");
    let cookie = format!("Cookie: {}\r\n", cookie.split(';').next().unwrap());
    let page = get(&address, "/ui", &cookie);
    assert_eq!((page.status, page.header("content-type")), (200, Some("text/html; charset=utf-8")));
    assert!(page.header("content-security-policy").unwrap().starts_with("default-src 'none'"));
    assert!(page.body.contains("<!DOCTYPE html>") && page.body.contains("tunnel_"), "{}", page.body);
    assert_eq!(get(&address, "/ui?channel=main", &cookie).status, 200);
    for other in ["/metrics", "/healthz", "/health", "/harpoon/mcp", "/"] {
        assert_eq!(get(&address, other, &cookie).status, 404, "{other}");
    }
    assert_eq!(fetch(&address, "POST", "/ui", &format!("Host: {address}\r\n{cookie}")).unwrap().status, 405);
    assert_eq!(
        fetch(&address, "GET", "/ui", &format!("Host: evil.example\r\n{cookie}")).unwrap().status,
        403
    );
    drop(rig);
    let gone = get(&address, "/ui", &cookie);
    assert!(gone.status == 502 && gone.body.starts_with("The tunnel does not answer: "), "{}", gone.body);
    // Not SIGINT, which whoever runs the tests in the background may have ignored.
    ui.signal(nix::sys::signal::Signal::SIGTERM);
    ui.wait_exit();
}

/// A profile names the listener; its secrets are not read.
#[test]
fn a_profile_names_the_socket() {
    let (_rig, socket) = on_socket();
    let text = format!("control_plane:\n  api_key: file:/none\nhealth:\n  unix_socket: {socket}\n");
    let (_ui, address, path) = shown(Builder::bare("ui").yaml(&text));
    assert_eq!(get(&address, &path, "").status, 303);
}

/// Connections that say nothing keep nobody out.
#[test]
fn silent_connections_keep_nobody_out() {
    let (_rig, socket) = on_socket();
    let (_ui, address, path) = shown(Builder::bare("ui").flag("unix-socket", &socket));
    let silent: Vec<_> = (0..20).map(|_| std::net::TcpStream::connect(&address).unwrap()).collect();
    assert_eq!(get(&address, &path, "").status, 303);
    drop(silent);
}

/// What is not there is said at once.
#[test]
fn a_tunnel_that_is_not_there_is_named() {
    let refusal = |builder: Builder| builder.outcome().stderr;
    let said = refusal(Builder::bare("ui").flag("unix-socket", "/none/health.sock"));
    assert!(said.contains("http+unix://") && said.contains("/none/health.sock"), "{said}");
    let said = refusal(Builder::bare("ui").flag("unix-socket", "/s").flag("local-port", "70000"));
    assert!(said.contains("local-port must be at most 65535"), "{said}");
    let (_rig, socket) = {
        let mut rig = Rig::with(|b| b.set("health.listen-addr", "0.0.0.0:0"));
        let address = rig.client.address();
        (rig, format!("http://{address}"))
    };
    let said = refusal(Builder::bare("ui").flag("url", &socket));
    assert!(said.contains("this tunnel has no page"), "{said}");
}
