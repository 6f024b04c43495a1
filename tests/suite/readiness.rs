//! `/readyz` over time: it follows the plane and the servers, down and up again.

use std::sync::{Arc, Mutex};

use crate::support::command::Command;
use crate::support::mcp::Mcp;
use crate::support::plane::Plane;
use crate::support::reply::Reply;
use crate::support::rig::Rig;
use crate::support::temp::TempDir;

/// MCP-145 as DESIGN has it: a server that comes up later makes the client ready without any traffic.
#[test]
fn a_server_that_comes_up_later_is_found() {
    let mut mcp = Mcp::start();
    mcp.server.stop();
    let mut rig = Rig::over(Plane::start(), mcp, |b| b);
    let down = rig.client.wait_get("/readyz", |a| a.body.starts_with("mcp probe failed"));
    assert_eq!(down.status, 503);
    rig.mcp.server.restart();
    rig.client.wait_get("/readyz", |a| (a.status, a.body.as_str()) == (200, "ready"));
    assert!(rig.mcp.calls().is_empty());
}

/// MCP-148, MCP-170: a start-up wait that runs out is said, polling starts, and the verdict recovers.
#[test]
fn a_startup_wait_that_runs_out_is_said() {
    let mut mcp = Mcp::start();
    mcp.server.stop();
    let mut rig = Rig::over(Plane::start(), mcp, |b| b.flag("mcp.startup-wait-timeout", "300ms"));
    rig.plane.wait_polls(1);
    let down = rig.client.wait_get("/readyz", |a| a.body.starts_with("mcp "));
    assert_eq!(down.status, 503);
    rig.mcp.server.restart();
    rig.client.wait_get("/readyz", |a| a.status == 200);
}

/// MCP-146, MCP-147: a start-up wait also waits for a socket file, and ends when it is served.
#[test]
fn a_startup_wait_waits_for_a_socket_file() {
    let directory = TempDir::new();
    let path = directory.join("late.sock");
    let mut rig = Rig::with(|b| {
        let entry = format!("url=http://localhost/mcp,unix-socket={}", path.display());
        b.set("mcp.server-url", &entry).flag("mcp.startup-wait-timeout", "60s")
    });
    rig.client.address();
    assert!(rig.plane.polls().is_empty());
    let mcp = Mcp::start_unix(&path);
    rig.plane.wait_polls(1);
    mcp.server.wait_requests(1, |_| true);
    rig.client.wait_get("/readyz", |a| a.status == 200);
}

/// DESIGN, readiness: unready while the plane is not reached, ready again when it is back.
#[test]
fn the_verdict_follows_the_plane() {
    let mut rig = Rig::start();
    rig.client.wait_get("/readyz", |a| (a.status, a.body.as_str()) == (200, "ready"));
    rig.plane.stop();
    let down = rig.client.wait_get("/readyz", |a| a.status == 503);
    assert!(down.body.starts_with("control plane not reached"), "{down:?}");
    assert!(rig.client.get("/metrics").body.contains("\nreadiness 0\n"));
    rig.plane.restart();
    rig.client.wait_get("/readyz", |a| (a.status, a.body.as_str()) == (200, "ready"));
    rig.assert_alive();
}

/// DESIGN, readiness: a plane that refuses the key makes the client unready, and what to do about it is said.
#[test]
fn a_refused_key_is_not_ready() {
    let plane = Plane::start();
    plane.metadata(Reply::status(401).off_contract());
    for _ in 0..20 {
        plane.next_poll(Reply::status(401));
    }
    let mut rig = Rig::over(plane, Mcp::start(), |b| b);
    rig.plane.wait_polls(2);
    let answer = rig.client.get("/readyz");
    assert_eq!(answer.status, 503);
    assert!(
        answer.body.starts_with(
            "control plane reached, but polls fail: the control plane answered 401. The API key was refused"
        ),
        "{answer:?}"
    );
}

/// DESIGN, Answers: three answers in a row that the plane refuses make the client unready, one that it accepts ready.
#[test]
fn refused_answers_are_not_ready() {
    let mut rig = Rig::start();
    rig.client.wait_get("/readyz", |a| a.status == 200);
    let commands = [(); 3].map(|()| Command::method("m", "1"));
    for command in &commands {
        rig.plane.answer_for(command, Reply::status(403).off_contract());
    }
    for command in &commands[..2] {
        rig.send(command);
    }
    assert_eq!(rig.client.get("/readyz").status, 200);
    rig.send(&commands[2]);
    let down = rig.client.wait_get("/readyz", |a| a.status == 503);
    assert_eq!(down.body, "answers are not accepted: the control plane answered 403");
    rig.assert_alive();
    rig.client.wait_get("/readyz", |a| a.status == 200);
}

/// DESIGN, readiness: one failed call changes nothing; a server that keeps failing does, until it answers again.
#[test]
fn a_target_fails_and_recovers() {
    let mut rig = Rig::start();
    rig.client.wait_get("/readyz", |a| a.status == 200);
    rig.mcp.reply("once", Reply::closed());
    assert_eq!(rig.send(&Command::method("once", "1")).code(), 502);
    assert_eq!(rig.client.get("/readyz").status, 200);
    // The verdict is debounced by the run of failures, not by time.
    rig.mcp.server.stop();
    for _ in 0..5 {
        assert_eq!(rig.send(&Command::method("ping", "1")).code(), 502);
    }
    let down = rig.client.wait_get("/readyz", |a| a.status == 503);
    assert!(down.body.starts_with("mcp "), "{down:?}");
    rig.mcp.server.restart();
    rig.assert_alive();
    rig.client.wait_get("/readyz", |a| a.status == 200);
}

/// DESIGN, readiness: errors of methods and refusals of single calls are answers, however many there are.
#[test]
fn errors_of_methods_are_answers() {
    let mut rig = Rig::start();
    rig.client.wait_get("/readyz", |a| a.status == 200);
    let error = r#"{"jsonrpc":"2.0","id":1,"error":{"code":-32602,"message":"bad"}}"#;
    for status in [200, 400, 404, 401, 403, 429] {
        rig.mcp.reply("sick", Reply::json(status, error));
        rig.send(&Command::method("sick", "1"));
    }
    assert_eq!(rig.client.get("/readyz").status, 200);
}

/// DESIGN, readiness: what fails on this side says nothing about the server, so no caller can make the tunnel unready.
#[test]
fn unsendable_headers_are_not_the_servers_fault() {
    let mut rig = Rig::start();
    rig.client.wait_get("/readyz", |a| a.status == 200);
    let endless = "x".repeat(1 << 20);
    for _ in 0..5 {
        let answer = rig.send(&Command::method("ping", "1").header("X-Endless", &[&endless]));
        assert_eq!(answer.failure()["source"], "client_internal");
    }
    assert_eq!(rig.client.get("/readyz").status, 200);
}

/// DESIGN, readiness: a server that only produces 5xx keeps failing, and one good answer ends that.
#[test]
fn lasting_5xx_are_failures() {
    let mut rig = Rig::start();
    rig.client.wait_get("/readyz", |a| a.status == 200);
    for _ in 0..5 {
        rig.mcp.reply("sick", Reply::status(500));
        rig.send(&Command::method("sick", "1"));
    }
    assert_eq!(rig.client.get("/readyz").status, 503);
    rig.assert_alive();
    rig.client.wait_get("/readyz", |a| a.status == 200);
}

/// MCP-139: probes carry the server's static headers, discovery headers included, and calls do not carry the latter.
#[test]
fn probes_carry_discovery_headers() {
    let seen: Arc<Mutex<Vec<String>>> = Arc::default();
    let log = Arc::clone(&seen);
    let mcp = Mcp::start();
    mcp.hook(move |request| {
        log.lock().unwrap().push(request.dump());
        None
    });
    let rig = Rig::over(Plane::start(), mcp, |b| {
        b.flag("mcp.extra-headers", "X-Static: everywhere")
            .flag("mcp.discovery-extra-headers", "X-Probe: probes-only")
    });
    let probe = rig.mcp.server.wait_requests(1, |r| r.rpc_method() == "server/discover").remove(0);
    assert_eq!(
        (probe.header("x-static"), probe.header("x-probe")),
        (Some("everywhere"), Some("probes-only"))
    );
    rig.assert_alive();
    let calls = seen.lock().unwrap().join("\n");
    assert!(calls.contains("everywhere") && !calls.contains("probes-only"), "{calls}");
}

/// DESIGN, readiness: a refusal that is no JSON-RPC answer does not hide what a probe found.
#[test]
fn a_refused_call_does_not_hide_a_failed_probe() {
    let mcp = Mcp::start();
    for _ in 0..20 {
        mcp.reply("server/discover", Reply::status(403));
        mcp.reply("tools/list", Reply::status(403));
    }
    let mut rig = Rig::over(Plane::start(), mcp, |b| b);
    rig.client.wait_get("/readyz", |a| a.body.starts_with("mcp probe failed"));
    for _ in 0..3 {
        assert_eq!(rig.send(&Command::method("tools/list", "1")).code(), 403);
        let still = rig.client.get("/readyz");
        assert!(still.status == 503 && still.body.starts_with("mcp probe failed"), "{still:?}");
    }
}

/// DESIGN, readiness: notifications that are only met with 5xx are failures like calls.
#[test]
fn notifications_that_meet_5xx_are_failures() {
    let mut rig = Rig::start();
    rig.client.wait_get("/readyz", |a| a.status == 200);
    for _ in 0..5 {
        rig.mcp.reply("notifications/progress", Reply::status(500));
        rig.send(&Command::notification("notifications/progress"));
    }
    assert_eq!(rig.client.get("/readyz").status, 503);
}
