//! Targets that look into `net`.

#![allow(clippy::as_conversions, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]
#![allow(clippy::string_slice, clippy::unwrap_used)]

pub mod certificate;
pub mod no_proxy;

pub(crate) use super::proxy::fuzz as connect_reply;
use super::{der, no_proxy as list};
