//! The ways to an endpoint: TLS, proxies, sockets, resting connections.

use std::sync::Arc;

use serde_json::json;

use super::{Called, call_command, yaml};
use crate::support::certs::Authority;
use crate::support::client::Builder;
use crate::support::http::Request;
use crate::support::proxy::{Manner, Proxy};
use crate::support::reply::Reply;
use crate::support::rig::Rig;
use crate::support::server::{Script, Server};
use crate::support::temp::TempDir;

fn script() -> Script {
    Arc::new(|request: &Request| Reply::body(200, "text/plain", request.target.clone()))
}

fn rig(targets: &str, adjust: impl FnOnce(Builder) -> Builder) -> Rig {
    Rig::with(|builder| adjust(builder.yaml(&yaml(targets))))
}

fn call(rig: &Rig) -> Called {
    Called(rig.send(&call_command("a", json!({}))))
}

/// A private authority is trusted when its certificate is given, and only then.
#[test]
fn private_authorities_need_the_bundle() {
    let authority = Authority::new("harpoon authority");
    let server = Server::start(Some(authority.server()), script());
    let targets = format!("- {{label: a, url: '{}/x'}}", server.origin());
    let trusting = rig(&targets, |builder| builder.flag("ca-bundle", &authority.bundle()));
    assert_eq!(call(&trusting).body(), "/x");
    assert!(!server.requests()[0].client_certificate);
    let doubting = rig(&targets, |builder| builder);
    assert_eq!(call(&doubting).fault(), "label a: request failed");
    let line = doubting.client.wait_log(|line| line.contains("harpoon request failed"));
    assert!(line.contains("harpoon authority") || line.contains("certificate"), "{line}");
}

/// The endpoints' own proxy wins over the global one, and a refusal is the tool's failure.
#[test]
fn endpoints_have_a_proxy_of_their_own() {
    let authority = Authority::new("harpoon authority");
    let server = Server::start(Some(authority.server()), script());
    let targets = format!("- {{label: a, url: '{}/x'}}", server.origin());
    let (own, global) = (Proxy::start(None, Manner::Open), Proxy::start(None, Manner::Open));
    let mut tunnel = rig(&targets, |builder| {
        let builder = builder.flag("ca-bundle", &authority.bundle()).flag("harpoon.http-proxy", &own.url());
        builder.flag("http-proxy", &global.url())
    });
    assert_eq!(call(&tunnel).body(), "/x");
    let target = format!("127.0.0.1:{}", server.port());
    assert!(own.targets().contains(&target) && !global.targets().contains(&target));
    tunnel.client.wait_log(|line| {
        line.contains("harpoon route resolved") && line.contains("\"route_mode\":\"proxy\"")
    });
    let page = tunnel.client.wait_get("/metrics", |page| page.body.contains("proxy_health_state")).body;
    assert!(page.contains("proxy_health_state"));
    let closed = Proxy::start(None, Manner::Refusing("HTTP/1.1 403 No\r\nContent-Length: 0\r\n\r\n".into()));
    let refused = rig(&targets, |builder| {
        builder.flag("ca-bundle", &authority.bundle()).flag("harpoon.http-proxy", &closed.url())
    });
    assert_eq!(call(&refused).fault(), "label a: request failed");
}

/// A socket takes the place of the host, which is not resolved.
#[test]
fn endpoints_can_be_on_sockets() {
    let directory = TempDir::new();
    let path = directory.join("endpoint.sock");
    let server = Server::start_unix(&path, script());
    let targets =
        format!("- {{label: a, url: 'http://nowhere.invalid/x', unix_socket: '{}'}}", path.display());
    let rig = rig(&targets, |builder| builder.argument("--harpoon.allow-plaintext-http"));
    assert_eq!(call(&rig).body(), "/x");
    assert_eq!(server.requests()[0].header("host"), Some("nowhere.invalid"));
}

/// A connection is used again, and one that died at rest is opened anew.
#[test]
fn connections_are_kept_and_renewed() {
    let server = Server::start(None, script());
    let targets = format!("- {{label: a, url: '{}/x'}}", server.origin());
    let rig = rig(&targets, |builder| builder.argument("--harpoon.allow-plaintext-http"));
    for _ in 0..5 {
        assert_eq!(call(&rig).body(), "/x");
    }
    assert_eq!(server.connections(), 1);
    server.cut_connections();
    assert_eq!(call(&rig).body(), "/x");
}

/// Where there are many endpoints few connections rest: a caller who asks all of them would otherwise take the
/// descriptors that the tunnel itself needs.
#[test]
fn resting_connections_are_bounded_over_all_endpoints() {
    let server = Server::start(None, script());
    let origin = server.origin();
    let targets: String = (0..300).map(|n| format!("- {{label: l{n}, url: '{origin}/{n}'}}\n")).collect();
    let rig = rig(&targets, |builder| builder.argument("--harpoon.allow-plaintext-http"));
    for _ in 0..3 {
        assert_eq!(Called(rig.send(&call_command("l7", json!({})))).body(), "/7");
    }
    assert_eq!(server.connections(), 3);
}

/// The flag and the environment name targets as the configuration does.
#[test]
fn targets_can_be_given_in_one_line() {
    let server = Server::start(None, script());
    let line = format!("label=a,url={}/x,desc=Said", server.origin());
    let rig =
        Rig::with(|builder| builder.env("HARPOON_TARGETS", &line).argument("--harpoon.allow-plaintext-http"));
    assert_eq!(call(&rig).body(), "/x");
}
