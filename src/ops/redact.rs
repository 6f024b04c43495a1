//! The one place that takes secrets out of text.
//!
//! Two nets lie on top of each other: the secrets that this process was configured with are
//! replaced wherever they occur, in any encoding that we send them in; and what looks like a
//! credential of somebody else is replaced by its name. The second net is a guess and has holes by nature; nothing
//! relies on it that the first could catch. Nothing here fails, and text with nothing to remove is
//! returned as it came.

use std::borrow::Cow;
use std::sync::{PoisonError, RwLock};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use regex_lite::Regex;

use crate::config::Secret;
use crate::text;

/// Text in the place of a removed value.
pub(super) const REDACTED: &str = "[REDACTED]";

/// Configured values below this length are not searched for: `1` or `prod` as a header value would
/// shred every line, and a secret that short protects nothing.
const MIN_SECRET_BYTES: usize = 6;

/// Forms of learned secrets that are kept: some for each of a dozen keys.
const LEARNED_MAX: usize = 64;

/// Names whose values are secret, with `-` or `_` between their words: log attributes, parameters,
/// form fields, JSON members. `code` is one too, but not as an attribute.
const NAMES: &str = "access_token api_key apikey authorization client_secret cookie id_token mcp_session_id \
    password proxy_authorization refresh_token secret set_cookie shard_token x_api_key x_tunnel_shard_token";

/// No rule can match a text that has none of these, in any case. Searching for words is much cheaper
/// than the patterns, and most lines have none.
const TRIGGERS: &[&str] =
    &["api", "token", "secret", "code", "password", "authorization", "cookie", "session", "sk-", "@"];

/// Takes secrets out of text. Built once, shared behind an `Arc`.
pub struct Redactor {
    /// Longest first, so that a secret within another one does not leave its rest behind.
    secrets: RwLock<Vec<Secret>>,
    /// Secrets that were replaced while we ran, the newest last.
    learned: RwLock<Vec<Secret>>,
    /// Pattern and replacement.
    rules: Vec<(Regex, &'static str)>,
}

impl Redactor {
    /// Knows these secrets from now on: API keys, URL credentials, configured header values.
    pub fn new(secrets: Vec<Secret>) -> Redactor {
        Redactor { secrets: RwLock::new(sorted(&secrets)), learned: RwLock::default(), rules: rules() }
    }

    /// Knows these secrets in the place of the former ones, of which the last are still known as learned ones: calls
    /// that began with them may say them yet.
    pub(crate) fn renew(&self, secrets: &[Secret]) {
        let mut known = self.secrets.write().unwrap_or_else(PoisonError::into_inner);
        let now = sorted(secrets);
        let former = known.iter().filter(|secret| !now.contains(secret));
        former.for_each(|secret| self.learn(secret));
        *known = now;
    }

    /// Knows one secret more, in the place of the oldest that was learned when there are too many.
    pub fn learn(&self, secret: &Secret) {
        let mut learned = self.learned.write().unwrap_or_else(PoisonError::into_inner);
        for form in forms(secret.expose()) {
            if !learned.iter().any(|known| known.expose() == form) {
                learned.push(Secret::new(form));
            }
        }
        let surplus = learned.len().saturating_sub(LEARNED_MAX);
        learned.drain(..surplus);
    }

    /// The text without secrets; the same text when it has none.
    pub fn clean<'a>(&self, text: &'a str) -> Cow<'a, str> {
        let mut clean = Cow::Borrowed(text);
        let secrets = self.secrets.read().unwrap_or_else(PoisonError::into_inner);
        let learned = self.learned.read().unwrap_or_else(PoisonError::into_inner);
        for secret in secrets.iter().chain(learned.iter()) {
            if clean.contains(secret.expose()) {
                clean = Cow::Owned(clean.replace(secret.expose(), REDACTED));
            }
        }
        if !suspicious(&clean) {
            return clean;
        }
        for (rule, replacement) in &self.rules {
            if let Cow::Owned(changed) = rule.replace_all(&clean, *replacement) {
                clean = Cow::Owned(changed);
            }
        }
        clean
    }

    /// The value of a named attribute without secrets.
    pub(super) fn clean_attribute<'a>(&self, key: &str, value: &'a str) -> Cow<'a, str> {
        if is_secret_key(key) { Cow::Borrowed(REDACTED) } else { self.clean(value) }
    }
}

/// True for the name of an attribute whose value is secret.
pub(super) fn is_secret_key(key: &str) -> bool {
    let key = key.to_ascii_lowercase().replace('-', "_");
    NAMES.split(' ').any(|name| name == key)
}

/// All forms of secrets, the longest first.
fn sorted(secrets: &[Secret]) -> Vec<Secret> {
    let mut forms: Vec<String> = secrets.iter().flat_map(|secret| forms(secret.expose())).collect();
    forms.sort_by(|a, b| b.len().cmp(&a.len()).then_with(|| a.cmp(b)));
    forms.dedup();
    forms.into_iter().map(Secret::new).collect()
}

/// A secret as it may appear: itself, the credential after a scheme word, the password after a
/// user name, and the Basic form of both.
fn forms(secret: &str) -> Vec<String> {
    let mut forms = vec![secret.to_owned(), secret.trim().to_owned()];
    if let Some((_, credential)) = secret.trim().rsplit_once(' ') {
        forms.push(credential.to_owned());
    }
    if let Some((_, password)) = secret.split_once(':') {
        forms.push(password.to_owned());
        forms.push(STANDARD.encode(secret));
    }
    // As a JSON string says it to readers of ASCII.
    if !secret.is_ascii() {
        forms.push(secret.chars().fold(String::new(), |mut form, c| {
            match c.is_ascii() {
                true => form.push(c),
                false => text::escape_utf16(&mut form, c),
            }
            form
        }));
    }
    forms.retain(|form| form.len() >= MIN_SECRET_BYTES);
    forms
}

/// Patterns of other people's credentials. The order matters little: every rule leaves text that no
/// other rule takes for a credential.
fn rules() -> Vec<(Regex, &'static str)> {
    // Names of tokens are many: whatever ends in the word, with another before it.
    let fields = format!("{}|code|(?:[a-z0-9]+[-_])+token", NAMES.replace('_', "[-_]").replace(' ', "|"));
    // A value in quotes, also in JSON that was escaped into a string, a list of such, or a bare word. The
    // closing quote may be missing: a body in a dump is cut somewhere.
    let escaped = r#"\\"(?:[^\\]|\\[^"])*?\\""#;
    let quoted = r#""(?:[^"\\]|\\.)*"?"#;
    let value = format!(
        r#"(?:\[\s*{escaped}(?:\s*,\s*{escaped})*\s*\]?|\[(?:[^\]"]|{quoted})*\]?|{escaped}|{quoted}|[^\s,}}\]]+)"#
    );
    // Header lines of dumps, whatever stands before the name (Set-, Proxy-, X-) and whatever the scheme.
    let header =
        r"(?i)\b(authorization|cookie|[a-z0-9]+-token|mcp-session-id|api-?key)([ \t]*:[ \t]*)[^\r\n]+";
    vec![
        (pattern(header), "$1$2[REDACTED]"),
        (pattern(r"\bsk-[A-Za-z0-9_-]{10,}"), "sk-REDACTED"),
        (pattern(&format!(r#"(?i)\b({fields})=("[^"]*"?|[^&\s"]+)"#)), "$1=[REDACTED]"),
        (pattern(&format!(r#"(?i)(\\?"(?:{fields})\\?"\s*:\s*){value}"#)), "$1\"[REDACTED]\""),
        (pattern(r#"(?i)\b([a-z][a-z0-9+.-]*://)[^/\s?#"']+@"#), "$1[REDACTED]@"),
    ]
}

#[expect(clippy::expect_used, reason = "the patterns are constants, and the tests build all of them")]
/// Compiles a constant pattern; done once a process, at the first second of its life.
fn pattern(text: &str) -> Regex {
    Regex::new(text).expect("a constant pattern")
}

/// True when any rule could match.
fn suspicious(text: &str) -> bool {
    let text = text.to_ascii_lowercase();
    TRIGGERS.iter().any(|trigger| text.contains(trigger))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn clean(text: &str) -> String {
        let secrets = ["sk-key-of-this-run", "Bearer configured-token", "user:pa ss word", "1"];
        Redactor::new(secrets.map(|secret| Secret::new(secret.into())).into()).clean(text).into_owned()
    }

    #[test]
    fn what_looks_like_a_credential_is_replaced() {
        for (text, expected) in [
            ("Authorization: Bearer abc def\r\nHost: x", "Authorization: [REDACTED]\r\nHost: x"),
            ("authorization: Digest username=\"u\"", "authorization: [REDACTED]"),
            ("Proxy-Authorization: Basic dTpw", "Proxy-Authorization: [REDACTED]"),
            ("Mcp-Session-Id: 9f\nA: b", "Mcp-Session-Id: [REDACTED]\nA: b"),
            ("X-Tunnel-Shard-Token: t", "X-Tunnel-Shard-Token: [REDACTED]"),
            ("Set-Cookie: a=b; Path=/", "Set-Cookie: [REDACTED]"),
            ("X-Api-Key: a b\r\nHost: x", "X-Api-Key: [REDACTED]\r\nHost: x"),
            ("proxy_authorization=a", "proxy_authorization=[REDACTED]"),
            ("COOKIE:a=b", "COOKIE:[REDACTED]"),
            ("key sk-abcdefghij0 end", "key sk-REDACTED end"),
            ("task-abcdefghijkl", "task-abcdefghijkl"),
            ("/cb?code=12&state=3", "/cb?code=[REDACTED]&state=3"),
            ("status_code=200", "status_code=200"),
            ("Password=\"two words\" x", "Password=[REDACTED] x"),
            (r#"{"access_token": "a\"b", "n":1}"#, r#"{"access_token": "[REDACTED]", "n":1}"#),
            (r#"{"Authorization":["Bearer x","y"],"n":1}"#, r#"{"Authorization":"[REDACTED]","n":1}"#),
            ("Private-Token: t u\r\nHost: x", "Private-Token: [REDACTED]\r\nHost: x"),
            ("X-Amz-Security-Token: t", "X-Amz-Security-Token: [REDACTED]"),
            ("unexpected token: x", "unexpected token: x"),
            (r#"{"X-Vault-Token":["t"],"n":1}"#, r#"{"X-Vault-Token":"[REDACTED]","n":1}"#),
            (r#"{"x_auth_token":"t","n":1}"#, r#"{"x_auth_token":"[REDACTED]","n":1}"#),
            (r#"{"X-Api-Key":"t","api-key":"u"}"#, r#"{"X-Api-Key":"[REDACTED]","api-key":"[REDACTED]"}"#),
            (r#"{"Cookie":["a=[x]; sid=S","b=\"]\"; c"],"n":1}"#, r#"{"Cookie":"[REDACTED]","n":1}"#),
            (
                r#"{"t":"{\"cookie\":[\"a=[x]; sid=S\"]}","n":1}"#,
                r#"{"t":"{\"cookie\":"[REDACTED]"}","n":1}"#,
            ),
            (r#"{"Cookie":["a=[x]; si"#, r#"{"Cookie":"[REDACTED]""#),
            (r#"{"secret":12,"n":1}"#, r#"{"secret":"[REDACTED]","n":1}"#),
            (r#"{"authorization":"Bearer x"}"#, r#"{"authorization":"[REDACTED]"}"#),
            (r#"{"t":"{\"password\":\"p q\"}"}"#, r#"{"t":"{\"password\":"[REDACTED]"}"}"#),
            (r#"{"secret":"cut off"#, r#"{"secret":"[REDACTED]""#),
            ("http://u:p@host/x", "http://[REDACTED]@host/x"),
            ("mail a@b.c", "mail a@b.c"),
            ("calls the API", "calls the API"),
        ] {
            assert_eq!(clean(text), expected);
        }
    }

    #[test]
    fn configured_secrets_are_replaced_wherever_they_occur() {
        assert_eq!(clean("x=sk-key-of-this-run!"), "x=[REDACTED]!");
        assert_eq!(clean("X-Auth: Bearer configured-token"), "X-Auth: [REDACTED]");
        assert_eq!(clean("got configured-token"), "got [REDACTED]");
        assert_eq!(clean("pa ss word"), REDACTED);
        assert_eq!(clean(&STANDARD.encode("user:pa ss word")), REDACTED);
        assert_eq!(clean("1 of 11"), "1 of 11");
    }

    #[test]
    fn former_secrets_stay_known() {
        let secret = |text: &str| Secret::new(text.into());
        let redactor = Redactor::new(vec![secret("one-of-them"), secret("stays-here")]);
        redactor.renew(&[secret("another-one"), secret("stays-here")]);
        for text in ["one-of-them", "another-one", "stays-here"] {
            assert_eq!(redactor.clean(text), REDACTED);
        }
    }

    #[test]
    fn clean_text_is_not_copied() {
        let redactor = Redactor::new(vec![Secret::new("sk-key-of-this-run".into())]);
        for text in ["poll cycle started", "cmd_0123456789", "a code word, a token, an API @ home"] {
            assert!(matches!(redactor.clean(text), Cow::Borrowed(_)), "{text}");
        }
        assert!(!suspicious("poll cycle complete"));
        assert!(NAMES.split(' ').all(suspicious));
    }

    #[test]
    fn attributes_are_secret_by_name() {
        let redactor = Redactor::new(Vec::new());
        for key in ["Authorization", "set-cookie", "SHARD_TOKEN", "api-key"] {
            assert_eq!(redactor.clean_attribute(key, "v"), REDACTED);
        }
        assert_eq!(redactor.clean_attribute("status_code", "v"), "v");
    }
}
