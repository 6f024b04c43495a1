//! The host of a tunnel: what the system says of itself, of a process and of files. Contents are read of none.

use std::fs;
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use nix::fcntl::OFlag;

use crate::config::glimpse::Glimpse;
use crate::config::trust;
use crate::ops::os_text;

/// How much of a log is looked at.
const LOG_BYTES_MAX: u64 = 64 * 1024;

/// Longest file of the kernel that is read.
const KERNEL_BYTES_MAX: u64 = 64 * 1024;

/// Bounds of a control group.
const BOUNDS: [&str; 5] = ["memory.max", "memory.high", "memory.current", "pids.max", "cpu.max"];

/// Lines of the kernel about a process that matter.
const STATUS: [&str; 7] = ["Name:", "State:", "Uid:", "Threads:", "VmPeak:", "VmHWM:", "VmRSS:"];

/// Kernel, distribution, and the bounds of this command, which may be others than those of a service.
pub(super) fn host() -> String {
    let kernel = ["ostype", "osrelease", "version"].map(|name| read(&format!("/proc/sys/kernel/{name}")));
    let release = read("/etc/os-release");
    let pretty = release.lines().find_map(|line| line.strip_prefix("PRETTY_NAME=")).unwrap_or("unknown");
    let processors = std::thread::available_parallelism().map_or(0, usize::from);
    let memory = read("/proc/meminfo");
    let memory: Vec<&str> = memory.lines().take(3).collect();
    format!(
        "kernel: {}\ndistribution: {pretty}\nprocessors for this command: {processors}\n{}\nlimits of this command:\n{}\n{}",
        kernel.each_ref().map(|text| text.trim()).join(" "),
        memory.join("\n"),
        read("/proc/self/limits"),
        group("self"),
    )
}

/// What the kernel says of the tunnel's process.
pub(super) fn process(pid: Option<u32>) -> Result<String, String> {
    let pid = pid.ok_or("no process id is known: neither pid.file nor a unit names one")?.to_string();
    let status = read(&format!("/proc/{pid}/status"));
    if status.is_empty() {
        return Err(format!("there is no process {pid}, or this user may not look at it"));
    }
    let lines = status.lines().filter(|line| STATUS.iter().any(|name| line.starts_with(name)));
    let descriptors = match fs::read_dir(format!("/proc/{pid}/fd")) {
        Ok(entries) => entries.count().to_string(),
        Err(error) => os_text(&error),
    };
    let limits = read(&format!("/proc/{pid}/limits"));
    let lines: Vec<&str> = lines.collect();
    Ok(format!("pid: {pid}\n{}\ndescriptors: {descriptors}\n{limits}\n{}", lines.join("\n"), group(&pid)))
}

/// The control group of a process with its bounds.
fn group(pid: &str) -> String {
    let of_process = read(&format!("/proc/{pid}/cgroup"));
    let path = of_process.lines().find_map(|line| line.strip_prefix("0::")).unwrap_or("/");
    let bounds = BOUNDS.iter().map(|name| {
        let text = read(&format!("/sys/fs/cgroup{path}/{name}"));
        format!("{name}: {}\n", if text.is_empty() { "not known" } else { text.trim() })
    });
    format!("control group: {path}\n{}", bounds.collect::<String>())
}

/// The process id that the tunnel has written.
pub(super) fn pid(found: &Glimpse) -> Option<u32> {
    let (bytes, _) = trust::read_regular(found.pid.as_deref()?, 32).ok()?;
    String::from_utf8(bytes).ok()?.trim().parse().ok()
}

/// Owner, mode and kind of each file.
pub(super) fn files(files: &[PathBuf]) -> String {
    files.iter().map(|path| format!("{}: {}\n", path.display(), file(path))).collect()
}

fn file(path: &Path) -> String {
    let seen = match fs::symlink_metadata(path) {
        Ok(metadata) => metadata,
        Err(error) => return os_text(&error),
    };
    let kind = match seen.file_type() {
        kind if kind.is_dir() => "directory",
        kind if kind.is_symlink() => "link",
        kind if kind.is_socket() => "socket",
        kind if kind.is_file() => "file",
        _ => "device or pipe",
    };
    let said = format!("{kind}, mode {:04o}, owner {}:{}", seen.mode() & 0o7777, seen.uid(), seen.gid());
    match fs::read_link(path) {
        // One step is shown, and what stands at the end of all.
        Ok(target) => {
            let end = path.canonicalize().map_or_else(|error| os_text(&error), |end| file(&end));
            format!("{said}, to {}: {end}", target.display())
        }
        Err(_) => said,
    }
}

/// The last lines of the log's file. Whoever may write beside it must not choose which file is shown.
pub(super) fn log_tail(path: Option<&Path>) -> Result<String, String> {
    let path = path.ok_or("log.file is not set")?;
    let read = || -> std::io::Result<Vec<u8>> {
        let mut file = trust::open(path, OFlag::O_NOFOLLOW)?;
        let metadata = file.metadata()?;
        if !metadata.is_file() || metadata.nlink() != 1 {
            return Err(std::io::Error::other("it is no regular file with one name"));
        }
        file.seek(SeekFrom::Start(metadata.len().saturating_sub(LOG_BYTES_MAX)))?;
        let mut bytes = Vec::new();
        file.take(LOG_BYTES_MAX).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    let bytes = read().map_err(|error| format!("{}: {}", path.display(), os_text(&error)))?;
    let text = String::from_utf8_lossy(&bytes);
    // Half a line may hold half a secret.
    let whole = if u64::try_from(bytes.len()) == Ok(LOG_BYTES_MAX) {
        text.split_once('\n').map_or("", |(_, rest)| rest)
    } else {
        &text
    };
    Ok(format!("{}\n{whole}", path.display()))
}

fn read(path: &str) -> String {
    let read = trust::open(Path::new(path), OFlag::empty()).and_then(|file| {
        let mut text = String::new();
        file.take(KERNEL_BYTES_MAX).read_to_string(&mut text).map(|_| text)
    });
    read.unwrap_or_default()
}
