//! What may not wait behind what it is about.

use crate::support::command::Command;
use crate::support::gate::Gate;
use crate::support::mcp::Mcp;
use crate::support::reply::{Reply, result_for};
use crate::support::rig::Rig;

/// A rig with these workers whose server holds every call of method `held`.
fn holding(workers: &str) -> (Rig, Gate) {
    let rig = Rig::with(|b| b.flag("mcp.max-concurrent-requests", workers));
    let gate = hold(&rig.mcp);
    (rig, gate)
}

fn hold(mcp: &Mcp) -> Gate {
    let gate = Gate::new();
    let held = gate.clone();
    mcp.hook(move |request| {
        let reply = || result_for(&request.body, "{}").behind(&held);
        (request.rpc_method() == "held").then(reply)
    });
    gate
}

fn cancellation(id: &str) -> Command {
    Command::rpc(format!(
        r#"{{"jsonrpc":"2.0","method":"notifications/cancelled","params":{{"requestId":{id}}}}}"#
    ))
}

/// REV-013: a cancellation reaches the server while the call it cancels still runs, and others wait.
#[test]
fn a_cancellation_overtakes_calls() {
    let (rig, gate) = holding("1");
    let calls = ["1", "2", "3"].map(|id| Command::method("held", id));
    rig.plane.queue_all(&calls);
    gate.wait_arrivals(1);
    let answer = rig.send(&cancellation("1"));
    assert_eq!((answer.kind(), answer.code()), ("notify_ack", 202));
    assert_eq!(rig.mcp.calls_of("held").len(), 1);
    gate.open();
    for call in &calls {
        assert_eq!(rig.plane.wait_answer(call).code(), 200);
    }
}

/// REV-013: over HTTP a cancellation passes as its caller made it, whichever call it names.
#[test]
fn a_cancellation_passes_as_it_is() {
    let (rig, gate) = holding("2");
    let claimed = crate::era_requests::modern("held", "\"m-1\"", "");
    let call = Command::rpc(claimed);
    rig.plane.queue(&call);
    gate.wait_arrivals(1);
    let bare = cancellation("\"m-1\"");
    let request = rig.forwarded(&bare, "notifications/cancelled");
    assert!(bare.text().contains(&request.text()));
    for name in ["mcp-method", "mcp-name", "mcp-protocol-version"] {
        assert_eq!(request.header(name), None);
    }
    let versioned = cancellation("\"m-1\"").header("MCP-Protocol-Version", &["2026-07-28"]);
    let request = rig.forwarded(&versioned, "notifications/cancelled");
    assert_eq!(request.header("mcp-protocol-version"), Some("2026-07-28"));
    gate.open();
    assert_eq!(rig.plane.wait_answer(&call).code(), 200);
}

/// REV-051: an answer of the product overtakes likewise: the call may be waiting for it.
#[test]
fn a_response_of_the_product_overtakes_calls() {
    let (rig, gate) = holding("1");
    let call = Command::method("held", "1");
    rig.plane.queue(&call);
    gate.wait_arrivals(1);
    let answer = rig.call(r#"{"jsonrpc":"2.0","id":"s-1","result":{"action":"accept"}}"#);
    assert_eq!((answer.kind(), answer.code()), ("notify_ack", 202));
    assert_eq!(rig.mcp.calls_of("response").len(), 1);
    gate.open();
    assert_eq!(rig.plane.wait_answer(&call).code(), 200);
}

/// Calls leave in the order of their arrival, with notifications among them.
#[test]
fn calls_keep_their_order() {
    let rig = Rig::with(|b| b.flag("mcp.max-concurrent-requests", "1"));
    let commands: Vec<Command> = (0..30)
        .map(|n| match n % 3 {
            0 => cancellation(&n.to_string()),
            _ => Command::method("m", &n.to_string()),
        })
        .collect();
    rig.plane.queue_all(&commands);
    for command in &commands {
        rig.plane.wait_answer(command);
    }
    let ids: Vec<String> = rig.mcp.calls_of("m").iter().map(|r| r.json()["id"].to_string()).collect();
    let sent: Vec<String> = (0..30).filter(|n| n % 3 != 0).map(|n| n.to_string()).collect();
    assert_eq!(ids, sent);
}

/// One channel whose server hangs never takes all workers from the others.
#[test]
fn a_hanging_channel_starves_nobody() {
    for workers in ["2", "10"] {
        let stuck = Mcp::start();
        let gate = hold(&stuck);
        let binding = format!("channel=beta,url={}", stuck.url());
        let rig =
            Rig::with(|b| b.flag("mcp.server-url", &binding).flag("mcp.max-concurrent-requests", workers));
        let calls: Vec<Command> = (0..15).map(|_| Command::method("held", "1").channel("beta")).collect();
        rig.plane.queue_all(&calls);
        let workers = workers.parse::<usize>().unwrap();
        gate.wait_arrivals(workers - workers / 4);
        for _ in 0..5 {
            rig.assert_alive();
        }
        gate.open();
        for call in &calls {
            assert_eq!(rig.plane.wait_answer(call).code(), 200);
        }
    }
}

/// A hanging channel's notifications starve nobody either.
#[test]
fn hanging_notifications_starve_nobody() {
    let stuck = Mcp::start();
    stuck.hook(|request| (request.rpc_method() == "notifications/x").then(Reply::silence));
    let binding = format!("channel=beta,url={}", stuck.url());
    let rig = Rig::with(|b| b.flag("mcp.server-url", &binding).flag("mcp.max-concurrent-requests", "2"));
    for _ in 0..10 {
        rig.plane.queue(&Command::notification("notifications/x").channel("beta"));
    }
    stuck.wait_calls("notifications/x", 2);
    for _ in 0..5 {
        rig.assert_alive();
        assert_eq!(rig.send(&cancellation("7")).code(), 202);
    }
}

/// However many channels hang, with calls, cancellations and all the places that they can get, the others are served
/// and polled for.
#[test]
fn hung_channels_starve_nobody() {
    for (hung, workers, places) in [(2, "10", "20"), (7, "10", "20"), (7, "2", "4")] {
        let gate = Gate::new();
        let servers: Vec<Mcp> = (0..7).map(|_| Mcp::start()).collect();
        for server in &servers[..hung] {
            let held = gate.clone();
            server.hook(move |request| Some(result_for(&request.body, "{}").behind(&held)));
        }
        let rig = Rig::with(|builder| {
            let builder = builder
                .flag("mcp.max-concurrent-requests", workers)
                .flag("control-plane.max-inflight", places);
            servers.iter().enumerate().fold(builder, |builder, (number, server)| {
                builder.flag("mcp.server-url", &format!("channel=c{number},url={}", server.url()))
            })
        });
        let channels: Vec<String> = (0..7).map(|number| format!("c{number}")).collect();
        let (stuck, healthy) = channels.split_at(hung);
        for channel in stuck {
            let calls: Vec<Command> =
                (0..12).map(|_| Command::method("held", "1").channel(channel)).collect();
            rig.plane.queue_all(&calls);
            rig.plane.queue(&cancellation("1").channel(channel));
        }
        gate.wait_arrivals(hung);
        for _ in 0..3 {
            let channels = healthy.iter().map(String::as_str).chain(["main"]);
            let calls: Vec<Command> = channels
                .flat_map(|channel| [1, 2].map(|_| Command::method("m", "1").channel(channel)))
                .collect();
            rig.plane.queue_all(&calls);
            for call in &calls {
                assert_eq!(rig.plane.wait_answer(call).code(), 200, "{hung} {workers} {places}");
            }
        }
        gate.open();
    }
}
