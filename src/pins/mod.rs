//! Pins: the definitions of tools that the operator has accepted, and what became of them since.
//!
//! A server may change at any time what its tools say of themselves, and that is what a model acts on. So the
//! operator accepts definitions once, by their digests in a file, and a change is seen. Lists are asked for over the
//! connections that calls take. Everything that a server sends here is bounded; nothing of a schema is kept.

use std::io;
use std::path::Path;

use crate::ops::os_text;

mod definition;
mod file;
mod lister;
mod watch;

#[cfg(feature = "operator")]
pub(crate) use file::Pins;
pub(crate) use lister::Server;
#[cfg(feature = "operator")]
pub(crate) use lister::list;
pub(crate) use watch::{Refusal, Watch};

pub(crate) use definition::Tool;
#[cfg(any(test, fuzzing))]
pub(crate) use file::fuzz;

/// What became of a tool that was accepted, or was not: nothing, or a change in words.
pub(crate) fn change(accepted: Option<&Tool>, offered: &Tool) -> Option<String> {
    match accepted {
        None => Some("new".to_owned()),
        Some(known) if known.sha256 == offered.sha256 => None,
        Some(known) => Some(format!("changed ({})", known.differences(offered))),
    }
}

/// How a list differs from what was accepted: the name of each tool, and in words what became of it. Both are sorted.
pub(crate) fn drift(accepted: &[Tool], offered: &[Tool]) -> Vec<(String, String)> {
    let changes = offered.iter().filter_map(|tool| {
        let change = change(find(accepted, &tool.name), tool)?;
        Some((tool.name.clone(), change))
    });
    let gone = accepted.iter().filter(|tool| find(offered, &tool.name).is_none());
    let mut drift: Vec<_> = changes.chain(gone.map(|tool| (tool.name.clone(), "gone".to_owned()))).collect();
    drift.sort_unstable();
    drift
}

/// Why a pin file cannot be read.
pub(crate) fn unread(file: &Path, error: &io::Error) -> String {
    let hint =
        if error.kind() == io::ErrorKind::NotFound { "; make it with tunnel-client pins accept" } else { "" };
    format!("read pin file {}: {}{hint}", file.display(), os_text(error))
}

/// The tool of this name among sorted ones.
pub(crate) fn find<'a>(tools: &'a [Tool], name: &str) -> Option<&'a Tool> {
    let at = tools.binary_search_by(|tool| tool.name.as_str().cmp(name)).ok()?;
    tools.get(at)
}
