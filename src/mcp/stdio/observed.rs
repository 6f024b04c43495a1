//! What a server over stdio has shown of itself, for `/health`: the answers of its present child to what callers
//! asked anyway.
//!
//! Nothing is asked for it. Kept are names, versions and capabilities within bounds; never a schema, a description, an
//! argument or a result. What cannot be read, or is too large, is not looked at.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::ops::health::{Clock, Object};
use crate::relay::message::Message;

/// Longest answer that is looked at, and longest question.
const ANSWER_BYTES_MAX: usize = 1024 * 1024;
const QUESTION_BYTES_MAX: usize = 8 * 1024;

/// Longest cursor, and most pages of one list.
const CURSOR_BYTES_MAX: usize = 4 * 1024;
const PAGES_MAX: u32 = 32;

/// Most names of tools, the longest, and all of them with their quotes and commas.
const NAMES_MAX: usize = 256;
const NAME_BYTES_MAX: usize = 128;
const NAMES_BYTES_MAX: usize = 16 * 1024;

/// Longest name or version of a server, and most revisions that it names.
const IDENTITY_BYTES_MAX: usize = 256;
const VERSIONS_MAX: usize = 32;

/// Capabilities with a published name.
const CAPABILITIES: [&str; 6] = ["completions", "logging", "prompts", "resources", "tasks", "tools"];

/// What an answer is evidence of: a child, an opening of its session, and a state of its list of tools.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Stamp {
    pub(super) child: u64,
    pub(super) opened: u64,
    pub(super) changed: u64,
}

/// What callers' questions have shown of the present child.
#[derive(Clone, Default)]
pub(super) struct Observed {
    discovered: Option<Discovered>,
    discoveries: u64,
    tools: Option<Tools>,
}

#[derive(Clone)]
struct Discovered {
    stamp: Stamp,
    at: Instant,
    versions: Vec<String>,
    capabilities: Vec<&'static str>,
    limited: bool,
}

#[derive(Clone)]
struct Tools {
    stamp: Stamp,
    at: Instant,
    names: BTreeSet<String>,
    names_bytes: usize,
    /// The cursor of the page that follows.
    next: Option<String>,
    pages: u32,
    limited: bool,
}

/// What the answer to a caller's question shows.
pub(super) enum Finding {
    /// What a server says of itself.
    Itself(Shown),
    /// The page of this cursor.
    Page(Option<String>, Shown),
}

/// The members of results that are looked at.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Shown {
    protocol_version: Option<String>,
    supported_versions: Vec<String>,
    capabilities: BTreeMap<String, IgnoredAny>,
    server_info: Named,
    tools: Vec<Named>,
    next_cursor: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Named {
    name: Option<String>,
    version: Option<String>,
}

/// What is looked at of a message: the cursor of a question, or the result of an answer.
#[derive(Deserialize)]
struct Envelope {
    params: Option<Cursor>,
    result: Option<Shown>,
}

#[derive(Deserialize)]
struct Cursor {
    cursor: Option<String>,
}

fn read(message: &Message, bytes_max: usize) -> Option<Envelope> {
    serde_json::from_str(Some(message.text()).filter(|text| text.len() <= bytes_max)?).ok()
}

/// What an answer to this question shows. Large ones take a while, so no lock should be held.
pub(super) fn finding(question: &Message, answer: &Message) -> Option<Finding> {
    let result = || read(answer, ANSWER_BYTES_MAX)?.result;
    match question.method()? {
        "server/discover" => result().map(Finding::Itself),
        "tools/list" => {
            let asked = read(question, QUESTION_BYTES_MAX)?;
            Some(Finding::Page(asked.params.and_then(|params| params.cursor), result()?))
        }
        _ => None,
    }
}

impl Observed {
    /// Takes what an answer of this child has shown.
    pub(super) fn take(&mut self, finding: Finding, stamp: Stamp) {
        let at = Instant::now();
        match finding {
            Finding::Itself(shown) => {
                let is_date = |version: &String| version.len() == 10 && version.is_ascii();
                let (capabilities, count) = (shown.capabilities(), shown.supported_versions.len());
                let versions = shown.supported_versions.into_iter().filter(is_date).take(VERSIONS_MAX);
                let versions: Vec<String> = versions.collect();
                let limited = versions.len() < count;
                let discovered = Some(Discovered { stamp, at, versions, capabilities, limited });
                // Whoever asks anew begins anew, also with the tools.
                *self = Observed { discovered, discoveries: self.discoveries + 1, tools: None };
            }
            Finding::Page(cursor, page) => {
                if cursor.is_none() {
                    let (names, next) = (BTreeSet::new(), None);
                    self.tools =
                        Some(Tools { stamp, at, names, names_bytes: 0, next, pages: 0, limited: false });
                }
                // The page of another list, or of one that has changed, tells nothing.
                let goes_on = |tools: &&mut Tools| tools.stamp == stamp && tools.next == cursor;
                if let Some(tools) = self.tools.as_mut().filter(goes_on) {
                    tools.add(page, at);
                }
            }
        }
    }

    /// The evidence of the child of this stamp as `/health` shows it, behind what else is known of that; a word for all
    /// of it, and of when it is.
    pub(super) fn show(
        &self,
        clock: Clock,
        head: Object,
        now: Stamp,
        opening: Option<(&Message, Instant)>,
    ) -> (Object, &'static str, Option<Instant>) {
        let opened = opening.and_then(|(answer, at)| Some((read(answer, ANSWER_BYTES_MAX)?.result?, at)));
        let discovered = self.discovered.as_ref().filter(|one| one.stamp.child == now.child);
        let of_now = |tools: &&Tools| (tools.stamp.child, tools.stamp.opened) == (now.child, now.opened);
        let tools = self.tools.as_ref().filter(of_now);
        let is_complete =
            tools.is_some_and(|tools| tools.next.is_none() && !tools.limited && tools.stamp == now);
        let word = match (opened.is_some(), discovered.is_some()) {
            (false, false) => "not_observed",
            _ if is_complete => "discovered",
            (true, _) => "initialized",
            (false, true) => "server_discovered",
        };
        let mut all = head.with("initialize_epoch", now.opened);
        all = all.with("server_discover_epoch", discovered.map(|_| self.discoveries));
        all = all.with("evidence", "same_child");
        all = all.object("initialize", &initialize(clock, opened.as_ref()));
        if let Some(one) = discovered {
            let shown = Object::default()
                .with("ok", true)
                .with("limited", one.limited)
                .with("observed_at", clock.time(Some(one.at)))
                .with("supported_versions", one.versions.clone())
                .with("capability_names", one.capabilities.clone());
            all = all.object("server_discover", &shown);
        }
        let names: Vec<&str> =
            tools.iter().flat_map(|tools| tools.names.iter().map(String::as_str)).collect();
        let list = Object::default()
            .with("ok", tools.is_some())
            .with("observed_at", clock.time(tools.map(|tools| tools.at)))
            .with("tool_names", names.clone())
            .with("retained_count", names.len())
            .with("complete", is_complete)
            .with("partial", tools.is_some() && !is_complete)
            .with("limited", tools.is_some_and(|tools| tools.limited));
        let times = [opened.map(|(_, at)| at), discovered.map(|one| one.at), tools.map(|tools| tools.at)];
        (all.object("tools_list", &list), word, times.into_iter().max().flatten())
    }
}

/// How the session was opened, if it was.
fn initialize(clock: Clock, opened: Option<&(Shown, Instant)>) -> Object {
    let Some((shown, at)) = opened else { return Object::default().with("ok", false) };
    let short = |text: &Option<String>| text.clone().filter(|text| text.len() <= IDENTITY_BYTES_MAX);
    let Named { name, version } = &shown.server_info;
    let identity = [short(&shown.protocol_version), short(name), short(version)];
    let is_complete = identity.iter().all(Option::is_some);
    let [protocol, name, version] = identity;
    Object::default()
        .with("ok", true)
        .with("identity_complete", is_complete)
        .with("limited", !is_complete)
        .with("observed_at", clock.time(Some(*at)))
        .with("protocol_version", protocol)
        .with("server_name", name)
        .with("server_version", version)
        .with("capability_names", shown.capabilities())
}

impl Shown {
    /// The capabilities with a published name.
    fn capabilities(&self) -> Vec<&'static str> {
        CAPABILITIES.into_iter().filter(|name| self.capabilities.contains_key(*name)).collect()
    }
}

impl Tools {
    fn add(&mut self, page: Shown, at: Instant) {
        (self.at, self.pages) = (at, self.pages + 1);
        for name in page.tools.into_iter().filter_map(|tool| tool.name) {
            let bytes = self.names_bytes + name.len() + 3;
            let fits =
                name.len() <= NAME_BYTES_MAX && self.names.len() < NAMES_MAX && bytes <= NAMES_BYTES_MAX;
            if !fits {
                self.limited |= !self.names.contains(&name);
            } else if self.names.insert(name) {
                self.names_bytes = bytes;
            }
        }
        let has_next = page.next_cursor.is_some();
        let followed = |next: &String| next.len() <= CURSOR_BYTES_MAX && self.pages < PAGES_MAX;
        self.next = page.next_cursor.filter(followed);
        self.limited |= has_next && self.next.is_none();
    }
}
