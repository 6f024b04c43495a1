//! Names, sizes and bounds of what is scraped.

use super::*;

fn metrics() -> Metrics {
    Metrics::new("tunnel_0123456789abcdef0123456789abcdef", 20, 10, &[Channel::main()])
}

fn ready() -> Readiness {
    let readiness = Readiness::new(Duration::from_secs(60), &[]);
    readiness.poll_succeeded();
    readiness
}

fn place() -> Destination {
    Destination::new("mcp", &Origin { tls: false, host: "h".into(), port: 80 })
}

fn call<'a>(channel: &'a Channel, method: &'a str, status: u16) -> Answered<'a> {
    Answered {
        channel,
        kind: RequestKind::Call,
        method: Some(method),
        status,
        poll_to_response: Duration::from_micros(12_900),
        enqueue_to_response: None,
    }
}

#[test]
fn an_idle_process_shows_its_names_in_little_text() {
    let metrics = metrics();
    metrics.poll_cycles.add([], 1);
    metrics.poll_ended(Duration::from_secs(30), None);
    metrics.http(&place(), "GET", Some(200), Duration::from_millis(3), 0);
    metrics.http(&place(), "GET", Some(204), Duration::from_secs(30), 0);
    metrics.http(&place(), "GET", Some(200), Duration::from_secs(30), 0);
    let text = metrics.render(&ready());
    let (own, known): (Vec<&str>, Vec<&str>) = text.lines().partition(|line| line.contains("tunnel_client_"));
    let sizes = [known, own].map(|lines| lines.iter().map(|line| line.len() + 1).sum::<usize>());
    assert!(sizes[0] < 16 * 1024 && sizes[1] < 4 * 1024, "{sizes:?}");
    for line in [
        "liveness 1",
        "readiness 1",
        "commands_poll_cycles_total 1",
        "commands_polled_total 0",
        "commands_queue_drops_total{drop_reason=\"context_canceled\"} 0",
        "commands_poll_errors_total{error_kind=\"timeout\"} 0",
        "commands_queue_capacity 20",
        "dispatcher_worker_pool_capacity 10",
        "answers_lost_total 0",
        "commands_poll_latency_seconds_bucket{error=\"false\",le=\"25\"} 0",
        "commands_poll_latency_seconds_sum{error=\"false\"} 30",
    ] {
        assert!(text.contains(&format!("\n{line}\n")), "{line} in {text}");
    }
    let (_, stamp) = text.split_once("\ncommands_poll_last_successful_timestamp_seconds ").unwrap();
    assert!(stamp.split('\n').next().unwrap().parse::<u64>().unwrap() > 0);
}

#[test]
fn every_sample_belongs_to_a_family_that_is_described_once() {
    let metrics = metrics();
    let channel = Channel::main();
    metrics.answered(&call(&channel, "tools/call", 200));
    metrics.target_failure(&channel, "connect");
    metrics.server_request(&channel, true);
    metrics.unsupported_channel(&channel, "jsonrpc");
    let text = metrics.render(&ready());
    let mut family = "";
    let mut seen = Vec::new();
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            family = rest.split(' ').next().unwrap();
            assert!(!seen.contains(&family), "{family}");
            seen.push(family);
        } else if !line.starts_with('#') {
            assert!(line.starts_with(family), "{line} under {family}");
        }
    }
    let label = "channel=\"main\",latency_type=\"poll_to_response\",request_kind=\"call\",\
        request_method=\"tools/call\",tunnel_id=\"tunnel_0123456789abcdef0123456789abcdef\",tunnel_service_status=\"200\"";
    let name = "command_end_to_end_latency_milliseconds";
    assert!(text.contains(&format!("{name}_sum{{{label}}} 12\n")), "{text}");
}

#[test]
fn labels_from_outside_are_bounded() {
    let metrics = metrics();
    let channel = Channel::main();
    for n in 0..2000_u16 {
        metrics.answered(&call(&channel, &format!("tools/call{n}"), n));
        metrics.http(&place(), "POST", Some(n), Duration::ZERO, 1);
    }
    let text = metrics.render(&ready());
    let sets = |name: &str| text.lines().filter(|line| line.starts_with(name)).count();
    // 500 statuses and one for all others.
    assert_eq!(sets("command_end_to_end_latency_milliseconds_count"), 501);
    assert_eq!(sets("http_client_request_duration_seconds_count"), 501);
    assert!(!text.contains("tools/call1"));
    assert!(text.contains("request_method=\"other\""));
    assert!(text.contains("tunnel_service_status=\"other\""));
}

#[test]
fn an_exchange_without_a_reply_has_no_status() {
    let metrics = metrics();
    metrics.http(&place(), "POST", None, Duration::from_millis(5), 10);
    let text = metrics.render(&ready());
    let labels = "http_request_method=\"POST\",http_route=\"mcp\",network_protocol_name=\"http\",\
        network_protocol_version=\"1.1\",server_address=\"h\",server_port=\"80\",url_scheme=\"http\"";
    assert!(text.contains(&format!("http_client_request_body_size_bytes_sum{{{labels}}} 10\n")), "{text}");
}
