//! Asks for one document: which origins are asked at all, with which headers, and which redirects are followed.
//!
//! The configured MCP server is asked over the way that calls take, and it alone gets the operator's headers.
//! Of others only those are asked that `mcp.oauth-trusted-origin` names, by clients that are guarded. A
//! redirect is followed within the origin that was asked and nowhere else. A body is read within its bound,
//! whatever length it claims. It fails with a [`Miss`], which names origins and nothing behind them.

use std::sync::Arc;
use std::time::Instant;

use ureq::http::{HeaderMap, HeaderValue, Method, Uri, header};

use crate::config::{self, Origin};
use crate::net::{Budget, Bytes, Client, Error, Kind, Net, Reply, Request};
use crate::relay::failure::{Class, Failure, Source};
use crate::relay::headers;
use crate::url;

use super::candidates;

/// Largest document that is read; real ones have some KiB.
const BODY_BYTES_MAX: usize = 1024 * 1024;

/// Most redirects of one document.
const REDIRECTS_MAX: usize = 5;

/// Asks for documents. No `Debug`: the headers are often credentials.
pub(super) struct Fetcher {
    /// The configured server.
    pub(super) origin: Origin,
    own: Client,
    headers: HeaderMap,
    trusted: Vec<(Origin, Client)>,
    budget: Arc<Budget>,
}

/// Why there is no document at one place.
#[derive(Debug)]
pub(super) struct Miss {
    /// A sentence for the log and for `/readyz`.
    pub(super) text: String,
    /// Nobody answered in time.
    pub(super) timed_out: bool,
    /// There is nothing at this place.
    pub(super) absent: bool,
    /// No other place is asked after this.
    pub(super) stops: bool,
    /// The process ends.
    pub(super) cut: bool,
    /// The status of the reply, if there was one that mattered.
    pub(super) status: Option<u16>,
    /// No question went out.
    pub(super) unsent: bool,
    /// It was not asked, because it is of an origin that is not trusted.
    pub(super) stranger: Option<Origin>,
    /// Who failed and how.
    source: Source,
    class: Class,
}

/// A body that is text.
pub(super) struct Text {
    pub(super) text: String,
    pub(super) body_held: Option<crate::net::Reservation>,
}

impl Fetcher {
    /// Prepares the ways to all origins that may be asked; nothing is dialled yet.
    pub(super) fn new(net: &Net, mcp: &config::Mcp, server: &config::HttpServer) -> Result<Fetcher, Error> {
        let trusted = &mcp.oauth_trusted_origins;
        let client = |origin: &Origin| {
            let client = net.learned(origin, trusted, &[&server.proxy, &mcp.proxy], 0)?;
            Ok((origin.clone(), client))
        };
        let mut headers = mcp.extra_headers.clone();
        // Names of the second map take the places of their like in the first.
        headers.extend(mcp.discovery_extra_headers.clone());
        Ok(Fetcher {
            origin: server.origin.clone(),
            own: net.mcp(mcp, server, 0)?,
            headers,
            trusted: trusted.iter().map(client).collect::<Result<_, Error>>()?,
            budget: Arc::clone(net.budget()),
        })
    }

    /// Whether documents of this origin may be asked for, and believed as the server's own are.
    pub(super) fn trusts(&self, origin: &Origin) -> bool {
        *origin == self.origin || self.is_named(origin)
    }

    /// Whether the operator named this origin besides the server's.
    pub(super) fn is_named(&self, origin: &Origin) -> bool {
        self.trusted.iter().any(|(trusted, _)| trusted == origin)
    }

    /// Cuts everything that is on its way, and whatever is asked later.
    pub(super) fn stop(&self) {
        self.own.shutdown();
        for (_, client) in &self.trusted {
            client.shutdown();
        }
    }

    /// Sends one question, with an empty body where the method takes one, and follows redirects within the
    /// origin of `url`. With `headers` the operator's go along, to the MCP server's origin alone.
    pub(super) fn ask(
        &self,
        method: &Method,
        url: &Uri,
        with_headers: bool,
        deadline: Instant,
    ) -> Result<Reply, Miss> {
        let origin = Origin::of(url).ok_or_else(|| Miss::of("a URL is not usable".into()))?;
        let client = self.client(&origin)?;
        let mut all = HeaderMap::new();
        if with_headers && origin == self.origin {
            all = self.headers.clone();
        }
        all.insert(header::ACCEPT, HeaderValue::from_static("application/json"));
        all.insert(header::USER_AGENT, HeaderValue::from_static(crate::USER_AGENT));
        let body = (*method == Method::POST).then_some([].as_slice());
        let (mut url, mut redirects) = (url.clone(), 0);
        loop {
            let request = Request {
                method: method.clone(),
                uri: &url,
                headers: all.clone(),
                body,
                deadline,
                // It asks for nothing to be done.
                replay_when_stale: true,
            };
            let reply = client.send(request).map_err(|error| Miss::net(&origin, &error))?;
            let follows = match reply.status {
                307 | 308 => true,
                301..=303 => *method == Method::GET,
                _ => false,
            };
            if !follows {
                return Ok(reply);
            }
            url = redirected(&reply, &url, &origin)
                .filter(|_| redirects < REDIRECTS_MAX)
                .ok_or_else(|| Miss::of(format!("{origin} redirected to another origin, or too often")))?;
            redirects += 1;
        }
    }

    /// Reads the body of a reply of `origin`. One that is too large or no text is invalid, and ends the search.
    pub(super) fn read(&self, origin: &Origin, reply: Reply, deadline: Instant) -> Result<Text, Miss> {
        let invalid = |why: &str| Miss { stops: true, ..Miss::of(format!("{origin} answered with {why}")) };
        if headers::is_encoded(&reply.headers) {
            return Err(invalid("a compressed document, which was not asked for"));
        }
        let body = reply.read_all(BODY_BYTES_MAX, &self.budget, deadline);
        let Bytes { data, held } = body.map_err(|error| match error.kind {
            Kind::TooLarge => invalid("a document above 1 MiB"),
            _ => Miss::net(origin, &error),
        })?;
        let text = String::from_utf8(data).map_err(|_| invalid("a document that is not UTF-8"))?;
        Ok(Text { text, body_held: held })
    }

    fn client(&self, origin: &Origin) -> Result<&Client, Miss> {
        if *origin == self.origin {
            return Ok(&self.own);
        }
        let named = self.trusted.iter().find(|(trusted, _)| trusted == origin).map(|(_, client)| client);
        named.ok_or_else(|| {
            let why = "is not the MCP server's origin; if it is to be trusted, add";
            Miss { stranger: Some(origin.clone()), ..Miss::of(format!("{origin} {why} {}", setting(origin))) }
        })
    }
}

/// What an operator adds who trusts this origin.
pub(super) fn setting(origin: &Origin) -> String {
    format!("--mcp.oauth-trusted-origin {origin}")
}

/// Where a redirect leads, when that is within `origin`.
fn redirected(reply: &Reply, from: &Uri, origin: &Origin) -> Option<Uri> {
    let location = reply.headers.get(header::LOCATION)?.to_str().ok()?;
    let (to, its) = candidates::learned(&url::resolve(&from.to_string(), location)?)?;
    (its == *origin).then_some(to)
}

impl Miss {
    /// Something is wrong with a reply, or with where to ask.
    pub(super) fn of(text: String) -> Miss {
        Miss {
            text,
            timed_out: false,
            absent: false,
            stops: false,
            cut: false,
            status: None,
            unsent: false,
            stranger: None,
            source: Source::Protocol,
            class: Class::InvalidAnswer,
        }
    }

    /// The reply was another one than a document.
    pub(super) fn status(origin: &Origin, status: u16, why: &str) -> Miss {
        let absent = is_absent(status);
        let text = format!("{origin} answered {status}: {why}");
        let stops = !absent && status < 500;
        Miss { absent, stops, status: Some(status), source: Source::TargetHttp, ..Miss::of(text) }
    }

    /// There was none.
    fn net(origin: &Origin, error: &Error) -> Miss {
        let Failure { source, class, .. } = Failure::transport(error);
        let (timed_out, cut) = (error.kind == Kind::Timeout, error.kind == Kind::Shutdown);
        // What failed at a proxy did not reach the server either.
        let unsent = error.proxy || !error.request_sent;
        Miss { timed_out, cut, unsent, stops: cut, source, class, ..Miss::of(format!("{origin}: {error}")) }
    }

    /// The failure of the command that asked. Its text stays in the local log.
    pub(super) fn failure(&self) -> Failure {
        Failure { source: self.source, ..Failure::new(self.class, self.text.as_str()) }
    }
}

/// Whether a status says that there is nothing. 405 does as well: servers with one path for everything answer
/// so to any GET.
pub(super) fn is_absent(status: u16) -> bool {
    matches!(status, 404 | 405 | 410)
}
