//! Ways, certificates, sign-in, settings, and what was read again.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::ops::timestamp;
use crate::sync;

use super::super::routes::{BUNDLE, purpose};
use super::super::tunnel::Tunnel;
use super::cards::left;
use super::html::{Page, cell};
use super::words::moment;

impl Tunnel {
    /// The certificates that this tunnel shows, and those of its bundle.
    pub(super) fn show_certificates(&self, page: &mut Page) {
        let purposes = self.routes().map(|(name, _)| purpose(name)).chain([BUNDLE.to_owned()]);
        let rows = purposes.filter_map(|purpose| {
            let times = self.metrics.certificate(&purpose)?;
            let [begins, ends, loaded] = times.map(|at| UNIX_EPOCH + Duration::from_secs(at));
            let (words, tone) = left(ends);
            let [begins, ends, loaded] = [begins, ends, loaded].map(|time| cell(timestamp::shown(time)));
            Some(vec![cell(purpose), cell(words).class(tone), ends, begins, loaded])
        });
        page.section("certificates");
        page.table("certificates", rows);
    }

    /// How each destination is reached.
    pub(super) fn show_routes(&self, page: &mut Page, roots: &str) {
        let rows = self.routes().map(|(name, client)| {
            let route = client.route();
            let proxy = match client.proxy_id().and_then(|id| self.metrics.proxy(&id)) {
                Some((true, ..)) => cell("well").class("ok"),
                Some((false, ..)) => cell("failing").class("bad"),
                None => cell(if route.proxy.is_some() { "not checked yet" } else { "" }),
            };
            let reason = if route.reason == "none" { "" } else { &route.reason };
            let way = cell(route.proxy.as_deref().unwrap_or("direct")).more(reason);
            vec![cell(name), cell(&route.destination), way, proxy]
        });
        page.section("routes");
        page.table("routes", rows);
        page.paragraph(&format!("Trusted roots, as read at the start: {roots}."));
    }

    /// What is known of how callers sign in to the server behind `main`.
    pub(super) fn show_sign_in(&self, page: &mut Page) {
        let Some((tone, word, words)) = self.readiness.seen_discovery() else { return };
        page.section("oauth");
        let words = page.shown(&words, 600);
        page.raw(&format!("<p><b class={tone}>{word}</b> {words}</p>\n"));
        #[cfg(feature = "harpoon")]
        if let Some([server, issuer]) = self.discovery.as_ref().and_then(|discovery| discovery.chain()) {
            page.facts(&[("resource", server), ("authorization server", issuer)]);
        }
    }

    /// The last try to take over other settings, in words.
    pub(super) fn last_reload_text(&self) -> String {
        let Some((at, is_good)) = *sync::lock(&self.last_reload) else {
            return "Nothing was read again since the start.".to_owned();
        };
        let at = SystemTime::now().checked_sub(at.elapsed()).map(moment).unwrap_or_default();
        let outcome = if is_good { "all was taken over" } else { "not all could be used: see the warnings" };
        format!("{at}: {outcome}.")
    }

    /// The last try to take over other settings, the limits of this process, and those in force that are other than the defaults.
    pub(super) fn show_settings(&self, page: &mut Page, limits: &str) {
        page.section("reload");
        page.paragraph(&self.last_reload_text());
        page.section("settings");
        page.paragraph(&format!("Limits that the process has set itself (cage): {limits}."));
        let shown = sync::lock(&self.shown);
        let rows = shown.iter().filter(|one| one.differs);
        page.table("settings", rows.map(|one| vec![cell(one.key), cell(&one.value), cell(&one.giver)]));
    }
}
