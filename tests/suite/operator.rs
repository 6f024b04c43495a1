//! The listener and its files: what an operator's tools rely on.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::support::client::Builder;
use crate::support::command::Command;
use crate::support::gate::Gate;
use crate::support::http::fetch;
use crate::support::mcp::Mcp;
use crate::support::plane::Plane;
use crate::support::reply::Reply;
use crate::support::rig::Rig;
use crate::support::temp::TempDir;

/// A start that has to fail for this reason.
fn assert_refused(builder: Builder, wanted: &str) {
    let (code, output) = builder.finish();
    assert_eq!(code, Some(1), "{output}");
    assert!(output.contains("start tunnel-client: ") && output.contains(wanted), "{output}");
    assert!(!output.contains("panicked"), "{output}");
}

fn unstarted() -> Builder {
    Builder::run("http://127.0.0.1:1", "http://127.0.0.1:1/mcp")
}

/// MCP-169: `/healthz` says `live` to every method, without a newline.
#[test]
fn health_is_live_for_every_method() {
    let mut rig = Rig::start();
    let address = rig.client.address();
    let host = format!("Host: {address}\r\n");
    for method in ["GET", "POST", "PUT", "DELETE", "OPTIONS", "BREW"] {
        let answer = fetch(&address, method, "/healthz", &host).unwrap();
        assert_eq!((answer.status, answer.body.as_str()), (200, "live"), "{method}");
        assert!(answer.head.to_lowercase().contains("content-type: text/plain; charset=utf-8"));
    }
    let answer = fetch(&address, "HEAD", "/healthz", &host).unwrap();
    assert_eq!((answer.status, answer.body.as_str()), (200, ""));
    assert_eq!(rig.client.get("/healthz?verbose=1").body, "live");
}

/// MCP-171: paths are exact, and everything else is not found.
#[test]
fn unknown_paths_are_not_found() {
    let mut rig = Rig::start();
    for path in [
        "//",
        "/healthz/",
        "/Healthz",
        "//healthz",
        "/healthz/../metrics",
        "/%68ealthz",
        "/debug/pprof",
        "/ui/x",
    ] {
        let answer = rig.client.get(path);
        assert_eq!(answer.status, 404, "{path}");
        assert_eq!(answer.body, "404 page not found\n", "{path}");
    }
}

/// DESIGN, listener: on a loopback bind, foreign `Host` and `Origin` values are refused.
#[test]
fn foreign_names_are_refused_on_loopback() {
    let mut rig = Rig::start();
    let address = rig.client.address();
    let port = address.rsplit(':').next().unwrap();
    let status = |head: &str| fetch(&address, "GET", "/metrics", head).unwrap().status;
    for good in [
        format!("Host: localhost:{port}\r\n"),
        "Host: [::1]\r\n".to_owned(),
        format!("Host: {address}\r\nOrigin: http://localhost:{port}\r\n"),
    ] {
        assert_eq!(status(&good), 200, "{good}");
    }
    for bad in [
        "Host: evil.example\r\n".to_owned(),
        format!("Host: localhost.evil.example:{port}\r\n"),
        "Host: 10.0.0.1\r\n".to_owned(),
        String::new(),
        format!("Host: {address}\r\nHost: evil.example\r\n"),
        format!("Host: {address}\r\nOrigin: http://evil.example\r\n"),
        format!("Host: {address}\r\nOrigin: null\r\n"),
    ] {
        assert!([400, 403].contains(&status(&bad)), "{bad}");
    }
}

/// A page of another site may lead a person here, and can load nothing from here into itself.
#[test]
fn other_sites_can_load_nothing() {
    let mut rig = Rig::start();
    let address = rig.client.address();
    let get = |site: &str, mode: &str, destination: &str| {
        let head = format!(
            "Host: {address}\r\nSec-Fetch-Site: {site}\r\nSec-Fetch-Mode: {mode}\r\nSec-Fetch-Dest: {destination}\r\n"
        );
        let answer = fetch(&address, "GET", "/metrics", &head).unwrap();
        assert!(answer.head.contains("Cross-Origin-Resource-Policy: same-origin"), "{}", answer.head);
        answer.status
    };
    assert_eq!(get("cross-site", "no-cors", "image"), 403);
    assert_eq!(get("cross-site", "cors", "empty"), 403);
    assert_eq!(get("cross-site", "navigate", "iframe"), 403);
    assert_eq!(get("cross-site", "navigate", "document"), 200);
    assert_eq!(get("same-origin", "no-cors", "image"), 200);
    assert_eq!(get("none", "navigate", "document"), 200);
    let extension = format!("Host: {address}\r\nOrigin: moz-extension://localhost\r\n");
    assert_eq!(fetch(&address, "GET", "/metrics", &extension).unwrap().status, 403);
}

/// Whoever comes while the listener is busy waits in the system's queue, and does not have to come again.
#[test]
fn a_flood_of_connections_has_room_to_wait() {
    let longest: usize =
        std::fs::read_to_string("/proc/sys/net/core/somaxconn").unwrap().trim().parse().unwrap();
    let mut rig = Rig::start();
    let address: std::net::SocketAddr = rig.client.address().parse().unwrap();
    rig.client.signal(nix::sys::signal::Signal::SIGSTOP);
    let within = std::time::Duration::from_millis(900);
    // More than the 128 of the standard library, by connections that are there at the first attempt.
    let flood: Vec<_> = (0..300.min(longest)).map(|_| TcpStream::connect_timeout(&address, within)).collect();
    rig.client.signal(nix::sys::signal::Signal::SIGCONT);
    assert!(flood.iter().all(Result::is_ok));
    assert_eq!(rig.client.get("/healthz").body, "live");
}

/// Where few descriptors are there, held connections leave those that answers need; where too few are there, the
/// start says so.
#[test]
fn connections_leave_descriptors_for_answers() {
    let (plane, mcp) = (Plane::start(), Mcp::start());
    let limited = |limit: &str, workers: &str| {
        let directory = TempDir::new();
        let url_file = directory.join("url");
        let child = std::process::Command::new("/bin/sh")
            .args(["-c", "ulimit -n $0; exec \"$@\"", limit, crate::support::client::PROGRAM, "run"])
            .args(["--health.listen-addr", "127.0.0.1:0", "--health.url-file", url_file.to_str().unwrap()])
            .args(["--mcp.server-url", &mcp.url(), "--mcp.max-concurrent-requests", workers])
            .args(["--control-plane.base-url", &plane.server.origin()])
            .args(["--control-plane.tunnel-id", crate::support::plane::TUNNEL])
            .env_clear()
            .env("CONTROL_PLANE_API_KEY", crate::support::client::API_KEY)
            .stdout(std::process::Stdio::piped())
            .stderr(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        (child, url_file, directory)
    };
    let (mut child, url_file, _directory) = limited("64", "10");
    plane.wait_polls(1);
    let url = std::fs::read_to_string(url_file).unwrap();
    let held: Vec<_> = (0..100).map(|_| TcpStream::connect(url.strip_prefix("http://").unwrap())).collect();
    let commands = [(); 60].map(|()| Command::method("ping", "1"));
    plane.queue_all(&commands);
    for command in &commands {
        assert_eq!(plane.wait_answer(command).code(), 200);
    }
    drop(held);
    child.kill().unwrap();
    child.wait().unwrap();
    let (child, _, _directory) = limited("64", "128");
    let output = child.wait_with_output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1));
    assert!(text.contains("64 open files are too few") && text.contains("need 278"), "{text}");
}

/// A server over stdio needs the pipes of two children, one for each era.
#[test]
fn both_children_of_a_server_have_their_descriptors() {
    let builder = Builder::without_server("http://127.0.0.1:1").after("ulimit -n 70;");
    let builder = ["main", "two", "three"].into_iter().fold(builder, |builder, channel| {
        builder.flag("mcp.command", &format!("channel={channel},command=sh -c read"))
    });
    let (code, text) = builder.finish();
    assert!(code == Some(1) && text.contains("need 80"), "{text}");
}

/// DESIGN, faults: 200 half-open connections delay no scrape and no call.
#[test]
fn half_open_connections_delay_nobody() {
    let mut rig = Rig::start();
    let address = rig.client.address();
    let silent: Vec<TcpStream> = (0..200)
        .map(|number| {
            let mut stream = TcpStream::connect(&address).unwrap();
            if number % 2 == 0 {
                stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: loc").unwrap();
            }
            stream
        })
        .collect();
    for path in ["/healthz", "/metrics", "/readyz"] {
        rig.client.wait_get(path, |answer| answer.status == 200);
    }
    rig.assert_alive();
    drop(silent);
    assert_eq!(rig.client.get("/healthz").body, "live");
}

/// However many connections are opened, the listener keeps a bounded number of them, and the newest is served.
#[test]
fn the_oldest_of_very_many_connections_makes_room() {
    let mut rig = Rig::start();
    let address = rig.client.address();
    let silent: Vec<TcpStream> = (0..400).map(|_| TcpStream::connect(&address).unwrap()).collect();
    // They are accepted in the order in which they came, so this one is the last.
    assert_eq!(rig.client.get("/healthz").body, "live");
    let descriptors = std::fs::read_dir(format!("/proc/{}/fd", rig.client.pid())).unwrap().count();
    assert!(descriptors < 300, "{descriptors} descriptors are open");
    drop(silent);
}

/// DESIGN, faults: garbage on the listener costs its own connection only.
#[test]
fn garbage_on_the_listener_is_harmless() {
    let mut rig = Rig::start();
    let address = rig.client.address();
    let long = format!("GET / HTTP/1.1\r\nA: {}\r\n\r\n", "x".repeat(100_000));
    for bytes in [b"\x16\x03\x01\x02\x00".as_slice(), b"\r\n\r\n", b"GET\r\n\r\n", long.as_bytes()] {
        let mut stream = TcpStream::connect(&address).unwrap();
        // The other side may close before it has read all of it.
        let _ = stream.write_all(bytes);
        let _ = stream.shutdown(std::net::Shutdown::Write);
        let _ = stream.read_to_end(&mut Vec::new());
        assert_eq!(rig.client.get("/healthz").body, "live");
    }
    rig.assert_alive();
}

/// MCP-175: the URL file has the real port, mode 0600 and no newline, replaces a symlink, and goes with the client.
#[test]
fn the_url_file_is_private_and_short_lived() {
    let directory = TempDir::new();
    let victim = directory.write("victim", "untouched");
    let path = directory.join("deep/er/url");
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::os::unix::fs::symlink(&victim, &path).unwrap();
    let plane = Plane::start();
    let mcp = Mcp::start();
    let mut client = Builder::run(&plane.server.origin(), &mcp.url())
        .set("health.url-file", path.to_str().unwrap())
        .start();
    client.wait_log(|line| line.contains("HEALTH URL"));
    let text = std::fs::read_to_string(&path).unwrap();
    let address = text.strip_prefix("http://").unwrap();
    let answer = fetch(address, "GET", "/healthz", &format!("Host: {address}\r\n")).unwrap();
    assert_eq!(answer.body, "live");
    let meta = std::fs::symlink_metadata(&path).unwrap();
    assert!(meta.is_file() && meta.permissions().mode() & 0o777 == 0o600);
    assert_eq!(std::fs::read_to_string(victim).unwrap(), "untouched");
    assert!(client.stop().success());
    assert!(!path.exists());
}

/// MCP-175: the URL file stands before the first poll, and the PID file before the URL file.
#[test]
fn the_url_file_stands_before_the_first_poll() {
    let directory = TempDir::new();
    let path = directory.join("url");
    let plane = Plane::start();
    let client = Builder::run(&plane.server.origin(), "http://127.0.0.1:1/mcp")
        .set("health.url-file", path.to_str().unwrap())
        .flag("pid.file", directory.join("pid").to_str().unwrap())
        .start();
    plane.wait_polls(1);
    assert!(path.exists());
    client.wait_log(|line| line.contains("HEALTH URL"));
    let log = client.log();
    assert!(log.find("pid file written").unwrap() < log.find("HEALTH URL").unwrap());
}

/// MCP-176: wildcard addresses are written as localhost, and said to be what they are.
#[test]
fn a_wildcard_is_written_as_localhost() {
    for listen in ["0.0.0.0:0", ":0"] {
        let plane = Plane::start();
        let mut client = Builder::run(&plane.server.origin(), "http://127.0.0.1:1/mcp")
            .set("health.listen-addr", listen)
            .start();
        let address = client.address();
        let port = address.strip_prefix("localhost:").unwrap();
        client.wait_log(|line| line.contains("the listener stands on all addresses of this host"));
        let answer = fetch(&format!("127.0.0.1:{port}"), "GET", "/healthz", "Host: box.example\r\n").unwrap();
        assert_eq!(answer.body, "live");
    }
}

fn get_over(path: &Path) -> String {
    let mut stream = UnixStream::connect(path).unwrap();
    stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: any\r\nConnection: close\r\n\r\n").unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    text
}

/// MCP-177, MCP-178: the listener may be a socket file; a stale one is replaced; it goes with the client.
#[test]
fn the_listener_may_be_a_socket_file() {
    let directory = TempDir::new();
    let stale = directory.join("stale.sock");
    drop(UnixListener::bind(&stale).unwrap());
    assert!(stale.exists());
    for path in [directory.join("health.sock"), stale] {
        let plane = Plane::start();
        let mut client = Builder::run(&plane.server.origin(), "http://127.0.0.1:1/mcp")
            .flag("health.unix-socket", path.to_str().unwrap())
            .start();
        plane.wait_polls(1);
        assert!(get_over(&path).ends_with("\r\n\r\nlive"));
        let url = std::fs::read_to_string(client.path("health.url")).unwrap();
        let wanted = format!("http+unix://{}", URL_SAFE_NO_PAD.encode(path.to_str().unwrap()));
        assert_eq!(url, wanted);
        assert!(client.stop().success());
        assert!(!path.exists());
    }
}

/// MCP-178: a path that is taken, by a file or by a living socket, ends the start and is left alone.
#[test]
fn a_taken_socket_path_ends_the_start() {
    let directory = TempDir::new();
    let file = directory.write("file", "content");
    let text = "exists and is not a unix socket";
    assert_refused(unstarted().flag("health.unix-socket", &file), text);
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "content");
    let live = directory.join("live.sock");
    let listener = UnixListener::bind(&live).unwrap();
    let text = "is already accepting connections";
    assert_refused(unstarted().flag("health.unix-socket", live.to_str().unwrap()), text);
    assert!(live.exists());
    drop(listener);
}

/// MCP-179: the PID file holds the pid and a newline, and goes; one that cannot be written ends the start.
#[test]
fn the_pid_file_names_the_process() {
    let directory = TempDir::new();
    let path = directory.write("pid", "99999999 left over");
    let mut rig = Rig::with(|b| b.flag("pid.file", &path));
    rig.plane.wait_polls(1);
    assert_eq!(std::fs::read_to_string(&path).unwrap(), format!("{}\n", rig.client.pid()));
    assert!(rig.client.stop().success());
    assert!(!Path::new(&path).exists());
    let (nowhere, url_file) = (directory.join("missing/pid"), directory.join("url"));
    let builder = unstarted().flag("pid.file", nowhere.to_str().unwrap());
    assert_refused(builder.set("health.url-file", url_file.to_str().unwrap()), "missing/pid");
    assert!(!url_file.exists(), "a start that fails leaves no file");
}

/// MCP-180: an occupied port ends the start with the address in the text, and leaves no files.
#[test]
fn an_occupied_port_ends_the_start() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let directory = TempDir::new();
    let url_file = directory.join("url");
    let builder =
        unstarted().set("health.listen-addr", &address).set("health.url-file", url_file.to_str().unwrap());
    assert_refused(
        builder,
        &format!(
            "listen tcp {address}: bind: address already in use; choose another with --health.listen-addr HOST:PORT"
        ),
    );
    assert!(!url_file.exists());
}

/// MCP-181 as DESIGN has it: SIGTERM lets the call in flight end and posts its answer, then the exit code is 0.
#[test]
fn a_call_in_flight_is_finished_before_the_end() {
    let mut rig = Rig::start();
    let gate = Gate::new();
    rig.mcp.reply("slow", Reply::result("1", "{}").behind(&gate));
    let command = Command::method("slow", "1");
    rig.plane.queue(&command);
    gate.wait_arrivals(1);
    rig.client.signal(nix::sys::signal::Signal::SIGTERM);
    rig.client.wait_log(|line| line.contains("stopping"));
    gate.open();
    assert!(rig.client.wait_exit().success());
    assert_eq!(rig.plane.posts_of(&command).len(), 1);
    assert_eq!(rig.plane.posts_of(&command)[0].code(), 200);
}
