//! `dev proxy`: an MCP server behind a whole tunnel in one process.

use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Output;

use nix::sys::signal::Signal;

use crate::support::local::{BOTH, Local, PATH, ask, ask_unix, bare, events, json, message};
use crate::support::mcp::Mcp;
use crate::support::reply::{Reply, notification};
use crate::support::stdio::Journal;
use crate::support::temp::TempDir;

/// Runs it to its end.
fn run(arguments: &[&str], variables: &[(&str, &str)]) -> Output {
    crate::support::client::command(crate::support::client::PROGRAM)
        .args(["dev", "proxy"])
        .args(arguments)
        .env_clear()
        .envs(variables.iter().copied())
        .output()
        .unwrap()
}

/// The one line of a run that fails.
fn refusal(arguments: &[&str], variables: &[(&str, &str)]) -> String {
    let output = run(arguments, variables);
    assert_eq!((output.status.code(), output.stdout.as_slice()), (Some(1), &b""[..]));
    let text = String::from_utf8(output.stderr).unwrap();
    text.lines().last().unwrap_or_default().to_owned()
}

const SERVER: [&str; 2] = ["--mcp-server-url", "http://127.0.0.1:1/mcp"];

#[test]
fn a_call_goes_through_the_tunnel_as_it_is() {
    let mcp = Mcp::start();
    let mut local = Local::start(&mcp.url());
    let call = r#"{"jsonrpc":"2.0","id":12345678901234567890,"method":"tools/call","params":{"a": 1.0}}"#;
    let head = format!(
        "{BOTH}Authorization: Bearer caller\r\nMcp-Session-Id: s-1\r\nX-Real-Ip: 10.0.0.1\r\n\
         Cookie: a=b\r\nConnection: X-Hop\r\nX-Hop: 1\r\nX-Custom: kept\r\n"
    );
    let answer = local.post_to("", &head, call);
    assert_eq!(answer.status, 200, "{answer:?}");
    assert!(answer.body.contains("\"id\":12345678901234567890"), "{answer:?}");
    assert!(answer.body.contains("{\"a\": 1.0}"), "{answer:?}");
    let seen = mcp.wait_calls("tools/call", 1).remove(0);
    for (name, value) in [("authorization", "Bearer caller"), ("mcp-session-id", "s-1"), ("x-custom", "kept")]
    {
        assert_eq!(seen.header(name), Some(value), "{name}");
    }
    for name in ["x-real-ip", "cookie", "x-hop"] {
        assert_eq!(seen.header(name), None, "{name}");
    }
    let ack = local.post(r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#);
    assert_eq!((ack.status, ack.body.as_str()), (202, ""));
    assert_eq!(local.client.stop().code(), Some(0));
}

#[test]
fn progress_comes_before_the_answer_to_callers_that_take_streams() {
    let mcp = Mcp::start();
    let local = Local::start(&mcp.url());
    let progress = |n: u32| notification("notifications/progress", &serde_json::json!({ "n": n }));
    let last = r#"{"jsonrpc":"2.0","id":1,"result":{"done":true}}"#;
    let stream = || (0..5).fold(Reply::sse(), |reply, n| reply.event(progress(n))).event(last);
    let call = r#"{"jsonrpc":"2.0","id":1,"method":"tools/call"}"#;
    mcp.reply("tools/call", stream());
    let seen = events(&local.post(call));
    let numbers: Vec<_> = seen.iter().filter_map(|event| event["params"]["n"].as_u64()).collect();
    assert_eq!((numbers, seen.len()), (vec![0, 1, 2, 3, 4], 6));
    assert_eq!(seen[5]["result"]["done"], true);
    mcp.reply("tools/call", stream());
    let whole = local.post_to("", "Accept: application/json\r\n", call);
    assert!(whole.head.contains("Content-Type: application/json"), "{whole:?}");
    assert_eq!(json(&whole)["result"]["done"], true);
    // A stream of nothing but the answer stays a stream.
    mcp.reply("tools/call", Reply::sse().event(last));
    assert_eq!(events(&local.post(call)).len(), 1);
}

#[test]
fn sessions_end_and_streams_of_their_own_do_not_exist() {
    let mcp = Mcp::start();
    let local = Local::start(&mcp.url());
    let ask = |method: &str, head: &str| ask(&local.address(), method, PATH, head, "");
    assert_eq!(ask("DELETE", "Mcp-Session-Id: s-1\r\n").status, 204);
    assert_eq!(mcp.wait_calls("DELETE", 1)[0].header("mcp-session-id"), Some("s-1"));
    assert_eq!(ask("DELETE", "").status, 400);
    let refused = ask("GET", BOTH);
    assert_eq!(refused.status, 405);
    assert!(refused.head.contains("Allow: POST, DELETE"), "{refused:?}");
}

#[test]
fn channels_lead_to_their_servers() {
    let (main, side) = (Mcp::start(), Mcp::start());
    let builder = bare()
        .flag("mcp-server-url", &format!("channel=main,url={}", main.url()))
        .flag("mcp-server-url", &format!("channel=side,url={}", side.url()));
    let local = Local::with(builder);
    let call = r#"{"jsonrpc":"2.0","id":1,"method":"tools/list"}"#;
    assert_eq!(local.post_to("/side", BOTH, call).status, 200);
    assert_eq!((main.calls_of("tools/list").len(), side.calls_of("tools/list").len()), (0, 1));
    assert_eq!(local.post_to("/other", BOTH, call).status, 400, "no server, said by the relay");
    for path in ["/side/more", "/no%20channel"] {
        assert_eq!(local.post_to(path, BOTH, call).status, 404, "{path}");
    }
}

/// The client answers in time, before the local plane would.
#[test]
fn a_server_that_stays_silent_costs_the_caller_its_time() {
    let mcp = Mcp::start();
    let builder = bare().flag("mcp-server-url", &mcp.url()).flag("response-timeout", "300ms");
    let local = Local::with(builder);
    mcp.reply("tools/call", Reply::silence());
    let answer = local.post(r#"{"jsonrpc":"2.0","id":1,"method":"tools/call"}"#);
    assert_eq!((answer.status, message(&answer).as_str()), (504, "the server did not answer in time"));
    let first = notification("notifications/progress", &serde_json::json!({}));
    mcp.reply("tools/call", Reply::sse().event(first).hang());
    let seen = events(&local.post(r#"{"jsonrpc":"2.0","id":"x","method":"tools/call"}"#));
    assert_eq!((seen.len(), &seen[1]["id"]), (2, &serde_json::json!("x")));
    assert_eq!(seen[1]["error"]["code"], -32000);
}

#[test]
fn what_is_said_about_the_connection_is_all_on_standard_output() {
    let mcp = Mcp::start();
    let directory = TempDir::new();
    let server = ["--mcp-server-url", &mcp.url(), "--duration", "1ms"];
    let output = run(&server, &[("LOG_FORMAT", "json")]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.starts_with("MCP URL: http://127.0.0.1:") && text.ends_with(&format!("{PATH}\n")), "{text}");
    assert_eq!((output.status.code(), text.lines().count()), (Some(0), 1));
    assert!(String::from_utf8(output.stderr).unwrap().contains("tunnel-client started\""));
    // What was asked for besides is said as well; the reference's one queue may be named.
    let more = ["--health-listen-addr", "127.0.0.1:0", "--engine-queue-backend", "inmem"];
    let watched = run(&[&server[..], &more].concat(), &[]);
    let text = String::from_utf8(watched.stdout).unwrap();
    let health = text.lines().nth(1).unwrap();
    assert!(health.starts_with("Health URL: http://127.0.0.1:") && health.ends_with("/readyz"), "{text}");
    let quiet = run(&server, &[]);
    assert_eq!(String::from_utf8(quiet.stderr).unwrap(), "");
    let socket = directory.join("mcp.sock");
    let unix = run(&[&server[..], &["--listen-unix-socket", socket.to_str().unwrap()]].concat(), &[]);
    let expected = format!("MCP Unix socket: {}\nMCP URL path: {PATH}\n", socket.display());
    assert_eq!(String::from_utf8(unix.stdout).unwrap(), expected);
    assert!(!socket.exists());
}

/// Clients that post to `/mcp` whatever their URL says reach the server as well; another path is told where
/// MCP is spoken.
#[test]
fn the_usual_path_leads_to_the_server() {
    let mcp = Mcp::start();
    let local = Local::start(&mcp.url());
    let address = local.address();
    let call = r#"{"jsonrpc":"2.0","id":7,"method":"tools/list"}"#;
    let told = ask(&address, "POST", "/mcp", BOTH, call);
    assert_eq!((told.status, &json(&told)["id"]), (200, &serde_json::json!(7)), "{told:?}");
    let told = ask(&address, "POST", "/sse", BOTH, call);
    assert_eq!(
        (told.status, message(&told).as_str()),
        (404, &*format!("not found; MCP is spoken at {PATH}"))
    );
}

#[test]
fn the_url_file_says_how_to_connect_as_long_as_it_works() {
    let mcp = Mcp::start();
    let builder = bare().flag("mcp-server-url", &mcp.url()).argument("--print-json");
    let builder = builder.flag("health-listen-addr", "127.0.0.1:0");
    let file = builder.path("connection.json");
    let mut local = Local::with(builder);
    local.client.wait_log(|line| line == "}");
    let printed: serde_json::Value = serde_json::from_str(&local.client.log()).unwrap();
    assert_eq!(printed, local.connection);
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o644);
    let names: Vec<_> = local.connection.as_object().unwrap().keys().cloned().collect();
    let expected = [
        "backend",
        "control_plane_base_url",
        "control_plane_transport",
        "health_url",
        "mcp_transport",
        "mcp_url",
        "tunnel_id",
    ];
    assert_eq!(names, expected);
    let health = local.said("health_url").strip_prefix("http://").unwrap().to_owned();
    let (host, path) = health.split_once('/').unwrap();
    assert_eq!(ask(host, "GET", &format!("/{path}"), "", "").status, 200);
    assert_eq!(ask(&local.address(), "GET", "/readyz", "", "").body, r#"{"status":"ok"}"#);
    assert_eq!(local.client.stop().code(), Some(0));
    assert!(!Path::new(&file).exists());
}

#[test]
fn a_socket_file_serves_the_same() {
    let mcp = Mcp::start();
    let builder = bare().flag("mcp-server-url", &mcp.url());
    let socket = builder.path("mcp.sock");
    let mut local = Local::with(builder.flag("listen-unix-socket", &socket));
    assert_eq!((local.said("mcp_transport"), local.said("mcp_unix_socket")), ("unix", socket.as_str()));
    let call = r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#;
    assert_eq!(ask_unix(&socket, "POST", local.said("mcp_url_path"), BOTH, call).status, 200);
    local.client.signal(Signal::SIGINT);
    assert_eq!(local.client.wait_exit().code(), Some(0));
    assert!(!Path::new(&socket).exists());
}

#[test]
fn nothing_is_left_of_a_server_over_stdio_and_of_the_ports() {
    let builder = bare();
    let journal = Journal::new(builder.path("journal"));
    // No poll may go to a proxy, and no setting of another control plane may reach this one.
    let builder = builder
        .flag("mcp-command", &journal.command("plain"))
        .env("TUNNEL_CLIENT_HTTP_PROXY", "http://127.0.0.1:1")
        .env("CONTROL_PLANE_HTTP_PROXY", "http://127.0.0.1:1")
        .env("CONTROL_PLANE_BASE_URL", "https://plane.invalid")
        .env("CONTROL_PLANE_URL_PATH", "/elsewhere");
    let mut local = Local::with(builder);
    let answer = local.post(r#"{"jsonrpc":"2.0","id":1,"method":"facts"}"#);
    assert_eq!(answer.status, 200, "{answer:?}");
    assert!(!journal.processes().is_empty());
    let addresses = [local.address(), local.plane()];
    assert_eq!(local.client.stop().code(), Some(0));
    assert_eq!(journal.processes(), [0; 0]);
    for address in addresses {
        assert!(TcpStream::connect(&address).is_err(), "{address}");
    }
}

#[test]
fn a_profile_names_the_server() {
    let mcp = Mcp::start();
    let directory = TempDir::new();
    let profile = format!(
        "control_plane:\n  tunnel_id: tunnel_0123456789abcdefghijklmnopqrstuv\n  api_key: env:NOT_SET\n\
         mcp:\n  server_urls:\n    - channel: main\n      url: {}\nprocess:\n  pid_file: pid\n",
        mcp.url()
    );
    let path = directory.write("local.yaml", profile);
    let local = Local::with(bare().flag("profile-file", &path));
    assert_eq!(local.said("tunnel_id"), "tunnel_22222222222222222222222222222222");
    assert_eq!(local.post(r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#).status, 200);
    assert!(!local.client.path("pid").exists());
}

#[test]
fn a_start_that_takes_too_long_says_what_it_waited_for() {
    let mcp = Mcp::start();
    mcp.reply("server/discover", Reply::silence());
    let text = refusal(&["--mcp-server-url", &mcp.url(), "--readiness-timeout", "50ms"], &[]);
    assert!(text.starts_with("wait for MCP probe: not done within 50ms; "), "{text}");
    let waits = [("MCP_STARTUP_WAIT_TIMEOUT", "1m")];
    let text = refusal(&[&SERVER[..], &["--readiness-timeout", "1s"]].concat(), &waits);
    assert!(text.starts_with("wait for tunnel-client poll: not done within 1s; "), "{text}");
    let text = refusal(&["--mcp-command", "/nowhere/at-all"], &[]);
    assert!(text.starts_with("start tunnel-client runtime: mcp.command for channel \"main\": "), "{text}");
}

#[test]
fn mistakes_on_the_command_line_are_told_first() {
    let with = |more: &[&str]| refusal(&[&SERVER[..], more].concat(), &[]);
    assert_eq!(refusal(&[], &[]), "set --mcp-server-url, --mcp-command, --profile, or --profile-file");
    for (more, expected) in [
        (
            &["--listen", "127.0.0.1:0", "--listen-unix-socket", "x"][..],
            "--listen and --listen-unix-socket are mutually exclusive",
        ),
        (
            &["--profile", "a", "--profile-file", "b.yaml"],
            "--profile and --profile-file are mutually exclusive",
        ),
        (&["--backend", "rust"], "rust local proxy backend is unavailable in this build"),
        (&["--backend", "x"], "unknown local proxy backend \"x\" (supported: auto, rust, go)"),
        (&["--response-timeout", "0s"], "response-timeout must be greater than zero"),
        (&["--listen", "nowhere"], "invalid --listen \"nowhere\": expected host:port"),
        (&["more"], "unexpected argument: write every value as --flag=value"),
        (
            &["--engine-queue-backend", "redis"],
            "go local proxy backend does not support redis engine queue backend",
        ),
        (&["--engine-queue-backend", "x"], "unknown engine queue backend \"x\" (supported: inmem, redis)"),
    ] {
        let text = with(more);
        assert!(text.contains(expected), "{more:?}: {text}");
    }
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let expected = format!("start local control plane: listen tcp {address}: bind: address already in use");
    assert_eq!(with(&["--listen", &address]), expected);
    let text = with(&["--tunnel-id", "tunnel_1"]);
    assert!(text.contains("must match tunnel_<32 lowercase letters or digits>"), "{text}");
}

/// A terminal that closes ends it; not so after `nohup`.
#[test]
fn a_closing_terminal_ends_it_without_nohup() {
    let mcp = Mcp::start();
    let builder = || bare().flag("mcp-server-url", &mcp.url()).env("LOG_FORMAT", "json");
    let mut local = Local::with(builder());
    local.client.signal(Signal::SIGHUP);
    assert_eq!(local.client.wait_exit().code(), Some(0));
    let mut local = Local::with(builder().after("trap '' HUP;"));
    local.client.signal(Signal::SIGHUP);
    local.client.wait_log(|line| line.contains("SIGHUP has no effect"));
    assert_eq!(local.client.stop().code(), Some(0));
}
