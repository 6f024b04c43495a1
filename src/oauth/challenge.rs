//! Reads where a server says its metadata is, out of the challenge of a 401.
//!
//! A `WWW-Authenticate` header holds several challenges, each a scheme and its parameters, with commas between
//! both. Only a `Bearer` challenge counts, and a text in quotes is never taken for one. Sends nothing and
//! cannot fail: what cannot be read advertises nothing.

/// The value of `resource_metadata` in the first `Bearer` challenge that has one.
pub(super) fn resource_metadata(header: &str) -> Option<String> {
    let mut rest = header;
    let mut is_bearer = false;
    let ends_word = |c: char| c.is_whitespace() || matches!(c, ',' | '=' | '"');
    loop {
        rest = rest.trim_start_matches(|c: char| c.is_whitespace() || c == ',');
        if rest.is_empty() {
            return None;
        }
        let (word, after) = rest.split_at(rest.find(ends_word).unwrap_or(rest.len()));
        let Some(after) = after.trim_start().strip_prefix('=') else {
            // Nothing that begins with a separator is a word; what follows is not guessed.
            if word.is_empty() {
                return None;
            }
            is_bearer = word.eq_ignore_ascii_case("bearer");
            rest = after;
            continue;
        };
        let (value, after) = value(after.trim_start())?;
        if is_bearer && word.eq_ignore_ascii_case("resource_metadata") {
            return Some(value);
        }
        rest = after;
    }
}

/// A value, bare or in quotes, and what stands behind it; `None` when its quotes do not end.
fn value(text: &str) -> Option<(String, &str)> {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find(|c: char| c.is_whitespace() || c == ',').unwrap_or(text.len());
        let (value, rest) = text.split_at(end);
        return Some((value.to_owned(), rest));
    };
    let mut value = String::new();
    let mut characters = quoted.chars();
    loop {
        match characters.next()? {
            '"' => return Some((value, characters.as_str())),
            '\\' => value.push(characters.next()?),
            other => value.push(other),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::resource_metadata;

    #[test]
    fn mcp_151_a_bearer_challenge_advertises() {
        for header in [
            r#"Bearer resource_metadata="https://h/m""#,
            "Bearer resource_metadata=https://h/m",
            r#"bearer realm="x", RESOURCE_METADATA = "https://h/m", scope="a b""#,
            r#"Basic realm="a, b", Bearer error="x\"y",resource_metadata="https://h/m""#,
            "Negotiate YWJj==, Bearer resource_metadata=https://h/m, scope=x",
            r#"Bearer resource_metadata="https:\/\/h\/m""#,
        ] {
            assert_eq!(resource_metadata(header).as_deref(), Some("https://h/m"), "{header}");
        }
    }

    #[test]
    fn mcp_151_nothing_else_does() {
        for header in [
            "",
            "Bearer",
            r#"Bearer realm="resource_metadata=https://h/m""#,
            r#"Basic realm="x, Bearer resource_metadata=https://h/m""#,
            "Basic resource_metadata=https://h/m",
            "DPoP resource_metadata=https://h/m, Basic realm=x",
            r#"Bearer resource_metadata="https://h/m"#,
            r#""Bearer resource_metadata=https://h/m"#,
            "=,=,=",
        ] {
            assert_eq!(resource_metadata(header), None, "{header}");
        }
    }
}
