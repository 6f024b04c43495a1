//! The endpoints that the product may call by name: the way to each, and whether it can be gone.
//!
//! Connects with the clients that `run` calls with: name, address guard, proxy and TLS are found to work or
//! not. No request is sent, because any request to such an endpoint may be an order for something. So what
//! only an answer would tell is not found: a wrong path, a header that is not accepted, or, with TLS 1.3, that
//! the host demands a client certificate.
//!
//! Targets that are reached in the same way share one connection. Texts name hosts and ports, never paths or
//! queries. An endpoint that cannot be reached is a failed check of its own and stops no other one.

use std::time::{Duration, Instant};

use crate::config::{Harpoon, HarpoonTarget};
use crate::net::{Client, Error, Kind, Net};

use super::advice::{Destination, FORBIDDEN};
use super::examination::{Examination, NOT_ASKED, unusable};
use super::report::Check;

/// The id of the check of all of them.
const ALL: &str = "harpoon";

/// The setting that names them; its flag lacks the last letter.
const SETTING: &str = "harpoon.targets";

/// Targets that are connected to. Each may take a thread, and nobody reads more lines than this.
const TARGETS_MAX: usize = 32;

/// When a connection has to stand, the proxy's part and TLS included.
const CONNECT_TIME: Duration = Duration::from_secs(7);

/// One way to one or more targets.
struct Way {
    target: HarpoonTarget,
    client: Client,
    /// The checks of all who share it.
    ids: Vec<String>,
}

/// Adds the checks of all targets; none when there are no targets.
pub(super) fn check(settings: &Harpoon, net: &Result<&Net, String>, all: &mut Examination, offline: bool) {
    if settings.targets.is_empty() {
        return;
    }
    all.now([summary(settings, net)]);
    let mut ways: Vec<Way> = Vec::new();
    for target in settings.targets.iter().take(TARGETS_MAX) {
        let id = format!("harpoon_target:{}", target.label);
        // Nothing rests: each connection is opened to see that it opens.
        match net.as_ref().map(|net| net.harpoon(settings, target, 0)) {
            Err(blocked) => all.now([Check::skip(id, blocked)]),
            Ok(Err(error)) => all.now([unprepared(&id, &error.to_string(), &error)]),
            Ok(Ok(client)) if offline => {
                all.now([Check::skip(id, NOT_ASKED).evidence([destination(target, client).way()])]);
            }
            Ok(Ok(client)) => {
                all.announce(id.clone(), None);
                match ways.iter_mut().find(|way| way.leads_to(target)) {
                    Some(way) => way.ids.push(id),
                    None => ways.push(Way { target: target.clone(), client, ids: vec![id] }),
                }
            }
        }
    }
    for way in ways {
        all.job(offline, move || way.try_it());
    }
}

/// How many there are. Of those that are not connected to, it is still seen whether `run` starts with them.
fn summary(settings: &Harpoon, net: &Result<&Net, String>) -> Check {
    for target in settings.targets.iter().skip(TARGETS_MAX) {
        if let Ok(Err(error)) = net.as_ref().map(|net| net.harpoon(settings, target, 0)) {
            return unprepared(ALL, &format!("target \"{}\": {error}", target.label), &error);
        }
    }
    let text = match settings.targets.len() {
        1 => "1 target".to_owned(),
        count if count <= TARGETS_MAX => format!("{count} targets"),
        count => format!("{count} targets; the first {TARGETS_MAX} are connected to, the others are not"),
    };
    Check::pass(ALL, text)
}

/// A target that cannot be prepared, which ends `run` at its start.
fn unprepared(id: &str, text: &str, error: &Error) -> Check {
    match error.kind {
        Kind::AddressForbidden => {
            let next = format!("name another host in {SETTING}; run does not start with this one");
            Check::fail(id, text, FORBIDDEN, [next])
        }
        _ => unusable(id, text),
    }
}

impl Way {
    /// Whether a connection for `target` would be the same in everything that is looked at here.
    fn leads_to(&self, target: &HarpoonTarget) -> bool {
        let sort = |target: &HarpoonTarget| {
            (target.origin.clone(), target.unix_socket.clone(), target.allowed_networks.clone())
        };
        sort(&self.target) == sort(target)
    }

    fn try_it(self) -> Vec<Check> {
        let to = destination(&self.target, self.client.clone());
        let began = Instant::now();
        let opened = self.client.check_connection(began + CONNECT_TIME);
        let (way, took) = (to.way(), began.elapsed().as_millis());
        let verdict = |id: String| match &opened {
            Ok(()) => Check::pass(id, format!("connected in {took} ms to {way}; no request was sent")),
            Err(error) => to.failed(id, error),
        };
        self.ids.iter().cloned().map(verdict).collect()
    }
}

/// The destination in the words of its settings.
fn destination(target: &HarpoonTarget, client: Client) -> Destination<'_> {
    Destination {
        client,
        setting: SETTING,
        proxy: "harpoon.http-proxy",
        identity: "have the host ask for no client certificate: endpoints are shown none",
        tls: target.origin.tls,
        socket: target.unix_socket.as_deref(),
    }
}
