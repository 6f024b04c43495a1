//! The periodic check of proxies: figures for an operator, and nothing that gives credentials away.

use std::sync::Arc;

use base64::Engine;

use rustls::ServerConfig;

use crate::support::certs::Authority;
use crate::support::client::Client;
use crate::support::closed;
use crate::support::http::Request;
use crate::support::mcp::Mcp;
use crate::support::plane::Plane;
use crate::support::proxy::{Manner, Proxy};
use crate::support::rig::Rig;

/// Waits for a sample of a proxy family and returns the scrape.
fn wait_line(client: &mut Client, wanted: impl Fn(&str) -> bool) -> String {
    client.wait_get("/metrics", |answer| answer.body.lines().any(&wanted)).body
}

fn dead_proxy() -> String {
    format!("http://127.0.0.1:{}", closed::port())
}

/// MCP-182: a proxied route is checked at start and at every interval, by CONNECT where TLS follows, else by a
/// question in absolute form that the proxy may not pass on.
#[test]
fn proxied_routes_are_checked_again_and_again() {
    let authority = Authority::new("Test Root");
    for tls in [None, Some(authority.server())] {
        checked_again_and_again(tls, &authority.bundle());
    }
}

fn checked_again_and_again(tls: Option<Arc<ServerConfig>>, bundle: &str) {
    let proxy = Proxy::start(None, Manner::Open);
    let is_plain = tls.is_none();
    let mut rig = Rig::over(Plane::start(), Mcp::start_with(tls), |b| {
        b.flag("ca-bundle", bundle).flag("mcp.http-proxy", &proxy.url()).flag("proxy.check-interval", "100ms")
    });
    let text = wait_line(&mut rig.client, |l| l.starts_with("proxy_health_state{") && l.ends_with(" 1"));
    let line = text.lines().find(|l| l.starts_with("proxy_health_state{")).unwrap();
    let id = line.split('"').nth(1).unwrap();
    assert!(id.len() == 64 && id.bytes().all(|b| b.is_ascii_hexdigit()), "{line}");
    for phase in ["tcp", "connect"] {
        let wanted =
            format!("proxy_check_phase_duration_seconds_count{{proxy_id=\"{id}\",phase=\"{phase}\"}}");
        assert!(text.contains(&wanted), "{text}");
    }
    for name in ["proxy_last_check_timestamp", "proxy_last_success_timestamp"] {
        let line = text.lines().find(|l| l.starts_with(&format!("{name}{{"))).unwrap();
        assert!(line.rsplit(' ').next().unwrap().parse::<f64>().unwrap() > 1e9, "{line}");
    }
    // Idle traffic alone would open no more than a few connections.
    let end = std::time::Instant::now() + crate::support::BOUND;
    while proxy.requests().len() < 20 {
        assert!(std::time::Instant::now() < end, "{:?}", proxy.targets());
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    let wanted = format!("127.0.0.1:{}", rig.mcp.server.port());
    assert!(proxy.targets().iter().all(|target| *target == wanted));
    let checks = |r: &Request| (r.method == "OPTIONS") == is_plain && (r.method == "CONNECT") != is_plain;
    assert!(proxy.requests().iter().filter(|r| checks(r)).count() > 10);
    assert!(rig.mcp.server.requests().iter().all(|r| r.method != "OPTIONS"));
}

/// MCP-182: without a proxy nothing is checked, and the families stay empty.
#[test]
fn direct_routes_have_no_samples() {
    let mut rig = Rig::with(|b| b.flag("proxy.check-interval", "50ms"));
    rig.assert_alive();
    let text = rig.client.get("/metrics").body;
    assert!(!text.contains("proxy_id="), "{text}");
    assert_eq!(rig.mcp.server.requests().iter().filter(|r| r.method == "CONNECT").count(), 0);
}

/// MCP-182: what fails is counted with its phase and reason.
#[test]
fn failures_are_counted_with_their_reason() {
    let refusing = |text: &str| Proxy::start(None, Manner::Refusing(text.to_owned()));
    let denied = refusing("HTTP/1.1 403 No\r\nContent-Length: 0\r\n\r\n");
    let mute = refusing("");
    for (url, phase, reason) in [
        (denied.url(), "connect", "bad_status"),
        (mute.url(), "connect", "connect_error"),
        (dead_proxy(), "tcp", "dial_error"),
    ] {
        let mut rig = Rig::with(|b| b.flag("mcp.http-proxy", &url).flag("proxy.check-interval", "100ms"));
        let labels = format!("phase=\"{phase}\",reason=\"{reason}\"");
        let text = wait_line(&mut rig.client, |l| {
            l.starts_with("proxy_check_failures_total{") && l.contains(&labels)
        });
        let state = text.lines().find(|l| l.starts_with("proxy_health_state{")).unwrap();
        assert!(state.ends_with(" 0"), "{state}");
    }
}

/// MCP-182: two routes over one proxy are one row; two proxies are two.
#[test]
fn each_proxy_has_its_row() {
    let (one, two) = (Proxy::start(None, Manner::Open), Proxy::start(None, Manner::Open));
    let rows = |text: &str| {
        let lines = text.lines().filter(|l| l.starts_with("proxy_health_state{"));
        lines.filter(|l| l.ends_with(" 1")).count()
    };
    let mut rig = Rig::with(|b| b.flag("http-proxy", &one.url()).flag("mcp.http-proxy", &two.url()));
    rig.client.wait_get("/metrics", |a| rows(&a.body) == 2);
    let mut rig = Rig::with(|b| b.flag("http-proxy", &one.url()));
    let text = rig.client.wait_get("/metrics", |a| rows(&a.body) >= 1).body;
    assert_eq!(rows(&text), 1);
}

/// MCP-182: an unhealthy proxy says nothing about readiness by itself: the plane's is checked here, `NO_PROXY` serves the traffic.
#[test]
fn checks_do_not_change_readiness() {
    let plane = Plane::start();
    let url = dead_proxy();
    let list = format!("127.0.0.1:{}", plane.server.port());
    let mcp = Mcp::start();
    let list = format!("{list},127.0.0.1:{}", mcp.server.port());
    let mut rig = Rig::over(plane, mcp, |b| {
        b.flag("http-proxy", &url).env("NO_PROXY", &list).flag("proxy.check-interval", "50ms")
    });
    rig.assert_alive();
    rig.client.wait_get("/readyz", |a| a.status == 200);
}

/// MCP-183: a proxy's credentials stand in its own header and nowhere else.
#[test]
fn credentials_stand_in_one_header_only() {
    let password = "Pr0xy/Secret+42";
    let userinfo = format!("agent:{password}");
    let encoded = base64::engine::general_purpose::STANDARD.encode(&userinfo);
    let proxy = Proxy::start(None, Manner::Authorized(format!("Basic {encoded}")));
    let escaped = "agent:Pr0xy%2FSecret%2B42@";
    let mut rig = Rig::with(|b| {
        b.flag("http-proxy", &proxy.url_as(escaped))
            .argument("--log.http-raw-unsafe")
            .flag("proxy.check-interval", "50ms")
    });
    rig.assert_alive();
    wait_line(&mut rig.client, |l| l.starts_with("proxy_health_state{") && l.ends_with(" 1"));
    for request in proxy.requests() {
        let value = request.header("proxy-authorization").unwrap().to_owned();
        assert_eq!(value, format!("Basic {encoded}"));
        assert_eq!(request.dump().matches(&encoded).count(), 1);
    }
    let shown =
        [rig.client.log(), rig.client.get("/metrics").body, rig.client.get("/readyz").body].join("\n");
    for secret in [password, escaped, encoded.as_str()] {
        assert!(!shown.contains(secret), "{secret}");
    }
    let behind = rig.plane.server.requests().into_iter().chain(rig.mcp.server.requests());
    assert!(behind.into_iter().all(|r| !r.dump().contains(&encoded)));
}
