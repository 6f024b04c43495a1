//! Little memory: whoever sets the least budget and few workers gets a client that fits into 32 MB, whatever comes.

use crate::support::BOUND;
use crate::support::client::{Builder, Client};
use crate::support::command::Command;
use crate::support::gate::Gate;
use crate::support::mcp::Mcp;
use crate::support::plane::Plane;
use crate::support::reply::{Part, Reply, result_for};
use crate::support::rig::Rig;
use crate::support::stdio::{self, call};

/// The least `mcp.body-budget-bytes`.
const BUDGET: &str = "1048576";

/// What a small host gives, as the kernel counts, and how much of it is the file of the program that ships.
const HOST_BYTES: u64 = 32 << 20;
const FILE_BYTES: u64 = 4 << 20;

fn rig_over(plane: Plane, waiting: &str) -> Rig {
    let workers = "mcp.max-concurrent-requests";
    let adjust = |b: Builder| b.flag("mcp.body-budget-bytes", BUDGET).flag(workers, "4");
    Rig::over(plane, Mcp::start(), |b| adjust(b).flag("control-plane.max-inflight", waiting))
}

fn assert_small(client: &Client) {
    let own = client.memory_peak() - client.memory_of_file();
    eprintln!("{} KiB of its own", own >> 10);
    assert!(own <= HOST_BYTES - FILE_BYTES, "{} KiB", own >> 10);
}

/// Answers above the budget are refused, announced or not; what fits passes, also if it is the most that there is.
#[test]
fn hostile_servers_fit() {
    let rig = rig_over(Plane::start(), "20");
    rig.mcp.hook(|request| {
        let head = r#"{"jsonrpc":"2.0","id":1,"result":""#;
        let filled = |reply: Reply, bytes| reply.then(Part::Fill(bytes)).bytes("\"}");
        Some(match request.rpc_method().as_str() {
            "announced" => Reply::json(200, head).declaring(60 << 20).then(Part::Fill(1 << 20)).close(),
            "endless" => filled(Reply::json(200, head).chunked(), 60 << 20),
            "flood" => Reply::sse().bytes("data: ").then(Part::Fill(60 << 20)).hang(),
            "large" => filled(Reply::json(200, head).chunked(), 1_000_000),
            "small" => filled(Reply::json(200, head).chunked(), 15_000),
            // What is listed of it is many times its text.
            "members" => {
                let members = r#","":1"#.repeat(50_000);
                Reply::json(200, format!(r#"{{"jsonrpc":"2.0","id":1,"result":{{}}{members}}}"#))
            }
            "head" => (0..7).fold(result_for(&request.body, "{}"), |reply, n| {
                reply.header(&format!("x-{n}"), &"h".repeat(8_000))
            }),
            _ => return None,
        })
    });
    let methods = ["announced", "endless", "flood", "large", "small", "members", "head"];
    let commands: Vec<Command> =
        methods.iter().cycle().take(8 * methods.len()).map(|method| Command::method(method, "1")).collect();
    rig.plane.queue_all(&commands);
    for (command, method) in commands.iter().zip(methods.iter().cycle()) {
        let answer = rig.plane.wait_answer_within(command, 3 * BOUND);
        let wanted = match *method {
            "announced" | "endless" | "flood" => "response_body_too_large",
            _ => "",
        };
        assert_eq!(answer.failure()["transport_error_kind"].as_str().unwrap_or(""), wanted, "{method}");
    }
    rig.assert_alive();
    assert_small(&rig.client);
}

/// A poll above twice the budget is a failure; a single command above it is answered, and those that fit take turns.
#[test]
fn a_hostile_plane_fits() {
    let plane = Plane::start();
    plane.next_poll(Reply::json(200, r#"{"pad":""#).then(Part::Fill(60 << 20)).bytes("\"}").off_contract());
    plane.next_poll(Reply::json(200, "").declaring(3 << 20).off_contract());
    // A command a poll, which is else too large for this plane to send again.
    let rig = rig_over(plane, "1");
    let many = format!("[{}1]", "1,".repeat(500_000));
    rig.plane.next_poll(Reply::json(200, format!("{{\"commands\":{many}}}")).off_contract());
    let held = [(); 2].map(|()| {
        Command::rpc(format!(
            r#"{{"jsonrpc":"2.0","id":1,"method":"held","params":{{"text":"{}"}}}}"#,
            "x".repeat(900_000)
        ))
    });
    let gate = Gate::new();
    let behind = gate.clone();
    rig.mcp.hook(move |request| {
        let head = String::from_utf8_lossy(request.body.get(..50).unwrap_or_default()).into_owned();
        head.contains("held").then(|| Reply::result("1", "{}").behind(&behind))
    });
    for (number, command) in held.iter().enumerate() {
        rig.plane.queue(command);
        gate.wait_arrivals_within(number + 1, 3 * BOUND);
    }
    rig.client.wait_log(|line| line.contains("polling pauses"));
    gate.open();
    for command in &held {
        assert_eq!(rig.plane.wait_answer_within(command, 3 * BOUND).code(), 200);
    }
    let text = "x".repeat(3 << 20);
    let large = Command::rpc(format!(r#"{{"jsonrpc":"2.0","id":1,"method":"x","params":"{text}"}}"#));
    rig.plane.queue(&large);
    assert_eq!(rig.plane.wait_answer_within(&large, 3 * BOUND).cause(), "client_internal/command_too_large");
    rig.assert_alive();
    assert_small(&rig.client);
}

/// Children whose longest line has no end get no more than the budget.
#[test]
fn hostile_children_fit() {
    let rig = stdio::Rig::bound(|builder, journal| {
        let builder = builder.flag("mcp.body-budget-bytes", BUDGET);
        ["main", "a", "b", "c"].iter().fold(builder, |builder, channel| {
            builder.flag("mcp.command", &format!("channel={channel},command={}", journal.command("plain")))
        })
    });
    let stuck = ["a", "b", "c"].map(|channel| call("half-line", "1", "").channel(channel));
    rig.plane.queue_all(&stuck);
    rig.journal.wait("(half a line)", 1);
    rig.assert_alive();
    assert_small(&rig.client);
}

/// Threads for subscriptions start with them, one each; a fifth subscription has none.
#[test]
fn a_subscription_starts_its_thread() {
    let rig = Rig::start();
    rig.mcp.hook(|request| (request.rpc_method() == "subscriptions/listen").then(|| Reply::sse().hang()));
    rig.assert_alive();
    assert_eq!(rig.client.threads("listen"), 0);
    for open in 1..=4 {
        rig.plane.queue(&Command::method("subscriptions/listen", &open.to_string()));
        rig.mcp.wait_calls("subscriptions/listen", open);
        assert_eq!(rig.client.threads("listen"), open);
    }
    assert_eq!(rig.send(&Command::method("subscriptions/listen", "5")).code(), 503);
    assert_eq!(rig.client.threads("listen"), 4);
}
