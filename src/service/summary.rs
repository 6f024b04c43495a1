//! What an operator is told once, at start: where this process listens, whom it talks to, and how.

use crate::config::{self, Server, Settings, Source};
use crate::crypto;
use crate::net::Net;
use crate::ops::listener::Listener;

use super::tunnel::Tunnel;
#[cfg(feature = "page")]
use super::ways;

/// The URL of a listener on all addresses says localhost, which is one of them.
fn tell_of_all_addresses(health: &config::Health) {
    if health.unix_socket.is_none() && health.listen.address.ip().to_canonical().is_unspecified() {
        log::info!(
            "the listener stands on all addresses of this host; other machines may read health, readiness and metrics there"
        );
    }
}

/// What is different for servers over stdio.
fn tell_of_children(mcp: &config::Mcp) {
    let stdio = mcp.bindings.iter().filter(|binding| matches!(binding.server, Server::Stdio(_)));
    let channels: Vec<&str> = stdio.map(|binding| binding.channel.as_str()).collect();
    if !channels.is_empty() {
        log::info!(
            channels = channels.join(",").as_str();
            "a server over stdio answers through this process alone; run one instance of this tunnel, also while it is replaced"
        );
    }
    if mcp.stdio_send_initialized {
        log::info!(
            "mcp.stdio-send-initialized-notification changes nothing: a server over stdio always gets notifications/initialized before the next request"
        );
    }
}

/// Where the page is, and how a browser gets there.
#[cfg(feature = "page")]
fn tell_of_page(listener: &Listener, health: &config::Health) -> String {
    let url = listener.page_url().unwrap_or_default();
    match &health.unix_socket {
        _ if url.is_empty() => {}
        None => log::info!("🌐 WEB UI: {url}"),
        Some(path) => {
            let path = path.display();
            log::info!("🌐 WEB UI: http://localhost:8080/ui while this runs: ssh -NL 8080:{path} HOST");
        }
    }
    url
}

/// What calls have to pass, what is recorded of them, and how much there may be.
fn tell_of_rules(settings: &Settings) {
    let policy = settings.policy.as_ref();
    let rules = policy.map_or("off", |policy| if policy.enforces { "enforce" } else { "observe" });
    let pins = policy.and_then(|policy| policy.pins.as_ref()).map_or("off", |pins| pins.mode.word());
    let audit = settings.audit.as_ref().map_or("off".to_owned(), |audit| audit.place.to_string());
    let (plane, mcp) = (&settings.control_plane, &settings.mcp);
    log::info!(
        policy = rules, pins = pins, audit = audit.as_str(), max_inflight = plane.max_inflight,
        max_concurrent_requests = mcp.max_concurrent_requests, connection_max_ttl_s = mcp.connection_max_ttl.as_secs(),
        poll_timeout_s = plane.poll_timeout.as_secs();
        "rules and limits of calls"
    );
}

/// What an operator wants to see once: where this process listens, whom it talks to, and how. Origins
/// only, no paths: some servers are reached by a path that is a secret.
pub(super) fn log(settings: &Settings, net: &Net, tunnel: &Tunnel, listener: Option<&Listener>) {
    let base_url = listener.map(Listener::base_url).unwrap_or_default();
    if listener.is_some() {
        log::info!(addr = base_url.trim_start_matches("http://"); "health server listening");
        tell_of_all_addresses(&settings.health);
    }
    #[cfg(feature = "page")]
    let page_url = listener.map(|listener| tell_of_page(listener, &settings.health)).unwrap_or_default();
    #[cfg(not(feature = "page"))]
    let page_url = String::new();
    #[cfg(feature = "page")]
    ways::tell(settings, base_url, &page_url);
    log::info!(
        roots = net.roots_summary().as_str(), cryptography = crypto::described().as_str();
        "tls trust summary"
    );
    for (name, client) in tunnel.routes() {
        let route = client.route();
        log::info!(
            route = name, destination = route.destination.as_str(),
            proxy = route.proxy.as_deref().unwrap_or("none"), reason = route.reason.as_str();
            "outbound route"
        );
    }
    if let Some(built_in) = tunnel.built_in.as_ref().filter(|built_in| built_in.count() > 0) {
        built_in.log();
    }
    tell_of_children(&settings.mcp);
    tell_of_rules(settings);
    // The first binding stands for all; the routes above name each.
    let (kind, value) = match settings.mcp.bindings.first().map(|binding| &binding.server) {
        Some(Server::Http(server)) => ("http-streamable", server.origin.to_string()),
        Some(Server::Stdio(_)) => {
            log::info!("oauth discovery server URL is not configured");
            ("stdio", String::new())
        }
        None => ("none", String::new()),
    };
    let Source { way, name, path } = &settings.source;
    let source = match *way {
        "" => "flags/environment".to_owned(),
        "config" => name.clone(),
        way => format!("{way}:{name}"),
    };
    log::info!(
        health_url = format!("{base_url}/healthz").as_str(), ui_url = page_url.as_str(),
        metrics_url = format!("{base_url}/metrics").as_str(), config_source = source.as_str(),
        profile_name = if *way == "profile" { name.as_str() } else { "" },
        profile_path = path.as_ref().map(|path| path.display().to_string()).unwrap_or_default().as_str(),
        mcp_target_kind = kind, mcp_target_value = value.as_str(),
        control_plane = settings.control_plane.origin.to_string().as_str();
        "tunnel-client startup summary"
    );
}
