//! Behaviour of this room against loopback peers. One test a property; none waits for time to pass.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::*;

mod bodies;
mod cryptography;
#[cfg(feature = "harpoon")]
mod guarded;
pub(super) mod peers;
mod proxied;
mod renewal;
mod resting;
mod secure;

use peers::*;

#[test]
fn a_busy_connection_is_reused_and_nothing_is_added() {
    let url = format!("http://127.0.0.1:{}/a?b", serve(echo));
    let client = client(&network(None), &server(&url)).unwrap();
    let port = url.split(['/', ':']).nth(4).unwrap();
    for _ in 0..3 {
        let head = get(&client, &url).unwrap();
        assert_eq!(head.to_ascii_lowercase(), format!("get /a?b http/1.1\r\nhost: 127.0.0.1:{port}\r\n\r\n"));
    }
    assert_eq!(client.connections_opened(), 1);
    assert_eq!(client.route().reason, "none");
}

/// Answers the first request of its first connection, then hangs up when the second one arrives.
fn hangs_up_when_reused(posts: Arc<AtomicUsize>) -> u16 {
    serve(move |number, stream| {
        for request in 0.. {
            let Some((head, _)) = read_request(stream) else {
                return;
            };
            posts.fetch_add(usize::from(head.starts_with("POST")), Ordering::SeqCst);
            if number == 0 && request == 1 {
                return;
            }
            stream.write_all(&reply(b"ok")).unwrap();
        }
    })
}

#[test]
fn a_get_is_replayed_when_a_reused_connection_dies() {
    let url = format!("http://127.0.0.1:{}/", hangs_up_when_reused(Arc::default()));
    let client = client(&network(None), &server(&url)).unwrap();
    assert_eq!(get(&client, &url).unwrap(), "ok");
    assert_eq!(get(&client, &url).unwrap(), "ok");
    assert_eq!(client.connections_opened(), 2);
}

#[test]
fn a_post_is_not_replayed() {
    let posts = Arc::new(AtomicUsize::new(0));
    let url = format!("http://127.0.0.1:{}/", hangs_up_when_reused(Arc::clone(&posts)));
    let client = client(&network(None), &server(&url)).unwrap();
    assert_eq!(get(&client, &url).unwrap(), "ok");
    let error = send(&client, &url, Some(&[b"x"]), soon()).unwrap_err();
    assert!(matches!(error.kind, Kind::Eof | Kind::ConnectionReset), "{error:?}");
    assert!(error.request_sent);
    assert_eq!(posts.load(Ordering::SeqCst), 1);
}

#[test]
fn a_connection_that_the_server_closed_is_not_picked() {
    let (closed, was_closed) = mpsc::channel::<()>();
    let closed = Mutex::new(Some(closed));
    let url = format!(
        "http://127.0.0.1:{}/",
        serve(move |_, stream| {
            read_request(stream);
            stream.write_all(&reply(b"ok")).unwrap();
            // The end of the closure closes the socket; the sender goes just before.
            closed.lock().unwrap().take();
        })
    );
    let client = client(&network(None), &server(&url)).unwrap();
    assert_eq!(get(&client, &url).unwrap(), "ok");
    was_closed.recv().unwrap_err();
    assert_eq!(
        body(send(&client, &url, Some(&[b"x"]), soon()).unwrap_or_else(|error| {
            // The close may still be on its way when the request is written.
            assert!(matches!(error.kind, Kind::Eof | Kind::ConnectionReset | Kind::ClosedPipe), "{error:?}");
            send(&client, &url, Some(&[b"x"]), soon()).unwrap()
        }))
        .unwrap(),
        b"ok"
    );
}

#[test]
fn the_deadline_bounds_head_body_proxy_and_handshake() {
    let stalls = |answer: &'static str| {
        serve(move |_, stream| {
            read_request(stream);
            stream.write_all(answer.as_bytes()).unwrap();
            read_request(stream);
        })
    };
    let url = format!("http://127.0.0.1:{}/", stalls(""));
    let silent = client(&network(None), &server(&url)).unwrap();
    let error = send(&silent, &url, None, shortly()).unwrap_err();
    assert_eq!(error.kind, Kind::Timeout);

    let url = format!("http://127.0.0.1:{}/", stalls("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\na"));
    let half = client(&network(None), &server(&url)).unwrap();
    let error = send(&half, &url, None, shortly()).and_then(body).unwrap_err();
    assert_eq!(error.kind, Kind::Timeout);

    let authority = Authority::new("Corp CA");
    let bundle = authority.bundle();
    let mut through = server("https://destination.test:443/");
    through.proxy = proxy_at(false, stalls(""), None);
    let through = client(&network(Some(&bundle)), &through).unwrap();
    let error = send(&through, "https://destination.test:443/", None, shortly()).unwrap_err();
    assert_eq!((error.kind, error.request_sent), (Kind::Timeout, false));

    let url = format!("https://127.0.0.1:{}/", stalls(""));
    let tls = client(&network(Some(&bundle)), &server(&url)).unwrap();
    let error = send(&tls, &url, None, shortly()).unwrap_err();
    assert_eq!((error.kind, error.request_sent), (Kind::Timeout, false));
}

#[test]
fn shutdown_ends_a_blocked_send_at_once() {
    let (arrived, wait) = mpsc::channel();
    let arrived = Mutex::new(arrived);
    let url = format!(
        "http://127.0.0.1:{}/",
        serve(move |_, stream| {
            read_request(stream);
            arrived.lock().unwrap().send(()).unwrap();
            read_request(stream);
        })
    );
    let client = Arc::new(client(&network(None), &server(&url)).unwrap());
    let blocked = {
        let (client, url) = (Arc::clone(&client), url.clone());
        std::thread::spawn(move || send(&client, &url, None, soon()).unwrap_err())
    };
    wait.recv().unwrap();
    client.shutdown();
    let error = blocked.join().unwrap();
    assert_eq!((error.kind, error.request_sent), (Kind::Shutdown, true));
    let error = send(&client, &url, None, soon()).unwrap_err();
    assert_eq!((error.kind, error.request_sent), (Kind::Shutdown, false));
}

#[test]
fn a_unix_socket_replaces_the_address_and_every_proxy() {
    let authority = Authority::new("unused");
    let path = authority.directory.join("s");
    let listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
    std::thread::spawn(move || echo(0, &mut listener.accept().unwrap().0));
    let mut bound = server("http://mcp.internal:80/x");
    bound.unix_socket = Some(path);
    bound.proxy = proxy_at(false, 1, None);
    let to_socket = client(&network(None), &bound).unwrap();
    assert!(
        get(&to_socket, "http://mcp.internal:80/x")
            .unwrap()
            .to_ascii_lowercase()
            .contains("host: mcp.internal")
    );
    assert_eq!((to_socket.route().reason.as_str(), &to_socket.route().proxy), ("unix socket", &None));

    bound.unix_socket = Some(authority.directory.join("none"));
    let error = get(&client(&network(None), &bound).unwrap(), "http://mcp.internal:80/x").unwrap_err();
    assert_eq!((error.kind, error.request_sent, error.kind_word()), (Kind::NoSuchSocket, false, "dial"));
}

#[test]
fn refusals_and_illegal_requests_are_told_apart() {
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let url = format!("http://127.0.0.1:{closed}/");
    let client = client(&network(None), &server(&url)).unwrap();
    let error = send(&client, &url, None, soon()).unwrap_err();
    assert_eq!(
        (error.kind, error.request_sent, error.kind_word()),
        (Kind::Refused, false, "connection_refused")
    );
    assert_eq!(send(&client, "/relative", None, soon()).unwrap_err().kind, Kind::InvalidRequest);
    assert_eq!(send(&client, &url, None, Instant::now()).unwrap_err().kind, Kind::Timeout);

    let url = format!("http://127.0.0.1:{}/", serve(echo));
    let mut headers = ureq::http::HeaderMap::new();
    headers.insert("x-large", "v".repeat(40_000).parse().unwrap());
    let uri = url.parse().unwrap();
    let request = Request {
        method: "GET".parse().unwrap(),
        uri: &uri,
        headers,
        body: None,
        deadline: soon(),
        replay_when_stale: true,
    };
    let error = client.send(request).unwrap_err();
    assert_eq!((error.kind, error.request_sent), (Kind::InvalidRequest, false));
}

#[test]
fn credentials_of_the_url_go_to_its_origin_only() {
    let first = format!("http://127.0.0.1:{}/", serve(echo));
    let other = format!("http://127.0.0.1:{}/", serve(echo));
    let mut with = server(&first);
    with.credentials = Some(config::Secret::new("u:p".into()));
    let client = client(&network(None), &with).unwrap();
    assert!(get(&client, &first).unwrap().to_ascii_lowercase().contains("authorization: basic dtpw"));
    assert!(!get(&client, &other).unwrap().to_ascii_lowercase().contains("authorization"));
}

#[test]
fn a_silent_network_is_left_at_the_deadline_and_at_shutdown() {
    let (port, _full) = full_listener();
    let url = format!("http://127.0.0.1:{port}/");
    let client = Arc::new(client(&network(None), &server(&url)).unwrap());
    let error = send(&client, &url, None, shortly()).unwrap_err();
    assert_eq!((error.kind, error.request_sent), (Kind::Timeout, false));

    let (begun, wait) = mpsc::channel();
    let connecting = {
        let client = Arc::clone(&client);
        std::thread::spawn(move || {
            begun.send(()).unwrap();
            send(&client, &url, None, soon()).unwrap_err()
        })
    };
    wait.recv().unwrap();
    // Nothing tells that a SYN is on its way; too early a shutdown must end the same.
    std::thread::sleep(Duration::from_millis(20));
    let began = Instant::now();
    client.shutdown();
    let error = connecting.join().unwrap();
    assert_eq!((error.kind, error.request_sent), (Kind::Shutdown, false));
    assert!(began.elapsed() < Duration::from_secs(10));
}

#[test]
fn a_silent_address_beside_a_working_one_costs_a_moment() {
    let port = serve(|_, stream| {
        read_request(stream);
        stream.write_all(&reply(b"ok")).unwrap();
    });
    let _full = full_listener_at((Ipv6Addr::LOCALHOST, port).into());
    let mut net = Net::new(&network(None)).unwrap();
    let both = vec![Ipv6Addr::LOCALHOST.into(), Ipv4Addr::LOCALHOST.into()];
    Arc::get_mut(&mut net.shared).unwrap().names.fixed = Some(both);
    let url = format!("http://dual.test:{port}/");
    let client = client_of(&net, &server(&url)).unwrap();
    let began = Instant::now();
    assert_eq!(get(&client, &url).unwrap(), "ok");
    // A quarter of a second; the bound is for busy machines.
    let took = began.elapsed();
    assert!(took < Duration::from_secs(5), "{took:?}");
}

#[test]
#[ignore = "takes 10 s, the time that each step to a connection has"]
fn each_step_to_a_connection_has_ten_seconds() {
    let hangs = || serve(|_, stream| while stream.read(&mut [0]).is_ok_and(|count| count > 0) {});
    let (full, _full) = full_listener();
    let secure = format!("https://127.0.0.1:{}/", hangs());
    let mut behind = server("https://destination.test:443/");
    behind.proxy = proxy_at(false, hangs(), None);
    let authority = Authority::new("Corp CA");
    let network = network(Some(&authority.bundle()));
    let began = Instant::now();
    std::thread::scope(|scope| {
        for server in [server(&format!("http://127.0.0.1:{full}/")), server(&secure), behind] {
            let network = &network;
            scope.spawn(move || {
                let client = client(network, &server).unwrap();
                let error = send(&client, &server.url.to_string(), None, soon()).unwrap_err();
                assert_eq!((error.kind, error.request_sent), (Kind::Timeout, false));
                let took = began.elapsed().as_secs();
                assert!((10..15).contains(&took), "{}: {took} s", server.url);
            });
        }
    });
}
