//! `tunnel-client admin tunnels …`: what is asked of the control plane, and what is made of its answers.

mod failures;

use std::sync::Arc;

use serde_json::json;

use crate::support::certs::Authority;
use crate::support::client::{API_KEY, Builder, Outcome};
use crate::support::http::Request;
use crate::support::plane::TUNNEL;
use crate::support::proxy::{Manner, Proxy};
use crate::support::reply::Reply;
use crate::support::server::Server;
use crate::support::temp::TempDir;

const ADMIN_KEY: &str = "sk-admin-KEY_51c0ffee";

/// The whole record of one tunnel, and one member that nobody knows.
const RECORD: &str = r#"{"object":"tunnel","id":"tunnel_0123456789abcdefghijklmnopqrstuv","name":"n","description":"d",
    "creator":"u","tenant_ids":["t"],"workspace_ids":["w1","w2"],"organization_ids":["o"]}"#;

const TEXT: &str = "\
Tunnel tunnel_0123456789abcdefghijklmnopqrstuv
  Name: n
  Description: d
  Creator: u
  Organizations: o
  Workspaces: w1, w2
  Tenants: t
";

fn plane(answer: impl Fn(&Request) -> Reply + Send + Sync + 'static) -> Server {
    Server::start(None, Arc::new(answer))
}

fn record() -> Server {
    plane(|_| Reply::json(200, RECORD).header("X-Request-Id", "req_1"))
}

/// The command with the server's address and the key in its environment.
fn admin(server: &Server, words: &[&str]) -> Builder {
    let builder = Builder::bare("admin").env("CONTROL_PLANE_BASE_URL", &server.origin());
    let builder = builder.env("OPENAI_ADMIN_KEY", ADMIN_KEY);
    ["tunnels"].iter().chain(words).fold(builder, |builder, word| builder.argument(word))
}

/// Runs it; no key may be shown.
fn outcome(builder: Builder) -> Outcome {
    let outcome = builder.outcome();
    for text in [&outcome.stdout, &outcome.stderr] {
        assert!(!text.contains(ADMIN_KEY) && !text.contains("panicked"), "{text}");
    }
    outcome
}

/// One that succeeds, with its only request.
fn done(server: &Server, words: &[&str]) -> (String, Request) {
    let outcome = outcome(admin(server, words));
    assert_eq!((outcome.code, outcome.stderr.as_str()), (Some(0), ""), "{}", outcome.stdout);
    let mut requests = server.requests();
    (outcome.stdout, requests.remove(requests.len() - 1))
}

/// One line on standard error, exit 1, and this many requests.
fn refused(server: &Server, builder: Builder) -> String {
    let outcome = outcome(builder);
    assert_eq!((outcome.code, outcome.stdout.as_str()), (Some(1), ""), "{}", outcome.stderr);
    assert!(server.requests().is_empty(), "{}", outcome.stderr);
    outcome.stderr.strip_suffix('\n').unwrap().to_owned()
}

/// The head is that of a running client, with the administrator's key and without the servers.
#[test]
fn every_request_says_who_asks() {
    let server = record();
    let (_, request) = done(&server, &["get", TUNNEL]);
    assert_eq!(
        (request.method.as_str(), request.target.as_str()),
        ("GET", &*format!("/v1/tunnels/{TUNNEL}"))
    );
    assert_eq!(request.all("authorization"), [format!("Bearer {ADMIN_KEY}")]);
    assert_eq!(request.all("accept"), ["application/json"]);
    assert_eq!(request.all("x-tunnel-client-name"), ["tunnel-client-rs"]);
    let version = env!("CARGO_PKG_VERSION");
    assert_eq!(request.all("x-tunnel-client-version"), [version]);
    assert_eq!(request.all("user-agent"), [format!("tunnel-client-rs/{version}")]);
    assert_eq!(request.header("x-tunnel-client-instance-id").unwrap().len(), 32);
    assert_eq!(request.header("x-tunnel-mcp-server-info"), None);
    assert_eq!(request.header("content-type"), None);
}

/// `get` shows everything that is known of a tunnel, as lines or as JSON of a fixed order.
#[test]
fn get_shows_a_tunnel() {
    let server = record();
    assert_eq!(done(&server, &["get", TUNNEL]).0, TEXT);
    let expected = r#"{
  "id": "tunnel_0123456789abcdefghijklmnopqrstuv",
  "name": "n",
  "description": "d",
  "creator": "u",
  "tenant_ids": [
    "t"
  ],
  "workspace_ids": [
    "w1",
    "w2"
  ],
  "organization_ids": [
    "o"
  ],
  "request_id": "req_1"
}
"#;
    assert_eq!(done(&server, &["get", TUNNEL, "--json"]).0, expected);
    let server = plane(|_| Reply::json(200, r#"{"id":"x","name":"n","description":null,"creator":null}"#));
    assert_eq!(
        done(&server, &["get", TUNNEL]).0,
        "Tunnel x\n  Name: n\n  Description: \n  Organizations: none\n  Workspaces: none\n"
    );
    let least = "{\n  \"id\": \"x\",\n  \"name\": \"n\",\n  \"description\": \"\"\n}\n";
    assert_eq!(done(&server, &["get", TUNNEL, "--json"]).0, least);
}

/// Flags of the group may stand before its words, and the prefix of paths is kept.
#[test]
fn flags_may_stand_before_the_words() {
    let server = record();
    let builder = Builder::bare("admin").env("K", ADMIN_KEY);
    let words = ["--admin-key", "env:K", "--json", "tunnels", "--control-plane.url-path=/p", "get", TUNNEL];
    let builder = words.iter().fold(builder, |builder, word| builder.argument(word));
    let outcome = outcome(builder.flag("control-plane.base-url", &server.origin()));
    assert_eq!((outcome.code, outcome.stderr.as_str()), (Some(0), ""));
    assert_eq!(server.requests()[0].target, format!("/p/v1/tunnels/{TUNNEL}"));
}

/// `create` posts what was given, and says in text that a new tunnel takes a moment.
#[test]
fn create_posts_a_form() {
    let server = record();
    let words = [
        "create",
        "--name",
        "n",
        "--description",
        "d \"x\"",
        "--organization-id",
        "a, b",
        "--organization-id=c",
    ];
    let (text, request) = done(&server, &words);
    assert_eq!((request.method.as_str(), request.target.as_str()), ("POST", "/v1/tunnels"));
    assert_eq!(request.all("content-type"), ["application/json"]);
    assert_eq!(
        request.json(),
        json!({"name": "n", "description": "d \"x\"", "organization_ids": ["a", "b", "c"]})
    );
    let note = text.strip_prefix(TEXT).unwrap();
    assert!(note.starts_with("\nWait 25 to 30 seconds"), "{note}");
    let (text, _) = done(&server, &[&words[..], &["--json"]].concat());
    assert!(text.starts_with("{\n  \"id\":") && !text.contains("Wait"), "{text}");
}

/// `list` asks for one organization, workspace or tenant, whatever its id is made of.
#[test]
fn list_asks_for_one_owner() {
    let server = plane(|_| {
        Reply::json(200, format!(r#"{{"tunnels":[{RECORD},{RECORD}]}}"#)).header("X-Request-Id", "r")
    });
    for kind in ["organization", "workspace", "tenant"] {
        let (text, request) = done(&server, &["list", &format!("--{kind}-id"), "a&b=c/d e"]);
        assert_eq!(request.target, format!("/v1/tunnels?{kind}_id=a%26b%3Dc%2Fd%20e"));
        assert_eq!((request.method.as_str(), text), ("GET", format!("{TEXT}\n{TEXT}")));
    }
    let (text, _) = done(&server, &["list", "--tenant-id", "t", "--json"]);
    let value: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!((value["tunnels"].as_array().unwrap().len(), &value["request_id"]), (2, &json!("r")));
    let server = plane(|_| Reply::json(200, r#"{"tunnels":[]}"#));
    assert_eq!(done(&server, &["list", "--tenant-id", "t"]).0, "No tunnels found\n");
    assert_eq!(done(&server, &["list", "--tenant-id", "t", "--json"]).0, "{\n  \"tunnels\": []\n}\n");
}

/// `update` sends what changes; lists replace, also by nothing.
#[test]
fn update_sends_only_what_changes() {
    let server = record();
    let (text, request) = done(&server, &["update", TUNNEL, "--description", ""]);
    assert_eq!(
        (request.method.as_str(), request.target.as_str()),
        ("POST", &*format!("/v1/tunnels/{TUNNEL}"))
    );
    assert_eq!((request.json(), text.as_str()), (json!({"description": ""}), TEXT));
    let (_, request) = done(&server, &["update", TUNNEL, "--workspace-id", "w", "--organization-id="]);
    assert_eq!(request.json(), json!({"workspace_ids": ["w"], "organization_ids": []}));
}

/// `delete` deletes when that is confirmed, and needs no body in the answer.
#[test]
fn delete_wants_to_be_confirmed() {
    let server = plane(|_| Reply::status(204).header("X-Request-Id", "r"));
    // The reference takes these flags here too; the id alone counts.
    let unused = ["--organization-id", "org-1", "--workspace-id", "ws-1"];
    let (text, request) = done(&server, &[&["delete", TUNNEL, "--confirm"][..], &unused].concat());
    assert_eq!(
        (request.method.as_str(), request.target.as_str()),
        ("DELETE", &*format!("/v1/tunnels/{TUNNEL}"))
    );
    assert_eq!(text, format!("Deleted tunnel {TUNNEL}\n"));
    let (text, _) = done(&server, &["delete", "--confirm", TUNNEL, "--json"]);
    assert_eq!(
        text,
        format!("{{\n  \"id\": \"{TUNNEL}\",\n  \"deleted\": true,\n  \"request_id\": \"r\"\n}}\n")
    );
}

/// `get` makes do with the runtime key; the others do not.
#[test]
fn the_runtime_key_will_do_for_get() {
    let server = record();
    let without = |words: &[&str]| admin(&server, words).without_env("OPENAI_ADMIN_KEY");
    assert_eq!(outcome(without(&["get", TUNNEL])).code, Some(0));
    let other =
        without(&["get", TUNNEL]).without_env("CONTROL_PLANE_API_KEY").env("OPENAI_API_KEY", "sk-other");
    assert_eq!(outcome(other).code, Some(0));
    let keys: Vec<String> =
        server.requests().iter().map(|r| r.header("authorization").unwrap().to_owned()).collect();
    assert_eq!(keys, [format!("Bearer {API_KEY}"), "Bearer sk-other".to_owned()]);

    let server = record();
    let none = |words: &[&str]| admin(&server, words).without_env("OPENAI_ADMIN_KEY");
    assert_eq!(
        refused(&server, none(&["get", TUNNEL]).without_env("CONTROL_PLANE_API_KEY")),
        "tunnel get requires a runtime or admin key; set CONTROL_PLANE_API_KEY, OPENAI_API_KEY, OPENAI_ADMIN_KEY, or --admin-key"
    );
    let missing = "admin key is required; set --admin-key or OPENAI_ADMIN_KEY";
    assert_eq!(refused(&server, none(&["delete", TUNNEL, "--confirm"])), missing);
    assert_eq!(refused(&server, none(&["list", "--tenant-id", "t"])), missing);
}

/// The key comes from a variable or a file, and stays out of the command line.
#[test]
fn the_key_comes_by_reference() {
    let server = record();
    let directory = TempDir::new();
    let file = directory.write("key", "sk-of-file\n");
    assert_eq!(
        outcome(admin(&server, &["get", TUNNEL]).flag("admin-key", &format!("file:{file}"))).code,
        Some(0)
    );
    assert_eq!(server.requests()[0].header("authorization"), Some("Bearer sk-of-file"));

    let server = record();
    let get = || admin(&server, &["get", TUNNEL]);
    for raw in [ADMIN_KEY, ""] {
        assert_eq!(
            refused(&server, get().flag("admin-key", raw)),
            "invalid admin-key: value must be prefixed with \"env:\" or \"file:\""
        );
    }
    assert_eq!(
        refused(&server, get().flag("admin-key", "env:ABSENT")),
        "invalid admin-key reference \"env:ABSENT\": environment variable \"ABSENT\" is not set"
    );
    assert_eq!(
        refused(&server, get().env("OPENAI_ADMIN_KEY", &format!("{ADMIN_KEY} x"))),
        "admin key is malformed"
    );
    let list = admin(&server, &["list", "--tenant-id", "t"]).env("OPENAI_ADMIN_KEY", "");
    assert_eq!(refused(&server, list), "OPENAI_ADMIN_KEY must be non-empty");
}

/// The way is that of a running client: proxies, bundle and certificate, by flag and by variable.
#[test]
fn the_way_is_that_of_a_running_client() {
    let (authority, clients, proxy) =
        (Authority::new("Root"), Authority::new("Clients"), Proxy::start(None, Manner::Open));
    let files = clients.client("operator");
    let server = Server::start(
        Some(authority.server_demanding(&clients)),
        Arc::new(|_: &Request| Reply::json(200, RECORD)),
    );
    let builder = admin(&server, &["get", TUNNEL])
        .env("CA_BUNDLE", &authority.bundle())
        .env("CONTROL_PLANE_CLIENT_CERT", &files.certificate)
        .flag("control-plane.client-key", &files.key)
        .flag("http-proxy", &proxy.url());
    let outcome = outcome(builder);
    assert_eq!((outcome.code, outcome.stdout.as_str()), (Some(0), TEXT), "{}", outcome.stderr);
    assert_eq!(proxy.targets(), [format!("127.0.0.1:{}", server.port())]);
    assert!(server.requests()[0].client_certificate);
}

/// Proxies of the environment are taken too.
#[test]
fn proxies_of_the_environment_are_taken() {
    let server = record();
    let proxy = Proxy::start(None, Manner::Refusing("HTTP/1.1 403 No\r\nContent-Length: 0\r\n\r\n".into()));
    let builder = admin(&server, &["get", TUNNEL]).env("CONTROL_PLANE_BASE_URL", "https://plane.invalid");
    let text = outcome(builder.env("HTTPS_PROXY", &proxy.url())).stderr;
    assert_eq!(proxy.targets(), ["plane.invalid:443"]);
    let start =
        format!("request GET /v1/tunnels/{TUNNEL} failed: the proxy {} refused a tunnel", proxy.url());
    assert!(text.starts_with(&start), "{text}");
}
