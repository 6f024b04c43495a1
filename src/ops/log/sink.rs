//! Where log lines go: a descriptor that may be slow, full or closed.
//!
//! A write to a pipe whose reader has stopped would hold the writing thread, and with it the log's
//! lock and every other thread that logs. So a line is written only while the descriptor takes it;
//! else it is dropped and counted, and the count is written when the descriptor takes lines again.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::ops::files;

/// Bytes that a pipe with room takes without waiting (`PIPE_BUF`).
const PIECE_BYTES: usize = 4096;

/// Longest wait of one line for its reader: longer than a busy reader sleeps, short enough for a
/// command that logs.
const PATIENCE: Duration = Duration::from_millis(250);

/// Time after a dropped line in which no line waits: a reader that has stopped must
/// not cost every line its patience.
const PAUSE: Duration = Duration::from_secs(5);

/// A log file that can be opened anew by its name, after somebody gave the one that is written another name.
#[derive(Default)]
pub struct LogFile {
    /// Its name; none where lines go elsewhere.
    path: OnceLock<PathBuf>,
    /// Whether the next line goes to a new one.
    wanted: AtomicBool,
}

impl LogFile {
    /// Has the next line go to what then has the file's name. `None` where there is no log file.
    pub(crate) fn reopen(&self) -> Option<&Path> {
        let path = self.path.get()?;
        self.wanted.store(true, Ordering::Relaxed);
        Some(path)
    }

    /// Names the file; the first name stays.
    pub(super) fn name(&self, path: &Path) {
        let _ = self.path.set(path.to_owned());
    }
}

/// Opens a log file to add to it. The mode holds for a new one only: who may read an existing one was decided by
/// its owner.
pub(super) fn open_file(path: &Path) -> io::Result<File> {
    files::open_to_write(path, OpenOptions::new().create(true).append(true).mode(0o600))
}

/// A writer that gives up instead of waiting. It never reports an error: there is no one to tell.
pub(super) struct Sink {
    /// A file, a pipe, a socket of the journal or a terminal.
    file: File,
    log_file: Arc<LogFile>,
    /// Lines dropped since the last one that went through.
    lost: u64,
    /// A line was cut in its middle, so that the next one must begin a new one.
    torn: bool,
    /// Until then nothing is waited for.
    impatient_until: Option<Instant>,
}

impl Sink {
    /// Takes over a descriptor of its own.
    pub(super) fn new(file: File, log_file: Arc<LogFile>) -> Sink {
        Sink { file, log_file, lost: 0, torn: false, impatient_until: None }
    }

    /// Goes over to the file that has the log file's name now, when that was asked for. One that cannot be had
    /// leaves the old one in use, which says so.
    fn follow(&mut self) {
        if !self.log_file.wanted.swap(false, Ordering::Relaxed) {
            return;
        }
        match self.log_file.path.get().map(|path| open_file(path)) {
            Some(Ok(file)) => self.file = file,
            Some(Err(error)) => {
                let error = serde_json::Value::from(crate::ops::os_text(&error));
                let note = "the log file was not opened anew";
                self.line(
                    format!("{{\"level\":\"WARN\",\"msg\":\"{note}\",\"error\":{error}}}\n").as_bytes(),
                );
            }
            None => {}
        }
    }

    /// Writes a whole line or as much as could be written in time. In pieces, because a larger write
    /// may wait for room although poll(2) has promised some; what follows a piece is asked for again.
    fn line(&mut self, line: &[u8]) -> bool {
        let now = Instant::now();
        let impatient = self.impatient_until.is_some_and(|until| now < until);
        let deadline = if impatient { now } else { now + PATIENCE };
        let mut rest = line;
        while !rest.is_empty() {
            let piece = rest.get(..PIECE_BYTES).unwrap_or(rest);
            let written = if self.takes(deadline) { self.file.write(piece) } else { Ok(0) };
            match written {
                Ok(count) if count > 0 => rest = rest.get(count..).unwrap_or_default(),
                // Somebody else filled the pipe in between: ask again until the deadline.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock && Instant::now() < deadline => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                _ => {
                    self.torn |= rest.len() < line.len();
                    self.impatient_until = Some(Instant::now() + PAUSE);
                    return false;
                }
            }
        }
        true
    }

    /// Waits until the descriptor takes bytes, or for the deadline. Files on disk always take them.
    fn takes(&self, deadline: Instant) -> bool {
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::ZERO);
            let mut descriptors = [PollFd::new(self.file.as_fd(), PollFlags::POLLOUT)];
            match poll(&mut descriptors, timeout) {
                // A wait that was interrupted says nothing about the reader.
                Err(Errno::EINTR) => {}
                ready => return matches!(ready, Ok(ready) if ready > 0),
            }
        }
    }

    /// Ends a torn line and says how many were lost, in a form that both kinds of reader take.
    fn catch_up(&mut self) -> bool {
        if self.torn && !self.line(b"\n") {
            return false;
        }
        self.torn = false;
        if self.lost > 0 {
            let note =
                format!("{{\"level\":\"WARN\",\"msg\":\"log lines were lost\",\"lost\":{}}}\n", self.lost);
            if !self.line(note.as_bytes()) {
                return false;
            }
            self.lost = 0;
        }
        true
    }
}

/// The logger hands over one whole line a call, under its own lock.
impl Write for Sink {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.follow();
        if self.catch_up() && self.line(line) {
            self.impatient_until = None;
        } else {
            self.lost = self.lost.saturating_add(1);
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;
    use std::os::fd::OwnedFd;
    use std::os::unix::net::UnixStream;

    fn pair() -> (Sink, UnixStream) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        (Sink::new(File::from(OwnedFd::from(ours)), Arc::default()), theirs)
    }

    #[test]
    fn a_reader_that_stops_costs_lines_and_no_time_and_may_come_back() {
        let (mut sink, mut reader) = pair();
        let line = [b'x'; 1000];
        let start = Instant::now();
        for _ in 0..10_000 {
            assert_eq!(sink.write(&line).unwrap(), line.len());
        }
        assert!(sink.lost > 1000);
        // One wait, and no more: all others were dropped at once.
        assert!(start.elapsed() < PAUSE, "{:?}", start.elapsed());
        let lost = sink.lost;
        let reading = std::thread::spawn(move || {
            let mut text = String::new();
            reader.read_to_string(&mut text).unwrap();
            text
        });
        while sink.lost > 0 {
            sink.write_all(b"\nlast\n").unwrap();
            std::thread::yield_now();
        }
        drop(sink);
        let text = reading.join().unwrap();
        assert!(text.ends_with("\nlast\n"));
        assert!(text.contains("\"msg\":\"log lines were lost\""), "{lost}");
    }

    #[test]
    fn a_closed_reader_is_no_error() {
        let (mut sink, reader) = pair();
        drop(reader);
        for _ in 0..3 {
            assert_eq!(sink.write(b"line\n").unwrap(), 5);
        }
        assert_eq!(sink.lost, 3);
    }

    #[test]
    fn a_full_disk_is_no_error() {
        let mut sink = Sink::new(File::options().write(true).open("/dev/full").unwrap(), Arc::default());
        assert_eq!(sink.write(b"line\n").unwrap(), 5);
        assert_eq!(sink.lost, 1);
    }
}
