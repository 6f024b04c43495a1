//! Dump of whole HTTP requests and replies to the log, for an operator who unlocked that twice.
//!
//! Secrets are replaced here already: the values of the headers below and of every header that was marked
//! sensitive. Bodies are cut; what is not text is shown as replacement characters. Bodies are the private
//! content of calls: that is why this takes both a setting and the debug level, and is off by default.

use ureq::http::{HeaderMap, Method, Uri};

/// Bytes of a body that are shown: more than a log line bears already.
const BODY_MAX_BYTES: usize = 64 * 1024;

const TARGET: &str = "tunnel_client::http";
/// Ours and the peer's, in either direction. Names in a header map are lower-case.
const SECRET_HEADERS: [&str; 5] =
    ["authorization", "proxy-authorization", "cookie", "set-cookie", "x-tunnel-shard-token"];

/// Dumps a request as it is handed to the HTTP crate, a second attempt included in the first.
pub(super) fn request(method: &Method, uri: &Uri, headers: &HeaderMap, body: Option<&[&[u8]]>) {
    if !enabled() {
        return;
    }
    let target = uri.path_and_query().map_or("/", |target| target.as_str());
    let mut dump = format!(
        "{method} {target} HTTP/1.1\r\nHost: {}\r\n",
        uri.authority().map_or("", |host| host.as_str())
    );
    push_headers(&mut dump, headers);
    let bytes = body.unwrap_or_default().iter().flat_map(|part| part.iter().copied());
    dump.push_str(&String::from_utf8_lossy(&bytes.take(BODY_MAX_BYTES).collect::<Vec<u8>>()));
    log::debug!(target: TARGET, dump = dump.as_str(); "raw http request");
}

/// Dumps the head of a reply; false when nobody listens, and its body need not be shown either.
pub(super) fn response(status: u16, headers: &HeaderMap) -> bool {
    if enabled() {
        let mut dump = format!("HTTP/1.1 {status}\r\n");
        push_headers(&mut dump, headers);
        log::debug!(target: TARGET, dump = dump.as_str(); "raw http response");
    }
    enabled()
}

/// The body of a reply as far as it is shown. It is written as one piece when the reply ends: a
/// secret that came in two reads would be recognised in neither.
#[derive(Debug, Default)]
pub(super) struct Body(Vec<u8>);

impl Body {
    /// Keeps a piece that was read, as long as there is room.
    pub(super) fn add(&mut self, piece: &[u8]) {
        let room = BODY_MAX_BYTES.saturating_sub(self.0.len()).min(piece.len());
        self.0.extend_from_slice(piece.get(..room).unwrap_or_default());
    }
}

impl Drop for Body {
    fn drop(&mut self) {
        if !self.0.is_empty() {
            let dump = String::from_utf8_lossy(&self.0);
            log::debug!(target: TARGET, dump = dump.as_ref(); "raw http response");
        }
    }
}

fn enabled() -> bool {
    log::log_enabled!(target: TARGET, log::Level::Debug)
}

fn push_headers(dump: &mut String, headers: &HeaderMap) {
    for (name, value) in headers {
        let secret = value.is_sensitive() || SECRET_HEADERS.contains(&name.as_str());
        let shown = if secret { "[REDACTED]".into() } else { String::from_utf8_lossy(value.as_bytes()) };
        dump.push_str(&format!("{name}: {shown}\r\n"));
    }
    dump.push_str("\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;
    use ureq::http::HeaderValue;

    #[test]
    fn secrets_are_replaced() {
        let mut headers = HeaderMap::new();
        headers.insert("accept", HeaderValue::from_static("a/b"));
        headers.insert("X-Tunnel-Shard-Token", HeaderValue::from_static("s3cret"));
        let mut marked = HeaderValue::from_static("s3cret");
        marked.set_sensitive(true);
        headers.insert("x-configured", marked);
        let mut dump = String::new();
        push_headers(&mut dump, &headers);
        assert!(dump.contains("accept: a/b\r\n") && !dump.contains("s3cret"), "{dump}");
    }
}
