//! The registry alone: comparing, replacing, refusing.

use super::*;
use crate::net::Net;

pub(in crate::harpoon) fn endpoint(
    label: &str,
    url: &str,
    category: &'static str,
    tags: &[&str],
) -> Arc<Endpoint> {
    let uri: ureq::http::Uri = url.parse().unwrap();
    let target = HarpoonTarget {
        label: label.into(),
        url: url.into(),
        origin: crate::config::Origin::of(&uri).unwrap(),
        uri,
        unix_socket: None,
        description: String::new(),
        methods: vec![ureq::http::Method::GET],
        headers: ureq::http::HeaderMap::new(),
        max_request_bytes: 1,
        allowed_networks: Vec::new(),
        template: None,
    };
    let origin = crate::config::Origin { tls: false, host: "h".into(), port: 80 };
    let client = Net::operator(&origin, None).unwrap();
    let tags = tags.iter().map(|tag| (*tag).to_owned()).collect();
    Arc::new(Endpoint { target, category, tags, invocation: None, client })
}

pub(in crate::harpoon) fn endpoints(list: Vec<Arc<Endpoint>>) -> Endpoints {
    Endpoints::new(list).unwrap()
}

#[test]
fn only_the_letter_case_of_scheme_and_host_does_not_count() {
    let known = endpoints(vec![
        endpoint("a", "https://Host.example/A%2fb/?q=1", CONFIGURED, &[]),
        endpoint("b", "https://host.example:443/a", CONFIGURED, &[]),
        endpoint("c", "https://h", CONFIGURED, &[]),
    ]);
    let labels =
        |url: &str| -> Vec<&str> { known.at(url).iter().map(|one| one.target.label.as_str()).collect() };
    assert_eq!(labels("HTTPS://hOST.Example/A%2fb/?q=1"), ["a"]);
    assert_eq!(labels("https://host.example:443/a"), ["b"]);
    for url in [
        "https://host.example/a%2fb/?q=1",
        "https://host.example/A%2Fb/?q=1",
        "https://host.example/A/b/?q=1",
        "https://host.example/A%2fb?q=1",
        "https://host.example/A%2fb/?q=1#",
        "https://host.example/A%2fb/?q=1&",
        "https://host.example/A%2fb/",
        "https://u@host.example/A%2fb/?q=1",
        "https://host.example./A%2fb/?q=1",
        "https://host.example:0443/a",
        "https://host.example/a",
        "https://host.example:443/x/../a",
        "https://host.example:443/%61",
        "https://host.example:443\\@evil/a",
        "https://evil@host.example:443/a",
        "https://host.example:443@evil/a",
        "https://h\u{f6}st.example:443/a",
        "https://\u{ff48}ost.example:443/a",
        " https://host.example:443/a",
        "https://h/",
        "//host.example:443/a",
        "https:host.example:443/a",
        "",
    ] {
        assert!(labels(url).is_empty(), "{url}");
    }
}

#[test]
fn a_set_is_replaced_as_a_whole_or_not_at_all() {
    let registry = Registry::default();
    registry.replace(CONFIGURED, vec![endpoint("a", "https://h/a", CONFIGURED, &[])]).unwrap();
    let learned = |label: &str| endpoint(label, &format!("https://h/{label}"), OAUTH, &[]);
    registry.replace(OAUTH, vec![learned("x"), learned("y")]).unwrap();
    let labels =
        || -> Vec<String> { registry.now().all().iter().map(|one| one.target.label.clone()).collect() };
    assert_eq!(labels(), ["a", "x", "y"]);
    assert_eq!(
        registry.replace(OAUTH, vec![learned("z"), learned("a")]),
        Err("harpoon: duplicate target label \"a\"".into())
    );
    assert_eq!(labels(), ["a", "x", "y"]);
    registry.replace(OAUTH, vec![learned("z")]).unwrap();
    assert_eq!(labels(), ["a", "z"]);
    registry.replace(CONFIGURED, Vec::new()).unwrap();
    assert_eq!(labels(), ["z"]);
    let full = vec![learned("z"); TARGETS_MAX + 1];
    assert_eq!(registry.replace(OAUTH, full).unwrap_err(), "harpoon: registry limit 10000 exceeded");
}

#[test]
fn one_url_has_many_labels_but_one_way() {
    let on_socket = |label: &str| {
        let plain = endpoint(label, "https://H/x", CONFIGURED, &[]);
        let plain = Arc::into_inner(plain).unwrap();
        let target = HarpoonTarget { unix_socket: Some("/run/x".into()), ..plain.target };
        Arc::new(Endpoint { target, ..plain })
    };
    let known = Endpoints::new(vec![on_socket("a"), on_socket("b")]).unwrap();
    assert_eq!(known.at("https://h/x").len(), 2);
    let two_ways = vec![on_socket("a"), endpoint("b", "https://h/x", CONFIGURED, &[])];
    let text = Endpoints::new(two_ways).unwrap_err();
    assert_eq!(text, "harpoon: duplicate target url \"https://h\" uses a different transport");
}

#[test]
fn a_miss_is_told_by_what_differs() {
    let known = endpoints(vec![
        endpoint("a", "https://h/a?q", CONFIGURED, &[]),
        endpoint("b", "http://plain/b", CONFIGURED, &[]),
        endpoint("c", "https://one/same", CONFIGURED, &[]),
        endpoint("d", "https://two/same", CONFIGURED, &[]),
    ]);
    for (url, word) in [
        ("http://h/a?q", "scheme_mismatch_https_to_http"),
        ("https://plain/b", "scheme_mismatch_http_to_https"),
        ("https://h/a?other", "query_mismatch"),
        ("https://h/b", "path_mismatch"),
        ("https://other/a?q", "host_mismatch"),
        ("https://other/same", "not_allowlisted_other"),
        ("nonsense", "not_allowlisted_other"),
    ] {
        assert_eq!(known.missed(url).0, word, "{url}");
    }
}
