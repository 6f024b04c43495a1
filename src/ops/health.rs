//! `/health`: the parts of the program as JSON, within bounds.
//!
//! Each part writes its own [`Component`] out of what it remembers anyway; asking contacts nobody. Members stand in
//! the order in which they are added. It cannot fail, but for a snapshot that no cut makes small enough.

use std::fmt::Write;
use std::time::{Duration, Instant, SystemTime};

use serde_json::{Number, Value};

use super::timestamp;
use crate::text::words;

/// Most components; readers reserve as much.
const COMPONENTS_MAX: usize = 16;

/// Longest text of one component: above this its details are left out.
const COMPONENT_BYTES_MAX: usize = 24 * 1024 - 512;

/// Longest text of all of them.
const WHOLE_BYTES_MAX: usize = 64 * 1024;

/// One moment on both clocks: what is remembered is a time of the one, what is shown one of the other.
#[derive(Clone, Copy)]
pub struct Clock {
    /// The one that never goes back.
    pub now: Instant,
    wall: SystemTime,
}

/// JSON object that is being written. Names of members are ours, with nothing to escape.
#[derive(Clone, Default)]
pub struct Object(String);

words! {
    /// How a part is.
    Status {
        /// It works.
        Ok = "ok",
        /// It fails now.
        Degraded = "degraded",
        /// Nothing has shown yet.
        Unknown = "unknown",
        /// It is not in use.
        Disabled = "disabled",
    }
}

/// How often something happened, and when it last did.
#[derive(Debug, Default, Clone, Copy)]
pub struct Tally {
    /// How often.
    pub count: u64,
    /// When.
    pub last: Option<Instant>,
}

impl Tally {
    /// It happened now.
    pub fn add(&mut self, now: Instant) {
        *self = Tally { count: self.count + 1, last: Some(now) };
    }
}

/// Part of the program.
#[derive(Clone)]
pub struct Component {
    /// Its name, of at most 64 lower-case letters and hyphens.
    pub name: &'static str,
    /// How it is.
    pub status: Status,
    /// What it does, in one word.
    pub state: &'static str,
    /// Why it is so, in one word.
    pub reason: Option<&'static str>,
    /// Since when what it says of others has been known.
    pub observed: Option<String>,
    /// Whether something is left out.
    pub limited: bool,
    /// More of it.
    pub details: Object,
}

/// What is said of the process as a whole.
pub struct Snapshot {
    /// When it was taken.
    pub clock: Clock,
    /// The verdict of `/readyz`.
    pub ready: bool,
    /// The process.
    pub runtime: Object,
    /// Its parts.
    pub components: Vec<Component>,
}

/// Takes a snapshot.
pub type SnapshotMaker = Box<dyn Fn() -> Snapshot + Send>;

impl Clock {
    /// This moment.
    pub fn read() -> Clock {
        Clock { now: Instant::now(), wall: SystemTime::now() }
    }

    /// The moment as readers have it.
    pub fn shown(self) -> String {
        timestamp::rfc3339_ms(self.wall)
    }

    /// A moment that has passed or is to come, as readers have it.
    pub fn time(self, at: Option<Instant>) -> Option<String> {
        let (left, ago) = (at?.saturating_duration_since(self.now), self.now.saturating_duration_since(at?));
        Some(timestamp::rfc3339_ms(self.wall + left - ago))
    }

    /// How long ago it was; no time at all where it was not.
    pub fn age(self, since: Option<Instant>) -> Option<Number> {
        seconds(since.map(|since| self.now.saturating_duration_since(since)).unwrap_or_default())
    }
}

/// A duration in seconds with its milliseconds.
pub fn seconds(time: Duration) -> Option<Number> {
    format!("{}.{:03}", time.as_secs(), time.subsec_millis())
        .trim_end_matches('0')
        .trim_end_matches('.')
        .parse()
        .ok()
}

impl Object {
    /// Adds a member, unless it is nothing.
    #[must_use]
    pub fn with(self, name: &str, value: impl Into<Value>) -> Object {
        match value.into() {
            Value::Null => self,
            value => self.raw(name, &value.to_string()),
        }
    }

    /// Adds an object.
    #[must_use]
    pub fn object(self, name: &str, object: &Object) -> Object {
        self.raw(name, &object.text())
    }

    /// Adds a list of objects.
    #[must_use]
    pub fn objects(self, name: &str, objects: &[Object]) -> Object {
        let texts: Vec<String> = objects.iter().map(Object::text).collect();
        self.raw(name, &format!("[{}]", texts.join(",")))
    }

    fn raw(mut self, name: &str, json: &str) -> Object {
        let comma = if self.0.is_empty() { "" } else { "," };
        // Writing to a text cannot fail.
        let _ = write!(self.0, "{comma}\"{name}\":{json}");
        self
    }

    fn text(&self) -> String {
        format!("{{{}}}", self.0)
    }
}

impl Component {
    /// A part in a state, with nothing more to say.
    pub fn new(name: &'static str, status: Status, state: &'static str) -> Component {
        let (reason, observed, limited, details) = Default::default();
        Component { name, status, state, reason, observed, limited, details }
    }

    /// Adds its members behind others.
    fn after(&self, head: Object) -> Object {
        let all = |limited| {
            let head = head.clone().with("status", self.status.word()).with("state", self.state);
            let head = head.with("reason_code", self.reason).with("limited", limited);
            head.with("observed_at", self.observed.clone())
        };
        let whole = match self.details.0.is_empty() {
            true => all(self.limited),
            false => all(self.limited).object("details", &self.details),
        };
        if whole.0.len() > COMPONENT_BYTES_MAX { all(true) } else { whole }
    }
}

impl Snapshot {
    /// One component, with its details.
    pub fn component(&self, name: &str) -> Option<String> {
        let component = self.components.iter().find(|one| one.name == name)?;
        let head = Object::default().with("schema_version", 1).with("snapshot_at", self.clock.shown());
        Some(component.after(head.with("component", name)).text())
    }

    /// All of them, or what is said of the process alone; nothing when that is too long.
    pub fn whole(&mut self, detailed: bool) -> Option<String> {
        self.components.sort_by_key(|one| one.name);
        self.components.truncate(COMPONENTS_MAX);
        let mut text = self.text(detailed, false);
        let mut cut = 0;
        while text.len() > WHOLE_BYTES_MAX {
            let component = self.components.get_mut(cut)?;
            (component.details, component.limited) = (Object::default(), true);
            cut += 1;
            text = self.text(detailed, true);
        }
        Some(text)
    }

    fn text(&self, detailed: bool, truncated: bool) -> String {
        let head = Object::default().with("schema_version", 1).with("live", true).with("ready", self.ready);
        let head = head.with("snapshot_at", self.clock.shown()).object("runtime", &self.runtime);
        if !detailed {
            return head.text();
        }
        let add = |all: Object, one: &Component| all.object(one.name, &one.after(Object::default()));
        let components = self.components.iter().fold(Object::default(), add);
        head.object("components", &components).with("truncated", truncated.then_some(true)).text()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn snapshot(details: &[usize]) -> Snapshot {
        let names = ["e", "d", "c", "b", "a"];
        let components = details.iter().zip(names).map(|(bytes, name)| Component {
            details: Object::default().with("x", "x".repeat(*bytes)),
            ..Component::new(name, Status::Ok, "well")
        });
        Snapshot {
            clock: Clock::read(),
            ready: true,
            runtime: Object::default().with("lifecycle", "running"),
            components: components.collect(),
        }
    }

    fn json(text: Option<String>) -> Value {
        serde_json::from_str(&text.unwrap()).unwrap()
    }

    /// NEW-074, NEW-075: members in their order, absent ones left out.
    #[test]
    fn members_stand_in_their_order() {
        let mut all = snapshot(&[1, 0]);
        let at = all.clock.shown();
        let head = format!(
            r#"{{"schema_version":1,"live":true,"ready":true,"snapshot_at":"{at}","runtime":{{"lifecycle":"running"}}"#
        );
        assert_eq!(all.whole(false).unwrap(), format!("{head}}}"));
        let d = r#""d":{"status":"ok","state":"well","limited":false,"details":{"x":""}}"#;
        let e = r#""e":{"status":"ok","state":"well","limited":false,"details":{"x":"x"}}"#;
        assert_eq!(all.whole(true).unwrap(), format!(r#"{head},"components":{{{d},{e}}}}}"#));
        let head = format!(r#"{{"schema_version":1,"snapshot_at":"{at}","component":"d","status":"ok""#);
        assert!(all.component("d").unwrap().starts_with(&head));
        assert_eq!(all.component("x"), None);
    }

    /// NEW-076: what is too long loses its details, and says so.
    #[test]
    fn what_is_too_long_loses_its_details() {
        let mut all = snapshot(&[COMPONENT_BYTES_MAX, 100]);
        let whole = json(all.whole(true));
        assert_eq!(whole["components"]["e"]["limited"], true);
        assert_eq!(whole["components"]["e"].get("details"), None);
        assert_eq!(whole["components"]["d"]["limited"], false);
        assert_eq!(whole.get("truncated"), None);
        assert_eq!(json(all.component("e")).get("details"), None);

        let mut all = snapshot(&[20_000; 5]);
        let whole = json(all.whole(true));
        assert_eq!(whole["truncated"], true);
        for (name, kept) in [("a", false), ("b", false), ("c", true), ("d", true), ("e", true)] {
            assert_eq!(whole["components"][name].get("details").is_some(), kept, "{name}");
            assert_eq!(whole["components"][name]["limited"], !kept);
        }
        all.runtime = Object::default().with("x", "x".repeat(WHOLE_BYTES_MAX));
        assert_eq!(all.whole(true), None);
    }

    #[test]
    fn durations_are_numbers_without_needless_digits() {
        for (time, shown) in [(0, "0"), (6000, "6"), (6120, "6.12"), (10_001, "10.001"), (100_000, "100")] {
            assert_eq!(seconds(Duration::from_millis(time)).unwrap().to_string(), shown);
        }
        let clock = Clock::read();
        assert_eq!(clock.age(None).unwrap().to_string(), "0");
        assert_eq!(clock.time(None), None);
    }
}
