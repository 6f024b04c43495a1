//! Proxies: which one is asked for which destination, how, and what its refusal says.

use std::io::{Read, Write};
use std::net::TcpListener;

use base64::Engine;

use crate::support::certs::Authority;
use crate::support::client::Builder;
use crate::support::command::Command;
use crate::support::mcp::Mcp;
use crate::support::plane::Plane;
use crate::support::proxy::{Manner, Proxy};
use crate::support::rig::Rig;

const PASSWORD: &str = "pr0xy-Passw0rd";

fn open() -> Proxy {
    Proxy::start(None, Manner::Open)
}

fn refusing(head: &str) -> Proxy {
    Proxy::start(None, Manner::Refusing(format!("HTTP/1.1 {head}\r\nContent-Length: 0\r\n\r\n")))
}

fn basic(userinfo: &str) -> String {
    format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(userinfo))
}

/// A server that answers whatever comes first in plain http, as most do when somebody speaks TLS to them.
fn http_only() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let _hello = stream.read(&mut [0; 1024]);
            let _gone = stream.write_all(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n");
        }
    });
    url
}

/// `host:port` of a peer.
fn target(port: u16) -> String {
    format!("127.0.0.1:{port}")
}

/// Whether this proxy was asked for the plane and for the MCP server.
fn asked(proxy: &Proxy, rig: &Rig) -> (bool, bool) {
    let targets = proxy.targets();
    let has = |port| targets.contains(&target(port));
    (has(rig.plane.server.port()), has(rig.mcp.server.port()))
}

/// MCP-092, MCP-094: polls, answers and MCP calls over plain http are forwarded, also to loopback, several over
/// one connection to the proxy.
#[test]
fn plain_http_is_forwarded() {
    let proxy = open();
    let rig = Rig::with(|b| b.flag("http-proxy", &proxy.url()));
    for _ in 0..3 {
        rig.assert_alive();
    }
    assert_eq!(asked(&proxy, &rig), (true, true));
    // What came out of the proxy first: it notes a request before it passes it on.
    let behind: Vec<_> = rig.plane.server.requests().into_iter().chain(rig.mcp.server.requests()).collect();
    let seen: Vec<_> = proxy.requests().into_iter().filter(|r| r.method != "OPTIONS").collect();
    let ports = [rig.plane.server.port(), rig.mcp.server.port()];
    assert!(
        seen.iter()
            .all(|r| ports.iter().any(|port| r.target.starts_with(&format!("http://127.0.0.1:{port}/")))),
        "{:?}",
        proxy.targets()
    );
    assert!(seen.iter().all(|r| r.target.contains(r.header("host").unwrap())));
    assert!(seen.iter().map(|r| r.connection).collect::<std::collections::BTreeSet<_>>().len() < seen.len());
    // Nobody came past the proxy, and nobody behind it got absolute targets.
    assert!(behind.len() <= seen.len());
    assert!(behind.iter().all(|r| r.target.starts_with('/')));
}

/// MCP-094: TLS runs end to end through a tunnel, and the proxy hears of nothing but host and port.
#[test]
fn tls_goes_by_connect() {
    let authority = Authority::new("Test Root");
    let proxy = open();
    let plane = Plane::start_with(Some(authority.server()));
    let mcp = Mcp::start_with(Some(authority.server()));
    let rig =
        Rig::over(plane, mcp, |b| b.flag("ca-bundle", &authority.bundle()).flag("http-proxy", &proxy.url()));
    rig.assert_alive();
    assert_eq!(asked(&proxy, &rig), (true, true));
    let seen = proxy.requests();
    assert!(seen.iter().all(|r| r.method == "CONNECT" && r.header("host") == Some(r.target.as_str())));
    assert!(seen.iter().all(|r| r.headers.len() == 1), "{seen:?}");
}

/// MCP-094: a proxy may speak TLS itself; the bundle vouches for it too.
#[test]
fn a_proxy_may_speak_tls() {
    let authority = Authority::new("Proxy Root");
    let proxy = Proxy::start(Some(authority.server()), Manner::Open);
    for tls in [None, Some(authority.server())] {
        let (plane, mcp) = (Plane::start_with(tls.clone()), Mcp::start_with(tls));
        let rig = Rig::over(plane, mcp, |b| {
            b.flag("ca-bundle", &authority.bundle()).flag("http-proxy", &proxy.url())
        });
        rig.assert_alive();
        assert_eq!(asked(&proxy, &rig), (true, true));
    }
    let rig = Rig::with(|b| b.flag("control-plane.http-proxy", &proxy.url()));
    let line = rig.client.wait_log(|line| line.contains("backing off"));
    assert!(line.contains("Proxy Root"), "{line}");
    assert!(rig.plane.server.requests().is_empty());
}

/// MCP-094: credentials go out with every request and never reach what lies behind the proxy.
#[test]
fn credentials_are_sent_up_front_and_to_the_proxy_only() {
    // Escapes in a URL stand for the bytes themselves.
    let proxy = Proxy::start(None, Manner::Authorized(basic(&format!("us er:{PASSWORD}@:"))));
    let url = proxy.url_as(&format!("us%20er:{PASSWORD}%40%3A@"));
    let mut rig = Rig::with(|b| b.env("CORPORATE", &url).flag("http-proxy", "env:CORPORATE"));
    rig.assert_alive();
    assert_eq!(asked(&proxy, &rig), (true, true));
    assert!(proxy.requests().iter().all(|r| r.all("proxy-authorization").len() == 1));
    let behind = rig.plane.server.requests().into_iter().chain(rig.mcp.server.requests());
    assert!(behind.into_iter().all(|r| r.header("proxy-authorization").is_none()));
    let shown = rig.client.get("/metrics").body + &rig.client.log();
    assert!(
        !shown.contains(PASSWORD)
            && !shown.contains(basic(&format!("us er:{PASSWORD}@:")).trim_start_matches("Basic "))
    );
}

/// CP, proxies: a proxy that asks for credentials is named with the schemes that it offers.
#[test]
fn a_407_names_the_schemes() {
    let proxy = refusing(
        "407 Denied\r\nProxy-Authenticate: Negotiate\r\nProxy-Authenticate: Basic realm=\"r\", NTLM",
    );
    let rig = Rig::with(|b| b.flag("control-plane.http-proxy", &proxy.url()));
    let line = rig.client.wait_log(|line| line.contains("backing off"));
    assert!(line.contains("407"), "{line}");
    for scheme in ["Negotiate", "Basic", "NTLM"] {
        assert!(line.contains(scheme), "{line}");
    }
    assert!(rig.plane.server.requests().is_empty());
}

/// MCP, proxies: a call that a proxy refuses is answered 502 `connect`, and the cause stays in the log.
#[test]
fn a_refusing_proxy_fails_the_call_only() {
    let authority = Authority::new("Test Root");
    for (tls, status, rest) in [
        (true, "407", "Denied\r\nProxy-Authenticate: Basic realm=\"r\""),
        (true, "403", "Forbidden by policy"),
        (true, "502", "Bad Gateway"),
        (true, "302", "Found\r\nLocation: http://login.example/"),
        (false, "407", "Denied\r\nProxy-Authenticate: Basic realm=\"r\""),
        (false, "502", "Bad Gateway\r\nVia: 1.1 squid\r\nContent-Type: text/html"),
        (false, "504", "Gone\r\nProxy-Status: squid; error=connection_timeout"),
    ] {
        let proxy = refusing(&format!("{status} {rest}"));
        let mcp = Mcp::start_with(tls.then(|| authority.server()));
        let rig = Rig::over(Plane::start(), mcp, |b| {
            b.flag("ca-bundle", &authority.bundle()).flag("mcp.http-proxy", &proxy.url())
        });
        let answer = rig.send(&Command::method("ping", "1"));
        assert_eq!(answer.code(), 502);
        assert_eq!(answer.cause(), "connect/proxy_refused");
        assert!(!answer.request.text().contains("policy"));
        rig.client.wait_log(|line| {
            line.contains("upstream error") && line.contains(&format!("the proxy {} refused", proxy.url()))
        });
        assert!(rig.mcp.server.requests().is_empty());
    }
}

/// CP, proxies: what a proxy does to the polls is said to be the proxy's, with what can be done.
#[test]
fn failures_of_a_proxy_are_not_the_planes() {
    let said = |url: &str, tls: bool| {
        let authority = Authority::new("Test Root");
        let plane = Plane::start_with(tls.then(|| authority.server()));
        let rig = Rig::over(plane, Mcp::start(), |b| {
            b.flag("ca-bundle", &authority.bundle()).flag("control-plane.http-proxy", url)
        });
        let line = rig.client.wait_log(|line| line.contains("backing off"));
        assert!(!line.contains("control plane reports a fault"), "{line}");
        line
    };
    let unavailable = refusing("503 Unavailable\r\nVia: 1.1 squid");
    for tls in [true, false] {
        let line = said(&unavailable.url(), tls);
        assert!(line.contains(&format!("the proxy {} refused", unavailable.url())), "{line}");
        assert!(
            line.contains("with status 503") && line.contains("The proxy failed, not the control plane"),
            "{line}"
        );
    }
    let closed = crate::support::closed::port();
    let line = said(&format!("http://127.0.0.1:{closed}"), true);
    let expected =
        format!("proxy http://127.0.0.1:{closed}: connect to 127.0.0.1:{closed}: Connection refused");
    assert!(line.contains(&expected) && line.contains("The proxy failed"), "{line}");
    let line = said(&http_only().replace("http", "https"), true);
    assert!(
        line.contains("does not speak TLS; is it http?") && line.contains("should begin with http://"),
        "{line}"
    );
}

/// CP: an https URL that leads to an http server is named as that.
#[test]
fn a_plane_without_tls_is_named() {
    let url = http_only().replace("http", "https");
    let rig = Rig::with(|b| b.set("control-plane.base-url", &url));
    let line = rig.client.wait_log(|line| line.contains("backing off"));
    assert!(line.contains("127.0.0.1 does not speak TLS; is it http?"), "{line}");
    assert!(line.contains("Check control-plane.base-url"), "{line}");
}

/// MCP, proxies: a proxy that is not there, or speaks no HTTP, fails the call only.
#[test]
fn a_broken_proxy_fails_the_call_only() {
    let dead = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        format!("http://{}", listener.local_addr().unwrap())
    };
    let babbling = Proxy::start(None, Manner::Refusing("220 smtp ready\r\n\r\n".to_owned()));
    let mute = Proxy::start(None, Manner::Refusing(String::new()));
    for url in [dead, babbling.url(), mute.url()] {
        let rig = Rig::with(|b| b.flag("mcp.http-proxy", &url));
        let answer = rig.send(&Command::method("ping", "1"));
        assert_eq!(answer.code(), 502, "{url}");
        assert!(answer.failure().is_object());
        assert!(rig.mcp.server.requests().is_empty());
    }
}

/// MCP-092 as DESIGN has it: `NO_PROXY` is honoured for explicit proxies, by address, block, port and star.
#[test]
fn no_proxy_is_honoured_for_explicit_proxies() {
    let proxy = open();
    for list in ["127.0.0.1", "10.0.0.0/8, 127.0.0.0/8", "*", "other.example,127.0.0.1"] {
        for name in ["NO_PROXY", "no_proxy"] {
            let rig = Rig::with(|b| b.flag("http-proxy", &proxy.url()).env(name, list));
            rig.assert_alive();
        }
    }
    assert!(proxy.requests().is_empty(), "{:?}", proxy.targets());
    let mcp = Mcp::start();
    let list = target(mcp.server.port());
    let rig = Rig::over(Plane::start(), mcp, |b| b.flag("http-proxy", &proxy.url()).env("NO_PROXY", &list));
    rig.assert_alive();
    assert_eq!(asked(&proxy, &rig), (true, false));
}

/// MCP-093: proxies of the environment serve their scheme, with `NO_PROXY`, and never loopback.
#[test]
fn proxies_of_the_environment_are_used() {
    let (plain, secure) = (refusing("403 No"), refusing("403 No"));
    let start = |no_proxy: &str| {
        Rig::with(|b| {
            b.set("control-plane.base-url", "https://plane.test")
                .set("mcp.server-url", "http://tools.test/mcp")
                .env("HTTP_PROXY", &plain.url())
                .env("HTTPS_PROXY", &secure.url())
                .env("NO_PROXY", no_proxy)
        })
    };
    let mut rig = start("");
    rig.client.wait_log(|line| line.contains("backing off"));
    rig.client.wait_get("/readyz", |answer| answer.status == 503);
    rig.client.wait_log(|line| line.contains("mcp probe failed"));
    assert!(secure.targets().iter().all(|t| t == "plane.test:443") && !secure.targets().is_empty());
    assert!(
        plain.requests().iter().all(|r| r.target.starts_with("http://tools.test")),
        "{:?}",
        plain.targets()
    );
    assert!(plain.targets().iter().all(|t| t == "tools.test:80") && !plain.targets().is_empty());
    drop(rig);
    let before = plain.requests().len() + secure.requests().len();
    let rig = start("plane.test,.test:80");
    rig.client.wait_log(|line| line.contains("backing off"));
    rig.client.wait_log(|line| line.contains("mcp probe failed"));
    assert_eq!(plain.requests().len() + secure.requests().len(), before);
    let rig = Rig::with(|b| b.env("HTTP_PROXY", &plain.url()).env("http_proxy", &plain.url()));
    rig.assert_alive();
    assert_eq!(plain.requests().len() + secure.requests().len(), before);
}

/// MCP, proxies: own before global before environment; an entry's own before all of MCP's.
#[test]
fn the_nearest_proxy_wins() {
    let [global, plane, mcp_wide, own] = [open(), open(), open(), open()];
    let away = refusing("500 No");
    let start = |adjust: &dyn Fn(Builder) -> Builder| {
        let rig = Rig::with(|b| adjust(b.env("HTTP_PROXY", &away.url()).flag("http-proxy", &global.url())));
        rig.assert_alive();
        rig
    };
    let rig = start(&|b| b);
    assert_eq!(asked(&global, &rig), (true, true));
    let rig = start(&|b| b.flag("control-plane.http-proxy", &plane.url()));
    assert_eq!((asked(&plane, &rig), asked(&global, &rig)), ((true, false), (false, true)));
    let rig = start(&|b| b.flag("mcp.http-proxy", &mcp_wide.url()));
    assert_eq!((asked(&mcp_wide, &rig), asked(&global, &rig)), ((false, true), (true, false)));
    let mcp = Mcp::start();
    let entry = format!("channel=main,url={},http-proxy={}", mcp.url(), own.url());
    let rig = Rig::over(Plane::start(), mcp, |b| {
        b.set("mcp.server-url", &entry)
            .flag("mcp.http-proxy", &mcp_wide.url())
            .flag("http-proxy", &global.url())
    });
    rig.assert_alive();
    assert_eq!((asked(&own, &rig), asked(&mcp_wide, &rig)), ((false, true), (false, false)));
    assert!(away.requests().is_empty());
}

/// MCP-095: a proxy that is not http or https ends the start, wherever it was named, without its password.
#[test]
fn other_proxy_schemes_end_the_start() {
    for (name, scheme) in
        [("http-proxy", "socks5"), ("mcp.http-proxy", "ftp"), ("control-plane.http-proxy", "socks4")]
    {
        let url = format!("{scheme}://user:{PASSWORD}@proxy.test:1080");
        let builder = Builder::run("http://127.0.0.1:1", "http://127.0.0.1:1/mcp");
        let (code, output) = builder.flag(name, &url).finish();
        assert_eq!(code, Some(1));
        assert!(output.contains("proxy URL scheme must be http or https"), "{output}");
        assert!(output.contains(scheme) && !output.contains(PASSWORD), "{output}");
    }
}

/// DESIGN, operator: the start says which proxy serves which destination and why, without credentials.
#[test]
fn routes_are_said_at_start() {
    let proxy = Proxy::start(None, Manner::Open);
    let rig = Rig::with(|b| b.flag("mcp.http-proxy", &proxy.url_as(&format!("user:{PASSWORD}@"))));
    let line =
        rig.client.wait_log(|line| line.contains("outbound route") && line.contains(r#""route":"main""#));
    assert!(line.contains(&proxy.url()) && line.contains("mcp.http-proxy"), "{line}");
    assert!(!line.contains(PASSWORD), "{line}");
}
