//! The audit record: one line a command, chained, to a file, to standard output or to a datagram socket.
//!
//! A record belongs to its command and is written once, whatever way that took. The chain finds accidents and
//! partial edits. While records cannot be written, they are kept within a bound; new commands go on and are counted
//! where there is no more room, or are refused, as the operator wants it.

pub(crate) mod chain;
mod line;
mod list;
mod sink;
mod writer;

#[cfg(any(test, fuzzing))]
#[path = "../../tests/fuzz/targets/audit.rs"]
pub(crate) mod fuzz;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use crate::config::{self, AuditArguments};
use crate::ops::metrics::Metrics;
use crate::ops::redact::Redactor;
use crate::relay::command::Command;
use crate::relay::message::Message;
use crate::relay::port::Recorder;
use crate::relay::record::{Fate, Record};
use crate::sync;

use list::{Gap, List, Open};
#[cfg(feature = "operator")]
pub(crate) use sink::look;
use writer::Writer;

/// How long the end of the process waits for the last records.
pub(crate) const END_TIME: Duration = Duration::from_secs(1);

/// Lost records whose ids are logged one by one.
const LOST_LOGGED_MAX: usize = 1000;

/// The audit of one process.
pub(crate) struct Audit {
    list: Arc<List>,
    arguments: AuditArguments,
    refuses: bool,
    redactor: Arc<Redactor>,
}

/// Record of a command in flight, and what of its arguments is written.
struct Entry(Arc<Open>, AuditArguments, Arc<Redactor>);

impl Audit {
    /// Opens the place and starts the thread. Fails with the whole text for the one line on standard error.
    pub(crate) fn start(
        settings: &config::Audit,
        instance_id: &str,
        tunnel_id: &str,
        metrics: &Arc<Metrics>,
        redactor: &Arc<Redactor>,
    ) -> Result<Arc<Audit>, String> {
        let failed =
            |error: io::Error| format!("audit.file {}: {}", settings.place, crate::ops::os_text(&error));
        ["written", "refused", "lost"].iter().for_each(|result| metrics.audit_records.add([result], 0));
        let list = Arc::new(List::new(Arc::clone(metrics)));
        let identity = format!("\"instance\":\"{instance_id}\",\"tunnel\":\"{tunnel_id}\"");
        let (shared, place) = (Arc::clone(&list), settings.place.clone());
        let writer = Writer::open(shared, Arc::clone(metrics), place, identity).map_err(failed)?;
        sync::spawn("audit", move || writer.run()).map_err(failed)?;
        let (arguments, refuses) = (settings.arguments, settings.refuses);
        Ok(Arc::new(Audit { list, arguments, refuses, redactor: Arc::clone(redactor) }))
    }

    /// Why new commands are refused now.
    pub(crate) fn fault(&self) -> Option<String> {
        self.list.fault().filter(|_| self.refuses)
    }

    /// Takes down what happened besides commands, as members of its line: a few short ones, and `event` among them.
    pub(crate) fn event(&self, members: String) {
        self.list.event(&members);
    }

    /// Whether records can be written now.
    pub(crate) fn works(&self) -> bool {
        self.list.fault().is_none()
    }

    /// Goes over to the file that has the name now.
    pub(crate) fn reopen(&self) {
        self.list.reopen();
    }

    /// Writes what is left, commands that still run among it, and says what could not be written.
    pub(crate) fn close(&self) {
        let ((lines, from), ready, gap) = self.list.finish(END_TIME);
        #[cfg(feature = "dev")]
        let (longest, many) = self.list.waits();
        #[cfg(feature = "dev")]
        log::info!(longest_us = longest.as_secs_f64() * 1e6, above_1_ms = many; "waits for the lock of the audit records");
        let lines = String::from_utf8_lossy(lines.get(from..).unwrap_or_default());
        let ready = ready.iter().flat_map(|batch| batch.records());
        let ready = ready.map(|(_, members)| format!("{{{members}}}"));
        let lost: Vec<String> = lines.lines().map(str::to_owned).chain(ready).collect();
        for line in lost.iter().take(LOST_LOGGED_MAX) {
            let line: serde_json::Value = serde_json::from_str(line).unwrap_or_default();
            let id = line.get("request_id").and_then(|id| id.as_str()).unwrap_or_default();
            log::error!(request_id = id; "audit record lost");
        }
        if !lost.is_empty() {
            log::error!("audit records lost at the end: {}", lost.len());
        }
        if gap != Gap::default() {
            log::error!(refused = gap.refused, lost = gap.lost; "the audit record does not tell of commands that have none");
        }
    }
}

impl Recorder for Audit {
    fn admits(&self) -> bool {
        let Some(fault) = self.fault() else { return true };
        if self.list.refuse() {
            log::error!(error = fault.as_str(); "new commands are refused: their audit records could not be written");
        }
        false
    }

    fn begin(&self, command: &Command) -> Box<dyn Record> {
        let open = self.list.open();
        line::begun(&mut sync::lock(&open.told).members, command, &self.redactor);
        sync::lock(&open.told).began = Some(command.received);
        Box::new(Entry(open, self.arguments, Arc::clone(&self.redactor)))
    }

    fn dropped(&self, request_id: Option<&str>, why: &'static str) {
        self.list.event(&line::dropped(request_id, why));
    }
}

impl Record for Entry {
    fn taken(&self, message: &Message) {
        line::arguments(&mut sync::lock(&self.0.told).members, message, self.1, &self.2);
    }

    fn end(&self, fate: Fate) {
        // A later one explains what the first one did.
        sync::lock(&self.0.told).fate.get_or_insert(fate);
    }

    fn untold(&self) {
        if let Some(fate) = &mut sync::lock(&self.0.told).fate {
            (fate.status, fate.bytes) = (None, 0);
        }
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.0.close(true);
    }
}
