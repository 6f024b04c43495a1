//! The page for people at `/ui`: when it is made, and what a browser may do with it.

use std::cell::Cell;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::guard::Guard;
use super::http::{Reply, Request};

/// How long a page is shown again before it is made anew: everybody on this host may ask for it, again and again.
const PAGE_TIME: Duration = Duration::from_secs(1);

/// A page of HTML.
#[derive(Debug, Clone)]
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

/// Page with what was made of it last, when, and for which query.
pub(super) struct Page {
    maker: Option<PageMaker>,
    support: Option<SupportMaker>,
    /// The text for support that was made last, and when.
    supported: Cell<Option<(Instant, String)>>,
    guard: Option<Arc<Guard>>,
    made: Cell<Option<(Instant, String, Made)>>,
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
        let made = self.supported.take().filter(|(at, _)| at.elapsed() < PAGE_TIME);
        let made = made.unwrap_or_else(|| (Instant::now(), make()));
        let text = made.1.clone();
        self.supported.set(Some(made));
        let place = "attachment; filename=\"tunnel-client-support.txt\"".to_owned();
        Some(Reply { headers: vec![("Content-Disposition", place)], ..Reply::text(200, text) })
    }

    /// The page, if there is one.
    pub(super) fn reply(&self, request: &Request) -> Option<Reply> {
        let maker = self.maker.as_ref()?;
        let query = request.query.as_deref().unwrap_or_default();
        let made = self.made.take().filter(|(at, of, _)| of == query && at.elapsed() < PAGE_TIME);
        let made = made.unwrap_or_else(|| (Instant::now(), query.to_owned(), (maker.make)(query)));
        let page = made.2.clone();
        self.made.set(Some(made));
        Some(html(page, &maker.style))
    }

    /// The way from the root to the page, if there is one.
    pub(super) fn way(&self) -> Option<Reply> {
        self.maker.as_ref()?;
        Some(Reply { headers: vec![("Location", "/ui".to_owned())], ..Reply::text(302, "") })
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
