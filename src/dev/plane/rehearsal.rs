//! What a control plane for rehearsals does besides: it tells what passes, and misbehaves as it was asked to.
//!
//! Faults are counted and not drawn, so that a rehearsal goes the same way each time: of a share of one fifth every
//! fifth request fails. They strike polls, posts and the metadata alike, as those of a plane in trouble do.

use std::str::FromStr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use super::reply::Reply;
use crate::dev::server::Responder;
use crate::ops::timestamp;
use crate::text;

/// Parts of a share.
const WHOLE: u64 = 1000;

/// How often a request that is held up looks whether its client is still there.
const LOOK: Duration = Duration::from_millis(50);

/// How much of a message is shown.
pub(super) const SHOWN_BYTES_MAX: usize = 400;

/// Longest line.
const LINE_BYTES_MAX: usize = 1024;

/// Share of requests that fail, and with which status.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Fail {
    status: u16,
    /// Of [`WHOLE`].
    share: u64,
}

/// A rehearsal.
pub(crate) struct Rehearsal {
    fail: Option<Fail>,
    delay: Duration,
    tell: Box<dyn Fn(&str) + Send + Sync>,
    requests: AtomicU64,
}

impl FromStr for Fail {
    type Err = String;

    /// Reads `STATUS` or `STATUS:SHARE`.
    fn from_str(text: &str) -> Result<Fail, String> {
        let fault = || {
            format!(
                "invalid --fail {text:?}: expected a status from 400 to 599, and perhaps a share, as 503:0.2"
            )
        };
        let (status, share) = text.split_once(':').unwrap_or((text, "1"));
        let status = status.parse().ok().filter(|status| (400..=599).contains(status)).ok_or_else(fault)?;
        let share: f64 =
            share.parse().ok().filter(|share| (0.001..=1.0).contains(share)).ok_or_else(fault)?;
        // In parts, found without a conversion that could cut something off.
        let share =
            (1..=WHOLE).find(|parts| share * 1000.0 < f64::from(u16::try_from(*parts).unwrap_or(0)) + 0.5);
        Ok(Fail { status, share: share.ok_or_else(fault)? })
    }
}

impl Fail {
    /// Whether the request of this number fails.
    fn strikes(self, number: u64) -> bool {
        number * self.share / WHOLE != (number - 1) * self.share / WHOLE
    }
}

impl Rehearsal {
    /// One that holds up every request, fails some, and tells what passes in lines.
    pub(crate) fn new(
        fail: Option<Fail>,
        delay: Duration,
        tell: impl Fn(&str) + Send + Sync + 'static,
    ) -> Rehearsal {
        Rehearsal { fail, delay, tell: Box::new(tell), requests: AtomicU64::new(0) }
    }

    /// A request of a client for this comes in: it waits, and perhaps fails.
    pub(super) fn strike(&self, what: &str, responder: &Responder<'_>) -> Result<(), Reply> {
        let end = Instant::now() + self.delay;
        while Instant::now() < end && !responder.is_gone() {
            thread::sleep(LOOK.min(end.saturating_duration_since(Instant::now())));
        }
        let number = self.requests.fetch_add(1, Ordering::Relaxed) + 1;
        let Some(fail) = self.fail.filter(|fail| fail.strikes(number)) else { return Ok(()) };
        self.tell(&format!("fail  {} {what}", fail.status));
        Err(Reply::refusal(fail.status, "a rehearsed failure", None))
    }

    /// Tells a line, with the time. Ids in it are as others chose them.
    pub(super) fn tell(&self, line: &str) {
        let line = text::bounded(line, LINE_BYTES_MAX);
        (self.tell)(&format!("{}  {line}\n", timestamp::rfc3339_ms(SystemTime::now())));
    }
}

/// A message as it is shown.
pub(super) fn shown(message: &str) -> String {
    format!("{} bytes  {}", message.len(), text::bounded(message, SHOWN_BYTES_MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_of_all_requests_fails() {
        for (text, struck) in [
            ("503", 1000),
            ("429:1", 1000),
            ("500:0.5", 500),
            ("503:0.2", 200),
            ("599:0.001", 1),
            ("503:0.333", 333),
        ] {
            let fail: Fail = text.parse().unwrap();
            assert_eq!((1..=1000).filter(|number| fail.strikes(*number)).count(), struck, "{text}");
        }
        let half: Fail = "503:0.5".parse().unwrap();
        assert_eq!([1, 2, 3, 4].map(|number| half.strikes(number)), [false, true, false, true]);
        for text in ["", "x", "200", "600", "503:", "503:0", "503:1.1", "503:x", "503:NaN", "503:-1"] {
            assert!(text.parse::<Fail>().is_err(), "{text}");
        }
    }
    #[test]
    fn what_a_client_chose_moves_no_cursor() {
        let (say, said) = std::sync::mpsc::channel();
        let rehearsal = Rehearsal::new(None, Duration::ZERO, move |line| say.send(line.to_owned()).unwrap());
        rehearsal.tell("back  r\u{1b}[2J\nout  x");
        let line = said.recv().unwrap();
        assert!(line.ends_with("  back  r\\u{1b}[2J\\nout  x\n"), "{line}");
    }
}
