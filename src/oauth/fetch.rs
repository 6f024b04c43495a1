//! Asks for one document: which origins are asked at all, with which headers, and which redirects are followed.
//!
//! The configured MCP server is asked over the way that calls take, and it alone gets the operator's headers.
//! Of others only those are asked that `mcp.oauth-trusted-origin` names, by clients that are guarded. A
//! redirect is followed within the origin that was asked and nowhere else. A body is read within its bound,
//! whatever length it claims. It fails with a [`Miss`], which names origins and nothing behind them.

use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use ureq::http::{HeaderMap, HeaderValue, Method, header};

use crate::config;
use crate::net::{self, Budget, Client, Kind, Net, Reply, Request, Reservation};
use crate::relay::failure::{Class, Failure, Source};
use crate::relay::headers;
use crate::url::{self, Origin};

use super::place::Place;

/// Largest document that is read; real ones have some KiB.
const BODY_BYTES_MAX: usize = 1024 * 1024;

/// Most redirects of one document.
const REDIRECTS_MAX: usize = 5;

/// Refusals in the reference's words, which people search for.
const ELSEWHERE: &str = "oauth discovery: redirect blocked: destination must use the discovery origin";
const UNTRUSTED: &str = "oauth discovery: destination origin is not trusted; configure --mcp.oauth-trusted-origin for \
                         additional metadata or authorization servers";

/// Asks for documents. No `Debug`: the headers are often credentials.
#[derive(Clone)]
pub(super) struct Fetcher {
    /// The origins that may be asked: the configured server's, then those that the operator named.
    clients: Vec<(Origin, Client)>,
    server: Origin,
    headers: HeaderMap,
    budget: Arc<Budget>,
}

/// Why there is no document at one place. Each names the origin that was asked.
pub enum Miss {
    /// There was no reply, or it broke off.
    Unanswered(Origin, net::Error),
    /// The reply, with this status, is another one than a document, for this reason.
    Answered(Origin, u16, String),
    /// The reply is a document that may not be read, for this reason.
    Unreadable(Origin, &'static str),
    /// The reply sends us elsewhere, or on and on.
    Redirected(Origin, &'static str),
    /// The origin was not asked, because it is not trusted.
    Stranger(Origin),
}

impl Fetcher {
    /// Prepares the ways to all origins that may be asked; nothing is dialled yet.
    pub(super) fn new(
        net: &Net,
        mcp: &config::Mcp,
        server: &config::HttpServer,
    ) -> Result<Fetcher, net::Error> {
        let trusted = &mcp.oauth_trusted_origins;
        let mut clients = vec![(server.origin.clone(), net.mcp(server, &mcp.proxy, 0)?)];
        for origin in trusted {
            let client = net.learned(origin, trusted, &[&server.proxy, &mcp.proxy], 0)?;
            clients.push((origin.clone(), client));
        }
        let (server, headers, budget) = (server.origin.clone(), HeaderMap::new(), Arc::clone(net.budget()));
        Ok(Fetcher { clients, server, headers, budget }.with_headers(mcp))
    }

    /// The same with the headers of these settings.
    pub(super) fn with_headers(&self, mcp: &config::Mcp) -> Fetcher {
        let mut headers = mcp.extra_headers.clone();
        // `extend` replaces headers of the same name.
        headers.extend(mcp.discovery_extra_headers.clone());
        Fetcher { headers, ..self.clone() }
    }

    /// Takes the place of a former one with the same origins.
    pub(super) fn in_place_of(mut self, former: &Fetcher) -> Fetcher {
        for ((_, client), (_, former)) in self.clients.iter_mut().zip(&former.clients) {
            client.replace(former);
        }
        self
    }

    fn client(&self, origin: &Origin) -> Option<&Client> {
        self.clients.iter().find(|(known, _)| known == origin).map(|(_, client)| client)
    }

    /// Whether documents of this origin may be asked for, and believed as the server's own are.
    pub(super) fn trusts(&self, origin: &Origin) -> bool {
        self.client(origin).is_some()
    }

    /// Cuts everything that is on its way, and whatever is asked later.
    pub(super) fn stop(&self) {
        self.clients.iter().for_each(|(_, client)| client.shutdown());
    }

    /// Sends one question, with an empty body where the method takes one, and follows redirects within its
    /// origin. With `headers` the operator's go along, to the MCP server's origin alone.
    pub(super) fn ask(
        &self,
        method: &Method,
        place: &Place,
        with_headers: bool,
        deadline: Instant,
    ) -> Result<Reply, Miss> {
        let origin = &place.origin;
        let client = self.client(origin).ok_or_else(|| Miss::Stranger(origin.clone()))?;
        let mut all = HeaderMap::new();
        if with_headers && *origin == self.server {
            all = self.headers.clone();
        }
        all.insert(header::ACCEPT, HeaderValue::from_static("application/json"));
        all.insert(header::USER_AGENT, HeaderValue::from_static(crate::USER_AGENT));
        let body = (*method == Method::POST).then_some([].as_slice());
        let mut uri = place.url.clone();
        for _ in 0..=REDIRECTS_MAX {
            let request = Request {
                method: method.clone(),
                uri: &uri,
                headers: all.clone(),
                body,
                deadline,
                // It asks for nothing to be done.
                replay_when_stale: true,
            };
            let reply = client.send(request).map_err(|error| Miss::Unanswered(origin.clone(), error))?;
            let sees_other = *method == Method::GET && matches!(reply.status, 301..=303);
            if !sees_other && !matches!(reply.status, 307 | 308) {
                return Ok(reply);
            }
            let location = reply.headers.get(header::LOCATION).and_then(|to| to.to_str().ok());
            let to = location.and_then(|to| Place::learned(&url::resolve(&uri.to_string(), to)?));
            match to.filter(|to| to.origin == *origin) {
                Some(to) => uri = to.url,
                None => return Err(Miss::Redirected(origin.clone(), ELSEWHERE)),
            }
        }
        Err(Miss::Redirected(origin.clone(), "redirected too often"))
    }

    /// Reads the body of a reply of `origin`.
    pub(super) fn read(
        &self,
        origin: &Origin,
        reply: Reply,
        deadline: Instant,
    ) -> Result<(String, Option<Reservation>), Miss> {
        let unreadable = |why| Miss::Unreadable(origin.clone(), why);
        if headers::is_encoded(&reply.headers) {
            return Err(unreadable("a compressed document, which was not asked for"));
        }
        let body = reply.read_all(BODY_BYTES_MAX, &self.budget, deadline);
        let body = body.map_err(|error| match error.kind {
            Kind::TooLarge => unreadable("a document above 1 MiB"),
            _ => Miss::Unanswered(origin.clone(), error),
        })?;
        let text = String::from_utf8(body.data).map_err(|_| unreadable("a document that is not UTF-8"))?;
        Ok((text, body.held))
    }
}

/// What an operator adds who trusts this origin.
pub(super) fn setting(origin: &Origin) -> String {
    format!("--mcp.oauth-trusted-origin {origin}")
}

impl Miss {
    /// Whether nobody answered in time.
    pub(super) fn is_timeout(&self) -> bool {
        matches!(self, Miss::Unanswered(_, error) if error.kind == Kind::Timeout)
    }

    /// Whether it failed because the process ends.
    pub(super) fn is_shutdown(&self) -> bool {
        matches!(self, Miss::Unanswered(_, error) if error.kind == Kind::Shutdown)
    }

    /// Whether no question reached the server: what failed at a proxy did not either.
    pub(super) fn is_unsent(&self) -> bool {
        matches!(self, Miss::Unanswered(_, error) if error.proxy || !error.request_sent)
    }

    /// The status of a reply that says that there is nothing at this place.
    pub(super) fn absence(&self) -> Option<u16> {
        match self {
            Miss::Answered(_, status, _) => Some(*status).filter(|status| is_absent(*status)),
            _ => None,
        }
    }

    /// Whether no other place is asked after this: something is there, and it is no metadata.
    pub(super) fn ends_search(&self) -> bool {
        match self {
            Miss::Answered(_, status, _) => !is_absent(*status) && *status < 500,
            Miss::Unreadable(..) => true,
            _ => self.is_shutdown(),
        }
    }

    /// The setting that would have let the origin be asked.
    #[cfg(feature = "operator")]
    pub fn setting(&self) -> Option<String> {
        match self {
            Miss::Stranger(origin) => Some(setting(origin)),
            _ => None,
        }
    }

    /// The failure of the command that asked. Its text stays in the local log.
    pub(super) fn failure(&self) -> Failure {
        let failure = match self {
            Miss::Unanswered(_, error) => Failure::transport(error),
            _ => Failure::new(Class::InvalidAnswer, ""),
        };
        let source = if matches!(self, Miss::Answered(..)) { Source::TargetHttp } else { failure.source };
        let answered = failure.answered && !matches!(self, Miss::Stranger(_));
        Failure { source, answered, cause: self.to_string(), ..failure }
    }
}

/// A sentence that begins with the origin, for the log and for `/readyz`.
impl fmt::Display for Miss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Miss::Unanswered(origin, error) => write!(f, "{origin}: {error}"),
            Miss::Answered(origin, status, why) => write!(f, "{origin} answered {status}: {why}"),
            Miss::Unreadable(origin, why) => write!(f, "{origin} answered with {why}"),
            Miss::Redirected(origin, why) => write!(f, "{origin}: {why}"),
            Miss::Stranger(origin) => write!(f, "{origin}: {UNTRUSTED}"),
        }
    }
}

/// Whether a status says that there is nothing. 405 does as well: servers with one path for everything answer
/// so to any GET.
pub(super) fn is_absent(status: u16) -> bool {
    matches!(status, 404 | 405 | 410)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_that_was_not_asked_has_not_answered() {
        let origin = || Origin { tls: true, host: "h".into(), port: 443 };
        let refused = net::Error::new(Kind::Refused, "refused");
        for (miss, source, answered) in [
            (Miss::Stranger(origin()), Source::Protocol, false),
            (Miss::Unanswered(origin(), refused), Source::Connect, false),
            (Miss::Redirected(origin(), ELSEWHERE), Source::Protocol, true),
            (Miss::Answered(origin(), 404, "no metadata".into()), Source::TargetHttp, true),
        ] {
            let failure = miss.failure();
            assert_eq!((failure.status, failure.source, failure.answered), (502, source, answered), "{miss}");
        }
    }
}
