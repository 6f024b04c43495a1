//! What `/health` shows of a tunnel: each part describes itself, and this puts them together.
//!
//! A snapshot is taken out of memory when somebody asks. It names no host, no path and nothing that a server said
//! beyond names, versions and capabilities. It cannot fail.

use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use crate::config::{Channel, Settings};
use crate::ops::health::{Clock, Component, Object, Snapshot, SnapshotMaker, Status};
use crate::ops::timestamp;
use crate::relay::stop::Phase;
use crate::sync;

use super::routes::PLANE;
use super::tunnel::Tunnel;

/// Ways through proxies that are shown one by one.
const ROUTES_MAX: usize = 16;

/// What the package is called that has these commands.
const FLAVOR: &str = if cfg!(feature = "operator") { "full" } else { "runtime" };

impl Tunnel {
    /// What takes snapshots. It holds on to the tunnel, which lives as long as the process anyway.
    pub(super) fn health(self: &Arc<Tunnel>, settings: &Settings, instance_id: &str) -> SnapshotMaker {
        let (tunnel, started) = (Arc::clone(self), Clock::read());
        let wait = settings.control_plane.poll_timeout;
        let runtime = Object::default()
            .with("instance_id", instance_id)
            .with("version", crate::VERSION)
            .with("flavor", FLAVOR)
            .with("started_at", started.shown());
        Box::new(move || {
            let clock = Clock::read();
            let lifecycle = if tunnel.stop.reached(Phase::Draining) { "draining" } else { "running" };
            let runtime = runtime.clone().with("uptime_seconds", clock.age(Some(started.now)));
            Snapshot {
                clock,
                ready: tunnel.readiness.verdict().0,
                runtime: runtime.with("lifecycle", lifecycle),
                components: tunnel.components(clock, wait),
            }
        })
    }

    fn components(&self, clock: Clock, wait: Duration) -> Vec<Component> {
        let (drains, ended) = (self.stop.reached(Phase::Draining), self.stop.reached(Phase::Ended));
        let word = if ended { Some("stopped") } else { drains.then_some("draining") };
        let [queue, dispatcher] = self.relay.queue.components(clock, word);
        let held_up = Some(queue.state).filter(|state| *state == "backpressured");
        let brought = self.post_room.brought();
        let [mut polls, posts, oauth] = self.readiness.components(clock, wait, held_up, brought);
        if drains {
            // The last poll may have been cut, and then nobody said how it ended.
            polls.state = "stopped";
        }
        #[cfg(feature = "harpoon")]
        let catalog = self.catalog(oauth.state);
        let cloudflared = Component {
            details: Object::default().with("enabled", false).with("ready", false),
            ..Component::new("cloudflared", Status::Disabled, "disabled")
        };
        let proxies = self.proxies();
        let mut all = vec![polls, posts, oauth, queue, dispatcher, cloudflared, proxies, self.mcp(clock)];
        #[cfg(feature = "harpoon")]
        all.push(catalog);
        all.push(self.reload(clock));
        all.extend(self.audit.as_ref().map(|audit| {
            let (status, state, reason) = match audit.works() {
                true => (Status::Ok, "written", None),
                false => (Status::Degraded, "unwritten", Some("audit_unavailable")),
            };
            Component { reason, ..Component::new("audit", status, state) }
        }));
        all
    }

    /// The last try to take over other settings.
    fn reload(&self, clock: Clock) -> Component {
        let last = *sync::lock(&self.last_reload);
        let (status, state, reason) = match last {
            None => (Status::Ok, "idle", None),
            Some((_, true)) => (Status::Ok, "taken", None),
            Some((_, false)) => (Status::Degraded, "refused", Some("last_good_kept")),
        };
        let details = Object::default().with("last_try", clock.time(last.map(|(at, _)| at)));
        let details = details.objects("certificates", &self.certificates());
        Component { reason, details, ..Component::new("reload", status, state) }
    }

    /// The server inside this program, whose endpoints the search for metadata may add to.
    #[cfg(feature = "harpoon")]
    fn catalog(&self, search: &str) -> Component {
        let (status, state, reason) = match (&self.built_in, search) {
            (None, _) => (Status::Disabled, "disabled", None),
            (Some(_), "pending") => (Status::Unknown, "pending", None),
            (Some(_), "failed") => (Status::Degraded, "failed", Some("catalog_failed")),
            (Some(_), _) => (Status::Ok, "settled", None),
        };
        let count = self.built_in.as_ref().map_or(0, |built_in| built_in.count());
        let details = Object::default().with("target_count", count);
        let details = details.with("catalog_state", if state == "disabled" { "settled" } else { state });
        Component { reason, details, ..Component::new("harpoon", status, state) }
    }

    /// The ways to all destinations, as the checks of proxies found them last.
    fn proxies(&self) -> Component {
        let endpoints = self.built_in.iter().flat_map(|built_in| built_in.endpoints());
        let known =
            self.routes().map(|(name, client)| (if name == PLANE { "control_plane" } else { "mcp" }, client));
        let ways = known.chain(endpoints.map(|client| ("harpoon", client)));
        let (mut states, mut shown) = (Vec::new(), Vec::new());
        for (number, (kind, client)) in (1..).zip(ways) {
            let id = client.proxy_id();
            let checked = id.as_ref().and_then(|id| self.metrics.proxy(id));
            let state = match (&id, checked) {
                (None, _) => "direct",
                (Some(_), None) => "pending",
                (Some(_), Some((true, ..))) => "healthy",
                (Some(_), Some((false, ..))) => "unhealthy",
            };
            let time = |at: u64| {
                Some(timestamp::rfc3339_ms(UNIX_EPOCH + Duration::from_secs(at))).filter(|_| at > 0)
            };
            shown.push(
                Object::default()
                    .with("label", format!("route-{number}"))
                    .with("kind", kind)
                    .with("state", state)
                    .with("last_check", checked.and_then(|(_, at, _)| time(at)))
                    .with("last_success", checked.and_then(|(.., at)| time(at)))
                    .with("failure_category", (state == "unhealthy").then_some("check_failed")),
            );
            states.push(state);
        }
        let (status, state, reason) = match () {
            () if states.contains(&"unhealthy") => {
                (Status::Degraded, "unhealthy", Some("route_check_failed"))
            }
            () if states.contains(&"pending") => (Status::Unknown, "pending", None),
            () if states.contains(&"healthy") => (Status::Ok, "healthy", None),
            () => (Status::Disabled, "direct", None),
        };
        let limited = shown.len() > ROUTES_MAX;
        let details = Object::default().with("route_count", states.len());
        shown.truncate(ROUTES_MAX);
        let details = details.objects("routes", &shown);
        Component { reason, limited, details, ..Component::new("proxy", status, state) }
    }

    /// The server behind `main`.
    fn mcp(&self, clock: Clock) -> Component {
        let main = Channel::main();
        let (probe, fails) = self.readiness.server(&main, clock);
        let head = Object::default().with("channel", main.as_str());
        let child = self.children.iter().find(|child| *child.channel() == main);
        match child.map(|child| child.component(clock, fails)) {
            Some(component) => component,
            None if self.servers.iter().any(|server| *server.channel() == main) => {
                let (status, state) =
                    if fails { (Status::Degraded, "failed") } else { (Status::Unknown, "not_observed") };
                let head =
                    head.with("transport", "http-streamable").with("evidence", "unsupported_transport");
                let details = probe.iter().fold(head, |head, probe| head.object("startup_probe", probe));
                let reason = Some("same_child_evidence_unavailable");
                Component { reason, details, ..Component::new("mcp", status, state) }
            }
            None => Component {
                details: head.with("evidence", "not_configured"),
                ..Component::new("mcp", Status::Disabled, "disabled")
            },
        }
    }
}
