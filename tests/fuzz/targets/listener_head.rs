//! The head of a request to the listener, against lines and words; and who may ask.

use std::net::IpAddr;

use crate::ops::listener::http::{Request, parse};

/// A head is complete before that, or refused.
const MAX_HEAD_BYTES: usize = 8 * 1024;

/// Reads a head, whole and as it comes.
pub fn run(data: &[u8]) {
    let (request, length) = match parse(data) {
        Ok(Some(read)) => read,
        Ok(None) => return assert!(data.len() < MAX_HEAD_BYTES),
        Err(reply) => return assert!([400, 431].contains(&reply.status)),
    };
    let head = &data[..length];
    assert!(head.ends_with(b"\n"));
    assert!(matches!(parse(&head[..length - 1]), Ok(None)), "it was complete before");
    assert_eq!(parse(head), Ok(Some((request.clone(), length))));
    let text = String::from_utf8_lossy(head);
    let mut lines = text.split('\n').map(|line| line.strip_suffix('\r').unwrap_or(line));
    let line = lines.find(|line| !line.is_empty()).unwrap();
    let (method, rest) = line.split_once(' ').unwrap();
    let (target, version) = rest.rsplit_once(' ').unwrap();
    assert_eq!(request.method, method);
    assert_eq!(request.old_version, version == "HTTP/1.0");
    let query = request.query.as_ref().map(|query| format!("?{query}")).unwrap_or_default();
    assert_eq!(format!("{}{query}", request.path), target.trim());
    assert!(!request.path.contains('?'));
    let fields: Vec<(String, String)> = lines
        .take_while(|line| !line.is_empty())
        .map(|line| line.split_once(':').unwrap())
        .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
        .collect();
    assert_eq!(request.headers, fields);
    asked_from_here(&request);
    #[cfg(feature = "harpoon")]
    announced(&request);
}

/// Whoever may look names this host.
fn asked_from_here(request: &Request) {
    for configured in ["", "tunnel.example"] {
        if !request.is_from_here(configured) {
            continue;
        }
        let hosts: Vec<&str> = request.all("host").collect();
        assert!(hosts.len() == 1 || (hosts.is_empty() && request.old_version));
        let origins = request.all("origin").map(|origin| {
            let lower = origin.to_ascii_lowercase();
            assert!(lower.starts_with("http://") || lower.starts_with("https://"), "{origin}");
            origin.split_once("://").unwrap().1
        });
        for place in hosts.into_iter().chain(origins) {
            let port =
                place.rfind(':').filter(|at| place[at + 1..].bytes().all(|byte| byte.is_ascii_digit()));
            let host =
                place[..port.filter(|_| !place.ends_with(']')).unwrap_or(place.len())].to_ascii_lowercase();
            let address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
            let is_local = address.is_ok_and(|address| address.to_canonical().is_loopback());
            assert!(
                is_local || host == "localhost" || (!configured.is_empty() && host == configured),
                "{place}"
            );
        }
    }
}

/// A length that is taken stands there once, in digits.
#[cfg(feature = "harpoon")]
fn announced(request: &Request) {
    let lengths: Vec<&str> = request.all("content-length").collect();
    match request.announced_length() {
        Some(length) => match lengths[..] {
            [] => assert_eq!(length, 0),
            [one] => assert_eq!(one.parse().unwrap_or(usize::MAX), length),
            _ => panic!("{lengths:?}"),
        },
        None => assert!(
            lengths.len() > 1
                || !lengths[0].bytes().all(|byte| byte.is_ascii_digit())
                || lengths[0].is_empty()
        ),
    }
}
