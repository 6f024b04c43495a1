//! What the kernel says about this process, read from `/proc`.
//!
//! Where `/proc` is missing or hidden, the figures are absent; nothing depends on them.

use std::fs;

use super::prometheus::Text;

/// Clock ticks per second in `/proc/self/stat`: part of the kernel's interface, the same on every
/// architecture that we build for.
const TICKS_PER_S: u64 = 100;

/// Writes the figures that can be had.
pub(super) fn write(text: &mut Text, start_unix_s: u64) {
    if let Some(bytes) =
        fs::read_to_string("/proc/self/status").ok().and_then(|status| resident_bytes(&status))
    {
        text.single("process_resident_memory_bytes", "gauge", "Resident memory size in bytes.", bytes);
    }
    if let Some(hundredths) = fs::read_to_string("/proc/self/stat").ok().and_then(|stat| cpu_ticks(&stat)) {
        let seconds = format!("{}.{:02}", hundredths / TICKS_PER_S, hundredths % TICKS_PER_S);
        text.single("process_cpu_seconds_total", "counter", "User and system time in seconds.", seconds);
    }
    if let Ok(entries) = fs::read_dir("/proc/self/fd") {
        // The directory being read is open too, and is not ours to count.
        let open = entries.count().saturating_sub(1);
        text.single("process_open_fds", "gauge", "Open file descriptors.", open);
    }
    let help = "Unix time of the start in seconds.";
    text.single("process_start_time_seconds", "gauge", help, start_unix_s);
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
        let mut text = Text::default();
        write(&mut text, 7);
        let text = text.finish();
        for name in ["process_resident_memory_bytes", "process_open_fds", "process_cpu_seconds_total"] {
            assert!(text.contains(&format!("\n{name} ")), "{text}");
        }
    }
}
