//! Small calls of one channel beside a large command of another: how long each waits from its release by the
//! control plane to its start at its server.

use std::io::BufReader;
use std::net::TcpStream;
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use super::echo;
use super::peers::{listen, plane_reply, request, respond};
use super::process::Client;

const LARGE_MIB: usize = 50;

#[derive(Default)]
struct Progress {
    /// Since when the large command is under way, and how long it took.
    large: Option<Instant>,
    took: Option<Duration>,
    /// The small call that has not started yet.
    released: Option<Instant>,
    waited: Vec<Duration>,
}

type Shared = Arc<(Mutex<Progress>, Condvar)>;

/// Prints one line. The large command goes to a child, whose pipe it has to pass.
pub fn run() {
    let shared = Shared::default();
    let (plane, server) = (Arc::clone(&shared), Arc::clone(&shared));
    let plane_port = listen(move |stream| {
        let take = |body: &[u8]| {
            if String::from_utf8_lossy(body).contains("\"large\"") {
                let mut progress = plane.0.lock().unwrap();
                progress.took = progress.large.map(|since| since.elapsed());
                plane.1.notify_all();
            }
        };
        serve(stream, |line, body| plane_reply(line, || poll(&plane), || take(body)));
    });
    let server_port = listen(move |stream| {
        serve(stream, |_, body| {
            let mut progress = server.0.lock().unwrap();
            if String::from_utf8_lossy(body).contains("\"small\"") {
                let waited = progress.released.take().map(|since| since.elapsed());
                progress.waited.extend(waited);
                server.1.notify_all();
            }
            r#"{"jsonrpc":"2.0","id":1,"result":{}}"#.to_owned()
        });
    });
    let command = format!("--mcp.command={}", echo::command("bench"));
    let beta = format!("--mcp.server-url=channel=beta,url=http://127.0.0.1:{server_port}/mcp");
    let _client = Client::launch(&format!("http://127.0.0.1:{plane_port}"), &[&command, &beta]);
    let progress = shared.0.lock().unwrap();
    let waited = shared.1.wait_timeout_while(progress, Duration::from_secs(120), |p| p.took.is_none());
    let mut progress = waited.unwrap().0;
    // The first came in the poll of the large one, so it had to wait for that to be read.
    let behind = progress.waited.first().copied();
    progress.waited.sort();
    let ms = |time: Option<&Duration>| time.map_or(f64::NAN, |time| time.as_secs_f64() * 1e3);
    println!(
        "beside {LARGE_MIB} MiB on a pipe: {} small calls start after {:.1} ms in the median, {:.1} in 99 of 100; one behind it in its poll after {:.0}; the large one takes {:.0} ms",
        progress.waited.len(),
        ms(progress.waited.get(progress.waited.len() / 2)),
        ms(progress.waited.get(progress.waited.len() * 99 / 100)),
        ms(behind.as_ref()),
        ms(progress.took.as_ref()),
    );
}

/// First the large command and a small one, then small ones, each when the one before has started.
fn poll(shared: &Shared) -> String {
    let mut progress = shared.0.lock().unwrap();
    let command = |channel: &str, name: &str, text: &str| {
        format!(
            "{{\"command_type\":\"jsonrpc\",\"request_id\":\"{name}\",\"shard_token\":\"s\",\"channel\":\"{channel}\",\"jsonrpc\":{{\
             \"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"tools/call\",\"params\":{{\"name\":\"{name}\",\"arguments\":{{\"text\":\"{text}\"}}}}}}}}"
        )
    };
    if progress.large.is_none() {
        let large = command("main", "large", &"x".repeat(LARGE_MIB * 1024 * 1024));
        let both = format!("{{\"commands\":[{large},{}]}}", command("beta", "small", ""));
        progress.large = Some(Instant::now());
        progress.released = progress.large;
        return both;
    }
    let held = |p: &mut Progress| p.released.is_some() || p.took.is_some();
    let waited = shared.1.wait_timeout_while(progress, Duration::from_secs(20), held);
    let mut progress = waited.unwrap().0;
    if held(&mut progress) {
        return "{\"commands\":[]}".to_owned();
    }
    progress.released = Some(Instant::now());
    format!("{{\"commands\":[{}]}}", command("beta", "small", ""))
}

/// Answers the requests of one connection.
fn serve(stream: TcpStream, answer: impl Fn(&str, &[u8]) -> String) {
    let mut stream = BufReader::with_capacity(64 * 1024, stream);
    while let Some((line, body)) = request(&mut stream) {
        let reply = answer(&line, &body);
        if respond(stream.get_mut(), "application/json", reply.as_bytes()).is_err() {
            return;
        }
    }
}
