//! What is read of metadata documents, which themselves are handed on as they came.
//!
//! Only the members that decide something are looked at, and one that stands there twice makes its document
//! invalid: what is decided by here and what the product reads must be the same. Depth is bounded by the
//! relay's reader, size by whoever fetched. Fails with a fixed sentence, without a word of the document.

use crate::relay::json;

use super::candidates;

/// What a protected resource says of itself.
#[derive(Debug)]
pub(super) struct Resource {
    /// Its own URL, as it is written.
    pub(super) resource: String,
    /// The first of its authorization servers.
    pub(super) issuer: Option<String>,
}

/// What an authorization server says of itself.
#[derive(Debug, Clone)]
pub(super) struct AuthServer {
    /// Where that was found.
    pub(super) url: String,
    /// Who it says it is.
    pub(super) issuer: String,
    /// The issuer that it was asked for, as the protected resource names it.
    pub(super) asked: String,
    /// Its endpoints that may be called, by their role.
    pub(super) endpoints: Vec<(&'static str, String)>,
}

/// Members of an authorization server's metadata and the roles that they name. The page at
/// `authorization_endpoint` is for people's browsers and never called from here.
const ENDPOINTS: [(&str, &str); 5] = [
    ("token_endpoint", "token-endpoint"),
    ("jwks_uri", "jwks-uri"),
    ("introspection_endpoint", "introspection-endpoint"),
    ("registration_endpoint", "registration-endpoint"),
    ("revocation_endpoint", "revocation-endpoint"),
];

const NO_TEXT: &str = "a member is no text";

impl Resource {
    /// Reads the document.
    pub(super) fn read(text: &str) -> Result<Resource, &'static str> {
        let members = members(text)?;
        let resource = string(text, &members, "resource")?.filter(|resource| !resource.is_empty());
        let resource = resource.ok_or("it names no resource")?;
        let list = single(&members, "authorization_servers")?.filter(|span| span.of(text) != "null");
        let first = match list {
            None => None,
            Some(list) => {
                let list = json::elements(text, list).map_err(|_| "it is not JSON")?;
                list.ok_or("authorization_servers is no list")?.first().copied()
            }
        };
        let issuer = match first {
            None => None,
            Some(first) => {
                let issuer = json::string(first.of(text)).ok_or(NO_TEXT)?.into_owned();
                candidates::learned(&issuer).ok_or("its authorization server has no usable URL")?;
                Some(issuer)
            }
        };
        Ok(Resource { resource, issuer })
    }
}

impl AuthServer {
    /// Reads the document that was found at `url`, where the issuer `asked` should have its own.
    pub(super) fn read(text: &str, url: String, asked: &str) -> Result<AuthServer, &'static str> {
        let members = members(text)?;
        let issuer = string(text, &members, "issuer")?.ok_or("it names no issuer")?;
        let mut endpoints = Vec::new();
        for (name, role) in ENDPOINTS {
            endpoints.extend(string(text, &members, name)?.map(|url| (role, url)));
        }
        Ok(AuthServer { url, issuer, asked: asked.to_owned(), endpoints })
    }

    /// Whether it speaks for the issuer that it was asked for.
    pub(super) fn is_own(&self) -> bool {
        same_issuer(&self.issuer, &self.asked)
    }
}

/// Whether both are one issuer; a slash at the end makes no other one.
pub(super) fn same_issuer(one: &str, other: &str) -> bool {
    one.trim_end_matches('/') == other.trim_end_matches('/')
}

fn members(text: &str) -> Result<Vec<json::Member<'_>>, &'static str> {
    let whole = json::value(text).map_err(|_| "it is not JSON, or nested too deep")?;
    let members = json::members(text, whole).map_err(|_| "it has too many members")?;
    members.ok_or("it is no JSON object")
}

/// The member of this name, which may stand there once.
fn single(members: &[json::Member<'_>], name: &str) -> Result<Option<json::Span>, &'static str> {
    let mut named = members.iter().filter(|member| member.name == name);
    match (named.next(), named.next()) {
        (_, Some(_)) => Err("a member stands there twice"),
        (found, None) => Ok(found.map(|member| member.value)),
    }
}

fn string(text: &str, members: &[json::Member<'_>], name: &str) -> Result<Option<String>, &'static str> {
    let Some(span) = single(members, name)?.filter(|span| span.of(text) != "null") else { return Ok(None) };
    Ok(Some(json::string(span.of(text)).ok_or(NO_TEXT)?.into_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resources_are_read() {
        let read = Resource::read(
            r#" {"x":[1],"resource":"https://h/mcp","authorization_servers":["https://a/","https://b/"]} "#,
        );
        let read = read.unwrap();
        assert_eq!((read.resource.as_str(), read.issuer.as_deref()), ("https://h/mcp", Some("https://a/")));
        for text in [r#"{"resource":"r"}"#, r#"{"resource":"r","authorization_servers":[]}"#] {
            assert_eq!(Resource::read(text).unwrap().issuer, None);
        }
    }

    #[test]
    fn what_is_no_resource_is_refused() {
        let deep = format!("{{\"resource\":\"r\",\"x\":{}{}}}", "[".repeat(10_001), "]".repeat(10_001));
        for text in [
            "",
            "[]",
            "<html>",
            "{}",
            r#"{"resource":""}"#,
            r#"{"resource":7}"#,
            r#"{"resource":"a","resource":"b"}"#,
            r#"{"resource":"a","authorization_servers":"https://a"}"#,
            r#"{"resource":"a","authorization_servers":["nowhere"]}"#,
            r#"{"resource":"a","authorization_servers":["https://u:p@h/"]}"#,
            &deep,
        ] {
            assert!(Resource::read(text).is_err(), "{text}");
        }
    }

    #[test]
    fn servers_name_their_endpoints() {
        let text = r#"{"issuer":"https://a","authorization_endpoint":"https://a/page","jwks_uri":null,
            "token_endpoint":"https://a/token","revocation_endpoint":"https://a/revoke"}"#;
        let read = AuthServer::read(text, "u".into(), "a").unwrap();
        let roles: Vec<_> = read.endpoints.iter().map(|(role, _)| *role).collect();
        assert_eq!(roles, ["token-endpoint", "revocation-endpoint"]);
        assert!(AuthServer::read(r#"{"token_endpoint":"https://a/token"}"#, "u".into(), "a").is_err());
    }
}
