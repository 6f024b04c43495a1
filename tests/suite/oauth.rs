//! OAuth discovery as the product asks for it: where it looks, what it believes, what it hands back.

use std::time::Duration;

use crate::support::command::Command;
use crate::support::http::Request;
use crate::support::mcp::Mcp;
use crate::support::oauth::{OWN, ROOT, Site, challenge, lines, origin, resource};
use crate::support::reply::{Part, Reply};
use crate::support::stdio::Rig;

/// MCP-149, MCP-150, MCP-155, MCP-158, CP-138, CP-141, REV-059: the server is asked, then its own path, then the root.
#[test]
fn the_server_is_asked_then_its_path_then_the_root() {
    let mut site = Site::start(
        |r| match r.path() {
            ROOT => Some(resource(&origin(r))),
            _ => None,
        },
        |b| b.flag("mcp.extra-headers", "X-Static: s").flag("mcp.discovery-extra-headers", "X-Discovery: d"),
    );
    let command = Command::of_type("oauth_discovery").header("Authorization", &["Bearer caller"]);
    let (answer, asked) = site.discover_by(&command.header("X-Caller", &["c"]));
    assert_eq!((answer.kind(), answer.code()), ("oauth_discovery_response", 200));
    assert_eq!(answer.payload()["resource"], site.server.origin() + "/mcp");
    let expected = ["POST /mcp".into(), "GET /mcp".into(), format!("GET {OWN}"), format!("GET {ROOT}")];
    assert_eq!(lines(&asked[..4]), expected);
    for request in &asked[..4] {
        assert_eq!(request.header("accept"), Some("application/json"));
        assert!(request.header("user-agent").unwrap().starts_with("tunnel-client-rs/"));
        assert_eq!((request.header("x-static"), request.header("x-discovery")), (Some("s"), Some("d")));
        assert_eq!((request.header("authorization"), request.header("x-caller")), (None, None));
        assert!(request.body.is_empty());
    }
    // At start the same was asked for.
    assert_eq!(lines(&site.searches()[..4]), expected);
    assert_eq!(site.verdict().status, 200);
}

/// MCP-149, MCP-150, MCP-151, MCP-158, MCP-160, CP-138: what a challenge names comes first, and the document is handed on
/// as it came.
#[test]
fn a_challenge_names_the_first_place_and_the_document_passes_unharmed() {
    const DOCUMENT: &str = "{ \"resource\" : \"https:\\/\\/h\\/mcp\",\n \"n\": 1.50, \"authorization_response_iss_parameter_supported\":true }";
    let mut site = Site::start(
        |r| match (r.method.as_str(), r.path()) {
            ("POST", _) => Some(challenge(&format!("{}/meta?x=1", origin(r)))),
            (_, "/meta") => {
                let reply = Reply::body(200, "application/json; charset=utf-8", DOCUMENT);
                Some(reply.header("Set-Cookie", "a=b").header("X-Inside", "1"))
            }
            _ => None,
        },
        |b| b,
    );
    let (answer, asked) = site.discover();
    assert_eq!(lines(&asked), ["POST /mcp", "GET /meta?x=1"]);
    assert_eq!((answer.code(), answer.payload_text().as_str()), (200, DOCUMENT));
    assert_eq!(answer.header("content-type"), ["application/json; charset=utf-8"]);
    assert!(answer.header("set-cookie").is_empty() && answer.header("x-inside").is_empty());
}

/// MCP-152, MCP-153, CP-139: nothing there, trouble, or a redirect elsewhere leads on to the next place.
#[test]
fn trouble_leads_to_the_next_place() {
    type Case = fn(&str) -> Reply;
    let cases: [Case; 8] = [
        |_| Reply::status(404),
        |_| Reply::json(404, r#"{"resource":"wrong"}"#),
        |_| Reply::status(405),
        |_| Reply::status(410),
        |_| Reply::status(500),
        |_| Reply::closed(),
        |_| Reply::status(302).header("Location", "http://169.254.169.254/latest/meta-data"),
        |own| Reply::status(307).header("Location", &format!("{own}{OWN}")),
    ];
    for case in cases {
        let mut site = Site::start(
            move |r| match r.path() {
                OWN => Some(case(&origin(r))),
                ROOT => Some(resource(&origin(r))),
                _ => None,
            },
            |b| b,
        );
        let (answer, _) = site.discover();
        assert_eq!(answer.code(), 200, "{}", answer.request.text());
        assert_eq!(site.verdict().status, 200);
    }
}

/// MCP-152, MCP-154, CP-139, CP-140, MCP-159 as DESIGN has it: what is there and no metadata ends the search, and that
/// is answered.
#[test]
fn what_is_no_metadata_ends_the_search() {
    type Case = fn() -> Reply;
    let cases: [Case; 9] = [
        || Reply::status(400),
        || Reply::status(401),
        || Reply::status(403),
        || Reply::body(200, "text/html", "<html>"),
        || Reply::json(200, r#"{"resource":""}"#),
        || Reply::json(200, r#"{"resource":"a","resource":"b"}"#),
        || Reply::json(200, r#"{"resource":"a","authorization_servers":["x y"]}"#),
        || {
            let deep = format!("{}{}", "[".repeat(10_001), "]".repeat(10_001));
            Reply::json(200, format!(r#"{{"resource":"a","x":{deep}}}"#))
        },
        || Reply::json(200, format!(r#"{{"resource":"a","x":"{}"}}"#, "x".repeat(1 << 20))),
    ];
    for case in cases {
        let mut site = Site::start(
            move |r| match r.path() {
                OWN => Some(case()),
                ROOT => Some(resource(&origin(r))),
                _ => None,
            },
            |b| b,
        );
        let (answer, asked) = site.discover();
        assert_eq!((answer.kind(), answer.code()), ("oauth_discovery_response", 502));
        assert_eq!(answer.payload()["error"]["code"], "oauth_discovery_failed");
        let own = site.server.origin();
        assert!(!answer.payload_text().contains(&own), "{}", answer.payload_text());
        assert_eq!(lines(&asked).last(), Some(&format!("GET {OWN}")));
    }
}

/// MCP-158: the status is handed on and decides nothing where a document came with it.
#[test]
fn a_document_counts_whatever_its_status() {
    for (path, status) in [(OWN, 403), (OWN, 401), (ROOT, 404), (ROOT, 500)] {
        let mut site =
            Site::start(move |r| (r.path() == path).then(|| resource(&origin(r)).with_status(status)), |b| b);
        let (answer, _) = site.discover();
        assert_eq!(answer.code(), u64::from(status));
        assert!(answer.payload()["resource"].is_string());
    }
}

/// MCP-153, NEW-114: a redirect within the origin is followed, and a circle of them ends.
#[test]
fn redirects_stay_within_the_origin() {
    let mut site = Site::start(
        |r| match r.path() {
            OWN => Some(Reply::status(302).header("Location", "/moved")),
            "/moved" => Some(resource(&origin(r))),
            _ => None,
        },
        |b| b.flag("mcp.extra-headers", "X-Static: s"),
    );
    let (answer, asked) = site.discover();
    assert_eq!(answer.code(), 200);
    assert_eq!(lines(&asked[2..4]), [format!("GET {OWN}"), "GET /moved".into()]);
    let mut site =
        Site::start(|r| (r.path() == OWN).then(|| Reply::status(307).header("Location", OWN)), |b| b);
    let (answer, asked) = site.discover();
    assert_eq!((answer.code(), asked.len()), (502, 2 + 6 + 1));
    let other = Mcp::start();
    let (elsewhere, trusted) = (other.server.origin() + OWN, other.server.origin());
    // That the other origin is trusted makes no difference.
    let mut site = Site::start(
        move |r| (r.path() == OWN).then(|| Reply::status(302).header("Location", &elsewhere)),
        |b| b.flag("mcp.oauth-trusted-origin", &trusted),
    );
    let (answer, _) = site.discover();
    assert_eq!((answer.code(), other.server.connections()), (502, 0));
    let text = site.verdict().body;
    let wanted = "oauth discovery: redirect blocked: destination must use the discovery origin";
    assert!(text.ends_with(wanted), "{text}");
}

/// MCP-154: a gigabyte is neither awaited nor read, whether it is announced or not.
#[test]
fn a_gigabyte_is_not_read() {
    const GIGABYTE: usize = 1 << 30;
    for chunked in [false, true] {
        let mut site = Site::start(
            move |r| {
                let reply = Reply::json(200, "").then(Part::Fill(GIGABYTE));
                (r.path() == OWN).then(|| if chunked { reply.chunked() } else { reply })
            },
            |b| b,
        );
        let (answer, _) = site.discover();
        assert_eq!(answer.code(), 502);
        site.server.wait_abandoned(2);
        let text = site.client.get("/readyz").body;
        assert!(text.starts_with("oauth discovery failed: ") && text.contains("above 1 MiB"), "{text}");
        let status = std::fs::read_to_string(format!("/proc/{}/status", site.client.pid())).unwrap();
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        assert!(peak.trim().trim_end_matches(" kB").parse::<u64>().unwrap() < 64 * 1024, "{peak}");
    }
}

/// NEW-112, NEW-113, NEW-115: what is advertised with a fragment, credentials or another scheme is not asked, nor an
/// origin that is not trusted; the server's own places are all the same.
#[test]
fn an_unusable_place_leads_to_the_own_ones() {
    let other = Mcp::start();
    let meta = other.server.origin() + "/meta";
    let with_user = meta.replace("http://", "http://user:secret@");
    for advertised in [meta.clone(), meta.clone() + "#part", with_user, "ftp://h/meta".to_owned()] {
        let page = move |r: &Request| match (r.method.as_str(), r.path()) {
            ("POST", _) => Some(challenge(&advertised)),
            (_, OWN) => Some(resource(&origin(r))),
            _ => None,
        };
        let mut site = Site::start(page, |b| b);
        let (answer, asked) = site.discover();
        assert_eq!(answer.code(), 200);
        assert!(lines(&asked).contains(&format!("GET {OWN}")), "{:?}", lines(&asked));
        assert_eq!((site.verdict().body.as_str(), other.server.connections()), ("ready", 0));
    }
}

/// NEW-036, CP-140: before its deadline passes a search is answered all the same, and it holds nobody up.
#[test]
fn a_search_ends_with_its_deadline() {
    let site = Site::start(
        |r| r.path().starts_with(ROOT).then(|| Reply::json(200, "{\"resource\":").hang().declaring(100)),
        |b| b,
    );
    site.client.wait_log(|line| line.contains("OAuth discovery timed out; retrying"));
    let command = Command::of_type("oauth_discovery").timeout("700ms");
    let answer = site.send(&command);
    assert_eq!((answer.kind(), answer.code()), ("oauth_discovery_response", 504));
    assert_eq!(answer.payload()["error"]["code"], "oauth_discovery_failed");
    let ping = Command::method("ping", "1");
    assert_eq!(site.send(&ping).code(), 200);
    assert_eq!(site.plane.posts_of(&command).len(), 1);
}

/// MCP-152: a silent place costs the others nothing but its share of the time.
#[test]
fn a_silent_place_leaves_time_for_the_others() {
    let mut site = Site::start(
        |r| match r.path() {
            OWN => Some(Reply::silence()),
            ROOT => Some(resource(&origin(r))),
            _ => None,
        },
        |b| b,
    );
    assert_eq!(site.verdict().status, 200);
    let command = Command::of_type("oauth_discovery");
    site.plane.queue(&command);
    let answer = site.plane.wait_answer_within(&command, Duration::from_secs(30));
    assert_eq!(answer.code(), 200);
}

/// NEW-111, NEW-112, NEW-115, NEW-116, NEW-118: another origin is asked only when the operator named it, and never with
/// the operator's headers.
#[test]
fn other_origins_are_asked_when_they_are_trusted() {
    let other = Mcp::start();
    other.server.origin();
    let url = other.server.origin() + "/meta";
    let advertised = url.clone();
    let mut site = Site::start(
        move |r| (r.method == "POST").then(|| challenge(&advertised)),
        |b| b.flag("mcp.extra-headers", "X-Static: s"),
    );
    let (answer, asked) = site.discover();
    assert_eq!(answer.code(), 502);
    assert_eq!(asked.len(), 3, "{:?}", lines(&asked));
    assert_eq!(other.server.connections(), 0);
    let text = site.verdict().body;
    let wanted = "oauth discovery: destination origin is not trusted; configure --mcp.oauth-trusted-origin for \
                  additional metadata or authorization servers";
    assert_eq!(text, format!("oauth discovery failed: {}: {wanted}", other.server.origin()));

    let trusted = other.server.origin();
    let mut site = Site::start(
        move |r| (r.method == "POST").then(|| challenge(&url)),
        move |b| b.env("MCP_OAUTH_TRUSTED_ORIGINS", &trusted).flag("mcp.extra-headers", "X-Static: s"),
    );
    site.discover();
    let asked = other.server.requests();
    assert!(!asked.is_empty() && asked.iter().all(|r| r.target == "/meta" && r.header("x-static").is_none()));
}

/// MCP-113: a server over stdio has no discovery, which is said.
#[test]
fn stdio_has_no_discovery() {
    let rig = Rig::start("plain");
    let answer = rig.send(&Command::of_type("oauth_discovery"));
    assert_eq!((answer.kind(), answer.code()), ("oauth_discovery_response", 502));
    assert!(answer.payload_text().contains("stdio"), "{}", answer.payload_text());
}

/// NEW-111, NEW-112, NEW-116, MCP-161, MCP-165: an authorization server elsewhere is neither asked nor registered, unless it is trusted.
#[test]
fn an_authorization_server_elsewhere_must_be_trusted() {
    for trusted in [false, true] {
        let idp = Mcp::start();
        let issuer = idp.server.origin();
        let own = issuer.clone();
        idp.reply("GET", Reply::status(404));
        let mut site = Site::start(
            move |r| (r.path() == OWN).then(|| resource(&own)),
            |b| {
                let b = b.argument("--harpoon.allow-plaintext-http");
                if trusted { b.flag("mcp.oauth-trusted-origin", &issuer) } else { b }
            },
        );
        site.discover();
        let labels = site.labels();
        assert_eq!(labels.contains(&"oauth-prmd-auth-server-0".to_owned()), trusted, "{labels:?}");
        assert_eq!(idp.server.connections() > 0, trusted);
        assert!(labels.contains(&"oauth-prmd-source-0".to_owned()));
    }
}
