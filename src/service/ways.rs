//! Ways to the page for people, told once at the start.

use crate::config::Settings;

/// Says how another machine reaches the page, where somebody asked for that.
pub(super) fn tell(settings: &Settings, base_url: &str, page_url: &str) {
    let (health, ui) = (&settings.health, &settings.admin_ui);
    let socket = health.unix_socket.as_ref().map(|path| path.display().to_string());
    let place = socket.unwrap_or_else(|| base_url.trim_start_matches("http://").to_owned());
    let way = format!("ssh -L 8080:{place} HOST, then http://localhost:8080/ui");
    match page_url {
        _ if !ui.asks_for_browser => {}
        "" => log::info!("no browser is opened; other machines reach this listener, so it has no page"),
        _ => log::info!("no browser is opened; the page is {page_url}, and from another machine: {way}"),
    }
    if ui.token.is_some() && !health.listen.address.ip().to_canonical().is_loopback() {
        log::warn!(
            "page and token travel in clear; safer: a proxy with TLS before a loopback port, or {way}"
        );
    }
}
