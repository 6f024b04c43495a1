//! Framing and bounds of heads and bodies, in both directions.

use std::time::{Duration, Instant};

use super::peers::*;
use crate::net::{Budget, FREE_BYTES, Kind, Request};
use ureq::http::HeaderMap;

#[test]
fn parts_travel_as_one_body_and_large_bodies_come_back_whole() {
    let url = format!("http://127.0.0.1:{}/", serve(echo));
    let client = client(&network(None), &server(&url)).unwrap();
    let large = vec![b'x'; 3 << 20];
    for middle in [&b"-"[..], &large[..20_000], &large] {
        let answer = body(send(&client, &url, Some(&[b"{", middle, b"}"]), soon()).unwrap()).unwrap();
        assert_eq!(answer, [b"{", middle, b"}"].concat());
    }
    assert!(body(send(&client, &url, Some(&[]), soon()).unwrap()).unwrap().ends_with(b"0\r\n\r\n"));
    assert_eq!(client.connections_opened(), 1);
}

#[test]
fn framing_of_the_caller_is_not_sent() {
    let url = format!("http://127.0.0.1:{}/", serve(echo));
    let client = client(&network(None), &server(&url)).unwrap();
    for (method, name, value) in [
        ("GET", "content-length", "5"),
        ("DELETE", "content-length", "5"),
        ("GET", "transfer-encoding", "chunked"),
        ("POST", "transfer-encoding", "chunked"),
    ] {
        let mut headers = HeaderMap::new();
        headers.insert(name, value.parse().unwrap());
        let (uri, method) = (url.parse().unwrap(), method.parse().unwrap());
        let (deadline, replay_when_stale) = (soon(), false);
        let request = Request { method, uri: &uri, headers, body: None, deadline, replay_when_stale };
        let head = String::from_utf8(body(client.send(request).unwrap()).unwrap()).unwrap();
        assert!(!head.to_ascii_lowercase().contains(&format!("{name}: {value}")), "{head}");
    }
}

#[test]
fn framing_decides_where_a_body_ends() {
    let cases: [(&str, Result<&str, Kind>); 9] = [
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n1;x=y\r\nc\r\n0\r\n\r\n",
            Ok("abc"),
        ),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab", Err(Kind::UnexpectedEof)),
        ("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nab", Err(Kind::UnexpectedEof)),
        ("HTTP/1.1 200 OK\r\n\r\nuntil the end", Ok("until the end")),
        ("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nab", Ok("ab")),
        ("HTTP/1.1 204 No Content\r\n\r\n", Ok("")),
        ("HTTP/1.1 200 OK\r\nTransfer-Enc", Err(Kind::UnexpectedEof)),
        ("SSH-2.0-OpenSSH_9.9\r\n", Err(Kind::Protocol)),
        ("", Err(Kind::Eof)),
    ];
    for (answer, expected) in cases {
        let url = format!(
            "http://127.0.0.1:{}/",
            serve(move |_, stream| {
                read_request(stream);
                stream.write_all(answer.as_bytes()).unwrap();
            })
        );
        let client = client(&network(None), &server(&url)).unwrap();
        let outcome = get(&client, &url).map_err(|error| {
            assert!(error.request_sent);
            error.kind
        });
        assert_eq!(outcome.as_deref().map_err(|kind| *kind), expected, "{answer:?}");
    }
}

#[test]
fn heads_are_bounded() {
    for (bytes, fits) in [(40_000, true), (70_000, false)] {
        let url = format!(
            "http://127.0.0.1:{}/",
            serve(move |_, stream| {
                read_request(stream);
                let fill = "y".repeat(bytes);
                let _cut_short =
                    write!(stream, "HTTP/1.1 200 OK\r\nX: {fill}\r\nContent-Length: 2\r\n\r\nok");
            })
        );
        let client = client(&network(None), &server(&url)).unwrap();
        match get(&client, &url) {
            Ok(text) => assert!(fits && text == "ok"),
            Err(error) => assert!(!fits && error.kind == Kind::Protocol, "{error:?}"),
        }
    }
}

#[test]
fn bodies_above_the_limit_are_refused() {
    let announced = "HTTP/1.1 200 OK\r\nContent-Length: 104857600\r\n\r\n";
    let endless = "HTTP/1.1 200 OK\r\n\r\n";
    for head in [announced, endless] {
        let url = format!(
            "http://127.0.0.1:{}/",
            serve(move |_, stream| {
                read_request(stream);
                stream.write_all(head.as_bytes()).unwrap();
                let block = vec![b'z'; 1 << 20];
                for _ in 0..100 {
                    if stream.write_all(&block).is_err() {
                        return;
                    }
                }
            })
        );
        let client = client(&network(None), &server(&url)).unwrap();
        let error = get(&client, &url).unwrap_err();
        assert_eq!(
            (error.kind, error.source_word(), error.kind_word()),
            (Kind::TooLarge, "protocol", "response_body_too_large")
        );
    }
}

#[test]
fn large_bodies_are_charged_and_small_ones_are_not() {
    let url = format!("http://127.0.0.1:{}/", serve(echo));
    let client = client(&network(None), &server(&url)).unwrap();
    let budget = Budget::new(16 << 20);
    let _others = budget.reserve(15 << 20, soon()).unwrap();
    let read = |size: usize, deadline| {
        let content = vec![b'b'; size];
        send(&client, &url, Some(&[&content]), soon()).unwrap().read_all(8 << 20, &budget, deadline)
    };
    let held = read(1 << 20, soon()).unwrap();
    assert_eq!(held.held.as_ref().unwrap().bytes, 1 << 20);
    assert!(read(FREE_BYTES, soon()).unwrap().held.is_none());
    assert_eq!(read(FREE_BYTES + 1, shortly()).unwrap_err().kind, Kind::TooLarge);
    drop(held);
    assert_eq!(read(FREE_BYTES + 1, soon()).unwrap().data.len(), FREE_BYTES + 1);
    let sizes = [1 << 20, 4 << 20, 16 << 20, 1 << 40].map(|bytes| Budget::new(bytes).free_bytes());
    assert_eq!(sizes, [32 << 10, 64 << 10, FREE_BYTES, FREE_BYTES], "by budget");
}

#[test]
fn a_reply_that_comes_before_the_body_was_read_is_heard() {
    let url = format!(
        "http://127.0.0.1:{}/",
        serve(|_, stream| {
            let mut first = [0; 100];
            stream.read_exact(&mut first).unwrap();
            let head = "HTTP/1.1 413 Too Large\r\nConnection: close\r\nContent-Length: 2\r\n\r\nno";
            stream.write_all(head.as_bytes()).unwrap();
        })
    );
    let client = client(&network(None), &server(&url)).unwrap();
    let large = vec![b'x'; 32 << 20];
    let answer = send(&client, &url, Some(&[&large]), soon()).unwrap();
    assert_eq!(answer.status, 413);
    assert_eq!(body(answer).unwrap(), b"no");
}

#[test]
fn a_peer_that_never_pauses_is_left_at_the_deadline() {
    for head in ["HTTP/1.1 100 Continue\r\n\r\n", "HTTP/1.1 200 OK\r\n\r\n"] {
        let url = format!(
            "http://127.0.0.1:{}/",
            serve(move |_, stream| {
                read_request(stream);
                let flood = "HTTP/1.1 100 Continue\r\n\r\n".repeat(1000);
                let mut talks = stream.write_all(head.as_bytes());
                while talks.is_ok() {
                    talks = stream.write_all(flood.as_bytes());
                }
            })
        );
        let client = client(&network(None), &server(&url)).unwrap();
        let (began, mut piece) = (Instant::now(), [0; 4096]);
        let ended = send(&client, &url, None, shortly()).and_then(|mut reply| {
            while began.elapsed() < Duration::from_secs(10) {
                reply.read(&mut piece)?;
            }
            Ok(())
        });
        assert_eq!(ended.unwrap_err().kind, Kind::Timeout, "{head:?}");
    }
}
