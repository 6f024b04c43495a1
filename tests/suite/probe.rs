//! What the probe of an HTTP server asks, finds and leaves behind, in either era.

use std::sync::Arc;

use crate::support::client::{Builder, Client};
use crate::support::command::Command;
use crate::support::http::Request;
use crate::support::mcp::answer;
use crate::support::plane::Plane;
use crate::support::reply::{Reply, id_text, result_for};
use crate::support::server::Server;

/// A client over a server that answers by this function, probes included.
struct Site {
    client: Client,
    server: Server,
    plane: Plane,
}

impl Site {
    fn start(script: impl Fn(&Request) -> Reply + Send + Sync + 'static) -> Site {
        let page = move |r: &Request| match r.path().starts_with("/.well-known/") {
            true => Reply::status(404),
            false => script(r),
        };
        let server = Server::start(None, Arc::new(page));
        let plane = Plane::start();
        let url = server.origin() + "/mcp";
        let client = Builder::run(&plane.server.origin(), &url).start();
        Site { client, server, plane }
    }

    /// The verdict once the probe has ended: not what is said before.
    fn verdict(&mut self) -> (u16, String) {
        let settled = self.client.wait_get("/readyz", |answer| {
            !answer.body.contains("pending") && !answer.body.contains("control plane")
        });
        (settled.status, settled.body)
    }

    /// The methods that the server was asked for, in order, HTTP verbs for requests without a body.
    fn asked(&self) -> Vec<String> {
        let name = |r: &Request| match r.rpc_method() {
            method if method.is_empty() => r.method.clone(),
            method => method,
        };
        self.questions().iter().map(name).collect()
    }

    /// What was asked without the search for OAuth metadata.
    fn questions(&self) -> Vec<Request> {
        let searches = |r: &Request| {
            r.method == "POST" && r.body.is_empty() || r.header("accept") == Some("application/json")
        };
        self.server.requests().into_iter().filter(|r| !searches(r)).collect()
    }
}

fn rpc_error(request: &Request, status: u16, code: i64, data: &str) -> Reply {
    let id = id_text(&request.body);
    let error = format!(r#"{{"code":{code},"message":"no","data":{data}}}"#);
    Reply::json(status, format!(r#"{{"jsonrpc":"2.0","id":{id},"error":{error}}}"#))
}

fn discovered(request: &Request) -> Reply {
    let result =
        r#"{"supportedVersions":["2026-07-28"],"capabilities":{},"serverInfo":{"name":"m","version":"1"}}"#;
    result_for(&request.body, result)
}

fn is_discover(request: &Request) -> bool {
    request.rpc_method() == "server/discover"
}

/// REV-056: modern and dual-era servers are ready by discovery alone, in JSON and as a stream.
#[test]
fn a_modern_server_is_asked_once() {
    let scripts: [fn(&Request) -> Reply; 4] = [
        |r| {
            if is_discover(r) { discovered(r) } else { rpc_error(r, 400, -32022, "{}") }
        },
        |r| {
            if is_discover(r) { discovered(r) } else { answer(r) }
        },
        |r| {
            let id = id_text(&r.body);
            let note = r#"{"jsonrpc":"2.0","method":"notifications/message","params":{}}"#;
            let result = format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{{"supportedVersions":[]}}}}"#);
            Reply::sse().event(note).event(result)
        },
        |r| rpc_error(r, 400, -32022, r#"{"supported":["2025-06-18","2026-07-28"]}"#),
    ];
    for script in scripts {
        let mut site = Site::start(script);
        let (status, text) = site.verdict();
        assert_eq!((status, text.as_str()), (200, "ready"));
        assert_eq!(site.asked(), ["server/discover"]);
        let request = &site.questions()[0];
        assert_eq!(request.header("mcp-protocol-version"), Some("2026-07-28"));
        assert_eq!(request.header("mcp-method"), Some("server/discover"));
        let accept = request.header("accept").unwrap();
        assert!(accept.contains("application/json") && accept.contains("text/event-stream"));
        let meta = &request.json()["params"]["_meta"];
        assert_eq!(meta["io.modelcontextprotocol/protocolVersion"], "2026-07-28");
        assert!(meta["io.modelcontextprotocol/clientCapabilities"].is_object());
    }
}

/// REV-056: a modern server that finds fault with the question is there all the same.
#[test]
fn complaints_about_the_question_prove_a_modern_server() {
    for code in [-32020, -32021] {
        let mut site = Site::start(move |r| rpc_error(r, 400, code, "{}"));
        assert_eq!(site.verdict().0, 200);
        assert_eq!(site.asked(), ["server/discover"]);
    }
}

/// MCP-139, REV-057: a handshake is finished and its session ended, with the id that was given and no other.
#[test]
fn a_legacy_probe_leaves_no_session_behind() {
    for refusal in [(400, -32000), (200, -32601), (404, -32601), (400, -32600)] {
        let mut site = Site::start(move |r| match r.rpc_method().as_str() {
            "server/discover" => rpc_error(r, refusal.0, refusal.1, "{}"),
            "initialize" => answer(r).header("Mcp-Session-Id", "probe-session-1"),
            _ => answer(r),
        });
        assert_eq!(site.verdict(), (200, "ready".to_owned()));
        site.server.wait_requests(1, |r| r.method == "DELETE");
        assert_eq!(site.asked(), ["server/discover", "initialize", "notifications/initialized", "DELETE"]);
        let seen = site.questions();
        assert!(seen[..2].iter().all(|r| r.header("mcp-session-id").is_none()));
        assert_eq!(seen[1].header("mcp-protocol-version"), None);
        assert_eq!(seen[1].json()["params"]["protocolVersion"], "2025-11-25");
        for last in &seen[2..] {
            assert_eq!(last.all("mcp-session-id"), ["probe-session-1"]);
            assert_eq!(last.header("mcp-protocol-version"), Some("2025-11-25"));
        }
    }
}

/// REV-057: without a session there is nothing to delete; old revisions get no version header.
#[test]
fn a_sessionless_handshake_is_not_deleted() {
    let mut site = Site::start(|r| match r.rpc_method().as_str() {
        "initialize" => result_for(
            &r.body,
            r#"{"protocolVersion":"2025-03-26","capabilities":{},"serverInfo":{"name":"o","version":"1"}}"#,
        ),
        _ => answer(r),
    });
    assert_eq!(site.verdict().0, 200);
    site.server.wait_requests(1, |r| r.rpc_method() == "notifications/initialized");
    site.plane.wait_polls(1);
    assert_eq!(site.asked(), ["server/discover", "initialize", "notifications/initialized"]);
    assert_eq!(site.questions()[2].header("mcp-protocol-version"), None);
}

/// REV-056: a server that names old revisions only is asked for a handshake; what it says to the clean-up is no matter.
#[test]
fn old_revisions_lead_to_a_handshake() {
    let mut site = Site::start(|r| match r.rpc_method().as_str() {
        "server/discover" => rpc_error(r, 400, -32022, r#"{"supported":["2025-06-18"]}"#),
        "initialize" => answer(r).header("Mcp-Session-Id", "s"),
        _ => Reply::status(500),
    });
    assert_eq!(site.verdict(), (200, "ready".to_owned()));
}

/// MCP-142, MCP-170: a server that asks who calls is ready and says so; no handshake is tried.
#[test]
fn a_server_that_wants_authorization_is_ready() {
    let mut site = Site::start(|r| match r.path() {
        "/mcp" => Reply::status(401).header("WWW-Authenticate", "Bearer realm=\"x\""),
        _ => Reply::status(404),
    });
    let (status, text) = site.verdict();
    assert_eq!(status, 200);
    assert!(text.starts_with("ready (mcp initialize requires auth: "), "{text}");
    assert_eq!(site.asked(), ["server/discover"]);
}

/// MCP-143, MCP-144, MCP-170: what refuses or is no MCP server makes the client unready, and polling goes on.
#[test]
fn refusals_are_not_ready_and_polling_goes_on() {
    type Case = (fn(&Request) -> Reply, &'static str);
    let cases: [Case; 6] = [
        (|_| Reply::status(403), "403"),
        (|_| Reply::body(404, "text/html", "<html>no</html>"), "404"),
        (|_| Reply::status(405), "405"),
        (|_| Reply::status(500), "500"),
        (|_| Reply::status(302).header("Location", "http://other.test/"), "302"),
        (|r| rpc_error(r, 200, -32001, "{}"), "-32001"),
    ];
    for (script, wanted) in cases {
        let mut site = Site::start(script);
        let (status, text) = site.verdict();
        assert_eq!(status, 503, "{text}");
        assert!(text.starts_with("mcp probe failed: ") && text.contains(wanted), "{text}");
        assert!(site.client.get("/metrics").body.contains("\nreadiness 0\n"));
        let before = site.plane.polls().len();
        let command = Command::method("ping", "1");
        site.plane.queue(&command);
        site.plane.wait_answer(&command);
        site.plane.wait_polls(before + 1);
    }
}

/// REV-056: the HTTP+SSE transport of the first revision is recognised and named.
#[test]
fn the_first_transport_is_named() {
    let mut site = Site::start(|r| match r.method.as_str() {
        "GET" => Reply::sse().bytes("event: endpoint\ndata: /messages?id=1\n\n").hang(),
        _ => Reply::status(405),
    });
    let (status, text) = site.verdict();
    assert_eq!(status, 503);
    assert!(text.contains("2024-11-05"), "{text}");
    site.server.wait_abandoned(1);
}

/// MCP-141, MCP-170: a server that stays silent leaves the client ready, with a remark.
#[test]
fn silence_is_a_remark() {
    let mut site = Site::start(|r| if r.path() == "/mcp" { Reply::silence() } else { Reply::status(404) });
    let (status, text) = site.verdict();
    assert_eq!(status, 200, "{text}");
    assert!(text.starts_with("ready (mcp startup probe timed out: "), "{text}");
}

/// MCP-141: a server that hangs on the first question only is asked the second one within the same time.
#[test]
fn a_hung_discovery_still_gets_a_handshake() {
    let mut site = Site::start(|r| if is_discover(r) { Reply::silence() } else { answer(r) });
    assert_eq!(site.verdict(), (200, "ready".to_owned()));
}
