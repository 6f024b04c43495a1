//! libFuzzer's program: feeds one target of `tunnel_client::TARGETS`, which the variable `FUZZ_TARGET` names.

#![no_main]

use std::sync::OnceLock;

use libfuzzer_sys::fuzz_target;
use tunnel_client::{TARGETS, Target};

/// What is fuzzed.
static CHOSEN: OnceLock<&'static Target> = OnceLock::new();

/// The target of the variable; without one of that name the names are listed, and nothing is run.
fn chosen() -> &'static Target {
    let name = std::env::var("FUZZ_TARGET").unwrap_or_default();
    TARGETS.iter().find(|target| target.name == name).unwrap_or_else(|| {
        TARGETS.iter().for_each(|target| println!("{}", target.name));
        std::process::exit(if name.is_empty() { 0 } else { 2 })
    })
}

fuzz_target!(
    init: {
        CHOSEN.get_or_init(chosen);
    },
    |data: &[u8]| {
        (CHOSEN.get_or_init(chosen).run)(data);
    }
);
