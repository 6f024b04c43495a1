//! Towards the control plane: wire types, requests, the poller and the couriers.

pub mod backoff;
pub mod batch;
pub mod hints;
mod timestamp;
pub mod wire;
