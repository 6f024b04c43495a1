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
//! - Only those are registered, and of them only what the host rules let in (`register`). They cannot lead a call
//!   to an endpoint that the operator configured ([`crate::harpoon`]).
//! - No caller's header goes along; the operator's go to the configured origin alone (`fetch`).
//! - Every wait and every body is bounded, and a search asks a known number of places.
//!
//! A server without such metadata is a server without OAuth, which is no failure. What fails is asked again by
//! the prober, and said by readiness until it succeeds. `doctor` makes the same search once and shows what each
//! place answered (`trail`).

mod target;

mod candidates;
mod challenge;
mod documents;
mod fetch;
mod register;
mod trail;

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use ureq::http::{HeaderMap, Method, Uri, header};

use crate::config::{self, Origin};
use crate::net::{Error, Net, Reservation};
use crate::ops::readiness::Readiness;
use crate::sync;

use documents::{AuthServer, Resource};
use fetch::{Fetcher, Miss, Text};
pub use register::Registrar;
pub use target::Protected;
pub use trail::Examined;
use trail::Trail;

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
        let trail = &mut Trail::default();
        match self.search(Instant::now() + SEARCH_TIME, trail) {
            Ok(found) => {
                self.succeeded(found.as_ref());
                if found.is_some() {
                    log::info!("OAuth discovery ProtectedResourceMetaData fetched");
                }
                let end = Instant::now() + SEARCH_TIME;
                let whole = found.as_ref().is_none_or(|found| self.publish(found, end, trail));
                // Paths and queries of MCP servers' URLs may be what guards them.
                let origin = found.and_then(|found| Origin::of(&found.url));
                let origin = origin.map(|origin| origin.to_string()).unwrap_or_default();
                log::info!(origin = origin.as_str(), whole = whole; "oauth discovery succeeded");
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

    /// One search for a person, until `end` at the latest. Readiness learns nothing of it.
    pub fn examine(&self, end: Instant) -> Examined {
        let mut trail = Trail::default();
        let found = self.search(end.min(Instant::now() + SEARCH_TIME), &mut trail);
        let mut setting = None;
        let verdict = match found {
            Ok(None) => Ok(None),
            Ok(Some(found)) => {
                self.publish(&found, end.min(Instant::now() + SEARCH_TIME), &mut trail);
                let remarks = self.remark(&found).into_iter().chain(trail.foreign.take());
                let remarks: String = remarks.map(|remark| format!("; {remark}")).collect();
                Ok(Some(format!("HTTP {} from {}{remarks}", found.status, trail::shown(&found.url))))
            }
            Err(miss) => {
                trail.unreached &= miss.unsent;
                setting = miss.stranger.as_ref().map(fetch::setting);
                Err(miss.text)
            }
        };
        let Trail { steps, unread, absences, unreached, .. } = trail;
        Examined { verdict, absences, setting, unread, unreached, steps }
    }

    /// A search for somebody who waits until `end`: when nobody answered in time, everybody is asked again.
    fn answer(&self, end: Instant) -> Result<Option<Found>, Miss> {
        let trail = &mut Trail::default();
        let mut result = self.search(end.min(Instant::now() + SEARCH_TIME), trail);
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
    fn search(&self, deadline: Instant, trail: &mut Trail) -> Result<Option<Found>, Miss> {
        let advertised = self.advertised(deadline.min(Instant::now() + PROBE_TIME), trail);
        let candidates = candidates::resource(&self.url, advertised.as_ref());
        let mut misses = Vec::new();
        for (candidate, left) in candidates.iter().zip((1..=candidates.len()).rev()) {
            let found = self.document(candidate, left == 1, share(deadline, left));
            trail.asked(
                &Method::GET,
                candidate,
                found.as_ref().map(|found| (found.status, "metadata".into())),
            );
            match found {
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

    /// Where the server says its metadata is: it is asked with the operator's headers, which a proxy in front of
    /// it may want, and without a message, as nobody would do who wanted something.
    fn advertised(&self, deadline: Instant, trail: &mut Trail) -> Option<Uri> {
        [Method::POST, Method::GET].iter().find_map(|method| {
            let reply = self.fetcher.ask(method, &self.url, true, deadline);
            let reply = reply.inspect_err(|miss| trail.asked(method, &self.url, Err(miss)));
            trail.unreached = reply.as_ref().is_err_and(|miss| miss.unsent);
            let reply = reply.ok()?;
            let challenges = reply.headers.get_all(header::WWW_AUTHENTICATE).iter().take(CHALLENGES_MAX);
            let mut named = challenges.filter_map(|value| challenge::resource_metadata(value.to_str().ok()?));
            let named = named.next().filter(|_| reply.status == 401);
            let url = named.as_deref().and_then(candidates::learned).map(|(url, _)| url);
            let what = match (&url, named) {
                (Some(url), _) => format!("its metadata is at {}", trail::shown(url)),
                (None, Some(_)) => "it names no usable place of metadata".into(),
                (None, None) => "it names no place of metadata".into(),
            };
            trail.asked(method, &self.url, Ok((reply.status, what)));
            url
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
        let remark = found.and_then(|found| self.remark(found));
        self.readiness.discovered(Ok(remark.as_deref()));
    }

    /// What an operator might want to change where a document was found.
    fn remark(&self, found: &Found) -> Option<String> {
        let (_, origin) = candidates::learned(found.resource.issuer.as_deref()?)?;
        let registrar = self.registrar.as_ref().filter(|_| !self.fetcher.trusts(&origin))?;
        registrar.counts_as_private(&origin).then(|| {
            let what = "is not the MCP server's origin; to make it callable add";
            format!("authorization server {origin} {what} {}", fetch::setting(&origin))
        })
    }

    /// Registers what was found, in the place of what was found before. False when an authorization server
    /// that should have been read was not.
    fn publish(&self, found: &Found, deadline: Instant, trail: &mut Trail) -> bool {
        let Some(registrar) = &self.registrar else {
            trail.steps.push("nothing may be called: control-plane.poll-channel leaves harpoon out".into());
            return true;
        };
        let issuer = found.resource.issuer.as_deref();
        let issuer = issuer.and_then(|issuer| Some((issuer, candidates::learned(issuer)?)));
        let server = issuer.and_then(|(text, (url, origin))| {
            if !self.fetcher.trusts(&origin) {
                trail.unasked(&origin);
                return None;
            }
            self.auth_server(text, &url, deadline, trail).unwrap_or_else(|miss| {
                log::warn!(error = miss.text.as_str(); "oauth authorization server metadata fetch failed");
                trail.unread = Some(miss.text);
                // Rather what was true a while ago than nothing.
                self.known().clone().filter(|known| documents::same_issuer(&known.asked, text))
            })
        });
        self.known().clone_from(&server);
        registrar.publish(&self.fetcher, &found.url.to_string(), &found.resource, server.as_ref(), trail);
        trail.unread.is_none()
    }

    /// The metadata of this issuer; nothing when it publishes none. The first document that names another issuer
    /// is taken when no place has one that names this: servers that hand sign-in over to a provider publish such.
    fn auth_server(
        &self,
        issuer: &str,
        url: &Uri,
        deadline: Instant,
        trail: &mut Trail,
    ) -> Result<Option<AuthServer>, Miss> {
        let mut missed = None;
        let mut foreign = None;
        let candidates = candidates::server(url);
        for (candidate, left) in candidates.iter().zip((1..=candidates.len()).rev()) {
            let read = self.auth_document(issuer, candidate, share(deadline, left));
            let what = |server: &AuthServer| match server.is_own() {
                true => "metadata of the authorization server".to_owned(),
                false => format!("metadata of another issuer: {}", trail::bounded(&server.issuer)),
            };
            trail.asked(&Method::GET, candidate, read.as_ref().map(|server| (200, what(server))));
            match read {
                Ok(server) if server.is_own() => return Ok(Some(server)),
                Ok(server) => foreign = foreign.or(Some(server)),
                Err(miss) if miss.absent => {}
                Err(miss) => missed = Some(miss),
            }
        }
        if let Some(server) = foreign {
            let named = trail::bounded(&server.issuer);
            trail.foreign = Some(format!("metadata of {issuer} names another issuer: {named}"));
            log::warn!(
                expected_issuer = issuer, issuer = server.issuer.as_str(), url = trail::shown(url).as_str();
                "oauth authorization server metadata issuer mismatch"
            );
            return Ok(Some(server));
        }
        missed.map_or(Ok(None), Err)
    }

    /// The metadata at one place, asked for this issuer. What answers with anything else is as good as absent.
    fn auth_document(&self, issuer: &str, url: &Uri, deadline: Instant) -> Result<AuthServer, Miss> {
        let origin = Origin::of(url).ok_or_else(|| Miss::of("a URL is not usable".into()))?;
        let reply = self.fetcher.ask(&Method::GET, url, false, deadline)?;
        let other = |status: u16, why: &str| {
            let mut miss = Miss::status(&origin, status, why);
            miss.absent = true;
            miss
        };
        if reply.status != 200 || !is_json(&reply.headers) {
            return Err(other(reply.status, "no JSON metadata"));
        }
        let text = self.fetcher.read(&origin, reply, deadline)?.text;
        AuthServer::read(&text, url.to_string(), issuer)
            .map_err(|why| other(200, &format!("no metadata, {why}")))
    }

    fn known(&self) -> std::sync::MutexGuard<'_, Option<AuthServer>> {
        sync::lock(&self.known)
    }
}

/// When the first of so many places has had its share of the time.
fn share(deadline: Instant, places: usize) -> Instant {
    let now = Instant::now();
    now + deadline.saturating_duration_since(now) / u32::try_from(places).unwrap_or(u32::MAX).max(1)
}

/// Whether a reply says that it is JSON, whatever parameters it adds.
fn is_json(headers: &HeaderMap) -> bool {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    kind.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case("application/json")
}
