//! `/health`: who may ask, in which order requests are checked, and in which order members stand.

use std::net::UdpSocket;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::BOUND;
use crate::support::client::Client;
use crate::support::http::{Fetched, fetch};
use crate::support::local::ask_unix;
use crate::support::mcp::Mcp;
use crate::support::plane::Plane;
use crate::support::rig::Rig;
use crate::support::temp::TempDir;

/// Names of members, in the order of the text.
pub fn names(text: &str) -> Vec<String> {
    let (mut names, mut depth) = (Vec::new(), 0);
    for (at, c) in text.char_indices() {
        match c {
            '{' | '[' => depth += 1,
            '}' | ']' if depth == 1 => break,
            '}' | ']' => depth -= 1,
            '"' if depth == 1 => {
                let (before, behind) = text.split_at(at);
                let name = behind.split('"').nth(1).filter(|_| before.ends_with(['{', ',']));
                names.extend(name.map(str::to_owned));
            }
            _ => {}
        }
    }
    names
}

/// The part of a text from the value of a member on.
pub fn inside<'a>(text: &'a str, member: &str) -> &'a str {
    text.split_once(&format!("\"{member}\":")).unwrap_or_else(|| panic!("no {member} in {text}")).1
}

/// One part.
pub fn part(client: &mut Client, name: &str) -> Value {
    client.get(&format!("/health/{name}")).json()
}

/// Asks for a part until it is as wanted.
pub fn wait_part(client: &mut Client, name: &str, wanted: impl Fn(&Value) -> bool) -> Value {
    let end = Instant::now() + BOUND;
    loop {
        let found = part(client, name);
        if wanted(&found) {
            return found;
        }
        assert!(Instant::now() < end, "{name} stays {found}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// A path, then status, `Allow` and body of its reply; the others are checked for all.
fn assert_reply(reply: &Fetched, status: u16, body: &str) {
    assert_eq!((reply.status, reply.body.as_str()), (status, body), "{}", reply.head);
    assert_eq!(reply.header("content-type"), Some("application/json"));
    assert_eq!(reply.header("cache-control"), Some("no-store"));
    assert_eq!(reply.header("allow"), (status == 405).then_some("GET"));
}

/// NEW-070, NEW-074: what is said of the process, in this order, also while nothing works.
#[test]
fn the_compact_form_is_exact() {
    let mut mcp = Mcp::start();
    mcp.server.stop();
    let mut rig = Rig::over(Plane::start(), mcp, |b| b);
    rig.client.wait_get("/readyz", |a| a.body.starts_with("mcp probe failed"));
    let reply = rig.client.get("/health");
    let value = reply.json();
    assert_reply(&reply, 200, &reply.body);
    assert_eq!(names(&reply.body), ["schema_version", "live", "ready", "snapshot_at", "runtime"]);
    let runtime = ["instance_id", "version", "flavor", "started_at", "uptime_seconds", "lifecycle"];
    assert_eq!(names(inside(&reply.body, "runtime")), runtime);
    assert!(reply.body.starts_with(r#"{"schema_version":1,"live":true,"ready":false,"snapshot_at":"20"#));
    assert!(reply.body.ends_with(r#","lifecycle":"running"}}"#), "{}", reply.body);
    let polls = rig.plane.wait_polls(1);
    assert_eq!(value["runtime"]["instance_id"], polls[0].header("x-tunnel-client-instance-id").unwrap());
    assert_eq!(value["runtime"]["version"], env!("CARGO_PKG_VERSION"));
    assert!(value["runtime"]["uptime_seconds"].as_f64().unwrap() > 0.0);
    rig.mcp.server.restart();
    rig.client.wait_get("/health", |a| a.json()["ready"] == true);
}

/// NEW-071, MCP-171: method, query, component, in this order; each error with its exact body and headers.
#[test]
fn requests_are_checked_in_their_order() {
    let mut rig = Rig::start();
    let address = rig.client.address();
    let host = format!("Host: {address}\r\n");
    let long = format!("/health?{}", "x".repeat(200));
    let (method, query, component) = (
        r#"{"error":"method_not_allowed"}"#,
        r#"{"error":"invalid_query"}"#,
        r#"{"error":"unknown_component"}"#,
    );
    for (verb, path, status, body) in [
        ("POST", "/health?x", 405, method),
        ("DELETE", "/health/none", 405, method),
        ("HEAD", "/health", 405, ""),
        ("GET", "/health?", 400, query),
        ("GET", "/health?details", 400, query),
        ("GET", "/health?details=1", 400, query),
        ("GET", "/health?details=True", 400, query),
        ("GET", "/health?details=tru%65", 400, query),
        ("GET", "/health?details=true&details=true", 400, query),
        ("GET", "/health?details=true&", 400, query),
        ("GET", "/health?x=1", 400, query),
        ("GET", &long, 400, query),
        ("GET", "/health/mcp?details=true", 400, query),
        ("GET", "/health/mcp?", 400, query),
        ("GET", "/health/none?x", 400, query),
        ("GET", "/health/", 404, component),
        ("GET", "/health/none", 404, component),
        ("GET", "/health/MCP", 404, component),
        ("GET", "/health/mc%70", 404, component),
        ("GET", "/health/mcp/", 404, component),
        ("GET", "/health/../metrics", 404, component),
    ] {
        let reply = fetch(&address, verb, path, &host).unwrap();
        println!("{verb} {path}");
        assert_reply(&reply, status, body);
    }
    for path in ["/healthy", "/he%61lth", "/Health"] {
        assert_eq!(rig.client.get(path).body, "404 page not found\n");
    }
    for path in ["/health", "/health/mcp", "/health?details=false"] {
        assert_eq!(rig.client.get(path).status, 200);
    }
}

/// NEW-071, NEW-073: other machines get health, readiness and metrics, and nothing of this; nor do pages of the web.
#[test]
fn other_machines_are_told_nothing() {
    let mut rig = Rig::with(|b| b.set("health.listen-addr", "0.0.0.0:0"));
    let port = rig.client.address().rsplit(':').next().unwrap().to_owned();
    let refusal = "health details are restricted to loopback or a Unix socket\n";
    let refused = |reply: &Fetched| {
        assert_eq!((reply.status, reply.body.as_str()), (403, refusal));
        assert_eq!(reply.header("content-type"), Some("text/plain; charset=utf-8"));
    };
    let near = format!("127.0.0.1:{port}");
    assert_eq!(fetch(&near, "GET", "/health/mcp", &format!("Host: {near}\r\n")).unwrap().status, 200);
    for host in ["Host: evil.example\r\n", "", "Host: localhost\r\nOrigin: http://evil.example\r\n"] {
        refused(&fetch(&near, "GET", "/health", host).unwrap());
    }
    // The address of this machine in its network, if it has one: nothing is sent to find it.
    let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
    let Ok(own) = socket.connect("192.0.2.1:9").and_then(|()| socket.local_addr()) else { return };
    let far = format!("{}:{port}", own.ip());
    for path in ["/health", "/health/mcp", "/health/", "/health?"] {
        for method in ["GET", "POST"] {
            refused(&fetch(&far, method, path, &format!("Host: {far}\r\n")).unwrap());
        }
    }
    assert_eq!(fetch(&far, "GET", "/healthz", &format!("Host: {far}\r\n")).unwrap().body, "live");
}

/// NEW-071, NEW-072: the query beats the setting, which beats nothing else; a socket file is for its owner.
#[test]
fn the_setting_chooses_what_is_shown_without_a_query() {
    let directory = TempDir::new();
    let path = directory.join("health.sock");
    let socket = path.to_str().unwrap();
    let rig = Rig::with(|b| b.flag("health.unix-socket", socket).argument("--health-show-details"));
    rig.client.wait_log(|line| line.contains("tunnel-client started"));
    let has = |path: &str| {
        let reply = ask_unix(socket, "GET", path, "", "");
        assert_eq!(reply.status, 200, "{path}");
        reply.json().get("components").is_some()
    };
    assert!(has("/health"));
    assert!(!has("/health?details=false"));
    assert!(has("/health?details=true"));
    let mut rig = Rig::start();
    assert_eq!(rig.client.get("/health").json().get("components"), None);
    assert!(rig.client.get("/health?details=true").json()["components"]["mcp"]["details"].is_object());
}

/// NEW-075, NEW-077: the parts in the order of bytes, each in the order of its members.
#[test]
fn every_part_is_there() {
    let mut rig = Rig::start();
    rig.assert_alive();
    let text = rig.client.get("/health?details=true").body;
    let components = inside(&text, "components");
    let mut expected = vec![
        "cloudflared",
        "control-plane",
        "dispatcher",
        "harpoon",
        "mcp",
        "oauth",
        "proxy",
        "queue",
        "reload",
        "response-delivery",
    ];
    expected.retain(|name| cfg!(feature = "harpoon") || *name != "harpoon");
    assert_eq!(names(components), expected);
    for name in expected {
        let whole = rig.client.get(&format!("/health/{name}")).body;
        let members = names(&whole);
        assert_eq!(members[..5], ["schema_version", "snapshot_at", "component", "status", "state"]);
        let rest: Vec<&str> = members[5..].iter().map(String::as_str).collect();
        let known = ["reason_code", "limited", "observed_at", "details"];
        let order: Vec<&str> = known.into_iter().filter(|name| rest.contains(name)).collect();
        assert_eq!(rest, order, "{name}");
        let value: Value = serde_json::from_str(&whole).unwrap();
        assert_eq!(value["component"], name);
        assert!(["ok", "degraded", "unknown", "disabled"].contains(&value["status"].as_str().unwrap()));
    }
    let off = part(&mut rig.client, "cloudflared");
    assert_eq!(
        (&off["status"], &off["details"]),
        (&json!("disabled"), &json!({"enabled": false, "ready": false}))
    );
}
