//! Clients that may not reach everything: what they refuse is not dialled, and what they may reach works.

use std::net::TcpListener;
use std::sync::Arc;

use ureq::http::HeaderMap;

use super::peers::*;
use crate::config::{Cidr, Harpoon, HarpoonTarget, HostRules, Network, Origin};
use crate::net::resolve::Names;
use crate::net::{Client, Error, Kind, Net};

fn origin(url: &str) -> Origin {
    Origin::of(&url.parse().unwrap()).unwrap()
}

fn harpoon(network: &Network, url: &str, networks: &[&str]) -> Result<Client, Error> {
    let hosts = HostRules { suffixes: Vec::new(), regexes: Vec::new(), loopback: true, private: true };
    let harpoon = Harpoon {
        targets: Vec::new(),
        allow_plaintext_http: true,
        max_response_bytes: 1,
        max_redirects: 0,
        proxy: None,
        hosts,
        over_http: false,
        token: None,
        capture_payloads: false,
    };
    let target = HarpoonTarget {
        label: "a".into(),
        url: url.into(),
        uri: url.parse().unwrap(),
        origin: origin(url),
        unix_socket: None,
        description: String::new(),
        methods: Vec::new(),
        headers: HeaderMap::new(),
        max_request_bytes: 1,
        allowed_networks: networks.iter().map(|text| Cidr::parse(text).unwrap()).collect(),
        template: None,
    };
    Net::new(network).unwrap().harpoon(&harpoon, &target, 1)
}

fn learned(network: &Network, url: &str, exempt: &[&str]) -> Result<Client, Error> {
    let exempt: Vec<Origin> = exempt.iter().map(|url| origin(url)).collect();
    Net::new(network).unwrap().learned(&origin(url), &exempt, &[], 1)
}

/// A listener that nobody may connect to, and its URL under a host.
fn untouched(host: &str) -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let url = format!("http://{host}:{}/", listener.local_addr().unwrap().port());
    (listener, url)
}

#[test]
fn names_that_hang_hold_up_nobody_else() {
    let url = format!("http://localhost:{}/", serve(echo));
    let mut net = Net::new(&network(None)).unwrap();
    Arc::get_mut(&mut net.shared).unwrap().guarded_names = Names::hanging();
    let learned = net.learned(&origin(&url), &[origin(&url)], &[], 1).unwrap();
    assert_eq!(send(&learned, &url, None, soon()).unwrap_err().kind, Kind::Dns);
    assert!(get(&client_of(&net, &server(&url)).unwrap(), &url).is_ok());
}

#[test]
fn a_target_is_reached_under_its_name_and_within_its_networks() {
    for (host, networks) in
        [("127.0.0.1", &[][..]), ("localhost", &[]), ("localhost", &["127.0.0.0/8", "::1"])]
    {
        let url = format!("http://{host}:{}/", serve(echo));
        let client = harpoon(&network(None), &url, networks).unwrap();
        get(&client, &url).unwrap();
        get(&client, &url).unwrap();
        assert_eq!(client.connections_opened(), 1);
    }
    let (listener, url) = untouched("localhost");
    let client = harpoon(&network(None), &url, &["10.0.0.0/8"]).unwrap();
    let error = get(&client, &url).unwrap_err();
    assert_eq!((error.kind, error.request_sent), (Kind::AddressForbidden, false));
    assert_eq!((error.source_word(), error.kind_word()), ("connect", "address_forbidden"));
    assert_eq!(error.to_string(), "connect to localhost: its address is outside allowed_networks");
    assert!(listener.accept().is_err());
}

#[test]
fn a_target_leads_nowhere_else() {
    let url = format!("http://localhost:{}/", serve(echo));
    let (listener, other) = untouched("localhost");
    let client = harpoon(&network(None), &url, &[]).unwrap();
    assert_eq!(get(&client, &other).unwrap_err().kind, Kind::AddressForbidden);
    assert!(listener.accept().is_err());
}

#[test]
fn what_is_known_to_be_forbidden_fails_before_it_is_used() {
    let kind = |client: Result<Client, Error>| client.unwrap_err().kind;
    let network = network(None);
    assert_eq!(kind(harpoon(&network, "http://169.254.169.254/", &[])), Kind::AddressForbidden);
    assert_eq!(kind(harpoon(&network, "http://[::ffff:169.254.169.254]/", &[])), Kind::AddressForbidden);
    assert_eq!(kind(harpoon(&network, "http://10.0.0.1/", &["192.168.0.0/16"])), Kind::AddressForbidden);
    assert_eq!(kind(learned(&network, "http://127.0.0.1/", &[])), Kind::AddressForbidden);
}

#[test]
fn learned_urls_do_not_reach_this_machine() {
    // The system's own spellings of an address are names until they are resolved.
    for host in ["localhost", "0x7f.1", "127.1", "2130706433"] {
        let (listener, url) = untouched(host);
        let client = learned(&network(None), &url, &["http://localhost:1/"]).unwrap();
        assert_eq!(get(&client, &url).unwrap_err().kind, Kind::AddressForbidden, "{host}");
        assert!(listener.accept().is_err());
    }
    let url = format!("http://localhost:{}/", serve(echo));
    let client = learned(&network(None), &url, &[&url]).unwrap();
    get(&client, &url).unwrap();
    // A redirect to elsewhere is judged by itself.
    let (listener, other) = untouched("127.0.0.1");
    assert_eq!(get(&client, &other).unwrap_err().kind, Kind::AddressForbidden);
    assert!(listener.accept().is_err());
}

#[test]
fn proxies_get_no_name_that_must_be_judged() {
    let (port, seen) = proxy(None);
    let mut network = network(None);
    network.proxy = proxy_at(false, port, None);
    let url = format!("http://localhost:{}/", serve(echo));
    get(&harpoon(&network, &url, &[]).unwrap(), &url).unwrap();
    let error = harpoon(&network, &url, &["127.0.0.0/8"]).unwrap_err();
    assert_eq!(error.kind, Kind::Setup);
    assert_eq!(
        error.to_string(),
        format!(
            "allowed_networks of localhost cannot be checked behind proxy http://127.0.0.1:{port}, \
             which resolves the name; add the host to NO_PROXY, or remove allowed_networks"
        )
    );
    get(&learned(&network, &url, &[&url]).unwrap(), &url).unwrap();
    for other in
        ["http://localhost:1/", "http://known.example/", "http://169.254.169.254/", "http://[fe80::1]/"]
    {
        assert_eq!(learned(&network, other, &[&url]).unwrap_err().kind, Kind::AddressForbidden, "{other}");
    }
    assert_eq!(harpoon(&network, "http://169.254.1.1/", &[]).unwrap_err().kind, Kind::AddressForbidden);
    assert_eq!(seen.lock().unwrap().len(), 2);
    // Past the proxy, the name is resolved here and judged.
    network.environment.no_proxy = "localhost".into();
    get(&harpoon(&network, &url, &["127.0.0.0/8", "::1"]).unwrap(), &url).unwrap();
}
