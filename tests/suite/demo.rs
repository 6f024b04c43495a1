//! `demo`: a whole tunnel in one process, as a newcomer sees it.

use std::sync::Arc;

use nix::sys::signal::Signal;
use serde_json::json;

use super::support::client::{Builder, Client};
use super::support::http::{Request, fetch};
use super::support::local::ask;
use super::support::mcp::{Mcp, answer};
use super::support::plane::Plane;
use super::support::reply::{Reply, id_text, result_for};
use super::support::server::Server;
use super::support::stdio::Journal;

fn demo() -> Builder {
    Builder::bare("demo")
}

/// The lines about steps, without their times: mark, name and what came of it.
fn steps(text: &str) -> Vec<String> {
    let marks = ["  ok  ", "  --  ", "  no  "];
    let lines = text.lines().filter(|line| marks.iter().any(|mark| line.starts_with(mark)));
    lines
        .map(|line| line.split_whitespace().filter(|word| !is_time(word)).collect::<Vec<_>>().join(" "))
        .collect()
}

/// Milliseconds with one decimal, or their unit.
fn is_time(word: &str) -> bool {
    let decimal = |(whole, part): (&str, &str)| whole.parse::<u32>().is_ok() && part.len() == 1;
    word == "ms" || word.split_once('.').is_some_and(decimal)
}

/// What follows these words in the output.
fn after<'a>(text: &'a str, words: &str) -> &'a str {
    text.split_once(words).map(|(_, rest)| rest).unwrap_or_else(|| panic!("no `{words}` in:\n{text}"))
}

#[test]
fn a_newcomer_sees_a_whole_round_trip() {
    let (status, text) = demo().argument("--once").finish();
    assert_eq!(status, Some(0), "{text}");
    let steps = steps(&text);
    assert!(steps[0].starts_with("ok stub server http://127.0.0.1:") && steps[0].ends_with("/mcp"), "{text}");
    let version = env!("CARGO_PKG_VERSION");
    assert_eq!(
        steps[1..],
        [
            "ok control plane and relay the relay polls; nothing connects to it",
            &format!("ok initialize mcp-stub {version}, MCP 2025-11-25"),
            "ok notifications/initialized accepted",
            "ok tools/list 3 tools: server_info, echo, uppercase",
            "ok tools/call echo \"hello through the tunnel\"",
        ]
    );
    assert!(text.contains("It works: 4 messages in ") && text.contains("tunnel-client init"), "{text}");
    // It names no address that is gone by now, and writes plain text to what is no terminal.
    assert!(!text.contains("/v1/mcp/") && !text.contains('\u{1b}'), "{text}");
}

#[test]
fn it_serves_on_until_a_signal() {
    // The last one comes when a terminal closes.
    for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP] {
        let mut client = demo().start();
        client.wait_log(|line| line == "Ctrl-C ends it.");
        let text = client.log();
        let url = after(&text, "MCP client (Streamable HTTP) at\n  http://").lines().next().unwrap();
        let (address, path) = url.split_once('/').unwrap();
        let params = r#""params":{"protocolVersion":"2025-06-18","capabilities":{},"clientInfo":{"name":"t","version":"1"}}"#;
        let body = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"initialize",{params}}}"#);
        let told = ask(
            address,
            "POST",
            &format!("/{path}"),
            "Accept: application/json, text/event-stream\r\n",
            &body,
        );
        assert_eq!(told.json()["result"]["serverInfo"]["name"], "mcp-stub", "{told:?}");
        let operator = after(&text, "as its operator does at\n  http://");
        for (line, wanted) in operator.lines().zip(["<title>", "ready", "commands_polled_total"]) {
            let (address, path) = line
                .split_whitespace()
                .next()
                .unwrap()
                .trim_start_matches("http://")
                .split_once('/')
                .unwrap();
            let told = fetch(address, "GET", &format!("/{path}"), &format!("Host: {address}\r\n")).unwrap();
            assert!(told.status == 200 && told.body.contains(wanted), "{line}");
        }
        client.signal(signal);
        assert_eq!(client.wait_exit().code(), Some(0), "{}", client.log());
        assert!(fetch(address, "GET", "/readyz", "").is_err());
    }
}

/// Neither settings of a tunnel nor its key are used, wherever they stand.
#[test]
fn the_settings_of_a_real_tunnel_do_not_matter() {
    let plane = Plane::start();
    let builder = demo().argument("--once").env("CONTROL_PLANE_BASE_URL", &plane.server.origin());
    let profile = builder.path("profile.yaml");
    std::fs::write(&profile, "nonsense: true\n").unwrap();
    let builder = [
        ("CONTROL_PLANE_TUNNEL_ID", "tunnel_99999999999999999999999999999999"),
        ("CONTROL_PLANE_URL_PATH", "/elsewhere"),
        ("CONTROL_PLANE_POLL_CHANNELS", "other"),
        ("CONTROL_PLANE_HTTP_PROXY", "http://127.0.0.1:9"),
        ("CONTROL_PLANE_CLIENT_CERT", "/nowhere"),
        ("TUNNEL_CLIENT_HTTP_PROXY", "http://127.0.0.1:9"),
        ("HTTP_PROXY", "http://127.0.0.1:9"),
        ("TUNNEL_CLIENT_PROFILE_FILE", &profile),
        ("OPENAI_API_KEY", "sk-other"),
        ("MCP_COMMAND", "false"),
        ("MCP_SERVER_URL", "http://127.0.0.1:9/mcp"),
        ("MCP_HTTP_PROXY", "http://127.0.0.1:9"),
        ("HEALTH_LISTEN_ADDR", "192.0.2.1:1"),
        ("HEALTH_URL_FILE", "/nowhere/url"),
        ("PID_FILE", "/nowhere/pid"),
        ("LOG_FILE", "/nowhere/log"),
        ("LOG_LEVEL", "loud"),
    ]
    .into_iter()
    .fold(builder, |builder, (name, value)| builder.env(name, value));
    let (status, text) = builder.finish();
    assert_eq!(status, Some(0), "{text}");
    assert!(plane.server.requests().is_empty());
}

#[test]
fn a_server_over_stdio_takes_the_stubs_place_and_is_ended() {
    let builder = demo();
    let journal = Journal::new(builder.path("journal"));
    let mut client = builder.flag("mcp-command", &journal.command("plain")).start();
    client.wait_log(|line| line == "Ctrl-C ends it.");
    let done = steps(&client.log());
    assert_eq!(
        done[1..],
        [
            "ok initialize scripted 1, MCP 2025-11-25",
            "ok notifications/initialized accepted",
            "ok tools/list 1 tool: look",
            "-- tools/call not made: a tool may change things; --call NAME calls one",
        ]
    );
    assert!(client.log().contains("none is called unless you name it: --call NAME."), "{}", client.log());
    assert!(journal.of("tools/call").is_empty());
    client.signal(Signal::SIGINT);
    assert_eq!(client.wait_exit().code(), Some(0), "{}", client.log());
    journal.wait_gone();
}

#[test]
fn a_server_over_http_takes_the_stubs_place() {
    let mcp = Mcp::start();
    let tools = json!({"tools": [
        {"name": "add", "inputSchema": {"type": "object", "required": ["a"]}},
        {"name": "erase", "inputSchema": {"type": "object"}, "annotations": {"destructiveHint": true}},
        {"name": "clock", "inputSchema": {"type": "object"}},
    ]});
    mcp.reply("tools/list", Reply::result("2", &tools.to_string()));
    mcp.reply("tools/list", Reply::result("2", &tools.to_string()));
    let secret = json!({"content": [{"type": "text", "text": "PASSWORD=server-secret-1"}]}).to_string();
    mcp.reply("tools/call", Reply::result("3", &secret));
    let run = || demo().argument("--once").flag("mcp-server-url", &mcp.url());
    // Whatever a tool says of itself, or leaves unsaid: who did not ask for a call makes none.
    let (status, text) = run().finish();
    assert_eq!(status, Some(0), "{text}");
    let left_out = "-- tools/call not made: a tool may change things; --call NAME calls one";
    assert_eq!(steps(&text)[3..], ["ok tools/list 3 tools: add, erase, clock", left_out]);
    assert!(mcp.calls_of("tools/call").is_empty());
    // What was asked for is called, and its answer, which may be a server's environment, is not shown.
    let (status, text) = run().flag("call", "erase").finish();
    assert_eq!(status, Some(0), "{text}");
    let called = steps(&text).pop().unwrap();
    assert!(called.starts_with("ok tools/call erase answered: 1 item, "), "{text}");
    assert!(!text.contains("server-secret-1"), "{text}");
    assert_eq!(mcp.calls_of("tools/call")[0].json()["params"], json!({"name": "erase", "arguments": {}}));
    // The next time the server has no tools.
    let (status, text) = run().finish();
    assert_eq!(status, Some(0), "{text}");
    assert_eq!(steps(&text)[3..], ["ok tools/list no tools", "-- tools/call not made: there is no tool"]);
    assert!(text.contains("It works: 3 messages in "), "{text}");
}

#[test]
fn a_server_without_a_handshake_is_spoken_to_in_its_own_way() {
    let server = Server::start(
        None,
        Arc::new(|request: &Request| {
            let refuse = |code: i32| {
                let id = id_text(&request.body);
                let data = r#"{"supported":["2026-07-28"]}"#;
                let error = format!(r#"{{"code":{code},"message":"unsupported","data":{data}}}"#);
                Reply::json(400, format!(r#"{{"jsonrpc":"2.0","id":{id},"error":{error}}}"#))
            };
            if request.header("mcp-protocol-version") != Some("2026-07-28") {
                return refuse(-32022);
            }
            match request.rpc_method().as_str() {
                "server/discover" => {
                    result_for(&request.body, r#"{"supportedVersions":["2026-07-28"],"capabilities":{}}"#)
                }
                _ => answer(request),
            }
        }),
    );
    let url = server.origin() + "/mcp";
    let (status, text) = demo().argument("--once").flag("mcp-server-url", &url).finish();
    assert_eq!(status, Some(0), "{text}");
    assert_eq!(
        steps(&text)[1..],
        [
            "ok initialize refused: the server speaks MCP 2026-07-28 only, which has no handshake",
            "ok server/discover a server without a name, MCP 2026-07-28",
            "ok tools/list no tools",
            "-- tools/call not made: there is no tool",
        ]
    );
}

#[test]
fn a_server_that_wants_a_login_is_called_so() {
    let refuse = |_: &Request| Reply::status(401).header("WWW-Authenticate", "Bearer");
    let server = Server::start(None, Arc::new(refuse));
    let run = || demo().flag("mcp-server-url", &(server.origin() + "/mcp"));
    let (status, text) = run().argument("--once").finish();
    assert_eq!(status, Some(1), "{text}");
    assert!(steps(&text)[1].ends_with("initialize: the server wants to know who calls (401)"), "{text}");
    assert!(text.contains("The tunnel works. A product would now let its user log in"), "{text}");
    assert!(text.ends_with("demo: initialize failed: the server wants to know who calls (401)"), "{text}");
    // A client that can log in may still use the tunnel.
    let mut client: Client = run().start();
    client.wait_log(|line| line == "Ctrl-C ends it.");
    client.signal(Signal::SIGINT);
    assert_eq!(client.wait_exit().code(), Some(0));
}

#[test]
fn a_server_that_fails_is_told_with_what_to_do() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let (status, text) = demo().flag("mcp-server-url", &format!("http://{free}/mcp")).finish();
    assert_eq!(status, Some(1), "{text}");
    assert!(text.contains("initialize: the server could not be reached"), "{text}");
    assert!(
        text.contains("The relay says: mcp probe failed: ") && text.contains("Connection refused"),
        "{text}"
    );
    assert!(text.contains("Start the server, or see whether host, port and path"), "{text}");
    assert!(!text.contains("WARN"), "{text}");

    let (status, text) =
        demo().argument("--once").flag("mcp-command", "sh -c 'echo broken >&2; exit 7'").finish();
    assert_eq!(status, Some(1), "{text}");
    assert!(text.contains("initialize: the server ended before it had answered"), "{text}");
    assert!(text.contains("Run its command by hand") && text.contains("last_words=broken"), "{text}");
}

#[test]
fn a_server_that_hangs_can_be_interrupted() {
    let builder = demo();
    let journal = Journal::new(builder.path("journal"));
    let mut client = builder.flag("mcp-command", &journal.command("mute")).start();
    journal.wait("initialize", 1);
    client.signal(Signal::SIGINT);
    assert_eq!(client.wait_exit().code(), Some(1));
    assert!(client.log().contains("initialize: interrupted"), "{}", client.log());
    journal.wait_gone();
}

#[test]
fn one_server_is_enough() {
    let both = demo().flag("mcp-command", "cat").flag("mcp-server-url", "http://127.0.0.1:9/mcp");
    let wanted = "--mcp-server-url and --mcp-command are mutually exclusive: the demo calls one server";
    assert_eq!(both.finish(), (Some(1), wanted.to_owned()));
    let wanted = "--call names a tool of your server: add --mcp-server-url or --mcp-command";
    assert_eq!(demo().flag("call", "echo").finish(), (Some(1), wanted.to_owned()));
    let (status, text) = demo().flag("mcp-server-url", "ftp://x/").finish();
    assert_eq!((status, text.contains("scheme must be http or https")), (Some(1), true), "{text}");
}
