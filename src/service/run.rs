//! `tunnel-client run`: from settings to a tunnel, until a signal ends it.
//!
//! Everything that can fail fails before the first poll, and a start that fails leaves no file behind.
//! Exit code 0 means that every caller was told; 1 that the start failed, that the process was made to stop at
//! once, or that answers were lost in the drain. A service manager that is told how this process is gets 78 in place of 1
//! for settings that cannot be used: its unit need not be started again before somebody has changed them.

use std::process::ExitCode;

#[cfg(feature = "cage")]
use crate::cage::Cage;
use crate::config::{Environment, Flags, Reading};
use crate::ops::sd_notify::{self, ServiceManager};

use super::error::Error;
use super::reload::Reload;
use super::start::{Process, Service};
use super::{Failure, complain};

/// `EX_CONFIG` of sysexits(3).
const MISCONFIGURED: u8 = 78;

/// Settings first, as a whole: a mistake in any of them ends the process before anything is opened.
pub(crate) fn command(flags: &Flags) -> Result<ExitCode, Failure> {
    let environment = match Environment::of_process() {
        Ok(environment) => environment,
        Err(error) => return refuse(error.into()),
    };
    let reading = match Reading::begin(flags, &environment) {
        Ok(reading) => reading,
        Err(error) => return refuse(error.into()),
    };
    #[cfg_attr(not(feature = "cage"), allow(unused_mut))]
    let mut reload = Reload::begin(reading)?;
    #[cfg_attr(not(feature = "dev"), allow(unused_mut))]
    let mut settings = reload.settings().clone();
    #[cfg_attr(not(feature = "cage"), allow(unused_mut))]
    let mut process = Process::begin()?;
    // After all that is read but once, and before the first thread.
    #[cfg(feature = "cage")]
    match Cage::shut(&settings, &reload.named()) {
        Ok(cage) => {
            reload.hold(cage.reach());
            process.limits = cage.words();
        }
        Err(why) => return refuse(Error::Settings(why).into()),
    }
    #[cfg(feature = "dev")]
    let stub = crate::dev::embed::embed(&mut settings).map_err(Failure)?;
    #[cfg(feature = "dev")]
    if let Some((_, text)) = &stub {
        super::print(text);
    }
    let mut service = match Service::start(&settings, &process, true) {
        Ok(service) => service,
        Err(error @ Error::Settings(_)) => return refuse(error.into()),
        Err(error) => return Err(error.into()),
    };
    log::info!(count = reload.files(); "files that are taken over when they change");
    service.manager = ServiceManager::of(&environment);
    // Nothing of the tunnel can end the process: it recovers, or says so on `/readyz`.
    service.attend(&process, reload);
    let clean = service.stop(settings.process.drain_timeout, &process);
    Ok(if clean { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Ends a start that would fail again as it is: flags and settings that cannot be used.
pub(crate) fn refuse(failure: Failure) -> Result<ExitCode, Failure> {
    // Scripts know the reference's exit code, and no script sets this variable.
    if !sd_notify::is_present() {
        return Err(failure);
    }
    complain(&failure.0);
    Ok(ExitCode::from(MISCONFIGURED))
}
