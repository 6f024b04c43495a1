//! OAuth discovery: finds out how a protected MCP server wants its callers to sign in.
//!
//! The metadata of the server behind `main` is looked for where the revisions say (`challenge`, `place`),
//! fetched (`fetch`), and handed to the product as it came: no URL in it is rewritten here. Of an authorization
//! server that is trusted the metadata is read as well (`documents`). What was found goes to a [`Register`], if
//! there is one, which decides what of it can be called. A search happens at start, and again whenever the product
//! asks (`target`).
//!
//! Here documents decide what is asked, so a reviewer may rely on this:
//!
//! - Only the configured server's origin is asked, and origins that the operator named besides; nothing that
//!   a document or a redirect says leads elsewhere (`fetch`).
//! - No caller's header goes along; the operator's go to the configured origin alone (`fetch`).
//! - Every wait and every body is bounded, and a search asks a known number of places.
//!
//! A server without such metadata is a server without OAuth, which is no failure. What fails is asked again by
//! the prober, and said by readiness until it succeeds. `doctor` makes the same search once and shows what each
//! place answered.

mod challenge;
mod discovery;
mod documents;
mod fetch;
mod place;
mod record;
mod target;

#[cfg(any(test, fuzzing))]
#[path = "../../tests/fuzz/targets/oauth.rs"]
pub(crate) mod fuzz;

pub use discovery::{Discovery, Register};
pub use documents::{AuthServer, Resource};
pub use place::Place;
pub use target::Protected;
