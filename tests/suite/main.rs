//! The whole program, driven from outside: one module a theme, each test named after a property.
//!
//! Statement numbers (`CP-…`, `MCP-…`, `REV-…`) are listed in `tests/statements`.

#![allow(unreachable_pub, reason = "a test crate has no outside")]
#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stderr,
    clippy::unwrap_used,
    reason = "a test fails by panicking"
)]

#[path = "../support/mod.rs"]
mod support;

mod peers;

mod admin;
mod ambiguity;
mod audit;
mod audit_faults;
mod audit_mappings;
mod bad_answers;
#[cfg(all(feature = "harpoon", feature = "page"))]
mod browser;
#[cfg(feature = "cage")]
mod cage;
mod calls;
mod channels;
mod commands;
mod compatibility;
mod completion;
mod config;
mod connection_proxies;
mod connection_reuse;
mod connections;
mod cryptography;

mod dead_connections;
#[cfg(feature = "dev")]
mod demo;
#[cfg(feature = "dev")]
mod dev_plane;
#[cfg(feature = "dev")]
mod dev_proxy;
#[cfg(feature = "dev")]
mod dev_stub;
mod doctor;
mod era_replies;
mod era_requests;
mod fault_matrix;
mod faults;
mod forwarding;
mod harpoon;
mod health;
mod health_page;
mod health_parts;
mod help;
mod histories;
mod hostile;
mod init;
mod locations;
mod logging;
mod manual;
mod memory;
mod metrics;
mod notifications;
mod oauth;
mod oauth_readiness;
mod oauth_registration;
mod operator;
mod overtaking;
#[cfg(feature = "page")]
mod page;
mod pins;
mod plane_decoding;
mod plane_failures;
mod plane_polls;
mod plane_requests;
mod plane_routing;
mod plane_startup;
mod policy;
mod policy_limits;
mod policy_lists;
mod posting;
mod probe;
mod profiles;
mod proxies;
mod readiness;
mod real_servers;
mod redirects;
mod reload;
mod reload_key;
mod reload_wire;
#[cfg(feature = "page")]
mod remote_page;
mod replicas;
mod response_timing;
mod results;
mod secrets;
mod service;
mod service_manager;
mod shutdown;
mod small_host;
mod stdio_calls;
mod stdio_deadlines;
mod stdio_deaths;
mod stdio_eras;
mod stdio_launch;
mod stdio_output;
mod stdio_silence;
mod stdio_stops;
mod streaming;
mod subscriptions;
#[cfg(feature = "operator")]
mod support_text;
mod time_limits;
mod trace_contexts;
mod trust;
#[cfg(all(feature = "operator", feature = "page"))]
mod ui;
