//! `dev plane`: a profile is tried against it, and it misbehaves as it is told.

use serde_json::json;

use crate::support::client::{Builder, Client};
use crate::support::local::{BOTH, ask, json as body};
use crate::support::mcp::Mcp;

/// A tunnel client with its server, and the plane that it was told of.
struct Rehearsal {
    client: Client,
    plane: Client,
    endpoint: String,
    _mcp: Mcp,
}

/// Starts a plane with these flags, and a client that takes over what it prints.
fn start(flags: &[(&str, &str)]) -> Rehearsal {
    let bare = Builder::bare("dev").argument("plane");
    let plane = flags.iter().fold(bare, |builder, (flag, value)| builder.flag(flag, value)).start();
    let exported = |name: &str| {
        let line = plane.wait_log(|line| line.contains(&format!("export {name}=")));
        line.split_once('=').unwrap().1.to_owned()
    };
    let (url, key) = (exported("CONTROL_PLANE_BASE_URL"), exported("CONTROL_PLANE_API_KEY"));
    let endpoint = plane.wait_log(|line| line.starts_with("  http://") && line.ends_with("/mcp"));
    let endpoint = endpoint.trim().strip_prefix("http://").unwrap().trim_end_matches("/mcp").to_owned();
    let mcp = Mcp::start();
    let builder = Builder::run(&url, &mcp.url()).env("CONTROL_PLANE_API_KEY", &key);
    Rehearsal { client: builder.start(), plane, endpoint, _mcp: mcp }
}

impl Rehearsal {
    /// A call of the server through plane and client.
    fn call(&self) {
        let text = json!({ "jsonrpc": "2.0", "id": 7, "method": "tools/call", "params": { "name": "look" } });
        let answer = ask(&self.endpoint, "POST", "/mcp", BOTH, &text.to_string());
        assert_eq!(answer.status, 200, "{answer:?}\n{}", self.plane.log());
        assert_eq!(body(&answer)["result"]["echo"]["name"], "look");
    }

    /// Waits until so many lines of the plane hold this behind their time.
    fn told(&self, count: usize, what: &str) -> String {
        self.plane
            .wait_logs(count, |line| line.split_once("  ").is_some_and(|(_, told)| told.starts_with(what)))
    }
}

#[test]
fn a_profile_runs_against_it_with_any_key_and_it_shows_what_passes() {
    let mut rehearsal = start(&[]);
    let tunnel = rehearsal.told(1, "tunnel tunnel_");
    let id = tunnel.rsplit(' ').next().unwrap().to_owned();
    rehearsal.call();
    let out = rehearsal.told(1, "out   local-1  main jsonrpc  ");
    assert!(out.contains(r#""method":"tools/call""#) && out.starts_with("20"), "{out}");
    let back = rehearsal.told(1, "back  local-1  200 jsonrpc_response  ");
    assert!(back.contains(r#""name":"look""#), "{back}");
    // It serves one tunnel, the first that asked; any key opens it, but none does not.
    let plane = rehearsal.plane.wait_log(|line| line.contains("CONTROL_PLANE_BASE_URL"));
    let plane = plane.split_once("http://").unwrap().1;
    let get = |id: &str, head: &str| ask(plane, "GET", &format!("/v1/tunnels/{id}"), head, "").status;
    assert_eq!(get(&id, "Authorization: Bearer another\r\n"), 200);
    assert_eq!(get(&format!("tunnel_{}", "9".repeat(32)), "Authorization: Bearer another\r\n"), 404);
    assert_eq!(get(&id, "Authorization: Bearer \r\n"), 401);
    assert_eq!(get(&id, ""), 401);
    assert_eq!(rehearsal.plane.stop().code(), Some(0));
}

#[test]
fn it_fails_as_many_requests_as_it_is_told() {
    let rehearsal = start(&[("fail", "503")]);
    rehearsal.told(2, "fail  503 poll");
    rehearsal.client.wait_log(|line| line.contains("503") && line.contains("poll"));
    assert!(!rehearsal.plane.log().contains("tunnel tunnel_"));
    // Half of them: nothing is lost on the way, since what failed is sent again.
    let rehearsal = start(&[("fail", "500:0.5")]);
    rehearsal.call();
    rehearsal.call();
    rehearsal.told(2, "fail  500 ");
}

#[test]
fn it_is_away_now_and_then_and_comes_back_where_it_was() {
    let rehearsal = start(&[("restart-every", "1"), ("delay", "10")]);
    rehearsal.told(1, "the control plane is away");
    rehearsal.told(1, "the control plane is back");
    rehearsal.call();
    rehearsal.told(2, "the control plane is back");
    rehearsal.call();
}

#[test]
fn what_it_is_told_wrongly_is_refused() {
    for (flag, value, why) in [
        ("fail", "200", "expected a status from 400 to 599"),
        ("fail", "503:2", "expected a status from 400 to 599"),
        ("delay", "1s", "invalid"),
        ("listen", "nowhere", "invalid --listen"),
    ] {
        let outcome = Builder::bare("dev").argument("plane").flag(flag, value).outcome();
        assert_eq!(outcome.code, Some(1), "{flag} {value}");
        assert!(outcome.stderr.contains(why), "{flag} {value}: {}", outcome.stderr);
    }
    let over = Builder::bare("dev").argument("plane").flag("duration", "10ms").outcome();
    assert_eq!((over.code, over.stderr.as_str()), (Some(0), ""));
}
