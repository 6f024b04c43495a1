//! `tunnel-client support`: one text about a tunnel, running or not, that a person can read before sending it.
//!
//! Whatever can be had is put together, and what cannot says why. Each line passes a redactor that knows the secrets of
//! the profile, as far as they can be found; each section has a bound, and all of them together are below 1 MiB. Nothing
//! is changed; where a tunnel runs, no server is started beside its own.

mod host;
mod running;
mod unit;

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::process::ExitCode;
use std::time::SystemTime;

use crate::config::glimpse::{Glimpse, glimpse};
use crate::config::settings::{Kind, Row};
use crate::config::shown::Shown;
use crate::config::{Environment, Flags, Secret};
use crate::doctor::{self, Asked, Status};
use crate::ops::redact::Redactor;
use crate::ops::{os_text, timestamp};
use crate::service::page::support::{LINE_BYTES_MAX, section, sendable};
use crate::text::bounded;

use super::terminal::Progress;
use super::{Failure, print};

/// What the command takes.
#[rustfmt::skip]
pub(super) const OPTIONS: &[Row] = &[
    Row::option("output", Kind::Path, "file", "",
        "The new file to write, or - for standard output; without it, a file named by the time in this directory"),
];

/// What the text begins with.
const HEAD: &str = include_str!("help/support_head.txt");

/// What stands around a title: longer than in the text of a running tunnel, which is a section here.
const FRAME: &str = "====";

/// Text that is being put together.
struct Bundle {
    text: String,
    redactor: Redactor,
}

impl Bundle {
    /// Adds a section; of a long one the end is left out.
    fn add(&mut self, title: &str, text: &str, max: usize) {
        self.text.push_str(&section([FRAME, title], text, max, &self.redactor));
    }

    /// Adds a section, or why there is none.
    fn add_if(&mut self, title: &str, text: Result<String, String>, max: usize) {
        match text {
            Ok(text) => self.add(title, &text, max),
            Err(why) => self.add(title, &format!("not available: {why}"), max),
        }
    }

    /// The same of what grows at its end: of a long one the start is left out.
    fn add_end(&mut self, title: &str, text: Result<String, String>, max: usize) {
        let Ok(text) = text else { return self.add_if(title, text, max) };
        let mut left = max;
        let fits = |line: &String| {
            left = left.saturating_sub(line.len() + 1);
            left > 0
        };
        let lines = text.lines().rev().map(|line| sendable(line, FRAME, &self.redactor));
        let mut lines: Vec<String> = lines.take_while(fits).collect();
        if lines.len() < text.lines().count() {
            lines.push("(earlier lines were left out)".to_owned());
        }
        lines.reverse();
        self.text.push_str(&format!("\n{FRAME} {title} {FRAME}\n{}\n", lines.join("\n")));
    }
}

/// Puts the text together and writes it.
pub(super) fn command(flags: &Flags) -> Result<ExitCode, Failure> {
    let environment = Environment::of_process()?;
    let now = timestamp::plain(SystemTime::now());
    let name = flags.option("output");
    let digits: String = now.chars().filter(char::is_ascii_digit).collect();
    let path = if name.is_empty() { format!("tunnel-client-support-{digits}.txt") } else { name.to_owned() };
    // Before the work, which takes some seconds.
    let mut file = if path == "-" { None } else { Some(create(&path)?) };
    let progress = Progress::new();
    let text = gather(flags, &environment, &now, &|what| progress.show(what));
    drop(progress);
    let Some(file) = &mut file else { return Ok(print(&text)) };
    file.write_all(text.as_bytes()).map_err(|error| Failure(format!("write {path}: {}", os_text(&error))))?;
    Ok(print(&format!("{path}: {} bytes; read it before you send it\n", text.len())))
}

/// A new file for its owner alone. One that is there is left as it is, and a link is not followed.
fn create(path: &str) -> Result<std::fs::File, Failure> {
    let created = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    created.map_err(|error| {
        let why = match error.kind() {
            io::ErrorKind::AlreadyExists => "it is there already; name another file, or remove it".to_owned(),
            _ => os_text(&error),
        };
        Failure(format!("create {}: {why}", bounded(path, LINE_BYTES_MAX)))
    })
}

/// All sections, in the order in which a reader asks.
fn gather(flags: &Flags, environment: &Environment, now: &str, progress: &dyn Fn(&str)) -> String {
    let found = glimpse(flags, environment);
    let further = ["OPENAI_ADMIN_KEY"].iter().filter_map(|name| environment.filled(name));
    let further = further.map(|text| Secret::new(text.to_owned()));
    let redactor = Redactor::new(found.secrets.iter().cloned().chain(further).collect());
    let mut bundle = Bundle { text: HEAD.to_owned(), redactor };
    bundle.add("program", &format!("{}\nthis text was made at {now}", crate::build()), 1024);
    bundle.add("host", &host::host(), 16 << 10);
    bundle.add("profile", &profile(&found), 8 << 10);
    let shown: String = found.shown.iter().map(Shown::to_string).collect();
    bundle.add("settings as they are written", &shown, 48 << 10);
    bundle.add("files", &host::files(&found.files), 32 << 10);
    progress("asking the tunnel");
    let running = running::ask(&found);
    progress("asking the service manager");
    let unit = unit::Unit::find(&found.source);
    let pid = host::pid(&found).or(unit.as_ref().ok().and_then(|unit| unit.pid));
    bundle.add_if("unit", unit.as_ref().map(|unit| unit.state.clone()).map_err(String::clone), 16 << 10);
    bundle.add_if("process", host::process(pid), 16 << 10);
    let asked = Asked { offline: false, wait: None, spares_children: running.is_ok() };
    let report =
        doctor::examine(flags, asked, progress).text(true, |status: Status| status.word().to_owned());
    let remark = if running.is_ok() {
        "The tunnel runs: its address is taken, and servers over stdio are not started.\n"
    } else {
        ""
    };
    bundle.add("doctor", &format!("{remark}{report}"), 96 << 10);
    bundle.add_end("journal", unit.and_then(|unit| unit.journal()), 96 << 10);
    bundle.add_end("log file", host::log_tail(found.log.as_deref()), 96 << 10);
    match running {
        Ok(running) => running.add(&mut bundle),
        Err(why) => bundle.add("running tunnel", &format!("not available: {why}"), 8 << 10),
    }
    bundle.text
}

/// Where the settings come from, and whether they can be used.
fn profile(found: &Glimpse) -> String {
    let source = &found.source;
    let path = source.path.as_ref().map(|path| path.display().to_string());
    let verdict = match (&found.fault, &found.settings) {
        (None, _) => "the settings can be used".to_owned(),
        (Some(fault), Some(_)) => format!("the settings can be used but for the key: {fault}"),
        (Some(fault), None) => format!("the settings cannot be used: {fault}"),
    };
    format!(
        "chosen by: {} {}\nfile: {}\n{verdict}\n",
        source.way,
        source.name,
        path.unwrap_or("none".to_owned())
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of what grows at its end the newest lines are what a reader wants; and no line passes for a title of ours.
    #[test]
    fn sections_are_cut_where_it_hurts_least() {
        let mut bundle = Bundle { text: String::new(), redactor: Redactor::new(Vec::new()) };
        let lines: String = (0..100).map(|number| format!("line {number}\n")).collect();
        bundle.add("first", &lines, 20);
        bundle.add_end("last", Ok(lines.clone()), 20);
        bundle.add_end("whole", Ok("a\n==== doctor ====\n".to_owned()), 100);
        bundle.add_end("none", Err("no journal".to_owned()), 100);
        let expected = "\n==== first ====\nline 0\nline 1\n(more was left out)\n\
            \n==== last ====\n(earlier lines were left out)\nline 98\nline 99\n\
            \n==== whole ====\na\n ==== doctor ====\n\
            \n==== none ====\nnot available: no journal\n";
        assert_eq!(bundle.text, expected);
    }
}
