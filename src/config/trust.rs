//! Trusted files: whose a file and the links to it must be before its content is believed.
//!
//! A profile, a key or a header value decides whom this host speaks to and as whom. So the file that was opened
//! belongs to root or to the user of this process, nobody else may write to it, and each link that leads to it
//! belongs to one of the two as well: the links of Kubernetes inside a mount of root's do. Opening waits for
//! nobody. A directory in which everybody could exchange the file is no failure, since the file of somebody else
//! would be refused; it is reported to who asked.

use std::ffi::OsString;
use std::fs::{self, File, Metadata};
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::fcntl::OFlag;
use nix::unistd::geteuid;

/// Links that Linux follows on one path.
const LINKS_MAX: usize = 40;

/// Permission bits by which others than the owner could plant a value.
const WRITABLE_BY_OTHERS_BITS: u32 = 0o022;

/// Permission bit by which everybody could read it.
pub(super) const READABLE_BY_ALL_BITS: u32 = 0o004;

/// Permission bit of a directory in which everybody may make files.
const WRITABLE_BY_ALL_BITS: u32 = 0o002;

/// Permission bit that keeps everybody from exchanging the files of others there.
const STICKY_BIT: u32 = 0o1000;

/// The user that stands for all whom a user namespace does not know.
const OVERFLOW_USER: u32 = 65_534;

/// What the system says of a file, which is another text when somebody writes it or puts another one in its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stamp([i128; 7]);

impl Stamp {
    /// Of what was looked at.
    fn of(metadata: &Metadata) -> Stamp {
        let [device, inode, size] = [metadata.dev(), metadata.ino(), metadata.size()].map(i128::from);
        let (modified, changed) = (metadata.mtime().into(), metadata.ctime().into());
        let [modified_ns, changed_ns] = [metadata.mtime_nsec(), metadata.ctime_nsec()].map(i128::from);
        Stamp([device, inode, size, modified, modified_ns, changed, changed_ns])
    }

    /// Of what a path leads to now; nothing where it leads nowhere.
    pub(crate) fn at(path: &Path) -> Option<Stamp> {
        fs::metadata(path).ok().map(|metadata| Stamp::of(&metadata))
    }
}

/// Places within which this process can read, since it was shut in; none where it was not.
#[derive(Default, Clone)]
pub(crate) struct Reach(pub(crate) Vec<PathBuf>);

impl Reach {
    /// Refuses a file that lies outside.
    pub(crate) fn check(&self, path: &Path) -> Result<(), String> {
        let leads_in = |place: &Path| self.0.iter().any(|known| place.starts_with(known));
        match path.canonicalize() {
            Ok(place) if !self.0.is_empty() && !leads_in(&place) => Err(format!(
                "{} lies outside of the directories that this process has limited itself to at its start: restart it",
                path.display()
            )),
            _ => Ok(()),
        }
    }
}

/// A file that passed.
pub(crate) struct Trusted {
    /// Content.
    pub(crate) bytes: Vec<u8>,
    /// Its permission bits.
    pub(crate) mode: u32,
    /// What the system said of it.
    pub(crate) stamp: Stamp,
    /// Warnings about the directories on the way to it, one sentence each.
    pub(crate) warnings: Vec<String>,
}

/// Reads a regular file of at most `limit_bytes` that only root or this process's user could have written.
pub(crate) fn read(path: &Path, limit_bytes: u64) -> io::Result<Trusted> {
    let (file, warnings) = follow(path)?;
    let (bytes, metadata) = content(file, limit_bytes)?;
    // The opened file's own, so that no exchange of files can come between.
    is_ours(&metadata, "the file")?;
    is_closed(&metadata)?;
    Ok(Trusted { bytes, mode: metadata.mode(), stamp: Stamp::of(&metadata), warnings })
}

/// Whether everybody may read a file.
pub(crate) fn is_public(metadata: &Metadata) -> bool {
    metadata.mode() & READABLE_BY_ALL_BITS != 0
}

/// Refuses a file that others than its owner may write.
pub(crate) fn is_closed(metadata: &Metadata) -> io::Result<()> {
    match metadata.mode() & WRITABLE_BY_OTHERS_BITS {
        0 => Ok(()),
        _ => Err(io::Error::other("group or others may write to the file; run chmod go-w on it")),
    }
}

/// Reads a regular file of at most `limit_bytes`, whosever it is.
pub(crate) fn read_regular(path: &Path, limit_bytes: u64) -> io::Result<(Vec<u8>, Metadata)> {
    content(open(path, OFlag::empty())?, limit_bytes)
}

/// Opens a file without blocking, since a named pipe without a writer would hold the start for ever.
pub(crate) fn open(path: &Path, flags: OFlag) -> io::Result<File> {
    File::options().read(true).custom_flags((OFlag::O_NONBLOCK | flags).bits()).open(path)
}

/// Content of an opened file, and what the same file is.
fn content(file: File, limit_bytes: u64) -> io::Result<(Vec<u8>, Metadata)> {
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(io::Error::other("not a regular file"));
    }
    let mut bytes = Vec::new();
    // The length is checked on what was read: a file may grow after it was looked at.
    let read = file.take(limit_bytes.saturating_add(1)).read_to_end(&mut bytes)?;
    if u64::try_from(read).unwrap_or(u64::MAX) > limit_bytes {
        return Err(io::Error::other(format!("larger than {limit_bytes} bytes")));
    }
    Ok((bytes, metadata))
}

/// Fails unless root or the user of this process owns what was looked at.
pub(crate) fn is_ours(metadata: &Metadata, what: &str) -> io::Result<()> {
    let (owner, us) = (metadata.uid(), geteuid().as_raw());
    if owner == us || owner == 0 {
        return Ok(());
    }
    let trusted = if us == 0 { "root".to_owned() } else { format!("root or user {us}") };
    let remedy = match owner {
        OVERFLOW_USER => {
            "chown it; in a container or unit with users of its own, where its owner is known".to_owned()
        }
        _ => format!("chown it, or run this program as its owner (a container: --user {owner})"),
    };
    Err(io::Error::other(format!("{what} belongs to user {owner}, and must belong to {trusted}: {remedy}")))
}

/// Warns when everybody may exchange the files of a directory.
pub(crate) fn open_to_all(directory: &Path, metadata: &Metadata) -> Option<String> {
    let mode = metadata.mode();
    let open = metadata.is_dir() && mode & WRITABLE_BY_ALL_BITS != 0 && mode & STICKY_BIT == 0;
    open.then(|| {
        format!("every user of this host may exchange the files in {}; chmod o-w it", directory.display())
    })
}

/// Warns when everybody may exchange the files beside a file that will be written.
pub(crate) fn beside(path: &Path) -> Option<String> {
    let directory = path.parent().filter(|parent| *parent != Path::new("")).unwrap_or(Path::new("."));
    open_to_all(directory, &fs::metadata(directory).ok()?)
}

/// Opens what a path leads to, over trusted links alone, and says what should be said about its directories.
fn follow(path: &Path) -> io::Result<(File, Vec<String>)> {
    let (mut place, mut warnings, mut links) = (PathBuf::new(), Vec::new(), 0);
    let mut rest = backwards(path);
    while let Some(name) = rest.pop() {
        // The root of an absolute path, or of an absolute link, replaces what was walked before.
        let next = place.join(name);
        let metadata = fs::symlink_metadata(&next)?;
        if !metadata.is_symlink() {
            warnings.extend(open_to_all(&next, &metadata));
            place = next;
            continue;
        }
        // The descriptors of a process: the kernel knows better than their text says where they lead.
        if rest.is_empty() && next.starts_with("/proc") {
            return Ok((open(&next, OFlag::empty())?, warnings));
        }
        links += 1;
        if links > LINKS_MAX {
            return Err(io::Error::other("too many links lead to the file"));
        }
        is_ours(&metadata, &format!("the link {}", next.display()))?;
        rest.extend(backwards(&fs::read_link(&next)?));
    }
    // By now the path has no link left, unless somebody has put one there meanwhile.
    Ok((open(&place, OFlag::O_NOFOLLOW)?, warnings))
}

/// The parts of a path, the first one last.
fn backwards(path: &Path) -> Vec<OsString> {
    path.components().rev().map(|part| part.as_os_str().to_owned()).collect()
}
