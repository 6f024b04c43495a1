//! What the service manager is told, and when: that the start is over, how the tunnel is, that it stops, and
//! that no thread is stuck.
//!
//! Main asks here how long it may sleep: without a service manager for ever, so that nothing is paid for on a
//! terminal. What is told is in the words of readiness, one line of them, and only what has changed. Nothing
//! here can fail: what was not taken is told again at the next look; only the end is announced once.

mod notify;

use std::time::{Duration, Instant};

use nix::time::{ClockId, clock_gettime};

use super::heartbeat::Heartbeats;
use super::readiness::Readiness;
use super::redact::Redactor;
use crate::config::Environment;
use crate::text;
use notify::Notify;

/// Longest wait of the start for the control plane. Units that are ordered behind this one wait as long, and at
/// 90 s, systemd's own bound of a start, it would be killed and begin anew; a third of that leaves room for a
/// slow host. A plane that is away is then no failed start: the tunnel goes on trying, and says so.
const START_WAIT: Duration = Duration::from_secs(30);

/// Pauses until main looks again: until the start is over, while the tunnel is not ready, and while it is. The
/// verdict also changes by time alone, so it is looked at and not waited for.
const LOOK_STARTING: Duration = Duration::from_millis(100);
const LOOK_UNREADY: Duration = Duration::from_secs(1);
const LOOK_READY: Duration = Duration::from_secs(10);

/// The shortest time between two signs of life; what asks for more of them is a mistake.
const BEAT_MIN: Duration = Duration::from_millis(10);

/// The service manager. By default there is none.
#[derive(Default)]
pub struct ServiceManager {
    present: Option<(Notify, Told)>,
}

/// State that the service manager was told.
#[derive(Clone)]
struct Told {
    began: Instant,
    started: bool,
    status: String,
    /// Half the interval of its watchdog, if it asked for one.
    beat: Option<Duration>,
    /// When it last got a sign of life.
    beaten: Option<Instant>,
    /// The thread because of which it gets none.
    stuck: Option<&'static str>,
}

/// True when a service manager that wants to be told has started this process. The system is asked and not the
/// parsed environment: one that cannot be read is a mistake that the service manager has to hear of.
pub fn is_present() -> bool {
    std::env::var_os("NOTIFY_SOCKET").is_some_and(|place| !place.is_empty())
}

impl ServiceManager {
    /// The one that started this process. A socket that cannot be used is logged and counts as none.
    pub fn of(environment: &Environment) -> ServiceManager {
        let Some(place) = environment.filled("NOTIFY_SOCKET") else { return ServiceManager::default() };
        match Notify::to(place) {
            Ok(notify) => {
                let told = Told::new(Instant::now(), watchdog(environment, std::process::id()));
                ServiceManager { present: Some((notify, told)) }
            }
            Err(error) => {
                log::warn!(error = super::os_text(&error).as_str(); "NOTIFY_SOCKET cannot be used");
                ServiceManager::default()
            }
        }
    }

    /// Tells what is new, and how soon to look again; nothing when nobody has to be told.
    pub fn look(
        &mut self,
        readiness: &Readiness,
        heartbeats: &Heartbeats,
        redactor: &Redactor,
    ) -> Option<Duration> {
        let (is_ready, text) = readiness.verdict();
        let status = one_line(&redactor.clean(&text));
        let sent = self.tell(heartbeats, |told, now| told.news(now, readiness.plane_reached(), status))?;
        let (_, told) = self.present.as_ref()?;
        Some(told.pause(Instant::now(), is_ready, sent))
    }

    /// Sends what is new, and a sign of life when one is due. False when it was not taken.
    fn tell(
        &mut self,
        heartbeats: &Heartbeats,
        news: impl FnOnce(&mut Told, Instant) -> String,
    ) -> Option<bool> {
        let (notify, told) = self.present.as_mut()?;
        let (now, mut next) = (Instant::now(), told.clone());
        let mut lines = news(&mut next, now);
        lines.push_str(next.sign_of_life(now, heartbeats.overdue(now)));
        let sent = lines.is_empty() || notify.send(&lines);
        // Kept also when it was not sent, or each look would log it.
        told.stuck = next.stuck;
        if sent {
            *told = next;
        }
        Some(sent)
    }

    /// Says that other settings are being read, or that they were. Who has not heard of the end of the start hears
    /// nothing of this either.
    pub(crate) fn reloading(&mut self, is_over: bool) {
        let Some((notify, _)) = self.present.as_mut().filter(|(_, told)| told.started) else { return };
        let since = clock_gettime(ClockId::CLOCK_MONOTONIC).map(Duration::from).unwrap_or_default();
        let begins = format!("RELOADING=1\nMONOTONIC_USEC={}\n", since.as_micros());
        notify.send(if is_over { "READY=1\n" } else { &begins });
    }

    /// Says that the end has begun, and what is awaited.
    pub fn stopping(&mut self, awaited: &str) {
        if let Some((notify, _)) = &mut self.present {
            notify.send(&format!("STOPPING=1\nSTATUS={}\n", one_line(awaited)));
        }
    }

    /// Gives a sign of life when one is due: all there is to tell during the end.
    pub fn feed(&mut self, heartbeats: &Heartbeats) {
        self.tell(heartbeats, |_, _| String::new());
    }
}

impl Told {
    fn new(began: Instant, beat: Option<Duration>) -> Told {
        Told { began, started: false, status: String::new(), beat, beaten: None, stuck: None }
    }

    /// Lines about what has changed. The start is over once the plane was reached, or has been waited for long enough.
    fn news(&mut self, now: Instant, reached: bool, status: String) -> String {
        let mut lines = String::new();
        if !self.started && (reached || now.duration_since(self.began) >= START_WAIT) {
            self.started = true;
            lines.push_str("READY=1\n");
        }
        if status != self.status {
            lines.push_str(&format!("STATUS={status}\n"));
            self.status = status;
        }
        lines
    }

    /// The sign of life, when it is due and nobody is overdue.
    fn sign_of_life(&mut self, now: Instant, overdue: Option<&'static str>) -> &'static str {
        let Some(beat) = self.beat else { return "" };
        match (overdue, self.stuck) {
            (Some(thread), None) => {
                log::error!(thread = thread; "a thread is stuck; the service manager's watchdog is not fed");
            }
            (None, Some(thread)) => {
                log::warn!(thread = thread; "a thread that was stuck goes on; the watchdog is fed");
            }
            _ => {}
        }
        self.stuck = overdue;
        let due = self.beaten.is_none_or(|at| now.duration_since(at) >= beat);
        if overdue.is_some() || !due {
            return "";
        }
        self.beaten = Some(now);
        "WATCHDOG=1\n"
    }

    /// Time until something may have to be told. Lines that were not taken or not given are tried again soon.
    fn pause(&self, now: Instant, is_ready: bool, sent: bool) -> Duration {
        let look = match (self.started, is_ready) {
            (false, _) if sent => LOOK_STARTING,
            (true, true) if sent => LOOK_READY,
            _ => LOOK_UNREADY,
        };
        let Some(beat) = self.beat else { return look };
        let left = self.beaten.map(|at| beat.saturating_sub(now.duration_since(at))).unwrap_or_default();
        let soon = if sent { LOOK_STARTING } else { LOOK_UNREADY };
        look.min(left.max(soon.min(beat)))
    }
}

/// Half the time within which the service manager wants signs of life of the process with this id: a sign may
/// then come late by as much.
fn watchdog(environment: &Environment, own_id: u32) -> Option<Duration> {
    let of_another = |id: &str| id.parse() != Ok(own_id);
    if environment.filled("WATCHDOG_PID").is_some_and(of_another) {
        return None;
    }
    let micros: u64 = environment.filled("WATCHDOG_USEC")?.parse().ok()?;
    (micros > 0).then(|| (Duration::from_micros(micros) / 2).max(BEAT_MIN))
}

/// A text as the value of one line: who could end the line could say anything in our name.
fn one_line(text: &str) -> String {
    text::bounded(text, text::MAX_FOREIGN_BYTES)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Secret;
    use crate::ops::files::tests::Scratch;
    use crate::ops::readiness::Fault;

    const SECOND: Duration = Duration::from_secs(1);
    const UNREACHED: &str = "control plane not reached yet";

    fn told(beat: Option<Duration>) -> (Told, Instant) {
        let began = Instant::now();
        (Told::new(began, beat), began)
    }

    #[test]
    fn the_start_is_over_when_the_plane_was_reached() {
        let (mut told, began) = told(None);
        assert_eq!(told.news(began, false, UNREACHED.into()), format!("STATUS={UNREACHED}\n"));
        assert_eq!(told.pause(began, false, true), LOOK_STARTING);
        assert_eq!(told.news(began + SECOND, false, UNREACHED.into()), "");
        assert_eq!(told.news(began + 2 * SECOND, true, "ready".into()), "READY=1\nSTATUS=ready\n");
        assert_eq!(told.pause(began, true, true), LOOK_READY);
        assert_eq!(told.news(began + 3 * SECOND, true, "ready".into()), "");
        let gone = "control plane not reached: refused";
        assert_eq!(told.news(began + 9 * SECOND, false, gone.into()), format!("STATUS={gone}\n"));
        assert_eq!(told.pause(began, false, true), LOOK_UNREADY);
        assert_eq!(told.news(began + 99 * SECOND, true, "ready".into()), "STATUS=ready\n");
    }

    #[test]
    fn the_start_is_over_after_a_bounded_wait_and_says_why() {
        let (mut told, began) = told(None);
        told.news(began, false, UNREACHED.into());
        let nearly = began + START_WAIT - SECOND;
        assert_eq!(told.news(nearly, false, "control plane not reached: dns".into()).lines().count(), 1);
        let lines = told.news(began + START_WAIT, false, "control plane not reached: tls".into());
        assert_eq!(lines, "READY=1\nSTATUS=control plane not reached: tls\n");
        assert_eq!(told.news(began + 2 * START_WAIT, true, "ready".into()), "STATUS=ready\n");
    }

    #[test]
    fn signs_of_life_come_at_half_the_interval_and_only_while_nobody_is_stuck() {
        let (mut told, began) = told(Some(30 * SECOND));
        told.started = true;
        let mut at = |seconds: u32, stuck| {
            let now = began + seconds * SECOND;
            let line = told.sign_of_life(now, stuck);
            (line, told.pause(now, true, true))
        };
        assert_eq!(at(0, None), ("WATCHDOG=1\n", LOOK_READY));
        assert_eq!(at(20, None), ("", LOOK_READY));
        assert_eq!(at(25, None), ("", 5 * SECOND));
        assert_eq!(at(30, None), ("WATCHDOG=1\n", LOOK_READY));
        assert_eq!(at(59, Some("poller")), ("", SECOND));
        // Not given, so the next look is soon: it may have been a hiccup.
        assert_eq!(at(60, Some("poller")), ("", LOOK_STARTING));
        assert_eq!(at(80, Some("poller")), ("", LOOK_STARTING));
        assert_eq!(at(81, None), ("WATCHDOG=1\n", LOOK_READY));
        assert_eq!(told.pause(began + 200 * SECOND, true, false), LOOK_UNREADY, "nobody listens");
    }

    #[test]
    fn without_a_watchdog_there_are_no_signs_of_life() {
        let (mut told, began) = told(None);
        assert_eq!(told.sign_of_life(began + 99 * SECOND, None), "");
    }

    #[test]
    fn the_watchdog_is_asked_for_in_the_environment_of_this_process_alone() {
        let asked = |usec: &str, id: &str| {
            watchdog(&Environment::of([("WATCHDOG_USEC", usec), ("WATCHDOG_PID", id)]), 7)
        };
        assert_eq!(asked("60000000", "7"), Some(30 * SECOND));
        assert_eq!(asked("60000000", ""), Some(30 * SECOND));
        assert_eq!(asked("1", "7"), Some(BEAT_MIN));
        assert!(asked(&u64::MAX.to_string(), "7").is_some());
        for (usec, id) in
            [("60000000", "8"), ("60000000", "x"), ("0", "7"), ("", "7"), ("-1", "7"), ("1m", "7")]
        {
            assert_eq!(asked(usec, id), None, "{usec} {id}");
        }
    }

    #[test]
    fn nobody_can_say_anything_in_our_name() {
        assert_eq!(one_line("x\nREADY=1\r\nMAINPID=1\0"), "x\\nREADY=1\\r\\nMAINPID=1\\u{0}");
        assert!(one_line(&"x".repeat(10_000)).len() <= 1024);
    }

    #[test]
    fn a_status_holds_no_secret_and_ends_no_line() {
        let scratch = Scratch::new("manager");
        let path = scratch.0.join("socket");
        let bound = std::os::unix::net::UnixDatagram::bind(&path).unwrap();
        let mut manager = ServiceManager::of(&Environment::of([("NOTIFY_SOCKET", path.to_str().unwrap())]));
        let redactor = Redactor::new(vec![Secret::new("key-of-this-run".into())]);
        let readiness = Readiness::new(SECOND, &[]);
        let why = "refused key-of-this-run\nREADY=1\r\nMAINPID=1";
        readiness.poll_failed(Fault { why, category: "network_error", status: None }, false, SECOND);
        assert_eq!(manager.look(&readiness, &Heartbeats::default(), &redactor), Some(LOOK_STARTING));
        let mut bytes = [0; 500];
        let count = bound.recv(&mut bytes).unwrap();
        let expected = "STATUS=control plane not reached: refused [REDACTED]\\nREADY=1\\r\\nMAINPID=1\n";
        assert_eq!(std::str::from_utf8(&bytes[..count]), Ok(expected));
    }

    #[test]
    fn what_was_not_taken_is_told_again() {
        let scratch = Scratch::new("manager-late");
        let path = scratch.0.join("socket");
        let mut manager = ServiceManager::of(&Environment::of([("NOTIFY_SOCKET", path.to_str().unwrap())]));
        let (readiness, redactor) = (Readiness::new(SECOND, &[]), Redactor::new(Vec::new()));
        readiness.poll_succeeded();
        assert_eq!(manager.look(&readiness, &Heartbeats::default(), &redactor), Some(LOOK_UNREADY));
        let bound = std::os::unix::net::UnixDatagram::bind(&path).unwrap();
        assert_eq!(manager.look(&readiness, &Heartbeats::default(), &redactor), Some(LOOK_READY));
        let mut bytes = [0; 500];
        let count = bound.recv(&mut bytes).unwrap();
        assert_eq!(std::str::from_utf8(&bytes[..count]), Ok("READY=1\nSTATUS=ready\n"));
    }

    #[test]
    fn without_a_service_manager_main_sleeps() {
        let (readiness, redactor) = (Readiness::new(SECOND, &[]), Redactor::new(Vec::new()));
        for place in ["", "relative", "vsock:2:1"] {
            let environment = Environment::of([("NOTIFY_SOCKET", place), ("WATCHDOG_USEC", "1000000")]);
            let mut manager = ServiceManager::of(&environment);
            assert_eq!(manager.look(&readiness, &Heartbeats::default(), &redactor), None);
            manager.stopping("nothing");
            manager.feed(&Heartbeats::default());
        }
    }
}
