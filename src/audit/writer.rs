//! The thread that numbers records, chains them, and writes them.
//!
//! It alone knows the file. A write that fails is repeated until it succeeds, with the same bytes: a number is given
//! once, and the chain has no hole however long a disk was full.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::config::AuditPlace;
use crate::ops::metrics::Metrics;
use crate::ops::{os_text, timestamp};

use super::chain::Head;
use super::list::{Gap, Lines, List, Work};
use super::sink::Sink;

/// Time between two tries to write.
const RETRY_TIME: Duration = Duration::from_secs(1);

/// How often the head of the chain goes to the log while it moves.
const HEAD_INTERVAL: Duration = Duration::from_secs(600);

/// The writer of one process.
pub(super) struct Writer {
    list: Arc<List>,
    metrics: Arc<Metrics>,
    place: AuditPlace,
    /// Members that are the same in all lines.
    identity: String,
    sink: Option<Sink>,
    /// The end of what was numbered.
    head: Head,
    /// The end of what was written.
    written: Head,
    lines: Lines,
    /// The last time that a record had, in milliseconds, and its text.
    since: Option<u128>,
    time: String,
}

impl Writer {
    /// Opens the place, where the chain goes on that is there. Nothing else can fail.
    pub(super) fn open(
        list: Arc<List>,
        metrics: Arc<Metrics>,
        place: AuditPlace,
        identity: String,
    ) -> io::Result<Writer> {
        let (sink, head) = Sink::open(&place)?;
        let head = head.unwrap_or_default();
        log::info!(place = place.to_string().as_str(), head = head.to_string().as_str(); "audit records go on behind {head}");
        let (written, sink) = (head.clone(), Some(sink));
        let (lines, since, time) = Default::default();
        Ok(Writer { list, metrics, place, identity, sink, head, written, lines, since, time })
    }

    /// Writes until the end.
    pub(super) fn run(mut self) {
        let (mut told, mut tell_at) = (self.written.seq, Instant::now() + HEAD_INTERVAL);
        loop {
            let fails = self.has_lines();
            let wake = if fails { Instant::now() + RETRY_TIME } else { tell_at };
            let work = self.list.take(wake, fails);
            let (reopens, ends, last) =
                (work.reopens, work.ends, !fails && work.batch.records().count() == 0);
            // What was there before belongs into the old file.
            self.number(work);
            self.write();
            if reopens {
                self.reopen();
            }
            if reopens || (Instant::now() >= tell_at && told != self.written.seq) {
                (told, tell_at) = (self.written.seq, Instant::now() + HEAD_INTERVAL);
                self.tell_head();
            }
            if Instant::now() >= tell_at {
                tell_at = Instant::now() + HEAD_INTERVAL;
            }
            if ends && (last || self.has_lines()) {
                break;
            }
        }
        self.tell_head();
        self.list.ended();
    }

    fn has_lines(&self) -> bool {
        self.lines.1 < self.lines.0.len()
    }

    /// Says how far the chain goes, where whoever writes the file cannot change it.
    fn tell_head(&self) {
        let head = self.written.to_string();
        log::info!(head = head.as_str(); "head of the audit records: {head}");
    }

    /// Makes lines of records.
    fn number(&mut self, work: Work) {
        if self.has_lines() {
            return;
        }
        let mut lines = Vec::new();
        for (at, members) in work.batch.records() {
            self.add(&mut lines, at, members);
        }
        if work.gap != Gap::default() {
            let Gap { refused, lost } = work.gap;
            let members = format!("\"event\":\"gap\",\"refused\":{refused},\"lost\":{lost}");
            self.add(&mut lines, SystemTime::now(), &members);
        }
        self.lines = (Arc::new(lines), 0);
    }

    /// Makes a line that stands for no command. Nothing else waits.
    fn number_event(&mut self, members: &str) {
        let mut lines = Vec::new();
        self.add(&mut lines, SystemTime::now(), members);
        self.lines = (Arc::new(lines), 0);
    }

    /// Adds a line. Under load most have the time of the one before.
    fn add(&mut self, lines: &mut Vec<u8>, at: SystemTime, members: &str) {
        let since = at.duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
        if self.since.replace(since) != Some(since) {
            self.time = timestamp::rfc3339_ms(at);
        }
        self.head.add(lines, &self.time, &self.identity, members);
    }

    /// Writes what is numbered, or as much as can be.
    fn write(&mut self) {
        if !self.has_lines() {
            return;
        }
        self.list.begin_step(&self.lines);
        let result = self.try_write();
        let fault = result.err().map(|error| format!("{}: {}", self.place, os_text(&error)));
        let is_news = self.list.end_step(&self.lines, fault.clone());
        match fault {
            Some(fault) if is_news => {
                log::error!(error = fault.as_str(); "audit records cannot be written; they are kept, and tried again");
            }
            None if is_news => log::warn!("audit records are written again"),
            _ => {}
        }
    }

    fn try_write(&mut self) -> io::Result<()> {
        let mut sink = match self.sink.take() {
            Some(sink) => sink,
            None => Sink::open(&self.place)?.0,
        };
        let (lines, from) = (&self.lines.0, self.lines.1);
        let rest = lines.get(from..).unwrap_or_default();
        let (count, result) = sink.write(rest);
        self.lines.1 += count;
        if !self.has_lines() {
            self.metrics.audit_records.add(["written"], self.head.seq - self.written.seq);
            self.written = self.head.clone();
        }
        // Of all others what is at fault may be gone, so that they are opened anew.
        if result.is_ok() || matches!(sink, Sink::Output(_)) {
            self.sink = Some(sink);
        }
        result
    }

    /// Goes over to what has the name now. While it cannot be had, the old one stays in use.
    fn reopen(&mut self) {
        // After a failure it was opened anew already, or fails still: opening is no success then.
        if self.sink.is_none() || self.has_lines() {
            return;
        }
        // The look at the name can hang like a write.
        self.list.begin_step(&self.lines);
        if self.sink.as_ref().is_some_and(|sink| !sink.is_at(&self.place)) {
            self.exchange();
        }
        self.list.end_step(&self.lines, None);
        self.write();
    }

    /// Takes what has the name now in the place of the sink.
    fn exchange(&mut self) {
        match Sink::open(&self.place) {
            Ok((sink, found)) => {
                let is_file = matches!(sink, Sink::File(_));
                self.sink = Some(sink);
                match found {
                    Some(found) if found != self.written => {
                        log::warn!("the audit file that was opened anew holds records of another chain");
                    }
                    // A start that finds no record behind which it could go on begins a new chain.
                    None if is_file && self.head != Head::default() => {
                        self.number_event("\"event\":\"rotated\"")
                    }
                    _ => {}
                }
            }
            Err(error) => {
                let error = os_text(&error);
                log::warn!(error = error.as_str(); "the audit file was not opened anew; the old one stays in use");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::files::tests::Scratch;
    use std::fs::File;

    /// A start behind a rotation after which nothing was asked finds the end of the chain all the same.
    #[test]
    fn a_new_file_begins_with_the_chain() {
        let scratch = Scratch::new("audit-rotated");
        let place = AuditPlace::File(scratch.0.join("audit"));
        let metrics = Arc::new(Metrics::new("t", 1, 1, &[]));
        let list = Arc::new(List::new(Arc::clone(&metrics)));
        let open = || {
            let identity = "\"instance\":\"i\"".to_owned();
            Writer::open(Arc::clone(&list), Arc::clone(&metrics), place.clone(), identity).unwrap()
        };
        let mut writer = open();
        for seq in [0, 2, 3] {
            std::fs::rename(scratch.0.join("audit"), scratch.0.join(format!("audit.{seq}"))).unwrap();
            // No chain has begun at first.
            writer.reopen();
            assert_eq!(writer.written.seq, seq);
            if seq == 0 {
                list.event("\"x\":1");
                writer.number(list.take(Instant::now(), false));
                writer.write();
            }
        }
        let head = writer.written.clone();
        drop(writer);
        assert_eq!(open().head, head);
    }

    /// What SIGHUP does while standard output takes nothing: nothing.
    #[test]
    fn reopening_is_no_success_of_a_write() {
        let metrics = Arc::new(Metrics::new("t", 1, 1, &[]));
        let list = Arc::new(List::new(Arc::clone(&metrics)));
        let (shared, identity) = (Arc::clone(&list), "\"instance\":\"i\"".to_owned());
        let mut writer = Writer::open(shared, metrics, AuditPlace::Output, identity).unwrap();
        writer.sink = Some(Sink::Output(File::options().write(true).open("/dev/full").unwrap()));
        list.event("\"x\":1");
        let work = list.take(Instant::now(), false);
        assert_eq!(work.batch.records().count(), 1);
        writer.number(work);
        writer.write();
        assert!(list.fault().is_some());
        writer.reopen();
        assert!(list.fault().is_some() && writer.has_lines());
    }
}
