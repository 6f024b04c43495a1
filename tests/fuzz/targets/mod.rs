//! Fuzz targets: what reads bytes of others, each beside an independent reading of the same bytes.
//!
//! Compiled into tests and into the program of `tests/fuzz` alone. A target panics where the two readings differ. Its
//! oracle is naive on purpose: a short text that follows the standard and shares no code with what it judges.

#![allow(missing_docs, clippy::as_conversions, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]
#![allow(clippy::string_slice, clippy::unwrap_used)]

pub mod bytes;
mod json;
mod listener_head;
mod message;
pub mod names;
mod poll;
mod sse;
pub mod strict_json;
mod text;
mod trace;
mod urls;

use crate::{audit, config, mcp, net, pins, plane, policy};
#[cfg(feature = "harpoon")]
use crate::{harpoon, oauth};

/// One target.
#[derive(Debug)]
pub struct Target {
    pub name: &'static str,
    pub run: fn(&[u8]),
}

/// All targets, each named as the folder of its corpus.
pub const TARGETS: &[Target] = &[
    Target { name: "audit", run: audit::fuzz::run },
    Target { name: "certificate", run: net::fuzz::certificate::run },
    #[cfg(feature = "harpoon")]
    Target { name: "challenge", run: oauth::fuzz::challenge },
    Target { name: "config", run: config::fuzz::profiles },
    Target { name: "connect", run: net::fuzz::connect_reply::run },
    Target { name: "json", run: json::run },
    Target { name: "listener", run: listener_head::run },
    Target { name: "lists", run: policy::fuzz::lists },
    Target { name: "message", run: message::run },
    Target { name: "names", run: names::run },
    Target { name: "no-proxy", run: net::fuzz::no_proxy::run },
    #[cfg(feature = "harpoon")]
    Target { name: "oauth", run: oauth::fuzz::documents },
    Target { name: "oversized", run: plane::oversized::fuzz::run },
    Target { name: "pins", run: pins::fuzz::run },
    Target { name: "policy", run: policy::fuzz::rules },
    Target { name: "poll", run: poll::run },
    Target { name: "routing", run: plane::fuzz::routing::run },
    Target { name: "sse", run: sse::run },
    Target { name: "stdio", run: mcp::stdio::fuzz::framing },
    Target { name: "stdio-ids", run: mcp::stdio::fuzz::rewriting },
    #[cfg(feature = "harpoon")]
    Target { name: "strings", run: harpoon::fuzz::strings_of_answers },
    #[cfg(feature = "harpoon")]
    Target { name: "template", run: harpoon::fuzz::template },
    Target { name: "text", run: text::run },
    Target { name: "times", run: plane::fuzz::times::run },
    Target { name: "trace", run: trace::run },
    Target { name: "url", run: urls::run },
    Target { name: "yaml", run: config::fuzz::documents },
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::PathBuf;

    use super::TARGETS;

    fn corpora() -> PathBuf {
        PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/corpus")
    }

    /// Names of what a folder holds.
    fn names(folder: &PathBuf) -> BTreeSet<String> {
        let entries =
            std::fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }

    #[test]
    fn every_input_of_the_corpora_is_read_as_its_oracle_reads_it() {
        let mut failed = Vec::new();
        for target in TARGETS {
            let folder = corpora().join(target.name);
            for name in names(&folder) {
                let data = std::fs::read(folder.join(&name)).unwrap();
                if std::panic::catch_unwind(|| (target.run)(&data)).is_err() {
                    failed.push(format!("{}/{name}", target.name));
                }
            }
        }
        assert!(failed.is_empty(), "inputs below tests/fuzz/corpus: {}", failed.join(", "));
    }

    #[test]
    fn every_target_of_this_build_has_a_corpus_that_is_not_empty() {
        let folders = names(&corpora());
        for target in TARGETS {
            assert!(folders.contains(target.name), "no corpus of {}", target.name);
            assert!(!names(&corpora().join(target.name)).is_empty(), "{}", target.name);
        }
        if cfg!(feature = "dev") {
            assert_eq!(folders.len(), TARGETS.len(), "a corpus without a target: {folders:?}");
        }
    }
}
