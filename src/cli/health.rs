//! `tunnel-client health`: asks a running client how it is, as a probe of a supervisor or container does.
//!
//! It finds the listener by URL, by URL file or by port, and asks `/healthz`, `/readyz`, `/health`, `/metrics` and `/ui`
//! once each; on request also whether a poll has succeeded, and whether a process exists. It contacts nobody else, changes
//! nothing and needs no settings. Exit code 0 when all that was asked for holds, 2 when something does not; a
//! mistake in the arguments is 1. The members of its JSON are those of [`Report`], described in
//! `help/health.txt`.

mod certificates;
mod follow;
pub(super) mod peer;

use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use nix::errno::Errno;
use nix::sys::signal::kill;
use nix::unistd::Pid;
use serde::Serialize;
use serde_json::Value;

use crate::config::settings::{Kind, Least, Row};
use crate::config::{Flags, read_text};
use crate::ops::os_text;
use crate::text::bounded;
use crate::url::without_credentials;

use super::terminal::{foreign, json, verdict};
use super::{Failure, print};
use certificates::Certificate;
use peer::{Page, Peer, Poll, SOCKET_SCHEME};

/// What the command takes.
#[rustfmt::skip]
pub(super) const OPTIONS: &[Row] = &[
    Row::option("url", Kind::Text, "url", "",
        "Address of the listener: http://HOST:PORT or http+unix:///PATH/TO/SOCKET"),
    Row::option("unix-socket", Kind::Path, "path", "", "Unix socket of the listener"),
    Row::option("url-file", Kind::Path, "path", "", "File with that address, as health.url-file writes it"),
    Row::option("port", NUMBER, "number", "", "Port of the listener on 127.0.0.1"),
    Row::option("pid", NUMBER, "number", "", "Also check that this process exists"),
    Row::option("pid-file", Kind::Path, "path", "", "The same, for the process id in this file"),
    Row::option("require-control-plane-poll", Kind::Boolean, "", "false",
        "Also check that a poll has succeeded"),
    Row::option("json", Kind::Boolean, "", "false", "Print one JSON object"),
    Row::option("follow", Kind::Boolean, "", "false", "Go on, and print one line for each change"),
    Row::option("interval", Kind::Duration(Least::AboveZero), "duration", "2s", "How often --follow looks"),
    Row::option("for", Kind::Duration(Least::AboveZero), "duration", "", "How long --follow goes on; without it, until it is ended"),
];

/// Bounds are checked where the texts are.
const NUMBER: Kind = Kind::Integer { min: i64::MIN, max: i64::MAX };

/// No listener is asked more often than this.
const INTERVAL_MIN: Duration = Duration::from_millis(100);

/// The same of the files: a path in base64, or a number.
const FILE_MAX_BYTES: u64 = 8192;

/// More than the longest process id, less than a key.
const PID_TEXT_MAX_BYTES: usize = 12;

/// What was found; written in this order. What is empty is left out.
#[derive(Serialize, Default)]
#[rustfmt::skip]
struct Report {
    locator: Locator,
    #[serde(skip_serializing_if = "Option::is_none")] process: Option<Process>,
    #[serde(skip_serializing_if = "String::is_empty")] base_url: String,
    #[serde(skip_serializing_if = "String::is_empty")] ui_url: String,
    healthz: Page,
    readyz: Page,
    #[serde(skip_serializing_if = "Value::is_null")] health: Value,
    #[serde(skip_serializing_if = "Option::is_none")] control_plane_poll: Option<Poll>,
    #[serde(skip_serializing_if = "Vec::is_empty")] certificates: Vec<Certificate>,
    result: &'static str,
}

/// Where the listener was looked for.
#[derive(Serialize, Default)]
#[rustfmt::skip]
pub(super) struct Locator {
    kind: &'static str,
    #[serde(skip_serializing_if = "String::is_empty")] url: String,
    #[serde(skip_serializing_if = "String::is_empty")] url_file: String,
    #[serde(skip_serializing_if = "Option::is_none")] port: Option<u16>,
    #[serde(skip_serializing_if = "String::is_empty")] resolved_base_url: String,
    #[serde(skip_serializing_if = "String::is_empty")] error: String,
}

/// Whether the process exists.
#[derive(Serialize, Default)]
#[rustfmt::skip]
struct Process {
    #[serde(skip_serializing_if = "Option::is_none")] pid: Option<i32>,
    #[serde(skip_serializing_if = "String::is_empty")] pid_file: String,
    running: bool,
    #[serde(skip_serializing_if = "String::is_empty")] error: String,
}

/// Looks, prints, and says with the exit code what was found.
pub(super) fn command(flags: &Flags) -> Result<ExitCode, Failure> {
    let (locator, place) = locator(flags)?;
    if flags.is_on("follow") {
        let place = || self::locator(flags).map_or_else(|Failure(why)| Err(why), |(_, place)| place);
        let interval = flags.duration("interval").max(INTERVAL_MIN);
        return Ok(follow::watch(&place, interval, flags.duration("for")));
    }
    let process = process(flags)?;
    let wants_poll = flags.is_on("require-control-plane-poll");
    let mut report = Report { locator, process, ..Report::default() };
    report.control_plane_poll = wants_poll.then(Poll::default);
    match place.and_then(|base| Peer::new(&base)) {
        Ok(peer) => {
            report.locator.resolved_base_url.clone_from(&peer.base);
            (report.healthz, report.readyz) = (peer.page("/healthz"), peer.page("/readyz"));
            report.health = peer.health();
            // A supervisor waits for us, and one that is not alive has no more to say.
            if wants_poll || report.healthz.ok {
                let metrics = peer.metrics();
                report.control_plane_poll = wants_poll.then(|| peer.poll(&metrics));
                report.certificates = certificates::of(&metrics.unwrap_or_default());
            }
            if !report.healthz.ok || peer.has_page() {
                report.ui_url = format!("{}/ui", peer.base);
            }
            report.base_url = peer.base;
        }
        Err(error) => report.locator.error = error,
    }
    let ok = report.healthz.ok
        && report.readyz.ok
        && report.control_plane_poll.as_ref().is_none_or(|poll| poll.ok)
        && report.process.as_ref().is_none_or(|process| process.running)
        && report.certificates.iter().all(Certificate::holds);
    report.result = if ok { "ok" } else { "fail" };
    let printed = print(&if flags.is_on("json") { json(&report) } else { report.text() });
    Ok(if ok { printed } else { ExitCode::from(2) })
}

/// What is said when the listener was named twice, or not at all.
const ONE_LOCATOR: &str = "choose exactly one of --url, --unix-socket, --url-file, or --port";

/// Which of the ways was taken, and the address that it leads to.
pub(super) fn locator(flags: &Flags) -> Result<(Locator, Result<String, String>), Failure> {
    let (url, file) = (flags.option("url").trim(), flags.option("url-file").trim());
    let (socket, port) = (flags.option("unix-socket"), number(flags, "port", u16::MAX.into())?);
    match (url, file, port) {
        ("", "", None) if !socket.is_empty() => {
            let path = std::path::absolute(socket).map_err(|error| Failure(error.to_string()))?;
            let url = format!("{SOCKET_SCHEME}{}", path.display());
            let name = URL_SAFE_NO_PAD.encode(path.as_os_str().as_encoded_bytes());
            Ok((Locator { kind: "url", url, ..Locator::default() }, Ok(format!("{SOCKET_SCHEME}{name}"))))
        }
        _ if !socket.is_empty() => Err(Failure(ONE_LOCATOR.into())),
        ("", "", Some(port)) => {
            let port = u16::try_from(port).unwrap_or_default();
            let locator = Locator { kind: "port", port: Some(port), ..Locator::default() };
            Ok((locator, Ok(format!("http://127.0.0.1:{port}"))))
        }
        ("", path, None) if !path.is_empty() => {
            let locator = Locator { kind: "url_file", url_file: path.into(), ..Locator::default() };
            let url = content(path).and_then(|text| match text.as_str() {
                "" => Err(format!("{path} did not contain a health URL")),
                url => normalized(url),
            });
            Ok((locator, url))
        }
        (url, "", None) if !url.is_empty() => {
            let locator = Locator { kind: "url", url: without_credentials(url), ..Locator::default() };
            Ok((locator, normalized(url)))
        }
        _ => Err(Failure(ONE_LOCATOR.into())),
    }
}

/// A file of one line.
pub(super) fn content(path: &str) -> Result<String, String> {
    let text = read_text(Path::new(path), FILE_MAX_BYTES);
    text.map(|text| text.trim().to_owned()).map_err(|error| format!("read {path}: {}", os_text(&error)))
}

/// The base of a URL that may have been copied with the path of a page.
pub(super) fn normalized(url: &str) -> Result<String, String> {
    let mut base = url.trim().trim_end_matches('/');
    for page in ["/healthz", "/readyz"] {
        base = base.strip_suffix(page).unwrap_or(base);
    }
    match base.trim_end_matches('/') {
        "" => Err("health URL is empty after normalization".into()),
        base => Ok(base.to_owned()),
    }
}

/// A number above zero; `None` when it was not given.
pub(super) fn number(flags: &Flags, name: &str, max: i64) -> Result<Option<i64>, Failure> {
    match flags.last(name).map(str::parse) {
        None => Ok(None),
        Some(Ok(number)) if (1..=max).contains(&number) => Ok(Some(number)),
        Some(Ok(number)) if number > max => Err(Failure(format!("--{name} must be at most {max}"))),
        Some(_) => Err(Failure(format!("--{name} must be positive"))),
    }
}

/// Looks for the process, if one was named.
fn process(flags: &Flags) -> Result<Option<Process>, Failure> {
    let (pid, file) = (number(flags, "pid", i32::MAX.into())?, flags.option("pid-file").trim());
    if pid.is_some() && !file.is_empty() {
        return Err(Failure("choose at most one of --pid or --pid-file".into()));
    }
    let found = match pid {
        Some(pid) => Ok(i32::try_from(pid).unwrap_or_default()),
        None if file.is_empty() => return Ok(None),
        None => content(file).and_then(|text| {
            let pid = text.parse().ok().filter(|pid| *pid > 0);
            // A key may have been named by mistake: of a long text the start is enough.
            pid.ok_or_else(|| format!("parse {file} as pid: \"{}\"", bounded(&text, PID_TEXT_MAX_BYTES)))
        }),
    };
    let pid_file = file.to_owned();
    Ok(Some(match found {
        Ok(pid) => Process { pid: Some(pid), pid_file, running: exists(pid), error: String::new() },
        Err(error) => Process { pid_file, error, ..Process::default() },
    }))
}

/// Whether there is such a process. That of another user may not be signalled, and so exists.
fn exists(pid: i32) -> bool {
    matches!(kill(Pid::from_raw(pid), None), Ok(()) | Err(Errno::EPERM))
}

impl Report {
    /// The same for people.
    fn text(&self) -> String {
        let locator = &self.locator;
        let place = match (locator.port, locator.url_file.as_str()) {
            (Some(port), _) => format!("port={port}"),
            (None, "") => format!("url={}", foreign(&locator.url)),
            (None, path) => format!("url_file={}", foreign(path)),
        };
        let mut lines = vec![format!("Locator: {place}")];
        if locator.error.is_empty() {
            lines.push(format!("Base URL: {}", foreign(&self.base_url)));
            lines.extend((!self.ui_url.is_empty()).then(|| format!("UI URL: {}", foreign(&self.ui_url))));
            lines.extend(
                [("Healthz", &self.healthz), ("Readyz", &self.readyz)].map(|(name, page)| line(page, name)),
            );
        } else {
            lines.push(format!("Locator error: {}", foreign(&locator.error)));
        }
        if let Some(poll) = self.control_plane_poll.as_ref().filter(|poll| !poll.url.is_empty()) {
            let found = match poll.value {
                Some(value) if poll.ok => format!("last_success_unix_seconds={value}"),
                _ => foreign(&poll.error),
            };
            lines.push(format!(
                "Control-plane poll: {} | {} | {found}",
                verdict(poll.ok),
                foreign(&poll.url)
            ));
        }
        lines.extend(self.certificates.iter().map(Certificate::line));
        if let Some(process) = &self.process {
            let mut line = format!("Process: {}", verdict(process.running));
            line.extend(process.pid.map(|pid| format!(" | pid={pid}")));
            for (name, text) in [("pid_file=", &process.pid_file), ("", &process.error)] {
                line.extend((!text.is_empty()).then(|| format!(" | {name}{}", foreign(text))));
            }
            lines.push(line);
        }
        lines.extend(
            self.health.get("components").and_then(Value::as_object).into_iter().flatten().map(component),
        );
        lines.push(format!("Result: {}\n", self.result.to_uppercase()));
        lines.join("\n")
    }
}

/// A row of the table of components.
fn component((name, component): (&String, &Value)) -> String {
    let word = |member: &str| foreign(component.get(member).and_then(Value::as_str).unwrap_or_default());
    let (name, status) = (foreign(name), word("status"));
    let line = format!("  {name:<18} {status:<9} {} {}", word("state"), word("reason_code"));
    line.trim_end().to_owned()
}

/// A page as a line.
fn line(page: &Page, name: &str) -> String {
    let status = page.status.map(|status| format!(" | HTTP {status}")).unwrap_or_default();
    let said = if page.error.is_empty() { &page.body } else { &page.error };
    format!("{name}: {} | {}{status} | {}", verdict(page.ok), foreign(&page.url), foreign(said))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_taken_with_the_path_of_a_page() {
        for url in [
            "http://h:1",
            " http://h:1/ ",
            "http://h:1/healthz",
            "http://h:1/readyz/",
            "http://h:1/readyz/healthz",
        ] {
            assert_eq!(normalized(url).unwrap(), "http://h:1", "{url}");
        }
        assert_eq!(normalized("/healthz").unwrap_err(), "health URL is empty after normalization");
    }
}
