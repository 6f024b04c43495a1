//! Files that are believed, and files that are written: whose they must be, and what may stand in their place.

use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, lchown, symlink};
use std::path::Path;

use crate::support::client::{API_KEY, Builder};
use crate::support::rig::Rig;
use crate::support::temp::TempDir;

/// Another user of the host, who is neither root nor nobody.
const STRANGER: u32 = 54_321;

fn start() -> Builder {
    Builder::run("http://127.0.0.1:1", "http://127.0.0.1:1/mcp")
}

fn with_key(path: &Path) -> Builder {
    start()
        .without_env("CONTROL_PLANE_API_KEY")
        .flag("control-plane.api-key", &format!("file:{}", path.display()))
}

/// Gives a file or a link to another user. False, with a word, where only root could.
fn given_away(path: &Path) -> bool {
    if std::fs::metadata("/proc/self").unwrap().uid() != 0 {
        eprintln!("skipped: only root can give files away");
        return false;
    }
    let is_link = std::fs::symlink_metadata(path).unwrap().is_symlink();
    if is_link { lchown(path, Some(STRANGER), None) } else { chown(path, Some(STRANGER), None) }.unwrap();
    true
}

/// The start fails, names the owner and says what mends it.
fn assert_refused(builder: Builder, what: &str) {
    let (code, output) = builder.finish();
    assert_eq!(code, Some(1), "{output}");
    let wanted = format!(
        "{what} belongs to user {STRANGER}, and must belong to root: chown it, or run this program as its owner (a container: --user {STRANGER})"
    );
    assert!(output.contains(&wanted), "{output}");
}

/// A reference, a profile and a client key that another user owns are refused: that user can rewrite them.
#[test]
fn files_of_other_users_are_not_believed() {
    let directory = TempDir::new();
    let key = directory.join("key");
    directory.write("key", API_KEY);
    let profile = directory.join("p.yaml");
    directory.write("p.yaml", "log:\n  level: info\n");
    if !given_away(&key) || !given_away(&profile) {
        return;
    }
    assert_refused(with_key(&key), "the file");
    assert_refused(start().flag("config", profile.to_str().unwrap()), "the file");
    let authority = crate::support::certs::Authority::new("trust");
    let client = authority.client("client");
    given_away(Path::new(&client.key));
    let tls = start().flag("mcp.client-cert", &client.certificate).flag("mcp.client-key", &client.key);
    assert_refused(tls.set("mcp.server-url", "https://127.0.0.1:1/mcp"), "the file");
}

/// A link of another user leads where that user likes, wherever on the way it stands.
#[test]
fn links_of_other_users_are_not_followed() {
    let directory = TempDir::new();
    directory.write("key", API_KEY);
    let (link, folder) = (directory.join("link"), directory.join("folder"));
    symlink("key", &link).unwrap();
    symlink(directory.path(), &folder).unwrap();
    if !given_away(&link) || !given_away(&folder) {
        return;
    }
    assert_refused(with_key(&link), &format!("the link {}", link.display()));
    assert_refused(with_key(&folder.join("key")), &format!("the link {}", folder.display()));
}

/// The links of a Kubernetes volume are root's, as are its files, and go on working.
#[test]
fn links_of_our_own_are_followed() {
    let directory = TempDir::new();
    std::fs::create_dir(directory.join("..2026_11_29")).unwrap();
    directory.write("..2026_11_29/key", API_KEY);
    symlink("..2026_11_29", directory.join("..data")).unwrap();
    symlink("..data/key", directory.join("key")).unwrap();
    let rig = Rig::with(|b| {
        let key = format!("file:{}", directory.join("key").display());
        b.without_env("CONTROL_PLANE_API_KEY").flag("control-plane.api-key", &key)
    });
    rig.assert_alive();
    symlink("loop", directory.join("loop")).unwrap();
    let (code, output) = with_key(&directory.join("loop")).finish();
    assert!(code == Some(1) && output.contains("too many links lead to the file"), "{output}");
}

/// A directory in which everybody may exchange files is named, with what mends it.
#[test]
fn a_directory_that_is_open_to_all_is_named() {
    let directory = TempDir::new();
    directory.write("key", API_KEY);
    let said = |mode: u32| {
        std::fs::set_permissions(directory.path(), std::fs::Permissions::from_mode(mode)).unwrap();
        let rig = Rig::with(|b| {
            let key = format!("file:{}", directory.join("key").display());
            b.without_env("CONTROL_PLANE_API_KEY")
                .flag("control-plane.api-key", &key)
                .flag("pid.file", directory.join("pid").to_str().unwrap())
        });
        rig.assert_alive();
        let sentence = format!(
            "every user of this host may exchange the files in {}; chmod o-w it",
            directory.path().display()
        );
        rig.client.log().matches(&sentence).count()
    };
    assert_eq!([said(0o777), said(0o1777), said(0o755)], [1, 0, 0]);
}

/// A log file or PID file is ours and has one name: what a link leads to is not touched.
#[test]
fn written_files_are_ours_alone() {
    let directory = TempDir::new();
    let victim = directory.write("victim", "untouched");
    let (link, name) = (directory.join("link"), directory.join("name"));
    symlink(&victim, &link).unwrap();
    std::fs::hard_link(&victim, &name).unwrap();
    for setting in ["log.file", "pid.file"] {
        for (path, why) in [(&link, "is a symbolic link"), (&name, "has another name as well")] {
            let (code, output) = start().flag(setting, path.to_str().unwrap()).finish();
            assert!(code == Some(1) && output.contains(why), "{setting} {}: {output}", path.display());
        }
        let stranger = directory.join(setting);
        directory.write(setting, "");
        if given_away(&stranger) {
            assert_refused(start().flag(setting, stranger.to_str().unwrap()), "the file");
        }
    }
    assert_eq!(std::fs::read_to_string(&victim).unwrap(), "untouched");
}

/// Devices and the descriptors that we were started with are written as they are.
#[test]
fn devices_are_written_as_they_are() {
    let mut rig = Rig::with(|b| b.flag("log.file", "/dev/stdout").flag("pid.file", "/dev/null"));
    rig.assert_alive();
    rig.client.wait_log(|line| line.contains("poller started"));
    assert!(rig.client.stop().success());
    assert!(!std::fs::symlink_metadata("/dev/null").unwrap().is_file());
}

/// No folder is made on the way to a file that a setting names: a mistyped path ends the start.
#[test]
fn missing_folders_are_not_made() {
    let directory = TempDir::new();
    let folder = directory.join("missing");
    for setting in ["log.file", "pid.file", "health.url-file", "health.unix-socket"] {
        let path = folder.join("file");
        let (code, output) = start().set(setting, path.to_str().unwrap()).finish();
        assert!(code == Some(1) && output.contains("missing/file"), "{setting}: {output}");
        assert!(!folder.exists(), "{setting}");
    }
}

/// A PID file that cannot be written whole leaves nothing behind.
#[test]
fn a_pid_file_is_written_whole_or_not_at_all() {
    let directory = TempDir::new();
    let pid = directory.join("pid");
    let program = crate::support::client::PROGRAM;
    // A limit of zero bytes a file is a full disk to whoever writes.
    let output = std::process::Command::new("/bin/sh")
        .args([
            "-c",
            "ulimit -f 0; exec \"$0\" \"$@\"",
            program,
            "run",
            "--health.listen-addr",
            "127.0.0.1:0",
        ])
        .args(["--mcp.server-url", "http://127.0.0.1:1/mcp", "--pid.file", pid.to_str().unwrap()])
        .args(["--control-plane.tunnel-id", crate::support::plane::TUNNEL])
        .env_clear()
        .env("CONTROL_PLANE_API_KEY", API_KEY)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains("write pid file"), "{text}");
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);
}

/// A log file that was given another name, as logrotate does it, is left by SIGHUP; no line is lost.
#[test]
fn a_renamed_log_file_is_left_at_sighup() {
    let directory = TempDir::new();
    let (path, old) = (directory.join("client.log"), directory.join("client.log.1"));
    let mut rig =
        Rig::with(|b| b.without("log.format").without("log.level").flag("log.file", path.to_str().unwrap()));
    rig.assert_alive();
    std::fs::rename(&path, &old).unwrap();
    rig.client.signal(nix::sys::signal::Signal::SIGHUP);
    let end = std::time::Instant::now() + crate::support::BOUND;
    while !path.exists() && std::time::Instant::now() < end {
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    // What cannot be opened leaves the file in use, and says why.
    std::fs::rename(&path, directory.join("client.log.2")).unwrap();
    std::fs::create_dir(&path).unwrap();
    rig.client.signal(nix::sys::signal::Signal::SIGHUP);
    assert!(rig.client.stop().success());
    let text = std::fs::read_to_string(&old).unwrap();
    assert!(text.contains("poller started") && !text.contains("reopening"), "{text}");
    let text = std::fs::read_to_string(directory.join("client.log.2")).unwrap();
    assert!(text.contains("reopening the log file"), "{text}");
    assert!(text.contains("was not opened anew\",\"error\":\"is a directory"), "{text}");
    assert!(text.contains("msg=stopping"), "{text}");
}

/// A log file that has reached the largest size of a file costs lines, never commands.
#[test]
fn a_log_file_at_its_limit_costs_lines_alone() {
    let directory = TempDir::new();
    let path = directory.join("client.log");
    let (plane, mcp) = (crate::support::plane::Plane::start(), crate::support::mcp::Mcp::start());
    let program = crate::support::client::PROGRAM;
    let mut child = std::process::Command::new("/bin/sh")
        // In units of 512 bytes, or of 1024.
        .args([
            "-c",
            "ulimit -f 4; exec \"$0\" \"$@\"",
            program,
            "run",
            "--health.listen-addr",
            "127.0.0.1:0",
        ])
        .args(["--mcp.server-url", &mcp.url(), "--log.file", path.to_str().unwrap()])
        .args(["--log.level", "debug", "--control-plane.tunnel-id", crate::support::plane::TUNNEL])
        .args(["--control-plane.base-url", &plane.server.origin()])
        .env_clear()
        .env("CONTROL_PLANE_API_KEY", crate::support::client::API_KEY)
        .spawn()
        .unwrap();
    for _ in 0..20 {
        let command = crate::support::command::Command::method("ping", "1");
        plane.queue(&command);
        assert_eq!(plane.wait_answer(&command).code(), 200);
    }
    assert!(std::fs::metadata(&path).unwrap().len() <= 4096);
    nix::sys::signal::kill(
        nix::unistd::Pid::from_raw(i32::try_from(child.id()).unwrap()),
        nix::sys::signal::Signal::SIGTERM,
    )
    .unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0));
}
