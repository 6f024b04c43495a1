//! Client certificates that are replaced: which is shown, and what becomes of connections and sessions of the former.

use super::{held, reload_all, replace, wait_until};
use crate::support::certs::{Authority, Files};
use crate::support::command::Command;
use crate::support::http::Request;
use crate::support::mcp::Mcp;
use crate::support::plane::{Plane, is_poll};
use crate::support::rig::Rig;
use crate::support::temp::TempDir;

/// A certificate that a client names, and where it stands.
struct Shown {
    files: [String; 2],
    _directory: TempDir,
}

impl Shown {
    fn new(first: &Files) -> Shown {
        let directory = TempDir::new();
        let read = |path: &str| std::fs::read(path).unwrap();
        let files = [
            directory.write("agent.pem", read(&first.certificate)),
            directory.write("agent.key", read(&first.key)),
        ];
        Shown { files, _directory: directory }
    }

    /// A tunnel that shows it to an MCP server of one authority, which trusts clients of another one, and itself trusts a
    /// third.
    fn to_server(&self, servers: &Authority, clients: &Authority, trusted: &Authority) -> Rig {
        let mcp = Mcp::start_with(Some(servers.server_demanding(clients)));
        Rig::over(Plane::start(), mcp, |b| {
            b.flag("ca-bundle", &trusted.bundle())
                .flag("mcp.client-cert", &self.files[0])
                .flag("mcp.client-key", &self.files[1])
        })
    }

    /// Puts another one in its place; key first, so that both stand wrong for a moment.
    fn replace(&self, next: &Files) {
        replace(&self.files[1], std::fs::read(&next.key).unwrap());
        replace(&self.files[0], std::fs::read(&next.certificate).unwrap());
    }
}

/// The certificates of requests, and whether any of them came in a session of before.
fn certificates(requests: &[Request]) -> Vec<&[u8]> {
    requests.iter().map(|request| request.certificate.as_slice()).collect()
}

/// Towards the control plane: the poll that is held ends with the old one, all else shows the new one in full handshakes,
/// and connections of the old one that rest are closed long before their time.
#[test]
fn the_plane_is_shown_the_new_certificate() {
    let (servers, clients) = (Authority::new("Servers"), Authority::new("Clients"));
    let (first, second) = (clients.client("first"), clients.client("second"));
    let shown = Shown::new(&first);
    let plane = Plane::start_with(Some(servers.server_demanding(&clients)));
    let rig = Rig::over(plane, Mcp::start(), |b| {
        b.flag("ca-bundle", &servers.bundle())
            .flag("control-plane.client-cert", &shown.files[0])
            .flag("control-plane.client-key", &shown.files[1])
    });
    rig.assert_alive();
    rig.assert_alive();
    let before = rig.plane.server.requests();
    assert!(certificates(&before).iter().all(|one| *one == first.der), "{}", before.len());
    shown.replace(&second);
    reload_all(&rig.client, &[&shown.files[0], &shown.files[1]]);
    // The poll that is held is all that is left of the former connections; those of answers would rest for 50 s.
    wait_until("connections rest", || rig.plane.server.live() == 1);
    rig.assert_alive();
    rig.assert_alive();
    let polls = |requests: &[Request]| requests[before.len()..].iter().filter(|one| is_poll(one)).count();
    wait_until("two polls", || polls(&rig.plane.server.requests()) >= 2);
    let requests = rig.plane.server.requests();
    let after: Vec<Request> = requests[before.len()..].to_vec();
    // Of polls the first may have been sent before.
    let old = after.iter().filter(|request| request.certificate == first.der).count();
    assert!(old <= 1 && after.iter().skip(1).all(|request| request.certificate == second.der), "{old}");
    assert!(rig.plane.server.abandoned().is_empty());
    let newest = after.iter().filter(|request| request.certificate == second.der);
    let mut connections: Vec<_> = newest.map(|request| (request.connection, request.resumed)).collect();
    connections.sort_unstable();
    connections.dedup();
    assert!(!connections.first().unwrap().1, "a session of the old certificate went on: {connections:?}");
}

/// Towards an MCP server: the call that runs ends with the old one, and its connection is not used again.
#[test]
fn a_server_is_shown_the_new_certificate() {
    let (servers, clients) = (Authority::new("Servers"), Authority::new("Clients"));
    let (first, second) = (clients.client("first"), clients.client("second"));
    let shown = Shown::new(&first);
    let rig = shown.to_server(&servers, &clients, &servers);
    let (running, gate) = held(&rig);
    shown.replace(&second);
    reload_all(&rig.client, &[&shown.files[0], &shown.files[1]]);
    rig.assert_alive();
    gate.open();
    assert_eq!(rig.plane.wait_answer(&running).code(), 200);
    rig.assert_alive();
    let calls = rig.mcp.calls();
    assert_eq!(certificates(&calls), [&first.der, &second.der, &second.der]);
    assert!(calls[1..].iter().all(|call| call.connection != calls[0].connection));
    assert!(!calls[1].resumed);
    // Both were of the same authority: a server that trusted one resumes what it began with it.
    assert!(rig.mcp.server.abandoned().is_empty());
}

/// A certificate that does not belong to its key, or is half written, changes nothing; the one after it is taken.
#[test]
fn a_half_replaced_certificate_changes_nothing() {
    let (servers, clients) = (Authority::new("Servers"), Authority::new("Clients"));
    let (first, second) = (clients.client("first"), clients.client("second"));
    let shown = Shown::new(&first);
    let rig = shown.to_server(&servers, &clients, &servers);
    rig.assert_alive();
    let pem = std::fs::read_to_string(&second.certificate).unwrap();
    let half = pem.lines().take(3).collect::<Vec<_>>().join("\n");
    let halves = [pem.clone(), half, String::new()];
    for (number, half) in halves.iter().enumerate() {
        replace(&shown.files[0], half);
        rig.client.signal(nix::sys::signal::Signal::SIGHUP);
        rig.client.wait_logs(number + 1, |line| line.contains("cannot be taken over"));
        rig.assert_alive();
    }
    assert!(rig.mcp.calls().iter().all(|call| call.certificate == first.der));
    shown.replace(&second);
    reload_all(&rig.client, &[&shown.files[0], &shown.files[1]]);
    rig.assert_alive();
    assert_eq!(rig.mcp.calls().last().unwrap().certificate, second.der);
}

/// A certificate that cannot be used keeps no authority from being trusted: the former one is shown to its servers.
#[test]
fn a_broken_certificate_holds_up_no_authority() {
    let [former, servers, clients] = ["Former", "Servers", "Clients"].map(Authority::new);
    let first = clients.client("first");
    let shown = Shown::new(&first);
    let rig = shown.to_server(&servers, &clients, &former);
    assert_eq!(rig.send(&Command::method("ping", "1")).code(), 502);
    replace(&shown.files[1], "");
    replace(&former.bundle(), std::fs::read(servers.bundle()).unwrap());
    rig.client.signal(nix::sys::signal::Signal::SIGHUP);
    rig.client.wait_log(|line| line.contains("cannot be taken over"));
    rig.assert_alive();
    assert_eq!(rig.mcp.calls().last().unwrap().certificate, first.der);
}
