//! What a tunnel sends after its files were replaced: what they hold now, and nothing of what they held.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use nix::sys::signal::Signal;

use crate::support::BOUND;
use crate::support::client::{Builder, Client};
use crate::support::command::Command;
use crate::support::gate::Gate;
use crate::support::http::Request;
use crate::support::plane::Posted;
use crate::support::proxy::{Manner, Proxy};
use crate::support::reply::{Reply, id_text};
use crate::support::rig::Rig;
use crate::support::temp::TempDir;

mod certificates;
mod endpoints;
mod roots;

/// Exchanges a file for another one in one step, as agents do it.
fn replace(path: &str, content: impl AsRef<[u8]>) {
    let beside = format!("{path}.new");
    std::fs::write(&beside, content).unwrap();
    std::fs::rename(beside, path).unwrap();
}

/// Has a client read its files again, and waits until it has taken this one over.
fn reload(client: &Client, path: &str) {
    let line = format!("taken over: {path}\"");
    let before = client.log().matches(&line).count();
    client.signal(Signal::SIGHUP);
    client.wait_logs(before + 1, |one| one.contains(&line));
}

/// The same for several.
fn reload_all(client: &Client, paths: &[&String]) {
    let lines: Vec<String> = paths.iter().map(|path| format!("taken over: {path}\"")).collect();
    let before: Vec<usize> = lines.iter().map(|line| client.log().matches(line).count()).collect();
    client.signal(Signal::SIGHUP);
    for (line, before) in lines.iter().zip(before) {
        client.wait_logs(before + 1, |one| one.contains(line));
    }
}

/// A call whose answer waits until the gate is open.
fn held(rig: &Rig) -> (Command, Gate) {
    let gate = Gate::new();
    let (behind, command) = (gate.clone(), Command::method("held", "1"));
    rig.mcp.hook(move |request| {
        let answer = Reply::result(&id_text(&request.body), "{}");
        (request.rpc_method() == "held").then(|| answer.behind(&behind))
    });
    rig.plane.queue(&command);
    gate.wait_arrivals(1);
    (command, gate)
}

/// The value of a header in the last of some requests.
fn last(requests: &[Request], header: &str) -> String {
    requests.last().unwrap().header(header).unwrap_or_default().to_owned()
}

fn basic(credentials: &str) -> String {
    format!("Basic {}", STANDARD.encode(credentials))
}

/// Key and extra headers of the control plane. A poll that is held goes on with what it began with.
#[test]
fn the_plane_gets_the_new_key_and_the_new_headers() {
    let directory = TempDir::new();
    let key = directory.write("key", "sk-first-key-of-this-test");
    let extra = directory.write("extra", "first-extra");
    let rig = Rig::with(|b| {
        b.without_env("CONTROL_PLANE_API_KEY")
            .flag("control-plane.api-key", &format!("file:{key}"))
            .yaml(&format!("control_plane:\n  extra_headers: {{X-Extra: 'file:{extra}'}}\n"))
    });
    rig.assert_alive();
    replace(&key, "sk-second-key-of-this-test");
    replace(&extra, "second-extra");
    reload_all(&rig.client, &[&key, &extra]);
    // The poll that is held brings it; the next one is new, and so is the answer.
    let shown = |request: &Request| {
        let value = |name| request.header(name).unwrap().to_owned();
        (value("authorization"), value("x-extra"))
    };
    let new = ("Bearer sk-second-key-of-this-test".to_owned(), "second-extra".to_owned());
    for _ in 0..2 {
        assert_eq!(shown(&rig.call(r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#).request), new);
    }
    assert_eq!(shown(rig.plane.polls().last().unwrap()), new);
    assert!(rig.plane.server.abandoned().is_empty());
    let log = rig.client.log();
    assert!(!log.contains("-key-of-this-test") && !log.contains("second-extra"), "{log}");
}

/// Headers of an MCP server. A call that runs ends with what it began with.
#[test]
fn a_server_gets_the_new_headers() {
    let directory = TempDir::new();
    let header = directory.write("header", "first-header");
    let rig = Rig::with(|b| b.yaml(&format!("mcp:\n  extra_headers: {{X-Static: 'file:{header}'}}\n")));
    let (running, gate) = held(&rig);
    replace(&header, "second-header");
    reload(&rig.client, &header);
    rig.assert_alive();
    gate.open();
    assert_eq!(rig.plane.wait_answer(&running).code(), 200);
    let calls = rig.mcp.calls();
    let shown = calls.iter().map(|call| call.header("x-static").unwrap());
    assert_eq!(shown.collect::<Vec<_>>(), ["first-header", "second-header"]);
    assert!(!rig.client.log().contains("second-header"), "{}", rig.client.log());
}

/// Credentials of the proxies towards the control plane and the servers, each from its own file.
#[test]
fn proxies_get_the_new_credentials() {
    let directory = TempDir::new();
    let proxies = [Proxy::start(None, Manner::Open), Proxy::start(None, Manner::Open)];
    let files = [0, 1].map(|at| directory.write(&at.to_string(), proxies[at].url_as("user:first-password@")));
    let mut rig = Rig::with(|b| {
        b.flag("control-plane.http-proxy", &format!("file:{}", files[0]))
            .flag("mcp.http-proxy", &format!("file:{}", files[1]))
    });
    rig.assert_alive();
    for (file, proxy) in files.iter().zip(&proxies) {
        assert_eq!(last(&proxy.requests(), "proxy-authorization"), basic("user:first-password"));
        replace(file, proxy.url_as("user:second-password@"));
    }
    reload_all(&rig.client, &[&files[0], &files[1]]);
    // What the poll that is held brings is followed by a new one.
    rig.assert_alive();
    rig.assert_alive();
    for proxy in &proxies {
        assert_eq!(last(&proxy.requests(), "proxy-authorization"), basic("user:second-password"));
    }
    // Nothing goes through the proxy on connections of the old password any more.
    let metrics = rig.client.get("/metrics").body;
    assert!(!metrics.contains("password") && !rig.client.log().contains("-password"));
}

/// A stop reaches calls that run on what they began with.
#[test]
fn a_stop_cuts_calls_of_before_the_reload() {
    let directory = TempDir::new();
    let proxy = Proxy::start(None, Manner::Open);
    let file = directory.write("proxy", proxy.url_as("user:first-password@"));
    let mut rig = Rig::with(|b| {
        b.flag("mcp.http-proxy", &format!("file:{file}")).flag("process.drain-timeout", "300ms")
    });
    let (running, _gate) = held(&rig);
    for number in 0..3 {
        replace(&file, proxy.url_as(&format!("user:next-password-{number}@")));
        reload(&rig.client, &file);
    }
    rig.client.signal(Signal::SIGTERM);
    let answer = rig.plane.wait_answer(&running);
    assert_eq!(answer.code(), 502, "{}", answer.payload_text());
    let exit = rig.client.wait_exit();
    assert!(exit.success(), "{exit:?}");
}

/// Whether a tunnel is there at all.
fn alive(builder: impl FnOnce(Builder) -> Builder) -> Rig {
    let rig = Rig::with(builder);
    rig.assert_alive();
    rig
}

/// A tunnel whose key and one further header of the control plane stand in files, with these.
fn with_key_and_header(directory: &TempDir) -> (Rig, String, String) {
    let key = directory.write("key", "sk-first-key-of-this-test");
    let extra = directory.write("extra", "first-extra");
    let rig = alive(|b| {
        b.without_env("CONTROL_PLANE_API_KEY")
            .flag("control-plane.api-key", &format!("file:{key}"))
            .yaml(&format!("control_plane:\n  extra_headers: {{X-Extra: 'file:{extra}'}}\n"))
    });
    (rig, key, extra)
}

/// Files that cannot be used change nothing, one by one; what they come to hold then is taken.
#[test]
fn what_cannot_be_used_changes_nothing_and_its_neighbours_are_taken() {
    let directory = TempDir::new();
    let (rig, key, extra) = with_key_and_header(&directory);
    let shown = || {
        let request = rig.call(r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#).request;
        let value = |name| request.header(name).unwrap().to_owned();
        (value("authorization").replacen("Bearer ", "", 1), value("x-extra"))
    };
    for (number, broken) in ["", "two\nlines", "not a key!"].iter().enumerate() {
        let next = format!("extra-{number}");
        replace(&key, broken);
        replace(&extra, &next);
        reload(&rig.client, &extra);
        assert_eq!(shown(), ("sk-first-key-of-this-test".to_owned(), next));
    }
    std::fs::remove_file(&key).unwrap();
    replace(&extra, "last-extra");
    reload(&rig.client, &extra);
    assert_eq!(shown(), ("sk-first-key-of-this-test".to_owned(), "last-extra".to_owned()));
    replace(&key, "sk-second-key-of-this-test");
    reload(&rig.client, &key);
    assert_eq!(shown(), ("sk-second-key-of-this-test".to_owned(), "last-extra".to_owned()));
}

/// A key that was found when its like was refused stays, although its file was broken before anybody else looked at it.
#[test]
fn a_key_that_a_refusal_found_outlives_its_file() {
    let directory = TempDir::new();
    let (rig, key, extra) = with_key_and_header(&directory);
    replace(&key, "sk-second-key-of-this-test");
    rig.plane.accept_keys(&["sk-second-key-of-this-test"]);
    let has =
        |post: &Posted| post.request.header("authorization") == Some("Bearer sk-second-key-of-this-test");
    let command = Command::method("ping", "1");
    rig.plane.queue(&command);
    rig.plane.wait_posts(&command, 1, has);
    replace(&key, "");
    replace(&extra, "second-extra");
    reload(&rig.client, &extra);
    let command = Command::method("ping", "2");
    rig.send(&command);
    let posts = rig.plane.posts_of(&command);
    assert!(posts.len() == 1 && has(&posts[0]), "{}", posts[0].request.dump());
}

/// Waits until a condition holds that nothing tells of.
fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let end = std::time::Instant::now() + BOUND;
    while !holds() {
        assert!(std::time::Instant::now() < end, "{what}");
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
}
