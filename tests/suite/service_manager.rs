//! What a service manager is told, and what it gets for an exit code.

use std::os::unix::net::UnixDatagram;

use nix::sys::signal::Signal;

use crate::support::client::Builder;
use crate::support::command::Command;
use crate::support::gate::Gate;
use crate::support::mcp::Mcp;
use crate::support::notify::Notifications;
use crate::support::plane::Plane;
use crate::support::reply::Reply;
use crate::support::rig::Rig;
use crate::support::temp::TempDir;

/// Short enough to be seen in a test, and long against what a busy machine takes.
const WATCHDOG_USEC: &str = "400000";

/// A rig under a service manager that has a watchdog.
fn managed(plane: Plane, adjust: impl FnOnce(Builder) -> Builder) -> (Rig, Notifications, TempDir) {
    let directory = TempDir::new();
    let notifications = Notifications::at(&directory.join("notify"));
    let rig = Rig::over(plane, Mcp::start(), |b| {
        let place = directory.join("notify");
        adjust(b.env("NOTIFY_SOCKET", place.to_str().unwrap()).env("WATCHDOG_USEC", WATCHDOG_USEC))
    });
    (rig, notifications, directory)
}

/// DESIGN, packaging: the start is over once the plane was reached and not before; until then the status says why.
#[test]
fn the_start_is_over_when_the_plane_is_reached() {
    let plane = Plane::start();
    plane.metadata(Reply::status(503).off_contract());
    plane.next_poll(Reply::status(503));
    plane.next_poll(Reply::status(503));
    let (mut rig, mut notifications, _directory) = managed(plane, |b| b);
    // On a busy machine the first reply is there before the first status.
    notifications.wait(|line| line.starts_with("STATUS=control plane "));
    assert!(!notifications.lines().contains(&"READY=1".to_owned()) || rig.plane.polls().len() > 2);
    notifications.wait(|line| line == "READY=1");
    assert!(rig.plane.polls().len() > 2);
    notifications.wait(|line| line == "STATUS=ready");
    assert_eq!(rig.client.get("/readyz").body, "ready");
    assert_eq!(rig.client.stop().code(), Some(0));
    let lines = notifications.lines();
    assert_eq!(lines.iter().filter(|line| *line == "READY=1").count(), 1, "{lines:?}");
}

/// The same through an abstract socket, which containers are given; without a watchdog there are no signs of life,
/// nor when they are asked of another process.
#[test]
fn abstract_sockets_are_told_too() {
    for watched in [None, Some("1")] {
        let name = format!("tunnel-client-suite-{}-{}", std::process::id(), watched.is_some());
        let mut notifications = Notifications::named(&name);
        let mut rig = Rig::with(|b| {
            let b = b.env("NOTIFY_SOCKET", &format!("@{name}"));
            match watched {
                Some(pid) => b.env("WATCHDOG_USEC", "20000").env("WATCHDOG_PID", pid),
                None => b,
            }
        });
        notifications.wait(|line| line == "READY=1");
        rig.assert_alive();
        assert_eq!(rig.client.stop().code(), Some(0));
        notifications.wait(|line| line == "STOPPING=1");
        assert!(!notifications.lines().contains(&"WATCHDOG=1".to_owned()));
    }
}

/// DESIGN, packaging: the status follows readiness in its own words, once a change.
#[test]
fn the_status_follows_readiness() {
    let (mut rig, mut notifications, _directory) = managed(Plane::start(), |b| b);
    notifications.wait(|line| line == "STATUS=ready");
    rig.plane.stop();
    let status = notifications.wait(|line| line.starts_with("STATUS=control plane not reached: "));
    assert_eq!(format!("STATUS={}", rig.client.get("/readyz").body), status);
    rig.plane.restart();
    notifications.wait(|line| line == "STATUS=ready");
    let lines = notifications.lines();
    let statuses: Vec<&String> = lines.iter().filter(|line| line.starts_with("STATUS=")).collect();
    assert!(statuses.windows(2).all(|pair| pair[0] != pair[1]), "{statuses:?}");
}

/// DESIGN, watchdog: signs of life come while nothing else happens.
#[test]
fn an_idle_client_gives_signs_of_life() {
    let (_rig, mut notifications, _directory) = managed(Plane::start(), |b| b);
    notifications.wait(|line| line == "STATUS=ready");
    for _ in 0..5 {
        notifications.wait(|line| line == "WATCHDOG=1");
    }
}

/// DESIGN, watchdog: an end that takes its time is announced, says what it waits for, and is not taken for stuck.
#[test]
fn a_long_end_is_announced_and_gives_signs_of_life() {
    let (mut rig, mut notifications, _directory) =
        managed(Plane::start(), |b| b.flag("process.drain-timeout", "120s"));
    let gate = Gate::new();
    let held = gate.clone();
    rig.mcp.hook(move |request| {
        (request.rpc_method() == "held").then(|| Reply::result("1", "{}").behind(&held))
    });
    let command = Command::method("held", "1");
    rig.plane.queue(&command);
    gate.wait_arrivals(1);
    rig.client.signal(Signal::SIGTERM);
    notifications.wait(|line| line == "STOPPING=1");
    for _ in 0..3 {
        notifications.wait(|line| line == "WATCHDOG=1");
    }
    gate.open();
    assert_eq!(rig.client.wait_exit().code(), Some(0));
    assert_eq!(rig.plane.wait_answer(&command).code(), 200);
    let stopping = "STATUS=stopping within 138 s; commands to answer: 1".to_owned();
    assert!(notifications.lines().contains(&stopping), "{:?}", notifications.lines());
}

/// A socket that is not there, no socket, or full costs a line of the log and nothing else.
#[test]
fn a_useless_socket_costs_one_line() {
    let directory = TempDir::new();
    let full = UnixDatagram::bind(directory.join("full")).unwrap();
    let filling = UnixDatagram::unbound().unwrap();
    filling.set_nonblocking(true).unwrap();
    while filling.send_to(b"x", directory.join("full")).is_ok() {}
    directory.write("file", "");
    let within = |name: &str| directory.join(name).to_str().unwrap().to_owned();
    let places = [
        ("relative".to_owned(), "NOTIFY_SOCKET cannot be used"),
        ("vsock:2:1".to_owned(), "NOTIFY_SOCKET cannot be used"),
        (within("file"), "cannot be told"),
        (within("absent"), "cannot be told"),
        (within("full"), "cannot be told"),
    ];
    for (place, complaint) in places {
        let mut rig = Rig::with(|b| b.env("NOTIFY_SOCKET", &place).env("WATCHDOG_USEC", "20000"));
        rig.client.wait_log(|line| line.contains(complaint));
        rig.assert_alive();
        assert_eq!(rig.client.stop().code(), Some(0), "{place}");
        let log = rig.client.log();
        assert_eq!(log.matches(complaint).count(), 1, "{place}: {log}");
    }
    drop(full);
}

/// `facts/packaging.md`: settings that cannot be used end with 78 where a service manager asks, so that it does not
/// try for ever; everywhere else with 1, as the reference does. What may be different next time stays 1.
#[test]
fn settings_that_cannot_be_used_are_told_apart() {
    let directory = TempDir::new();
    let _notifications = Notifications::at(&directory.join("notify"));
    let place = directory.join("notify").to_str().unwrap().to_owned();
    let absent = directory.join("absent.pem").to_str().unwrap().to_owned();
    let start = || Builder::run("http://127.0.0.1:1", "http://127.0.0.1:1/mcp");
    let codes = |adjust: &dyn Fn(Builder) -> Builder| {
        let alone = adjust(start()).finish();
        let managed = adjust(start()).env("NOTIFY_SOCKET", &place).finish();
        for said in [&alone.1, &managed.1] {
            assert!(said.lines().any(|line| line.contains(" tunnel-client: ")), "{said}");
        }
        (alone.0, managed.0)
    };
    assert_eq!(codes(&|b| b.without_env("CONTROL_PLANE_API_KEY")), (Some(1), Some(78)));
    assert_eq!(codes(&|b| b.yaml("no_such_key: 1\n")), (Some(1), Some(78)));
    assert_eq!(codes(&|b| b.flag("ca-bundle", &absent)), (Some(1), Some(78)));
    let mistyped = || start().argument("--no-such-flag");
    assert_eq!(
        (mistyped().finish().0, mistyped().env("NOTIFY_SOCKET", &place).finish().0),
        (Some(1), Some(78))
    );
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().unwrap().to_string();
    assert_eq!(codes(&|b| b.set("health.listen-addr", &taken)), (Some(1), Some(1)));
}
