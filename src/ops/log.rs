//! The log: three line formats, one redactor, one writer that never blocks for long.
//!
//! Only this program's own records are written; what libraries say about connections would name
//! URLs and headers, and `RUST_LOG` is not read, so that nobody turns it on by accident. A full
//! disk, a closed pipe or a reader that stopped reading costs lines, never commands.

#[cfg(feature = "page")]
mod recent;
mod sink;

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::SystemTime;

use ::log::kv::{self, Key, Value};
use ::log::{Level, LevelFilter, Record};
use env_logger::{Builder, Target};

use super::failure;
use super::redact::{self, Redactor};
use super::timestamp;
use crate::config::{self, LogFormat};
use crate::text;
use sink::{Sink, open_file};

#[cfg(feature = "page")]
pub use recent::{Noted, Recent};
pub use sink::LogFile;

/// The root of all log targets that are written. Everything else is off by this list and not by
/// trust in what dependencies log today.
const OWN_TARGETS: &str = "tunnel_client";

/// The attribute that carries a raw HTTP exchange; the operator has unlocked it twice.
const DUMP_KEY: &str = "dump";

/// Bound of a raw HTTP exchange in the log: enough for heads and a body that a person would read.
const MAX_DUMP_BYTES: usize = 64 * 1024;

/// Bytes that are cleaned for each byte that may be shown. A secret would have to be longer than all but
/// one part of this to be cut in a place that is shown.
const CLEANED_PER_SHOWN: usize = 8;

/// Attributes of every record.
#[derive(Debug, Clone, Default)]
pub struct Identity {
    /// This run's id.
    pub instance_id: String,
    /// The tunnel's id; empty before it is known.
    pub tunnel_id: String,
    /// Keeps the last warnings of this run.
    #[cfg(feature = "page")]
    pub recent: Arc<Recent>,
}

/// The least level that is written: without a chosen format records below info are not, at any level. The reference's
/// default logger has none, and its lines are for a person at a terminal.
fn level(settings: &config::Log) -> LevelFilter {
    match settings.format {
        LogFormat::Unset => settings.level.min(LevelFilter::Info),
        LogFormat::StructText | LogFormat::Json => settings.level,
    }
}

/// Has other levels written from now on.
pub(crate) fn renew(settings: &config::Log) {
    ::log::set_max_level(level(settings));
}

/// Starts logging. May be called once a process; a second call is an error and changes nothing.
/// Should come before whatever may log a secret, since the redactor is fixed from here on. `log_file` learns the
/// name of the file, if there is one, and has it opened anew.
pub fn init(
    settings: &config::Log,
    identity: Identity,
    redactor: Arc<Redactor>,
    log_file: Arc<LogFile>,
) -> io::Result<()> {
    let lines = Lines { format: settings.format, identity, redactor };
    let file = open(settings)?;
    settings.file.iter().for_each(|path| log_file.name(path));
    let sink = Sink::new(file, log_file);
    Builder::new()
        .filter_level(LevelFilter::Off)
        // The level stands before the logger, where it can change.
        .filter_module(OWN_TARGETS, LevelFilter::Trace)
        .target(Target::Pipe(Box::new(sink)))
        .format(move |out, record| {
            use io::Write;
            // The log is that of the whole process, whose other threads no simulation knows.
            #[cfg(test)]
            if crate::simulation::scheduler::now().is_some() {
                return Ok(());
            }
            out.write_all(lines.line(SystemTime::now(), record).as_bytes())
        })
        .try_init()
        .map_err(|_| io::Error::other("start logging: it was started before"))?;
    renew(settings);
    Ok(())
}

/// Opens the place where lines go: the file, else standard error for people, standard output for programs.
fn open(settings: &config::Log) -> io::Result<File> {
    if let Some(path) = &settings.file {
        let failed = |cause| failure(format!("open log file {}", path.display()), cause);
        return open_file(path).map_err(failed);
    }
    // A descriptor of our own: the standard library's handles hold locks and buffers.
    let owned = match settings.on_stderr {
        true => io::stderr().as_fd().try_clone_to_owned(),
        false => io::stdout().as_fd().try_clone_to_owned(),
    };
    owned.map(File::from).map_err(|cause| failure("open log output", cause))
}

/// Turns records into lines.
struct Lines {
    format: LogFormat,
    /// The same for every line of a process.
    identity: Identity,
    redactor: Arc<Redactor>,
}

impl Lines {
    /// The whole line with its newline. Time, level and message come first in every format, then
    /// who speaks, then what the caller added, in the order of the call.
    fn line(&self, now: SystemTime, record: &Record<'_>) -> String {
        // The four words that operators filter by.
        let level = record.level().min(Level::Debug).as_str();
        let message = self.clean("msg", &record.args().to_string());
        let out = match self.format {
            LogFormat::Unset => format!("{} {level} ", timestamp::plain(now)),
            LogFormat::StructText => format!("time={} level={level}", timestamp::rfc3339_ms(now)),
            LogFormat::Json => format!("{{\"time\":\"{}\",\"level\":\"{level}\"", timestamp::rfc3339(now)),
        };
        #[cfg(feature = "page")]
        if record.level() <= Level::Warn {
            self.keep(now, level, &message, record);
        }
        let mut line = Line { lines: self, format: self.format, out };
        match self.format {
            LogFormat::Unset => text::escape(&mut line.out, &message),
            LogFormat::StructText | LogFormat::Json => line.string("msg", &message),
        }
        line.string("client_instance_id", &self.identity.instance_id);
        if !self.identity.tunnel_id.is_empty() {
            line.string("tunnel_id", &self.identity.tunnel_id);
        }
        line.string("component", component(record.target()));
        // The visitor below never fails.
        let _ = record.key_values().visit(&mut line);
        line.out.push_str(if self.format == LogFormat::Json { "}\n" } else { "\n" });
        line.out
    }

    /// Keeps the message and what the caller added, as plain lines have them.
    #[cfg(feature = "page")]
    fn keep(&self, at: SystemTime, level: &'static str, message: &str, record: &Record<'_>) {
        let mut line = recent::Ours(Line { lines: self, format: LogFormat::Unset, out: String::new() });
        text::escape(&mut line.0.out, message);
        // The visitor never fails.
        let _ = record.key_values().visit(&mut line);
        let text = text::cut(line.0.out, recent::KEPT_BYTES_MAX);
        self.identity.recent.note(recent::Noted { at, level, text });
    }

    /// A value without secrets, bounded; the format escapes it. Cut after cleaning, because the first
    /// half of a secret would no longer be recognised; but what is cleaned is bounded as well: the rules
    /// read some megabytes a second, and the text may be as long as its sender likes.
    fn clean(&self, key: &str, value: &str) -> String {
        let limit = if key == DUMP_KEY { MAX_DUMP_BYTES } else { text::MAX_FOREIGN_BYTES };
        let value = text::head(value, limit.saturating_mul(CLEANED_PER_SHOWN));
        text::cut(self.redactor.clean_attribute(key, value).into_owned(), limit)
    }
}

/// A line being written.
struct Line<'a> {
    lines: &'a Lines,
    format: LogFormat,
    out: String,
}

impl Line<'_> {
    /// Everything before a value. Keys are constants of this program, with nothing to escape.
    fn key(&mut self, key: &str) {
        let (before, after) = if self.format == LogFormat::Json { (",\"", "\":") } else { (" ", "=") };
        self.out.extend([before, key, after]);
    }

    /// A string attribute, escaped as the format asks: in quotes where a reader would otherwise not
    /// find its end.
    fn string(&mut self, key: &str, value: &str) {
        self.key(key);
        let out = &mut self.out;
        let bare = |c: char| !matches!(c, '"' | '=' | '\\' | ' ') && !text::must_escape(c);
        if self.format == LogFormat::Json {
            text::json(out, value);
        } else if !value.is_empty() && value.chars().all(bare) {
            out.push_str(value);
        } else {
            out.push('"');
            text::escape(out, &value.replace('\\', "\\\\").replace('"', "\\\""));
            out.push('"');
        }
    }
}

/// Adds the attributes of a call to a line. Numbers and truth values stay bare, so that a log store
/// can compare them; everything else is text and goes through the redactor.
impl<'kvs> kv::VisitSource<'kvs> for Line<'_> {
    fn visit_pair(&mut self, key: Key<'kvs>, value: Value<'kvs>) -> Result<(), kv::Error> {
        let (key, text) = (key.as_str(), value.to_string());
        let bare = value.to_i64().is_some() || value.to_u64().is_some() || value.to_bool().is_some();
        if bare && !redact::is_secret_key(key) {
            self.key(key);
            self.out.push_str(&text);
        } else {
            self.string(key, &self.lines.clean(key, &text));
        }
        Ok(())
    }
}

/// The reference's name for the room that speaks: operators filter by these words, so they outlive
/// the names of our modules.
fn component(target: &str) -> &'static str {
    let mut parts = target.split("::").skip(1);
    match (parts.next(), parts.next()) {
        (Some("plane"), _) => "controlplane",
        (Some("relay"), _) => "dispatcher",
        (Some("mcp"), _) => "mcpclient",
        (Some("oauth"), _) => "oauth",
        (Some("policy"), _) => "policy",
        (Some("harpoon"), _) => "harpoon",
        (Some("ops"), Some("listener" | "readiness" | "metrics")) => "health",
        _ => "process",
    }
}

#[cfg(test)]
mod tests;
