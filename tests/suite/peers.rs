//! The peers themselves: a test that leans on them must be able to.

use std::io::{Read, Write};
use std::net::TcpStream;

use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use crate::support::certs::Authority;
use crate::support::command::Command;
use crate::support::gate::Gate;
use crate::support::http::{fetch, read_head};
use crate::support::mcp::Mcp;
use crate::support::plane::{Plane, TUNNEL};
use crate::support::proxy::{Manner, Proxy};
use crate::support::reply::Reply;

fn address(origin: &str) -> String {
    origin.trim_start_matches("http://").to_owned()
}

fn post(address: &str, path: &str, body: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(crate::support::BOUND))?;
    let head = format!("POST {path} HTTP/1.1\r\nConnection: close\r\nContent-Length: {}\r\n\r\n", body.len());
    stream.write_all((head + body).as_bytes())?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    Ok(text)
}

/// The plane hands out what is queued up to the limit, holds empty polls, and restarts in place.
#[test]
fn a_plane_hands_out_commands_and_comes_back_on_its_port() {
    let mut plane = Plane::start();
    plane.off_contract();
    let at = address(&plane.server.origin());
    plane.queue_all(&[Command::method("a", "1"), Command::method("b", "2")]);
    let poll = format!("/v1/tunnels/{TUNNEL}/poll?limit=1&timeout_ms=1");
    assert!(fetch(&at, "GET", &poll, "").unwrap().body.contains(r#""method":"a""#));
    plane.stop();
    assert!(TcpStream::connect(&at).is_err());
    plane.restart();
    assert!(fetch(&at, "GET", &poll, "").unwrap().body.contains(r#""method":"b""#));
    assert_eq!(fetch(&at, "GET", &poll, "").unwrap().status, 204);
    assert_eq!(plane.wait_polls(3).len(), 3);
}

/// A poll that its client has left takes nothing away from the next one.
#[test]
fn an_abandoned_poll_takes_no_command() {
    let plane = Plane::start();
    plane.off_contract();
    let at = address(&plane.server.origin());
    let mut left = TcpStream::connect(&at).unwrap();
    write!(left, "GET /v1/tunnels/{TUNNEL}/poll?limit=9&timeout_ms=20000 HTTP/1.1\r\n\r\n").unwrap();
    plane.wait_polls(1);
    drop(left);
    let poll = format!("/v1/tunnels/{TUNNEL}/poll?limit=1&timeout_ms=20000");
    std::thread::scope(|scope| {
        let next = scope.spawn(|| fetch(&at, "GET", &poll, "").unwrap());
        plane.wait_polls(2);
        plane.queue(&Command::method("a", "1"));
        assert!(next.join().unwrap().body.contains(r#""method":"a""#));
    });
}

/// The server echoes by default and can be scripted to wait, to stream and to reset.
#[test]
fn a_server_says_what_it_is_told() {
    let mcp = Mcp::start();
    let at = address(&mcp.server.origin());
    let call = |m: &str| post(&at, "/mcp", &format!(r#"{{"id":1e0,"method":"{m}","params":[1.50]}}"#));
    assert!(call("x").unwrap().contains(r#""id":1e0,"result":{"echo":[1.50]}"#));
    mcp.reply("reset", Reply::reset());
    assert_eq!(call("reset").unwrap_err().kind(), std::io::ErrorKind::ConnectionReset);
    mcp.reply("close", Reply::closed());
    assert_eq!(call("close").unwrap(), "");
    let gate = Gate::new();
    mcp.reply("gate", Reply::sse().event("1").wait(&gate).event("2"));
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| call("gate").unwrap());
        gate.wait_arrivals(1);
        gate.open();
        assert!(waiting.join().unwrap().contains("data: 2"));
    });
    mcp.reply("hang", Reply::silence());
    let mut stream = TcpStream::connect(&at).unwrap();
    let body = r#"{"method":"hang"}"#;
    write!(stream, "POST / HTTP/1.1\r\nContent-Length: {}\r\n\r\n{body}", body.len()).unwrap();
    mcp.wait_calls("hang", 1);
    drop(stream);
    assert_eq!(mcp.server.wait_abandoned(1).len(), 1);
}

/// Certificates can be made, also for servers that demand one in return, reached through a proxy.
#[test]
fn an_authority_issues_what_tls_tests_need() {
    let authority = Authority::new("test root");
    let files = authority.client("client");
    let mcp = Mcp::start_with(Some(authority.server_demanding(&authority)));
    let proxy = Proxy::start(None, Manner::Authorized("Basic eA==".to_owned()));
    let target = mcp.server.origin().trim_start_matches("https://").to_owned();
    let mut tcp = TcpStream::connect(address(&proxy.url())).unwrap();
    write!(tcp, "CONNECT {target} HTTP/1.1\r\nProxy-Authorization: Basic eA==\r\n\r\n").unwrap();
    read_head(&mut tcp).unwrap();

    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(authority.bundle()).unwrap()).unwrap();
    let chain = vec![CertificateDer::from_pem_file(&files.certificate).unwrap()];
    let key = PrivateKeyDer::from_pem_file(&files.key).unwrap();
    let provider = std::sync::Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_client_auth_cert(chain, key)
        .unwrap();
    let name = "127.0.0.1".try_into().unwrap();
    let session = rustls::ClientConnection::new(std::sync::Arc::new(config), name).unwrap();
    let mut stream = rustls::StreamOwned::new(session, tcp);
    write!(stream, "DELETE /mcp HTTP/1.1\r\nConnection: close\r\n\r\n").unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    assert!(text.starts_with("HTTP/1.1 204"), "{text}");
    assert!(mcp.server.requests()[0].client_certificate);
    assert_eq!(proxy.targets(), [target]);
}

/// A control plane of the suite notices what the published contract does not accept, in what it is asked and in what
/// it is to say.
#[test]
fn a_plane_holds_both_sides_to_the_contract() {
    let asked = |method: &str, path: &str, headers: &str, body: &str| {
        let plane = Plane::start();
        let mut stream = TcpStream::connect(address(&plane.server.origin())).unwrap();
        let length = body.len();
        let head =
            format!("{method} /v1/tunnels/{TUNNEL}{path} HTTP/1.1\r\n{headers}Content-Length: {length}\r\n");
        write!(stream, "{head}Connection: close\r\n\r\n{body}").unwrap();
        std::io::Read::read_to_string(&mut stream, &mut String::new()).unwrap();
        let told = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| drop(plane))).err();
        told.map(|told| told.downcast_ref::<String>().cloned().unwrap()).unwrap_or_default()
    };
    let key = "Authorization: Bearer k\r\n";
    let post = format!("{key}X-Tunnel-Shard-Token: t\r\n");
    let good = r#"{"request_id":"r","resp_code":200,"resp_json":null,"resp_timing":7}"#;
    assert_eq!(asked("POST", "/response", &post, good), "");
    assert_eq!(asked("GET", "/poll?limit=25&timeout_ms=1", key, ""), "");
    for (method, path, headers, body, wanted) in [
        ("GET", "/poll?limit=26&timeout_ms=1", key, "", "limit: anyOf"),
        ("GET", "/poll?limit=1&timeout_ms=1&x=1", key, "", "the parameter x"),
        ("GET", "/poll?limit=1&timeout_ms=1", "", "", "no bearer"),
        ("GET", "/polls", key, "", "no such operation"),
        ("POST", "/response", key, good, "X-Tunnel-Shard-Token is missing"),
        ("POST", "/response", &post, r#"{"request_id":"r","resp_code":"200"}"#, ".resp_code: type"),
        ("POST", "/response", &post, r#"{"request_id":"r","resp_code":200,"x":1}"#, ".x is not published"),
        (
            "POST",
            "/response",
            &post,
            r#"{"request_id":"r","resp_code":200,"resp_type":"x"}"#,
            ".resp_type: enum",
        ),
    ] {
        let told = asked(method, path, headers, body);
        assert!(told.contains(wanted), "{method} {path} {body}: {told}");
    }
    for command in [
        Command::method("a", "1").without("created_at"),
        Command::method("a", "1").timeout("1.5s"),
        Command::method("a", "1").member("jsonrpc", "[]"),
        Command::of_type("dance"),
    ] {
        let plane = Plane::start();
        let queued = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| plane.queue(&command)));
        assert!(queued.is_err(), "{}", command.text());
        plane.queue(&command.off_contract());
    }
}
