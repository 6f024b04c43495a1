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
mod local;
mod plane;
mod report;
mod servers;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use crate::config::{self, Environment, Flags, Settings, Source};
use crate::mcp::stdio::Guards;
use crate::net::{Client, Net};
use crate::ops::redact::Redactor;
use crate::sync;

#[cfg(test)]
pub(crate) use local::PLACES;
pub(crate) use report::{Report, Status};

use report::{ASK_AGAIN, Check};
use servers::Site;

/// How long a server may take to answer, unless somebody asks for more. A server over stdio that needs 5 s to
/// start is fine, and may be asked twice.
const SERVER_TIME: Duration = Duration::from_secs(7);

/// What everything may take beyond that, started children aside, which end by their guards. Supervisors and
/// people lose patience at ten seconds; a report that comes before then says what hung.
const MARGIN: Duration = Duration::from_millis(2_500);

/// Channels that are checked. More cannot be announced, which a check says.
const CHANNELS_MAX: usize = 32;

/// How often whoever waits is told for what.
const PROGRESS_INTERVAL: Duration = Duration::from_millis(500);

/// A narrow terminal.
const PROGRESS_CHARS_MAX: usize = 72;

/// The id of the check of the authorities that are trusted.
const ROOTS: &str = "tls_roots";

/// Why a network check was not made.
const NOT_ASKED: &str = "not asked: --offline";

/// What was asked for.
#[derive(Clone, Copy)]
pub(crate) struct Asked {
    /// No check that needs the network.
    pub(crate) offline: bool,
    /// How long servers may take to answer, where somebody said so.
    pub(crate) wait: Option<Duration>,
}

/// Work that waits for others; it makes the checks that were announced for it.
type Job = Box<dyn FnOnce() -> Vec<Check> + Send>;

/// Checks in their order, and the work that is still to be done for some.
#[derive(Default)]
struct Examination {
    order: Vec<String>,
    done: HashMap<String, Check>,
    jobs: Vec<Job>,
    /// The guards of the servers over stdio that are tried.
    guards: Arc<Guards>,
    /// How long servers may take to answer, where somebody said so.
    wait: Option<Duration>,
}

/// Makes all checks. `progress` is told what is being waited for.
pub(crate) fn examine(flags: &Flags, asked: Asked, progress: &dyn Fn(&str)) -> Report {
    let began = Instant::now();
    let mut all = Examination { wait: asked.wait, ..Examination::default() };
    let (settings, source) = prepare(flags, &mut all);
    let again = source.as_ref().map(|source| local::selection(flags, source)).unwrap_or_default();
    let again = format!("{ASK_AGAIN}{again}");
    let (Some(settings), Some(source)) = (settings, source) else {
        return Report::new(all.finish(began, progress), String::new(), &again, None);
    };
    all.settings(&settings, asked.offline);
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
    /// Adds checks that have been made.
    fn now(&mut self, checks: impl IntoIterator<Item = Check>) {
        for check in checks {
            self.order.push(check.id.clone());
            self.done.insert(check.id.clone(), check);
        }
    }

    /// Keeps a place for a check that a job makes, or says at once that it is not made.
    fn announce(&mut self, id: String, blocked: Option<&str>) {
        match blocked {
            Some(why) => self.now([Check::skip(id, why)]),
            None => self.order.push(id),
        }
    }

    /// Everything that follows from settings that can be used.
    fn settings(&mut self, settings: &Settings, offline: bool) {
        let net = Net::new(&settings.network);
        let usable = net.as_ref().map_err(|_| format!("blocked by {ROOTS}"));
        let sites = settings.mcp.bindings.iter().take(CHANNELS_MAX);
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
        self.now([certificates::expiry(settings)]);
        self.now([match &net {
            Ok(net) => Check::pass(ROOTS, net.roots_summary()),
            Err(error) => unusable(ROOTS, &error.to_string()),
        }]);
        self.now([certificates::resolver()]);
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
        self.proxy("proxy_reachable".into(), &plane, |plane| plane.polls(), offline);
        self.announce(plane::METADATA.into(), offline.then_some(NOT_ASKED));
        if settings.control_plane.api_key.expose().is_empty() {
            let settings = settings.clone();
            return self.job(offline, move || vec![plane::reached(&plane, &settings)]);
        }
        let settings = settings.clone();
        self.job(offline, move || vec![plane::metadata(&plane, &settings)]);
    }

    /// The proxy on the way of a client, if there is one.
    fn proxy<T: Send + Sync + 'static>(
        &mut self,
        id: String,
        holder: &Arc<T>,
        client: fn(&T) -> &Client,
        offline: bool,
    ) {
        let route = client(holder).route();
        let Some(proxy) = &route.proxy else { return };
        let (proxy, to) = (proxy.clone(), route.destination.clone());
        self.announce(id.clone(), offline.then_some(NOT_ASKED));
        let holder = Arc::clone(holder);
        self.job(offline, move || {
            let Some(found) = client(&holder).check_proxy() else { return Vec::new() };
            vec![match found.failure {
                None => Check::pass(id, format!("{proxy} lets us through to {to}")),
                Some(failure) => Check::fail(
                    id,
                    failure.to_string(),
                    "Whatever lies behind this proxy is out of reach.",
                    ["check the proxy's URL, its credentials, and what it allows; NO_PROXY goes round it"],
                ),
            }]
        });
    }

    /// How long a server may take to answer.
    fn server_time(&self) -> Duration {
        self.wait.unwrap_or(SERVER_TIME)
    }

    /// Adds work that waits for the network, unless it may not.
    fn job(&mut self, offline: bool, work: impl FnOnce() -> Vec<Check> + Send + 'static) {
        if !offline {
            self.jobs.push(Box::new(work));
        }
    }

    /// Does the work and puts everything in its order. Whatever is not done in time has failed.
    fn finish(mut self, began: Instant, progress: &dyn Fn(&str)) -> Vec<Check> {
        let time = self.server_time().max(SERVER_TIME) + MARGIN;
        let end = began + time;
        let (sender, results) = channel();
        for job in self.jobs.drain(..) {
            let sender = sender.clone();
            // One that cannot be started does not finish, and neither does one that comes too late.
            drop(sync::spawn("doctor", move || drop(sender.send(job()))));
        }
        // Only the threads hold senders now, so that the loop sees when the last one has gone.
        drop(sender);
        loop {
            let open: Vec<&str> =
                self.order.iter().filter(|id| !self.done.contains_key(*id)).map(String::as_str).collect();
            let left = end.saturating_duration_since(Instant::now());
            if open.is_empty() || left.is_zero() {
                break;
            }
            // A line that went over the edge could not be taken back.
            let line = format!("{} s: waiting for {}", began.elapsed().as_secs(), open.join(", "));
            progress(&line.chars().take(PROGRESS_CHARS_MAX).collect::<String>());
            match results.recv_timeout(left.min(PROGRESS_INTERVAL)) {
                Ok(checks) => {
                    self.done.extend(checks.into_iter().map(|check: Check| (check.id.clone(), check)))
                }
                Err(RecvTimeoutError::Timeout) => {}
                // A job that panicked or never started leaves its checks open; they are reported as
                // unfinished.
                Err(RecvTimeoutError::Disconnected) => break,
            }
        }
        let Examination { order, mut done, .. } = self;
        order.into_iter().map(|id| done.remove(&id).unwrap_or_else(|| unfinished(id, time))).collect()
    }
}

/// A setting that names what cannot be used.
fn unusable(id: &str, text: &str) -> Check {
    let next = [format!("correct the file or setting that is named, then ask again: {ASK_AGAIN}")];
    Check::fail(id, text, "run does not start with it.", next)
}

/// A check whose work did not end. Its thread is left alone: it holds nothing that outlives this process, and
/// waiting for it is what the bound is there to prevent.
fn unfinished(id: String, time: Duration) -> Check {
    let summary = format!("did not finish within {} s", time.as_secs_f32());
    let next = ["ask again, and see what the other checks say of the same peer"];
    Check::fail(id, summary, "What it waits for hangs.", next)
}
