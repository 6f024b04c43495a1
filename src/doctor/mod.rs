//! Looks at a set-up before `run` does, and says what is wrong, why it matters and what to type next.
//!
//! It connects with the code that `run` connects with, so it finds what `run` would find: the same proxies,
//! roots, certificates and headers. Checks that wait run side by side, each on a thread of its own; they are
//! listed in a fixed order, whichever ends first, and one that has not ended in time has failed. Nothing is
//! polled, no tool or endpoint is called, no file is changed. It cannot fail: whatever goes wrong is a check.

mod advice;
mod certificates;
mod discovery;
mod endpoints;
mod examination;
mod local;
mod plane;
mod policy;
mod product;
mod report;
mod servers;

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::config::{self, Binding, Environment, Flags, Server, Settings, Source};
use crate::crypto;
use crate::net::Net;
use crate::ops::redact::Redactor;

#[cfg(test)]
pub(crate) use local::PLACES;
pub(crate) use report::{Report, Status};

use examination::{Examination, NOT_ASKED, unusable};
use report::{ASK_AGAIN, Check};
use servers::Site;

/// Channels that are checked. More cannot be announced, which a check says.
const CHANNELS_MAX: usize = 32;

/// The id of the check of the authorities that are trusted.
const ROOTS: &str = "tls_roots";

/// What was asked for.
#[derive(Clone, Copy)]
pub(crate) struct Asked {
    /// No check that needs the network.
    pub(crate) offline: bool,
    /// How long servers may take to answer, where somebody said so.
    pub(crate) wait: Option<Duration>,
    /// No server over stdio is started: a tunnel runs that has started them.
    pub(crate) spares_children: bool,
}

/// Makes all checks. `progress` is told what is being waited for.
pub(crate) fn examine(flags: &Flags, asked: Asked, progress: &dyn Fn(&str)) -> Report {
    let began = Instant::now();
    let mut all = Examination::new(asked.wait);
    let (settings, source) = prepare(flags, &mut all);
    let again = source.as_ref().map(|source| local::selection(flags, source)).unwrap_or_default();
    let again = format!("{ASK_AGAIN}{again}");
    let (Some(settings), Some(source)) = (settings, source) else {
        return Report::new(all.finish(began, progress), String::new(), &again, None);
    };
    all.settings(&settings, asked);
    let redactor = Redactor::new(settings.secrets());
    let next = local::next_command(flags, &source, &redactor);
    Report::new(all.finish(began, progress), next, &again, Some(&redactor))
}

/// Reads the settings. A mistake in them ends the examination, since every other check depends on them; but
/// without a key whatever does not hang on it is looked at all the same.
fn prepare(flags: &Flags, all: &mut Examination) -> (Option<Settings>, Option<Source>) {
    let environment = Environment::of_process();
    let selected = environment.and_then(|all| config::select_source(flags, &all).map(|source| (all, source)));
    let (environment, source) = match selected {
        Ok(selected) => selected,
        Err(error) => {
            all.now([local::unusable("config_source", &error)]);
            all.now(local::places());
            return (None, None);
        }
    };
    all.now([local::source(&source)]);
    let mut loaded = Settings::load(flags, &environment);
    let mut key_fault = None;
    if let Err(error) = &loaded {
        key_fault = Some(local::fault(error, &source)).filter(|fault| fault.id == local::KEY);
    }
    if key_fault.is_some() {
        loaded = Settings::load_keyless(flags, &environment);
    }
    let fault = loaded.as_ref().err().map(|error| local::fault(error, &source));
    // Each id stands once: a file that could not be read is listed by its fault.
    if fault.as_ref().is_none_or(|fault| fault.id != "profile_load") {
        all.now([local::profile(&source)]);
    }
    match &loaded {
        Ok(settings) => all.now(local::identity(settings, key_fault)),
        Err(_) => all.now(key_fault.into_iter().chain(fault)),
    }
    // Also after a mistake: whoever has no key yet is who needs the pages.
    all.now(local::places());
    (loaded.ok(), Some(source))
}

impl Examination {
    /// Everything that follows from settings that can be used.
    fn settings(&mut self, settings: &Settings, Asked { offline, spares_children, .. }: Asked) {
        let net = Net::new(&settings.network);
        let usable = net.as_ref().map_err(|_| format!("blocked by {ROOTS}"));
        let is_tried = |one: &&Binding| !spares_children || matches!(one.server, Server::Http(_));
        let sites = settings.mcp.bindings.iter().filter(is_tried).take(CHANNELS_MAX);
        let sites: Vec<Site> = sites.map(|binding| Site::new(binding, settings, &usable)).collect();
        let (main, others): (Vec<Site>, Vec<Site>) = sites.into_iter().partition(Site::is_main);
        // Of `main` the target comes before the plane and the handshake after it, which is the order in which
        // a person mends things: what is served, who asks for it, and only then whether it answers.
        main.iter().for_each(|site| site.target(self, offline));
        discovery::check(settings, &usable, self, offline);
        self.now([local::listener(settings, usable.as_ref().ok().copied())]);
        self.plane(settings, &usable, offline);
        main.iter().for_each(|site| site.handshake(self, offline));
        for site in &others {
            site.target(self, offline);
            site.handshake(self, offline);
        }
        endpoints::check(&settings.harpoon, &usable, self, offline);
        if let Some(policy) = &settings.policy {
            policy::check(policy, &settings.harpoon, main.iter().chain(&others), self, offline);
            if let Some(pins) = &policy.pins {
                policy::pins(pins, main.iter().chain(&others), self, offline);
            }
        }
        self.now(settings.audit.iter().map(policy::records));
        self.now([certificates::expiry(settings)]);
        self.now([match &net {
            Ok(net) => Check::pass(ROOTS, net.roots_summary()),
            Err(error) => unusable(ROOTS, &error.to_string()),
        }]);
        self.now([Check::pass("cryptography", crypto::described()), certificates::resolver()]);
        #[cfg(feature = "cage")]
        self.now([local::cage(settings)]);
    }

    /// The way to the control plane, and what it says.
    fn plane(&mut self, settings: &Settings, net: &Result<&Net, String>, offline: bool) {
        const ROUTE: &str = "control_plane_route";
        let made = net.clone().map(|net| plane::prepare(settings, net).map(Arc::new));
        let plane = match made {
            Ok(Ok(plane)) => plane,
            Ok(Err(error)) => {
                self.now([
                    unusable(ROUTE, &error),
                    Check::skip(plane::METADATA, format!("blocked by {ROUTE}")),
                ]);
                return;
            }
            Err(blocked) => {
                self.now([Check::skip(ROUTE, &blocked), Check::skip(plane::METADATA, blocked)]);
                return;
            }
        };
        self.now([Check::pass(ROUTE, plane::destination(&plane, settings).way())]);
        self.proxy("proxy_reachable".into(), plane.clients().polls, offline);
        self.announce(plane::METADATA.into(), offline.then_some(NOT_ASKED));
        if settings.control_plane.api_key.expose().is_empty() {
            let settings = settings.clone();
            return self.job(offline, move || vec![plane::reached(&plane, &settings)]);
        }
        let settings = settings.clone();
        self.job(offline, move || vec![plane::metadata(&plane, &settings)]);
    }
}
