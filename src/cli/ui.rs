//! `tunnel-client ui`: shows the page of a running tunnel to a browser of this host, above all that of a socket, which no
//! browser opens.
//!
//! It listens on loopback for as long as it runs. Other users of this host reach that port, so a request has to show
//! the token of the printed address, as a cookie after the first time; and pages of the web are refused as by the
//! listener itself. Paths of the page alone are passed on, by GET, with nothing of the request but the query. Threads,
//! heads, replies and times have bounds. Ctrl-C ends it.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::config::settings::{Kind, Row};
use crate::config::{Flags, ListenAddress};
use crate::crypto;
use crate::ops::listener::bind::bind_tcp;
use crate::ops::listener::http::{self, Reply, Request};
use crate::sync;

use super::health::number;
use super::health::peer::Peer;
use super::{Failure, place, print};

/// What the command takes.
#[rustfmt::skip]
pub(super) const OPTIONS: &[Row] = &[
    place::OPTIONS[0],
    place::OPTIONS[1],
    place::OPTIONS[2],
    Row::option("local-port", Kind::Integer { min: 1, max: 65_535 }, "number", "",
        "Port of 127.0.0.1 to show it on; without it the system chooses one"),
];

/// Connections that are served at once. A browser opens six, some of which it may never use.
const THREADS: usize = 16;

/// How long a peer may take to send a request, and each time to take a part of the reply.
const PEER_TIME: Duration = Duration::from_secs(5);

/// Pages that are passed on.
const PATHS: [&str; 3] = ["/ui", "/ui/", "/ui/support.txt"];

/// Headers of a reply that reach the browser.
const HEADERS: [&str; 4] = ["Content-Security-Policy", "Content-Disposition", "Referrer-Policy", "Refresh"];

/// Serves the page until the process ends.
pub(super) fn command(flags: &Flags) -> Result<ExitCode, Failure> {
    let port = number(flags, "local-port", u16::MAX.into())?.unwrap_or_default();
    let base = place::base(flags)?;
    let peer = Peer::new(&base).map_err(Failure)?;
    let failed = |why: String| Failure(format!("{}: {why}", place::shown(&base)));
    match peer.fetch("/ui") {
        Ok(reply) if reply.status == 404 => return Err(failed("this tunnel has no page".into())),
        Ok(reply) if reply.status == 401 => return Err(failed("open /ui there, with the token".into())),
        Ok(_) => {}
        Err(error) => return Err(failed(error)),
    }
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, u16::try_from(port).unwrap_or_default()));
    let failed = |error: &dyn std::fmt::Display| Failure(error.to_string());
    let listen = ListenAddress { host: address.ip().to_string(), address };
    let (listener, _, port) = bind_tcp(&listen).map_err(|error| failed(&error))?;
    listener.set_nonblocking(false).map_err(|error| failed(&error))?;
    let token = crypto::random_id().map_err(|error| failed(&error))?;
    let shown = format!(
        "The page of {}, for as long as this runs:\n  http://127.0.0.1:{port}/ui?token={token}\n\
         From another machine: ssh -L {port}:127.0.0.1:{port} HOST, and the same address there.\n",
        place::shown(&base)
    );
    let window = Arc::new(Window { listener, peer, token, cookie: format!("tunnel-client-ui-{port}") });
    let serve = |window: Arc<Window>| sync::spawn("ui", move || window.serve());
    let threads: io::Result<Vec<_>> = (0..THREADS).map(|_| serve(Arc::clone(&window))).collect();
    let threads = threads.map_err(|error| failed(&error))?;
    print(&shown);
    // They do not end before the process does.
    threads.into_iter().for_each(|thread| drop(thread.join()));
    Ok(ExitCode::FAILURE)
}

/// What its threads share.
struct Window {
    listener: TcpListener,
    peer: Peer,
    token: String,
    /// Name of the cookie. Browsers send one port's cookies to all ports of a host.
    cookie: String,
}

impl Window {
    fn serve(&self) {
        loop {
            match self.listener.accept() {
                // A browser that breaks off is nobody's problem.
                Ok((stream, _)) => drop(self.converse(stream)),
                // Asking again at once would burn a processor where descriptors have run out.
                Err(_) => std::thread::sleep(Duration::from_millis(100)),
            }
        }
    }

    /// One request, one reply.
    fn converse(&self, mut stream: TcpStream) -> io::Result<()> {
        stream.set_write_timeout(Some(PEER_TIME))?;
        let (mut head, end) = (Vec::new(), Instant::now() + PEER_TIME);
        let reply = loop {
            match http::parse(&head) {
                Ok(Some((request, _))) => break self.reply(&request),
                Err(refusal) => break refusal,
                Ok(None) => {}
            }
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(ErrorKind::TimedOut.into());
            }
            stream.set_read_timeout(Some(left))?;
            let mut buffer = [0; 1024];
            let count = stream.read(&mut buffer)?;
            if count == 0 {
                return Err(ErrorKind::UnexpectedEof.into());
            }
            head.extend_from_slice(buffer.get(..count).unwrap_or_default());
        };
        stream.write_all(&reply.bytes(false))?;
        stream.shutdown(Shutdown::Both)
    }

    /// What a browser gets.
    fn reply(&self, request: &Request) -> Reply {
        if request.old_version || !request.is_from_here("") || request.is_of_another_site() {
            return Reply::text(403, "Only requests of this host for 127.0.0.1 or localhost are answered.");
        }
        if request.method != "GET" {
            return Reply { headers: vec![("Allow", "GET".to_owned())], ..Reply::text(405, "GET alone.") };
        }
        let query = request.query.as_deref().unwrap_or_default();
        if let Some(shown) = query.strip_prefix("token=") {
            return match crypto::is_same_secret(shown, &self.token) {
                true => self.cookie(),
                false => Reply::text(403, "Another token: open the address that tunnel-client ui printed."),
            };
        }
        if !self.is_known(request) {
            return Reply::text(403, "Open the address that tunnel-client ui printed.");
        }
        match PATHS.iter().find(|path| **path == request.path) {
            Some(path) if query.is_empty() => self.passed_on(path),
            Some(path) => self.passed_on(&format!("{path}?{query}")),
            None => Reply::text(404, "404 page not found\n"),
        }
    }

    /// Makes a cookie of the token, which leaves the address bar.
    fn cookie(&self) -> Reply {
        let cookie = format!("{}={}; Path=/ui; HttpOnly; SameSite=Strict", self.cookie, self.token);
        let headers = vec![("Location", "/ui".to_owned()), ("Set-Cookie", cookie)];
        Reply { headers, ..Reply::text(303, "") }
    }

    /// Whether one of the cookies is ours.
    fn is_known(&self, request: &Request) -> bool {
        let pairs = request
            .all("cookie")
            .flat_map(|line| line.split(';'))
            .filter_map(|pair| pair.trim().split_once('='));
        pairs
            .filter(|(name, _)| *name == self.cookie)
            .any(|(_, value)| crypto::is_same_secret(value, &self.token))
    }

    /// What the tunnel says.
    fn passed_on(&self, path: &str) -> Reply {
        let found = match self.peer.fetch(path) {
            Ok(found) => found,
            Err(error) => return Reply::text(502, format!("The tunnel does not answer: {error}\n")),
        };
        let text = |name: &str| found.headers.get(name).and_then(|value| value.to_str().ok());
        let headers = HEADERS.iter().filter_map(|name| Some((*name, text(name)?.to_owned()))).collect();
        let is_html = text("content-type").is_some_and(|kind| kind.starts_with("text/html"));
        let plain = Reply { headers, ..Reply::text(found.status, found.body) };
        if is_html { Reply { content_type: "text/html; charset=utf-8", ..plain } } else { plain }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn window() -> Window {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let peer = Peer::new("http://127.0.0.1:1").unwrap();
        Window { listener, peer, token: "0123abcd".to_owned(), cookie: "ours".to_owned() }
    }

    #[test]
    fn nothing_is_passed_on_without_the_cookie() {
        let window = window();
        let status = |head: &str| window.reply(&http::parse(head.as_bytes()).unwrap().unwrap().0).status;
        let (host, cookie) = ("Host: localhost\r\n", "Cookie: a=b; ours=0123abcd\r\n");
        for (line, headers, wanted) in [
            // Nobody is there to pass it on to.
            ("GET /ui", format!("{host}{cookie}"), 502),
            ("GET /ui/support.txt?a=b", format!("{host}{cookie}"), 502),
            ("GET /metrics", format!("{host}{cookie}"), 404),
            ("GET /ui/../metrics", format!("{host}{cookie}"), 404),
            ("POST /ui", format!("{host}{cookie}"), 405),
            ("HEAD /ui", format!("{host}{cookie}"), 405),
            ("GET /ui", host.to_owned(), 403),
            ("GET /ui", format!("{host}Cookie: ours=0123abce; theirs=0123abcd\r\n"), 403),
            ("GET /ui", format!("Host: evil.example\r\n{cookie}"), 403),
            ("GET /ui", cookie.to_owned(), 403),
            ("GET /ui", format!("{host}{cookie}Origin: http://evil.example\r\n"), 403),
            ("GET /ui", format!("{host}{cookie}Sec-Fetch-Site: cross-site\r\n"), 403),
            ("GET /ui?token=0123abcd", host.to_owned(), 303),
            ("GET /ui?token=0123abce", host.to_owned(), 403),
            ("GET /ui?token=", host.to_owned(), 403),
            ("POST /ui?token=0123abcd", host.to_owned(), 405),
            ("GET /ui?token=0123abcd", "Host: evil.example\r\n".to_owned(), 403),
        ] {
            assert_eq!(status(&format!("{line} HTTP/1.1\r\n{headers}\r\n")), wanted, "{line} {headers}");
        }
        let sent = String::from_utf8(window.cookie().bytes(false)).unwrap();
        assert!(
            sent.contains("Set-Cookie: ours=0123abcd; Path=/ui; HttpOnly; SameSite=Strict\r\n"),
            "{sent}"
        );
    }
}
