//! Secrets: everything that was configured or passed through, searched for in everything that is shown.

use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::time::{Duration, Instant};

use base64::Engine;

use crate::support::BOUND;
use crate::support::client::{API_KEY, Builder};
use crate::support::command::{Command, SHARD_PREFIX};
use crate::support::mcp::Mcp;
use crate::support::plane::{Plane, TUNNEL};
use crate::support::proxy::{Manner, Proxy};
use crate::support::reply::Reply;
use crate::support::rig::Rig;
use crate::support::temp::TempDir;

const PROXY_PASSWORD: &str = "pr0xy-hidden-1";
const PLANE_HEADER: &str = "plane-hidden-2";
const MCP_HEADER: &str = "mcp-hidden-3";
const PROBE_HEADER: &str = "probe-hidden-4";
const URL_PASSWORD: &str = "url-hidden-5";
const QUERY: &str = "query-hidden-6";
const CALLER: &str = "caller-hidden-7";

/// All of them, and the forms in which they travel.
fn secrets() -> Vec<String> {
    let plain = [
        API_KEY,
        PROXY_PASSWORD,
        PLANE_HEADER,
        MCP_HEADER,
        PROBE_HEADER,
        URL_PASSWORD,
        QUERY,
        CALLER,
        SHARD_PREFIX,
    ];
    let encode = |text: String| base64::engine::general_purpose::STANDARD.encode(text);
    let encoded = [encode(format!("agent:{PROXY_PASSWORD}")), encode(format!("user:{URL_PASSWORD}"))];
    plain.into_iter().map(str::to_owned).chain(encoded).collect()
}

fn assert_clean(what: &str, text: &str) {
    for secret in secrets() {
        let bad: Vec<&str> = text.lines().filter(|line| line.contains(&secret)).collect();
        assert!(bad.is_empty(), "{what} shows {secret}:\n{}", bad.join("\n"));
    }
}

/// A client with a secret in every place that takes one.
fn laden(plane: Plane, mcp: Mcp, proxy: &Proxy, adjust: impl FnOnce(Builder) -> Builder) -> Rig {
    let port = mcp.server.port();
    let url = format!("http://user:{URL_PASSWORD}@127.0.0.1:{port}/mcp?token={QUERY}");
    let proxy = proxy.url_as(&format!("agent:{PROXY_PASSWORD}@"));
    Rig::over(plane, mcp, |b| {
        adjust(
            b.env("MCP_URL", &url)
                .without("mcp.server-url")
                .env("MCP_SERVER_URL", &url)
                .env("TUNNEL_CLIENT_HTTP_PROXY", &proxy)
                .env("CONTROL_PLANE_EXTRA_HEADERS", &format!("X-Gate: {PLANE_HEADER}"))
                .env("MCP_EXTRA_HEADERS", &format!("X-Inner: Bearer {MCP_HEADER}"))
                .env("MCP_DISCOVERY_EXTRA_HEADERS", &format!("X-Probe: {PROBE_HEADER}")),
        )
    })
}

fn command(method: &str) -> Command {
    Command::method(method, "1")
        .header("Authorization", &[&format!("Bearer {CALLER}")])
        .header("Cookie", &[&format!("sid={CALLER}")])
}

/// CP-170, MCP-183: successes and failures of every kind show no secret, in any format, level or answer of the listener.
#[test]
fn nothing_that_is_shown_holds_a_secret() {
    for (format, raw) in [("json", "false"), ("json", "true"), ("struct-text", "true"), ("", "false")] {
        let proxy = Proxy::start(None, Manner::Open);
        let (plane, mcp) = (Plane::start(), Mcp::start());
        let echo =
            format!("refused key {API_KEY} at http://agent:{PROXY_PASSWORD}@h/ for Bearer {MCP_HEADER}");
        let body = serde_json::json!({"error": {"message": echo, "code": "c"}}).to_string();
        plane.next_poll(Reply::json(401, body.clone()).off_contract());
        plane.next_poll(Reply::closed());
        let mut rig = laden(plane, mcp, &proxy, |b| match format {
            "" => b.without("log.format").without("log.level"),
            _ => b.set("log.format", format).argument(&format!("--log.http-raw-unsafe={raw}")),
        });
        assert_eq!(rig.send(&command("ping")).code(), 200);
        rig.mcp.reply("torn", Reply::closed());
        rig.mcp.reply("sick", Reply::json(500, body.clone()));
        rig.mcp.reply(
            "away",
            Reply::status(307).header("Location", &format!("http://x:{URL_PASSWORD}@h.test/?k={QUERY}")),
        );
        for method in ["torn", "sick", "away"] {
            rig.send(&command(method));
        }
        let refused = command("ping");
        rig.plane.answer_for(&refused, Reply::json(403, body).off_contract());
        rig.send(&refused);
        rig.send(&command("ping").channel("absent"));
        rig.send(&command("ping").member("jsonrpc", "[1,2]").off_contract());
        for path in ["/metrics", "/readyz", "/healthz"] {
            assert_clean(path, &rig.client.get(path).body);
        }
        rig.mcp.server.stop();
        rig.send(&command("ping"));
        rig.client.stop();
        let mut log = rig.client.log();
        if raw == "true" {
            // A dump shows targets and locations whole, which is what it was unlocked for.
            log = log.replace(QUERY, "");
        }
        assert_clean(&format!("the log ({format}, raw {raw})"), &log);
    }
}

/// CP-170: the secrets did go where they belong, so the search above could have found them.
#[test]
fn the_secrets_were_in_use() {
    let proxy = Proxy::start(None, Manner::Open);
    let rig = laden(Plane::start(), Mcp::start(), &proxy, |b| b);
    rig.send(&command("ping"));
    let dump = |requests: Vec<crate::support::http::Request>| {
        requests.iter().map(|r| r.dump()).collect::<Vec<_>>().join("\n")
    };
    let (plane, mcp) = (dump(rig.plane.server.requests()), dump(rig.mcp.server.requests()));
    assert!(plane.contains(API_KEY) && plane.contains(PLANE_HEADER) && plane.contains(SHARD_PREFIX));
    for secret in [MCP_HEADER, PROBE_HEADER, QUERY, CALLER] {
        assert!(mcp.contains(secret), "{secret}");
    }
    for foreign in [MCP_HEADER, PROBE_HEADER, QUERY, CALLER, PROXY_PASSWORD] {
        assert!(!plane.contains(foreign), "{foreign}");
    }
    for foreign in [API_KEY, PLANE_HEADER, SHARD_PREFIX, PROXY_PASSWORD] {
        assert!(!mcp.contains(foreign), "{foreign}");
    }
    assert!(proxy.requests().iter().all(|r| r.header("proxy-authorization").is_some()));
}

/// CP-170, MCP-095: the text of a failed start repeats no secret, whatever is wrong with it.
#[test]
fn a_failed_start_shows_no_secret() {
    let directory = TempDir::new();
    let key_file = directory.write("key", format!("{API_KEY} with a blank\n"));
    let builder = || Builder::run("http://127.0.0.1:1", "http://127.0.0.1:1/mcp");
    let url = |scheme: &str| format!("{scheme}://user:{URL_PASSWORD}@h:99999/x?token={QUERY}");
    let cases = [
        builder().env("CONTROL_PLANE_API_KEY", &format!("{API_KEY}\u{e9}!")),
        builder().flag("control-plane.api-key", &format!("file:{key_file}")),
        builder().flag("control-plane.api-key", API_KEY),
        builder().env("TUNNEL_CLIENT_HTTP_PROXY", &url("socks5")),
        builder().env("MCP_HTTP_PROXY", &url("http")),
        builder().env("HTTPS_PROXY", &url("http")),
        builder().without("mcp.server-url").env("MCP_SERVER_URL", &url("gopher")),
        builder().without("mcp.server-url").env("MCP_SERVER_URL", &url("http")),
        builder().env("MCP_EXTRA_HEADERS", &format!("Bad Name: {MCP_HEADER}")),
        builder().env("CONTROL_PLANE_EXTRA_HEADERS", &format!("Authorization: {PLANE_HEADER}")),
        builder().env("CONTROL_PLANE_EXTRA_HEADERS", &format!("X: a\u{1}{PLANE_HEADER}")),
        builder()
            .yaml(&format!("control_plane:\n  api_key: \"{API_KEY} x\"\n"))
            .without_env("CONTROL_PLANE_API_KEY"),
        builder().yaml(&format!("control_plane:\n  extra_headers:\n    X: [{PLANE_HEADER}]\n")),
        builder().set("control-plane.base-url", &url("http")),
    ];
    for (number, case) in cases.into_iter().enumerate() {
        let (code, output) = case.finish();
        assert_eq!(code, Some(1), "case {number}: {output}");
        assert!(!output.trim().is_empty());
        assert_clean(&format!("failed start {number}"), &output);
    }
}

/// CP-170: a start that cannot bind shows no secret either.
#[test]
fn a_start_without_a_port_shows_no_secret() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let proxy = Proxy::start(None, Manner::Open);
    let mut rig = laden(Plane::start(), Mcp::start(), &proxy, |b| {
        b.set("health.listen-addr", &taken.local_addr().unwrap().to_string())
    });
    assert_eq!(rig.client.wait_exit().code(), Some(1));
    assert_clean("the failed start", &rig.client.log());
}

/// DESIGN, secrets: references keep secrets out of the command line; the key never gets there.
#[test]
fn the_command_line_holds_no_secret() {
    let directory = TempDir::new();
    let key = directory.write("key", API_KEY);
    let proxy = Proxy::start(None, Manner::Open);
    let rig = laden(Plane::start(), Mcp::start(), &proxy, |b| {
        b.without_env("CONTROL_PLANE_API_KEY").flag("control-plane.api-key", &format!("file:{key}"))
    });
    rig.assert_alive();
    let pid = rig.client.pid();
    let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap();
    assert_clean("the command line", &String::from_utf8_lossy(&line).replace('\0', "\n"));
    for thread in std::fs::read_dir(format!("/proc/{pid}/task")).unwrap() {
        let name = std::fs::read_to_string(thread.unwrap().path().join("comm")).unwrap();
        assert_clean("a thread's name", &name);
    }
}

/// Someone else's eyes: the kernel gives the entries of an undumpable process to root, which root's own do not
/// show. `None` where root built the program in a place into which no other user can look.
fn started_as_nobody(command: &mut std::process::Command) -> Option<std::process::Child> {
    command.env_clear().env("CONTROL_PLANE_API_KEY", API_KEY).current_dir("/");
    if std::fs::metadata("/proc/self").unwrap().uid() == 0 {
        command.uid(65_534).gid(65_534);
    }
    match command.spawn() {
        Ok(child) => Some(child),
        Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => {
            eprintln!("skipped: no other user can execute the program where it was built");
            None
        }
        Err(error) => panic!("{error}"),
    }
}

/// Whether the kernel lets nobody attach to the process or read its memory.
fn is_undumpable(pid: u32) -> bool {
    std::fs::metadata(format!("/proc/{pid}/environ")).is_ok_and(|entry| entry.uid() == 0)
}

/// DESIGN, secrets: no command can be looked into from before it reads its first setting. Each is held at a
/// complaint about its flags, which comes before any file or variable is read.
#[test]
fn the_process_is_not_dumpable_before_it_reads_anything() {
    let flags = ["--config", "a", "--profile", "b"];
    let commands: [&[&str]; 7] = [
        &["run"],
        &["doctor"],
        &["admin", "tunnels", "list", "--no-such-flag"],
        &["demo", "--no-such-flag"],
        &["profiles", "list", "--no-such-flag"],
        &["health", "--no-such-flag"],
        &["no-such-command"],
    ];
    for words in commands {
        let (full, _reader) = full_socket();
        let mut command = std::process::Command::new(crate::support::client::PROGRAM);
        command.args(words).args(flags.iter().filter(|_| words.len() == 1));
        command.stdout(full.try_clone().unwrap()).stderr(full);
        let Some(mut child) = started_as_nobody(&mut command) else { return };
        let end = Instant::now() + BOUND;
        // Nobody reads what it says, so it goes no further than that.
        while !is_undumpable(child.id()) && Instant::now() < end {
            std::thread::sleep(Duration::from_millis(2));
        }
        let (undumpable, ended) = (is_undumpable(child.id()), child.try_wait().unwrap());
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(undumpable && ended.is_none(), "{words:?} {ended:?}");
    }
}

/// A socket that takes no more bytes, and its other end.
fn full_socket() -> (std::os::fd::OwnedFd, std::os::unix::net::UnixStream) {
    let (mut ours, theirs) = std::os::unix::net::UnixStream::pair().unwrap();
    ours.set_nonblocking(true).unwrap();
    while ours.write(&[b' '; 4096]).is_ok() {}
    while ours.write(b" ").is_ok() {}
    ours.set_nonblocking(false).unwrap();
    (ours.into(), theirs)
}

/// The same holds while it runs, and for the guard of a server, whose environment holds the server's secrets.
#[test]
fn a_running_client_and_its_guards_are_not_dumpable() {
    let plane = Plane::start();
    let mut command = std::process::Command::new(crate::support::client::PROGRAM);
    command.args(["run", "--health.listen-addr", "127.0.0.1:0", "--mcp.command", "/bin/cat"]);
    command
        .args(["--control-plane.tunnel-id", TUNNEL, "--control-plane.base-url"])
        .arg(plane.server.origin());
    command.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null());
    let Some(mut child) = started_as_nobody(&mut command) else { return };
    plane.wait_polls(1);
    let end = Instant::now() + BOUND;
    let seen = loop {
        let guards = children(child.id());
        let seen: Vec<bool> = std::iter::once(child.id()).chain(guards).map(is_undumpable).collect();
        // A guard that has just begun is on its way to its first step.
        if seen == [true, true] || Instant::now() > end {
            break seen;
        }
        std::thread::sleep(Duration::from_millis(5));
    };
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(seen, [true, true]);
}

/// The processes that a process has started.
fn children(id: u32) -> Vec<u32> {
    let tasks = std::fs::read_dir(format!("/proc/{id}/task")).unwrap().flatten();
    let lists = tasks.filter_map(|task| std::fs::read_to_string(task.path().join("children")).ok());
    lists.flat_map(|list| list.split_whitespace().map(|id| id.parse().unwrap()).collect::<Vec<_>>()).collect()
}
