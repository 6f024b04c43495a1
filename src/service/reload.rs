//! Reload: other files and another profile, taken over by a tunnel that runs.
//!
//! Everything happens on the main thread, at the moments at which it wakes anyway. Files are looked at now and then;
//! a signal has them read at once, and the profile too. Settings are read by the code of the start, and each part makes
//! of them what it would make at a start, whole, before it lets go of what it had: so what cannot be used changes
//! nothing. Calls that run end with what they began with.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

#[cfg(feature = "cage")]
use crate::config::trust::Reach;
use crate::config::trust::{self, Stamp};
use crate::config::{Reading, Settings, Taken};
use crate::crypto::{self, Keyed};
use crate::net::{self, Net};
use crate::ops::log as logging;
use crate::ops::redact::Redactor;
use crate::pins;
use crate::text;

use super::error::Error;
use super::parts;
use super::tunnel::Tunnel;
use super::watched::Watched;

/// How often files are looked at.
const LOOK: Duration = Duration::from_secs(10);

/// Files that are logged of one try. Each line is searched for all secrets, of which there may be thousands.
const FILES_LOGGED_MAX: usize = 20;

/// The largest file whose digest is recorded: no larger one is read.
const FILE_BYTES_MAX: u64 = 16 << 20;

/// What may change, and what it was read from.
pub(crate) struct Reload<'a> {
    reading: Reading<'a>,
    watched: Watched,
    look_at: Instant,
    /// What files held when they were taken over: digests for the audit record.
    digests: BTreeMap<PathBuf, String>,
    key: Keyed,
    /// Files of the last try that could not be taken over.
    refused: BTreeSet<PathBuf>,
}

/// The parts of a process that runs.
pub(super) struct Running<'s> {
    pub(super) tunnel: &'s Tunnel,
    /// What new connections are made by.
    pub(super) net: &'s mut Net,
    pub(super) redactor: &'s Redactor,
}

impl<'a> Reload<'a> {
    /// Remembers what the settings were read from.
    pub(crate) fn begin(reading: Reading<'a>) -> Result<Reload<'a>, Error> {
        let (watched, digests, refused) = Default::default();
        let (look_at, key) = (Instant::now() + LOOK, Keyed::new().map_err(Error::system)?);
        let mut reload = Reload { reading, watched, look_at, digests, key, refused };
        reload.watch();
        Ok(reload)
    }

    /// The settings in force.
    pub(crate) fn settings(&self) -> &Settings {
        self.reading.settings()
    }

    /// Holds what is read from now on to these places.
    #[cfg(feature = "cage")]
    pub(super) fn hold(&mut self, reach: Reach) {
        self.reading.reach = reach;
    }

    /// All files that may be read again, the profile too.
    #[cfg(feature = "cage")]
    pub(super) fn named(&self) -> BTreeSet<PathBuf> {
        self.digests.keys().chain(&self.settings().source.path).cloned().collect()
    }

    /// How many files are looked at.
    pub(super) fn files(&self) -> usize {
        self.digests.len()
    }

    /// Files that connections are made by, those of the system too.
    fn material(&self) -> impl Iterator<Item = &Path> {
        let of_system = net::bundles(&self.settings().network).iter().map(Path::new);
        self.settings().material().into_iter().chain(of_system)
    }

    /// Watches the files that are named now. To be called before those are read that are read by others.
    fn watch(&mut self) {
        let read_by_others = self.material().chain(self.settings().pin_file());
        let files = self.reading.files().map(|(path, stamp)| (path.as_path(), Some(stamp)));
        let files = files.chain(read_by_others.map(|path| (path, Stamp::at(path))));
        let files: Vec<_> = files.map(|(path, stamp)| (path.to_owned(), stamp)).collect();
        for (path, stamp) in &files {
            self.watched.read(path, *stamp);
            if !self.digests.contains_key(path) {
                self.digests.insert(path.clone(), self.digest(path));
            }
        }
        let named = files.into_iter().map(|(path, _)| path).collect();
        self.watched.retain(&named);
        self.digests.retain(|path, _| named.contains(path));
    }

    /// What stands for the content of a file. What others may not read, and what a value is, cannot be guessed from it:
    /// Kubernetes lets everybody read, and nobody come near.
    fn digest(&self, path: &Path) -> String {
        if self.settings().audit.is_none() {
            return String::new();
        }
        if let Some(value) = self.reading.value(path) {
            return self.key.digest(value.expose().as_bytes());
        }
        match trust::read_regular(path, FILE_BYTES_MAX) {
            Ok((bytes, metadata)) if trust::is_public(&metadata) => crypto::sha256_hex(&bytes),
            Ok((bytes, _)) => self.key.digest(&bytes),
            Err(_) => String::new(),
        }
    }

    /// Looks at the files, when that is due.
    pub(super) fn look(&mut self, running: Running<'_>) {
        if Instant::now() >= self.look_at {
            self.look_at = Instant::now() + LOOK;
            let changed = self.watched.look(true, Stamp::at);
            if !changed.is_empty() {
                self.take(running, changed, false);
            }
        }
    }

    /// Reads what has changed at once, the profile too, because somebody asks for it.
    pub(super) fn asked(&mut self, running: Running<'_>) {
        let changed = self.watched.look(false, Stamp::at);
        self.take(running, changed, true);
    }

    /// Takes over files, and the profile when that is wanted, as far as they can be used.
    fn take(&mut self, running: Running<'_>, mut changed: BTreeSet<PathBuf>, with_profile: bool) {
        changed.append(&mut self.refused);
        let (before, mut complaints, mut profile) = (self.settings().clone(), Vec::new(), None);
        if with_profile {
            match self.reading.take_profile(|settings| usable(running.net, settings)) {
                Ok(taken) => profile = taken,
                Err(why) => complaints.push(why),
            }
        }
        for (path, why) in self.reading.take_files(&changed) {
            self.refused.insert(path);
            complaints.push(why);
        }
        self.watch();
        let material: BTreeSet<_> = self.material().map(Path::to_owned).collect();
        let now = self.reading.settings();
        // Before anything uses one of them.
        running.redactor.renew(&now.secrets());
        for warning in now.warnings.iter().filter(|one| !before.warnings.contains(one)) {
            log::warn!("{warning}");
        }
        if profile.is_some() || !changed.is_empty() {
            logging::renew(&now.log);
            if let Some(why) = running.tunnel.follow(&before, now, &changed) {
                self.refused.extend(now.pin_file().map(Path::to_owned));
                complaints.push(why);
            }
            let connects =
                profile.is_some() || before.proxies() != now.proxies() || !material.is_disjoint(&changed);
            let changed_material = material.intersection(&changed);
            let mut refused: Vec<String> =
                changed_material.filter_map(|path| self.reading.reach.check(path).err()).collect();
            if connects {
                match running.net.renewed(&now.network) {
                    Ok(net) => *running.net = net,
                    Err(error) => refused.push(error.to_string()),
                }
            }
            refused.extend(running.tunnel.renew(running.net, connects, now));
            running.tunnel.measure_certificates(running.net);
            if !refused.is_empty() {
                self.refused.extend(material.intersection(&changed).cloned());
            }
            complaints.extend(refused);
        }
        running.tunnel.reloaded(complaints.is_empty());
        for why in complaints.iter().take(FILES_LOGGED_MAX) {
            log::warn!(error = why.as_str(), errors = complaints.len(); "a file cannot be taken over; what it held before stays in use");
        }
        let taken = self.taken(changed, profile);
        if taken.is_empty() && complaints.is_empty() {
            log::info!("neither the settings nor the files that they name have changed");
        }
        tell(running.tunnel, taken);
    }

    /// What was taken over of what is named, each with its digests, from and to.
    fn taken(&mut self, changed: BTreeSet<PathBuf>, profile: Option<Taken>) -> Vec<Taken> {
        let mut taken: Vec<_> = profile.into_iter().collect();
        for path in changed.into_iter().filter(|path| !self.refused.contains(path)) {
            let digest = self.digest(&path);
            if let Some(known) = self.digests.get_mut(&path) {
                let former = std::mem::replace(known, digest.clone());
                taken.push((path, [former, digest]));
            }
        }
        taken
    }
}

/// Says what was taken over.
fn tell(tunnel: &Tunnel, taken: Vec<Taken>) {
    if let Some(more) = taken.len().checked_sub(FILES_LOGGED_MAX).filter(|more| *more > 0) {
        log::info!(files = more; "taken over: {more} files more than those of the next lines");
    }
    for (number, (path, [former, digest])) in taken.into_iter().enumerate() {
        let path = path.display().to_string();
        if number < FILES_LOGGED_MAX {
            log::info!(path = path.as_str(); "taken over: {path}");
        }
        if let Some(audit) = &tunnel.audit {
            let event = [("event", "reload"), ("file", &path), ("from", &former), ("to", &digest)];
            audit.event(text::members(event));
        }
    }
}

/// Whether connections can be made by these settings.
fn usable(net: &Net, settings: &Settings) -> Result<(), String> {
    let made = || -> Result<(), Error> {
        let net = net.renewed(&settings.network)?;
        parts::clients(settings, &net)?;
        for (_, server) in settings.http_servers() {
            net.mcp(server, &settings.mcp.proxy, 0)?;
        }
        Ok(())
    };
    made().map_err(|error| error.to_string())
}

impl Tunnel {
    /// Goes over to other rules, and to what the operator has accepted meanwhile.
    fn follow(&self, before: &Settings, now: &Settings, changed: &BTreeSet<PathBuf>) -> Option<String> {
        let (policy, former, rules) = (self.policy.as_ref()?, before.policy.as_ref()?, now.policy.as_ref()?);
        // What they limit would count anew.
        if format!("{former:?}") != format!("{rules:?}") {
            policy.renew(rules);
        }
        let watch = self.watch.as_ref()?;
        if rules.enforces && !former.enforces {
            watch.enforce();
        }
        let file = now.pin_file().filter(|file| changed.contains(*file))?;
        Some(pins::unread(file, &watch.read(file).err()?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Environment, Flags};

    #[test]
    fn the_bundles_of_the_system_are_looked_at_from_the_start() {
        let watched = |more: (&str, &str)| {
            let environment = Environment::of([
                ("CONTROL_PLANE_TUNNEL_ID", "tunnel_abcdefghijklmnopqrstuvwxyz012345"),
                ("CONTROL_PLANE_API_KEY", "sk-runtime_1"),
                ("MCP_SERVER_URL", "http://h/"),
                more,
            ]);
            let flags = Flags::default();
            let reload = Reload::begin(Reading::begin(&flags, &environment).unwrap()).unwrap();
            reload.digests.into_keys().map(|path| path.display().to_string()).collect::<Vec<_>>()
        };
        assert!(watched(("A", "b")).contains(&"/etc/ssl/certs/ca-certificates.crt".to_owned()));
        assert_eq!(watched(("SSL_CERT_FILE", "/roots.pem")), ["/roots.pem"]);
    }
}
