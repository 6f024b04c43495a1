//! `tunnel-client doctor`: what is wrong with a set-up, before `run` finds out.
//!
//! Prints what [`crate::doctor`] finds. Exit code 0 when nothing failed, 2 when something did; with `--json`
//! the report is one JSON object, whose members `crate::doctor::report` lists.

use std::process::ExitCode;
use std::time::Duration;

use crate::config::Flags;
use crate::config::settings::{Kind, Least, Row};
use crate::doctor::{self, Asked, Status};

use super::Failure;
use super::print;
use super::terminal::{Colour, Progress, paint};

/// Exit code of a report with failed checks.
const FAILED: u8 = 2;

/// No server is waited for by anybody for longer.
const WAIT_MAX: Duration = Duration::from_secs(600);

/// Its own options.
#[rustfmt::skip]
pub(super) const OPTIONS: &[Row] = &[
    Row::option("explain", Kind::Boolean, "", "false",
        "Explain every check that did not pass: why it matters, what was seen, what to do next"),
    Row::option("json", Kind::Boolean, "", "false",
        "Print one JSON object: result (ok, fail), failed_checks or next, and checks, each with id, status (PASS, FAIL, SKIP), summary, why, evidence, next"),
    Row::option("offline", Kind::Boolean, "", "false",
        "Make the checks of this machine alone; stdio servers are started all the same"),
    Row::option("wait", Kind::Duration(Least::AboveZero), "duration", "",
        "How long a server may take to answer, 10m at most; without it, 7s over stdio and one try over HTTP"),
];

/// Examines, prints, and says by the exit code whether anything failed.
pub(super) fn command(flags: &Flags) -> Result<ExitCode, Failure> {
    let progress = Progress::new();
    let wait = flags.last("wait").map(|_| flags.duration("wait"));
    if wait.is_some_and(|wait| wait.is_zero() || wait > WAIT_MAX) {
        return Err(Failure("--wait must be above zero and at most 10m".into()));
    }
    let asked = Asked { offline: flags.is_on("offline"), wait, spares_children: false };
    let report = doctor::examine(flags, asked, &|text| progress.show(text));
    drop(progress);
    let word = |status: Status| {
        let colour = match status {
            Status::Pass => Colour::Green,
            Status::Fail => Colour::Red,
            Status::Skip => Colour::Yellow,
        };
        paint(status.word(), colour)
    };
    let text = if flags.is_on("json") { report.json() } else { report.text(flags.is_on("explain"), word) };
    let printed = print(&text);
    Ok(if report.is_ok() { printed } else { ExitCode::from(FAILED) })
}
