//! What is read of metadata documents, which themselves are handed on as they came.
//!
//! Only the members that decide something are looked at, and one that stands there twice makes its document
//! invalid: what is decided by here and what the product reads must be the same. Depth is bounded by the
//! relay's reader, size by whoever fetched. Reading fails with a fixed sentence, without a word of the document.

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::relay::json;

use super::place::Place;

/// Metadata of a protected resource.
pub struct Resource {
    /// Its own URL, as it is written.
    pub resource: String,
    /// The first of its authorization servers.
    pub issuer: Option<Issuer>,
}

/// Authorization server as a protected resource names it.
#[derive(Clone)]
pub struct Issuer {
    /// The URL as it is written.
    pub text: String,
    /// The same URL, read.
    pub place: Place,
}

/// Metadata of an authorization server.
#[derive(Clone)]
pub struct AuthServer {
    /// Where the document was found.
    pub place: Place,
    /// The issuer that it was asked for.
    pub asked: Issuer,
    /// The issuer that it names.
    pub issuer: String,
    /// Roles of endpoints that programs call, and their URLs. The page at `authorization_endpoint` is for
    /// people's browsers and never called from here.
    pub endpoints: [(&'static str, Option<String>); 5],
}

#[derive(Deserialize)]
struct ResourceMembers<'a> {
    resource: String,
    /// A list, of which only the first element is looked at.
    #[serde(borrow)]
    authorization_servers: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct ServerMembers {
    issuer: String,
    token_endpoint: Option<String>,
    jwks_uri: Option<String>,
    introspection_endpoint: Option<String>,
    registration_endpoint: Option<String>,
    revocation_endpoint: Option<String>,
}

impl Resource {
    /// Reads the document.
    pub(super) fn read(text: &str) -> Result<Resource, &'static str> {
        let wrong = "it must name its resource once, and its authorization servers in one list of URLs";
        let members: ResourceMembers<'_> = members(text, wrong)?;
        if members.resource.is_empty() {
            return Err("it names no resource");
        }
        let first = |list: &str| -> Result<Option<Issuer>, &'static str> {
            let span = json::Span { start: 0, end: list.len() };
            let elements = json::elements(list, span).ok().flatten().ok_or(wrong)?;
            let Some(first) = elements.first() else { return Ok(None) };
            let text = json::string(first.of(list)).ok_or(wrong)?.into_owned();
            Ok(Some(Issuer { place: Place::named(&text)?, text }))
        };
        let issuer = members.authorization_servers.map_or(Ok(None), |list| first(list.get()))?;
        Ok(Resource { resource: members.resource, issuer })
    }
}

impl AuthServer {
    /// Reads the document that was found at `place`, where the issuer `asked` should have its own.
    pub(super) fn read(text: &str, place: &Place, asked: &Issuer) -> Result<AuthServer, &'static str> {
        let members: ServerMembers =
            members(text, "it must name its issuer and each endpoint once, as text")?;
        let endpoints = [
            ("token-endpoint", members.token_endpoint),
            ("jwks-uri", members.jwks_uri),
            ("introspection-endpoint", members.introspection_endpoint),
            ("registration-endpoint", members.registration_endpoint),
            ("revocation-endpoint", members.revocation_endpoint),
        ];
        Ok(AuthServer { place: place.clone(), asked: asked.clone(), issuer: members.issuer, endpoints })
    }

    /// Whether it speaks for the issuer that it was asked for.
    pub(super) fn is_own(&self) -> bool {
        self.asked.is_named_by(&self.issuer)
    }
}

impl Issuer {
    /// Whether `text` names this issuer; a slash at the end makes no other one.
    pub(super) fn is_named_by(&self, text: &str) -> bool {
        self.text.trim_end_matches('/') == text.trim_end_matches('/')
    }
}

/// The members of a document that are looked at, or the sentence that says how they must be.
fn members<'a, T: Deserialize<'a>>(text: &'a str, wrong: &'static str) -> Result<T, &'static str> {
    let whole = json::value(text).map_err(|_| "it is not JSON, or nested too deep")?;
    // The values of a list would be taken for the members in their order.
    if !whole.of(text).starts_with('{') {
        return Err("it is no JSON object");
    }
    serde_json::from_str(text).map_err(|_| wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn issuer(text: &str) -> Issuer {
        Issuer { text: text.to_owned(), place: Place::learned(text).unwrap() }
    }

    #[test]
    fn resources_are_read() {
        let read = Resource::read(
            r#" {"x":[1],"resource":"https://h/mcp","authorization_servers":["https://a/","https://b/"]} "#,
        );
        let read = read.unwrap();
        assert_eq!(
            (read.resource.as_str(), read.issuer.unwrap().text.as_str()),
            ("https://h/mcp", "https://a/")
        );
        for text in [
            r#"{"resource":"r"}"#,
            r#"{"resource":"r","authorization_servers":[]}"#,
            r#"{"resource":"r","authorization_servers":null}"#,
        ] {
            assert!(Resource::read(text).unwrap().issuer.is_none());
        }
        // Only the first server is of interest.
        let read = Resource::read(r#"{"resource":"r","authorization_servers":["https://a/",{"x":1}]}"#);
        assert_eq!(read.unwrap().issuer.unwrap().text, "https://a/");
    }

    #[test]
    fn what_is_no_resource_is_refused() {
        let deep = format!("{{\"resource\":\"r\",\"x\":{}{}}}", "[".repeat(10_001), "]".repeat(10_001));
        for text in [
            "",
            "[]",
            r#"["https://h/mcp",["https://a/"]]"#,
            "<html>",
            "{}",
            r#"{"resource":""}"#,
            r#"{"resource":7}"#,
            r#"{"resource":"a","resource":"b"}"#,
            r#"{"resource":"a","authorization_servers":"https://a"}"#,
            r#"{"resource":"a","authorization_servers":[7]}"#,
            r#"{"resource":"a","authorization_servers":["nowhere"]}"#,
            r#"{"resource":"a","authorization_servers":["https://u:p@h/"]}"#,
            &deep,
        ] {
            assert!(Resource::read(text).is_err(), "{text}");
        }
    }

    #[test]
    fn servers_name_their_endpoints() {
        let read =
            |text| AuthServer::read(text, &Place::learned("https://a/m").unwrap(), &issuer("https://a/"));
        let text = r#"{"issuer":"https://a","authorization_endpoint":"https://a/page","jwks_uri":null,
            "token_endpoint":"https://a/token","revocation_endpoint":"https://a/revoke"}"#;
        let server = read(text).unwrap();
        assert!(server.is_own());
        let endpoints = server.endpoints.map(|(_, url)| url);
        let [token, None, None, None, revocation] = endpoints else { panic!("{endpoints:?}") };
        assert_eq!(
            (token.unwrap().as_str(), revocation.unwrap().as_str()),
            ("https://a/token", "https://a/revoke")
        );
        for text in [
            r#"{"token_endpoint":"https://a/token"}"#,
            r#"["https://a",null,null,null,null,null]"#,
            r#"{"issuer":"a","jwks_uri":"b","jwks_uri":"b"}"#,
        ] {
            assert!(read(text).is_err(), "{text}");
        }
    }
}
