//! What the kernel says about this process, read from `/proc`.
//!
//! Where `/proc` is missing or hidden, the figures are absent; nothing depends on them.

use std::fs;

use super::prometheus::{GAUGE, Metric, TICKS, Table};

/// The rows of the process.
pub(super) struct Process {
    memory: Metric<0>,
    /// In clock ticks, of which there are 100 a second: that is part of the kernel's interface, the same on
    /// every architecture that we build for.
    cpu: Metric<0>,
    files: Metric<0>,
}

impl Process {
    pub(super) fn new(table: &mut Table, started_unix_s: u64) -> Process {
        let memory = "process_resident_memory_bytes";
        let memory = table.row(GAUGE, memory, "Resident memory size in bytes.", []);
        let cpu = table.row(TICKS, "process_cpu_seconds_total", "User and system time in seconds.", []);
        let files = table.row(GAUGE, "process_open_fds", "Open file descriptors.", []);
        let help = "Unix time of the start in seconds.";
        table.row(GAUGE, "process_start_time_seconds", help, []).set([], started_unix_s);
        Process { memory, cpu, files }
    }

    /// Sets the figures that can be had.
    pub(super) fn look(&self) {
        let read = |name: &str| fs::read_to_string(name).ok();
        if let Some(bytes) = read("/proc/self/status").and_then(|status| resident_bytes(&status)) {
            self.memory.set([], bytes);
        }
        if let Some(ticks) = read("/proc/self/stat").and_then(|stat| cpu_ticks(&stat)) {
            self.cpu.set([], ticks);
        }
        if let Ok(entries) = fs::read_dir("/proc/self/fd") {
            // The directory being read is open too, and is not ours to count.
            self.files.set([], entries.count().saturating_sub(1));
        }
    }
}

/// The kernel says `kB` and means 1024 bytes. Read from `status` and not from `statm`, which counts
/// in pages of a size that would have to be asked for.
fn resident_bytes(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1024)
}

/// User and system time. The second field is the program's name in parentheses and may hold
/// anything, so fields are counted from its last closing one.
fn cpu_ticks(stat: &str) -> Option<u64> {
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_ascii_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    user.checked_add(system)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_found() {
        assert_eq!(resident_bytes("Name:\tx\nVmRSS:\t    2048 kB\n"), Some(2_097_152));
        assert_eq!(resident_bytes("Name:\tx\n"), None);
        assert_eq!(cpu_ticks("1 (a) b) S 1 1 1 0 -1 4 0 0 0 0 30 12 0 0 20"), Some(42));
        assert_eq!(cpu_ticks("1 (a"), None);
    }

    #[test]
    fn the_running_process_can_be_read() {
        let mut table = Table::default();
        Process::new(&mut table, 7).look();
        let text = table.page();
        for name in ["process_resident_memory_bytes", "process_open_fds", "process_cpu_seconds_total"] {
            assert!(text.contains(&format!("\n{name} ")), "{text}");
        }
    }
}
