//! TLS and client certificates.

use std::io::Write;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rcgen::{CertificateParams, DnType, KeyPair};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;

use super::peers::*;
use crate::config;
use crate::net::{CertificateFault, Error, Kind, Net};

#[test]
fn a_ca_bundle_is_trusted_and_connections_are_reused() {
    let authority = Authority::new("Corp CA");
    let url = format!("https://127.0.0.1:{}/x", serve_with(Some(authority.server(None)), echo));
    let client = client(&network(Some(&authority.bundle())), &server(&url)).unwrap();
    for _ in 0..3 {
        assert!(get(&client, &url).unwrap().starts_with("GET /x "));
    }
    let large = vec![b'x'; 1 << 20];
    assert_eq!(body(send(&client, &url, Some(&[&large]), soon()).unwrap()).unwrap(), large);
    assert_eq!(client.connections_opened(), 1);
}

#[test]
fn named_files_and_directories_replace_the_system_bundle() {
    let authority = Authority::new("Corp CA");
    let url = format!("https://localhost:{}/x", serve_with(Some(authority.server(None)), echo));
    let mut network = network(None);
    network.roots = config::Roots::Automatic;
    network.ssl_cert_file = Some(authority.bundle());
    get(&client(&network, &server(&url)).unwrap(), &url).unwrap();
    network.ssl_cert_file = None;
    network.ssl_cert_dir = Some(authority.directory.display().to_string());
    get(&client(&network, &server(&url)).unwrap(), &url).unwrap();
    network.ssl_cert_dir = Some("/proc/nonexistent".into());
    assert_eq!(client(&network, &server(&url)).unwrap_err().kind, Kind::Setup);
}

#[test]
fn a_refused_certificate_is_named() {
    let authority = Authority::new("Intercepting Proxy CA");
    let other = Authority::new("Other CA");
    let url = format!("https://127.0.0.1:{}/secret-path?q", serve_with(Some(authority.server(None)), echo));
    let refused = client(&network(Some(&other.bundle())), &server(&url)).unwrap();
    let error = get(&refused, &url).unwrap_err();
    assert_eq!((error.kind, error.request_sent, error.source_word()), (Kind::Tls, false, "tls"));
    let text = error.to_string();
    assert!(
        text.contains("issued by \"Intercepting Proxy CA\" to \"server\"") && text.contains("ca-bundle"),
        "{text}"
    );
    assert!(!text.contains("secret"), "{text}");
    let error = client(&network(None), &server(&url)).unwrap_err();
    assert!(error.to_string().contains("no trusted roots"), "{error}");
}

#[test]
fn an_unusable_bundle_stops_the_start() {
    let authority = Authority::new("Corp CA");
    let empty = authority.write("empty.pem", "no certificate\n");
    let error = Net::new(&network(Some(&empty))).unwrap_err();
    let expected =
        format!("invalid ca-bundle {:?}: PEM bundle contained no certificates", empty.display().to_string());
    assert_eq!(error.to_string(), expected);
    let error = Net::new(&network(Some(&authority.directory.join("none")))).unwrap_err();
    assert!(error.to_string().starts_with("read CA bundle "), "{error}");
}

#[test]
fn a_client_certificate_is_shown_to_the_configured_origin_only() {
    let authority = Authority::new("Corp CA");
    let url = format!("https://127.0.0.1:{}/", serve_with(Some(authority.server(Some(true))), echo));
    let other = format!("https://127.0.0.1:{}/", serve_with(Some(authority.server(Some(true))), echo));
    let network = network(Some(&authority.bundle()));
    let mut with = server(&url);
    with.identity = Some(authority.identity("agent"));
    let with = client(&network, &with).unwrap();
    get(&with, &url).unwrap();
    assert_eq!(get(&with, &other).unwrap_err().kind, Kind::Tls);
    let error = get(&client(&network, &server(&url)).unwrap(), &url).unwrap_err();
    assert_eq!(error.kind, Kind::Tls, "{error}");
}

#[test]
fn unusable_client_certificates_stop_the_start() {
    let authority = Authority::new("Corp CA");
    let network = network(Some(&authority.bundle()));
    let failure = |identity: config::Identity| {
        let mut with = server("https://127.0.0.1:1/");
        with.identity = Some(identity);
        let error = client(&network, &with).unwrap_err();
        assert_eq!(error.kind, Kind::Setup);
        let text = error.to_string();
        text.strip_prefix("invalid MCP client certificate configuration: ").unwrap().to_owned()
    };
    let (one, two) = (authority.identity("one"), authority.identity("two"));
    let mixed = config::Identity { certificate: one.certificate.clone(), key: two.key.clone() };
    assert!(failure(mixed).contains("does not belong to the certificate"));
    let swapped = config::Identity { certificate: one.key.clone(), key: one.key.clone() };
    assert!(failure(swapped).contains("contains no PEM certificate"));
    let keyless = config::Identity { certificate: one.certificate.clone(), key: one.certificate.clone() };
    assert!(failure(keyless).contains("contains no PEM private key"));
    std::fs::set_permissions(&two.key, std::fs::Permissions::from_mode(0o660)).unwrap();
    assert!(failure(two).contains("group or others may write to the file"));
    let directory = config::Identity { certificate: one.certificate, key: authority.directory.clone() };
    assert!(failure(directory).contains("not a regular file"));
}

/// A certificate that signed itself, for the names, with the dates as seconds from now.
fn own(ca: bool, name: &str, days: (i64, i64)) -> (CertificateDer<'static>, PrivateKeyDer<'static>) {
    let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
    params.distinguished_name.push(DnType::CommonName, "tools.internal");
    let constraints = rcgen::BasicConstraints::Unconstrained;
    params.is_ca = if ca { rcgen::IsCa::Ca(constraints) } else { rcgen::IsCa::ExplicitNoCa };
    let now = SystemTime::now();
    let at = |days: i64| {
        let distance = Duration::from_secs(days.unsigned_abs() * 86_400);
        if days < 0 { now - distance } else { now + distance }
    };
    (params.not_before, params.not_after) = (at(days.0).into(), at(days.1).into());
    let key = KeyPair::generate().unwrap();
    let der = params.self_signed(&key).unwrap().der().clone();
    (der, PrivateKeyDer::try_from(key.serialize_der()).unwrap())
}

/// Shows a certificate, with whatever key.
#[derive(Debug)]
struct Shown(Arc<CertifiedKey>);

impl rustls::server::ResolvesServerCert for Shown {
    fn resolve(&self, _: rustls::server::ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0))
    }
}

fn showing(certificate: CertificateDer<'static>, key: &PrivateKeyDer<'static>) -> Arc<rustls::ServerConfig> {
    let key = rustls::crypto::ring::sign::any_supported_type(key).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = rustls::ServerConfig::builder_with_provider(provider);
    let builder = builder.with_safe_default_protocol_versions().unwrap().with_no_client_auth();
    Arc::new(builder.with_cert_resolver(Arc::new(Shown(Arc::new(CertifiedKey::new(vec![certificate], key))))))
}

/// What comes of a request to a server that shows `certificate` with `key` where `listed` is the bundle.
fn asked(
    certificate: &CertificateDer<'static>,
    key: &PrivateKeyDer<'static>,
    trust: impl Fn(&Path) -> config::Network,
    listed: &CertificateDer<'static>,
) -> Result<String, Error> {
    let authority = Authority::new("holder of files");
    let text = STANDARD.encode(listed);
    let pem = format!("-----BEGIN CERTIFICATE-----\n{text}\n-----END CERTIFICATE-----\n");
    let url = format!("https://127.0.0.1:{}/", serve_with(Some(showing(certificate.clone(), key)), echo));
    get(&client(&trust(&authority.write("listed.pem", &pem)), &server(&url))?, &url)
}

fn in_bundle(path: &Path) -> config::Network {
    network(Some(path))
}

#[test]
fn a_self_signed_server_is_trusted_where_the_bundle_holds_its_certificate() {
    for ca in [true, false] {
        let (certificate, key) = own(ca, "127.0.0.1", (-1, 1));
        assert!(asked(&certificate, &key, in_bundle, &certificate).unwrap().starts_with("GET / "), "{ca}");
    }
}

#[test]
fn a_self_signed_server_is_refused_for_everything_else() {
    let fault = |certificate: &_, key: &_, listed: &_| {
        let error = asked(certificate, key, in_bundle, listed).unwrap_err();
        assert_eq!((error.kind, error.request_sent), (Kind::Tls, false), "{error}");
        error.certificate()
    };
    for ca in [true, false] {
        let (expired, key) = own(ca, "127.0.0.1", (-2, -1));
        assert_eq!(fault(&expired, &key, &expired), Some(CertificateFault::Expired));
        let (early, key) = own(ca, "127.0.0.1", (1, 2));
        assert_eq!(fault(&early, &key, &early), Some(CertificateFault::NotYetValid));
        let (elsewhere, key) = own(ca, "127.0.0.2", (-1, 1));
        assert_eq!(fault(&elsewhere, &key, &elsewhere), Some(CertificateFault::WrongName));
        // The same subject and another key; then the very certificate without its key.
        let (listed, _) = own(ca, "127.0.0.1", (-1, 1));
        let (other, key) = own(ca, "127.0.0.1", (-1, 1));
        assert!(fault(&other, &key, &listed).is_some_and(|fault| fault != CertificateFault::Expired));
        assert_eq!(fault(&listed, &key, &listed), Some(CertificateFault::Other));
    }
}

#[test]
fn an_authority_of_the_system_is_no_server() {
    let (certificate, key) = own(true, "127.0.0.1", (-1, 1));
    let of_system = |path: &Path| config::Network {
        roots: config::Roots::Automatic,
        ssl_cert_file: Some(path.to_owned()),
        ..network(None)
    };
    let error = asked(&certificate, &key, of_system, &certificate).unwrap_err();
    assert_eq!(error.certificate(), Some(CertificateFault::OfAuthority));
    assert!(error.to_string().contains("does not stand in ca-bundle"), "{error}");
}

#[test]
fn an_authority_with_name_constraints_is_no_server() {
    let mut params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    params.name_constraints = Some(rcgen::NameConstraints {
        permitted_subtrees: vec![rcgen::GeneralSubtree::DnsName("internal".into())],
        excluded_subtrees: Vec::new(),
    });
    let key = KeyPair::generate().unwrap();
    let certificate = params.self_signed(&key).unwrap().der().clone();
    let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    let error = asked(&certificate, &key, in_bundle, &certificate).unwrap_err();
    assert_eq!(error.certificate(), Some(CertificateFault::OfAuthority));
}

/// Serves connections of one request each, and answers with how each was begun.
pub(super) fn tells_how_it_began(config: Arc<rustls::ServerConfig>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let session = rustls::ServerConnection::new(Arc::clone(&config)).unwrap();
            let mut stream = rustls::StreamOwned::new(session, stream.unwrap());
            if read_request(&mut stream).is_none() {
                continue;
            }
            let how = format!("{:?}", stream.conn.handshake_kind().unwrap());
            let head =
                format!("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {}\r\n\r\n", how.len());
            stream.write_all((head + &how).as_bytes()).unwrap();
            stream.conn.send_close_notify();
            let _gone_already = stream.flush();
        }
    });
    format!("https://127.0.0.1:{port}/")
}

#[test]
fn sessions_are_resumed_as_long_as_their_certificate_lives() {
    let authority = Authority::new("Corp CA");
    let network = network(Some(&authority.bundle()));
    let url = tells_how_it_began(authority.server(None));
    let lasting = client(&network, &server(&url)).unwrap();
    assert_eq!(get(&lasting, &url).unwrap(), "Full");
    for _ in 0..3 {
        assert_eq!(get(&lasting, &url).unwrap(), "Resumed");
    }
    // A machine that is too busy for two connections within the life of the certificate tries again.
    for life in [2, 8, 32] {
        let end = SystemTime::now() + Duration::from_secs(life);
        let url = tells_how_it_began(authority.server_until(end));
        let brief = client(&network, &server(&url)).unwrap();
        let (first, second) = (get(&brief, &url), get(&brief, &url));
        if let (Ok(first), Ok(second)) = (first, second) {
            assert_eq!((first.as_str(), second.as_str()), ("Full", "Resumed"));
            // The last second of a certificate belongs to it.
            let over = end + Duration::from_secs(1);
            std::thread::sleep(over.duration_since(SystemTime::now()).unwrap_or_default());
            let error = get(&brief, &url).unwrap_err();
            assert_eq!(error.certificate(), Some(CertificateFault::Expired), "{error}");
            return;
        }
    }
    panic!("three certificates expired before they were used twice");
}

#[test]
fn a_peer_without_tls_is_named() {
    let port = serve(|_, stream| {
        let mut hello = [0; 64];
        let _part_of_it = stream.read(&mut hello);
        stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").unwrap();
    });
    let authority = Authority::new("Corp CA");
    let url = format!("https://127.0.0.1:{port}/");
    let error = get(&client(&network(Some(&authority.bundle())), &server(&url)).unwrap(), &url).unwrap_err();
    assert_eq!((error.kind, error.kind_word(), error.request_sent), (Kind::NotTls, "tls", false));
    assert_eq!(error.to_string(), "127.0.0.1 does not speak TLS; is it http?");
}
