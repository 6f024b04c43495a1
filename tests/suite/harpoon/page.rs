//! The page of the listener: what an operator sees, and what must not be seen.

use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;

use serde_json::json;

use super::{Harbour, call_command, yaml};
use crate::support::BOUND;
use crate::support::client::{API_KEY, Builder};
use crate::support::http::{Fetched, exchange, fetch};
use crate::support::mcp::Mcp;
use crate::support::plane::{Plane, TUNNEL};
use crate::support::reply::Reply;
use crate::support::server::Server;
use crate::support::temp::TempDir;

#[test]
fn the_page_shows_calls_and_no_secrets() {
    let targets = "- {label: a, url: ORIGIN/secret-path, description: <i>first</i>, headers: {X-Token: token-of-ours-1}}";
    let mut harbour = Harbour::start(targets, |_| Reply::body(404, "text/<b>plain", "<script>"));
    harbour.call("a", json!({"method": "POST", "body": "payload-of-a-caller"}));
    let page = harbour.rig.client.get("/ui");
    assert_eq!((page.status, page.header("content-type")), (200, Some("text/html; charset=utf-8")));
    let policy = page.header("content-security-policy").unwrap();
    assert!(policy.starts_with("default-src 'none'") && policy.contains("frame-ancestors 'none'"));
    assert!(policy.contains("style-src 'sha256-") && !policy.contains("unsafe"), "{policy}");
    let root = harbour.rig.client.get("/");
    assert_eq!((root.status, root.header("location")), (302, Some("/ui")));
    let origin = harbour.server.origin();
    let main = harbour.rig.mcp.url();
    let main = main.strip_prefix("http://").unwrap().split('/').next().unwrap();
    for part in [TUNNEL, &origin, "&lt;i&gt;first&lt;/i&gt;", "404 text/&lt;b&gt;plain", main, "not offered"]
    {
        assert!(page.body.contains(part), "{part}: {}", page.body);
    }
    for secret in [API_KEY, "secret-path", "token-of-ours-1", "payload-of-a-caller", "<script", "<i>", "<b>"]
    {
        assert!(!page.body.contains(secret), "{secret}: {}", page.body);
    }
    assert_eq!(harbour.rig.client.get("/ui/").status, 200);
    // A page of another site that has its name point here reads nothing.
    let address = harbour.rig.client.address();
    assert_eq!(fetch(&address, "GET", "/ui", "Host: evil.example\r\n").unwrap().status, 403);
}

/// Only behind a socket file, which nobody else can open; and still without what the settings hold.
#[test]
fn payloads_are_shown_where_that_was_asked_for() {
    let directory = TempDir::new();
    let socket = directory.join("health.sock");
    let server =
        Server::start(None, Arc::new(|_: &_| Reply::body(200, "text/plain", "<answer> token-of-ours-1")));
    let (plane, mcp) = (Plane::start(), Mcp::start());
    let target = format!("- {{label: a, url: {}/a, headers: {{X-Token: token-of-ours-1}}}}", server.origin());
    let builder = |socket: &Path| {
        Builder::run(&plane.server.origin(), &mcp.url())
            .yaml(&yaml(&target))
            .argument("--harpoon.allow-plaintext-http")
            .flag("health.unix-socket", socket.to_str().unwrap())
    };
    let (code, output) =
        Builder::run(&plane.server.origin(), &mcp.url()).argument("--harpoon.capture-payloads").finish();
    assert!(
        code == Some(1) && output.contains("harpoon.capture-payloads needs health.unix-socket"),
        "{output}"
    );
    let page = |socket: &Path, path: &str| {
        let call = call_command("a", json!({"method": "POST", "body": "payload-of-a-caller"}));
        plane.queue(&call);
        plane.wait_answer(&call);
        over(&UnixStream::connect(socket).unwrap(), path).body
    };
    let mut client = builder(&socket).start();
    let body = page(&socket, "/ui?payloads=1");
    assert!(body.contains(&server.origin()) && !body.contains("payload-of-a-caller"), "{body}");
    client.stop();
    let _client = builder(&socket).argument("--harpoon.capture-payloads").start();
    assert!(page(&socket, "/ui").contains("<a href=\"/ui?payloads=1\">"));
    let body = page(&socket, "/ui?payloads=1");
    for part in ["payload-of-a-caller", "&lt;answer&gt; [REDACTED]"] {
        assert!(body.contains(part), "{part}: {body}");
    }
    assert!(!body.contains("token-of-ours-1"));
}

fn over(stream: &UnixStream, path: &str) -> Fetched {
    stream.set_read_timeout(Some(BOUND)).unwrap();
    exchange(stream, &format!("GET {path} HTTP/1.1\r\nHost: any\r\n\r\n")).unwrap()
}

/// What a server over stdio complained about, without secrets, and only where nobody else of this host looks.
#[test]
fn the_last_words_of_children_are_for_the_operator() {
    let directory = TempDir::new();
    let socket = directory.join("health.sock");
    let plane = Plane::start();
    let command = "sh -c 'echo \"<oops> Authorization: Bearer abcdef123456\" >&2; echo \"<banner> password=abcdef123456\"; exec cat'";
    let builder = || Builder::without_server(&plane.server.origin()).flag("mcp.command", command);
    let client = builder().flag("health.unix-socket", socket.to_str().unwrap()).start();
    client.wait_log(|line| line.contains("oops"));
    client.wait_log(|line| line.contains("health server listening"));
    client.wait_log(|line| line.contains("banner"));
    let page = over(&UnixStream::connect(&socket).unwrap(), "/ui");
    assert!(page.body.contains("no message, on standard output: &lt;banner&gt;"), "{}", page.body);
    assert!(
        page.body.contains("Standard error of main") && page.body.contains("&lt;oops&gt;"),
        "{}",
        page.body
    );
    assert!(!page.body.contains("abcdef123456"), "{}", page.body);
    let mut client = builder().start();
    client.wait_log(|line| line.contains("oops"));
    let page = client.get("/ui");
    assert!(page.body.contains("when health.unix-socket is set"), "{}", page.body);
    assert!(!page.body.contains("oops"), "{}", page.body);
}

/// Whoever is not on this host gets health and metrics, and nothing else.
#[test]
fn other_machines_get_no_page() {
    let (plane, mcp) = (Plane::start(), Mcp::start());
    let builder = Builder::run(&plane.server.origin(), &mcp.url());
    let mut client = builder.set("health.listen-addr", "0.0.0.0:0").start();
    plane.wait_polls(1);
    assert_eq!(client.get("/healthz").status, 200);
    assert_eq!(client.get("/ui").status, 404);
}
