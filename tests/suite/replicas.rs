//! Several processes that share one tunnel: the control plane gives a command to one of them.

use std::collections::BTreeMap;

use crate::support::client::Builder;
use crate::support::command::Command;
use crate::support::gate::Gate;
use crate::support::mcp::Mcp;
use crate::support::plane::Plane;
use crate::support::reply::Reply;

const REPLICAS: usize = 8;
const WORKERS: usize = 8;

/// What a replica holds at once: a call each worker, and one that waits.
const HELD: usize = WORKERS + 1;

/// Eight replicas take what each has room for, and each command is answered once, by the replica that took it.
#[test]
fn eight_replicas_lose_and_double_nothing() {
    let (plane, mcp, gate) = (Plane::start(), Mcp::start(), Gate::new());
    let behind = gate.clone();
    mcp.hook(move |request| {
        (request.rpc_method() == "held").then(|| Reply::result("1", "{}").behind(&behind))
    });
    let replicas = [(); REPLICAS].map(|()| {
        Builder::run(&plane.server.origin(), &mcp.url())
            .flag("mcp.max-concurrent-requests", &WORKERS.to_string())
            .flag("control-plane.max-inflight", "1")
            .start()
    });
    let commands: Vec<Command> = (0..REPLICAS * HELD).map(|_| Command::method("held", "1")).collect();
    plane.queue_all(&commands);
    mcp.wait_calls("held", REPLICAS * WORKERS);
    gate.open();
    let mut answers: BTreeMap<String, usize> = BTreeMap::new();
    for command in &commands {
        assert_eq!(plane.wait_answer(command).code(), 200);
    }
    // A second answer would have been posted before the process ends.
    for mut replica in replicas {
        assert!(replica.stop().success());
    }
    for command in &commands {
        let posts = plane.posts_of(command);
        assert_eq!(posts.len(), 1, "{}", command.id);
        let replica = posts[0].request.header("x-tunnel-client-instance-id").expect("an instance id");
        *answers.entry(replica.to_owned()).or_default() += 1;
    }
    assert_eq!(mcp.calls_of("held").len(), commands.len(), "each was called once");
    assert_eq!(answers.values().copied().collect::<Vec<_>>(), [HELD; REPLICAS]);
}
