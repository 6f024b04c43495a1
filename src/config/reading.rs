//! Settings that are read again while the process runs.
//!
//! The profile in force is kept as it was read, and so is what stood in the files that its values refer to. So a file
//! is read anew for the settings in force, whatever has become of the profile; and the profile is read anew by the
//! code of the start, whole or not at all. A file that cannot be used keeps its last good content, and keeps no other
//! file from being taken. What would need a restart is refused with a sentence that names it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::binding::Entry;
use super::document::{self, Document, File, Raw};
use super::lookup::Lookup;
use super::profile::{self, Source};
use super::reference::Contents;
use super::settings::{Kind, Row};
use super::trust::{Reach, Stamp};
use super::{
    Channel, Environment, Error, Flags, HttpServer, ListenAddress, Origin, Policy, Proxy, Secret, Server,
    Settings,
};

/// Settings beside those of a reloading kind that may change.
const RELOADED: [&str; 2] = ["log.level", "policy"];

/// Keys of an entry whose values may.
const RELOADED_KEYS: [&str; 4] = ["client_cert", "client_key", "headers", "http_proxy"];

/// What is said of settings that may not.
const FIXED: &str = "cannot change while the program runs: restart it";

/// A file that was taken over, with digests of what it held and of what it holds.
pub(crate) type Taken = (PathBuf, [String; 2]);

/// The settings in force, with what they were read from.
pub(crate) struct Reading<'a> {
    flags: &'a Flags,
    environment: &'a Environment,
    source: Source,
    file: Option<File>,
    contents: Contents,
    settings: Settings,
    /// Where files can be read from now on.
    pub(crate) reach: Reach,
}

impl<'a> Reading<'a> {
    /// Reads for the first time.
    pub(crate) fn begin(flags: &'a Flags, environment: &'a Environment) -> Result<Reading<'a>, Error> {
        let source = profile::select(flags, environment)?;
        let reading = Reading::of(flags, environment, &source);
        #[cfg(feature = "operator")]
        let reading = reading.map_err(|error| profile::advise(error, &source, flags, environment));
        reading
    }

    fn of(flags: &'a Flags, environment: &'a Environment, source: &Source) -> Result<Reading<'a>, Error> {
        let file = source.path.as_deref().map(document::read).transpose()?;
        let (settings, contents) =
            read(source, flags, environment, file.as_ref(), Contents::default(), None, Reach::default())?;
        let (source, reach) = (source.clone(), Reach::default());
        Ok(Reading { flags, environment, source, file, contents, settings, reach })
    }

    /// The settings in force.
    pub(crate) fn settings(&self) -> &Settings {
        &self.settings
    }

    /// The settings in force, which are not read again.
    #[cfg(any(test, feature = "operator", feature = "dev"))]
    pub(crate) fn into_settings(self) -> Settings {
        self.settings
    }

    /// Files with values that may change, each with what the system said of it when it was read.
    pub(crate) fn files(&self) -> impl Iterator<Item = (&PathBuf, Stamp)> {
        let files = self.contents.iter().filter(|(_, content)| !content.lasts);
        files.map(|(path, content)| (path, content.stamp))
    }

    /// What stood in a file with a value that may change, when it was taken.
    pub(crate) fn value(&self, path: &Path) -> Option<&Secret> {
        self.contents.get(path).filter(|content| !content.lasts).map(|content| &content.text)
    }

    /// Takes over what stands now in those of its files that have changed. Gives those that cannot be used, each with a
    /// complaint.
    pub(crate) fn take_files(&mut self, changed: &BTreeSet<PathBuf>) -> Vec<(PathBuf, String)> {
        let files = self.files().map(|(path, _)| path);
        let named: Vec<PathBuf> = files.filter(|path| changed.contains(*path)).cloned().collect();
        let (mut left, mut refused) = (vec![named], Vec::new());
        // By halves: of many the others may be whole, and all settings are read each time.
        while let Some(mut files) = left.pop().filter(|files| !files.is_empty()) {
            match self.take(&files) {
                Ok(()) => {}
                Err(why) if files.len() == 1 => refused.extend(files.pop().map(|file| (file, why))),
                Err(_) => {
                    left.push(files.split_off(files.len() / 2));
                    left.push(files);
                }
            }
        }
        refused
    }

    fn take(&mut self, paths: &[PathBuf]) -> Result<(), String> {
        let mut known = self.contents.clone();
        known.retain(|path, _| !paths.contains(path));
        (self.settings, self.contents) = self.next(self.file.as_ref(), known)?;
        Ok(())
    }

    /// Settings that may take the place of these.
    fn next(&self, file: Option<&File>, known: Contents) -> Result<(Settings, Contents), String> {
        let listen = Some(&self.settings.health.listen);
        let read = read(&self.source, self.flags, self.environment, file, known, listen, self.reach.clone());
        let next = read.map_err(|error| error.to_string())?;
        self.settings.check_fixed(&next.0)?;
        Ok(next)
    }

    /// Takes over the profile as it stands now, if what it names is `usable`. Gives it when it is another one.
    pub(crate) fn take_profile(
        &mut self,
        usable: impl FnOnce(&Settings) -> Result<(), String>,
    ) -> Result<Option<Taken>, String> {
        let Some(old) = &self.file else { return Ok(None) };
        let failed = |error: Error| error.to_string();
        // A link may have been put in its place.
        profile::select(self.flags, self.environment).map_err(failed)?;
        self.reach.check(&old.path)?;
        let file = document::read(&old.path).map_err(failed)?;
        if file.digest == old.digest {
            return Ok(None);
        }
        let fixed = fixed(&old.document, &file.document);
        if !fixed.is_empty() {
            return Err(format!("{} {FIXED}", fixed.join(", ")));
        }
        let mut known = self.contents.clone();
        known.retain(|_, content| content.lasts);
        let (settings, contents) = self.next(Some(&file), known)?;
        settings.material().into_iter().try_for_each(|path| self.reach.check(path))?;
        usable(&settings)?;
        let digests = [old.digest.clone(), file.digest.clone()];
        (self.settings, self.contents) = (settings, contents);
        let path = file.path.clone();
        self.file = Some(file);
        Ok(Some((path, digests)))
    }
}

/// Reads settings; what is known of files is not read from them, and no name of a listener is resolved twice.
fn read(
    source: &Source,
    flags: &Flags,
    environment: &Environment,
    file: Option<&File>,
    known: Contents,
    listen: Option<&ListenAddress>,
    reach: Reach,
) -> Result<(Settings, Contents), Error> {
    let mut lookup = Lookup::of(flags, environment, file, false);
    lookup.listen = listen;
    lookup.references.reach = reach;
    lookup.references.contents.replace(known);
    let settings = Settings::of(source, &lookup)?;
    Ok((settings, lookup.references.contents.take()))
}

impl Settings {
    /// Files whose content is read when connections are made: those with certificates and keys.
    pub(crate) fn material(&self) -> Vec<&Path> {
        let network = &self.network;
        let identities = self.http_servers().filter_map(|(_, server)| server.identity.as_ref());
        let identities = identities.chain(&self.control_plane.identity);
        let mut files: Vec<&Path> = identities.flat_map(|one| [&*one.certificate, &*one.key]).collect();
        files
            .extend([&network.ca_bundle, &network.ssl_cert_file].into_iter().flatten().map(PathBuf::as_path));
        let directories = network.ssl_cert_dir.iter().flat_map(|list| list.split(':'));
        files.extend(directories.filter(|directory| !directory.is_empty()).map(Path::new));
        files
    }

    /// The file of the tools that the operator has accepted.
    pub(crate) fn pin_file(&self) -> Option<&Path> {
        Some(&self.policy.as_ref()?.pins.as_ref()?.file)
    }

    /// The proxies of all purposes.
    pub(crate) fn proxies(&self) -> Vec<Option<&Proxy>> {
        let (network, environment) = (&self.network, &self.network.environment);
        let own = [&network.proxy, &self.control_plane.proxy, &self.mcp.proxy];
        let own = own.into_iter().chain([&environment.http, &environment.https]);
        let proxies = own.chain(self.http_servers().map(|(_, server)| &server.proxy));
        #[cfg(feature = "harpoon")]
        let proxies = proxies.chain([&self.harpoon.proxy]);
        proxies.map(Option::as_ref).collect()
    }

    /// The servers over HTTP, each with its channel.
    pub(crate) fn http_servers(&self) -> impl Iterator<Item = (&Channel, &HttpServer)> {
        self.mcp.bindings.iter().filter_map(|binding| match &binding.server {
            Server::Http(server) => Some((&binding.channel, server)),
            Server::Stdio(_) => None,
        })
    }

    /// Refuses settings that cannot take the place of these. What differs as it is written was seen before.
    fn check_fixed(&self, new: &Settings) -> Result<(), String> {
        let addresses = |settings: &Settings| -> Vec<Option<Origin>> {
            settings.proxies().iter().map(|one| Some(one.as_ref()?.origin.clone())).collect()
        };
        let pins = |policy: &Option<Policy>| policy.as_ref().map(|policy| format!("{:?}", policy.pins));
        let what = match (&self.policy, &new.policy) {
            _ if addresses(self) != addresses(new) => "the address of a proxy",
            // It may follow from a certificate.
            _ if self.control_plane.origin != new.control_plane.origin => "the address of the control plane",
            (old, new) if old.is_some() != new.is_some() => "whether there is a policy",
            (Some(old), Some(new)) if old.enforces && !new.enforces => "policy.mode from enforce to observe",
            (old, new) if pins(old) != pins(new) => "policy.pins",
            _ => return Ok(()),
        };
        Err(format!("{what} {FIXED}"))
    }
}

/// Settings that differ and cannot change while the process runs, as the file names them.
fn fixed(old: &Document, new: &Document) -> Vec<&'static str> {
    let reloads = |row: &Row| {
        matches!(row.kind, Kind::Headers | Kind::Path | Kind::Proxy | Kind::Secret)
            || RELOADED.contains(&row.flag)
    };
    let [old, new] = [old, new].map(|document| {
        let rows = document.iter().filter(|(row, ..)| !reloads(row));
        rows.map(|(row, _, raw)| (row.yaml, lasting(raw))).collect::<BTreeMap<_, _>>()
    });
    let all: BTreeSet<_> = old.keys().chain(new.keys()).copied().collect();
    all.into_iter().filter(|yaml| old.get(yaml) != new.get(yaml)).collect()
}

/// A value without those parts that may change.
fn lasting(raw: &Raw) -> Raw {
    let Raw::Entries(entries) = raw else { return raw.clone() };
    let entries = entries.iter().map(|entry| {
        let pairs = entry.pairs.iter();
        let lasts = |key: &str| !RELOADED_KEYS.contains(&key.split('.').next().unwrap_or_default());
        let pairs = pairs.filter(|(key, _)| lasts(key)).cloned().collect();
        Entry { pairs, tree: entry.tree.clone(), ..Entry::default() }
    });
    Raw::Entries(entries.collect())
}

#[cfg(test)]
mod tests {
    use super::super::Request;
    use super::*;
    use std::fs;

    /// Begins with a profile of these further lines, in which `DIR` stands for a directory of the test's own.
    fn with(name: &str, lines: &str, files: &[&str], test: impl FnOnce(&Path, Reading<'_>)) {
        let directory = std::env::temp_dir().join(format!("tunnel-client-{}-{name}", std::process::id()));
        fs::create_dir_all(&directory).unwrap();
        files.iter().for_each(|file| fs::write(directory.join(file), "http://one/").unwrap());
        let profile = directory.join("profile.yaml");
        write(&profile, lines);
        let Ok(Request::Run(flags)) = Flags::parse(&["--config", profile.to_str().unwrap()]) else {
            panic!()
        };
        let environment = Environment::of([
            ("CONTROL_PLANE_TUNNEL_ID", "tunnel_abcdefghijklmnopqrstuvwxyz012345"),
            ("CONTROL_PLANE_API_KEY", "sk-runtime_1"),
        ]);
        test(&directory, Reading::begin(&flags, &environment).unwrap());
        fs::remove_dir_all(&directory).unwrap();
    }

    fn write(profile: &Path, lines: &str) {
        let directory = profile.parent().unwrap().to_str().unwrap();
        fs::write(profile, lines.replace("DIR", directory)).unwrap();
    }

    const SERVER: &str = "mcp: { server_urls: [{ url: http://h/ }] }\n";

    #[test]
    fn a_certificate_that_leads_to_another_address_needs_a_restart() {
        with("leads", SERVER, &[], |directory, mut reading| {
            let identity = "control_plane: { client_cert: /c, client_key: /k }\n";
            write(&directory.join("profile.yaml"), &format!("{SERVER}{identity}"));
            let why = reading.take_profile(|_| Ok(())).unwrap_err();
            assert!(why.starts_with("the address of the control plane cannot change"), "{why}");
        });
    }

    #[test]
    fn what_one_value_holds_until_the_end_another_one_does_not_change() {
        let lines = "control_plane: { extra_headers: { X-A: 'file:DIR/url' } }\n\
                     mcp: { server_urls: [{ url: 'file:DIR/url' }] }\n";
        with("lasts", lines, &["url"], |directory, mut reading| {
            assert_eq!(reading.files().count(), 0);
            fs::write(directory.join("url"), "http://two/").unwrap();
            assert!(reading.take_files(&[directory.join("url")].into()).is_empty());
            let (_, server) = reading.settings().http_servers().next().unwrap();
            assert_eq!(server.origin.host, "one");
        });
    }

    #[test]
    fn of_many_files_those_that_are_whole_are_taken() {
        let names = ["0", "1", "2", "3", "4", "5", "6"];
        let headers: String = names.iter().map(|name| format!("X-{name}: 'file:DIR/{name}', ")).collect();
        let lines = format!("{SERVER}control_plane: {{ extra_headers: {{ {headers} }} }}\n");
        with("many", &lines, &names, |directory, mut reading| {
            reading.settings.health.listen.address = "192.0.2.1:1".parse().unwrap();
            for (name, text) in names.iter().zip(["two", "", "two", "two", "a\nb", "", "two"]) {
                fs::write(directory.join(name), text).unwrap();
            }
            let refused = reading.take_files(&names.map(|name| directory.join(name)).into());
            let mut refused: Vec<_> = refused.into_iter().map(|(path, _)| path).collect();
            refused.sort();
            assert_eq!(refused, ["1", "4", "5"].map(|name| directory.join(name)));
            let settings = reading.settings();
            let shown = names.map(|name| settings.control_plane.extra_headers[format!("x-{name}")].clone());
            assert_eq!(shown, ["two", "http://one/", "two", "two", "http://one/", "http://one/", "two"]);
            assert_eq!(
                settings.health.listen.address.to_string(),
                "192.0.2.1:1",
                "no name is resolved twice"
            );
        });
    }
}
