//! Proxies: what is said to them, and what of theirs is believed.

use std::net::TcpListener;

use super::peers::*;
use crate::net::{Kind, Request};

#[test]
fn a_proxy_is_asked_with_its_credentials_and_forwards_plain_http() {
    let authority = Authority::new("Corp CA");
    let plain = serve(echo);
    let secure = serve_with(Some(authority.server(None)), echo);
    let (port, seen) = proxy(None);
    let mut network = network(Some(&authority.bundle()));
    network.proxy = proxy_at(false, port, Some("user:pass"));
    let places = [format!("127.0.0.1:{plain}"), format!("127.0.0.1:{secure}")];
    let urls = [format!("http://{}/p?q", places[0]), format!("https://{}/p?q", places[1])];
    let lines = [format!("GET {} HTTP/1.1\r\n", urls[0]), format!("CONNECT {} HTTP/1.1\r\n", places[1])];
    let checks = [format!("OPTIONS http://{} HTTP/1.1\r\n", places[0]), lines[1].clone()];
    for ((url, line), check_line) in urls.iter().zip(lines).zip(checks) {
        let through = client(&network, &server(url)).unwrap();
        // A large head and a large body leave in several writes; the connection to the proxy is kept.
        let large = vec![b'x'; 1 << 20];
        for _ in 0..2 {
            let head = get(&through, url).unwrap();
            assert!(head.starts_with("GET /p?q HTTP/1.1\r\n"), "{head}");
            assert!(!head.to_ascii_lowercase().contains("proxy-"), "{head}");
            let uri = url.parse().unwrap();
            let mut headers = ureq::http::HeaderMap::new();
            headers.insert("x-large", "v".repeat(9_000).parse().unwrap());
            headers.insert("x-larger", "v".repeat(9_000).parse().unwrap());
            headers.insert("expect", "100-continue".parse().unwrap());
            headers.insert("proxy-authorization", "of the caller".parse().unwrap());
            let parts: [&[u8]; 2] = [b"GET /smuggled HTTP/1.1\r\n\r\n", &large];
            let (method, deadline) = ("POST".parse().unwrap(), soon());
            let body_parts = Some(&parts[..]);
            let request =
                Request { method, uri: &uri, headers, body: body_parts, deadline, replay_when_stale: false };
            assert_eq!(body(through.send(request).unwrap()).unwrap(), parts.concat());
        }
        assert_eq!(through.connections_opened(), 1);
        assert_eq!(through.route().reason, "http-proxy");
        assert_eq!(through.route().proxy, Some(format!("http://127.0.0.1:{port}")));
        assert_eq!(through.proxy_id().unwrap().len(), 64);
        let check = through.check_proxy().unwrap();
        assert!(check.failure.is_none() && check.connect.is_some(), "{check:?}");
        let heads = std::mem::take(&mut *seen.lock().unwrap());
        assert!(heads[0].starts_with(&line) && heads.last().unwrap().starts_with(&check_line), "{heads:?}");
        for head in heads {
            assert!(!head.contains("smuggled") && !head.contains("100-continue"), "{head}");
            assert_eq!(head.to_ascii_lowercase().matches("proxy-authorization").count(), 1, "{head}");
            assert!(head.contains("Proxy-Authorization: Basic dXNlcjpwYXNz\r\n"), "{head}");
        }
    }
    network.environment.no_proxy = "127.0.0.0/8".into();
    let direct = client(&network, &server(&urls[0])).unwrap();
    get(&direct, &urls[0]).unwrap();
    assert_eq!(direct.route().reason, "NO_PROXY");
    assert!(seen.lock().unwrap().is_empty());
}

#[test]
fn a_proxy_that_cannot_forward_fails_and_the_server_does_not() {
    let answering = |head: &'static str| {
        let port = serve(move |_, stream| {
            while read_request(stream).is_some() {
                let head = format!("HTTP/1.1 {head}\r\nContent-Length: 2\r\n\r\n{{}}");
                stream.write_all(head.as_bytes()).unwrap();
            }
        });
        let mut through = server("http://destination.test:80/");
        through.proxy = proxy_at(false, port, None);
        get(&client(&network(None), &through).unwrap(), "http://destination.test:80/")
    };
    for (head, status) in [
        ("407 No\r\nProxy-Authenticate: NTLM", 407),
        ("503 No\r\nVia: 1.1 squid\r\nContent-Type: text/html", 503),
        ("502 No\r\nProxy-Status: p; error=connection_refused\r\nContent-Type: application/json", 502),
    ] {
        let error = answering(head).unwrap_err();
        assert_eq!(
            (error.kind, error.proxy, error.request_sent),
            (Kind::Proxy(status), true, true),
            "{head}"
        );
        assert_eq!((error.source_word(), error.kind_word()), ("connect", "proxy_refused"));
        assert!(error.to_string().starts_with("the proxy http://127.0.0.1:"), "{error}");
    }
    for head in
        ["503 No\r\nVia: 1.1 squid\r\nContent-Type: application/json", "503 No", "403 No\r\nVia: 1.1 x"]
    {
        assert_eq!(answering(head).unwrap(), "{}", "{head}");
    }
}

#[test]
fn bytes_behind_a_proxys_200_are_refused() {
    let authority = Authority::new("Corp CA");
    let secure = serve_with(Some(authority.server(None)), echo);
    let port = serve(move |_, stream| {
        read_request(stream);
        stream.write_all(b"HTTP/1.1 200 OK\r\n\r\nHTTP/1.1 200 OK\r\n\r\n").unwrap();
        relay(stream, &mut std::net::TcpStream::connect(("127.0.0.1", secure)).unwrap());
    });
    let url = format!("https://127.0.0.1:{secure}/");
    let mut through = server(&url);
    through.proxy = proxy_at(false, port, None);
    let error = get(&client(&network(Some(&authority.bundle())), &through).unwrap(), &url).unwrap_err();
    assert_eq!((error.kind, error.proxy, error.request_sent), (Kind::Protocol, true, false), "{error}");
}

#[test]
fn a_proxy_that_is_not_there_is_named() {
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    for url in ["http://destination.test:80/", "https://destination.test:443/"] {
        let authority = Authority::new("Corp CA");
        let mut through = server(url);
        through.proxy = proxy_at(false, closed, None);
        let error = get(&client(&network(Some(&authority.bundle())), &through).unwrap(), url).unwrap_err();
        assert_eq!((error.kind, error.proxy), (Kind::Refused, true));
        let place = format!("127.0.0.1:{closed}");
        assert!(
            error.to_string().starts_with(&format!("proxy http://{place}: connect to {place}: ")),
            "{error}"
        );
    }
}

#[test]
fn a_refusing_proxy_says_what_it_offers() {
    let port = serve(|_, stream| {
        read_request(stream);
        let head = "HTTP/1.1 407 Denied\r\nProxy-Authenticate: Negotiate\r\nProxy-Authenticate: NTLM, Basic realm=\"r, s\"\r\n\r\n";
        stream.write_all(head.as_bytes()).unwrap();
    });
    let mut through = server("https://destination.test:443/");
    through.proxy = proxy_at(false, port, None);
    let authority = Authority::new("Corp CA");
    let refused = client(&network(Some(&authority.bundle())), &through).unwrap();
    let error = get(&refused, "https://destination.test:443/").unwrap_err();
    assert_eq!(
        (error.kind, error.request_sent, error.kind_word()),
        (Kind::Proxy(407), false, "proxy_refused")
    );
    assert!(error.to_string().contains("it offers Negotiate, NTLM, Basic); put user:password@"), "{error}");
    let check = refused.check_proxy().unwrap();
    assert!(check.connect.is_some());
    assert_eq!(check.failure.unwrap().kind, Kind::Proxy(407));
}

#[test]
fn an_https_proxy_never_sees_the_client_certificate() {
    let authority = Authority::new("Corp CA");
    let url = format!("https://127.0.0.1:{}/", serve_with(Some(authority.server(Some(true))), echo));
    // A proxy that takes client certificates of another authority only: one of ours would be refused.
    let outsider = Authority::new("Outsider CA");
    let (port, _) = proxy(Some(outsider.server(Some(false))));
    let both =
        [authority.bundle(), outsider.bundle()].map(|path| std::fs::read_to_string(path).unwrap()).concat();
    let mut through = server(&url);
    through.identity = Some(authority.identity("agent"));
    through.proxy = proxy_at(true, port, None);
    let network = network(Some(&authority.write("both.pem", &both)));
    let head = get(&client(&network, &through).unwrap(), &url).unwrap();
    assert!(head.starts_with("GET / "), "{head}");
}
