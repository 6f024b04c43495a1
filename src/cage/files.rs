//! Files: the directories that stay open, by Landlock.
//!
//! Rules are for directories and not for files, because files are replaced: a rotated log, a bundle that an update
//! writes, the links of Kubernetes. What is not there at the start stays shut.
//!
//! Connecting is not limited to ports: endpoints, redirects and what discovery finds may be at any. Connecting to the
//! file of a socket is limited from version 9 on alone, which no kernel had that this was tried on; so version 7 is
//! asked for, and an older kernel gives what it has.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

use landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, LandlockStatus, NetPort, PathBeneath, PathFd, Ruleset,
    RulesetAttr, RulesetCreatedAttr, RulesetError, Scope, make_bitflags,
};

use crate::config::trust::Reach;
use crate::config::{AuditPlace, Settings};

/// The newest version that was tried.
const VERSION: ABI = ABI::V7;

/// What is done with files that are read.
const READ: BitFlags<AccessFs> = make_bitflags!(AccessFs::{ReadFile | ReadDir});

/// What is done where something is written: log and records are appended to, a URL is renamed into place, a socket is made.
const WRITE: BitFlags<AccessFs> =
    make_bitflags!(AccessFs::{ReadFile | ReadDir | WriteFile | RemoveFile | MakeReg | MakeSock | Truncate});

/// What is read of the system. Files of `/etc` are replaced by renaming, so all of it stays open: resolver, roots, and
/// what the modules of nsswitch.conf read. The C library loads those from `/usr` and `/lib*`, and asks the others; its
/// allocator counts processors.
#[rustfmt::skip]
const SYSTEM: [&str; 19] = [
    "/etc",
    "/usr", "/lib", "/lib64", "/nix/store", "/proc", "/dev/random", "/dev/urandom", "/run/systemd/resolve",
    "/run/systemd/userdb", "/run/resolvconf", "/run/NetworkManager", "/run/nscd", "/var/db/nscd", "/var/cache/nscd",
    "/var/lib/sss", "/var/lib/ca-certificates", "/var/lib/misc", "/sys/devices/system/cpu",
];

/// Files of the system that are often links to elsewhere.
const LINKED: [&str; 3] = ["/etc/resolv.conf", "/etc/hosts", "/etc/nsswitch.conf"];

/// Directories, or files that stand in the root directory.
pub(super) struct Places {
    read: BTreeSet<PathBuf>,
    write: BTreeSet<PathBuf>,
    /// Ports that are listened at.
    ports: Vec<u16>,
    /// Whether the service manager is told by the name of a socket that has no file.
    has_abstract: bool,
}

impl Places {
    /// What a process with these settings needs, which reads the `named` files again.
    pub(super) fn of(settings: &Settings, named: &BTreeSet<PathBuf>) -> Places {
        let mut read: BTreeSet<PathBuf> = SYSTEM.iter().map(PathBuf::from).collect();
        let files = named.iter().map(PathBuf::as_path).chain(LINKED.iter().map(Path::new));
        files.for_each(|file| leading(file, &mut read));
        let (health, process) = (&settings.health, &settings.process);
        let record = settings.audit.as_ref().and_then(|audit| match &audit.place {
            AuditPlace::File(path) => Some(path),
            _ => None,
        });
        let written = [&settings.log.file, &health.unix_socket, &health.url_file, &process.pid_file];
        let written = written.into_iter().flatten().chain(record);
        let write: BTreeSet<PathBuf> = written.filter_map(|path| holder(path)).collect();
        let mut ports = Vec::new();
        if health.unix_socket.is_none() {
            ports.push(health.listen.address.port());
        }
        #[cfg(feature = "dev")]
        let mut write = write;
        #[cfg(feature = "dev")]
        if let Some(stub) = &settings.mcp.stub {
            ports.push(stub.listen.port());
            write.extend(stub.socket.as_deref().and_then(holder));
        }
        let manager = std::env::var_os("NOTIFY_SOCKET").unwrap_or_default();
        let has_abstract = manager.as_encoded_bytes().starts_with(b"@");
        Places { read, write, ports, has_abstract }
    }

    /// Shuts this thread in.
    pub(super) fn restrict(&self) -> Result<String, String> {
        match self.rules() {
            Ok(status) => words(status),
            Err(error) => Err(format!("Landlock failed: {error}")),
        }
    }

    fn rules(&self) -> Result<LandlockStatus, RulesetError> {
        let all = AccessFs::from_all(VERSION);
        let mut rules =
            Ruleset::default().handle_access(all)?.handle_access(AccessNet::BindTcp)?.scope(Scope::Signal)?;
        if !self.has_abstract {
            rules = rules.scope(Scope::AbstractUnixSocket)?;
        }
        let mut rules = rules.create()?;
        let places = self.read.iter().map(|place| (place, READ));
        for (place, access) in places.chain(self.write.iter().map(|place| (place, WRITE))) {
            // What is not there cannot be opened.
            if let Ok(place) = PathFd::new(place) {
                rules = rules.add_rule(PathBeneath::new(place, access))?;
            }
        }
        for port in &self.ports {
            rules = rules.add_rule(NetPort::new(*port, AccessNet::BindTcp))?;
        }
        Ok(rules.restrict_self()?.landlock)
    }

    /// Where files can be read.
    pub(super) fn reach(&self) -> Reach {
        let places = self.read.iter().chain(&self.write);
        Reach(places.filter_map(|place| place.canonicalize().ok()).collect())
    }
}

/// What the kernel gave.
fn words(status: LandlockStatus) -> Result<String, String> {
    match status {
        LandlockStatus::Available { effective_abi, kernel_abi } => {
            let version = kernel_abi.map_or_else(|| effective_abi.to_string(), |version| version.to_string());
            Ok(format!("Landlock, version {version}"))
        }
        LandlockStatus::NotEnabled => Err("Landlock is switched off in this kernel".to_owned()),
        LandlockStatus::NotImplemented => {
            Err("Landlock is not offered by this kernel, or not in this container".to_owned())
        }
    }
}

/// Adds the directories in which a file stands and may be replaced: its own; that of the file that it is a link to; and
/// those of links on the way that lead to a directory beside them, which are swapped together with all that they hold.
fn leading(file: &Path, places: &mut BTreeSet<PathBuf>) {
    let Ok(path) = std::path::absolute(file) else { return };
    let holders = [holder(&path), path.canonicalize().ok().as_deref().and_then(holder)];
    // One that is to stand in the root directory, and is not there, opens nothing.
    places.extend(holders.into_iter().flatten().filter(|place| place.parent().is_some()));
    for link in path.ancestors().filter(|part| part.is_symlink()) {
        let target = link.canonicalize().ok();
        let beside = link.parent().and_then(|parent| parent.canonicalize().ok());
        let beside = beside.filter(|beside| beside.parent().is_some());
        places.extend(beside.filter(|beside| target.is_some_and(|target| target.starts_with(beside))));
    }
}

/// The directory of a file, or itself where it is one. Of what stands in the root directory, and of devices, the file
/// alone; nothing of a pipe or a socket that this process was started with, which Landlock leaves open.
fn holder(path: &Path) -> Option<PathBuf> {
    let found = fs::metadata(path).ok();
    let kind = found.as_ref().map(|found| found.file_type());
    let parent = std::path::absolute(path).ok()?.parent()?.to_owned();
    let is_system = parent.starts_with("/dev") || parent.starts_with("/proc");
    if is_system && kind.is_some_and(|kind| kind.is_fifo() || kind.is_socket()) {
        return None;
    }
    let alone = is_system || parent.parent().is_none();
    let itself = kind.is_some_and(|kind| kind.is_dir() || alone);
    Some(if itself { path.to_owned() } else { parent })
}
