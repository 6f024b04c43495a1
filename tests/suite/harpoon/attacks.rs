//! Tricks with labels, URLs and addresses, none of which reaches anything.

use std::sync::Arc;

use serde_json::json;

use super::{Called, Harbour, call_command, yaml};
use crate::support::client::Builder;
use crate::support::reply::Reply;
use crate::support::rig::Rig;
use crate::support::server::Server;

/// Addresses that hand out credentials stop the start, however they are written.
#[test]
fn metadata_addresses_stop_the_start() {
    for url in [
        "http://169.254.169.254/latest",
        "http://[fe80::1]/",
        "http://[fd00:ec2::254]/",
        "http://100.100.100.200/",
        "http://168.63.129.16/",
        "http://0.0.0.0/",
        "http://[::ffff:169.254.169.254]/",
        "http://[64:ff9b::a9fe:a9fe]/",
        "http://[2002:a9fe:a9fe::1]/",
        "http://224.0.0.1/",
    ] {
        let base = Builder::run("http://127.0.0.1:1", "http://127.0.0.1:1/mcp");
        let base = base.argument("--harpoon.allow-plaintext-http");
        let (code, output) = base.yaml(&yaml(&format!("- {{label: meta, url: '{url}'}}"))).finish();
        assert_eq!(code, Some(1), "{url}: {output}");
        assert!(
            output.contains("harpoon: target \"meta\": ") && output.contains("never dialled"),
            "{output}"
        );
    }
}

/// A name is judged by what it resolves to, as the connection is made; after a redirect too.
#[test]
fn a_name_is_judged_by_its_address() {
    let targets = "
- {label: inside, url: ORIGIN/a, allowed_networks: [127.0.0.0/8]}
- {label: outside, url: NAMED/b, allowed_networks: [10.0.0.0/8]}
- {label: towards, url: NAMED/c}";
    let script = |request: &crate::support::http::Request| match request.path() {
        "/c" => Reply::status(302).header("Location", "/b"),
        _ => Reply::status(204),
    };
    let server = Server::start(None, Arc::new(script));
    let named = format!("http://localhost:{}", server.port());
    let targets = targets.replace("ORIGIN", &server.origin()).replace("NAMED", &named);
    let rig = Rig::with(|b| b.yaml(&yaml(&targets)).argument("--harpoon.allow-plaintext-http"));
    let call = |label: &str| Called(rig.send(&call_command(label, json!({}))));
    assert_eq!(call("inside").status(), 204);
    assert_eq!(call("outside").fault(), "label outside: request failed");
    rig.client.wait_log(|line| line.contains("outside allowed_networks") && line.contains("request failed"));
    assert_eq!(call("towards").fault(), "label towards: request failed");
    let paths: Vec<String> = server.requests().into_iter().map(|request| request.target).collect();
    assert_eq!(paths, ["/a", "/c"]);
}

/// Members that occur twice, wherever that is, or under another spelling are refused: who judged a call before
/// us may have read the other one.
#[test]
fn ambiguous_arguments_are_refused() {
    let targets = "- {label: a, url: ORIGIN/a}\n- {label: b, url: ORIGIN/b, methods: [GET]}";
    let harbour = Harbour::start(targets, |_| Reply::status(204));
    let send = |arguments: &str| {
        let params = format!(r#"{{"name":"call_target","arguments":{arguments}}}"#);
        let text = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{params}}}"#);
        harbour.rig.send(&crate::support::command::Command::rpc(text).channel("harpoon"))
    };
    for twice in [
        r#"{"label":"a","method":"POST","label":"b"}"#,
        r#"{"label":"a","l\u0061bel":"a","method":"GET"}"#,
        r#"{"label":"a","method":"GET","headers":{"x":"1","x":"1"}}"#,
        r#"{"label":"a","method":"GET"},"arguments":{"label":"b","method":"GET"}"#,
        r#"{"label":"a","method":"GET"},"Arguments":{"label":"b","method":"GET"}"#,
        r#"{"label":"a","method":"GET"},"na\u006de":"list_targets""#,
    ] {
        let answer = send(twice);
        assert_eq!(answer.code(), 400, "{twice}: {}", answer.request.text());
    }
    let escaped = Called(send(r#"{"l\u0061bel":"\u0061","method":"GET"}"#));
    assert_eq!(escaped.status(), 204);
    for arguments in [
        r#"{"Label":"a","method":"GET"}"#,
        r#"{"label":"a","method":"GET","uri":"/b"}"#,
        r#"{"label":["a"],"method":"GET"}"#,
        r#"{"label":"a\u0000","method":"GET"}"#,
        r#"{"label":"harpoon://a","method":"GET"}"#,
    ] {
        Called(send(arguments)).refusal();
    }
    assert_eq!(harbour.paths(), ["/a"]);
}

/// A command may be large, and a tree of it would be many times larger: one with more values than anybody
/// means is refused before, and one long text is one value.
#[test]
fn a_request_of_very_many_values_is_refused() {
    let yaml = "- {label: a, url: ORIGIN/a, max_request_bytes: 1048576}";
    let harbour = Harbour::start(yaml, |request| Reply::body(200, "a/b", request.body.len().to_string()));
    let many = json!({"method": "POST", "tags": vec![0; 2_000_000]});
    let answer = harbour.rig.send(&call_command("a", many));
    assert_eq!((answer.code(), &answer.payload()["error"]["code"]), (400, &json!(-32600)));
    let long = "[,{\"".repeat(200_000);
    assert_eq!(harbour.call("a", json!({"method": "POST", "body": long})).body(), "800000");
}

/// No spelling of a URL in an answer is taken for a registered one but letter case of scheme and host.
#[test]
fn other_spellings_of_a_url_are_not_named() {
    let harbour =
        Harbour::start("- {label: a, url: ORIGIN/a}", |request| Reply::json(200, request.body.clone()));
    let port = harbour.server.port();
    let others = [
        format!("http://127.0.0.1:{port}/a/"),
        format!("http://127.0.0.1:{port}/A"),
        format!("http://127.0.0.1:{port}/%61"),
        format!("http://127.0.0.1:{port}/./a"),
        format!("http://127.0.0.1:{port}/a#"),
        format!("http://127.0.0.1:{port}/a?"),
        format!("http://u@127.0.0.1:{port}/a"),
        format!("http://127.0.0.1.:{port}/a"),
        format!("http://127.0.0.1:0{port}/a"),
        format!("https://127.0.0.1:{port}/a"),
        format!(" http://127.0.0.1:{port}/a"),
        format!("http://\u{ff11}27.0.0.1:{port}/a"),
    ];
    let body = serde_json::to_string(&others).unwrap();
    let answer = harbour.call("a", json!({"method": "POST", "body": body}));
    assert_eq!(answer.body(), body);
    let same = format!("[\"HTTP://127.0.0.1:{port}/a\"]");
    let answer = harbour.call("a", json!({"method": "POST", "body": same}));
    assert_eq!(answer.body(), "[\"harpoon://a\"]");
}

/// Configured URLs that could be read in two ways stop the start.
#[test]
fn ambiguous_urls_stop_the_start() {
    for url in [
        "https://h./a",
        "https://u:p@h/a",
        "https://h/a#f",
        "https://h/%2e%2e/a",
        "https://h/../a",
        "https://127.1/a",
        "https://0x7f000001/",
        "https://h\u{f6}st/",
        "https://h:0443/",
        "http://h/a",
    ] {
        let base = Builder::run("http://127.0.0.1:1", "http://127.0.0.1:1/mcp");
        let (code, output) = base.yaml(&yaml(&format!("- {{label: a, url: '{url}'}}"))).finish();
        assert_ne!(code, Some(0), "{url}");
        assert!(output.contains("harpoon"), "{url}: {output}");
    }
}
