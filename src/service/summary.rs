//! What an operator is told once, at start: where this process listens, whom it talks to, and how.

use crate::config::{self, Server, Settings, Source};
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
    if mcp.bindings.iter().any(|binding| matches!(binding.server, Server::Stdio(_))) {
        log::info!(
            "a server over stdio answers through this process alone; run one instance of this tunnel, also while it is replaced"
        );
    }
    if mcp.stdio_send_initialized {
        log::info!(
            "mcp.stdio-send-initialized-notification changes nothing: a server over stdio always gets notifications/initialized before the next request"
        );
    }
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
    let page_url = listener.and_then(Listener::page_url).unwrap_or_default();
    #[cfg(not(feature = "page"))]
    let page_url = String::new();
    if !page_url.is_empty() {
        log::info!("🌐 WEB UI: {page_url}");
    }
    #[cfg(feature = "page")]
    ways::tell(settings, base_url);
    log::info!(roots = net.roots_summary().as_str(); "tls trust summary");
    for (name, client) in tunnel.routes() {
        let route = client.route();
        log::info!(
            route = name,
            destination = route.destination.as_str(),
            proxy = route.proxy.as_deref().unwrap_or("none"),
            reason = route.reason.as_str();
            "outbound route"
        );
    }
    if let Some(built_in) = &tunnel.built_in {
        built_in.log();
    }
    tell_of_children(&settings.mcp);
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
        health_url = format!("{base_url}/healthz").as_str(),
        ui_url = page_url.as_str(),
        metrics_url = format!("{base_url}/metrics").as_str(),
        config_source = source.as_str(),
        profile_name = if *way == "profile" { name.as_str() } else { "" },
        profile_path = path.as_ref().map(|path| path.display().to_string()).unwrap_or_default().as_str(),
        mcp_target_kind = kind,
        mcp_target_value = value.as_str(),
        control_plane = settings.control_plane.origin.to_string().as_str();
        "tunnel-client startup summary"
    );
}
