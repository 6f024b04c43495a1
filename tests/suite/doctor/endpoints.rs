//! What `doctor` says of the endpoints that can be called by name, without ever calling one.

use std::net::TcpListener;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{Findings, doctor};
use crate::support::certs::Authority;
use crate::support::client::Builder;
use crate::support::closed;
use crate::support::http::fetch;
use crate::support::mcp::Mcp;
use crate::support::plane::Plane;
use crate::support::proxy::{Manner, Proxy};
use crate::support::reply::Reply;
use crate::support::server::Server;
use crate::support::temp::TempDir;

/// A good control plane and server, with these targets.
fn good(targets: &str, adjust: impl FnOnce(Builder) -> Builder) -> Findings {
    let (plane, mcp) = (Plane::start(), Mcp::start());
    let builder = doctor(&plane.server.origin()).flag("mcp.server-url", &mcp.url());
    let builder = builder.yaml(&crate::harpoon::yaml(targets));
    Findings::of(adjust(builder.argument("--harpoon.allow-plaintext-http")))
}

fn endpoint(tls: Option<Arc<rustls::ServerConfig>>) -> Server {
    Server::start(tls, Arc::new(|_| Reply::status(204)))
}

/// That so many connections came to a plain server, and no request. One of our own, which is accepted behind
/// them, tells that all have been seen.
fn assert_connected(server: &Server, connections: usize) {
    let address = format!("127.0.0.1:{}", server.port());
    assert_eq!(fetch(&address, "GET", "/own", "Host: h\r\n").unwrap().status, 204);
    server.wait_idle();
    let paths: Vec<String> = server.requests().into_iter().map(|request| request.target).collect();
    assert_eq!((server.connections(), paths), (connections + 1, vec!["/own".to_owned()]));
}

/// Those that can be reached pass, by whichever way, and are connected to once; none sees a request.
#[test]
fn reachable_ones_are_not_called() {
    let directory = TempDir::new();
    let path = directory.join("endpoint.sock");
    let authority = Authority::new("Corp Root");
    let (plain, secure) = (endpoint(None), endpoint(Some(authority.server())));
    let local = Server::start_unix(&path, Arc::new(|_| Reply::status(204)));
    let targets = format!(
        "- {{label: first, url: '{0}/order?key=query-secret-1', headers: {{X-Auth: env:TOKEN}}}}
- {{label: second, url: '{0}/other'}}
- {{label: secure, url: '{1}/'}}
- {{label: local, url: 'http://nowhere.invalid/x', unix_socket: '{2}'}}",
        plain.origin(),
        secure.origin(),
        path.display()
    );
    let found = good(&targets, |b| b.flag("ca-bundle", &authority.bundle()).env("TOKEN", "header-secret-2"));
    found.assert_ok();
    assert_eq!(found.summary("harpoon"), "4 targets");
    let said = found.summary("harpoon_target:first");
    assert!(said.starts_with("connected in ") && said.ends_with("; no request was sent"), "{said}");
    assert!(said.contains(&format!("127.0.0.1:{} directly, because no proxy", plain.port())), "{said}");
    assert_eq!(found.summary("harpoon_target:second"), said);
    assert!(found.summary("harpoon_target:local").contains("nowhere.invalid:80 through its unix socket"));
    let ids = found.ids();
    let at = ids.iter().position(|id| *id == "harpoon").unwrap();
    let labels = ["first", "second", "secure", "local"].map(|label| format!("harpoon_target:{label}"));
    assert_eq!(ids[at + 1..at + 5], labels);
    assert_eq!(ids[at + 5], "certificate_expiry");
    for secret in ["query-secret-1", "header-secret-2", "/order"] {
        assert!(!found.json.to_string().contains(secret), "{secret}: {}", found.json);
    }
    assert_connected(&plain, 1);
    for server in [&secure, &local] {
        server.wait_idle();
        assert_eq!(server.requests().len(), 0);
    }
    assert_eq!(secure.connections(), 1);
}

/// Without targets there is nothing to say.
#[test]
fn no_targets_no_checks() {
    let (plane, mcp) = (Plane::start(), Mcp::start());
    let found = Findings::of(doctor(&plane.server.origin()).flag("mcp.server-url", &mcp.url()));
    found.assert_ok();
    assert!(!found.ids().iter().any(|id| id.starts_with("harpoon")), "{}", found.json);
}

/// Each fault is its own target's, with what to do about it; the others pass.
#[test]
fn faults_are_told_apart() {
    let authority = Authority::new("Intercepting Root");
    let (plain, secure) = (endpoint(None), endpoint(Some(authority.server())));
    let targets = format!(
        "- {{label: dead, url: 'http://127.0.0.1:{}/a?key=query-secret-1'}}
- {{label: lost, url: 'http://nowhere.invalid/a'}}
- {{label: unknown, url: '{}/a'}}
- {{label: outside, url: 'http://localhost:{}/a', allowed_networks: [10.0.0.0/8]}}
- {{label: metadata, url: 'http://169.254.169.254/latest'}}
- {{label: good, url: '{}/a', allowed_networks: [127.0.0.0/8]}}",
        closed::port(),
        secure.origin(),
        plain.port(),
        plain.origin()
    );
    let found = good(&targets, |builder| builder);
    let labels = ["dead", "lost", "unknown", "outside", "metadata"];
    let ids = labels.map(|label| format!("harpoon_target:{label}"));
    found.assert_failed(&ids.each_ref().map(String::as_str));
    assert_eq!((found.status("harpoon"), found.status("harpoon_target:good")), ("PASS", "PASS"));
    let wanted: [&[&str]; 5] = [
        &["Nothing listens there", "connection_refused", "directly, because no proxy", "harpoon.targets"],
        &["failure: dns", "getent hosts nowhere.invalid", "--harpoon.http-proxy http://PROXY:PORT"],
        &["Intercepting Root", "--ca-bundle"],
        &[
            "outside allowed_networks",
            "address_forbidden",
            "getent ahosts localhost",
            "if that address is meant",
        ],
        &[
            "never dialled (link-local or metadata)",
            "link-local, metadata",
            "run does not start with this one",
        ],
    ];
    for (id, words) in ids.iter().zip(wanted) {
        let text = found.check(id).to_string();
        assert!(words.iter().all(|word| text.contains(word)), "{words:?} in {text}");
    }
    assert!(!found.json.to_string().contains("query-secret-1"), "{}", found.json);
    assert_connected(&plain, 1);
    secure.wait_idle();
    assert_eq!(secure.requests().len(), 0);
}

/// The proxy is the one of `run`; what it refuses is said, and what cannot be judged behind it too.
#[test]
fn proxies_are_passed_or_explained() {
    let plain = endpoint(None);
    let targets = format!("- {{label: a, url: '{}/a'}}", plain.origin());
    let open = Proxy::start(None, Manner::Authorized("Basic dTpwLXdvcmQ=".to_owned()));
    let found = good(&targets, |b| b.flag("harpoon.http-proxy", &open.url_as("u:p-word@")));
    found.assert_ok();
    let way = format!("through the proxy {}, set by harpoon.http-proxy", open.url());
    assert!(found.summary("harpoon_target:a").contains(&way), "{}", found.json);
    assert_eq!(found.summary("harpoon"), "1 target");
    assert_eq!(open.targets(), [format!("127.0.0.1:{}", plain.port())]);
    for (status, wanted) in
        [("407 No", "--harpoon.http-proxy env:PROXY_URL"), ("403 No", "CONNECT to its port")]
    {
        let answer = format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n");
        let proxy = Proxy::start(None, Manner::Refusing(answer));
        let found = good(&targets, |b| b.flag("harpoon.http-proxy", &proxy.url_as("u:p-word@")));
        let text = found.assert_failed(&["harpoon_target:a"]);
        assert!(
            text.contains(wanted) && text.contains("set by harpoon.http-proxy") && !text.contains("p-word"),
            "{text}"
        );
    }
    let named = "- {label: a, url: 'http://h.test/a', allowed_networks: [10.0.0.0/8]}";
    let found = good(named, |b| b.flag("harpoon.http-proxy", &open.url()));
    let text = found.assert_failed(&["harpoon_target:a"]);
    assert!(text.contains("add the host to NO_PROXY") && text.contains("run does not start"), "{text}");
    assert_connected(&plain, 1);
}

/// Offline the way is told and not gone.
#[test]
fn offline_connects_to_none() {
    let plain = endpoint(None);
    let targets =
        format!("- {{label: a, url: '{}/a'}}\n- {{label: b, url: 'http://0.0.0.0/'}}", plain.origin());
    let found = good(&targets, |builder| builder.argument("--offline"));
    found.assert_failed(&["harpoon_target:b"]);
    let check = found.check("harpoon_target:a");
    assert_eq!(
        (found.status("harpoon_target:a"), &check["summary"]),
        ("SKIP", &"not asked: --offline".into())
    );
    assert!(check["evidence"][0].as_str().unwrap().contains("directly, because"), "{check}");
    assert_connected(&plain, 0);
    let found = good(&targets, |builder| builder.flag("ca-bundle", "/proc/nonexistent.pem"));
    assert_eq!(found.summary("harpoon_target:a"), "blocked by tls_roots");
}

/// Many targets make no long report, and silent ones no long wait; one that stops `run` is found among them.
#[test]
fn many_and_silent_ones_are_bounded() {
    // Accepts into its backlog, and never says a word.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let origin = format!("https://{}", silent.local_addr().unwrap());
    let line = |number: u32| format!("- {{label: t{number}, url: '{origin}/{number}'}}\n");
    let targets: String = (0..40).map(line).collect();
    let began = Instant::now();
    let found = good(&targets, |builder| builder);
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    let ids: Vec<String> = (0..32).map(|number| format!("harpoon_target:t{number}")).collect();
    let text = found.assert_failed(&ids.iter().map(String::as_str).collect::<Vec<_>>());
    assert!(text.contains("failure: timeout"), "{text}");
    let said = "40 targets; the first 32 are connected to, the others are not";
    assert_eq!(found.summary("harpoon"), said);
    silent.set_nonblocking(true).unwrap();
    // One way, one connection.
    assert!(silent.accept().is_ok() && silent.accept().is_err());
    let targets = targets + "- {label: last, url: 'http://169.254.169.254/'}";
    let found = good(&targets, |builder| builder.argument("--offline"));
    assert!(found.assert_failed(&["harpoon"]).contains("target \\\"last\\\": connect to 169.254.169.254"));
}
