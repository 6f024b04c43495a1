//! What the process denies itself at start.
//!
//! The file-mode mask is left alone: every file made here states its own mode, and a child server
//! would inherit a narrower mask and write files that its own users cannot read.

use std::io;

use super::failure;

/// Keeps API keys out of core dumps, and other processes of the same user from attaching to this
/// one or reading its memory.
pub fn apply() -> io::Result<()> {
    nix::sys::prctl::set_dumpable(false).map_err(|cause| failure("set process not dumpable", cause))
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_process_is_not_dumpable_afterwards() {
        super::apply().unwrap();
        assert!(!nix::sys::prctl::get_dumpable().unwrap());
    }
}
