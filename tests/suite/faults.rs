//! Peers at their worst: no answer is lost, nothing is given away, and service goes on.
//!
//! That no client panics and no key or shard token is written holds for every test of the suite:
//! the runner looks for both when a client ends.

use std::time::Duration;

use crate::support::command::{Command, SHARD_PREFIX};
use crate::support::gate::Gate;
use crate::support::mcp::Mcp;
use crate::support::plane::{Plane, Posted};
use crate::support::reply::{Part, Reply, result_for};
use crate::support::rig::Rig;

const RESULT: &str = r#"{"jsonrpc":"2.0","id":1,"result":{}}"#;

/// The one terminal answer of a command.
fn only_answer(rig: &Rig, command: &Command) -> Posted {
    rig.plane.wait_answer(command);
    let mut posts = rig.plane.posts_of(command);
    assert_eq!(posts.len(), 1, "{}", command.text());
    posts.remove(0)
}

/// A body of 100 MiB whose first and last bytes are given.
fn huge(head: Reply, first: &str, last: &str) -> Reply {
    head.bytes(first).then(Part::Fill(100 << 20)).bytes(last)
}

/// Lines that mean nothing, for longer than any test waits.
fn endless_comments() -> Reply {
    (0..800).fold(Reply::sse(), |reply, _| {
        reply.bytes(": still here\n\n").then(Part::Pause(Duration::from_millis(50)))
    })
}

/// A plane that answers its polls with anything but commands is asked again until it recovers.
#[test]
fn a_plane_that_talks_nonsense_is_survived() {
    let (other, plane) = (Plane::start(), Plane::start());
    let elsewhere = other.server.origin() + "/v1/tunnels";
    plane.metadata(Reply::json(200, "[[[[").header("X-Request-Id", "r").off_contract());
    for reply in [
        Reply::json(200, "garbage"),
        Reply::json(200, "{\"commands\":[{").declaring(500).close(),
        Reply::json(200, "{\"commands\":7}"),
        Reply::raw("\u{0}\u{1}\u{2}\r\n\r\n"),
        Reply::raw("HTTP/1.1 999999 what\r\n\r\n"),
        Reply::status(308).header("Location", &elsewhere),
        Reply::status(401).header("Location", &elsewhere),
        Reply::body(502, "text/html", "<html>".repeat(50_000)),
        Reply::json(200, "[".repeat(100_000)),
    ] {
        plane.next_poll(reply.off_contract());
        // A success in between keeps the waits short.
        plane.next_poll(Reply::status(204));
    }
    let rig = Rig::over(plane, Mcp::start(), |b| b);
    rig.plane.wait_polls(19);
    rig.assert_alive();
    assert_eq!(other.server.connections(), 0);
}

/// CP-052: 25 hours of `Retry-After` are cut to a minute.
#[test]
fn a_day_of_retry_after_is_cut() {
    let plane = Plane::start();
    plane.next_poll(Reply::status(503).header("Retry-After", "90000"));
    let mut rig = Rig::over(plane, Mcp::start(), |b| b);
    let line = rig.client.wait_log(|line| line.contains("retry_in_ms"));
    let after = line.split("retry_in_ms").nth(1).unwrap();
    let digits: String =
        after.chars().skip_while(|c| !c.is_ascii_digit()).take_while(char::is_ascii_digit).collect();
    assert!(digits.parse::<u64>().unwrap() <= 60_000, "{line}");
    assert_eq!(rig.client.stop().code(), Some(0));
}

/// CP-041: 60 commands for a limit of 20 are all answered once.
#[test]
fn sixty_commands_for_twenty_are_answered() {
    let plane = Plane::start();
    plane.ignore_limit();
    let commands: Vec<Command> = (0..60).map(|_| Command::method("m", "1")).collect();
    plane.queue_all(&commands);
    let rig = Rig::over(plane, Mcp::start(), |b| b);
    for command in &commands {
        assert_eq!(only_answer(&rig, command).code(), 200);
    }
    assert_eq!(rig.mcp.calls_of("m").len(), 60);
}

/// CP-065: one malformed command costs none of its neighbours.
#[test]
fn one_bad_command_costs_no_other() {
    let good = || Command::method("m", "1");
    let deep = format!("{}{}", "[".repeat(50_000), "]".repeat(50_000));
    for bad in [
        good().without("shard_token").text(),
        good().without("jsonrpc").text(),
        good().member("headers", "[1]").text(),
        good().member("headers", r#"{"a b":["x"]}"#).text(),
        good().member("jsonrpc", &deep).text(),
        good().member("extra", &deep).text(),
        "17".to_owned(),
        r#"{"request_id":"a","request_id":"b"}"#.to_owned(),
    ] {
        let (before, after) = (good(), good());
        let rig = Rig::start();
        let list = [before.text(), bad, after.text()].join(",");
        rig.plane.next_poll(Reply::json(200, format!(r#"{{"commands":[{list}]}}"#)).off_contract());
        rig.plane.queue(&good());
        for command in [&before, &after] {
            assert_eq!(only_answer(&rig, command).code(), 200);
        }
    }
}

/// Servers that hang, break off or talk nonsense cost their own call alone, which is answered once.
#[test]
fn broken_servers_are_answered_for() {
    let rig = Rig::with(|b| b.flag("mcp.connection-max-ttl", "2s"));
    let stranger = r#"{"jsonrpc":"2.0","id":2,"result":{}}"#;
    let cases = [
        ("timeout", Reply::silence()),
        ("timeout", Reply::sse().hang()),
        ("timeout", endless_comments()),
        ("transport_closed", Reply::closed()),
        ("transport_closed", Reply::reset()),
        ("transport_closed", Reply::json(200, "{\"json").declaring(99).close()),
        ("transport_closed", Reply::json(200, "{\"json").chunked().close()),
        ("transport_closed", Reply::sse().event("").close()),
        ("protocol", Reply::json(200, stranger)),
        ("protocol", Reply::sse().event(stranger).event(RESULT)),
        ("protocol", Reply::body(200, "text/html", "<html>login</html>")),
        ("protocol", Reply::json(200, "<html>login</html>")),
        ("protocol", Reply::json(200, "{\"json")),
        ("protocol", Reply::json(200, [0xff, 0xfe, 0x00])),
        ("protocol", Reply::sse().event("{\"json")),
        ("protocol", Reply::json(200, "[".repeat(200_000))),
        ("protocol", Reply::raw("nonsense\r\n\r\n")),
        ("protocol", Reply::json(200, RESULT).header("Content-Encoding", "gzip")),
    ];
    for (number, (source, reply)) in cases.into_iter().enumerate() {
        rig.mcp.reply("m", reply);
        let command = Command::method("m", "1");
        rig.plane.queue(&command);
        let answer = only_answer(&rig, &command);
        assert_eq!(answer.code(), 502, "case {number}: {}", answer.request.text());
        assert_eq!(answer.failure()["source"], source, "case {number}");
        rig.assert_alive();
    }
}

/// Error pages pass their status and nothing of their text.
#[test]
fn error_pages_pass_their_status_alone() {
    let rig = Rig::start();
    for status in [400, 403, 404, 429, 500, 502, 503] {
        let page = "<html>internal-host.example</html>";
        rig.mcp.reply("m", Reply::body(status, "text/html", page));
        let command = Command::method("m", "1");
        rig.plane.queue(&command);
        let answer = only_answer(&rig, &command);
        assert_eq!(answer.code(), u64::from(status));
        assert_eq!(answer.failure()["upstream_status"], status);
        assert!(!answer.request.text().contains("internal-host"));
    }
    rig.assert_alive();
}

/// 100 MiB in any form are refused within bounded memory, beside calls that go on.
#[test]
fn a_hundred_mebibytes_are_refused() {
    let rig = Rig::start();
    let json = r#"{"jsonrpc":"2.0","id":1,"result":""#;
    for (code, reply) in [
        (502, huge(Reply::json(200, ""), json, "\"}")),
        (502, huge(Reply::json(200, "").chunked(), json, "\"}")),
        (502, huge(Reply::sse(), "data: ", "\n\n")),
        (500, huge(Reply::json(500, ""), json, "\"}")),
    ] {
        rig.mcp.reply("m", reply);
        let command = Command::method("m", "1");
        rig.plane.queue(&command);
        rig.assert_alive();
        let answer = only_answer(&rig, &command);
        assert_eq!(answer.code(), code);
        assert_eq!(answer.failure()["transport_error_kind"], "response_body_too_large");
    }
    rig.assert_alive();
}

/// An endless head is given up like any other nonsense.
#[test]
fn an_endless_head_is_refused() {
    let rig = Rig::start();
    let head = format!("HTTP/1.1 200 OK\r\nX-Long: {}\r\n\r\n", "x".repeat(4 << 20));
    rig.mcp.reply("m", Reply::raw(head));
    let command = Command::method("m", "1");
    rig.plane.queue(&command);
    assert_eq!(only_answer(&rig, &command).code(), 502);
    rig.assert_alive();
}

/// Servers that hang up after each reply, or speak before they answer, cost no call.
#[test]
fn odd_manners_cost_no_call() {
    let rig = Rig::start();
    let early = "HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n";
    let ok = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n";
    for reply in [
        Reply::json(200, RESULT).close(),
        Reply::json(200, RESULT).header("Connection", "close"),
        Reply::raw(format!("{ok}\r\n{RESULT}")),
        Reply::raw(format!("{ok}Content-Length: {}\r\n\r\n{RESULT}", RESULT.len())),
        Reply::raw(format!("{early}{ok}Content-Length: {}\r\n\r\n{RESULT}", RESULT.len())),
        Reply::sse().event(RESULT).close(),
        Reply::sse().event(RESULT).hang(),
    ] {
        for _ in 0..3 {
            rig.mcp.reply("m", reply.clone());
            let command = Command::method("m", "1");
            rig.plane.queue(&command);
            let answer = only_answer(&rig, &command);
            assert_eq!(answer.code(), 200, "{}", answer.request.text());
            // The end of the connection travels beside the next call; servers rarely hang up that late.
            std::thread::sleep(Duration::from_millis(50));
        }
        rig.assert_alive();
    }
}

/// CP-057: a plane that is restarted on its port gets the answers that it is owed, once each.
#[test]
fn a_restarted_plane_gets_its_answers() {
    let mut rig = Rig::start();
    let gate = Gate::new();
    let held = gate.clone();
    rig.mcp.hook(move |request| {
        let reply = || result_for(&request.body, "{}").behind(&held);
        (request.rpc_method() == "held").then(reply)
    });
    let commands = [(); 5].map(|()| Command::method("held", "1"));
    rig.plane.queue_all(&commands);
    gate.wait_arrivals(5);
    rig.plane.stop();
    rig.client.wait_log(|line| line.contains("backing off"));
    rig.plane.restart();
    gate.open();
    for command in &commands {
        assert_eq!(only_answer(&rig, command).code(), 200);
    }
    rig.assert_alive();
}

/// CP-041: of 500 commands at once none is lost, though every tenth server reply is a break.
#[test]
fn five_hundred_commands_survive_a_flaky_server() {
    let rig = Rig::start();
    rig.mcp.hook(|request| {
        let number = request.json()["id"].as_u64().unwrap_or(1);
        match number % 30 {
            0 => Some(Reply::reset()),
            10 => Some(Reply::status(503)),
            20 => Some(Reply::body(200, "text/html", "<html>")),
            _ => None,
        }
    });
    let commands: Vec<Command> = (0..500).map(|n| Command::method("m", &n.to_string())).collect();
    rig.plane.queue_all(&commands);
    for (number, command) in commands.iter().enumerate() {
        let answer = only_answer(&rig, command);
        let wanted = match number % 30 {
            0 | 20 => 502,
            10 => 503,
            _ => 200,
        };
        assert_eq!(answer.code(), wanted, "{number}");
        assert_eq!(answer.payload()["id"], number);
        let token = answer.request.header("x-tunnel-shard-token");
        assert_eq!(token, Some(command.token.as_str()));
    }
    rig.assert_alive();
}

/// CP-142: of many answers none is lost though the plane refuses every second post at first.
#[test]
fn a_flaky_plane_loses_no_answer() {
    let rig = Rig::start();
    let commands: Vec<Command> = (0..60).map(|n| Command::method("m", &n.to_string())).collect();
    for (number, command) in commands.iter().enumerate() {
        match number % 4 {
            0 => rig.plane.answer_for(command, Reply::status(503)),
            1 => rig.plane.answer_for(command, Reply::reset()),
            _ => {}
        }
    }
    rig.plane.queue_all(&commands);
    for (number, command) in commands.iter().enumerate() {
        let count = if number % 4 < 2 { 2 } else { 1 };
        let posts = rig.plane.wait_posts(command, count, |_| true);
        assert_eq!(posts.last().unwrap().code(), 200);
    }
    rig.assert_alive();
}

/// Whatever fails, no credential is in any output, and nothing internal in any answer.
#[test]
fn faults_give_nothing_away() {
    let secrets = ["static-SECRET-1", "caller-SECRET-2", "body-SECRET-3", "cookie-SECRET-4"];
    let mut rig = Rig::with(|b| {
        b.flag("mcp.extra-headers", "X-Key: static-SECRET-1").flag("mcp.connection-max-ttl", "1s")
    });
    let internal = rig.mcp.server.origin();
    let text = format!("{} at {internal}", secrets.join(" "));
    let quoted = serde_json::to_string(&text).unwrap();
    for reply in [
        Reply::silence(),
        Reply::reset(),
        Reply::body(500, "text/html", text.as_str()).header("Set-Cookie", "cookie-SECRET-4"),
        Reply::body(200, "text/plain", text.as_str()).header("Server", &text),
        Reply::json(200, format!("{{{quoted}")),
        Reply::sse().event(&text),
        Reply::raw(format!("{text}\r\n\r\n")),
        Reply::status(307).header("Location", "http://elsewhere.example/body-SECRET-3?caller-SECRET-2"),
    ] {
        rig.mcp.reply("m", reply);
        let payload = r#"{"jsonrpc":"2.0","id":1,"method":"m","params":{"k":"body-SECRET-3"}}"#;
        let command = Command::rpc(payload).header("Authorization", &["Bearer caller-SECRET-2"]);
        rig.plane.queue(&command);
        let answer = only_answer(&rig, &command);
        let body = answer.request.text();
        assert!(answer.code() >= 300, "{body}");
        for hidden in secrets.iter().copied().chain([internal.as_str(), SHARD_PREFIX]) {
            assert!(!body.contains(hidden), "{hidden}: {body}");
        }
    }
    rig.assert_alive();
    assert_eq!(rig.client.stop().code(), Some(0));
    // The origin of a refused redirect is the one thing that the log has to name.
    for line in rig.client.log().lines().filter(|line| !line.contains("redirect of the MCP server refused")) {
        for secret in secrets {
            assert!(!line.to_lowercase().contains(&secret.to_lowercase()), "{line}");
        }
    }
}
