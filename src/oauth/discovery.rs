//! The search for metadata: which places are asked, for how long, and what their answers mean.
//!
//! One [`Discovery`] serves the prober, the product's commands and `doctor`. What a search went through is kept
//! in a [`Record`] by the search itself, so what `doctor` shows is what happened.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use ureq::http::{HeaderMap, Method, header};

use crate::config::{HttpServer, Mcp};
use crate::mcp::http::reply::{self, Content};
use crate::net::{Error, Net, Reservation};
use crate::ops::readiness::{self, Readiness};
use crate::sync;
use crate::text;
use crate::url::Origin;

use super::challenge;
use super::documents::{AuthServer, Issuer, Resource};
use super::fetch::{self, Fetcher, Miss};
use super::place::Place;
use super::record::{ISSUER_SHOWN_BYTES, Record};

/// How long one search may take. What is slower than that at start is said by readiness, and asked again.
pub(super) const SEARCH_TIME: Duration = Duration::from_secs(5);

/// How long of it the server itself is asked where its metadata is.
const PROBE_TIME: Duration = Duration::from_secs(1);

/// How long each place gets in the second pass, which is made for somebody who waits.
const SECOND_PASS: [Duration; 3] = [Duration::from_secs(2), Duration::from_secs(4), Duration::from_secs(8)];

/// Most header lines with challenges that are read.
const CHALLENGES_MAX: usize = 16;

/// Makes endpoints callable by name.
pub trait Register: Send + Sync {
    /// Registers what these documents name, in place of everything that was registered before. `source` is where
    /// the resource's document was found. Returns one line an endpoint, for a person.
    fn register(&self, source: &Place, resource: &Resource, server: Option<&AuthServer>) -> Vec<String>;

    /// Whether an authorization server of this origin would be called if the operator trusted it.
    fn would_call(&self, origin: &Origin) -> bool;
}

/// Discovery for one server. Shared behind an `Arc`: the prober and workers may run it at the same time.
pub struct Discovery {
    server: Place,
    fetcher: Mutex<Arc<Fetcher>>,
    /// Without one, nothing is registered.
    registrar: Option<Box<dyn Register>>,
    readiness: Arc<Readiness>,
    /// The authorization server as it was last read, for the day on which it does not answer.
    known: Mutex<Option<AuthServer>>,
}

/// Metadata document of the resource, as it came.
pub(super) struct Found {
    pub(super) status: u16,
    pub(super) headers: HeaderMap,
    pub(super) text: String,
    pub(super) held: Option<Reservation>,
    place: Place,
    resource: Resource,
}

impl Discovery {
    /// Prepares the ways; nothing is dialled yet. From now on readiness waits for the first search.
    pub fn new(
        net: &Net,
        mcp: &Mcp,
        server: &HttpServer,
        registrar: Option<Box<dyn Register>>,
        readiness: &Arc<Readiness>,
    ) -> Result<Discovery, Error> {
        let fetcher = Mutex::new(Arc::new(Fetcher::new(net, mcp, server)?));
        let server = Place { url: server.url.clone(), origin: server.origin.clone() };
        readiness.discovery(readiness::Discovery::Pending);
        let (readiness, known) = (Arc::clone(readiness), Mutex::default());
        Ok(Discovery { server, fetcher, registrar, readiness, known })
    }

    /// Asks from now on with the headers of these settings; with a `net` also on its connections, with the certificate as
    /// it is now. When that fails, nothing has changed.
    pub fn renew(&self, net: Option<&Net>, mcp: &Mcp, server: &HttpServer) -> Result<(), Error> {
        let former = self.fetcher();
        let next = match net {
            Some(net) => Fetcher::new(net, mcp, server)?.in_place_of(&former),
            None => former.with_headers(mcp),
        };
        *sync::lock(&self.fetcher) = Arc::new(next);
        Ok(())
    }

    /// Origins of the server and of the authorization server as it was last read.
    #[cfg(feature = "page")]
    pub fn chain(&self) -> Option<[String; 2]> {
        let issuer = sync::lock(&self.known).as_ref()?.place.origin.to_string();
        Some([self.server.origin.to_string(), issuer])
    }

    fn fetcher(&self) -> Arc<Fetcher> {
        Arc::clone(&sync::lock(&self.fetcher))
    }

    /// One search of our own. False when it should be repeated, which is done after `pause`.
    pub fn round(&self, pause: Duration) -> bool {
        let record = &mut Record::default();
        match self.search(Instant::now() + SEARCH_TIME, false, record) {
            Ok(found) => {
                self.succeeded(found.as_ref());
                let mut origin = String::new();
                let mut whole = true;
                if let Some(found) = found {
                    log::info!("OAuth discovery ProtectedResourceMetaData fetched");
                    whole = self.publish(&found, Instant::now() + SEARCH_TIME, record);
                    // Paths and queries of MCP servers' URLs may be what guards them.
                    origin = found.place.origin.to_string();
                }
                log::info!(origin = origin.as_str(), whole = whole; "oauth discovery succeeded");
                whole
            }
            Err(miss) if miss.is_shutdown() => false,
            Err(miss) => {
                let error = miss.to_string();
                if record.timed_out {
                    // A server that is slow to start says nothing yet; what is pending stays pending.
                    let retry_in = format!("{}ms", pause.as_millis());
                    log::warn!(error = error.as_str(), retry_in = retry_in.as_str(); "OAuth discovery timed out; retrying");
                } else {
                    log::warn!(error = error.as_str(); "oauth discovery failed");
                    self.readiness.discovery(readiness::Discovery::Failed(error));
                }
                false
            }
        }
    }

    /// One search for a person, until `end` at the latest: a summary of the metadata, nothing on a server without
    /// any, or why it was not found. Readiness learns nothing of it.
    #[cfg(feature = "operator")]
    pub fn examine(&self, end: Instant) -> (Result<Option<String>, Miss>, Record) {
        let mut record = Record::default();
        let verdict = match self.search(end, false, &mut record) {
            Ok(None) => Ok(None),
            Ok(Some(found)) => {
                self.publish(&found, end.min(Instant::now() + SEARCH_TIME), &mut record);
                let remark = self.remark(&found).or(record.foreign.take());
                let remark = remark.map(|remark| format!("; {remark}")).unwrap_or_default();
                Ok(Some(format!("HTTP {} from {}{remark}", found.status, found.place)))
            }
            Err(miss) => {
                record.unreached &= miss.is_unsent();
                Err(miss)
            }
        };
        (verdict, record)
    }

    /// A search for somebody who waits until `end`.
    pub(super) fn answer(&self, end: Instant) -> Result<Option<Found>, Miss> {
        let result = self.search(end, true, &mut Record::default());
        if let Ok(found) = &result {
            self.succeeded(found.as_ref());
        }
        result
    }

    /// Cuts everything that is on its way, and whatever is asked later.
    pub(super) fn stop(&self) {
        self.fetcher().stop();
    }

    /// Asks one place after the other; nothing when all of them say that there is none. Each has an equal
    /// share of the time that is left, so that a silent one does not cost the others theirs. Somebody who is
    /// `patient` has all of them asked again when none answered in time.
    fn search(&self, end: Instant, patient: bool, record: &mut Record) -> Result<Option<Found>, Miss> {
        let deadline = end.min(Instant::now() + SEARCH_TIME);
        let advertised = self.advertised(deadline.min(Instant::now() + PROBE_TIME), record);
        let is_advertised = advertised.is_some();
        let places = self.server.of_resource(advertised);
        let mut misses = Vec::new();
        for (place, left) in places.iter().zip((1..=places.len()).rev()) {
            let found = self.document(place, left == 1, share(deadline, left));
            record.asked(&Method::GET, place, found.as_ref().map(|found| (found.status, "metadata".into())));
            match found {
                Err(miss) if !miss.ends_search() => misses.push(miss),
                found => return found.map(Some),
            }
        }
        if !is_advertised && misses.iter().all(|miss| miss.absence().is_some()) {
            return Ok(None);
        }
        record.timed_out = misses.iter().all(Miss::is_timeout);
        if patient && record.timed_out {
            // What the server says of itself it has had its time to say.
            let places = self.server.of_resource(None);
            for (place, wait) in places.iter().flat_map(|place| SECOND_PASS.map(|wait| (place, wait))) {
                match self.document(place, true, end.min(Instant::now() + wait)) {
                    Err(miss) if !miss.ends_search() => misses = vec![miss],
                    found => return found.map(Some),
                }
            }
        }
        // The first that said something else than that there is nothing.
        misses.into_iter().min_by_key(|miss| miss.absence().is_some()).map_or(Ok(None), Err)
    }

    /// Where the server says its metadata is: it is asked with the operator's headers, which a proxy in front of
    /// it may want, and without a message, as nobody would do who wanted something.
    fn advertised(&self, deadline: Instant, record: &mut Record) -> Option<Place> {
        for method in [Method::POST, Method::GET] {
            let reply = self.fetcher().ask(&method, &self.server, true, deadline);
            record.unanswered(&method, &self.server, reply.as_ref().err());
            let Ok(reply) = reply else { continue };
            let challenges = reply.headers.get_all(header::WWW_AUTHENTICATE).iter().take(CHALLENGES_MAX);
            let mut named = challenges.filter_map(|value| challenge::resource_metadata(value.to_str().ok()?));
            let named = named.next().filter(|_| reply.status == 401);
            let place = named.as_deref().map(Place::named);
            let what = match &place {
                Some(Ok(place)) => format!("its metadata is at {place}"),
                Some(Err(why)) => (*why).to_owned(),
                None => "it names no place of metadata".into(),
            };
            record.asked(&method, &self.server, Ok((reply.status, what)));
            if let Some(Ok(place)) = place {
                return Some(place);
            }
        }
        None
    }

    /// Asks one place. A reply that says that there is nothing is looked at all the same when no other place
    /// is left: what counts is the document.
    fn document(&self, place: &Place, last: bool, deadline: Instant) -> Result<Found, Miss> {
        let reply = self.fetcher().ask(&Method::GET, place, true, deadline)?;
        let (status, headers) = (reply.status, reply.headers.clone());
        let other = |why: String| Miss::Answered(place.origin.clone(), status, why);
        if !last && (fetch::is_absent(status) || status >= 500) {
            return Err(other("no metadata".into()));
        }
        let (text, held) = self.fetcher().read(&place.origin, reply, deadline).map_err(|miss| {
            // An error page may be of any size.
            if fetch::is_absent(status) { other("no metadata".into()) } else { miss }
        })?;
        let resource = Resource::read(&text).map_err(|why| other(format!("no metadata, {why}")))?;
        Ok(Found { status, headers, text, held, place: place.clone(), resource })
    }

    /// Tells readiness, with what an operator might want to change.
    fn succeeded(&self, found: Option<&Found>) {
        let absent = readiness::Discovery::Absent;
        let found = found.map_or(absent, |found| readiness::Discovery::Found(self.remark(found)));
        self.readiness.discovery(found);
    }

    /// What an operator might want to change where a document was found.
    fn remark(&self, found: &Found) -> Option<String> {
        let origin = &found.resource.issuer.as_ref()?.place.origin;
        let would_call = self.registrar.as_ref()?.would_call(origin);
        (would_call && !self.fetcher().trusts(origin)).then(|| {
            let what = "is not the MCP server's origin; to make it callable add";
            format!("authorization server {origin} {what} {}", fetch::setting(origin))
        })
    }

    /// Registers what was found, in the place of what was found before. False when an authorization server
    /// that should have been read was not.
    pub(super) fn publish(&self, found: &Found, deadline: Instant, record: &mut Record) -> bool {
        let Some(registrar) = &self.registrar else {
            record.steps.push("nothing may be called: control-plane.poll-channel leaves harpoon out".into());
            return true;
        };
        let mut server = None;
        if let Some(issuer) = &found.resource.issuer {
            let origin = &issuer.place.origin;
            if self.fetcher().trusts(origin) {
                server = self.auth_server(issuer, deadline, record).unwrap_or_else(|miss| {
                    let error = miss.to_string();
                    log::warn!(error = error.as_str(); "oauth authorization server metadata fetch failed");
                    record.unread = Some(error);
                    // Rather what was true a while ago than nothing.
                    let known = sync::lock(&self.known).clone();
                    known.filter(|known| issuer.is_named_by(&known.asked.text))
                });
            } else {
                record.left_out(origin);
            }
        }
        sync::lock(&self.known).clone_from(&server);
        record.steps.extend(registrar.register(&found.place, &found.resource, server.as_ref()));
        record.unread.is_none()
    }

    /// The metadata of this issuer; nothing when it publishes none. The first document that names another issuer
    /// is taken when no place has one that names this: servers that hand sign-in over to a provider publish such.
    fn auth_server(
        &self,
        issuer: &Issuer,
        deadline: Instant,
        record: &mut Record,
    ) -> Result<Option<AuthServer>, Miss> {
        let mut missed = None;
        let mut foreign = None;
        let places = issuer.place.of_server();
        for (place, left) in places.iter().zip((1..=places.len()).rev()) {
            let read = self.auth_document(issuer, place, share(deadline, left));
            let what = |server: &AuthServer| match server.is_own() {
                true => "metadata of the authorization server".to_owned(),
                false => format!(
                    "metadata of another issuer: {}",
                    text::bounded(&server.issuer, ISSUER_SHOWN_BYTES)
                ),
            };
            record.asked(&Method::GET, place, read.as_ref().map(|server| (200, what(server))));
            match read {
                Ok(server) if server.is_own() => return Ok(Some(server)),
                Ok(server) => foreign = foreign.or(Some(server)),
                // What answers with anything else has no metadata.
                Err(Miss::Answered(..)) => {}
                Err(miss) => missed = Some(miss),
            }
        }
        let Some(server) = foreign else { return missed.map_or(Ok(None), Err) };
        let (asked, url) = (&issuer.text, issuer.place.to_string());
        record.differs(asked, &server.issuer);
        log::warn!(
            expected_issuer = asked.as_str(), issuer = server.issuer.as_str(), url = url.as_str();
            "oauth authorization server metadata issuer mismatch"
        );
        Ok(Some(server))
    }

    /// The metadata at one place, asked for this issuer.
    fn auth_document(&self, issuer: &Issuer, place: &Place, deadline: Instant) -> Result<AuthServer, Miss> {
        let reply = self.fetcher().ask(&Method::GET, place, false, deadline)?;
        let other = |status, why: &str| Miss::Answered(place.origin.clone(), status, why.to_owned());
        if reply.status != 200 || reply::content(&reply) != Content::Json {
            return Err(other(reply.status, "no JSON metadata"));
        }
        let (text, _) = self.fetcher().read(&place.origin, reply, deadline)?;
        AuthServer::read(&text, place, issuer).map_err(|why| other(200, &format!("no metadata, {why}")))
    }
}

/// When the first of so many places has had its share of the time.
fn share(deadline: Instant, places: usize) -> Instant {
    let now = Instant::now();
    now + deadline.saturating_duration_since(now) / u32::try_from(places).unwrap_or(u32::MAX).max(1)
}
