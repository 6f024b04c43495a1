//! The listener that `health` asks: its address taken apart, and its pages within time and size.
//!
//! Connects to nobody else. A page that does not come is a sentence in the report.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Serialize;
use serde_json::Value;
use ureq::http::{HeaderMap, Method, Uri};

use crate::net::{Client, Net, Request};
use crate::url::{Origin, percent_decoded};

/// What stands before the path of a socket.
pub(in crate::cli) const SOCKET_SCHEME: &str = "http+unix://";

/// A listener that takes longer is not well, and a supervisor waits for us.
const PROBE_TIME: Duration = Duration::from_millis(500);
/// The page of metrics takes longer to make.
const METRICS_TIME: Duration = Duration::from_secs(2);

/// What one page said.
#[derive(Serialize, Default)]
#[rustfmt::skip]
pub(in crate::cli) struct Page {
    #[serde(skip_serializing_if = "String::is_empty")] pub(in crate::cli) url: String,
    pub(in crate::cli) ok: bool,
    #[serde(skip_serializing_if = "Option::is_none")] pub(in crate::cli) status: Option<u16>,
    #[serde(skip_serializing_if = "String::is_empty")] pub(in crate::cli) body: String,
    #[serde(skip_serializing_if = "String::is_empty")] pub(in crate::cli) error: String,
}

/// What the metrics said of polls.
#[derive(Serialize, Default)]
#[rustfmt::skip]
pub(in crate::cli) struct Poll {
    #[serde(skip_serializing_if = "String::is_empty")] pub(in crate::cli) url: String,
    #[serde(skip_serializing_if = "Option::is_none")] pub(in crate::cli) value: Option<i64>,
    pub(in crate::cli) ok: bool,
    #[serde(skip_serializing_if = "String::is_empty")] pub(in crate::cli) error: String,
}

/// How much of a page is read; verdicts are one line.
const PAGE_MAX_BYTES: usize = 4096;
/// The same of `/health`, whose bound this is.
const HEALTH_MAX_BYTES: usize = 64 * 1024;
/// The same of the metrics: some 40 families, the largest with a row a channel.
const METRICS_MAX_BYTES: usize = 4 << 20;
/// The same of the text for support.
const SUPPORT_MAX_BYTES: usize = 512 * 1024;
/// Its value is the Unix time of the last poll that succeeded, or zero.
const LAST_POLL: &str = "commands_poll_last_successful_timestamp_seconds";

/// The same of what a browser shows or keeps: the page, and a text for support.
const BROWSER_MAX_BYTES: usize = 2 << 20;
/// A person waits for it.
const BROWSER_TIME: Duration = Duration::from_secs(10);

/// Reply with a whole body.
pub(in crate::cli) struct Fetched {
    pub(in crate::cli) status: u16,
    pub(in crate::cli) headers: HeaderMap,
    pub(in crate::cli) body: String,
}

/// A listener that can be asked.
pub(in crate::cli) struct Peer {
    pub(in crate::cli) base: String,
    /// What requests are made for; the socket's own URL is none that HTTP knows.
    origin: Origin,
    client: Client,
}

impl Peer {
    /// Takes the address apart. A socket's is what the listener writes, its path in base64, or what people
    /// type: the path as it is, or percent-encoded.
    pub(in crate::cli) fn new(base: &str) -> Result<Peer, String> {
        let (origin, socket) = match base.strip_prefix(SOCKET_SCHEME) {
            Some(name) => {
                let typed = Some(name).filter(|name| name.starts_with(['/', '%']));
                let typed = typed.map(|name| percent_decoded(name).unwrap_or_else(|| name.to_owned()));
                let written = || String::from_utf8(URL_SAFE_NO_PAD.decode(name).ok()?).ok();
                let path = typed.or_else(written).filter(|path| !path.is_empty()).map(PathBuf::from);
                (path.is_some().then(|| Origin { tls: false, host: "localhost".into(), port: 80 }), path)
            }
            None => {
                let uri = base.parse::<Uri>().ok().filter(|uri| uri.path() == "/" && uri.query().is_none());
                (uri.filter(|_| !base.contains('@')).as_ref().and_then(Origin::of), None)
            }
        };
        let wanted = "health URL must be http://HOST:PORT, or http+unix:// and the path of a socket";
        let origin = origin.ok_or(wanted)?;
        let client = Net::operator(&origin, socket).map_err(|error| error.to_string())?;
        Ok(Peer { base: base.to_owned(), origin, client })
    }

    /// One page: any status of success is well.
    pub(in crate::cli) fn page(&self, path: &str) -> Page {
        let url = format!("{}{path}", self.base);
        match self.get(path, PROBE_TIME, PAGE_MAX_BYTES) {
            Ok((status, body)) => {
                let ok = (200..300).contains(&status);
                Page { url, ok, status: Some(status), body: body.trim().to_owned(), error: String::new() }
            }
            Err(error) => Page { url, error, ..Page::default() },
        }
    }

    /// What `/health` says; null where there is none, as in an older client.
    pub(in crate::cli) fn health(&self) -> Value {
        match self.get("/health?details=true", PROBE_TIME, HEALTH_MAX_BYTES) {
            Ok((200, body)) => serde_json::from_str(&body).unwrap_or_default(),
            _ => Value::Null,
        }
    }

    /// The text for support, where there is a page.
    pub(in crate::cli) fn support(&self) -> Result<String, String> {
        match self.get("/ui/support.txt", METRICS_TIME, SUPPORT_MAX_BYTES) {
            Ok((200, text)) => Ok(text),
            // Whoever has the port would get it.
            Ok((401, _)) => {
                Err("/ui/support.txt asks for admin_ui.token, which this command does not send".into())
            }
            Ok((status, _)) => Err(format!("HTTP {status}: it shows none here")),
            Err(error) => Err(error),
        }
    }

    /// What the metrics say.
    pub(in crate::cli) fn metrics(&self) -> Result<String, String> {
        match self.get("/metrics", METRICS_TIME, METRICS_MAX_BYTES) {
            Ok((200, page)) => Ok(page),
            Ok((status, _)) => Err(format!("HTTP {status}")),
            Err(error) => Err(error),
        }
    }

    /// Whether a poll has succeeded since the process started.
    pub(in crate::cli) fn poll(&self, metrics: &Result<String, String>) -> Poll {
        let url = format!("{}/metrics", self.base);
        let value = metrics.as_ref().map_err(String::clone);
        match value.and_then(|page| sample(page).ok_or_else(|| format!("missing {LAST_POLL} metric"))) {
            Ok(value) if value > 0 => Poll { url, value: Some(value), ok: true, error: String::new() },
            Ok(value) => {
                let error = "no successful control-plane poll observed".into();
                Poll { url, value: Some(value), ok: false, error }
            }
            Err(error) => Poll { url, error, ..Poll::default() },
        }
    }

    /// Whether there may be a page for people. Listeners that other machines reach have none; one that says
    /// nothing may have one.
    pub(in crate::cli) fn has_page(&self) -> bool {
        !matches!(self.get("/ui", PROBE_TIME, PAGE_MAX_BYTES), Ok((404, _)))
    }

    /// A whole page for a browser.
    pub(in crate::cli) fn fetch(&self, path: &str) -> Result<Fetched, String> {
        let found = self.read(path, BROWSER_TIME, BROWSER_MAX_BYTES + 1)?;
        match found.body.len() {
            ..=BROWSER_MAX_BYTES => Ok(found),
            _ => Err("the page is too long".into()),
        }
    }

    /// Status and the start of the body.
    fn get(&self, path: &str, time: Duration, max: usize) -> Result<(u16, String), String> {
        self.read(path, time, max).map(|found| (found.status, found.body))
    }

    fn read(&self, path: &str, time: Duration, max: usize) -> Result<Fetched, String> {
        let uri: Uri = format!("{}{path}", self.origin).parse().map_err(|_| "the health URL is not legal")?;
        let deadline = Instant::now() + time;
        let (method, headers) = (Method::GET, HeaderMap::new());
        let request = Request { method, uri: &uri, headers, body: None, deadline, replay_when_stale: false };
        let mut reply = self.client.send(request).map_err(|error| error.to_string())?;
        let mut body = vec![0; max];
        let mut filled = 0;
        while let Some(room) = body.get_mut(filled..).filter(|room| !room.is_empty()) {
            match reply.read(room).map_err(|error| error.to_string())? {
                0 => break,
                count => filled += count,
            }
        }
        body.truncate(filled);
        let body = String::from_utf8_lossy(&body).into_owned();
        Ok(Fetched { status: reply.status, headers: reply.headers, body })
    }
}

/// The value of the sample in the text form of Prometheus; labels are passed over.
fn sample(page: &str) -> Option<i64> {
    let after = page.lines().find_map(|line| line.strip_prefix(LAST_POLL)?.strip_prefix([' ', '{', '\t']))?;
    let after = after.rsplit_once('}').map_or(after, |(_, value)| value);
    let value: f64 = after.split_whitespace().next()?.parse().ok()?;
    // Samples may be written with an exponent; whole seconds are all that anybody wants to know.
    format!("{value:.0}").parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sockets_are_named_as_people_and_files_name_them() {
        for url in ["ftp://h", "http://u:p@h", "http://h/other", "h:1", "http+unix://", "http+unix://tmp/x"] {
            assert!(Peer::new(url).is_err(), "{url}");
        }
        for url in ["http+unix:///tmp/x.sock", "http+unix://%2Ftmp%2Fx.sock", "http+unix://L3RtcC94"] {
            assert!(Peer::new(url).is_ok(), "{url}");
        }
    }

    #[test]
    fn the_sample_is_found_with_labels_and_without() {
        assert_eq!(sample(&format!("# TYPE {LAST_POLL} gauge\n{LAST_POLL} 17\n")), Some(17));
        assert_eq!(sample(&format!("{LAST_POLL}{{a=\"x y}}\"}} 1.7e9 123\n")), Some(1_700_000_000));
        assert_eq!(sample(&format!("{LAST_POLL}_other 17\n")), None);
        assert_eq!(sample(&format!("{LAST_POLL} NaN\n")), None);
    }
}
