//! Since when each part is as it is, for the operator's page.
//!
//! That is what somebody has seen who looked: the main thread looks every few seconds, and whoever makes the page. It
//! cannot fail.

use std::collections::BTreeMap;
use std::sync::{Mutex, OnceLock};
use std::time::SystemTime;

use crate::sync;

/// How a part is.
pub(crate) struct Look {
    /// What it means: `ok`, `wait` when nothing is known for sure, or `bad` when somebody has to act.
    pub(crate) tone: &'static str,
    /// The state in a word or three.
    pub(crate) word: &'static str,
    /// Why, where there is more to say.
    pub(crate) why: String,
    /// Since when it is so, as far as somebody looked.
    pub(crate) since: SystemTime,
}

/// The tunnel's own name, and the states that were seen last.
#[derive(Default)]
pub(super) struct Seen {
    pub(super) name: OnceLock<String>,
    states: Mutex<BTreeMap<String, (&'static str, SystemTime)>>,
}

impl Seen {
    /// No channel has a blank or nothing for a name, so that there are as many parts as were configured, and two.
    pub(super) fn at(&self, part: &str, tone: &'static str, word: &'static str, why: String) -> Look {
        let mut states = sync::lock(&self.states);
        let known = states.get(part).filter(|(known, _)| *known == word);
        let since = known.map_or_else(SystemTime::now, |(_, since)| *since);
        states.insert(part.to_owned(), (word, since));
        Look { tone, word, why, since }
    }
}
