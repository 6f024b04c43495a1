//! Targets that look into `oauth`: challenges, and metadata documents.

#![allow(clippy::as_conversions, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]
#![allow(clippy::string_slice, clippy::unwrap_used)]

use super::Place;
use super::challenge::resource_metadata;
use super::documents::{AuthServer, Issuer, Resource};
use crate::fuzz::bytes::Bytes;
use crate::fuzz::strict_json::{self as strict, Is, No, Value};

const SCHEMES: [&str; 5] = ["Bearer", "bearer", "Basic", "DPoP", "Negotiate"];
const NAMES: [&str; 5] = ["resource_metadata", "Resource_Metadata", "realm", "scope", "error"];
const PIECES: [&str; 12] =
    ["https://h/m", "a", " ", ",", "=", "\"", "\\", "Bearer", "resource_metadata=x", "\u{e4}", "\t", "/"];

/// The first byte chooses between a text as it is, and challenges that are made here, of which it is known what they say.
pub fn challenge(data: &[u8]) {
    let mut choices = Bytes(data);
    if choices.below(3) == 0 {
        let text = String::from_utf8_lossy(choices.0);
        let lower = text.to_ascii_lowercase();
        let found = resource_metadata(&text);
        return assert!(found.is_none() || (lower.contains("bearer") && lower.contains("resource_metadata")));
    }
    let (mut header, mut expected) = (String::new(), None);
    for at in 0..choices.below(4) {
        let scheme = choices.one_of(&SCHEMES);
        header.push_str(if at == 0 { "" } else { choices.one_of(&[", ", ",", " , ", ",,"]) });
        header.push_str(scheme);
        for at in 0..choices.below(4) {
            let name = choices.one_of(&NAMES);
            let value: String = (0..choices.below(4)).map(|_| choices.one_of(&PIECES)).collect();
            header.push_str(if at == 0 { " " } else { choices.one_of(&[", ", ",", " ,"]) });
            header.push_str(name);
            header.push_str(choices.one_of(&["=", " = ", "="]));
            header.push_str(&quoted(&value, &mut choices));
            let counts =
                scheme.eq_ignore_ascii_case("bearer") && name.eq_ignore_ascii_case("resource_metadata");
            expected = expected.or(counts.then_some(value));
        }
    }
    assert_eq!(resource_metadata(&header), expected, "{header}");
}

/// A value as a header has it: in quotes where it has to be.
fn quoted(value: &str, choices: &mut Bytes<'_>) -> String {
    let is_plain = !value.is_empty() && !value.contains([' ', '\t', ',', '"', '\\', '=']);
    if is_plain && choices.below(2) == 0 {
        return value.to_owned();
    }
    let mut out = String::from("\"");
    for letter in value.chars() {
        if matches!(letter, '"' | '\\') || choices.below(5) == 0 {
            out.push('\\');
        }
        out.push(letter);
    }
    out + "\""
}

/// Reads a document as metadata of a resource and of an authorization server.
pub fn documents(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let (resource, server) = (Resource::read(text), read_server(text));
    let tree = match strict::read(data) {
        Err(No::Verdict) => return,
        Err(No::Json) => return assert!(resource.is_err() && server.is_err()),
        Ok(tree) => tree,
    };
    if let Ok(resource) = resource {
        assert_eq!(tree.only("resource").and_then(Value::text).as_ref(), Some(&resource.resource));
        let list = tree.only("authorization_servers").map(|list| &list.is);
        let first = match list {
            None | Some(Is::Null) => None,
            Some(Is::List(items)) => items.first().map(|first| first.text().expect("text")),
            _ => panic!("{list:?}"),
        };
        assert_eq!(resource.issuer.as_ref().map(|issuer| &issuer.text), first.as_ref());
        for place in resource.issuer.into_iter().flat_map(|issuer| asked(&issuer.place)) {
            assert!(place.url.authority().is_some_and(|authority| !authority.as_str().contains('@')));
        }
    }
    if let Ok(server) = server {
        assert_eq!(tree.only("issuer").and_then(Value::text).as_ref(), Some(&server.issuer));
        for (role, url) in server.endpoints {
            let name = role.replace("-endpoint", "_endpoint").replace("jwks-uri", "jwks_uri");
            assert_eq!(tree.only(&name).and_then(Value::text), url, "{role}");
        }
    }
}

fn read_server(text: &str) -> Result<AuthServer, &'static str> {
    let place = Place::learned("https://as.example/.well-known/oauth-authorization-server").unwrap();
    let asked =
        Issuer { text: "https://as.example".into(), place: Place::learned("https://as.example").unwrap() };
    AuthServer::read(text, &place, &asked)
}

/// Where metadata is asked for: at the same origin, and nowhere twice.
fn asked(place: &Place) -> Vec<Place> {
    let places = [place.of_server(), place.of_resource(None)].concat();
    assert!(places.iter().all(|one| one.origin == place.origin));
    assert!(!place.of_server().is_empty());
    places
}
