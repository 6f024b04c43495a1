//! Finds out how a protected MCP server wants its callers to sign in, and makes its own authorization
//! endpoints callable, so that both may stay private.
//!
//! The metadata of the server behind `main` is looked for where the revisions say (`challenge`, `candidates`),
//! fetched (`fetch`), and handed to the product as it came: no URL in it is rewritten here. Of an authorization
//! server that is trusted the metadata is read as well, and its endpoints are registered with Harpoon
//! (`documents`, `register`). It happens at start, and again whenever the product asks (`target`).
//!
//! Here documents decide what is called, so a reviewer may rely on this:
//!
//! - Only the configured server's origin is asked, and origins that the operator named besides; nothing that
//!   a document or a redirect says leads elsewhere (`fetch`).
//! - Only those are registered, and of them only what the host rules let in (`register`).
//! - No caller's header goes along; the operator's go to the configured origin alone (`fetch`).
//! - Every wait and every body is bounded, and a search asks a known number of places.
//!
//! A server without such metadata is a server without OAuth, which is no failure. What fails is asked again by
//! the prober, and said by readiness until it succeeds.

mod target;

mod candidates;
mod challenge;
mod documents;
mod fetch;
mod register;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use ureq::http::{HeaderMap, Method, Uri, header};

use crate::config::{self, Origin};
use crate::net::{Error, Net, Reservation};
use crate::ops::readiness::Readiness;

use documents::{AuthServer, Resource};
use fetch::{Fetcher, Miss, Text};
pub use register::Registrar;
pub use target::Protected;

/// How long one search may take. What is slower than that at start is said by readiness, and asked again.
const SEARCH_TIME: Duration = Duration::from_secs(5);

/// How long of it the server itself is asked where its metadata is.
const PROBE_TIME: Duration = Duration::from_secs(1);

/// How long each place gets in the second pass, which is made for somebody who waits.
const PATIENCE: [Duration; 3] = [Duration::from_secs(2), Duration::from_secs(4), Duration::from_secs(8)];

/// Most header lines with challenges that are read.
const CHALLENGES_MAX: usize = 16;

/// Discovery for one server. Shared behind an `Arc`: the prober and workers may run it at the same time.
pub struct Discovery {
    url: Uri,
    fetcher: Fetcher,
    /// Nothing is registered without one.
    registrar: Option<Registrar>,
    readiness: Arc<Readiness>,
    /// The authorization server as it was last read, for the day on which it does not answer.
    known: Mutex<Option<AuthServer>>,
}

/// A metadata document, as it came.
struct Found {
    status: u16,
    headers: HeaderMap,
    url: Uri,
    text: String,
    held: Option<Reservation>,
    resource: Resource,
}

impl Discovery {
    /// Prepares the ways; nothing is dialled yet. From now on readiness waits for the first search.
    pub fn new(
        net: &Net,
        mcp: &config::Mcp,
        server: &config::HttpServer,
        registrar: Option<Registrar>,
        readiness: &Arc<Readiness>,
    ) -> Result<Discovery, Error> {
        let (url, fetcher) = (server.url.clone(), Fetcher::new(net, mcp, server)?);
        readiness.discovery_started();
        Ok(Discovery { url, fetcher, registrar, readiness: Arc::clone(readiness), known: Mutex::default() })
    }

    /// One search of our own. False when it should be repeated later.
    pub fn round(&self) -> bool {
        match self.search(Instant::now() + SEARCH_TIME) {
            Ok(found) => {
                self.succeeded(found.as_ref());
                let whole =
                    found.as_ref().is_none_or(|found| self.publish(found, Instant::now() + SEARCH_TIME));
                let url = found.map(|found| found.url.to_string()).unwrap_or_default();
                log::info!(url = url.as_str(), whole = whole; "oauth discovery succeeded");
                whole
            }
            Err(miss) if miss.cut => false,
            Err(miss) => {
                log::warn!(error = miss.text.as_str(); "oauth discovery failed");
                self.readiness.discovered(Err(&miss.text));
                false
            }
        }
    }

    /// A search for somebody who waits until `end`: when nobody answered in time, everybody is asked again.
    fn answer(&self, end: Instant) -> Result<Option<Found>, Miss> {
        let mut result = self.search(end.min(Instant::now() + SEARCH_TIME));
        if matches!(&result, Err(miss) if miss.timed_out) {
            // What the server says of itself it has had its time to say.
            let candidates = candidates::resource(&self.url, None);
            for (candidate, wait) in candidates.iter().flat_map(|one| PATIENCE.map(|wait| (one, wait))) {
                match self.document(candidate, true, end.min(Instant::now() + wait)) {
                    Err(miss) if !miss.stops => result = Err(miss),
                    other => {
                        result = other.map(Some);
                        break;
                    }
                }
            }
        }
        if let Ok(found) = &result {
            self.succeeded(found.as_ref());
        }
        result
    }

    /// Asks one place after the other; nothing when all of them say that there is none. Each has an equal
    /// share of the time that is left, so that a silent one does not cost the others theirs.
    fn search(&self, deadline: Instant) -> Result<Option<Found>, Miss> {
        let advertised = self.advertised(deadline.min(Instant::now() + PROBE_TIME));
        let candidates = candidates::resource(&self.url, advertised.as_ref());
        let mut misses = Vec::new();
        let mut left = u32::try_from(candidates.len()).unwrap_or(u32::MAX);
        for candidate in &candidates {
            let now = Instant::now();
            let share = now + deadline.saturating_duration_since(now) / left.max(1);
            left = left.saturating_sub(1);
            match self.document(candidate, left == 0, share) {
                Ok(found) => return Ok(Some(found)),
                Err(miss) if miss.stops => return Err(miss),
                Err(miss) => misses.push(miss),
            }
        }
        if advertised.is_none() && misses.iter().all(|miss| miss.absent) {
            return Ok(None);
        }
        let timed_out = misses.iter().all(|miss| miss.timed_out);
        let told = misses.iter().position(|miss| !miss.absent).unwrap_or_default();
        let miss = misses.into_iter().nth(told);
        let mut miss = miss.unwrap_or_else(|| Miss::of("there is no place to ask".into()));
        miss.timed_out = timed_out;
        Err(miss)
    }

    /// Where the server says its metadata is: it is asked without credentials and without a message, as nobody
    /// would do who wanted something.
    fn advertised(&self, deadline: Instant) -> Option<Uri> {
        [Method::POST, Method::GET].iter().find_map(|method| {
            let reply = self.fetcher.ask(method, &self.url, true, deadline).ok()?;
            let challenges = reply.headers.get_all(header::WWW_AUTHENTICATE).iter().take(CHALLENGES_MAX);
            let mut named = challenges.filter_map(|value| challenge::resource_metadata(value.to_str().ok()?));
            let url = named.next().filter(|_| reply.status == 401)?;
            candidates::learned(&url).map(|(url, _)| url)
        })
    }

    /// Asks one place. A reply that says that there is nothing is looked at all the same when no other place
    /// is left: what counts is the document.
    fn document(&self, url: &Uri, last: bool, deadline: Instant) -> Result<Found, Miss> {
        let origin = Origin::of(url).ok_or_else(|| Miss::of("a URL is not usable".into()))?;
        let reply = self.fetcher.ask(&Method::GET, url, true, deadline)?;
        let (status, headers) = (reply.status, reply.headers.clone());
        if !last && (fetch::is_absent(status) || status >= 500) {
            return Err(Miss::status(&origin, status, "no metadata"));
        }
        let Text { text, body_held: held } = self.fetcher.read(&origin, reply, deadline).map_err(|miss| {
            // An error page may be of any size.
            if fetch::is_absent(status) { Miss::status(&origin, status, "no metadata") } else { miss }
        })?;
        let resource = Resource::read(&text);
        let resource =
            resource.map_err(|why| Miss::status(&origin, status, &format!("no metadata, {why}")))?;
        Ok(Found { status, headers, url: url.clone(), text, held, resource })
    }

    /// Tells readiness, with what an operator might want to change.
    fn succeeded(&self, found: Option<&Found>) {
        let issuer = found.and_then(|found| candidates::learned(found.resource.issuer.as_deref()?));
        let stranger = issuer.filter(|(_, origin)| !self.fetcher.trusts(origin));
        let stranger = stranger.filter(|(_, origin)| {
            self.registrar.as_ref().is_some_and(|registrar| registrar.counts_as_private(origin))
        });
        let remark = stranger.map(|(_, origin)| {
            let what = "is not the MCP server's origin; to make it callable add it to";
            format!("authorization server {origin} {what} {}", fetch::TRUST)
        });
        self.readiness.discovered(Ok(remark.as_deref()));
    }

    /// Registers what was found, in the place of what was found before. False when an authorization server
    /// that should have been read was not.
    fn publish(&self, found: &Found, deadline: Instant) -> bool {
        let Some(registrar) = &self.registrar else { return true };
        let mut whole = true;
        let issuer = found.resource.issuer.as_deref();
        let issuer = issuer.and_then(|issuer| Some((issuer, candidates::learned(issuer)?)));
        let server =
            issuer.filter(|(_, (_, origin))| self.fetcher.trusts(origin)).and_then(|(text, (url, _))| {
                self.auth_server(text, &url, deadline).unwrap_or_else(|miss| {
                log::warn!(error = miss.text.as_str(); "oauth authorization server metadata fetch failed");
                whole = false;
                // Rather what was true a while ago than nothing.
                self.known().clone().filter(|known| known.issuer == text)
            })
            });
        self.known().clone_from(&server);
        registrar.publish(&self.fetcher, &found.url.to_string(), &found.resource, server.as_ref());
        whole
    }

    /// The metadata of this issuer; nothing when it publishes none of its own.
    fn auth_server(&self, issuer: &str, url: &Uri, deadline: Instant) -> Result<Option<AuthServer>, Miss> {
        let origin = Origin::of(url).ok_or_else(|| Miss::of("a URL is not usable".into()))?;
        let mut missed = None;
        for candidate in candidates::server(url) {
            let read = self.fetcher.ask(&Method::GET, &candidate, false, deadline).and_then(|reply| {
                if reply.status != 200 || !is_json(&reply.headers) {
                    return Ok(None);
                }
                Ok(Some(self.fetcher.read(&origin, reply, deadline)?.text))
            });
            let server = match read {
                Ok(text) => text.and_then(|text| AuthServer::read(&text, candidate.to_string()).ok()),
                Err(miss) => {
                    missed = Some(miss);
                    None
                }
            };
            // Whoever speaks for another issuer is not believed; a slash at the end is no other one.
            let is_own =
                |server: &AuthServer| server.issuer.trim_end_matches('/') == issuer.trim_end_matches('/');
            if let Some(server) = server.filter(is_own) {
                return Ok(Some(server));
            }
        }
        missed.map_or(Ok(None), Err)
    }

    fn known(&self) -> std::sync::MutexGuard<'_, Option<AuthServer>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether a reply says that it is JSON, whatever parameters it adds.
fn is_json(headers: &HeaderMap) -> bool {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    kind.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case("application/json")
}
