//! A tunnel of this process, from settings to its end: what all commands share that run one.
//!
//! The order of the start is the point of this file: what can fail fails before anybody is contacted,
//! secrets are known to the log before its first line, and signals are blocked before the first thread.
//! A start that fails leaves no file behind. A stop is clean when every caller was told, by their answer or by a
//! failure, and nobody asked for it a second time.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::time::{Duration, Instant};

#[cfg(feature = "dev")]
use nix::sys::signal::Signal;

use crate::config::Settings;
use crate::crypto;
use crate::net::Net;
use crate::ops::descriptors;
use crate::ops::files::{self, Published};
use crate::ops::listener::{Extras, Listener};
use crate::ops::log::{self as logging, Identity};
use crate::ops::redact::Redactor;
use crate::ops::sd_notify::ServiceManager;
use crate::ops::signals::{Event, Signals};
use crate::sync;

use super::error::Error;
use super::reload::{Reload, Running};
use super::summary;
use super::tunnel::Tunnel;

/// How often a draining process looks whether it is done; an idle one is done at once. Signals end the
/// look early, a finished drain does not, so this is what a stop costs at least.
const DRAIN_LOOK: Duration = Duration::from_millis(5);

/// Two signals within this time are one: `timeout` of coreutils, for one, signals the process and its group.
const SAME_STOP: Duration = Duration::from_millis(100);

/// How long main sleeps when nothing happens. Signals wake it.
const QUIET: Duration = Duration::from_secs(3600);

/// How often main closes connections that have rested for their time: so long one may stay that its peer has closed.
const SWEEP_INTERVAL: Duration = Duration::from_secs(5);

/// What a process is before it has a tunnel. Made on the main thread, before any other is started.
pub(crate) struct Process {
    signals: Signals,
    pub(super) instance_id: String,
    /// The limits that it has set itself, in words.
    pub(super) limits: String,
    /// The last warnings.
    #[cfg(feature = "page")]
    pub(super) recent: Arc<logging::Recent>,
}

/// A running tunnel with what belongs to it.
pub(crate) struct Service {
    /// The tunnel.
    pub(crate) tunnel: Arc<Tunnel>,
    net: Net,
    /// Dropping it ends the checks of proxies.
    checks: Option<Sender<()>>,
    /// Whom main tells how the tunnel is.
    pub(super) manager: ServiceManager,
    redactor: Arc<Redactor>,
    /// What others see of it.
    pub(crate) surface: Surface,
}

/// Listener and files of a running process. Dropping it takes them back (the listener stops by itself),
/// also when the start failed half-way: a stale PID file or URL would point others at a process that is
/// not there.
pub(crate) struct Surface {
    /// They go first, as fields are dropped in their order: while there is a file, the listener that it names answers.
    files: Vec<Published>,
    /// The operator's listener, if there is one.
    pub(crate) listener: Option<Listener>,
}

impl Process {
    /// Takes hold of stop signals.
    pub(crate) fn begin() -> Result<Process, Error> {
        // Before the first thread, so that every thread inherits it.
        let signals = Signals::block().map_err(Error::system)?;
        let instance_id = crypto::random_id().map_err(Error::system)?;
        Ok(Process {
            signals,
            instance_id,
            limits: String::new(),
            #[cfg(feature = "page")]
            recent: Arc::default(),
        })
    }

    /// The same for a command that ends with its terminal.
    #[cfg(feature = "dev")]
    pub(crate) fn of_terminal() -> Result<Process, Error> {
        let mut process = Process::begin()?;
        process.signals.stop_at_hangup();
        Ok(process)
    }

    /// Blocks until somebody ends the process, or `time` is over.
    #[cfg(feature = "dev")]
    pub(crate) fn wait(&self, time: Option<Duration>) -> Option<Signal> {
        let end = time.and_then(|time| Instant::now().checked_add(time));
        loop {
            let left = end.map(|end| end.saturating_duration_since(Instant::now()));
            match self.event(left) {
                Some(Event::Stop(signal)) => return Some(signal),
                Some(Event::Reload) => {
                    log::info!("SIGHUP has no effect: there are no settings to read again")
                }
                None => return None,
            }
        }
    }

    /// Blocks until somebody sends a signal, or `time` is over. All threads have signals blocked, so they arrive here
    /// only.
    fn event(&self, time: Option<Duration>) -> Option<Event> {
        let end = time.and_then(|time| Instant::now().checked_add(time));
        loop {
            let left = end.map_or(QUIET, |end| end.saturating_duration_since(Instant::now()));
            let event = self.signals.wait(left.min(QUIET));
            if let Some(Event::Stop(signal)) = event {
                log::info!(signal = signal.as_str(); "stopping");
            }
            if event.is_some() || left.is_zero() {
                return event;
            }
        }
    }
}

impl Service {
    /// Starts log, tunnel and, when it `listens`, the operator's listener. Everything that can fail fails
    /// before the first poll.
    pub(crate) fn start(settings: &Settings, process: &Process, listens: bool) -> Result<Service, Error> {
        let redactor = start_log(settings, process)?;
        // Two locks on one door: the switch alone does nothing, and neither does the level.
        let dump = settings.log.http_raw_unsafe && settings.log.level >= log::LevelFilter::Debug;
        if settings.log.http_raw_unsafe {
            log::warn!(active = dump; "raw HTTP logging is enabled; it may expose data of callers and servers");
        }

        if !process.limits.is_empty() {
            log::info!("cage: {}", process.limits);
        }
        descriptors::provide(Tunnel::connections(settings)).map_err(Error::system)?;
        // From here on mistakes are those of settings: files that cannot be read, keys that do not match.
        let net = Net::new(&settings.network)?.dumping(dump);
        let tunnel = Tunnel::prepare(settings, &net, &process.instance_id, &redactor)?;
        if let Some(audit) = tunnel.audit.clone() {
            // There is one tunnel a process.
            let _ = process.signals.audit.set(Box::new(move || audit.reopen()));
        }
        tunnel.measure_certificates(&net);
        let tunnel = Arc::new(tunnel);
        // The listener before the first poll: a supervisor may look as soon as anything happens.
        let mut surface =
            Surface::open(settings, &net, &tunnel, &redactor, process, listens).map_err(Error::system)?;
        surface.publish(settings).map_err(Error::system)?;
        summary::log(settings, &net, &tunnel, surface.listener.as_ref());
        let checks = tunnel.check_proxies(settings.proxy_check_interval).map_err(Error::system)?;
        tunnel.start(settings)?;
        log::info!(version = crate::VERSION; "🟢 tunnel-client started");
        Ok(Service { tunnel, net, checks, manager: ServiceManager::default(), redactor, surface })
    }

    /// Blocks until somebody ends the process. Meanwhile it tells the service manager how it is, closes what rests too
    /// long, and takes over what has changed in files.
    pub(crate) fn attend(&mut self, process: &Process, mut reload: Reload<'_>) {
        loop {
            self.net.sweep();
            #[cfg(feature = "page")]
            self.tunnel.readiness.look(self.tunnel.relay.targets.keys());
            let pause = self.manager.look(&self.tunnel.readiness, &self.tunnel.heartbeats, &self.redactor);
            let pause = pause.map_or(SWEEP_INTERVAL, |pause| pause.min(SWEEP_INTERVAL));
            match process.event(Some(pause)) {
                Some(Event::Stop(_)) => return,
                Some(Event::Reload) => {
                    self.manager.reloading(false);
                    reload.asked(self.running());
                    self.manager.reloading(true);
                }
                None => reload.look(self.running()),
            }
        }
    }

    fn running(&mut self) -> Running<'_> {
        Running { tunnel: &self.tunnel, net: &mut self.net, redactor: &self.redactor }
    }

    /// Stops the tunnel within `time`, and says whether that was clean.
    pub(crate) fn stop(mut self, time: Duration, process: &Process) -> bool {
        // No more checks of proxies: they would only compete with the last answers.
        drop(self.checks);
        let (commands, seconds) = (self.tunnel.flight.now(), Tunnel::drain_bound(time).as_secs());
        self.manager.stopping(&format!("stopping within {seconds} s; commands to answer: {commands}"));
        let clean = drain(&self.tunnel, time, &process.signals, &mut self.manager);
        // After the drain, also when that was cut short: commands that still run are written down as they are.
        if let Some(audit) = &self.tunnel.audit {
            audit.close();
        }
        drop(self.surface);
        if !clean {
            self.tunnel.leave();
        }
        clean
    }
}

/// The log knows the secrets before it can write a line.
fn start_log(settings: &Settings, process: &Process) -> Result<Arc<Redactor>, Error> {
    let identity = Identity {
        instance_id: process.instance_id.clone(),
        tunnel_id: settings.control_plane.tunnel_id.clone(),
        #[cfg(feature = "page")]
        recent: Arc::clone(&process.recent),
    };
    let redactor = Arc::new(Redactor::new(settings.secrets()));
    let log_file = Arc::clone(&process.signals.log_file);
    logging::init(&settings.log, identity, Arc::clone(&redactor), log_file).map_err(Error::system)?;
    settings.warnings.iter().for_each(|warning| log::warn!("{warning}"));
    Ok(redactor)
}

/// Drains in a thread of its own, so that a second signal can end the process at once. False when it did,
/// or when the drain itself got stuck: its bound is checked from outside, where nothing can hold it up.
fn drain(tunnel: &Arc<Tunnel>, time: Duration, signals: &Signals, manager: &mut ServiceManager) -> bool {
    let end = Instant::now() + Tunnel::drain_bound(time);
    let drained = Arc::clone(tunnel);
    let draining = match sync::spawn("drain", move || drained.drain(time)) {
        Ok(draining) => draining,
        Err(error) => {
            // Without a thread for it a second signal has to wait, but no answer is lost.
            log::error!("cannot start the drain thread: {error}");
            return told_all(tunnel.drain(time));
        }
    };
    let began = Instant::now();
    while !draining.is_finished() {
        let event = signals.wait(DRAIN_LOOK).filter(|_| began.elapsed() >= SAME_STOP);
        if let Some(Event::Stop(signal)) = event {
            log::warn!(signal = signal.as_str(); "second signal: stopping at once");
            return false;
        }
        if Instant::now() >= end {
            log::error!("shutdown took longer than its bound; stopping at once");
            return false;
        }
        manager.feed(&tunnel.heartbeats);
    }
    // A drain that panicked has told nobody anything.
    draining.join().is_ok_and(told_all)
}

/// The last line of the log; true when there is no answer that nobody got.
fn told_all(lost: u64) -> bool {
    match lost {
        0 => log::info!("tunnel-client stopped"),
        _ => log::error!(answers_lost = lost; "tunnel-client stopped; answers lost in the drain: {lost}"),
    }
    lost == 0
}

impl Surface {
    #[cfg_attr(not(feature = "page"), expect(unused_variables))]
    fn open(
        settings: &Settings,
        net: &Net,
        tunnel: &Arc<Tunnel>,
        redactor: &Arc<Redactor>,
        process: &Process,
        listens: bool,
    ) -> io::Result<Surface> {
        let (metrics, readiness) = (Arc::clone(&tunnel.metrics), Arc::clone(&tunnel.readiness));
        let extras = Extras {
            #[cfg(feature = "page")]
            page: Some(tunnel.page(settings, net, process, redactor)),
            #[cfg(feature = "page")]
            support: Some(tunnel.support(settings, process, redactor)),
            #[cfg(feature = "page")]
            guard: tunnel.guard.clone(),
            #[cfg(feature = "harpoon")]
            offer: tunnel.built_in.as_ref().and_then(|built_in| built_in.offer()),
            health: Some(tunnel.health(settings, &process.instance_id)),
        };
        #[cfg(feature = "harpoon")]
        if settings.harpoon.over_http && extras.offer.is_none() {
            log::warn!(
                "harpoon.additional-transport has no effect: no endpoint is configured, and none can be found"
            );
        }
        let (health, beats) = (&settings.health, &tunnel.heartbeats);
        let listener = listens.then(|| Listener::start(health, metrics, readiness, beats, extras));
        Ok(Surface { listener: listener.transpose()?, files: Vec::new() })
    }

    /// Writes the files that were asked for. They name a listener that answers already. The URL comes last: who
    /// waits for it finds the process id as well.
    fn publish(&mut self, settings: &Settings) -> io::Result<()> {
        if let Some(path) = &settings.process.pid_file {
            self.files.push(files::write_pid(path)?);
            let path = path.display().to_string();
            log::info!(pid = std::process::id(), path = path.as_str(); "pid file written");
        }
        if let (Some(path), Some(listener)) = (&settings.health.url_file, &self.listener) {
            let url = listener.base_url();
            self.files.push(files::write_url(path, url)?);
            let path = path.display().to_string();
            log::info!(url = url, path = path.as_str(); "🩺 HEALTH URL: {url} (written to {path})");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Health, ListenAddress};
    use crate::ops::heartbeat::Heartbeats;
    use crate::ops::metrics::Metrics;
    use crate::ops::readiness::Readiness;

    #[test]
    fn no_file_names_a_listener_that_is_gone() {
        let directory = std::env::temp_dir().join(format!("tunnel-client-surface-{}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        let (socket, url) = (directory.join("socket"), directory.join("url"));
        let listen = ListenAddress { host: String::new(), address: "127.0.0.1:0".parse().unwrap() };
        let health =
            Health { listen, unix_socket: Some(socket.clone()), url_file: None, show_details: false };
        for _ in 0..50 {
            let metrics = Arc::new(Metrics::new("t", 1, 1, &[]));
            let readiness = Arc::new(Readiness::new(Duration::from_secs(60), &[]));
            let heartbeats = Heartbeats::default();
            let listener = Listener::start(&health, metrics, readiness, &heartbeats, Extras::default());
            let files = vec![files::write_url(&url, "url").unwrap()];
            let surface = Surface { listener: Some(listener.unwrap()), files };
            std::thread::scope(|scope| {
                let stopped = scope.spawn(|| drop(surface));
                while !stopped.is_finished() {
                    assert!(socket.exists() || !url.exists());
                }
            });
        }
        std::fs::remove_dir_all(&directory).unwrap();
    }
}
