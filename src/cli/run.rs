//! `tunnel-client run`: from settings to a tunnel, until a signal ends it.
//!
//! Everything that can fail fails before the first poll, and a start that fails leaves no file behind.
//! Exit code 0 means that every answer was posted, or its caller was told; 1 that the process was made to
//! stop at once.

use std::process::ExitCode;

use crate::config::{Environment, Flags, Settings};

use super::Failure;
use super::service::{Process, Service};

/// Settings first, as a whole: a mistake in any of them ends the process before anything is opened.
pub(super) fn command(flags: &Flags) -> Result<ExitCode, Failure> {
    let environment = Environment::of_process()?;
    #[cfg_attr(not(feature = "dev"), allow(unused_mut))]
    let mut settings = Settings::load(flags, &environment)?;
    let process = Process::begin()?;
    #[cfg(feature = "dev")]
    let _stub = super::dev::embed(&mut settings)?;
    let service = Service::start(&settings, &process, true)?;
    // Nothing of the tunnel can end the process: it recovers, or says so on `/readyz`.
    process.wait(None);
    let clean = service.stop(settings.process.drain_timeout, &process);
    Ok(if clean { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
