//! The page for people at `/ui`: when it is made, and what a browser may do with it.

use std::cell::Cell;
use std::time::{Duration, Instant};

use super::http::Reply;

/// How long a page is shown again before it is made anew. Making one may take a part of a second, and everybody
/// on this host may ask for it.
const PAGE_TIME: Duration = Duration::from_secs(1);

/// Makes a page of HTML.
pub(crate) type PageMaker = Box<dyn Fn() -> String + Send + Sync>;

/// Page with what was made of it last, and when.
pub(super) struct Page {
    make: Option<PageMaker>,
    made: Cell<Option<(Instant, String)>>,
}

impl Page {
    /// Nothing is made yet.
    pub(super) fn new(make: Option<PageMaker>) -> Page {
        Page { make, made: Cell::default() }
    }

    /// The page, if there is one.
    pub(super) fn reply(&self) -> Option<Reply> {
        let make = self.make.as_ref()?;
        let made = self.made.take().filter(|(at, _)| at.elapsed() < PAGE_TIME);
        let (at, page) = made.unwrap_or_else(|| {
            let page = make();
            (Instant::now(), page)
        });
        self.made.set(Some((at, page.clone())));
        Some(html(page))
    }
}

/// A page that may do nothing but be looked at, and by nobody but who asked for it.
fn html(body: String) -> Reply {
    let policy = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'";
    Reply {
        content_type: "text/html; charset=utf-8",
        headers: vec![
            ("Content-Security-Policy", policy.to_owned()),
            ("Referrer-Policy", "no-referrer".to_owned()),
        ],
        ..Reply::text(200, body)
    }
}
