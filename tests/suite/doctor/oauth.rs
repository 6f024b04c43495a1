//! How `doctor` shows OAuth discovery: each place with its answer, what may be called, and what to add.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::json;

use super::{Findings, doctor};
use crate::support::client::Builder;
use crate::support::http::Request;
use crate::support::mcp::answer;
use crate::support::oauth::{OWN, ROOT, SERVER, challenge, is_search, origin, resource};
use crate::support::plane::Plane;
use crate::support::reply::Reply;
use crate::support::server::Server;
use crate::support::stdio::Journal;
use crate::support::temp::TempDir;

const ID: &str = "oauth_metadata";

/// An MCP server whose discovery is answered by `page`, which leaves the rest to a 404.
fn server(page: impl Fn(&Request) -> Option<Reply> + Send + Sync + 'static) -> Server {
    let script = move |request: &Request| match is_search(request) {
        true => page(request).unwrap_or_else(|| Reply::status(404)),
        false => answer(request),
    };
    Server::start(None, Arc::new(script))
}

fn examined(server: &Server, adjust: impl FnOnce(Builder) -> Builder) -> Findings {
    let plane = Plane::start();
    let builder =
        doctor(&plane.server.origin()).flag("mcp.server-url", &(server.origin() + "/mcp?k=in-query"));
    let found = Findings::of(adjust(builder));
    assert!(!found.json["checks"].to_string().contains("in-query"), "{}", found.json);
    found
}

/// The lines of the chain, with the server's own origin as `own`.
fn chain(found: &Findings, server: &Server) -> Vec<String> {
    let lines = found.check(ID)["evidence"].as_array().unwrap();
    lines.iter().map(|line| line.as_str().unwrap().replace(&server.origin(), "own")).collect()
}

/// Whether the chain has a line with this text.
fn has(lines: &[String], text: &str) -> bool {
    lines.iter().any(|line| line.contains(text))
}

/// A server without OAuth is fine.
#[test]
fn no_metadata_is_fine() {
    let server = server(|_| None);
    let found = examined(&server, |b| b);
    found.assert_ok();
    assert_eq!(found.summary(ID), "OAuth metadata not advertised; all candidates returned HTTP 404");
    assert_eq!(
        chain(&found, &server),
        [
            "POST own/mcp: 404, it names no place of metadata".to_owned(),
            "GET own/mcp: 404, it names no place of metadata".to_owned(),
            format!("GET own{OWN}: 404: no metadata"),
            format!("GET own{ROOT}: 404: no metadata, it is not JSON, or nested too deep"),
        ]
    );
}

/// Servers with one path for everything say so in another way.
#[test]
fn other_absences_are_told() {
    let server = server(|r| (r.path() == OWN).then(|| Reply::status(405)));
    let found = examined(&server, |b| b);
    found.assert_ok();
    assert_eq!(found.summary(ID), "OAuth metadata not advertised; all candidates returned HTTP 404 or 405");
}

/// The whole chain of a protected server, to the endpoints of its authorization server; none is called.
#[test]
fn a_protected_server_passes() {
    let server = server(|r| match (r.method.as_str(), r.path()) {
        ("POST", "/mcp") => Some(challenge(&format!("{}/meta?k=in-query", origin(r)))),
        (_, "/meta") => Some(resource(&origin(r))),
        (_, SERVER) => {
            let own = origin(r);
            let document = json!({"issuer": own, "token_endpoint": format!("{own}/token?k=in-query"),
                "jwks_uri": "https://elsewhere.example/keys"});
            Some(Reply::json(200, document.to_string()))
        }
        _ => None,
    });
    let plain = |b: Builder| b.argument("--harpoon.allow-plaintext-http");
    let found = examined(&server, plain);
    found.assert_ok();
    assert_eq!(found.summary(ID), format!("HTTP 200 from {}/meta", server.origin()));
    let lines = chain(&found, &server);
    let first = [
        "POST own/mcp: 401, its metadata is at own/meta".to_owned(),
        "GET own/meta: 200, metadata".to_owned(),
        format!("GET own{SERVER}: 200, metadata of the authorization server"),
    ];
    assert_eq!(lines[..3], first);
    assert!(has(&lines, "token-endpoint own/token may be called, as oauth-token-endpoint-0"), "{lines:?}");
    assert!(has(&lines, "jwks-uri https://elsewhere.example/keys may not be called (host-not-trusted)"));
    assert!(!server.requests().iter().any(|request| request.path() == "/token"));
    // Without that flag the same endpoint is refused, and the chain says why.
    let lines = chain(&examined(&server, |b| b), &server);
    assert!(has(&lines, "token-endpoint own/token may not be called ("), "{lines:?}");
    let plane = Plane::start();
    let builder = doctor(&plane.server.origin()).flag("mcp.server-url", &(server.origin() + "/mcp"));
    let (_, text) = builder.argument("--explain").finish();
    assert!(text.contains("\nCHECK oauth_metadata   PASS\n\nEvidence:\n  - POST "), "{text}");
}

/// Metadata of an authorization server that names another issuer passes, and the difference is shown.
#[test]
fn another_issuer_is_shown() {
    let server = server(|r| match r.path() {
        OWN => Some(resource(&origin(r))),
        SERVER => Some(Reply::json(200, json!({"issuer": "https://idp.example/tenant"}).to_string())),
        _ => None,
    });
    let found = examined(&server, |b| b);
    found.assert_ok();
    let wanted = format!("metadata of {} names another issuer: https://idp.example/tenant", server.origin());
    assert!(found.summary(ID).ends_with(&wanted), "{}", found.summary(ID));
    let step = format!("GET own{SERVER}: 200, metadata of another issuer: https://idp.example/tenant");
    assert!(has(&chain(&found, &server), &step));
}

/// What is there and no metadata fails, as `run` fails over it, with what to do.
#[test]
fn what_is_no_metadata_fails() {
    type Case = (fn() -> Reply, &'static str);
    let cases: [Case; 3] = [
        (|| Reply::status(401), "401: no metadata"),
        (|| Reply::body(200, "text/html", "<html>secret page"), "200: no metadata, it is not JSON"),
        (
            || Reply::status(302).header("Location", "http://169.254.169.254/x"),
            "oauth discovery: redirect blocked: destination must use the discovery origin",
        ),
    ];
    for (case, wanted) in cases {
        let server = server(move |r| matches!(r.path(), OWN | ROOT).then(case));
        let found = examined(&server, |b| b);
        let text = found.assert_failed(&[ID]);
        assert!(text.contains("is not ready before") && !text.contains("secret page"), "{text}");
        let lines = chain(&found, &server);
        assert!(lines[2].starts_with(&format!("GET own{OWN}: {wanted}")), "{lines:?}");
    }
}

/// An authorization server elsewhere is named with what to add; with that it is asked, and may be called.
#[test]
fn an_authorization_server_elsewhere_is_named() {
    let idp = server(|r| {
        let own = origin(r);
        let document = json!({"issuer": own, "token_endpoint": format!("{own}/token")});
        (r.path() == SERVER).then(|| Reply::json(200, document.to_string()))
    });
    let issuer = idp.origin();
    let named = issuer.clone();
    let server = server(move |r| {
        let document = json!({"resource": origin(r) + "/mcp", "authorization_servers": [named]});
        (r.path() == OWN).then(|| Reply::json(200, document.to_string()))
    });
    let plain = |b: Builder| b.argument("--harpoon.allow-plaintext-http");
    let found = examined(&server, plain);
    found.assert_ok();
    let sentence = format!(
        "authorization server {issuer} is not the MCP server's origin; to make it callable add \
         --mcp.oauth-trusted-origin {issuer}"
    );
    assert_eq!(found.summary(ID), format!("HTTP 200 from {}{OWN}; {sentence}", server.origin()));
    let lines = chain(&found, &server);
    assert!(has(
        &lines,
        "so it is not asked; if it is to be called from here, add --mcp.oauth-trusted-origin"
    ));
    assert_eq!(idp.connections(), 0);

    let found = examined(&server, |b| plain(b).flag("mcp.oauth-trusted-origin", &issuer));
    found.assert_ok();
    let lines = chain(&found, &server);
    assert!(has(&lines, &format!("GET {issuer}{SERVER}: 200, metadata of the authorization server")));
    assert!(has(&lines, &format!("token-endpoint {issuer}/token may be called")), "{lines:?}");
}

/// So is a place of metadata elsewhere, which `run` fails over.
#[test]
fn metadata_elsewhere_is_named() {
    let server = server(|r| (r.method == "POST").then(|| challenge("https://meta.example/m")));
    let found = examined(&server, |b| b);
    let text = found.assert_failed(&[ID]);
    let advice = "if that origin is yours to trust, add --mcp.oauth-trusted-origin https://meta.example";
    assert!(text.contains(advice), "{text}");
}

/// Silence is bounded, whoever is silent.
#[test]
fn silence_is_bounded() {
    let places: [&'static [&'static str]; 2] = [&[OWN, ROOT], &[SERVER]];
    for silent in places {
        let server = server(move |r| match r.path() {
            path if silent.contains(&path) => Some(Reply::silence()),
            OWN => Some(resource(&origin(r))),
            _ => None,
        });
        let began = Instant::now();
        let found = examined(&server, |b| b);
        assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
        found.assert_failed(&[ID]);
        let lines = chain(&found, &server);
        assert!(has(&lines, &format!("GET own{}: ", silent[0])), "{lines:?}");
    }
}

/// What is not asked is skipped, and says why.
#[test]
fn what_is_not_asked_is_skipped() {
    let server = server(|_| None);
    let found = examined(&server, |b| b.argument("--offline"));
    assert_eq!((found.status(ID), found.summary(ID)), ("SKIP", "not asked: --offline"));
    assert_eq!(server.connections(), 0);
    let docs = format!("channel=docs,url={}/mcp", server.origin());
    let found =
        examined(&server, |b| b.flag("mcp.server-url", &docs).flag("control-plane.poll-channel", "docs"));
    found.assert_ok();
    assert!(found.summary(ID).starts_with("not looked for: control-plane.poll-channel"), "{}", found.json);

    let (directory, plane) = (TempDir::new(), Plane::start());
    let journal = Journal::new(directory.join("journal"));
    let found = Findings::of(doctor(&plane.server.origin()).flag("mcp.command", &journal.command("plain")));
    found.assert_ok();
    let said = "stdio targets do not expose OAuth metadata URLs";
    assert_eq!((found.status(ID), found.summary(ID)), ("SKIP", said));
    let at = found.ids().iter().position(|id| *id == ID).unwrap();
    assert_eq!(found.ids()[at - 1], "mcp_server_reachable");
    journal.wait_gone();

    let found = Findings::of(doctor(&plane.server.origin()).flag("mcp.server-url", "http://127.0.0.1:1/mcp"));
    assert_eq!((found.status(ID), found.summary(ID)), ("SKIP", "blocked by mcp_server_reachable"));
}
