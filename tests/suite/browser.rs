//! Tunnels in every state, for a browser that looks at their pages. `tests/browser/run.sh` runs this.

use std::io::Read;
use std::time::Duration;

use serde_json::json;

use crate::harpoon::{call_command, yaml};
use crate::support::certs::Authority;
use crate::support::client::Builder;
use crate::support::command::Command;
use crate::support::http::Request;
use crate::support::mcp::{self, Mcp};
use crate::support::plane::Plane;
use crate::support::reply::{Reply, id_text, result_for};
use crate::support::rig::Rig;
use crate::support::stdio::Journal;

/// What callers of every tunnel here may ask for.
const POLICY: &str = "policy:
  channels:
    main:
      tools: { allow: [search, 'get_*', create_ticket], deny: ['*_delete'] }
";

/// What the slow server takes for an answer.
const SLOW: Duration = Duration::from_millis(400);

/// Calls that every scenario of a tunnel at work makes.
const TOOLS: [&str; 4] = ["search", "get_ticket", "create_ticket", "get_customer"];

fn tool(channel: &str, name: &str) -> Command {
    let params = json!({ "name": name, "arguments": {} });
    Command::rpc(json!({ "jsonrpc": "2.0", "id": "c-1", "method": "tools/call", "params": params }))
        .header("Mcp-Session-Id", &["session-1"])
        .channel(channel)
}

/// A server whose `create_ticket` is refused by the tool itself, and whose `get_customer` by the server.
fn desk() -> Mcp {
    let mcp = Mcp::start();
    mcp.hook(|request: &Request| {
        let message = request.json();
        match message["params"]["name"].as_str() {
            Some("create_ticket") => {
                let text = r#"{"content":[{"type":"text","text":"the queue is closed"}],"isError":true}"#;
                Some(result_for(&request.body, text))
            }
            Some("get_customer") => {
                let (id, error) = (id_text(&request.body), r#"{"code":-32000,"message":"no such customer"}"#);
                Some(Reply::json(200, format!(r#"{{"jsonrpc":"2.0","id":{id},"error":{error}}}"#)))
            }
            Some("get_broken") => Some(Reply::body(500, "text/plain", "out of order")),
            _ => None,
        }
    });
    mcp
}

/// Gives calls to a tunnel and waits until each has been answered.
fn answered(rig: &Rig, commands: &[Command]) {
    rig.plane.queue_all(commands);
    for command in commands {
        rig.plane.wait_answer(command);
    }
}

/// A tunnel with what has to last as long. The client goes first.
struct Tunnel {
    rig: Rig,
    servers: Vec<Mcp>,
    #[expect(dead_code, reason = "its files are read")]
    authorities: [Authority; 2],
}

/// The usual tunnel: a certificate for the control plane, a policy, a server over HTTP and one that is a child.
fn tunnel(child: &str, adjust: impl FnOnce(Builder) -> Builder) -> Tunnel {
    let (ours, clients) = (Authority::new("plane"), Authority::new("clients"));
    let plane = Plane::start_with(Some(ours.server_demanding(&clients)));
    let files = clients.client_until("agent", 30);
    let rig = Rig::over(plane, desk(), |builder| {
        let journal = Journal::new(builder.path("journal"));
        let builder = builder
            .flag("ca-bundle", &ours.bundle())
            .flag("control-plane.client-cert", &files.certificate)
            .flag("control-plane.client-key", &files.key)
            .flag("mcp.command", &format!("channel=files,command={}", journal.command(child)));
        adjust(builder)
    });
    rig.plane.wait_polls(1);
    Tunnel { rig, servers: Vec::new(), authorities: [ours, clients] }
}

fn healthy() -> Tunnel {
    let tunnel = tunnel("plain", |builder| builder.yaml(POLICY));
    let calls: Vec<Command> =
        (0..24).map(|number| tool(["main", "files"][number % 2], TOOLS[number % 2])).collect();
    answered(&tunnel.rig, &calls);
    tunnel
}

fn idle() -> Tunnel {
    tunnel("plain", |builder| builder.yaml(POLICY))
}

/// The key is refused after a while, and the child does not come up.
fn degraded() -> Tunnel {
    let mut tunnel = tunnel("down", |builder| builder.yaml(POLICY));
    let rig = &mut tunnel.rig;
    answered(rig, &TOOLS.map(|name| tool("main", name)));
    answered(rig, &[tool("files", "read_file"), tool("main", "get_broken"), tool("main", "purge_delete")]);
    rig.plane.accept_keys(&["another key"]);
    rig.plane.queue(&tool("main", "search"));
    rig.client.wait_get("/readyz", |answer| answer.status == 503);
    rig.client.wait_log(|line| line.contains("401"));
    tunnel
}

/// Many calls behind it, some of which did not end well, and some that run: the server of `slow` holds them.
fn busy() -> Tunnel {
    let slow = Mcp::start();
    slow.hook(|request| match request.json()["params"]["name"].as_str()? {
        "report" => Some(Reply::silence()),
        _ => {
            std::thread::sleep(SLOW);
            Some(mcp::answer(request))
        }
    });
    let url = format!("channel=slow,url={}", slow.url());
    let mut tunnel = tunnel("plain", |builder| builder.yaml(POLICY).flag("mcp.server-url", &url));
    let rig = &tunnel.rig;
    for round in 0..6 {
        let named = |number: usize| match number % 6 {
            4 => tool("files", "read_file"),
            5 => tool("slow", "list"),
            number => tool("main", TOOLS[number]),
        };
        answered(rig, &(0..18).map(named).collect::<Vec<_>>());
        // Alone, so that it is the last one that failed.
        answered(rig, &[tool("main", if round % 2 == 0 { "purge_delete" } else { "get_broken" })]);
    }
    rig.plane.queue_all(&[(); 4].map(|()| tool("slow", "report")));
    slow.server.wait_requests(4, |request| request.json()["params"]["name"] == "report");
    tunnel.servers.push(slow);
    tunnel
}

/// Every bound of the page full, with the longest texts that may stand there.
fn full() -> Tunnel {
    let endpoint = |number: usize| {
        let (origin, text) = (format!("http://127.0.0.1:9/{number}"), "described at length ".repeat(10));
        format!(
            "- {{label: endpoint-{number:03}-{}, url: '{origin}', description: '{text}'}}\n",
            "x".repeat(40)
        )
    };
    let endpoints: String = (0..210).map(endpoint).collect();
    let names: Vec<String> =
        (0..20).map(|number| format!("channel-{number:02}-{}", "c".repeat(50))).collect();
    let servers: Vec<Mcp> = names.iter().map(|_| desk()).collect();
    let tools: String = (0..60).map(|number| format!("'tool-{number:02}-{}', ", "t".repeat(100))).collect();
    let rules = format!("policy:\n  channels:\n    main:\n      tools: {{ allow: [{tools}'long-*'] }}\n");
    let mut tunnel = tunnel("down", |builder| {
        let builder =
            builder.yaml(&format!("{}{rules}", yaml(&endpoints))).argument("--harpoon.allow-plaintext-http");
        names.iter().zip(&servers).fold(builder, |builder, (name, server)| {
            builder.flag("mcp.server-url", &format!("channel={name},url={}", server.url()))
        })
    });
    tunnel.servers = servers;
    let rig = &tunnel.rig;
    let long = |number: usize| format!("long-{number:03}-{}", "<&\"'".repeat(60));
    for round in 0..30 {
        let call = |number: usize| {
            let number = round * 20 + number;
            let name = if number % 7 == 0 { "get_broken".to_owned() } else { long(number) };
            tool(if number % 2 == 0 { "main" } else { &names[number % names.len()] }, &name)
        };
        answered(rig, &(0..20).map(call).collect::<Vec<_>>());
    }
    let asked = |number: usize| {
        let body = "y".repeat(1000);
        call_command(
            &format!("endpoint-{number:03}-{}", "x".repeat(40)),
            json!({ "method": "POST", "body": body }),
        )
    };
    for round in 0..6 {
        answered(rig, &(0..20).map(|number| asked(round * 20 + number)).collect::<Vec<_>>());
    }
    for number in 0..40 {
        let command = tool("main", &long(number));
        let why = json!({ "error": { "message": "refused at length ".repeat(20), "type": "scripted" } });
        rig.plane.answer_for(&command, Reply::json(400, why.to_string()));
        answered(rig, &[command]);
    }
    tunnel
}

/// DESIGN, What the operator sees: however much there is to show, the page is small.
#[test]
fn the_page_stays_small_when_everything_is_full() {
    let mut tunnel = full();
    for path in ["/ui", "/ui?channel=main&refresh=10", "/ui?outcome=tool_error"] {
        let page = tunnel.rig.client.get(path).body;
        println!("{path}: {} bytes", page.len());
        assert!((40_000..100_000).contains(&page.len()), "{path}: {} bytes", page.len());
        assert!(page.ends_with("</main></body></html>\n") && page.contains(" more are not shown here."));
    }
}

/// Holds them until standard input ends. Each line says which state is where.
#[test]
#[ignore = "for a browser: tests/browser/run.sh"]
fn states_are_held() {
    let mut states = [
        ("healthy", healthy()),
        ("idle", idle()),
        ("degraded", degraded()),
        ("busy", busy()),
        ("full", full()),
    ];
    for (name, tunnel) in &mut states {
        let url = format!("http://{}/ui", tunnel.rig.client.address());
        println!("\n{}", json!({ "state": name, "url": url }));
    }
    println!("\n\"held\"");
    let _ = std::io::stdin().read_to_end(&mut Vec::new());
}
