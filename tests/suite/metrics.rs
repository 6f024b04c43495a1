//! `/metrics`: names, labels and what moves them.

use std::time::{Duration, SystemTime};

use nix::sys::signal::Signal;

use crate::support::certs::{Authority, DAY};
use crate::support::client::Client;
use crate::support::command::Command;
use crate::support::mcp::Mcp;
use crate::support::plane::{Plane, TUNNEL};
use crate::support::reply::Reply;
use crate::support::rig::Rig;

/// The sum of the samples of this name whose labels hold all of these; `None` without any.
fn sample(text: &str, name: &str, labels: &[&str]) -> Option<f64> {
    let found: Vec<f64> = text
        .lines()
        .filter(|line| {
            let rest = line.strip_prefix(name).unwrap_or_default();
            (rest.starts_with('{') || rest.starts_with(' ')) && labels.iter().all(|l| rest.contains(l))
        })
        .filter_map(|line| line.rsplit(' ').next()?.parse().ok())
        .collect();
    (!found.is_empty()).then(|| found.iter().sum())
}

fn wait_sample(client: &mut Client, name: &str, labels: &[&str], wanted: f64) -> String {
    let fits = |text: &str| sample(text, name, labels) == Some(wanted);
    client.wait_get("/metrics", |answer| fits(&answer.body)).body
}

const LATENCY: &str = "command_end_to_end_latency_milliseconds_count";

/// MCP-172, CP-167: an idle client announces every family, in the text format, in less than 16 KiB.
#[test]
fn an_idle_scrape_is_small_and_complete() {
    let mut rig = Rig::start();
    rig.client.wait_get("/readyz", |a| a.status == 200);
    let answer = rig.client.get("/metrics");
    assert!(answer.head.contains("text/plain; version=0.0.4"), "{}", answer.head);
    assert!(answer.body.len() < 16 * 1024, "{}", answer.body.len());
    for name in [
        "commands_poll_cycles_total",
        "commands_poll_latency_seconds",
        "commands_poll_errors_total",
        "commands_poll_last_successful_timestamp_seconds",
        "commands_polled_total",
        "commands_enqueued_total",
        "commands_queue_drops_total",
        "commands_age_seconds",
        "commands_queue_capacity",
        "commands_queue_length",
        "dispatcher_worker_pool_capacity",
        "dispatcher_worker_pool_occupancy",
        "command_end_to_end_latency_milliseconds",
        "command_unsupported_channel_total",
        "http_client_request_duration_seconds",
        "http_client_request_body_size_bytes",
        "liveness",
        "readiness",
        "harpoon_call_total",
        "harpoon_call_latency_milliseconds",
        "harpoon_response_size_bytes",
        "proxy_health_state",
        "proxy_last_check_timestamp",
        "proxy_last_success_timestamp",
        "proxy_check_phase_duration_seconds",
        "proxy_check_failures_total",
        "tunnel_client_policy_decisions_total",
        "tunnel_client_certificate_not_before_timestamp_seconds",
        "tunnel_client_certificate_expiry_timestamp_seconds",
        "tunnel_client_certificate_loaded_timestamp_seconds",
    ] {
        assert!(answer.body.contains(&format!("# TYPE {name} ")), "{name}");
    }
    assert_eq!(sample(&answer.body, "liveness", &[]), Some(1.0));
    assert_eq!(sample(&answer.body, "readiness", &[]), Some(1.0));
    assert!(!answer.body.contains("otel_"));
}

/// Exchanges are counted with the labels that dashboards of the Go client select on; a server's path, which may be
/// what guards it, is none of them.
#[test]
fn exchanges_say_where_they_went() {
    let mut rig = Rig::start();
    rig.assert_alive();
    let text = rig.client.get("/metrics").body;
    let name = "http_client_request_duration_seconds_count";
    let plane = rig.plane.server.origin();
    let port = format!("server_port=\"{}\"", plane.rsplit(':').next().unwrap());
    let poll = format!("http_route=\"/v1/tunnels/{TUNNEL}/poll\"");
    assert!(sample(&text, name, &[&poll, "server_address=\"127.0.0.1\"", &port]) >= Some(1.0), "{text}");
    let server = ["http_route=\"mcp\"", "url_scheme=\"http\"", "network_protocol_version=\"1.1\""];
    assert!(sample(&text, name, &server) >= Some(1.0), "{text}");
}

/// DESIGN, metrics: the text is well formed: no family twice, every sample below its own family.
#[test]
fn the_text_is_well_formed() {
    let mut rig = Rig::start();
    rig.assert_alive();
    rig.send(&Command::method("tools/list", "1").channel("absent"));
    let text = rig.client.get("/metrics").body;
    let mut families: Vec<&str> = Vec::new();
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            let name = rest.split(' ').next().unwrap();
            assert!(!families.contains(&name), "{name} twice");
            families.push(name);
        } else if !line.starts_with('#') {
            let family = families.last().unwrap();
            assert!(line.starts_with(family), "{line} below {family}");
            assert!(line.rsplit(' ').next().unwrap().parse::<f64>().is_ok(), "{line}");
        }
    }
    assert!(text.ends_with('\n'));
}

/// MCP-173: the capacities are the settings.
#[test]
fn capacities_are_the_settings() {
    let mut rig =
        Rig::with(|b| b.flag("mcp.max-concurrent-requests", "7").flag("control-plane.max-inflight", "33"));
    let text = rig.client.get("/metrics").body;
    assert_eq!(sample(&text, "dispatcher_worker_pool_capacity", &[]), Some(7.0));
    assert_eq!(sample(&text, "commands_queue_capacity", &[]), Some(33.0));
}

/// MCP-174, CP-168: commands for channels that are not served are counted with channel and type.
#[test]
fn unsupported_channels_are_counted() {
    let mut rig = Rig::start();
    for _ in 0..2 {
        assert_eq!(rig.send(&Command::method("ping", "1").channel("absent")).code(), 400);
    }
    let tunnel = format!("tunnel_id=\"{TUNNEL}\"");
    let labels = ["channel=\"absent\"", "command_type=\"jsonrpc\"", tunnel.as_str()];
    wait_sample(&mut rig.client, "command_unsupported_channel_total", &labels, 2.0);
}

/// DESIGN, metrics: labels from outside are bounded, and invented channels take no room from real ones.
#[test]
fn labels_from_outside_are_bounded() {
    let mut rig = Rig::start();
    let commands: Vec<Command> = (0..150)
        .map(|n| Command::method(&format!("made/up{n}"), "1").channel(&format!("c{n}")))
        .chain((0..150).map(|n| Command::method(&format!("also/made/up{n}"), "1")))
        .collect();
    rig.plane.queue_all(&commands);
    for command in &commands {
        rig.plane.wait_answer(command);
    }
    wait_sample(&mut rig.client, LATENCY, &["poll_to_response"], 300.0);
    let text = rig.client.get("/metrics").body;
    let labels = ["poll_to_response", "channel=\"main\"", "request_method=\"other\""];
    assert_eq!(sample(&text, LATENCY, &labels), Some(150.0));
    assert!(!text.contains("made/up"));
    let channels = text.lines().filter(|l| l.starts_with("command_unsupported_channel_total{"));
    assert!(channels.count() <= 100);
    assert!(text.len() < 512 * 1024, "{}", text.len());
}

/// CP-169: each answered command is one `poll_to_response`, and one `enqueue_to_response` when its age is known.
#[test]
fn answered_commands_are_timed() {
    let mut rig = Rig::start();
    let at = |time: SystemTime| {
        let seconds = time.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
        let date = rfc3339(seconds);
        Command::method("tools/list", "1").member("created_at", format!("\"{date}\""))
    };
    let hour = Duration::from_secs(3600);
    rig.send(&Command::method("tools/list", "1").without("created_at").off_contract());
    rig.send(&at(SystemTime::now() + hour));
    rig.send(&at(SystemTime::now() - Duration::from_secs(5)));
    let labels = |latency: &'static str| {
        [
            latency,
            "channel=\"main\"",
            "request_kind=\"call\"",
            "request_method=\"tools/list\"",
            "tunnel_service_status=\"200\"",
        ]
    };
    let polled = labels("latency_type=\"poll_to_response\"");
    let text = wait_sample(&mut rig.client, LATENCY, &polled, 3.0);
    let enqueued = labels("latency_type=\"enqueue_to_response\"");
    assert_eq!(sample(&text, LATENCY, &enqueued), Some(1.0));
    let sum = "command_end_to_end_latency_milliseconds_sum";
    assert!(sample(&text, sum, &enqueued).unwrap() >= 4_000.0);
    assert_eq!(sample(&text, "commands_polled_total", &[]), Some(3.0));
    assert_eq!(sample(&text, "commands_enqueued_total", &[]), Some(3.0));
}

/// CP-169: the status is that of the answer, and an answer that was not taken is no sample.
#[test]
fn only_taken_answers_are_timed() {
    let mut rig = Rig::start();
    rig.mcp.reply("tools/list", Reply::status(500));
    rig.send(&Command::method("tools/list", "1"));
    let code = rig.plane.posts()[0].code();
    let status = format!("tunnel_service_status=\"{code}\"");
    wait_sample(&mut rig.client, LATENCY, &["poll_to_response", &status], 1.0);
    let lost = Command::method("ping", "1");
    rig.plane.answer_for(&lost, Reply::status(400));
    rig.send(&lost);
    let text = wait_sample(&mut rig.client, "answers_lost_total", &[], 1.0);
    assert_eq!(sample(&text, LATENCY, &["request_method=\"ping\""]), None);
}

/// CP-167: polls that fail are counted: statuses as `other`, one's own deadline as `timeout`.
#[test]
fn failed_polls_are_counted_by_kind() {
    let plane = Plane::start();
    for reply in [Reply::status(500), Reply::status(401), Reply::silence()] {
        plane.next_poll(reply.off_contract());
    }
    let mut rig = Rig::over(plane, Mcp::start(), |b| {
        b.flag("control-plane.poll-timeout", "300ms").flag("control-plane.poll-deadline-guardrail", "200ms")
    });
    let name = "commands_poll_errors_total";
    let text = wait_sample(&mut rig.client, name, &["error_kind=\"timeout\""], 1.0);
    assert_eq!(sample(&text, name, &["error_kind=\"other\""]), Some(2.0));
    let failed = sample(&text, "commands_poll_latency_seconds_count", &["error=\"true\""]);
    assert_eq!(failed, Some(3.0));
}

/// `YYYY-MM-DDThh:mm:ssZ` of a Unix time (days to civil date by 400-year eras).
fn rfc3339(seconds: u64) -> String {
    let days = seconds / 86_400 + 719_468;
    let day_of_era = days % 146_097;
    let year = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = days / 146_097 * 400 + year + u64::from(month <= 2);
    let (h, m, s) = (seconds / 3_600 % 24, seconds / 60 % 60, seconds % 60);
    format!("{year:04}-{month:02}-{day:02}T{h:02}:{m:02}:{s:02}Z")
}

/// DESIGN, metrics: of each purpose with a certificate of ours begin, end and load are told, and no subject; without
/// certificates there is no sample.
#[test]
fn certificates_are_measured_by_purpose() {
    let name = |what: &str| format!("tunnel_client_certificate_{what}_timestamp_seconds");
    let mut bare = Rig::start();
    bare.assert_alive();
    assert_eq!(sample(&bare.client.get("/metrics").body, &name("expiry"), &[]), None);

    let (servers, clients) = (Authority::new("Servers"), Authority::new("Clients"));
    let plane = Plane::start_with(Some(servers.server_demanding(&clients)));
    let mcp = Mcp::start_with(Some(servers.server_demanding(&clients)));
    let (of_plane, of_mcp) =
        (clients.client_of_age("p", [DAY, 2 * DAY]), clients.client_of_age("m", [DAY, DAY]));
    let now = || SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs_f64();
    let began = now();
    let mut rig = Rig::over(plane, mcp, |b| {
        b.flag("ca-bundle", &servers.bundle())
            .flag("control-plane.client-cert", &of_plane.certificate)
            .flag("control-plane.client-key", &of_plane.key)
            .flag("mcp.client-cert", &of_mcp.certificate)
            .flag("mcp.client-key", &of_mcp.key)
    });
    rig.assert_alive();
    let text = rig.client.get("/metrics").body;
    for (purpose, days) in [("control-plane", 2.0), ("mcp:main", 1.0)] {
        let of = |what| sample(&text, &name(what), &[&format!("purpose=\"{purpose}\"")]).unwrap() - began;
        assert!((of("expiry") - days * 86_400.0).abs() < 60.0, "{purpose}: {text}");
        assert!((of("not_before") + 86_400.0).abs() < 60.0, "{purpose}: {text}");
        assert!(of("loaded") > -1.1 && of("loaded") <= now() - began, "{purpose}: {text}");
    }
    let bundle = |what| sample(&text, &name(what), &["purpose=\"ca-bundle\""]);
    assert!(bundle("expiry") > bundle("loaded") && bundle("loaded") > bundle("not_before"), "{text}");
    let samples = text.lines().filter(|line| line.starts_with("tunnel_client_certificate_"));
    assert_eq!(samples.count(), 9, "{text}");
}

/// A renewal is measured anew, here and in `/health`; what cannot be used leaves the certificate that is in force.
#[test]
fn a_renewed_certificate_is_measured_anew() {
    let (servers, clients) = (Authority::new("Servers"), Authority::new("Clients"));
    let mcp = Mcp::start_with(Some(servers.server_demanding(&clients)));
    let files = clients.client_of_age("m", [DAY, DAY]);
    let mut rig = Rig::over(Plane::start(), mcp, |b| {
        b.flag("ca-bundle", &servers.bundle())
            .flag("mcp.client-cert", &files.certificate)
            .flag("mcp.client-key", &files.key)
    });
    rig.assert_alive();
    let expiry = |text: &str| {
        sample(text, "tunnel_client_certificate_expiry_timestamp_seconds", &["purpose=\"mcp:main\""]).unwrap()
    };
    let first = expiry(&rig.client.get("/metrics").body);
    // Of the new pair the certificate comes first, and is of no use without its key.
    let old_key = std::fs::read(&files.key).unwrap();
    clients.client_of_age("m", [0, 3 * DAY]);
    let new_key = std::fs::read(&files.key).unwrap();
    std::fs::write(&files.key, old_key).unwrap();
    rig.client.signal(Signal::SIGHUP);
    let failed = ["result=\"failed\""];
    let text = wait_sample(&mut rig.client, "tunnel_client_config_reloads_total", &failed, 1.0);
    assert_eq!(expiry(&text), first, "{text}");
    std::fs::write(&files.key, new_key).unwrap();
    rig.client.signal(Signal::SIGHUP);
    let text = wait_sample(&mut rig.client, "tunnel_client_config_reloads_total", &["result=\"ok\""], 1.0);
    let days = (expiry(&text) - first) / 86_400.0;
    assert!((1.9..2.1).contains(&days), "{text}");
    let health = rig.client.get("/health/reload").body;
    let health: serde_json::Value = serde_json::from_str(&health).unwrap();
    let shown = health["details"]["certificates"].as_array().unwrap();
    assert_eq!(shown.iter().map(|one| &one["purpose"]).collect::<Vec<_>>(), ["mcp:main", "ca-bundle"]);
    assert!(shown[0]["not_after"].as_str().unwrap().ends_with(".000Z"), "{health}");
    assert!(shown[0]["loaded_at"].as_str() >= shown[0]["not_before"].as_str(), "{health}");
    rig.assert_alive();
}

/// A certificate that a profile names no longer is measured no longer.
#[test]
fn a_certificate_that_is_taken_out_has_no_sample() {
    let (servers, clients) = (Authority::new("Servers"), Authority::new("Clients"));
    let mcp = Mcp::start_with(Some(servers.server_inviting(&clients)));
    let (files, bundle) = (clients.client_of_age("m", [DAY, DAY]), servers.bundle());
    let identity = format!("mcp:\n  client_cert: {}\n  client_key: file:{}\n", files.certificate, files.key);
    let mut rig = Rig::over(Plane::start(), mcp, |b| b.flag("ca-bundle", &bundle).yaml(&identity));
    rig.assert_alive();
    let name = "tunnel_client_certificate_expiry_timestamp_seconds";
    let ends = |text: &str| sample(text, name, &["purpose=\"mcp:main\""]);
    assert!(ends(&rig.client.get("/metrics").body).is_some());
    std::fs::write(rig.client.path("config.yaml"), "mcp: {}\n").unwrap();
    rig.client.signal(Signal::SIGHUP);
    let text = rig.client.wait_get("/metrics", |answer| ends(&answer.body).is_none()).body;
    assert!(sample(&text, name, &["purpose=\"ca-bundle\""]).is_some(), "{text}");
    assert!(!rig.client.get("/health/reload").body.contains("mcp:main"));
    rig.assert_alive();
}
