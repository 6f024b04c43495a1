//! The files that this program writes: the listener's URL and the process id, which tell other programs
//! about it, and profiles.
//!
//! A file that cannot be written ends the start: whoever asked for it waits for it. No folder is made on the way
//! to one, since a mistyped path would leave folders behind. On stop each is removed only while it still holds
//! what was written here, so that a process which is slow to stop does not take away the file of its successor.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::OFlag;

use super::failure;
use crate::config::trust;

/// A written file, removed when this is dropped: also when the start fails later on, since the port
/// that it names may then belong to somebody else.
#[derive(Debug)]
pub struct Published {
    path: PathBuf,
    /// Written text, by which the file is recognised.
    content: String,
    /// Name in error texts.
    name: &'static str,
}

/// Writes the listener's base URL, without a newline, readable by the owner only. The file is
/// renamed into place: nobody reads half a URL, and a symbolic link there is replaced, not followed.
pub fn write_url(path: &Path, url: &str) -> io::Result<Published> {
    publish(path, url, 0o600, "health URL file")
}

/// Writes what others need to connect, readable by all and otherwise like the above: it holds no secret.
#[cfg(feature = "dev")]
pub(crate) fn write_connection(path: &Path, json: &str) -> io::Result<Published> {
    publish(path, json, 0o644, "URL file")
}

fn publish(path: &Path, content: &str, mode: u32, name: &'static str) -> io::Result<Published> {
    // Not synced: after a crash of the host there is no listener, and a start should not wait for a disk.
    replace(path, content, mode, |_| Ok(()))
        .map_err(|cause| failure(format!("write {name} {}", path.display()), cause))?;
    Ok(Published { path: path.into(), content: content.into(), name })
}

/// Writes a profile that must not exist, or replaces one as a whole, readable by the owner only. A symbolic
/// link in its place is never followed: it counts as existing, and `replacing` replaces it.
#[cfg(feature = "operator")]
pub fn write_profile(path: &Path, text: &str, replacing: bool) -> io::Result<()> {
    if replacing {
        return replace(path, text, 0o600, File::sync_all);
    }
    let mut file = create(path, 0o600)?;
    let written = file.write_all(text.as_bytes()).and_then(|()| file.sync_all());
    // What is there was made just now, and half a profile is no profile.
    written.inspect_err(|_| drop(fs::remove_file(path)))
}

/// Writes a file that others may read, or replaces one as a whole.
#[cfg(feature = "operator")]
pub fn write_shared(path: &Path, text: &str) -> io::Result<()> {
    replace(path, text, 0o644, File::sync_all)
}

/// Creates the directory of profiles, and what is missing above it, for the owner only.
#[cfg(feature = "operator")]
pub fn create_profile_directory(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;

    fs::DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// Writes the process id and a newline, readable by all. Nobody reads half of it: a file is renamed into place,
/// or written over at once where a supervisor handed out the file and not its directory, or a device was named.
pub fn write_pid(path: &Path) -> io::Result<Published> {
    let content = format!("{}\n", std::process::id());
    let written = match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => replace(path, &content, 0o644, |_| Ok(())),
        Ok(found) if found.is_file() => {
            open_to_write(path, OpenOptions::new().write(true)).and_then(|file| {
                replace(path, &content, 0o644, |_| Ok(())).or_else(|_| write_over(file, &content))
            })
        }
        _ => open_to_write(path, OpenOptions::new().write(true))
            .and_then(|mut file| file.write_all(content.as_bytes())),
    };
    written.map_err(|cause| failure(format!("write pid file {}", path.display()), cause))?;
    Ok(Published { path: path.into(), content, name: "pid file" })
}

/// Replaces what a file holds by something short, which is there as a whole at once.
fn write_over(mut file: File, content: &str) -> io::Result<()> {
    file.write_all(content.as_bytes())?;
    file.set_len(u64::try_from(content.len()).unwrap_or(u64::MAX))
}

/// Opens a file for writing without waiting for anybody, when it is ours alone: root or our user owns it, it has
/// one name, and it is no link. Whoever may write to its directory must not choose which of our files is written.
/// Devices, and the descriptors that this process was started with, are taken as they are.
pub(crate) fn open_to_write(path: &Path, options: &mut OpenOptions) -> io::Result<File> {
    let descriptor =
        ["/dev/fd", "/proc/self/fd"].iter().any(|folder| path.parent() == Some(Path::new(folder)))
            || ["/dev/stdout", "/dev/stderr"].iter().any(|name| path == Path::new(name));
    let no_link = if descriptor { OFlag::empty() } else { OFlag::O_NOFOLLOW };
    let opened = options.custom_flags((OFlag::O_NONBLOCK | no_link).bits()).open(path);
    let file = opened.map_err(|error| match is_link(&error) {
        true => io::Error::other("it is a symbolic link; name the file itself"),
        false => error,
    })?;
    let metadata = file.metadata()?;
    if descriptor || metadata.file_type().is_char_device() {
        return Ok(file);
    }
    trust::is_ours(&metadata, "the file")?;
    if metadata.nlink() != 1 {
        return Err(io::Error::other("the file has another name as well (a hard link)"));
    }
    Ok(file)
}

impl Drop for Published {
    /// Removes the file if it is still ours. A file that is gone already is as good.
    fn drop(&mut self) {
        let removed = holds(&self.path, &self.content)
            .and_then(|ours| if ours { fs::remove_file(&self.path) } else { Ok(()) });
        match removed {
            // A link is the name of a descriptor, which was never made here.
            Err(cause) if cause.kind() != io::ErrorKind::NotFound && !is_link(&cause) => {
                let error = failure(format!("remove {} {}", self.name, self.path.display()), cause);
                log::warn!("{error}");
            }
            _ => {}
        }
    }
}

/// True when a file was not opened because a link stands in its place.
fn is_link(error: &io::Error) -> bool {
    error.raw_os_error() == io::Error::from(Errno::ELOOP).raw_os_error()
}

/// True when the file holds exactly this. Only as much is read as could be equal.
fn holds(path: &Path, content: &str) -> io::Result<bool> {
    // Somebody may have put a pipe or a link there; those are not ours, and neither may hold us up.
    let file = trust::open(path, OFlag::O_NOFOLLOW)?;
    if !file.metadata()?.is_file() {
        return Ok(false);
    }
    let mut found = Vec::new();
    let limit = u64::try_from(content.len()).unwrap_or(u64::MAX).saturating_add(1);
    file.take(limit).read_to_end(&mut found)?;
    Ok(found == content.as_bytes())
}

/// Writes a file beside the path and renames it into place, so that nobody reads half of it. In
/// the same directory, because a rename does not cross file systems; the process id keeps two instances
/// with one configuration out of each other's half-written file.
fn replace(path: &Path, content: &str, mode: u32, finish: fn(&File) -> io::Result<()>) -> io::Result<()> {
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(format!(".{}.tmp", std::process::id()));
    let temporary = PathBuf::from(temporary);
    // Left over from a process of the same id that was killed here.
    let _ = fs::remove_file(&temporary);
    let written = create(&temporary, mode).and_then(|mut file| {
        file.write_all(content.as_bytes())?;
        finish(&file)?;
        fs::rename(&temporary, path)
    });
    // The failure that matters is the one being reported.
    written.inspect_err(|_| drop(fs::remove_file(&temporary)))
}

/// Creates a file that must not exist: never through a link that somebody planted.
fn create(path: &Path, mode: u32) -> io::Result<File> {
    OpenOptions::new().write(true).create_new(true).mode(mode).open(path)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt, symlink};

    /// A directory of the test's own, removed at its end.
    pub(crate) struct Scratch(pub(crate) PathBuf);

    impl Scratch {
        pub(crate) fn new(name: &str) -> Scratch {
            let path = std::env::temp_dir().join(format!("tunnel-client-{}-{name}", std::process::id()));
            let _ = fs::remove_dir_all(&path);
            fs::create_dir_all(&path).unwrap();
            Scratch(path)
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn the_url_file_is_private_and_replaces_a_link() {
        let scratch = Scratch::new("url");
        let victim = scratch.0.join("victim");
        fs::write(&victim, "untouched").unwrap();
        let path = scratch.0.join("a/b/url");
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        symlink(&victim, &path).unwrap();
        let published = write_url(&path, "http://127.0.0.1:1").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "http://127.0.0.1:1");
        assert_eq!(mode(&path), 0o600);
        assert_eq!(fs::read_to_string(&victim).unwrap(), "untouched");
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
        drop(published);
        assert!(!path.exists());
    }

    #[test]
    fn the_pid_file_needs_its_directory_and_only_ours_is_removed() {
        let scratch = Scratch::new("pid");
        let missing = scratch.0.join("missing/pid");
        let error = write_pid(&missing).unwrap_err().to_string();
        assert_eq!(error, format!("write pid file {}: no such file or directory", missing.display()));
        assert!(!missing.parent().unwrap().exists());
        let path = scratch.0.join("pid");
        let first = write_pid(&path).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), format!("{}\n", std::process::id()));
        fs::write(&path, "1\n").unwrap();
        drop(first);
        assert!(path.exists());
        let second = write_pid(&path).unwrap();
        fs::remove_file(&path).unwrap();
        drop(second);
    }

    #[test]
    fn a_pid_file_is_never_written_through_a_link() {
        let scratch = Scratch::new("pid-link");
        let (victim, link) = (scratch.0.join("victim"), scratch.0.join("pid"));
        fs::write(&victim, "untouched").unwrap();
        symlink(&victim, &link).unwrap();
        assert!(write_pid(&link).is_err());
        assert_eq!(fs::read_to_string(&victim).unwrap(), "untouched");
    }

    #[test]
    fn a_file_goes_with_its_owner_unless_somebody_took_its_place() {
        let scratch = Scratch::new("dropped");
        let path = scratch.0.join("url");
        drop(write_url(&path, "http://127.0.0.1:1").unwrap());
        assert!(!path.exists());
        let published = write_url(&path, "http://127.0.0.1:1").unwrap();
        fs::write(&path, "http://127.0.0.1:2").unwrap();
        drop(published);
        assert!(path.exists());
    }

    #[test]
    fn failures_name_their_file() {
        let scratch = Scratch::new("fail");
        let blocked = scratch.0.join("file");
        fs::write(&blocked, "").unwrap();
        let error = write_url(&blocked.join("url"), "u").unwrap_err().to_string();
        assert!(error.starts_with(&format!("write health URL file {}/url: ", blocked.display())), "{error}");
        let error = write_url(&scratch.0, "u").unwrap_err().to_string();
        assert!(error.starts_with(&format!("write health URL file {}: ", scratch.0.display())), "{error}");
    }
}
