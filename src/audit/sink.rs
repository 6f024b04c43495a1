//! Places where records go: a file, standard output, a datagram socket.
//!
//! A file is ours alone: private, no link, locked, and with whole lines of a chain in it and nothing else. What a
//! crash or a full disk has left of a line at its end is cut off when it is opened, since the next line follows the
//! last whole one. Writing may block; it happens on a thread of its own.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::time::Duration;

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::config::{AuditPlace, trust};
use crate::ops::files;

use super::chain::{Head, LINE_BYTES_MAX, Link, is_torn_line};

/// How long a reader of the socket or of standard output may keep a line waiting.
const READER_TIME: Duration = Duration::from_secs(1);

/// An open place.
pub(super) enum Sink {
    File(Flock<File>),
    Output(File),
    Socket(UnixDatagram),
}

impl Sink {
    /// Opens a place. Gives the end of the chain too that is there already.
    pub(super) fn open(place: &AuditPlace) -> io::Result<(Sink, Option<Head>)> {
        match place {
            AuditPlace::File(path) => {
                let file = open_file(path)?;
                let head = mend(&file)?;
                Ok((Sink::File(file), head))
            }
            AuditPlace::Output => {
                let output = io::stdout().as_fd().try_clone_to_owned()?;
                Ok((Sink::Output(output.into()), None))
            }
            AuditPlace::Socket(path) => {
                let socket = UnixDatagram::unbound()?;
                socket.set_write_timeout(Some(READER_TIME))?;
                socket.connect(path)?;
                Ok((Sink::Socket(socket), None))
            }
        }
    }

    /// Whether the file of this name is the one that is open.
    pub(super) fn is_at(&self, place: &AuditPlace) -> bool {
        let (Sink::File(file), AuditPlace::File(path)) = (self, place) else { return false };
        let id = |metadata: std::fs::Metadata| (metadata.dev(), metadata.ino());
        path.symlink_metadata().map(id).ok() == file.metadata().map(id).ok()
    }

    /// Writes lines. Tells how many bytes need not be written again: whole lines, unless they went to standard
    /// output, where nothing can be taken back.
    pub(super) fn write(&mut self, lines: &[u8]) -> (usize, io::Result<()>) {
        match self {
            Sink::Output(output) => write(output, lines),
            Sink::File(file) => {
                if file.metadata().is_ok_and(|metadata| metadata.nlink() == 0) {
                    return (0, Err(io::Error::other("the file was deleted")));
                }
                let (written, result) = write(file, lines);
                let whole = lines.get(..written).unwrap_or_default();
                let whole = whole.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
                // Now, since the file may be renamed before it is opened again, and would end within a line for ever.
                if let (true, Ok(metadata)) = (whole < written, file.metadata()) {
                    let torn = u64::try_from(written - whole).unwrap_or_default();
                    // Where this fails, it is cut off when the file is opened.
                    let _ = file.set_len(metadata.len().saturating_sub(torn));
                }
                (whole, result)
            }
            Sink::Socket(socket) => {
                let mut written = 0;
                for line in lines.split_inclusive(|byte| *byte == b'\n') {
                    match socket.send(line) {
                        Ok(_) => written += line.len(),
                        Err(error) => return (written, Err(error)),
                    }
                }
                (written, Ok(()))
            }
        }
    }
}

/// Looks whether records could go to this place, of which nothing is changed or locked.
#[cfg(feature = "operator")]
pub(crate) fn look(place: &AuditPlace) -> io::Result<()> {
    use nix::unistd::{AccessFlags, access};

    match place {
        AuditPlace::Output => Ok(()),
        AuditPlace::Socket(path) => UnixDatagram::unbound()?.connect(path),
        AuditPlace::File(path) => match path.symlink_metadata() {
            Ok(found) if !found.is_file() => Err(io::Error::other("not a regular file")),
            Ok(found) => trust::is_closed(&found).and_then(|()| Ok(access(path, AccessFlags::W_OK)?)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
                Ok(access(folder.unwrap_or(Path::new(".")), AccessFlags::W_OK | AccessFlags::X_OK)?)
            }
            Err(error) => Err(error),
        },
    }
}

/// Writes as much as can be written.
fn write(file: &mut File, lines: &[u8]) -> (usize, io::Result<()>) {
    let mut written = 0;
    while let Some(rest) = lines.get(written..).filter(|rest| !rest.is_empty()) {
        match file.write(rest) {
            Ok(0) => return (written, Err(io::ErrorKind::WriteZero.into())),
            Ok(count) => written += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            // Somebody else who has this pipe does not want to wait.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock && takes(file) => {}
            Err(error) => return (written, Err(error)),
        }
    }
    (written, Ok(()))
}

/// Waits until a pipe takes bytes.
fn takes(file: &File) -> bool {
    let time = PollTimeout::try_from(READER_TIME).unwrap_or(PollTimeout::ZERO);
    matches!(poll(&mut [PollFd::new(file.as_fd(), PollFlags::POLLOUT)], time), Ok(ready) if ready > 0)
}

/// Opens a file that nobody else may write, and that no other process has.
fn open_file(path: &Path) -> io::Result<Flock<File>> {
    use std::os::unix::fs::OpenOptionsExt;

    let mut options = OpenOptions::new();
    let file = files::open_to_write(path, options.read(true).append(true).create(true).mode(0o600))?;
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(io::Error::other("not a regular file; for standard output write -"));
    }
    trust::is_closed(&metadata)?;
    Flock::lock(file, FlockArg::LockExclusiveNonblock).map_err(|(_, error)| unlocked(error))
}

/// Why a file is not locked.
fn unlocked(error: Errno) -> io::Error {
    match error {
        Errno::EWOULDBLOCK => {
            io::Error::other("another process writes it; every profile needs a file of its own")
        }
        error => {
            io::Error::other(format!("it cannot be locked, as its file system must allow: {}", error.desc()))
        }
    }
}

/// Finds the last whole line of a file, and cuts off what stands behind it. Of a file that holds something else it
/// changes nothing.
fn mend(file: &File) -> io::Result<Option<Head>> {
    let stranger = || io::Error::other("it ends in something that is no audit record; move the file away");
    let length = file.metadata()?.len();
    let from = length.saturating_sub(2 * u64::try_from(LINE_BYTES_MAX).unwrap_or(u64::MAX));
    let mut end = vec![0; usize::try_from(length - from).map_err(io::Error::other)?];
    file.read_exact_at(&mut end, from)?;
    let whole = end.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
    let (lines, torn) = end.split_at(whole);
    let last = lines.strip_suffix(b"\n").and_then(|lines| lines.rsplit(|byte| *byte == b'\n').next());
    let link = last.map(|line| Link::read(line).ok_or_else(stranger)).transpose()?;
    let head = last.zip(link).map(|(line, link)| Head::of(line, link.seq));
    if !torn.is_empty() {
        if !is_torn_line(torn) || torn.len() > LINE_BYTES_MAX {
            return Err(stranger());
        }
        log::warn!(bytes = torn.len(); "the audit file ended within a record, as after a crash; its beginning was cut off");
        file.set_len(length - u64::try_from(torn.len()).map_err(io::Error::other)?)?;
    }
    Ok(head)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::files::tests::Scratch;
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, symlink};

    fn refusal(place: &AuditPlace) -> String {
        match Sink::open(place) {
            Ok(_) => "opened".into(),
            Err(error) => error.to_string(),
        }
    }

    fn lines(count: u64) -> (Vec<u8>, Head) {
        let (mut head, mut lines) = (Head::default(), Vec::new());
        (0..count).for_each(|_| head.add(&mut lines, "T", "\"instance\":\"i\"", "\"x\":1"));
        (lines, head)
    }

    #[test]
    fn a_chain_goes_on_behind_the_last_whole_line() {
        let scratch = Scratch::new("audit-mend");
        let path = scratch.0.join("audit");
        let place = AuditPlace::File(path.clone());
        let (whole, head) = lines(1000);
        let (torn, _) = lines(1);
        assert!(whole.len() > LINE_BYTES_MAX);
        for cut in [0, 1, 20, torn.len() - 1] {
            fs::write(&path, [&whole, &torn[..cut]].concat()).unwrap();
            let (_, found) = Sink::open(&place).unwrap();
            assert_eq!(found.as_ref(), Some(&head), "{cut}");
            assert_eq!(fs::read(&path).unwrap(), whole, "{cut}");
        }
        fs::write(&path, &torn[..30]).unwrap();
        assert_eq!(Sink::open(&place).unwrap().1, None);
        assert_eq!(fs::read(&path).unwrap(), b"");
    }

    #[test]
    fn a_file_of_something_else_stays_as_it_is() {
        let scratch = Scratch::new("audit-other");
        let path = scratch.0.join("file");
        let place = AuditPlace::File(path.clone());
        for text in ["no end of a line", "a line\n", "{\"v\":1,\"time\":\"x\"}\n", "{\"v\":1}\n{\"v"] {
            fs::write(&path, text).unwrap();
            assert!(refusal(&place).contains("no audit record"), "{text}");
            assert_eq!(fs::read_to_string(&path).unwrap(), text);
        }
    }

    #[test]
    fn a_file_is_ours_alone() {
        let scratch = Scratch::new("audit-trust");
        let path = scratch.0.join("file");
        let place = AuditPlace::File(path.clone());
        let (first, _) = Sink::open(&place).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(refusal(&place).contains("another process"));
        assert!(first.is_at(&place));
        drop(first);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o620)).unwrap();
        assert!(refusal(&place).contains("chmod go-w"));
        let link = scratch.0.join("link");
        symlink(&path, &link).unwrap();
        assert!(refusal(&AuditPlace::File(link)).contains("symbolic link"));
        let name = scratch.0.join("name");
        fs::hard_link(&path, &name).unwrap();
        assert!(refusal(&AuditPlace::File(name)).contains("hard link"));
        assert!(refusal(&AuditPlace::File("/dev/null".into())).contains("regular file"));
    }

    /// NFS without a lock daemon, for one.
    #[test]
    fn a_file_that_cannot_be_locked_is_told_from_one_in_use() {
        let (used, other) = (unlocked(Errno::EAGAIN).to_string(), unlocked(Errno::ENOLCK).to_string());
        assert!(used.contains("another process") && !other.contains("another process"), "{used}; {other}");
        assert!(other.ends_with("locks available"), "{other}");
    }

    #[test]
    fn a_deleted_file_takes_nothing() {
        let scratch = Scratch::new("audit-deleted");
        let path = scratch.0.join("file");
        let (mut sink, _) = Sink::open(&AuditPlace::File(path.clone())).unwrap();
        let (line, _) = lines(1);
        assert!(matches!(sink.write(&line), (count, Ok(())) if count == line.len()));
        fs::remove_file(&path).unwrap();
        assert!(matches!(sink.write(&line), (0, Err(_))));
    }
}
