//! Secrets of endpoints, of the search for metadata, and of programs of this host.

use serde_json::{Value, json};

use super::{basic, last, reload, reload_all, replace};
use crate::harpoon::templates::{FORMS, Forms};
use crate::harpoon::{Called, Harbour, call_command};
use crate::support::command::Command;
use crate::support::gate::Gate;
use crate::support::http::{Request, fetch};
use crate::support::oauth::{ROOT, Site, origin, resource};
use crate::support::proxy::{Manner, Proxy};
use crate::support::reply::Reply;
use crate::support::temp::TempDir;

/// Headers of an endpoint. A call that runs ends with what it began with.
#[test]
fn an_endpoint_gets_the_new_header() {
    let directory = TempDir::new();
    let file = directory.write("token", "first-token");
    let gate = Gate::new();
    let behind = gate.clone();
    let targets = format!(
        "- {{label: a, url: ORIGIN/a, headers: {{X-Token: 'file:{file}'}}}}\n- {{label: held, url: ORIGIN/held, headers: {{X-Token: 'file:{file}'}}}}"
    );
    let harbour = Harbour::start(&targets, move |request| {
        let reply = Reply::body(200, "text/plain", "here");
        if request.path() == "/held" { reply.behind(&behind) } else { reply }
    });
    let running = call_command("held", json!({}));
    harbour.rig.plane.queue(&running);
    gate.wait_arrivals(1);
    assert_eq!(harbour.call("a", json!({})).body(), "here");
    replace(&file, "second-token");
    reload(&harbour.rig.client, &file);
    assert_eq!(harbour.call("a", json!({})).body(), "here");
    gate.open();
    assert_eq!(Called(harbour.rig.plane.wait_answer(&running)).body(), "here");
    let requests = harbour.server.requests();
    let tokens: Vec<&str> = requests.iter().map(|request| request.header("x-token").unwrap()).collect();
    assert_eq!(tokens, ["first-token", "first-token", "second-token"]);
    assert_ne!(requests[2].connection, requests[1].connection, "a connection of before was used");
    assert!(!harbour.rig.client.log().contains("-token\""), "{}", harbour.rig.client.log());
}

/// The fixed header of a template, which is no part of its policy: what callers were told holds on.
#[test]
fn a_template_gets_the_new_secret_under_the_same_policy() {
    let directory = TempDir::new();
    let file = directory.write("token", "Bearer first-token");
    let targets = FORMS.replace("env:HIDDEN_TOKEN", &format!("file:{file}"));
    let forms = Forms::start(&targets, |_: &Request| Reply::json(200, "{}"));
    let read = json!({"label": "order", "parameters": {"id": "abc", "kind": "open"}});
    let listed = |forms: &Forms| -> Value {
        let command = crate::harpoon::tool("list_targets", &json!({}));
        forms.rig.send(&command).payload()["result"]["structuredContent"].clone()
    };
    forms.result(&read);
    let before = listed(&forms);
    replace(&file, "Bearer second-token");
    reload(&forms.rig.client, &file);
    forms.result(&read);
    let requests = forms.server.requests();
    let tokens: Vec<&str> = requests.iter().map(|request| request.header("authorization").unwrap()).collect();
    assert_eq!(tokens, ["Bearer first-token", "Bearer second-token"]);
    assert_eq!(listed(&forms), before);
}

/// The token of programs of this host: the old one is refused, the new one and open sessions go on.
#[test]
fn programs_of_this_host_show_the_new_token() {
    const TOKENS: [&str; 2] = ["tok-0123456789abcdef", "tok-fedcba9876543210"];
    let directory = TempDir::new();
    let file = directory.write("token", TOKENS[0]);
    let mut harbour = Harbour::with(
        "- {label: a, url: ORIGIN/a}",
        |b| {
            b.flag("harpoon.additional-transport", "http-streamable")
                .flag("harpoon.transport-token", &format!("file:{file}"))
        },
        |_| Reply::body(200, "text/plain", "here"),
    );
    let address = harbour.rig.client.address();
    // There is no such session, which only those are told who may ask.
    let ask = |token: &str| {
        let head = format!("Host: {address}\r\nAuthorization: Bearer {token}\r\nMcp-Session-Id: none\r\n");
        fetch(&address, "DELETE", "/harpoon/mcp", &head).unwrap().status
    };
    assert_eq!(TOKENS.map(ask), [404, 401]);
    replace(&file, TOKENS[1]);
    reload(&harbour.rig.client, &file);
    assert_eq!(TOKENS.map(ask), [401, 404]);
    assert!(TOKENS.iter().all(|token| !harbour.rig.client.log().contains(token)));
}

/// The proxy of endpoints, and an endpoint that was learned, which has no secret of its own.
#[test]
fn the_search_and_what_it_found_get_the_new_headers_and_credentials() {
    let directory = TempDir::new();
    let proxy = Proxy::start(None, Manner::Open);
    let files = [
        directory.write("header", "first-header"),
        directory.write("proxy", proxy.url_as("user:first-password@")),
    ];
    let mut site = Site::start(
        |request| (request.path() == ROOT).then(|| resource(&origin(request))),
        |b| {
            b.flag("mcp.discovery-extra-headers", &format!("X-Discovery: file:{}", files[0]))
                .flag("harpoon.http-proxy", &format!("file:{}", files[1]))
                .argument("--harpoon.allow-plaintext-http")
                .argument("--harpoon.hosts-include-loopback")
        },
    );
    let (answer, asked) = site.discover();
    // The server itself is asked first.
    assert_eq!((answer.code(), asked[0].header("x-discovery")), (200, Some("first-header")));
    let label = site.labels().into_iter().find(|label| label.contains("prmd-source")).unwrap();
    let call = |site: &Site| {
        site.tool("call_target", json!({"label": label, "method": "GET"}))["status_code"].as_u64()
    };
    assert_eq!(call(&site), Some(200));
    assert_eq!(last(&proxy.requests(), "proxy-authorization"), basic("user:first-password"));
    replace(&files[0], "second-header");
    replace(&files[1], proxy.url_as("user:second-password@"));
    reload_all(&site.client, &[&files[0], &files[1]]);
    assert_eq!(call(&site), Some(200));
    assert_eq!(last(&proxy.requests(), "proxy-authorization"), basic("user:second-password"));
    let before = site.searches().len();
    assert_eq!(site.send(&Command::of_type("oauth_discovery")).code(), 200);
    assert_eq!(site.searches()[before].header("x-discovery"), Some("second-header"));
}
