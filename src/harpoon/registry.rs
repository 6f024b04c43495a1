//! Which endpoints may be called: by label, in the order of registration, each an exact URL.
//!
//! A URL is allowed when it equals a registered one after lower-casing scheme and host; port spelling, path,
//! slashes, percent-encoding, query, fragment and user information all count. So nothing has to be parsed
//! that an attacker wrote: what they wrote is compared, and what is dialled is the registered text.
//!
//! Endpoints are registered in sets, one a category, and a set is replaced as a whole: whoever finds out
//! anew takes the place of what was found before. Readers hold a snapshot; they wait at most until a new one is
//! made, which takes memory and no input. A set that breaks a rule is refused with a sentence, and the old
//! one stays. What the operator's policy refuses is never registered: no list, redirect or program of this host finds it.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock, Weak};

use crate::config::{Channel, HarpoonTarget};
use crate::net::Client;
use crate::relay::port::Governor;
use crate::sync;
use crate::url::Parts;

use super::template::Invocation;

/// Most endpoints of all sets together, as in the reference. Each has a client of its own, and a blocked
/// redirect is compared with all of them.
const TARGETS_MAX: usize = 10_000;

/// The category of what stands in the configuration. Its source is called the same.
pub const CONFIGURED: &str = "config";
/// The category of what OAuth discovery found.
pub const OAUTH: &str = "oauth";

/// One endpoint.
#[derive(Debug)]
pub struct Endpoint {
    /// Where it is, what may be sent there, and what is added.
    pub target: HarpoonTarget,
    /// Which set it belongs to; also its source.
    pub category: &'static str,
    /// What it is, for those who look for it.
    pub tags: Vec<String>,
    /// How it is called, when it is a template.
    pub(crate) invocation: Option<Invocation>,
    /// The one way to it.
    pub client: Client,
}

impl Endpoint {
    /// Whether it carries this tag.
    pub fn has_tag(&self, tag: &str) -> bool {
        self.tags.iter().any(|own| own == tag)
    }
}

/// All endpoints at one moment. The maps are made with it and cannot disagree with the list.
#[derive(Debug, Default)]
pub struct Endpoints {
    list: Vec<Arc<Endpoint>>,
    by_label: HashMap<String, Arc<Endpoint>>,
    by_url: HashMap<String, Vec<Arc<Endpoint>>>,
}

/// The endpoints, for many readers and a rare writer.
#[derive(Default)]
pub struct Registry {
    /// The operator's policy, to which labels are tools.
    pub(super) governor: Option<Arc<dyn Governor>>,
    pub(super) now: RwLock<Arc<Endpoints>>,
    pub(super) served: Arc<AtomicBool>,
    /// Endpoints that were replaced, for as long as calls still use them.
    pub(super) replaced: Mutex<Vec<Weak<Endpoint>>>,
}

impl Registry {
    /// The endpoints now.
    pub fn now(&self) -> Arc<Endpoints> {
        Arc::clone(&self.now.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Puts this set in the place of the former one of its category, behind all others.
    pub fn replace(&self, category: &str, set: Vec<Arc<Endpoint>>) -> Result<(), String> {
        // Held while the new snapshot is made, or two writers would lose one set.
        let mut now = self.now.write().unwrap_or_else(PoisonError::into_inner);
        let others = now.list.iter().filter(|endpoint| endpoint.category != category).cloned();
        let (governor, channel) = (self.governor.as_ref(), Channel::harpoon());
        let offers = |one: &Arc<Endpoint>| governor.is_none_or(|all| all.offers(&channel, &one.target.label));
        let next = Arc::new(Endpoints::new(others.chain(set.into_iter().filter(offers)).collect())?);
        let stays =
            |one: &Arc<Endpoint>| next.labelled(&one.target.label).is_some_and(|same| Arc::ptr_eq(one, same));
        let gone = now.list.iter().filter(|one| !stays(one));
        let mut replaced = sync::lock(&self.replaced);
        replaced.retain(|one| one.strong_count() > 0);
        replaced.extend(gone.inspect(|one| one.client.retire()).map(Arc::downgrade));
        *now = next;
        self.served.store(!now.list.is_empty(), Ordering::Relaxed);
        Ok(())
    }

    /// All endpoints that may be in use: those of now, and those replaced during calls.
    pub fn in_use(&self) -> Vec<Arc<Endpoint>> {
        let mut all = self.now().list.clone();
        let replaced = sync::lock(&self.replaced);
        all.extend(replaced.iter().filter_map(Weak::upgrade));
        all
    }

    /// Whether there is any endpoint, for those who have to follow that.
    pub fn served(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.served)
    }
}

impl Endpoints {
    fn new(list: Vec<Arc<Endpoint>>) -> Result<Endpoints, String> {
        if list.len() > TARGETS_MAX {
            return Err(format!("harpoon: registry limit {TARGETS_MAX} exceeded"));
        }
        // The configuration is checked for these as it is read, with its lines; what was learned is checked here.
        let mut labels = HashSet::new();
        let mut by_url: HashMap<String, Vec<Arc<Endpoint>>> = HashMap::new();
        for endpoint in &list {
            let target = &endpoint.target;
            if !labels.insert(target.label.as_str()) {
                return Err(format!("harpoon: duplicate target label {:?}", target.label));
            }
            // Nothing leads to a template but its label.
            if target.template.is_some() {
                continue;
            }
            let same = by_url.entry(key(&target.url)).or_default();
            if same.first().is_some_and(|first| first.target.unix_socket != target.unix_socket) {
                let origin = target.origin.to_string();
                return Err(format!("harpoon: duplicate target url {origin:?} uses a different transport"));
            }
            same.push(Arc::clone(endpoint));
        }
        let by_label = list.iter().map(|endpoint| (endpoint.target.label.clone(), Arc::clone(endpoint)));
        Ok(Endpoints { by_label: by_label.collect(), by_url, list })
    }

    /// All, in the order of registration.
    pub fn all(&self) -> &[Arc<Endpoint>] {
        &self.list
    }

    /// The one of this label.
    pub fn labelled(&self, label: &str) -> Option<&Arc<Endpoint>> {
        self.by_label.get(label)
    }

    /// Whether any of them is a template.
    pub(super) fn has_templates(&self) -> bool {
        self.list.iter().any(|endpoint| endpoint.invocation.is_some())
    }

    /// The template that is called by this name. A name that is bound to another policy is nobody's, and so is a
    /// label alone where it has to be bound.
    pub(super) fn called(&self, name: &str) -> Option<&Arc<Endpoint>> {
        let endpoint = self.labelled(name.rsplit(':').next()?)?;
        endpoint.invocation.as_ref().is_some_and(|own| own.name == name).then_some(endpoint)
    }

    /// Those of this URL, the first registered first.
    pub fn at(&self, url: &str) -> &[Arc<Endpoint>] {
        self.by_url.get(&key(url)).map(Vec::as_slice).unwrap_or_default()
    }

    /// In which way a URL misses the registered ones: a word for the log, and what only a scheme tells the
    /// caller too, because that is an operator's slip and no attack.
    pub fn missed(&self, url: &str) -> (&'static str, &'static str) {
        let url = key(url);
        let (scheme, rest) = url.split_once("://").unwrap_or_default();
        let swapped = |other: &str| self.by_url.contains_key(&format!("{other}://{rest}"));
        match scheme {
            "http" if swapped("https") => {
                let text = "redirect blocked: scheme mismatch (allowlisted https, redirected to http)";
                return ("scheme_mismatch_https_to_http", text);
            }
            "https" if swapped("http") => {
                let text = "redirect blocked: scheme mismatch (allowlisted http, redirected to https)";
                return ("scheme_mismatch_http_to_https", text);
            }
            _ => {}
        }
        let Some(missed) = Parts::of(&url) else { return ("not_allowlisted_other", "redirect blocked") };
        let known = || self.by_url.keys().filter_map(|known| Parts::of(known));
        let same_origin = |known: &Parts| known.front == missed.front;
        let word = if known().any(|known| same_origin(&known) && known.path == missed.path) {
            "query_mismatch"
        } else if known().any(|known| same_origin(&known)) {
            "path_mismatch"
        } else if known().filter(|known| (known.path, known.tail) == (missed.path, missed.tail)).count() == 1
        {
            "host_mismatch"
        } else {
            "not_allowlisted_other"
        };
        (word, "redirect blocked")
    }
}

/// The URL as it is compared: everything but scheme and host as written. What is no URL is a key as well, of
/// nothing that is registered.
fn key(url: &str) -> String {
    let Some(Parts { scheme, userinfo, place, path, tail, .. }) = Parts::of(url) else {
        return url.to_owned();
    };
    let user = userinfo.map(|user| format!("{user}@")).unwrap_or_default();
    format!("{}://{user}{}{path}{tail}", scheme.to_ascii_lowercase(), place.to_ascii_lowercase())
}

#[cfg(test)]
pub(super) mod tests;
