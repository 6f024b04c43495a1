//! The unit of a tunnel, as the packages name it, and its journal: two programs of systemd, within time and size.

use std::io::Read;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::config::Source;
use crate::ops::os_text;
use crate::sync;

/// How long a program may take.
const TIME: Duration = Duration::from_secs(5);

/// How much of what it says is read.
const BYTES_MAX: u64 = 512 * 1024;

/// What is asked of a unit. Its environment is not.
const PROPERTIES: &str = "--property=Id,LoadState,ActiveState,SubState,Result,ExecMainCode,ExecMainStatus,NRestarts,MainPID,\
    ActiveEnterTimestamp,InactiveEnterTimestamp,StatusText,FragmentPath,DropInPaths,UnitFileState,User,NeedDaemonReload,\
    MemoryCurrent,MemoryPeak,MemoryMax,TasksCurrent,TasksMax,LimitNOFILE,OOMPolicy,WatchdogUSec";

/// Unit that was found.
pub(super) struct Unit {
    name: String,
    /// What the service manager says of it.
    pub(super) state: String,
    /// Its process.
    pub(super) pid: Option<u32>,
}

impl Unit {
    /// Looks for the unit of a profile, which has its name.
    pub(super) fn find(source: &Source) -> Result<Unit, String> {
        let path = source.path.as_ref().ok_or("no profile is named, and a unit has the name of one")?;
        let name = path.file_stem().and_then(|name| name.to_str()).unwrap_or_default();
        let is_plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
        if name.is_empty() || !name.chars().all(is_plain) {
            return Err("no unit can have the name of this file".to_owned());
        }
        let names = ["tunnel-client", "tunnel-client-stdio"].map(|unit| format!("{unit}@{name}.service"));
        for name in &names {
            let state = output("systemctl", &["show", "--no-pager", PROPERTIES, name])?;
            let value = |key: &str| state.lines().find_map(|line| line.strip_prefix(key));
            if value("ActiveState=") != Some("inactive")
                || value("NRestarts=").is_some_and(|count| count != "0")
            {
                let pid = value("MainPID=").and_then(|pid| pid.parse().ok()).filter(|pid| *pid > 0);
                return Ok(Unit { name: name.clone(), state, pid });
            }
        }
        Err(format!("neither {} is or was active", names.join(" nor ")))
    }

    /// Its last lines.
    pub(super) fn journal(&self) -> Result<String, String> {
        output(
            "journalctl",
            &["--no-pager", "--quiet", "--lines=400", "--output=short-iso", "--unit", &self.name],
        )
    }
}

/// What a program prints.
fn output(program: &str, arguments: &[&str]) -> Result<String, String> {
    let mut command = Command::new(program);
    command.args(arguments).env("LC_ALL", "C").env("SYSTEMD_COLORS", "0");
    let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let mut child = child.map_err(|error| format!("{program}: {}", os_text(&error)))?;
    let said = read(&mut child).map_err(|error| format!("{program}: {}", os_text(&error)));
    // It has ended, or is ended here.
    let _ = child.kill();
    let ended = child.wait();
    let [out, complaint] = said?;
    match out.trim() {
        "" => {
            let line = complaint.lines().next().unwrap_or("it said nothing").to_owned();
            Err(format!("{program}: {line}{}", ended.map(|ended| format!(" ({ended})")).unwrap_or_default()))
        }
        _ => Ok(out),
    }
}

/// Both of its streams, each within the bound.
fn read(child: &mut Child) -> std::io::Result<[String; 2]> {
    let (out, complaint) = (child.stdout.take(), child.stderr.take());
    sync::run_within("support", TIME, move || {
        let mut texts = [Vec::new(), Vec::new()];
        let [first, second] = &mut texts;
        if let Some(out) = out {
            out.take(BYTES_MAX).read_to_end(first)?;
        }
        if let Some(complaint) = complaint {
            complaint.take(4096).read_to_end(second)?;
        }
        Ok(texts.map(|text| String::from_utf8_lossy(&text).into_owned()))
    })
}
