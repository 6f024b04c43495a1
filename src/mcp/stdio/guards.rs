//! The guards that run, and the end of what they lose.
//!
//! A server can kill or stop its own guard, as both run as the same user. It does not outlive the tunnel by
//! that: this process is the reaper of everything below it, so whoever loses its guard becomes a child of it,
//! and all its children but the guards, and those that it had before, are killed. Processes are waited for by their numbers only, never
//! "any", and nobody is killed whose number could be another's by now.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::process::{Child, ExitStatus};
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

use crate::sync;

use nix::errno::Errno;
use nix::sys::prctl::set_child_subreaper;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{Id, WaitPidFlag, waitid, waitpid};
use nix::unistd::Pid;

use super::guard::children;
use super::launch::{Launch, Process};

/// How long the killed may take to be gone. Who hangs in the kernel for longer is not waited for.
pub(super) const SWEEP_MAX: Duration = Duration::from_secs(1);

/// How often they are looked at meanwhile.
const LOOK: Duration = Duration::from_millis(10);

/// What a process does, and when it began, in the kernel's own measure.
const STATE: usize = 0;
const BEGAN: usize = 19;

/// The guards of one tunnel, which starts no other processes. Shared behind an `Arc`.
#[derive(Default)]
pub struct Guards {
    running: Mutex<Running>,
}

#[derive(Debug, Default)]
struct Running {
    guards: BTreeSet<Pid>,
    /// Children from before the first guard: a start script may have begun them and then become this program.
    /// Nobody waits for them, so their numbers stay theirs.
    others: Option<BTreeSet<Pid>>,
    /// It was said that this kernel does not list children.
    said: bool,
}

impl Guards {
    /// Starts a server behind a guard.
    pub(super) fn start(&self, launch: &Launch) -> io::Result<Process> {
        let mut process = {
            // Locked, or a guard that is not listed yet would be swept.
            let mut running = sync::lock(&self.running);
            running.others.get_or_insert_with(|| children().unwrap_or_default().into_iter().collect());
            // Without it orphans go to the init process, as they would without a tunnel.
            let _ = set_child_subreaper(true);
            let process = launch.spawn()?;
            running.guards.insert(pid(&process.guard)?);
            process
        };
        if let Err(error) = launch.tell(&process.lifeline) {
            let _ = process.guard.kill();
            let _ = self.wait(&mut process.guard);
            return Err(error);
        }
        Ok(process)
    }

    /// Waits for the end of a guard, and ends what it has left behind.
    pub(super) fn wait(&self, guard: &mut Child) -> io::Result<ExitStatus> {
        let pid = pid(guard)?;
        // The status stays where it is: with it the number would be free, and still stand on the list.
        while waitid(Id::Pid(pid), WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT) == Err(Errno::EINTR) {}
        let status = {
            let mut running = sync::lock(&self.running);
            let status = guard.wait();
            running.guards.remove(&pid);
            status
        };
        self.sweep();
        status
    }

    /// How a guard has ended, if it has. What it has left behind is for [`Guards::leave`].
    #[cfg(feature = "operator")]
    pub(super) fn try_wait(&self, guard: &mut Child) -> io::Result<Option<ExitStatus>> {
        let mut running = sync::lock(&self.running);
        let status = guard.try_wait()?;
        if status.is_some() {
            running.guards.remove(&pid(guard)?);
        }
        Ok(status)
    }

    /// Before this process ends: kills the guards that were stopped, who could end nobody, and what has no guard.
    pub(super) fn leave(&self) {
        let is = |pid: Pid, states: [&str; 2]| stat(pid, STATE).is_some_and(|one| states.contains(&&*one));
        let mut stopped: Vec<Pid> = sync::lock(&self.running).guards.iter().copied().collect();
        stopped.retain(|guard| is(*guard, ["T", "t"]));
        stopped.iter().for_each(|guard| self.kill(*guard));
        let end = Instant::now() + SWEEP_MAX;
        // Until then what they guarded is not ours yet.
        while stopped.iter().any(|guard| stat(*guard, STATE).is_some() && !is(*guard, ["Z", "X"]))
            && Instant::now() < end
        {
            thread::sleep(LOOK);
        }
        self.sweep();
    }

    /// Kills a guard that does not end by itself, stopped or not.
    pub(super) fn kill(&self, guard: Pid) {
        // While it stands on the list its number is its own.
        if sync::lock(&self.running).guards.contains(&guard) {
            let _ = kill(guard, Signal::SIGKILL);
        }
    }

    /// Kills all children of this process but the guards and those from before, until none is left. What that orphans comes next.
    fn sweep(&self) {
        let end = Instant::now() + SWEEP_MAX;
        loop {
            {
                let mut running = sync::lock(&self.running);
                let Some(children) = children() else {
                    if !std::mem::replace(&mut running.said, true) {
                        log::warn!(
                            "this kernel does not list the children of a process: what a server that ends its guard leaves behind is left to the cgroup"
                        );
                    }
                    return;
                };
                let is_other = |pid: &Pid| running.others.as_ref().is_none_or(|others| others.contains(pid));
                let is_lost = |pid: &Pid| !running.guards.contains(pid) && !is_other(pid);
                let lost: Vec<Pid> = children.into_iter().filter(is_lost).collect();
                if lost.is_empty() || Instant::now() >= end {
                    return;
                }
                end_all(&lost);
            }
            thread::sleep(LOOK);
        }
    }
}

/// Kills these children and takes their statuses. Only who is still a child of ours, and began when it did at
/// the first look, is the one that was meant.
fn end_all(lost: &[Pid]) {
    let began = |pid: Pid| stat(pid, BEGAN);
    let first: Vec<(Pid, Option<String>)> = lost.iter().map(|pid| (*pid, began(*pid))).collect();
    let still = children().unwrap_or_default();
    for (pid, began_at) in first {
        if began_at.is_some() && still.contains(&pid) && began(pid) == began_at {
            log::warn!(pid = pid.as_raw(); "killing a process that a server left behind without its guard");
            let _ = kill(pid, Signal::SIGKILL);
        }
        let _ = waitpid(pid, Some(WaitPidFlag::WNOHANG));
    }
}

/// What the kernel says of a process, by its place after the name, which may hold anything.
fn stat(pid: Pid, place: usize) -> Option<String> {
    let stat = fs::read(format!("/proc/{pid}/stat")).ok()?;
    let stat = String::from_utf8_lossy(&stat);
    stat.rsplit_once(')')?.1.split_whitespace().nth(place).map(str::to_owned)
}

pub(super) fn pid(guard: &Child) -> io::Result<Pid> {
    i32::try_from(guard.id()).map(Pid::from_raw).map_err(io::Error::other)
}
