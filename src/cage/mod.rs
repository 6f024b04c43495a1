//! The cage: limits that this process sets itself before its first thread, for the day on which somebody takes it over.
//!
//! Landlock holds it to the directories of the files that settings name, and to what roots and the resolver are read
//! from; seccomp to the system calls that it makes. Both bind this thread and whatever it starts, and nobody can take
//! them back. They pass on to servers over stdio, which are anybody's programs: with such a server only that stays
//! which none of them should do. What the kernel does not have is left out and said, unless it was required.

mod calls;
mod files;

use std::collections::BTreeSet;
use std::path::PathBuf;

use crate::config::trust::Reach;
use crate::config::{CageMode, Server, Settings};

use files::Places;

/// What holds this process: of each half what it is, or why nothing does.
pub(crate) struct Cage {
    files: Result<String, String>,
    calls: Result<String, String>,
    reach: Reach,
}

impl Cage {
    /// Shuts it around this thread, and all that it starts, for the rest of their lives. Settings were read; the `named`
    /// files can be read again. Fails only where it is required and cannot be had.
    pub(crate) fn shut(settings: &Settings, named: &BTreeSet<PathBuf>) -> Result<Cage, String> {
        let mode = settings.process.cage;
        if mode == CageMode::Off {
            let off = || Err("process.cage is off".to_owned());
            return Ok(Cage { files: off(), calls: off(), reach: Reach::default() });
        }
        let is_stdio = |server: &Server| matches!(server, Server::Stdio(_));
        let has_children = settings.mcp.bindings.iter().any(|binding| is_stdio(&binding.server));
        let mut reach = Reach::default();
        let files = if has_children {
            Err("servers over stdio would be held too".to_owned())
        } else {
            let places = Places::of(settings, named);
            places.restrict().inspect(|_| reach = places.reach())
        };
        let calls = calls::restrict(has_children);
        match (mode, &files, &calls) {
            (CageMode::Require, Err(why), _) if !has_children => Err(required(why)),
            (CageMode::Require, _, Err(why)) => Err(required(why)),
            _ => Ok(Cage { files, calls, reach }),
        }
    }

    /// Where named files can be read from now on.
    pub(crate) fn reach(&self) -> Reach {
        self.reach.clone()
    }

    /// What is on, for people.
    pub(crate) fn words(&self) -> String {
        let half = |half: &Result<String, String>| match half {
            Ok(what) => what.clone(),
            Err(why) => format!("not limited ({why})"),
        };
        format!("files: {}; system calls: {}", half(&self.files), half(&self.calls))
    }
}

fn required(why: &str) -> String {
    format!("process.cage is require, and {why}")
}

#[cfg(test)]
mod tests;
