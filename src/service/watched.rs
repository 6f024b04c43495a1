//! Change of named files, by what the system says of them.
//!
//! A file that somebody is still writing changes again: so by itself a change counts when the file has stayed the same
//! for one look. Links are followed, so that a link in the place of another one is a change.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use crate::config::trust::Stamp;

/// The files, with what was said of them when they counted as read.
#[derive(Default)]
pub(super) struct Watched {
    known: BTreeMap<PathBuf, Option<Stamp>>,
    /// Those that were others at the last look.
    changing: BTreeMap<PathBuf, Option<Stamp>>,
}

impl Watched {
    /// A file counts as read as it was then, unless it did so before.
    pub(super) fn read(&mut self, path: &Path, stamp: Option<Stamp>) {
        self.known.entry(path.to_owned()).or_insert(stamp);
    }

    /// Looks at all files. Gives those that have changed and, where `settled` is wanted, stayed the same since the last
    /// look; they count as read.
    pub(super) fn look(
        &mut self,
        settled: bool,
        stamp: impl Fn(&Path) -> Option<Stamp>,
    ) -> BTreeSet<PathBuf> {
        let mut changed = BTreeSet::new();
        for (path, known) in &mut self.known {
            let now = stamp(path);
            if now == *known {
                self.changing.remove(path);
            } else if settled && self.changing.insert(path.clone(), now) != Some(now) {
                // It may be another one at the next look.
            } else {
                *known = now;
                self.changing.remove(path);
                changed.insert(path.clone());
            }
        }
        changed
    }

    /// Forgets files that nothing names.
    pub(super) fn retain(&mut self, named: &BTreeSet<PathBuf>) {
        self.known.retain(|path, _| named.contains(path));
        self.changing.retain(|path, _| named.contains(path));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Stamps of two files that a test makes.
    fn stamps() -> [Stamp; 2] {
        let folder = std::env::temp_dir().join(format!("tunnel-client-watched-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let stamps = ["a", "b"].map(|name| {
            std::fs::write(folder.join(name), name).unwrap();
            Stamp::at(&folder.join(name)).unwrap()
        });
        std::fs::remove_dir_all(&folder).unwrap();
        stamps
    }

    #[test]
    fn a_change_counts_once_it_has_stayed_for_a_look() {
        let [one, other] = stamps();
        let path = Path::new("f");
        let mut watched = Watched::default();
        watched.read(path, Some(one));
        let mut steps = Vec::new();
        for now in [
            Some(one),
            Some(other),
            None,
            Some(other),
            Some(other),
            Some(other),
            Some(one),
            Some(other),
            None,
            None,
        ] {
            steps.push(watched.look(true, |_| now).len());
        }
        // Gone for a look, back, and gone for good.
        assert_eq!(steps, [0, 0, 0, 0, 1, 0, 0, 0, 0, 1]);
        assert_eq!(watched.look(false, |_| Some(one)).len(), 1, "at once, where somebody asks");
        assert_eq!(watched.look(true, |_| Some(one)).len(), 0);
        watched.read(path, Some(other));
        assert_eq!(watched.look(false, |_| Some(one)).len(), 0, "what is known stays known");
        watched.retain(&BTreeSet::new());
        assert_eq!(watched.look(false, |_| Some(other)).len(), 0);
    }
}
