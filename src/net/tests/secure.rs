//! TLS, client certificates and proxies.

use std::os::unix::fs::PermissionsExt;

use super::peers::*;
use crate::config;
use crate::net::{Kind, Net};

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
    network.ssl_cert_dir = Some("/nonexistent".into());
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
    assert!(failure(two).contains("may be written by group or others"));
    let directory = config::Identity { certificate: one.certificate, key: authority.directory.clone() };
    assert!(failure(directory).contains("not a regular file"));
}

#[test]
fn a_proxy_gets_connect_with_credentials_for_every_scheme() {
    let authority = Authority::new("Corp CA");
    let plain = serve(echo);
    let secure = serve_with(Some(authority.server(None)), echo);
    let (port, seen) = proxy(None);
    let mut network = network(Some(&authority.bundle()));
    network.proxy = proxy_at(false, port, Some("user:pass"));
    for url in [format!("http://127.0.0.1:{plain}/p"), format!("https://127.0.0.1:{secure}/s")] {
        let through = client(&network, &server(&url)).unwrap();
        let head = get(&through, &url).unwrap();
        assert!(head.starts_with("GET /"), "{head}");
        assert!(!head.to_ascii_lowercase().contains("proxy-"), "{head}");
        assert_eq!(through.route().reason, "http-proxy");
        assert_eq!(through.route().proxy, Some(format!("http://127.0.0.1:{port}")));
        assert_eq!(through.proxy_id().unwrap().len(), 64);
        let check = through.check_proxy().unwrap();
        assert!(check.healthy() && check.phases.len() == 2, "{check:?}");
        let head = seen.lock().unwrap().remove(0);
        assert!(head.contains("Proxy-Authorization: Basic dXNlcjpwYXNz\r\n"), "{head}");
        seen.lock().unwrap().clear();
    }
    network.environment.no_proxy = "127.0.0.0/8".into();
    let url = format!("http://127.0.0.1:{plain}/p");
    let direct = client(&network, &server(&url)).unwrap();
    get(&direct, &url).unwrap();
    assert_eq!(direct.route().reason, "NO_PROXY");
    assert!(seen.lock().unwrap().is_empty());
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
    let failure = check.phases[1].failure.as_ref().unwrap();
    assert_eq!((failure.reason, failure.category), ("bad_status", Some("4xx")));
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
