//! `/readyz` and discovery: pending, failed, cleared; and a server without OAuth is fine.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::support::client::Builder;
use crate::support::command::Command;
use crate::support::gate::Gate;
use crate::support::http::Request;
use crate::support::mcp::Mcp;
use crate::support::oauth::{OWN, ROOT, Site, challenge, origin, resource};
use crate::support::plane::Plane;
use crate::support::reply::Reply;
use crate::support::rig::Rig;

/// MCP-155, MCP-170: a server that publishes nothing has nothing to be said of it, and is asked once.
#[test]
fn a_server_without_metadata_is_ready() {
    let mut site = Site::start(|_| None, |b| b);
    let answer = site.verdict();
    assert_eq!((answer.status, answer.body.as_str()), (200, "ready"));
    assert_eq!(site.searches().len(), 4);
    let (answer, _) = site.discover();
    assert_eq!(answer.code(), 502);
    assert_eq!(site.verdict().body, "ready");
}

/// MCP-170: while the first search lasts, that is said.
#[test]
fn the_first_search_is_awaited() {
    let gate = Gate::new();
    let door = gate.clone();
    let mut site = Site::start(move |r| (r.path() == OWN).then(|| resource(&origin(r)).behind(&door)), |b| b);
    let pending = site.client.wait_get("/readyz", |a| a.body == "oauth discovery pending");
    assert_eq!(pending.status, 503);
    // Nothing else waits for it.
    assert_eq!(site.send(&Command::method("ping", "1")).code(), 200);
    gate.open();
    assert_eq!(site.verdict().body, "ready");
}

/// MCP-156, MCP-170: what a failed search says, and that URLs are cut to their origins.
#[test]
fn a_failed_search_is_not_ready() {
    type Case = fn(&str, &str) -> Option<Reply>;
    let cases: [(Case, &str); 4] = [
        (
            |_, path| (path == OWN).then(|| Reply::status(401)),
            " answered 401: no metadata, it is not JSON, or nested too deep",
        ),
        (
            |_, path| (path == OWN).then(|| Reply::body(200, "text/html", "<html>")),
            " answered 200: no metadata, ",
        ),
        (
            |own, path| (path == "/mcp").then(|| challenge(&format!("{own}/secret/meta?token=1"))),
            " answered 404: no metadata",
        ),
        (|_, path| (path == OWN).then(Reply::closed), ": "),
    ];
    for (case, wanted) in cases {
        let mut site = Site::start(move |r| case(&origin(r), r.path()), |b| b);
        let answer = site.verdict();
        let text = format!("oauth discovery failed: {}{wanted}", site.server.origin());
        assert_eq!(answer.status, 503);
        assert!(answer.body.starts_with(&text), "{}", answer.body);
        assert!(!answer.body.contains("secret") && !answer.body.contains("well-known"), "{}", answer.body);
    }
}

/// MCP-157, NEW-117: while all places stay silent the search is pending, and it is repeated after growing pauses until
/// it succeeds.
#[test]
fn a_silent_server_is_searched_again() {
    let well = Arc::new(AtomicBool::new(false));
    let state = Arc::clone(&well);
    let page = move |r: &Request| match r.path() {
        OWN if state.load(Ordering::Relaxed) => Some(resource(&origin(r))),
        OWN => Some(Reply::json(200, "{\"resource\":").hang().declaring(100)),
        ROOT => Some(Reply::silence()),
        _ => None,
    };
    let mut site = Site::start(page, |b| b);
    let line = site.client.wait_log(|line| line.contains("OAuth discovery timed out; retrying"));
    let origin = site.server.origin();
    assert!(line.contains("WARN") || line.contains("warn"), "{line}");
    assert!(line.contains(&origin) && line.contains("retry_in"), "{line}");
    let answer = site.client.get("/readyz");
    assert_eq!((answer.status, answer.body.as_str()), (503, "oauth discovery pending"));
    well.store(true, Ordering::Relaxed);
    site.client.wait_get("/readyz", |a| (a.status, a.body.as_str()) == (200, "ready"));
}

/// NEW-117: one place that says something else ends the waiting.
#[test]
fn silence_and_a_refusal_are_a_failure() {
    let page = |r: &Request| match r.path() {
        OWN => Some(Reply::silence()),
        ROOT => Some(Reply::status(404)),
        _ => None,
    };
    let mut site = Site::start(page, |b| b);
    let answer = site.verdict();
    assert_eq!(answer.status, 503);
    assert!(answer.body.starts_with("oauth discovery failed: "), "{}", answer.body);
}

/// A site whose metadata may not be read until the flag is set.
fn forbidden_at_first() -> (Site, Arc<AtomicBool>) {
    let well = Arc::new(AtomicBool::new(false));
    let state = Arc::clone(&well);
    let site = Site::start(
        move |r| match r.path() {
            OWN if state.load(Ordering::Relaxed) => Some(resource(&origin(r))),
            OWN => Some(Reply::status(403)),
            _ => None,
        },
        |b| b,
    );
    (site, well)
}

/// DESIGN, readiness: the search is repeated while it fails, a success clears what failed, and then it ends.
#[test]
fn a_later_success_clears_a_failure() {
    let (mut site, well) = forbidden_at_first();
    assert_eq!(site.verdict().status, 503);
    well.store(true, Ordering::Relaxed);
    site.client.wait_get("/readyz", |a| (a.status, a.body.as_str()) == (200, "ready"));
}

/// DESIGN, readiness: the success of a command clears a failure as well.
#[test]
fn a_command_clears_a_failure() {
    let (mut site, well) = forbidden_at_first();
    assert_eq!(site.verdict().status, 503);
    well.store(true, Ordering::Relaxed);
    let (answer, _) = site.discover();
    assert_eq!(answer.code(), 200);
    assert_eq!(site.client.get("/readyz").status, 200);
}

/// DESIGN, OAuth: an authorization server inside that is not trusted is told to the operator, who may add it.
#[test]
fn a_private_stranger_is_a_remark() {
    let page = |r: &Request| {
        let document =
            r#"{"resource":"https://h/mcp","authorization_servers":["https://10.0.0.7:8443/realm"]}"#;
        (r.path() == OWN).then(|| Reply::json(200, document))
    };
    let mut site = Site::start(page, |b| b);
    let answer = site.verdict();
    let text = "ready (authorization server https://10.0.0.7:8443 is not the MCP server's origin; \
                to make it callable add --mcp.oauth-trusted-origin https://10.0.0.7:8443)";
    assert_eq!((answer.status, answer.body.as_str()), (200, text));
}

/// Settings, OAuth: a trusted origin is an origin and nothing more.
#[test]
fn trusted_origins_are_origins() {
    for value in ["idp.internal", "https://h/path", "https://u:secret@h", "https://h?x", "ftp://h"] {
        let builder = Builder::run("http://127.0.0.1:1", "http://127.0.0.1:1/mcp");
        let (code, text) = builder.flag("mcp.oauth-trusted-origin", value).finish();
        assert_eq!(code, Some(1), "{value}");
        assert!(
            text.contains("mcp.oauth-trusted-origin: expected an absolute HTTP(S) origin")
                && !text.contains("secret"),
            "{text}"
        );
    }
}

/// DESIGN, bounds: a document that is nested as deep as may be costs no thread its stack.
#[test]
fn a_deep_document_is_read_on_any_stack() {
    let deep = format!("{}{}", "[".repeat(9_990), "]".repeat(9_990));
    let document = format!(r#"{{"resource":"https://h/mcp","x":{deep},"authorization_servers":[{deep}]}}"#);
    let page = move |r: &Request| (r.path() == OWN).then(|| Reply::json(200, &*document));
    let mut site = Site::start(page, |b| b);
    let answer = site.verdict();
    assert!(answer.body.contains("it must name its resource once"), "{}", answer.body);
    assert_eq!(site.discover().0.code(), 502);
}

/// DESIGN, readiness: a server that comes up late is searched as soon as it is found up, not when the search's own
/// pause is over, which is 8 s by then.
#[test]
fn a_late_server_is_searched_at_once() {
    let mut mcp = Mcp::start();
    mcp.server.stop();
    let mut rig = Rig::over(Plane::start(), mcp, |b| b.flag("mcp.startup-wait-timeout", "60s"));
    let failures = RefCell::new(BTreeSet::new());
    rig.client.wait_log(|line| {
        line.contains("oauth discovery failed") && {
            failures.borrow_mut().insert(line.to_owned());
            failures.borrow().len() == 4
        }
    });
    let started = Instant::now();
    rig.mcp.server.restart();
    rig.plane.wait_polls(1);
    rig.client.wait_get("/readyz", |a| a.status == 200);
    assert!(started.elapsed() < Duration::from_secs(6), "{:?}", started.elapsed());
}
