//! What discovery makes callable through Harpoon, and what it does not.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::{Value, json};

use crate::support::client::Builder;
use crate::support::command::Command;
use crate::support::http::Request;
use crate::support::mcp::Mcp;
use crate::support::oauth::{OWN, SERVER, Site, lines, origin, resource};
use crate::support::reply::Reply;

fn plain(builder: Builder) -> Builder {
    builder.argument("--harpoon.allow-plaintext-http")
}

/// The metadata of an authorization server at `origin`, with further members.
fn metadata(origin: &str, further: Value) -> Reply {
    let mut document = json!({"issuer": origin, "authorization_endpoint": format!("{origin}/authorize"),
        "token_endpoint": format!("{origin}/token"), "jwks_uri": format!("{origin}/jwks")});
    document.as_object_mut().unwrap().extend(further.as_object().unwrap().clone());
    Reply::json(200, document.to_string())
}

/// A server that is its own authorization server.
fn page(request: &Request) -> Option<Reply> {
    let own = origin(request);
    match request.path() {
        OWN => Some(resource(&own)),
        SERVER => Some(metadata(&own, json!({"registration_endpoint": format!("{own}/register")}))),
        "/token" => Some(Reply::json(200, r#"{"access_token":"t"}"#)),
        _ => None,
    }
}

const LABELS: [&str; 8] = [
    "oauth-prmd-resource-0",
    "oauth-prmd-auth-server-0",
    "oauth-prmd-source-0",
    "oauth-auth-server-metadata-0",
    "oauth-issuer-0",
    "oauth-token-endpoint-0",
    "oauth-jwks-uri-0",
    "oauth-registration-endpoint-0",
];

/// MCP-164: what a server names of itself is listed, its page for browsers never; the channel comes with it.
#[test]
fn endpoints_of_the_own_origin_are_listed() {
    let mut site = Site::start(page, plain);
    site.discover();
    let declared = r#"{"version":2,"channels":[{"name":"main"},{"name":"harpoon","stateless":true,"proc_affinity":true}]}"#;
    site.send(&Command::method("ping", "1"));
    site.plane.server.wait_requests(1, |r| r.header("x-tunnel-mcp-server-info") == Some(declared));
    assert_eq!(site.labels(), LABELS);
    let listed = site.tool("list_targets", json!({"tags": ["token-endpoint"]}));
    let token = &listed["targets"][0];
    assert_eq!((&token["category"], &token["source"]), (&json!("oauth"), &json!("oauth")));
    assert_eq!(token["allowed_methods"], json!(["POST"]));
    let group = token["tags"][2].as_str().unwrap();
    assert!(group.starts_with("group=auth-server:") && group.len() == 17 + 1 + 12 + 2, "{group}");
    let listed = site.tool("list_targets", json!({"tags": ["protected-resource-metadata", "source-url"]}));
    assert_eq!(listed["targets"][0]["label"], "oauth-prmd-source-0");
    site.client.wait_log(|line| line.contains("harpoon host auto-registered"));
}

/// MCP-164, MCP-168: the token endpoint is called with exactly what the caller sends, and its URL is told as an audience.
#[test]
fn the_token_endpoint_is_called() {
    let mut site = Site::start(page, |b| plain(b).flag("mcp.extra-headers", "X-Static: s"));
    site.discover();
    let body = "grant_type=authorization_code&code=a%20b&resource=https%3A%2F%2Fh";
    let arguments = json!({"label": "oauth-token-endpoint-0", "method": "POST", "body": body, "headers":
        {"Content-Type": "application/x-www-form-urlencoded", "Authorization": "Basic YTpi"}});
    let called = site.tool("call_target", arguments);
    assert_eq!(called["status_code"], 200);
    let seen = site.server.wait_requests(1, |r| r.path() == "/token").remove(0);
    assert_eq!((seen.method.as_str(), seen.text().as_str()), ("POST", body));
    assert_eq!(seen.header("content-type"), Some("application/x-www-form-urlencoded"));
    assert_eq!((seen.header("authorization"), seen.header("x-static")), (Some("Basic YTpi"), None));
    let audience = site.tool("get_oauth_target_audience", json!({"label": "oauth-token-endpoint-0"}));
    assert_eq!(audience["audience"], site.server.origin() + "/token");
    assert_eq!(site.tool("get_oauth_target_audience", json!({"label": "oauth-issuer-0"})), Value::Null);
}

/// MCP-166, MCP-167: registered URLs have their names in what is handed back, but identifiers stay.
#[test]
fn metadata_names_what_can_be_called() {
    use base64::Engine;
    let mut site = Site::start(page, plain);
    site.discover();
    let read = |label: &str| -> Value {
        let called = site.tool("call_target", json!({"label": label, "method": "GET"}));
        let body = called["body_base64"].as_str().unwrap().to_owned();
        serde_json::from_slice(&base64::engine::general_purpose::STANDARD.decode(body).unwrap()).unwrap()
    };
    let document = read("oauth-auth-server-metadata-0");
    assert_eq!(document["token_endpoint"], "harpoon://oauth-token-endpoint-0");
    assert_eq!(document["issuer"], site.server.origin());
    assert_eq!(document["authorization_endpoint"], site.server.origin() + "/authorize");
    let document = read("oauth-prmd-source-0");
    assert_eq!(document["resource"], site.server.origin() + "/mcp");
    assert_eq!(document["authorization_servers"], json!(["harpoon://oauth-prmd-auth-server-0"]));
}

/// Metadata whose token endpoint is that of this round.
fn of_round(request: &Request, round: &AtomicUsize) -> Reply {
    let own = origin(request);
    let token = format!("{own}/token{}", round.load(Ordering::Relaxed));
    metadata(&own, json!({"token_endpoint": token}))
}

/// DESIGN, OAuth: a repeated discovery takes the place of the former one.
#[test]
fn a_repetition_replaces_its_own() {
    let round = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&round);
    let mut site = Site::start(
        move |r| match r.path() {
            SERVER => Some(of_round(r, &counter)),
            _ => page(r),
        },
        plain,
    );
    site.discover();
    let before = site.labels();
    for number in 1..4 {
        round.store(number, Ordering::Relaxed);
        assert_eq!(site.discover().0.code(), 200);
        assert_eq!(site.labels(), before);
        let audience = site.tool("get_oauth_target_audience", json!({"label": "oauth-token-endpoint-0"}));
        assert_eq!(audience["audience"], format!("{}/token{number}", site.server.origin()));
    }
}

/// MCP-164: a label of the operator's stays his.
#[test]
fn a_taken_label_gets_a_number() {
    let mut site = Site::start(page, |b| {
        plain(b).flag("harpoon.target", "label=oauth-token-endpoint-0,url=https://127.0.0.1:1/")
    });
    site.discover();
    let labels = site.labels();
    assert_eq!((labels.len(), labels[0].as_str()), (9, "oauth-token-endpoint-0"));
    assert!(labels.contains(&"oauth-token-endpoint-0-1".to_owned()), "{labels:?}");
}

/// MCP-165: documents cannot steer calls at loopback, link-local or other customers' hosts, nor at other schemes.
#[test]
fn what_lies_elsewhere_is_not_registered() {
    let other = Mcp::start();
    let elsewhere = other.server.origin();
    for url in [
        format!("{elsewhere}/token"),
        "http://localhost/token".into(),
        "http://[::1]/token".into(),
        "http://169.254.169.254/latest/api/token".into(),
        "http://10.0.0.1/token".into(),
        "https://login.other-customer.example/token".into(),
        "file:///etc/passwd".into(),
        "/token".into(),
        "http://user:pw@HOST/token".into(),
        "http://HOST/a/../token".into(),
        "http://HOST/token#x".into(),
    ] {
        let mut site = Site::start(
            move |r| match r.path() {
                SERVER => {
                    let host = r.header("host").unwrap_or_default();
                    Some(metadata(&origin(r), json!({"token_endpoint": url.replace("HOST", host)})))
                }
                _ => page(r),
            },
            plain,
        );
        site.discover();
        let labels = site.labels();
        assert!(labels.contains(&"oauth-jwks-uri-0".to_owned()), "{labels:?}");
        assert!(!labels.iter().any(|label| label.contains("token")), "{labels:?}");
    }
    assert_eq!(other.server.connections(), 0);
}

/// MCP-161, REV-059, MCP-162, MCP-163: places in their order; only JSON with status 200 counts, and a later one that
/// speaks for the issuer before an earlier one that does not.
#[test]
fn authorization_servers_are_asked_in_order() {
    let mut site = Site::start(
        |r| {
            let own = origin(r);
            match r.path() {
                OWN => {
                    let list = [format!("{own}/t"), format!("{own}/never")];
                    let document = json!({"resource": format!("{own}/mcp"), "authorization_servers": list});
                    Some(Reply::json(200, document.to_string()))
                }
                "/.well-known/oauth-authorization-server/t" => {
                    Some(metadata("https://other.example", json!({})))
                }
                "/.well-known/openid-configuration/t" => {
                    Some(Reply::body(200, "text/html", format!("{{\"issuer\":\"{own}/t\"}}")))
                }
                "/t/.well-known/openid-configuration" => Some(metadata(
                    &own,
                    json!({"issuer": format!("{own}/t"), "token_endpoint": format!("{own}/t/token")}),
                )),
                _ => None,
            }
        },
        |b| plain(b).flag("mcp.extra-headers", "X-Static: s"),
    );
    let (answer, asked) = site.discover();
    assert_eq!(answer.code(), 200);
    let expected = [
        "GET /.well-known/oauth-authorization-server/t",
        "GET /.well-known/openid-configuration/t",
        "GET /t/.well-known/openid-configuration",
    ];
    assert_eq!(lines(&asked)[3..], expected);
    assert!(asked[3..].iter().all(|r| r.header("x-static").is_none()));
    let audience = site.tool("get_oauth_target_audience", json!({"label": "oauth-token-endpoint-0"}));
    assert_eq!(audience["audience"], site.server.origin() + "/t/token");
}

/// MCP-162: metadata that names another issuer alone is used, and the difference is told. What it names elsewhere
/// is not callable all the same.
#[test]
fn another_issuer_is_used_and_told() {
    let mut site = Site::start(
        |r| match r.path() {
            SERVER => {
                let endpoints = json!({"registration_endpoint": format!("{}/register", origin(r)),
                    "token_endpoint": "https://idp.example/token", "issuer": "https://idp.example/tenant"});
                Some(metadata(&origin(r), endpoints))
            }
            _ => page(r),
        },
        plain,
    );
    site.discover();
    let mut expected = LABELS.to_vec();
    expected.retain(|label| !matches!(*label, "oauth-issuer-0" | "oauth-token-endpoint-0"));
    assert_eq!(site.labels(), expected);
    let own = site.server.origin();
    site.client.wait_log(|line| {
        line.contains("issuer mismatch") && line.contains("https://idp.example/tenant") && line.contains(&own)
    });
}

/// MCP-164, settings: without permission for plain http nothing of it is registered, and the channel stays away.
#[test]
fn plain_http_is_not_registered_unasked() {
    let mut site = Site::start(page, |b| b);
    site.discover();
    let call = Command::method("tools/list", "1").channel("harpoon");
    assert_eq!(site.send(&call).code(), 400);
    assert!(site.plane.polls().iter().all(|r| !r.dump().contains("harpoon")));
}

/// DESIGN, OAuth: a server behind a socket is asked there, and so are its endpoints.
#[test]
fn endpoints_behind_a_socket_are_called_there() {
    use crate::support::plane::Plane;
    use crate::support::server::Server;
    use crate::support::temp::TempDir;
    let directory = TempDir::new();
    let path = directory.join("mcp.sock");
    // What lies beside the issuer is neither called there nor where its name leads in the network.
    let beside = |r: &Request| {
        let own = origin(r) + "/t";
        match r.path() {
            OWN => {
                let document = json!({"resource": origin(r) + "/mcp", "authorization_servers": [own]});
                Some(Reply::json(200, document.to_string()))
            }
            "/.well-known/oauth-authorization-server/t" => {
                Some(metadata(&own, json!({"revocation_endpoint": format!("{own}x/revoke")})))
            }
            "/t/token" => Some(Reply::json(200, "{}")),
            _ => None,
        }
    };
    let script = move |r: &Request| beside(r).unwrap_or_else(|| crate::support::mcp::answer(r));
    let server = Server::start_unix(&path, Arc::new(script));
    let plane = Plane::start();
    let entry = format!("url=http://mcp.test/mcp,unix-socket={}", path.display());
    let client = plain(Builder::run(&plane.server.origin(), &entry)).start();
    client.wait_log(|line| line.contains("oauth discovery succeeded"));
    let params = json!({"name": "call_target",
        "arguments": {"label": "oauth-token-endpoint-0", "method": "POST", "body": "a=b"}});
    let call = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params});
    let command = Command::rpc(call).channel("harpoon");
    plane.queue(&command);
    let answer = plane.wait_answer(&command);
    assert_eq!(answer.payload()["result"]["structuredContent"]["status_code"], 200, "{}", answer.payload());
    let seen = server.wait_requests(1, |r| r.path() == "/t/token").remove(0);
    assert_eq!((seen.header("host"), seen.text().as_str()), (Some("mcp.test"), "a=b"));
    client.wait_log(|line| line.contains("outside-issuer-path") && line.contains("revocation-endpoint"));
}

/// DESIGN, OAuth: what was known of an authorization server stays while it does not answer, be its issuer
/// written with a slash at the end or without.
#[test]
fn a_silent_authorization_server_is_remembered() {
    let round = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&round);
    let mut site = Site::start(
        move |r| match r.path() {
            OWN => {
                let own = origin(r);
                let document =
                    json!({"resource": format!("{own}/mcp"), "authorization_servers": [own + "/"]});
                Some(Reply::json(200, document.to_string()))
            }
            SERVER | "/.well-known/openid-configuration" if counter.load(Ordering::Relaxed) > 0 => {
                Some(Reply::closed())
            }
            _ => page(r),
        },
        plain,
    );
    site.discover();
    assert_eq!(site.labels(), LABELS);
    round.store(1, Ordering::Relaxed);
    assert_eq!(site.discover().0.code(), 200);
    assert_eq!(site.labels(), LABELS);
}

/// DESIGN, shutdown: a call of an endpoint that was replaced meanwhile is cut and answered like any other.
#[test]
fn calls_of_replaced_endpoints_are_cut() {
    let round = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&round);
    let mut site = Site::start(
        move |r| match r.path() {
            SERVER => Some(of_round(r, &counter)),
            "/token0" => Some(Reply::silence()),
            _ => page(r),
        },
        |b| plain(b).flag("process.drain-timeout", "1ms"),
    );
    site.discover();
    let params = json!({"name": "call_target", "arguments":
        {"label": "oauth-token-endpoint-0", "method": "POST", "body": "a=b"}});
    let call = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params});
    let command = Command::rpc(call).channel("harpoon");
    site.plane.queue(&command);
    site.server.wait_requests(1, |r| r.path() == "/token0");
    round.store(1, Ordering::Relaxed);
    assert_eq!(site.discover().0.code(), 200);
    assert_eq!(site.client.stop().code(), Some(0));
    assert_eq!(site.plane.posts_of(&command).len(), 1);
}

/// MCP-161: a silent place costs the others of an authorization server nothing but its share of the time.
#[test]
fn a_silent_place_leaves_time_for_the_others() {
    let site = Site::start(
        |r| match r.path() {
            SERVER => Some(Reply::silence()),
            "/.well-known/openid-configuration" => Some(metadata(&origin(r), json!({}))),
            _ => page(r),
        },
        plain,
    );
    site.wait_settled();
    assert_eq!(site.labels().len(), LABELS.len() - 1);
}

/// DESIGN, OAuth: whoever answers at a learned endpoint cannot lead a call to one that the operator configured.
#[test]
fn learned_endpoints_do_not_lead_to_configured_ones() {
    let other = Mcp::start();
    let inside = other.server.origin() + "/inside";
    let target = format!("label=inside,url={inside}");
    let mut site = Site::start(
        move |r| match r.path() {
            "/token" => Some(Reply::status(307).header("Location", &inside)),
            _ => page(r),
        },
        |b| plain(b).flag("harpoon.target", &target),
    );
    site.discover();
    let arguments = json!({"label": "oauth-token-endpoint-0", "method": "POST", "body": "client_secret=s"});
    assert_eq!(site.tool("call_target", arguments)["status_code"], Value::Null);
    site.server.wait_requests(1, |r| r.path() == "/token");
    site.client.wait_log(|line| line.contains("request_not_allowed"));
    assert_eq!(other.server.connections(), 0);
}
