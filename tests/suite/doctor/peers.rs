//! What `doctor` makes of the ways to its peers: names, ports, proxies, certificates, sockets.

use std::net::TcpListener;
use std::os::unix::net::UnixListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use super::{Findings, doctor};
use crate::support::certs::{Authority, DAY};
use crate::support::client::Builder;
use crate::support::http::Request;
use crate::support::mcp::{Mcp, answer};
use crate::support::plane::Plane;
use crate::support::proxy::{Manner, Proxy};
use crate::support::reply::Reply;
use crate::support::rig::Rig;
use crate::support::server::Server;
use crate::support::stdio::Journal;
use crate::support::temp::TempDir;

/// Seconds.
const HOUR: i64 = 3600;

/// Where nobody listens.
const NOBODY: &str = "http://127.0.0.1:1";

/// A good control plane and server, with something changed.
fn good(adjust: impl FnOnce(Builder) -> Builder) -> Findings {
    let (plane, mcp) = (Plane::start(), Mcp::start());
    Findings::of(adjust(doctor(&plane.server.origin()).flag("mcp.server-url", &mcp.url())))
}

#[test]
fn nobody_listens() {
    let found =
        good(|b| b.set("control-plane.base-url", NOBODY).set("mcp.server-url", &format!("{NOBODY}/mcp")));
    let text = found.assert_failed(&["mcp_server_reachable", "control_plane_metadata"]);
    assert!(text.contains("Nothing listens there") && text.contains("connection_refused"), "{text}");
    assert_eq!(found.summary("mcp_handshake"), "blocked by mcp_server_reachable");
}

/// What to type next goes the way that was taken: by the socket, or to the proxy and whoever named it.
#[test]
fn advice_takes_the_same_way() {
    let found = good(|b| b.set("mcp.server-url", "url=http://h.test/mcp,unix-socket=/no such"));
    let text = found.assert_failed(&["mcp_server_reachable"]);
    assert!(text.contains("--unix-socket '/no such' http://h.test:80/"), "{text}");
    let found = good(|b| b.set("mcp.server-url", "http://h.test/mcp").flag("http-proxy", NOBODY));
    let text = found.check("mcp_server_reachable").to_string();
    assert!(text.contains("check http-proxy, and start what it names"), "{text}");
    assert!(text.contains(&format!("curl -v --max-time 5 {NOBODY}/")), "{text}");
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let proxy = format!("http://{}", silent.local_addr().unwrap());
    let found = good(|b| b.set("mcp.server-url", "http://h.test/mcp").flag("mcp.http-proxy", &proxy));
    let text = found.assert_failed(&["mcp_server_reachable", "oauth_metadata", "mcp_proxy_reachable"]);
    assert!(!text.contains("where only a proxy leads out"), "{text}");
}

/// Every channel is checked, under its name.
#[test]
fn every_channel_is_checked() {
    let other = Mcp::start();
    let found = good(|b| {
        b.flag("mcp.server-url", &format!("channel=other,url={}", other.url()))
            .flag("mcp.server-url", &format!("channel=dead,url={NOBODY}/mcp"))
    });
    found.assert_failed(&["mcp_server_reachable:dead"]);
    for id in ["mcp_target:other", "mcp_server_reachable:other", "mcp_route:other", "mcp_handshake:other"] {
        assert_eq!(found.status(id), "PASS");
    }
    assert_eq!(found.status("mcp_handshake:dead"), "SKIP");
}

/// Both eras are spoken and named; a server that wants authorization is as good as one can be without.
#[test]
fn servers_are_judged_as_run_judges_them() {
    let handshake = |method: &str, reply: Reply| {
        let (plane, mcp) = (Plane::start(), Mcp::start());
        mcp.reply(method, reply);
        Findings::of(doctor(&plane.server.origin()).flag("mcp.server-url", &mcp.url()))
    };
    let found = handshake("ping", Reply::status(200));
    assert!(
        found.summary("mcp_handshake").contains("with a handshake (2025-11-25 and before); it is scripted 1")
    );
    let discovered = r#"{"jsonrpc":"2.0","id":1,"result":{"supportedVersions":["2026-07-28"]}}"#;
    let found = handshake("server/discover", Reply::json(200, discovered));
    assert!(found.summary("mcp_handshake").contains("with and without a handshake"), "{}", found.json);
    let found = handshake("server/discover", Reply::status(401));
    found.assert_ok();
    assert!(found.summary("mcp_handshake").contains("requires authorization, which callers bring"));
    let text = handshake("server/discover", Reply::status(403)).assert_failed(&["mcp_handshake"]);
    assert!(text.contains("403 Forbidden"), "{text}");
}

/// A server over HTTP is asked both questions; what a product concludes is said, and answers that are at odds are a
/// warning with what to do. No session is left behind.
#[test]
fn what_a_product_concludes_is_said() {
    const DISCOVERED: &str = r#"{"jsonrpc":"2.0","id":1,"result":{"resultType":"complete","capabilities":{},
        "supportedVersions":["2026-07-28"],"_meta":{"io.modelcontextprotocol/serverInfo":{"name":"NAME","version":"1"}}}}"#;
    let found = |reply: Option<Reply>| {
        let (plane, mcp) = (Plane::start(), Mcp::start());
        if let Some(reply) = reply {
            mcp.reply("server/discover", reply.clone());
            mcp.reply("server/discover", reply);
        }
        let found = Findings::of(doctor(&plane.server.origin()).flag("mcp.server-url", &mcp.url()));
        let asked = |method: &str| mcp.server.requests().iter().filter(|r| r.rpc_method() == method).count();
        assert_eq!((asked("server/discover"), asked("initialize")), (2, asked("notifications/initialized")));
        found.assert_ok();
        (found.summary("mcp_handshake").to_owned(), found.check("mcp_handshake")["evidence"].to_string())
    };
    let (summary, evidence) = found(None);
    assert!(
        !summary.contains("WARNING") && evidence.contains("a product falls back to a handshake"),
        "{evidence}"
    );
    let (summary, evidence) = found(Some(Reply::json(200, DISCOVERED.replace("NAME", "scripted"))));
    assert!(!summary.contains("WARNING"), "{summary}");
    assert!(evidence.contains("a product calls it without a handshake (2026-07-28)"), "{evidence}");
    let (summary, _) = found(Some(Reply::json(200, DISCOVERED.replace("NAME", "other"))));
    let wanted = "WARNING: a product may refuse it with 424: the server calls itself other 1 in one answer and scripted 1";
    assert!(summary.contains(wanted), "{summary}");
}

/// The certificate that was refused is named, and what to do depends on what is wrong with it.
#[test]
fn refused_certificates_are_told_apart() {
    let authority = Authority::new("Intercepting Root");
    let other = Authority::new("Another Root");
    let names = ["127.0.0.1"];
    for (server, bundle, wanted) in [
        (authority.server(), &other, &["issued by \\\"Intercepting Root\\\"", "--ca-bundle"][..]),
        (authority.server_until(&names, -10), &authority, &["expired", "valid until 2", "date -u"]),
        (authority.server_until(&["other.test"], 10), &authority, &["not valid for name", "another name"]),
    ] {
        let plane = Plane::start_with(Some(server));
        let found = good(|b| {
            b.set("control-plane.base-url", &plane.server.origin()).flag("ca-bundle", &bundle.bundle())
        });
        let text = found.assert_failed(&["control_plane_metadata"]);
        assert!(wanted.iter().all(|word| text.contains(word)), "{wanted:?} in {text}");
        assert!(text.contains("openssl s_client -connect 127.0.0.1:"), "{text}");
    }
}

/// Private authority, client certificates and a proxy that wants a password: all green, as with `run`.
#[test]
fn what_run_needs_is_used() {
    let (authority, clients) = (Authority::new("Corp Root"), Authority::new("Clients"));
    let proxy = Proxy::start(None, Manner::Authorized("Basic dTpwLXdvcmQ=".to_owned()));
    let plane = Plane::start_with(Some(authority.server_demanding(&clients)));
    let mcp = Mcp::start_with(Some(authority.server()));
    let files = clients.client("client");
    let builder = doctor(&plane.server.origin())
        .flag("mcp.server-url", &mcp.url())
        .flag("ca-bundle", &authority.bundle())
        .flag("http-proxy", &proxy.url_as("u:p-word@"))
        .flag("control-plane.client-cert", &files.certificate)
        .flag("control-plane.client-key", &files.key);
    let found = Findings::of(builder);
    found.assert_ok();
    let route = format!("through the proxy {}, set by http-proxy", proxy.url());
    assert!(found.summary("control_plane_route").contains(&route), "{}", found.json);
    assert!(found.summary("proxy_reachable").contains("lets us through"));
    assert_eq!(found.status("mcp_proxy_reachable"), "PASS");
    assert!(found.summary("tls_roots").contains("and ca-bundle"));
    for id in ["control_plane_metadata", "mcp_handshake"] {
        let evidence = found.check(id)["evidence"].to_string();
        assert!(evidence.contains("; TLSv1_3, TLS13_"), "{id}: {evidence}");
    }
    assert!(found.summary("cryptography").contains("not in FIPS mode (/proc/sys/crypto/fips_enabled: "));
    assert!(found.summary("certificate_expiry").starts_with("2 looked at; the first to end is"));
}

/// A proxy's refusal is said with what it offers.
#[test]
fn refusing_proxies_are_explained() {
    let offers = "Proxy-Authenticate: Negotiate\r\nProxy-Authenticate: NTLM";
    for (head, wanted) in [
        (format!("407 No\r\n{offers}"), &["it offers Negotiate, NTLM", "who asks"][..]),
        (
            "403 Forbidden\r\nX-Squid-Error: ERR_ACCESS_DENIED 0".to_owned(),
            &["with status 403", "NO_PROXY=127"],
        ),
        ("503 Busy\r\nVia: 1.1 squid".to_owned(), &["with status 503", "cannot reach the destination"]),
    ] {
        let answer = format!("HTTP/1.1 {head}\r\nContent-Length: 0\r\n\r\n");
        let proxy = Proxy::start(None, Manner::Refusing(answer));
        let found = good(|b| b.flag("control-plane.http-proxy", &proxy.url()));
        let failed = ["proxy_reachable", "control_plane_metadata"];
        found.assert_failed(&failed);
        let text = found.check("control_plane_metadata").to_string();
        assert!(wanted.iter().all(|word| text.contains(word)), "{wanted:?} in {text}");
    }
    let found =
        good(|b| b.flag("mcp.http-proxy", "http://127.0.0.1:1").env("NO_PROXY", "x.test, 127.0.0.0/8"));
    found.assert_ok();
    assert!(found.summary("mcp_route").ends_with("directly, because NO_PROXY holds 127.0.0.0/8"));
}

/// Certificates of ours that have ended fail, those that end soon are named, and a key that does not fit is
/// found before anybody is asked.
#[test]
fn own_certificates_are_looked_at() {
    let clients = Authority::new("Clients");
    let (old, new) = (clients.client_until("old", -1), clients.client("new"));
    let with = |certificate: &str, key: &str| {
        good(|b| b.flag("mcp.client-cert", certificate).flag("mcp.client-key", key))
    };
    let text = with(&old.certificate, &old.key).assert_failed(&["certificate_expiry"]);
    assert!(text.contains("expired: \\\"test leaf\\\" of ") && text.contains("valid until 2"), "{text}");
    let found = with(&new.certificate, &new.key);
    found.assert_ok();
    assert!(!found.summary("certificate_expiry").contains("WARNING"), "{}", found.json);
    // By the share of its life that is left, and for one of years by days.
    for (name, [age, rest], warning) in [
        ("young", [2 * HOUR, 22 * HOUR], None),
        ("old", [17 * HOUR, 7 * HOUR], Some(" of 24 hours left, renew")),
        ("fine", [3000 * DAY, 31 * DAY], None),
        ("soon", [3000 * DAY, 30 * DAY], Some(" of 3030 days left, renew")),
    ] {
        let files = clients.client_of_age(name, [age, rest]);
        let found = with(&files.certificate, &files.key);
        found.assert_ok();
        let summary = found.summary("certificate_expiry");
        assert_eq!(summary.contains("WARNING"), warning.is_some(), "{name}: {summary}");
        assert!(warning.is_none_or(|words| summary.contains(words)), "{name}: {summary}");
    }
    let found = with(&new.certificate, &old.key);
    assert!(found.assert_failed(&["mcp_route"]).contains("does not belong to the certificate"));
    assert_eq!(found.summary("mcp_handshake"), "blocked by mcp_route");
    let found = good(|b| b.flag("ca-bundle", "/proc/nonexistent.pem"));
    found.assert_failed(&["certificate_expiry", "tls_roots"]);
    assert_eq!(found.summary("control_plane_metadata"), "blocked by tls_roots");
}

/// Nobody is asked offline; what is local is checked all the same.
#[test]
fn offline_asks_nobody() {
    let (plane, mcp, proxy) = (Plane::start(), Mcp::start(), Proxy::start(None, Manner::Open));
    let builder = doctor(&plane.server.origin())
        .flag("mcp.server-url", &mcp.url())
        .flag("http-proxy", &proxy.url())
        .argument("--offline");
    let found = Findings::of(builder);
    found.assert_ok();
    for id in ["control_plane_metadata", "proxy_reachable", "mcp_server_reachable", "mcp_handshake"] {
        assert_eq!((found.status(id), found.summary(id)), ("SKIP", "not asked: --offline"));
    }
    assert_eq!(plane.server.connections() + mcp.server.connections() + proxy.requests().len(), 0);
}

/// When everything hangs the report comes all the same, and says of each what hung.
#[test]
fn nothing_holds_the_report_up() {
    let directory = TempDir::new();
    let journal = Journal::new(directory.join("journal"));
    let (plane, mcp) = (Plane::start(), Mcp::start());
    plane.metadata(Reply::silence());
    mcp.hook(|_| Some(Reply::silence()));
    for method in ["server/discover", "initialize"] {
        mcp.reply(method, Reply::silence());
    }
    // Accepts into its backlog, and never says a word.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let proxied = format!("http-proxy=http://127.0.0.1:{}", silent.local_addr().unwrap().port());
    let builder = doctor(&plane.server.origin())
        .flag("mcp.server-url", &mcp.url())
        .flag("mcp.server-url", &format!("channel=proxied,url=http://h.test/mcp,{proxied}"))
        .flag("mcp.command", &format!("channel=child,command={}", journal.command("mute")));
    let began = Instant::now();
    let found = Findings::of(builder);
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    let reached = "mcp_server_reachable:proxied";
    let failed = ["control_plane_metadata", "mcp_handshake", reached];
    let failed = [&failed[..], &["mcp_proxy_reachable:proxied", "mcp_handshake:child"]].concat();
    let text = found.assert_failed(&failed);
    assert!(text.contains("no whole answer came in time") && !text.contains("firewall"), "{text}");
    journal.wait_gone();
}

/// A port that is taken fails, and a tunnel client that holds it is named.
#[test]
fn a_taken_port_is_found() {
    let foreign = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = foreign.local_addr().unwrap().to_string();
    let text = good(|b| b.set("health.listen-addr", &address)).assert_failed(&["health_listener"]);
    assert!(text.contains("address already in use") && !text.contains("another tunnel-client"), "{text}");
    let mut rig = Rig::start();
    let address = rig.client.address();
    let text = good(|b| b.set("health.listen-addr", &address)).assert_failed(&["health_listener"]);
    assert!(text.contains("another tunnel-client runs here"), "{text}");
    assert!(text.contains(&format!("tunnel-client health --url http://{address}\"")), "{text}");
}

/// A server over HTTP that is silent at first is asked again for as long as somebody wants to wait.
#[test]
fn a_server_that_is_late_is_waited_for() {
    let late = AtomicUsize::new(0);
    let server = Server::start(
        None,
        Arc::new(move |request: &Request| match request.rpc_method().as_str() {
            "" => Reply::status(404),
            _ if late.fetch_add(1, Ordering::SeqCst) < 2 => Reply::silence(),
            _ => answer(request),
        }),
    );
    let url = server.origin() + "/mcp";
    let found = good(|b| b.set("mcp.server-url", &url).flag("wait", "30s"));
    found.assert_ok();
    let said = found.summary("mcp_handshake");
    assert!(said.contains("speaks MCP"), "{said}");
    // Without it one try has to do, and waiting is what is advised.
    let silent = Server::start(None, Arc::new(|_: &Request| Reply::silence()));
    let found = good(|b| b.set("mcp.server-url", &(silent.origin() + "/mcp")));
    assert!(found.check("mcp_handshake").to_string().contains("--wait 60s"), "{}", found.json);
}

/// A socket that a dead process left behind is neither a failure nor removed; a living one is a failure.
#[test]
fn a_stale_socket_is_kept() {
    let directory = TempDir::new();
    let path = directory.join("health.sock");
    let with = |path: &std::path::Path| good(|b| b.flag("health.unix-socket", path.to_str().unwrap()));
    let found = with(&path);
    found.assert_ok();
    assert_eq!(found.summary("health_listener"), format!("will bind unix socket {}", path.display()));
    assert!(!path.exists());
    let living = UnixListener::bind(&path).unwrap();
    let text = with(&path).assert_failed(&["health_listener"]);
    assert!(text.contains("is already accepting connections"), "{text}");
    drop(living);
    let found = with(&path);
    found.assert_ok();
    assert!(found.summary("health_listener").contains("in place of one"), "{}", found.json);
    assert!(path.exists());
    let missing = directory.join("not/yet/health.sock");
    let text = with(&missing).assert_failed(&["health_listener"]);
    assert!(text.contains("no such file or directory"), "{text}");
    assert!(!directory.join("not").exists());
}
