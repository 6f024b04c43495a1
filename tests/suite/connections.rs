//! Whom the client trusts, what it shows of itself, and the socket files it uses.

use crate::support::certs::Authority;
use crate::support::client::Builder;
use crate::support::mcp::Mcp;
use crate::support::plane::Plane;
use crate::support::proxy::{Manner, Proxy};
use crate::support::reply::Reply;
use crate::support::rig::Rig;
use crate::support::temp::TempDir;

const PING: &str = r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#;

/// Peers behind one private authority.
fn private_peers(authority: &Authority) -> (Plane, Mcp) {
    let plane = Plane::start_with(Some(authority.server()));
    (plane, Mcp::start_with(Some(authority.server())))
}

/// A start that has to fail: the one line that says why.
fn refused_start(adjust: impl FnOnce(Builder) -> Builder) -> String {
    let builder = Builder::run("http://127.0.0.1:1", "http://127.0.0.1:1/mcp");
    let (code, output) = adjust(builder).finish();
    assert_eq!(code, Some(1), "{output}");
    assert!(!output.contains("panicked"), "{output}");
    output
}

/// MCP-089: `--ca-bundle` opens both sides, whichever roots stand beside it.
#[test]
fn a_bundle_makes_private_peers_reachable() {
    let authority = Authority::new("Test Root Zwo");
    for roots in ["system", "webpki", "none"] {
        let (plane, mcp) = private_peers(&authority);
        let rig =
            Rig::over(plane, mcp, |b| b.flag("ca-bundle", &authority.bundle()).flag("tls.roots", roots));
        rig.assert_alive();
        assert_eq!(rig.plane.posts().len(), 1);
        rig.client.wait_log(|line| line.contains("tls trust summary"));
    }
}

/// MCP-089: the bundle also comes from the environment, from YAML and by reference.
#[test]
fn a_bundle_may_be_named_in_every_source() {
    let authority = Authority::new("Test Root");
    let bundle = authority.bundle();
    let sources: [&dyn Fn(Builder) -> Builder; 3] =
        [&|b| b.env("CA_BUNDLE", &bundle), &|b| b.yaml(&format!("ca_bundle: \"{bundle}\"\n")), &|b| {
            b.env("ENTERPRISE", &bundle).flag("ca-bundle", "env:ENTERPRISE")
        }];
    for source in sources {
        let (plane, mcp) = private_peers(&authority);
        Rig::over(plane, mcp, source).assert_alive();
    }
}

/// DESIGN, Connections: `SSL_CERT_FILE` alone is trusted when it is set, and the summary names it.
#[test]
fn the_certificate_file_of_the_environment_replaces_the_roots() {
    let authority = Authority::new("Test Root");
    let (plane, mcp) = private_peers(&authority);
    let rig = Rig::over(plane, mcp, |b| b.env("SSL_CERT_FILE", &authority.bundle()));
    rig.assert_alive();
    let line = rig.client.wait_log(|line| line.contains("tls trust summary"));
    assert!(line.contains("SSL_CERT_FILE"), "{line}");
}

/// MCP-089: without the bundle the plane gets no request, and the log names who signed for it.
#[test]
fn an_unknown_issuer_of_the_plane_is_named_in_the_log() {
    let authority = Authority::new("Unheard Of CA");
    let plane = Plane::start_with(Some(authority.server()));
    let rig = Rig::over(plane, Mcp::start(), |b| b);
    let line = rig.client.wait_log(|line| line.contains("backing off"));
    assert!(line.contains("Unheard Of CA"), "{line}");
    assert!(rig.plane.server.requests().is_empty());
}

/// MCP-089: without the bundle an MCP server gets no request, the call fails as `tls`, and the cause stays at home.
#[test]
fn an_unknown_issuer_of_a_server_is_named_in_the_log_only() {
    let authority = Authority::new("Unheard Of CA");
    let mcp = Mcp::start_with(Some(authority.server()));
    let rig = Rig::over(Plane::start(), mcp, |b| b);
    let answer = rig.call(PING);
    assert_eq!(answer.code(), 502);
    assert!(answer.cause().starts_with("tls/"), "{}", answer.cause());
    assert!(!answer.request.text().contains("Unheard"), "{}", answer.request.text());
    rig.client.wait_log(|line| line.contains("upstream error") && line.contains("Unheard Of CA"));
    assert!(rig.mcp.server.requests().is_empty());
}

/// DESIGN, Connections: with `tls.roots` none, a bundle of somebody else opens nothing.
#[test]
fn only_the_bundle_counts_without_roots() {
    let (known, other) = (Authority::new("Known"), Authority::new("Other"));
    let plane = Plane::start_with(Some(other.server()));
    let rig =
        Rig::over(plane, Mcp::start(), |b| b.flag("ca-bundle", &known.bundle()).flag("tls.roots", "none"));
    let line = rig.client.wait_log(|line| line.contains("backing off"));
    assert!(line.contains("Other"), "{line}");
    assert!(rig.plane.server.requests().is_empty());
    rig.client.wait_log(|line| line.contains("\"1 roots from no roots and ca-bundle "));
}

/// MCP-090: a bundle without certificates, or without a file, ends the start.
#[test]
fn a_bundle_without_certificates_ends_the_start() {
    let directory = TempDir::new();
    let key = std::fs::read_to_string(Authority::new("x").client("c").key).unwrap();
    let empty = directory.write("empty.pem", "");
    let noise = directory.write("noise.pem", "not a certificate\n");
    let key = directory.write("key.pem", key);
    let broken = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    let broken = directory.write("broken.pem", broken);
    let missing = directory.join("missing.pem");
    for path in [&empty, &noise, &key, &broken, missing.to_str().unwrap()] {
        let output = refused_start(|b| b.flag("ca-bundle", path));
        assert!(output.contains("configure tunnel-client") && output.contains(path), "{output}");
    }
}

/// CP, mTLS: every request to the plane shows the certificate; without one none gets through.
#[test]
fn the_plane_gets_its_client_certificate() {
    let (servers, clients) = (Authority::new("Servers"), Authority::new("Clients"));
    let files = clients.client("agent");
    let demanding = || Plane::start_with(Some(servers.server_demanding(&clients)));
    let rig = Rig::over(demanding(), Mcp::start(), |b| {
        b.flag("ca-bundle", &servers.bundle())
            .flag("control-plane.client-cert", &files.certificate)
            .flag("control-plane.client-key", &files.key)
    });
    rig.assert_alive();
    assert!(rig.plane.server.requests().iter().all(|r| r.client_certificate));
    let rig = Rig::over(demanding(), Mcp::start(), |b| b.flag("ca-bundle", &servers.bundle()));
    rig.client.wait_log(|line| line.contains("backing off"));
    assert!(rig.plane.server.requests().is_empty());
}

/// MCP-088: a certificate, the default one or a channel's own, is shown to its server.
#[test]
fn an_mcp_server_gets_its_client_certificate() {
    let (servers, clients) = (Authority::new("Servers"), Authority::new("Clients"));
    let files = clients.client("agent");
    for by_channel in [false, true] {
        let mcp = Mcp::start_with(Some(servers.server_demanding(&clients)));
        let entry = format!(
            "channel=main,url={},client-cert={},client-key={}",
            mcp.url(),
            files.certificate,
            files.key
        );
        let rig = Rig::over(Plane::start(), mcp, |b| {
            let b = b.flag("ca-bundle", &servers.bundle());
            if by_channel {
                return b.set("mcp.server-url", &entry);
            }
            b.flag("mcp.client-cert", &files.certificate).flag("mcp.client-key", &files.key)
        });
        rig.assert_alive();
        assert!(rig.mcp.server.requests().iter().all(|r| r.client_certificate));
    }
}

/// MCP-088, CP-088: each side sees its own certificate only, and a redirect leads nowhere else.
#[test]
fn certificates_stay_with_the_origin_they_were_configured_for() {
    let (servers, clients) = (Authority::new("Servers"), Authority::new("Clients"));
    let files = clients.client("agent");
    let inviting = || Some(servers.server_inviting(&clients));
    let elsewhere = Mcp::start_with(inviting());
    for side in ["mcp", "control-plane"] {
        let (plane, mcp) = (Plane::start_with(inviting()), Mcp::start_with(inviting()));
        mcp.reply("away", Reply::status(307).header("Location", &elsewhere.url()));
        let rig = Rig::over(plane, mcp, |b| {
            b.flag("ca-bundle", &servers.bundle())
                .flag(&format!("{side}.client-cert"), &files.certificate)
                .flag(&format!("{side}.client-key"), &files.key)
        });
        rig.assert_alive();
        let away = rig.call(r#"{"jsonrpc":"2.0","id":1,"method":"away"}"#);
        assert!(away.failure().is_object(), "{}", away.request.text());
        let shown = |requests: Vec<_>| {
            let all: Vec<bool> =
                requests.iter().map(|r: &crate::support::http::Request| r.client_certificate).collect();
            (all.contains(&true), all.contains(&false))
        };
        let (own, other) = match side {
            "mcp" => (rig.mcp.server.requests(), rig.plane.server.requests()),
            _ => (rig.plane.server.requests(), rig.mcp.server.requests()),
        };
        assert_eq!((shown(own), shown(other)), ((true, false), (false, true)), "{side}");
        assert_eq!(elsewhere.server.connections(), 0);
    }
}

/// DESIGN, Connections: TLS to a proxy never gets the client certificate.
#[test]
fn a_proxy_gets_no_client_certificate() {
    let (servers, clients) = (Authority::new("Servers"), Authority::new("Clients"));
    let files = clients.client("agent");
    let proxy = Proxy::start(Some(servers.server_inviting(&clients)), Manner::Open);
    let plane = Plane::start_with(Some(servers.server_demanding(&clients)));
    let rig = Rig::over(plane, Mcp::start(), |b| {
        b.flag("ca-bundle", &servers.bundle())
            .flag("control-plane.http-proxy", &proxy.url())
            .flag("control-plane.client-cert", &files.certificate)
            .flag("control-plane.client-key", &files.key)
    });
    rig.assert_alive();
    assert!(rig.plane.server.requests().iter().all(|r| r.client_certificate));
    let seen = proxy.requests();
    assert!(!seen.is_empty() && seen.iter().all(|r| !r.client_certificate));
}

/// DESIGN, Connections: a key that does not fit its certificate ends the start with one line.
#[test]
fn a_key_that_does_not_fit_ends_the_start() {
    let clients = Authority::new("Clients");
    let (one, two) = (clients.client("one"), clients.client("two"));
    for side in ["control-plane", "mcp"] {
        let (certificate, key) = (format!("{side}.client-cert"), format!("{side}.client-key"));
        let output = refused_start(|b| b.flag(&certificate, &one.certificate).flag(&key, &two.key));
        assert!(output.contains("client certificate"), "{output}");
        assert!(!output.contains("PRIVATE KEY"), "{output}");
        let output = refused_start(|b| b.flag(&certificate, &one.key).flag(&key, &one.certificate));
        assert!(output.contains("client certificate"), "{output}");
        let output = refused_start(|b| b.flag(&certificate, &one.certificate));
        assert!(output.contains("key"), "{output}");
    }
}

/// MCP-091: a unix-socket binding sends the URL's host and path over the socket, past every proxy.
#[test]
fn a_socket_binding_uses_the_socket_and_no_proxy() {
    let directory = TempDir::new();
    let path = directory.join("mcp.sock");
    let mcp = Mcp::start_unix(&path);
    let proxy = Proxy::start(None, Manner::Refusing("HTTP/1.1 403 No\r\n\r\n".to_owned()));
    let plane = Plane::start();
    let entry = format!("url=http://tools.internal:8123/deep/mcp,unix-socket={}", path.to_str().unwrap());
    let builder = Builder::run(&plane.server.origin(), &entry)
        .flag("mcp.http-proxy", &proxy.url())
        .env("HTTP_PROXY", &proxy.url());
    let client = builder.start();
    let rig = Rig { client, mcp, plane };
    rig.assert_alive();
    let request = rig.mcp.wait_calls("ping", 1).remove(0);
    assert_eq!((request.path(), request.header("host")), ("/deep/mcp", Some("tools.internal:8123")));
    assert!(proxy.requests().is_empty());
}

/// MCP-091: a socket without a listener fails the call as a refused connection, and service goes on.
#[test]
fn a_missing_socket_is_a_failed_call() {
    let directory = TempDir::new();
    let path = directory.join("none.sock");
    let rig = Rig::with(|b| {
        let entry = format!("url=http://localhost/mcp,unix-socket={}", path.display());
        b.set("mcp.server-url", &entry)
    });
    let answer = rig.call(PING);
    assert_eq!(answer.code(), 502);
    assert!(answer.cause().starts_with("connect/"), "{}", answer.cause());
    let mcp = Mcp::start_unix(&path);
    rig.assert_alive();
    assert_eq!(mcp.calls_of("ping").len(), 1);
}

/// MCP-091: a socket and a proxy for one channel contradict each other.
#[test]
fn a_socket_and_a_proxy_of_one_entry_end_the_start() {
    let entry = "url=http://h/mcp,unix-socket=/tmp/x.sock,http-proxy=http://p:1";
    let output = refused_start(|b| b.set("mcp.server-url", entry));
    assert!(output.contains("unix-socket cannot be combined with http-proxy"), "{output}");
}
