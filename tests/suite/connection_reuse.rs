//! Connections that die while idle or in use: what may be sent twice, and what never.

use std::sync::Arc;

use crate::support::command::Command;
use crate::support::http::Request;
use crate::support::mcp::{Mcp, answer};
use crate::support::plane::Plane;
use crate::support::reply::Reply;
use crate::support::rig::Rig;
use crate::support::server::Server;

/// MCP-083: a POST that the server leaves unanswered is not repeated, on a fresh connection or a used one.
#[test]
fn an_unanswered_post_is_sent_once() {
    for (name, reply) in [("closed", Reply::closed()), ("reset", Reply::reset())] {
        for warm in [false, true] {
            let rig = Rig::start();
            if warm {
                rig.assert_alive();
            }
            rig.mcp.reply("fragile", reply.clone());
            let answer = rig.send(&Command::method("fragile", "1"));
            assert_eq!(answer.code(), 502, "{name}");
            assert!(answer.cause().starts_with("transport_closed/"), "{}", answer.cause());
            rig.assert_alive();
            assert_eq!(rig.mcp.calls_of("fragile").len(), 1, "{name}, warm: {warm}");
        }
    }
}

/// DESIGN, Connections: a server that closes idle connections costs no call, and no call is doubled.
#[test]
fn closed_idle_connections_cost_no_call() {
    let rig = Rig::start();
    for round in 1..=8 {
        rig.assert_alive();
        rig.mcp.server.cut_connections();
        assert_eq!(rig.mcp.calls_of("ping").len(), round);
    }
}

/// DESIGN, Connections: a plane that closes after an answer, unannounced, costs no poll and no answer.
#[test]
fn a_plane_that_closes_idle_connections_costs_nothing() {
    let rig = Rig::start();
    for _ in 0..8 {
        let command = Command::method("ping", "1");
        let body = crate::support::command::envelope(std::slice::from_ref(&command));
        rig.plane.next_answer(Reply::json(200, r#"{"status":"ok"}"#).close());
        rig.plane.next_poll(Reply::json(200, body).close());
        assert_eq!(rig.plane.wait_answer(&command).code(), 200);
    }
    rig.assert_alive();
    assert_eq!(rig.plane.posts().len(), 9);
    let log = rig.client.log();
    assert!(!log.contains("backing off") && !log.contains("failed to post"), "{log}");
}

/// DESIGN, Connections: a server that closes after each answer is met with a fresh connection each time.
#[test]
fn a_server_without_keep_alive_is_served() {
    let mcp = Mcp::start();
    mcp.hook(|request| Some(answer(request).header("Connection", "close")));
    let rig = Rig::over(Plane::start(), mcp, |b| b);
    for _ in 0..5 {
        rig.assert_alive();
    }
    let calls = rig.mcp.calls_of("ping");
    let mut connections: Vec<usize> = calls.iter().map(|r| r.connection).collect();
    connections.dedup();
    assert_eq!(connections.len(), 5);
}

/// DESIGN, figures: connections are kept while there is work, on both sides.
#[test]
fn busy_connections_are_kept() {
    let rig = Rig::with(|b| b.flag("mcp.max-concurrent-requests", "2"));
    for _ in 0..40 {
        rig.assert_alive();
    }
    // Workers, the probe and one that a probe may have closed.
    assert!(rig.mcp.server.connections() <= 6, "{}", rig.mcp.server.connections());
    // Workers, couriers (two a worker), the poll and the metadata.
    assert!(rig.plane.server.connections() <= 10, "{}", rig.plane.server.connections());
}

/// DESIGN, Connections: towards MCP servers an idle connection is dropped after the time that the server names.
#[test]
fn the_servers_own_keep_alive_time_is_obeyed() {
    let script = |request: &Request| answer(request).header("Keep-Alive", "timeout=2");
    let server = Server::start(None, Arc::new(script));
    let url = server.origin() + "/mcp";
    let rig = Rig::with(|b| b.set("mcp.server-url", &url).flag("mcp.max-concurrent-requests", "1"));
    rig.assert_alive();
    // Time is the subject: as long as the server promised.
    std::thread::sleep(std::time::Duration::from_secs(2));
    rig.assert_alive();
    let calls = server.wait_requests(2, |r| r.rpc_method() == "ping");
    assert_ne!(calls[0].connection, calls[1].connection);
}
