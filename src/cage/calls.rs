//! System calls, by seccomp: those that this program and its C library make are allowed, any other is refused with
//! EPERM, and what nothing here ever does ends the process.
//!
//! The list holds for glibc and musl, on x86_64 and aarch64. The kernel does not count what it refuses, and no filter
//! can; what ends the process it writes to its audit log.

use nix::libc;
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
};

use SeccompCmpOp::{Eq, MaskedEq, Ne};

/// Number of a call.
type Call = libc::c_long;

/// A call with alternatives, each a list of what must hold of its arguments; none allow all.
type Rule = (Call, Vec<SeccompRule>);

/// End the process, and a server over stdio too: look into other processes, change what is mounted or what the kernel runs.
#[rustfmt::skip]
const KILLED: &[Call] = &[
    libc::SYS_ptrace, libc::SYS_process_vm_readv, libc::SYS_process_vm_writev,
    libc::SYS_mount, libc::SYS_umount2, libc::SYS_pivot_root, libc::SYS_open_tree, libc::SYS_move_mount,
    libc::SYS_fsopen, libc::SYS_fsconfig, libc::SYS_fsmount, libc::SYS_fspick, libc::SYS_mount_setattr,
    libc::SYS_bpf, libc::SYS_kexec_load, KEXEC_FILE_LOAD,
    libc::SYS_init_module, libc::SYS_finit_module, libc::SYS_delete_module,
];

/// End a process that starts no program.
const EXECUTING: &[Call] = &[libc::SYS_execve, libc::SYS_execveat];

/// Allowed whatever their arguments are.
#[rustfmt::skip]
const ALLOWED: &[Call] = &[
    // Memory, threads, time.
    libc::SYS_munmap, libc::SYS_mremap, libc::SYS_madvise, libc::SYS_brk, libc::SYS_futex, libc::SYS_rseq,
    libc::SYS_set_robust_list, libc::SYS_membarrier, libc::SYS_sched_yield, libc::SYS_sched_getaffinity,
    libc::SYS_exit, libc::SYS_exit_group, libc::SYS_restart_syscall, libc::SYS_nanosleep, libc::SYS_clock_nanosleep,
    libc::SYS_clock_gettime, libc::SYS_gettimeofday, libc::SYS_getrandom,
    // Refused by another filter, with the answer that has the C library take `clone`.
    libc::SYS_clone3,
    // Signals. `tgkill` is how a process ends itself.
    libc::SYS_rt_sigaction, libc::SYS_rt_sigprocmask, libc::SYS_rt_sigreturn, libc::SYS_sigaltstack,
    libc::SYS_signalfd4, libc::SYS_tgkill, libc::SYS_tkill,
    // What a process may know of itself and of its host.
    libc::SYS_getpid, libc::SYS_gettid, libc::SYS_getuid, libc::SYS_geteuid, libc::SYS_getgid, libc::SYS_getegid,
    libc::SYS_sysinfo, libc::SYS_uname,
    // Descriptors.
    libc::SYS_read, libc::SYS_write, libc::SYS_readv, libc::SYS_writev, libc::SYS_pread64, libc::SYS_pwrite64,
    libc::SYS_preadv, libc::SYS_pwritev, libc::SYS_lseek, libc::SYS_close, libc::SYS_fcntl, libc::SYS_dup,
    libc::SYS_dup3, libc::SYS_pipe2, libc::SYS_eventfd2, libc::SYS_ppoll, libc::SYS_pselect6,
    // Files.
    libc::SYS_openat, libc::SYS_fstat, libc::SYS_newfstatat, libc::SYS_statx, libc::SYS_readlinkat,
    libc::SYS_faccessat, libc::SYS_faccessat2, libc::SYS_getdents64, libc::SYS_getcwd,
    libc::SYS_ftruncate, libc::SYS_fsync, libc::SYS_fdatasync, libc::SYS_flock, libc::SYS_fchmod,
    libc::SYS_fchmodat, libc::SYS_unlinkat, libc::SYS_renameat, libc::SYS_renameat2,
    // Sockets of the families below.
    libc::SYS_connect, libc::SYS_bind, libc::SYS_listen, libc::SYS_accept4, libc::SYS_shutdown,
    libc::SYS_socketpair, libc::SYS_getsockname, libc::SYS_getpeername, libc::SYS_setsockopt, libc::SYS_getsockopt,
    libc::SYS_sendto, libc::SYS_recvfrom, libc::SYS_sendmsg, libc::SYS_recvmsg, libc::SYS_sendmmsg,
    libc::SYS_recvmmsg,
];

/// The same calls by older numbers.
#[cfg(target_arch = "x86_64")]
#[rustfmt::skip]
const ALLOWED_OLD: &[Call] = &[
    libc::SYS_open, libc::SYS_stat, libc::SYS_lstat, libc::SYS_access, libc::SYS_readlink, libc::SYS_chmod,
    libc::SYS_unlink, libc::SYS_rename, libc::SYS_dup2, libc::SYS_pipe, libc::SYS_poll, libc::SYS_select,
];
#[cfg(not(target_arch = "x86_64"))]
const ALLOWED_OLD: &[Call] = &[];

/// A number that not every C library names.
const KEXEC_FILE_LOAD: Call = if cfg!(target_arch = "x86_64") { 320 } else { 294 };

/// Families of sockets. The C library asks for the addresses of this host by the last.
const FAMILIES: [libc::c_int; 4] = [libc::AF_INET, libc::AF_INET6, libc::AF_UNIX, libc::AF_NETLINK];

/// Requests that type into somebody's terminal.
const TERMINAL_REQUESTS: [u64; 2] = [0x5412, 0x541c];

/// Whether the program loads code, as the C library's modules for names are.
const LOADS_CODE: bool = !cfg!(target_feature = "crt-static");

/// Shuts this thread in; what a server over stdio inherits is less.
pub(super) fn restrict(has_children: bool) -> Result<String, String> {
    shut(has_children).map_err(|error| format!("seccomp failed: {error}"))?;
    let children =
        if has_children { ", for servers over stdio too; what else they call is theirs" } else { "" };
    Ok(format!("seccomp{children}"))
}

fn shut(has_children: bool) -> Result<(), seccompiler::Error> {
    let killed = KILLED.iter().chain(EXECUTING.iter().filter(|_| !has_children));
    let killed = killed.map(|call| (*call, Vec::new())).collect();
    set(killed, SeccompAction::KillProcess, SeccompAction::Allow)?;
    if has_children {
        return Ok(());
    }
    // Its arguments stand in memory, where no filter sees whether a thread or a process is to be made.
    let absent = SeccompAction::Errno(libc::ENOSYS.unsigned_abs());
    set(vec![(libc::SYS_clone3, Vec::new())], absent, SeccompAction::Allow)?;
    let allowed = ALLOWED.iter().chain(ALLOWED_OLD).map(|call| (*call, Vec::new()));
    let refused = SeccompAction::Errno(libc::EPERM.unsigned_abs());
    // The last one: it allows no further one.
    set(allowed.chain(limited()?).collect(), SeccompAction::Allow, refused)
}

/// Sets a filter for this thread. Of several the strictest counts.
pub(super) fn set(
    rules: Vec<Rule>,
    matched: SeccompAction,
    otherwise: SeccompAction,
) -> Result<(), seccompiler::Error> {
    let filter = SeccompFilter::new(
        rules.into_iter().collect(),
        otherwise,
        matched,
        std::env::consts::ARCH.try_into()?,
    )?;
    seccompiler::apply_filter(&BpfProgram::try_from(filter)?)
}

/// Calls that are allowed with some arguments.
fn limited() -> Result<[Rule; 7], seccompiler::Error> {
    let [writes, runs, thread] = [libc::PROT_WRITE, libc::PROT_EXEC, libc::CLONE_THREAD].map(word);
    let mut mapped = vec![when(&[(2, MaskedEq(runs), 0)])?];
    if LOADS_CODE {
        // Not written while it runs.
        mapped.push(when(&[(2, MaskedEq(writes), 0)])?);
    }
    let families = FAMILIES.iter().map(|family| when(&[(0, Eq, word(*family))]));
    let [typed, pasted] = TERMINAL_REQUESTS;
    Ok([
        (libc::SYS_mmap, mapped),
        (libc::SYS_mprotect, vec![when(&[(2, MaskedEq(runs), 0)])?]),
        (libc::SYS_clone, vec![when(&[(0, MaskedEq(thread), thread)])?]),
        (libc::SYS_socket, families.collect::<Result<_, _>>()?),
        (libc::SYS_ioctl, vec![when(&[(1, Ne, typed), (1, Ne, pasted)])?]),
        // Of this process alone.
        (libc::SYS_prlimit64, vec![when(&[(0, Eq, 0)])?]),
        (libc::SYS_prctl, vec![when(&[(0, Eq, word(libc::PR_SET_NAME))])?]),
    ])
}

/// What must hold of arguments, each by its number.
fn when(all: &[(u8, SeccompCmpOp, u64)]) -> Result<SeccompRule, seccompiler::Error> {
    let of = |(number, how, value): &(u8, SeccompCmpOp, u64)| {
        SeccompCondition::new(*number, SeccompCmpArgLen::Dword, how.clone(), *value)
    };
    Ok(SeccompRule::new(all.iter().map(of).collect::<Result<_, _>>()?)?)
}

fn word(number: libc::c_int) -> u64 {
    u64::from(number.unsigned_abs())
}
