//! Each test shuts a cage around a thread of its own, or around a process of its own where that has to end.

use std::fs;
use std::io::ErrorKind;
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::symlink;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::Command;
use std::sync::Barrier;

use nix::libc;
use seccompiler::SeccompAction;

use super::*;
use crate::config::{Environment, Flags};
use crate::ops::files::tests::Scratch;

/// Tells a process that it is the one that has to end.
const INSIDE: &str = "TUNNEL_CLIENT_INSIDE_CAGE";

const HTTP: (&str, &str) = ("MCP_SERVER_URL", "http://h/");
/// Settings that nobody reads.
const NONE: [(&str, &str); 2] = [("A", "b"), ("C", "d")];
const STDIO: (&str, &str) = ("MCP_COMMAND", "true");

fn settings(server: (&str, &str), more: [(&str, &str); 2]) -> Settings {
    let [one, other] = more;
    let all = [
        ("CONTROL_PLANE_TUNNEL_ID", "tunnel_abcdefghijklmnopqrstuvwxyz012345"),
        ("CONTROL_PLANE_API_KEY", "sk-runtime_1"),
        server,
        one,
        other,
    ];
    Settings::load(&Flags::default(), &Environment::of(all)).unwrap()
}

/// Those of a process with a server over HTTP, and nothing else.
fn plain() -> Settings {
    settings(HTTP, NONE)
}

/// Does something on a thread that the cage is then shut around.
fn inside<T: Send>(settings: &Settings, named: &[&Path], body: impl FnOnce(&Cage) -> T + Send) -> T {
    let named = named.iter().map(|path| (*path).to_owned()).collect();
    let on_thread = || body(&Cage::shut(settings, &named).unwrap());
    std::thread::scope(|scope| scope.spawn(on_thread).join().unwrap())
}

/// Whether this kernel has what most tests are about.
fn has_landlock() -> bool {
    let found = inside(&plain(), &[], |cage| cage.files.clone());
    found.inspect_err(|why| println!("SKIPPED: {why}")).is_ok()
}

fn is_shut<T>(result: std::io::Result<T>) -> bool {
    result.is_err_and(|error| error.kind() == ErrorKind::PermissionDenied)
}

#[test]
fn files_that_no_setting_names_are_shut() {
    if !has_landlock() {
        return;
    }
    let scratch = Scratch::new("cage-files");
    let [named, written, other] = ["named", "written", "other"].map(|name| scratch.0.join(name));
    for folder in [&named, &written, &other] {
        fs::create_dir_all(folder).unwrap();
        fs::write(folder.join("key"), "k").unwrap();
    }
    let log = written.join("log");
    let settings =
        settings(HTTP, [("LOG_FILE", log.to_str().unwrap()), ("HEALTH_LISTEN_ADDR", "127.0.0.1:0")]);
    inside(&settings, &[&named.join("key")], |cage| {
        assert!(is_shut(fs::read(other.join("key"))) && is_shut(fs::read_dir(&scratch.0)));
        assert!(is_shut(fs::write(named.join("key"), "x")) && is_shut(fs::write(other.join("new"), "x")));
        assert!(is_shut(fs::create_dir(written.join("folder"))));
        // Logs and URLs are written, moved and taken away.
        fs::write(&log, "x").unwrap();
        fs::rename(&log, written.join("old")).unwrap();
        fs::remove_file(written.join("old")).unwrap();
        for read in [named.join("key"), "/etc/hosts".into(), "/proc/self/status".into()] {
            fs::read(&read).unwrap_or_else(|error| panic!("{}: {error}", read.display()));
        }
        let outside = cage.reach().check(&other.join("key")).unwrap_err();
        assert!(outside.ends_with("limited itself to at its start: restart it"), "{outside}");
        assert_eq!(cage.reach().check(&named.join("key")), Ok(()));
        assert_eq!(cage.reach().check(&scratch.0.join("missing")), Ok(()));
    });
}

#[test]
fn files_that_are_replaced_by_links_stay_open() {
    if !has_landlock() {
        return;
    }
    let scratch = Scratch::new("cage-links");
    // As Kubernetes mounts a secret, and as a release is put in the place of another one.
    for folder in ["one", "two", "vault"] {
        fs::create_dir_all(scratch.0.join("mount").join(folder)).unwrap();
        fs::write(scratch.0.join("mount").join(folder).join("key"), folder).unwrap();
    }
    fs::rename(scratch.0.join("mount/vault"), scratch.0.join("vault")).unwrap();
    let (mount, releases) = (scratch.0.join("mount"), scratch.0.join("releases"));
    for folder in ["one", "two"] {
        fs::create_dir_all(releases.join(folder)).unwrap();
        fs::write(releases.join(folder).join("key"), folder).unwrap();
    }
    symlink("one", releases.join("current")).unwrap();
    symlink("one", mount.join("..data")).unwrap();
    symlink("..data/key", mount.join("key")).unwrap();
    symlink(scratch.0.join("vault/key"), mount.join("far")).unwrap();
    let named = [&*mount.join("key"), &*releases.join("current/key"), &*mount.join("far")];
    let (shut, swapped) = (Barrier::new(2), Barrier::new(2));
    let read = || named.map(|path| fs::read_to_string(path).unwrap());
    let reader = |_: &Cage| {
        let before = read();
        shut.wait();
        swapped.wait();
        (before, read())
    };
    // The links are somebody else's work.
    let swapper = || {
        shut.wait();
        for link in [mount.join("..data"), releases.join("current")] {
            fs::remove_file(&link).unwrap();
            symlink("two", &link).unwrap();
        }
        swapped.wait();
    };
    std::thread::scope(|scope| {
        scope.spawn(swapper);
        let (before, after) = inside(&plain(), &named, reader);
        assert_eq!(
            (before, after),
            (["one", "one", "vault"].map(str::to_owned), ["two", "two", "vault"].map(str::to_owned))
        );
    });
}

#[test]
fn only_the_port_of_the_listener_is_listened_at_and_all_are_dialled() {
    if !has_landlock() {
        return;
    }
    let peer = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = peer.local_addr().unwrap();
    let with = |listen: &str, of: &(dyn Fn() + Sync)| {
        inside(&settings(HTTP, [("HEALTH_LISTEN_ADDR", listen), ("A", "b")]), &[], |_| of());
    };
    with("127.0.0.1:0", &|| {
        drop((TcpListener::bind("127.0.0.1:0").unwrap(), TcpStream::connect(address).unwrap()))
    });
    with(&address.to_string(), &|| assert!(is_shut(TcpListener::bind("127.0.0.1:0"))));
}

/// Nothing new is looked for of what these calls do: that they are refused, and what they are refused with.
#[test]
fn calls_that_nothing_needs_are_refused() {
    use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};

    inside(&plain(), &[], |_| {
        let packets = socket(AddressFamily::Packet, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None);
        assert_eq!(packets.unwrap_err(), nix::errno::Errno::EPERM);
        // A process is not made, so nothing is executed.
        assert_eq!(Command::new("/bin/true").spawn().unwrap_err().raw_os_error(), Some(libc::EPERM));
        assert_eq!(
            nix::unistd::mkfifo("/proc/x", nix::sys::stat::Mode::S_IRWXU),
            Err(nix::errno::Errno::EPERM)
        );
        // Threads are, with all that they need.
        std::thread::spawn(|| vec![1_u8; 1 << 20].len()).join().unwrap();
    });
}

/// What a process ends by that executes this test once more, and in it the program.
fn end_of(test: &str, server: &str, program: &str) -> std::process::ExitStatus {
    let mut again = Command::new(std::env::current_exe().unwrap());
    let again = again.args(["--exact", test, "--nocapture"]).env(INSIDE, format!("{server} {program}"));
    again.output().unwrap().status
}

#[test]
fn a_program_is_executed_only_where_servers_over_stdio_are() {
    let Ok(wanted) = std::env::var(INSIDE) else {
        let end = |server| {
            end_of("cage::tests::a_program_is_executed_only_where_servers_over_stdio_are", server, "true")
        };
        assert_eq!(end("http").signal(), Some(libc::SIGSYS));
        assert!(end("stdio").success());
        return;
    };
    let (server, program) = wanted.split_once(' ').unwrap();
    let settings = settings(if server == "stdio" { STDIO } else { HTTP }, NONE);
    inside(&settings, &[], |_| panic!("{}", Command::new(program).exec()));
}

/// As root; others are told that they may not before anything is tried.
#[test]
fn what_a_server_over_stdio_does_to_the_system_ends_it() {
    let settings = settings(STDIO, NONE);
    let (words, ended) = inside(&settings, &[], |cage| {
        assert!(fs::read("/etc/hosts").is_ok() && fs::read_dir("/").is_ok());
        let mount =
            Command::new("mount").args(["-t", "tmpfs", "none", "/nonexistent/tunnel-client"]).output();
        (cage.words(), mount.map(|output| output.status))
    });
    assert_eq!(
        words,
        "files: not limited (servers over stdio would be held too); \
         system calls: seccomp, for servers over stdio too; what else they call is theirs"
    );
    if nix::unistd::geteuid().is_root() {
        assert_eq!(ended.unwrap().signal(), Some(libc::SIGSYS));
    }
}

/// A thread that had its calls refused by somebody else before, as an older kernel or a container does.
fn without<T: Send>(call: libc::c_long, errno: libc::c_int, body: impl FnOnce() -> T + Send) -> T {
    let refused = SeccompAction::Errno(errno.unsigned_abs());
    let on_thread = || {
        calls::set(vec![(call, Vec::new())], refused, SeccompAction::Allow).unwrap();
        body()
    };
    std::thread::scope(|scope| scope.spawn(on_thread).join().unwrap())
}

#[test]
fn what_the_kernel_lacks_is_left_out_and_said_unless_it_is_required() {
    let shut = |mode| Cage::shut(&settings(HTTP, [("PROCESS_CAGE", mode), ("A", "b")]), &BTreeSet::new());
    let no_files = |mode| without(libc::SYS_landlock_create_ruleset, libc::ENOSYS, || shut(mode));
    let cage = no_files("auto").unwrap();
    assert_eq!(
        cage.words(),
        "files: not limited (Landlock is not offered by this kernel, or not in this container); system calls: seccomp"
    );
    assert_eq!(cage.reach().check(Path::new("/root")), Ok(()));
    let switched_off = without(libc::SYS_landlock_create_ruleset, libc::EOPNOTSUPP, || shut("auto")).unwrap();
    assert!(
        switched_off.words().contains("Landlock is switched off in this kernel"),
        "{}",
        switched_off.words()
    );
    let why = no_files("require").err().unwrap();
    assert!(why.starts_with("process.cage is require, and Landlock is not offered"), "{why}");
    let no_calls = |mode| without(libc::SYS_seccomp, libc::EPERM, || shut(mode));
    assert!(no_calls("auto").unwrap().words().contains("system calls: not limited (seccomp failed: "));
    assert!(no_calls("require").is_err());
}

#[test]
fn switched_off_it_changes_nothing() {
    inside(&settings(HTTP, [("PROCESS_CAGE", "off"), ("A", "b")]), &[], |cage| {
        assert!(cage.words().contains("not limited (process.cage is off)"), "{}", cage.words());
        assert!(Command::new("true").status().unwrap().success() && fs::read_dir("/").is_ok());
    });
}
