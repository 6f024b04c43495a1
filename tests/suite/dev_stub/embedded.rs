//! The stub inside `run`, in the place of a server.

use super::*;

#[test]
fn run_serves_the_stub_on_main() {
    let plane = Plane::start();
    let builder = Builder::without_server(&plane.server.origin())
        .argument("--embedded-mcp-stub")
        .flag("embedded-mcp-server-name", "inside")
        // Neither does a proxy for all servers lead to it, nor does another channel hinder it.
        .flag("mcp.http-proxy", "http://127.0.0.1:9")
        .flag("mcp.server-url", "channel=other,url=http://127.0.0.1:9/mcp");
    let mut client = builder.start();
    let url = client.wait_log(|line| line.contains("  MCP URL: ")).split("URL: ").nth(1).unwrap().to_owned();
    assert!(client.log().contains("Embedded MCP stub enabled."));
    let params = call("server_info", "{}") + "," + META;
    let command = Command::rpc(request("tools/call", &params));
    plane.queue(&command);
    let answer = plane.wait_answer(&command);
    assert_eq!(answer.code(), 200, "{}", answer.request.text());
    assert_eq!(answer.payload()["result"]["structuredContent"]["name"], "inside");
    // The address in the log is that of the stub, not the one that was asked for.
    let origin = url.strip_suffix("/mcp").unwrap();
    assert!(client.log().contains(&format!("\"mcp_target_value\":\"{origin}\"")), "{}", client.log());
    assert_eq!(client.stop().code(), Some(0));
    assert!(fetch(url.split('/').nth(2).unwrap(), "GET", "/mcp", "").is_err());
}

fn refused(builder: Builder) -> String {
    let (status, text) = builder.finish();
    assert_eq!(status, Some(1), "{text}");
    text
}

/// NEW-123: of two servers on the command line none is chosen, and of two places neither.
#[test]
fn the_stub_shares_main_with_no_other_flag() {
    let url = "http://127.0.0.1:9/mcp";
    for mode in ["embedded-mcp-stub", "embedded-stateless-mcp-stub"] {
        let run = || Builder::without_server("http://127.0.0.1:9").argument(&format!("--{mode}"));
        for (builder, other) in [
            (run().flag("mcp.command", "cat"), "mcp.command"),
            (run().flag("mcp-command", "cat"), "mcp.command"),
            (run().flag("mcp.server-url", url), "mcp.server-url"),
            (run().flag("mcp-server-url", url), "mcp.server-url"),
        ] {
            let wanted = format!(
                "configure tunnel-client: --{mode} cannot be combined with --{other}; use one main MCP target path"
            );
            assert_eq!(refused(builder), wanted);
        }
        let text = refused(run().flag("embedded-mcp-listen-addr", "here"));
        assert_eq!(
            text,
            "configure tunnel-client: invalid embedded-mcp-listen-addr \"here\": expected host:port"
        );
        let both =
            run().flag("embedded-mcp-listen-addr", "127.0.0.1:0").flag("embedded-mcp-unix-socket", "s");
        assert_eq!(
            refused(both),
            "configure tunnel-client: --embedded-mcp-listen-addr and --embedded-mcp-unix-socket are mutually exclusive"
        );
    }
    let both = Builder::without_server("http://127.0.0.1:9").argument("--embedded-mcp-stub");
    assert_eq!(
        refused(both.argument("--embedded-stateless-mcp-stub")),
        "configure tunnel-client: --embedded-stateless-mcp-stub cannot be combined with --embedded-mcp-stub; \
         use one main MCP target path"
    );
}

/// NEW-121: a server of the profile or of a variable gives way, which is said, and is checked all the same.
#[test]
fn the_stub_stands_in_for_the_server_of_a_profile() {
    let run = |mode: &str| Builder::without_server("http://127.0.0.1:9").argument(mode);
    for mode in ["--embedded-mcp-stub", "--embedded-stateless-mcp-stub"] {
        for builder in [
            run(mode).env("MCP_COMMAND", "cat"),
            run(mode).env("MCP_SERVER_URL", "http://127.0.0.1:9/mcp"),
            run(mode).yaml("mcp:\n  commands:\n    - command: cat\n"),
        ] {
            let stub = Stub::with(builder);
            stub.client.wait_log(|line| line.contains("in the place of the server that is configured"));
            assert_eq!(stub.modern("tools/list", "", "").status, 200);
        }
        let text = refused(run(mode).env("MCP_SERVER_URL", "ftp://h/"));
        assert!(text.contains("scheme must be http or https"), "{text}");
    }
}

/// NEW-009, NEW-010, NEW-051, NEW-121, NEW-122: the stateless stub answers the newer era alone, has nothing for GET and DELETE, and is
/// called through the tunnel; the other one serves the same requests and handshakes besides.
#[test]
fn the_stateless_stub_has_no_handshake() {
    let plane = Plane::start();
    let builder = Builder::without_server(&plane.server.origin())
        .flag("mcp.http-proxy", "http://127.0.0.1:9")
        .flag("mcp.server-url", "channel=other,url=http://127.0.0.1:9/mcp");
    let stub = Stub::with(builder.argument("--embedded-stateless-mcp-stub"));
    let declared = r#"{"version":2,"channels":[{"name":"main","stateless":true},{"name":"other"}]}"#;
    assert_eq!(plane.wait_polls(1)[0].header("x-tunnel-mcp-server-info"), Some(declared));
    let head = "Content-Type: application/json\r\n";
    for method in ["GET", "DELETE"] {
        let answer = ask(&stub.address, method, "/mcp", head, "");
        assert_eq!((answer.status, answer.header("allow")), (405, Some("POST")));
    }
    let params =
        r#""protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"t","version":"1"}"#;
    let answer = stub.post("", &request("initialize", params));
    assert_eq!(code(&answer), (400, -32022));
    assert_eq!(answer.json()["error"]["data"]["supported"], json!(["2026-07-28"]));
    assert_eq!((answer.json()["id"].as_str(), answer.header("mcp-session-id")), (Some("a 1"), None));
    assert_eq!(code(&stub.post("", &request("tools/list", ""))), (400, -32022));
    let answer = stub.modern("tools/call", "echo", &(call("echo", r#"{"input":"x"}"#) + ","));
    assert_eq!(answer.json()["result"]["structuredContent"]["echoed"], "x");
    let command = Command::rpc(request("tools/call", &(call("echo", r#"{"input":"y"}"#) + "," + META)));
    plane.queue(&command);
    let answer = plane.wait_answer(&command);
    assert_eq!(answer.payload()["result"]["structuredContent"]["echoed"], "y");
    // The other kind.
    let other = Stub::start();
    assert_eq!(other.modern("tools/list", "", "").status, 200);
    other.open("2025-11-25");
}

/// NEW-051, NEW-124: a stub behind a socket file that is there for its time alone.
#[test]
fn a_stub_listens_on_a_socket_file() {
    let plane = Plane::start();
    let directory = TempDir::new();
    let path = directory.join("s.sock");
    let shown = path.to_str().unwrap().to_owned();
    let run = |path: &str| {
        let builder = Builder::without_server(&plane.server.origin()).argument("--embedded-mcp-stub");
        builder.flag("embedded-mcp-unix-socket", path)
    };
    let mut client = run(&shown).start();
    client.wait_log(|line| line.contains(&format!("  MCP Unix socket: {shown}")));
    client.wait_log(|line| line.ends_with("  MCP URL: http://localhost/mcp"));
    let command = Command::rpc(request("tools/call", &(call("echo", r#"{"input":"y"}"#) + "," + META)));
    plane.queue(&command);
    assert_eq!(plane.wait_answer(&command).payload()["result"]["structuredContent"]["echoed"], "y");
    // Neither a socket in use nor any other file is taken away.
    let wanted = format!("start MCP stub: {shown} exists already; remove it, or name another path");
    assert_eq!(refused(run(&shown)), wanted);
    assert_eq!(client.stop().code(), Some(0));
    assert!(!path.exists());
    std::fs::write(&path, "kept").unwrap();
    assert_eq!(refused(run(&shown)), wanted);
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "kept");
    let lost = directory.join("none/s.sock");
    let lost = lost.to_str().unwrap();
    assert_eq!(refused(run(lost)), format!("start MCP stub: the directory of {lost} does not exist"));
}
