//! Certificates of a running client, as its metrics have them.
//!
//! One that has little of its life left is a warning and no failure: everything works today. One that has ended fails.
//! What is no such sample is passed over: an older client has none.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::Serialize;

use crate::cli::terminal::{Colour, foreign, paint, verdict};
use crate::net::{Remaining, Validity};
use crate::ops::timestamp;

/// What stands around the name of a purpose in a line of the metrics.
const BEGINS: &str = "tunnel_client_certificate_not_before_timestamp_seconds{purpose=\"";
const ENDS: &str = "tunnel_client_certificate_expiry_timestamp_seconds{purpose=\"";
const LOADS: &str = "tunnel_client_certificate_loaded_timestamp_seconds{purpose=\"";
const BEHIND: &str = "\"} ";

/// More than a client with a certificate a channel has.
const CERTIFICATES_MAX: usize = 64;

/// The certificate of a purpose that ends first.
#[derive(Serialize)]
pub(super) struct Certificate {
    purpose: String,
    /// `ok`, `renew` or `ended`.
    state: &'static str,
    not_before: u64,
    not_after: u64,
    loaded_at: u64,
    /// What is left, in words.
    left: String,
}

/// Those of a page of metrics.
pub(super) fn of(metrics: &str) -> Vec<Certificate> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let value = |before: &str, purpose: &str| {
        let line =
            |line: &str| line.strip_prefix(before)?.strip_prefix(purpose)?.strip_prefix(BEHIND)?.parse().ok();
        metrics.lines().find_map(line)
    };
    let purposes = metrics.lines().filter_map(|line| Some(line.strip_prefix(ENDS)?.split_once(BEHIND)?.0));
    let found = purposes.take(CERTIFICATES_MAX).filter_map(|purpose| {
        let (not_before, not_after) = (value(BEGINS, purpose)?, value(ENDS, purpose)?);
        let validity = Validity { not_before, not_after };
        let state = match validity.remaining(now) {
            Remaining::Enough => "ok",
            Remaining::Little => "renew",
            Remaining::Nothing => "ended",
        };
        let (purpose, loaded_at) = (purpose.to_owned(), value(LOADS, purpose)?);
        Some(Certificate { purpose, state, not_before, not_after, loaded_at, left: validity.left(now) })
    });
    found.collect()
}

impl Certificate {
    /// Whether it has not ended.
    pub(super) fn holds(&self) -> bool {
        self.state != "ended"
    }

    /// The same for people.
    pub(super) fn line(&self) -> String {
        // What lies beyond every clock is shown as its beginning.
        let moment = |at| UNIX_EPOCH.checked_add(Duration::from_secs(at)).unwrap_or(UNIX_EPOCH);
        let shown = |at| format!("{} UTC", timestamp::plain(moment(at)));
        let (verdict, advice) = match self.state {
            "renew" => (paint("WARN", Colour::Yellow), ", renew it"),
            _ => (verdict(self.holds()), ""),
        };
        let (purpose, left) = (foreign(&self.purpose), &self.left);
        let (ends, loaded) = (shown(self.not_after), shown(self.loaded_at));
        format!("Certificate: {verdict} | {purpose} | valid until {ends} | {left}{advice} | loaded {loaded}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_whole_is_passed_over() {
        let metrics = |begins: &str, ends: &str| {
            format!(
                "# TYPE x gauge\n{BEGINS}mcp:main{BEHIND}{begins}\n{ENDS}mcp:main{BEHIND}{ends}\n{LOADS}mcp:main{BEHIND}7\n"
            )
        };
        let [one] = &of(&metrics("5", "6"))[..] else { panic!() };
        assert_eq!(
            (one.purpose.as_str(), one.not_before, one.not_after, one.loaded_at),
            ("mcp:main", 5, 6, 7)
        );
        assert_eq!((one.state, one.holds(), one.left.as_str()), ("ended", false, "0 of 0 minutes left"));
        assert_eq!(of(&metrics("5", "9999999999"))[0].state, "ok");
        assert!(of(&metrics("5", &u64::MAX.to_string()))[0].line().contains("valid until 1970/01/01"));
        for (begins, ends) in [("-1", "6"), ("5", "x"), ("", "6"), ("5", "99999999999999999999999")] {
            assert!(of(&metrics(begins, ends)).is_empty(), "{begins} {ends}");
        }
        assert!(of("").is_empty());
    }
}
