//! The page for people at `/ui`: when it is made, and what a browser may do with it.

use std::cell::Cell;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::guard::Guard;
use super::http::{Reply, Request};

/// How long a page is shown again before it is made anew: everybody on this host may ask for it, again and again.
const PAGE_TIME: Duration = Duration::from_secs(1);

/// How many pages of other queries are made in that time: probes are answered by the same thread.
const PAGES_MAX: usize = 8;

/// How often the text for support is handed out in that time: each who takes it slowly holds a copy.
const TEXTS_MAX: usize = 8;

/// A page of HTML.
#[derive(Clone)]
pub(crate) struct Made {
    /// The whole page.
    pub(crate) html: String,
    /// After how many seconds the browser asks again by itself, when its reader wants that.
    pub(crate) refresh: Option<u64>,
}

/// Makes pages of HTML, each for the text behind the question mark.
pub(crate) struct PageMaker {
    /// The one style sheet on them, as a policy of content names it.
    pub(crate) style: String,
    /// Makes one.
    pub(crate) make: Box<dyn Fn(&str) -> Made + Send + Sync>,
}

/// Makes a text for support.
pub(crate) type SupportMaker = Box<dyn Fn() -> String + Send>;

/// Page with what was made of it lately, when, and for which query.
pub(super) struct Page {
    maker: Option<PageMaker>,
    support: Option<SupportMaker>,
    /// The text for support that was made last, when, and how often it was handed out.
    supported: Cell<Option<(Instant, String, usize)>>,
    guard: Option<Arc<Guard>>,
    made: Cell<Vec<(Instant, String, Made)>>,
}

impl Page {
    /// Nothing is made yet.
    pub(super) fn new(
        maker: Option<PageMaker>,
        text: Option<SupportMaker>,
        guard: Option<Arc<Guard>>,
    ) -> Page {
        Page { maker, support: text, supported: Cell::default(), guard, made: Cell::default() }
    }

    /// What guards the page against this request, which asks for it or for what belongs to it.
    pub(super) fn guard_of(&self, request: &Request) -> Option<&Guard> {
        let is_page = matches!(request.path.as_str(), "/" | "/ui" | "/ui/" | "/ui/support.txt");
        self.guard.as_deref().filter(|_| is_page)
    }

    /// The text for support, if there is one.
    pub(super) fn support(&self) -> Option<Reply> {
        let make = self.support.as_ref().filter(|_| self.maker.is_some())?;
        let made = self.supported.take().filter(|(at, ..)| at.elapsed() < PAGE_TIME);
        let (at, text, count) = made.unwrap_or_else(|| (Instant::now(), make(), 0));
        let copy = (count < TEXTS_MAX).then(|| text.clone());
        self.supported.set(Some((at, text, count + 1)));
        let Some(text) = copy else { return Some(busy()) };
        let place = "attachment; filename=\"tunnel-client-support.txt\"".to_owned();
        Some(Reply { headers: vec![("Content-Disposition", place)], ..Reply::text(200, text) })
    }

    /// The page, if there is one.
    pub(super) fn reply(&self, request: &Request) -> Option<Reply> {
        let maker = self.maker.as_ref()?;
        let query = request.query.as_deref().unwrap_or_default();
        let mut made = self.made.take();
        made.retain(|(at, ..)| at.elapsed() < PAGE_TIME);
        let known = made.iter().find(|(_, of, _)| of == query).map(|(.., page)| page.clone());
        let page = known.or_else(|| {
            let page = (made.len() < PAGES_MAX).then(|| (maker.make)(query))?;
            made.push((Instant::now(), query.to_owned(), page.clone()));
            Some(page)
        });
        self.made.set(made);
        Some(page.map_or_else(busy, |page| html(page, &maker.style)))
    }

    /// The way from the root to the page, if there is one.
    pub(super) fn way(&self) -> Option<Reply> {
        self.maker.as_ref()?;
        Some(Reply { headers: vec![("Location", "/ui".to_owned())], ..Reply::text(302, "") })
    }
}

/// The refusal of what is asked for more often than it is made.
fn busy() -> Reply {
    Reply {
        headers: vec![("Retry-After", "1".to_owned())],
        ..Reply::text(503, "asked too often; ask again in a second")
    }
}

/// A page that may do nothing but be looked at, and by nobody but who asked for it.
fn html(made: Made, style: &str) -> Reply {
    let policy = format!(
        "default-src 'none'; style-src {style}; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
    );
    let headers = [("Content-Security-Policy", policy), ("Referrer-Policy", "no-referrer".to_owned())];
    let refresh = made.refresh.map(|seconds| ("Refresh", seconds.to_string()));
    Reply {
        content_type: "text/html; charset=utf-8",
        headers: headers.into_iter().chain(refresh).collect(),
        ..Reply::text(200, made.html)
    }
}

#[cfg(test)]
mod tests {
    use super::super::http::parse;
    use super::*;

    /// Whoever asks on and on, each time for another page, keeps no probe waiting and fills no memory.
    #[test]
    fn what_is_asked_for_too_often_is_refused_for_a_moment() {
        let make = Box::new(|query: &str| Made { html: query.to_owned(), refresh: None });
        let maker = PageMaker { style: String::new(), make };
        let page = Page::new(Some(maker), Some(Box::new(|| "text".to_owned())), None);
        let begun = Instant::now();
        let ask = |number: usize| {
            let head = format!("GET /ui?refresh={number} HTTP/1.1\r\nHost: a\r\n\r\n");
            let (request, _) = parse(head.as_bytes()).unwrap().unwrap();
            page.reply(&request).unwrap().status
        };
        let pages: Vec<u16> = (0..=PAGES_MAX).chain([0]).map(ask).collect();
        let texts: Vec<u16> = (0..=TEXTS_MAX).map(|_| page.support().unwrap().status).collect();
        // On a machine that needs a second for that, none is too many.
        if begun.elapsed() < PAGE_TIME {
            assert_eq!(pages.iter().filter(|status| **status == 503).count(), 1, "{pages:?}");
            assert_eq!((pages[PAGES_MAX], texts[TEXTS_MAX]), (503, 503));
        }
    }
}
