//! Targets that look into `plane`.

#![allow(clippy::as_conversions, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]
#![allow(clippy::string_slice, clippy::unwrap_used)]

pub mod routing;
pub mod times;

use super::{retry, routing as placements, timestamp};
