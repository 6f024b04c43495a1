//! Outbound connections: the one place that makes them.

mod budget;
mod der;
mod error;
mod no_proxy;
mod patience;
mod resolve;
mod socket;

pub use budget::{Budget, FREE_BYTES, Reservation};
pub use error::{Error, Kind};
