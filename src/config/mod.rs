//! Settings: what was typed, exported or written in a profile becomes one validated [`Settings`].
//!
//! This room reads files and environment variables and nothing else: it opens no connection and
//! starts no thread. It fails with an [`Error`] that says what was wrong, where, and what to do.
//!
//! Everything that it reads comes from the operator, who is trusted; what it guards against is mistakes. Three of
//! them matter most: a setting that is ignored in silence, a secret that ends in an error text, and a value that
//! means something else on the wire than it did on paper. So unknown names are errors, texts are quoted only where
//! they cannot hold a secret, and every value is parsed here, once, into a type that no other room checks again.

// The table, and what is typed against it.
mod row;
pub mod settings;

mod environment;
mod error;
mod flags;
pub(crate) mod profile;

// The file, and who wins.
mod yaml;

mod document;
mod literal;
mod lookup;
mod members;
mod reading;
mod section;

// Checks of a file that is not used yet.
#[cfg(feature = "operator")]
pub(crate) mod draft;

// Grammars.
mod binding;
mod cidr;
#[cfg(feature = "harpoon")]
mod endpoint;
#[cfg(feature = "harpoon")]
mod entry_template;
mod headers;
mod proxy;
mod reference;
#[cfg(feature = "harpoon")]
mod template;
#[cfg(any(feature = "harpoon", feature = "page"))]
mod token;
pub(crate) mod trust;
mod value;

// Sections, each validated in one place.
mod audit;
mod plane;
mod sections;

#[cfg(feature = "operator")]
mod admin;
#[cfg(feature = "page")]
mod admin_ui;
#[cfg(feature = "harpoon")]
mod harpoon;
mod local;
mod mcp;
mod policy;
#[cfg(feature = "dev")]
mod stub;

#[cfg(any(test, fuzzing))]
#[path = "../../tests/fuzz/targets/config.rs"]
pub(crate) mod fuzz;

// Settings whose values are secret, and settings as people see them.
#[cfg(feature = "operator")]
pub(crate) mod glimpse;
mod secrets;
#[cfg(feature = "page")]
pub(crate) mod shown;
#[cfg(test)]
mod tests;

use std::time::Duration;

pub use crate::secret::Secret;
pub use crate::url::Origin;
#[cfg(feature = "operator")]
pub use admin::{Admin, tunnel_id};
#[cfg(feature = "page")]
pub use admin_ui::AdminUi;
pub use audit::{Audit, AuditArguments, AuditPlace};
pub use binding::Channel;
pub use cidr::Cidr;
#[cfg(feature = "harpoon")]
pub use endpoint::HarpoonTarget;
pub use environment::Environment;
pub use error::Error;
#[cfg(feature = "operator")]
pub use flags::nearest;
pub use flags::{Flags, Request};
#[cfg(feature = "harpoon")]
pub use harpoon::Harpoon;
#[cfg(all(test, feature = "harpoon"))]
pub use harpoon::HostRules;
pub use local::{Health, Log, Network, Process};
pub use mcp::Mcp;
pub use plane::ControlPlane;
#[cfg(any(feature = "page", test))]
pub use policy::Names;
#[cfg(feature = "operator")]
pub use policy::Pins;
pub use policy::{ALWAYS, CALLS_ENDPOINT, ChannelPolicy, LIMITS_MAX, Limit, PinMode, Policy};
pub use profile::Source;
pub(crate) use reading::{Reading, Taken};
pub use sections::*;
#[cfg(all(feature = "harpoon", test))]
pub(crate) use template::tests::template;
#[cfg(feature = "harpoon")]
pub use template::{BodyPolicy, HEADERS_BYTES_MAX, HEADERS_MAX, HeaderPolicy, Parameter, Rule, Template};

#[cfg(feature = "operator")]
pub(crate) use binding::arguments;
#[cfg(feature = "operator")]
pub(crate) use profile::select as select_source;
pub(crate) use reference::is_variable_name;
#[cfg(feature = "operator")]
pub(crate) use reference::read_text;
pub(crate) use value::unit_ns;

use lookup::Lookup;

/// The validated settings of one process. No field has a default left to apply.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Source of the YAML part.
    pub source: Source,
    /// Settings of every outbound connection.
    pub network: Network,
    /// Way to the control plane.
    pub control_plane: ControlPlane,
    /// The private MCP servers.
    pub mcp: Mcp,
    /// The endpoints that the product may call by name.
    #[cfg(feature = "harpoon")]
    pub harpoon: Harpoon,
    /// What callers may ask for; nothing where the file has no such section.
    pub policy: Option<Policy>,
    /// Settings of the log.
    pub log: Log,
    /// The record of every command, where one is wanted.
    pub audit: Option<Audit>,
    /// The operator's listener.
    pub health: Health,
    /// How the page for people is reached.
    #[cfg(feature = "page")]
    pub admin_ui: AdminUi,
    /// Process files and shutdown.
    pub process: Process,
    /// Interval of the checks of proxies (`proxy.check-interval`).
    pub proxy_check_interval: Duration,
    /// Warnings for the start, one sentence each.
    pub warnings: Vec<String>,
    /// All of it, as people may see it.
    #[cfg(feature = "page")]
    pub shown: Vec<shown::Shown>,
}

impl Settings {
    /// Reads and validates everything; the first mistake wins. The order of the sections is that
    /// of the reference client. Absent features come late, so that a profile that was written for
    /// it is first shown what is wrong for both programs; then the channels, which join two sections.
    #[cfg(any(test, feature = "operator", feature = "dev"))]
    pub fn load(flags: &Flags, environment: &Environment) -> Result<Settings, Error> {
        Reading::begin(flags, environment).map(Reading::into_settings)
    }

    /// Loads all but the API key, which is left empty, for checks of everything else.
    #[cfg(feature = "operator")]
    pub(crate) fn load_keyless(flags: &Flags, environment: &Environment) -> Result<Settings, Error> {
        let source = profile::select(flags, environment)?;
        let file = source.path.as_deref().map(document::read).transpose()?;
        Settings::of(&source, &Lookup::of(flags, environment, file.as_ref(), true))
    }

    fn of(source: &Source, lookup: &Lookup) -> Result<Self, Error> {
        let network = Network::load(lookup)?;
        let control_plane = ControlPlane::load(lookup)?;
        let mcp = Mcp::load(lookup)?;
        let log = Log::load(lookup)?;
        #[cfg(feature = "harpoon")]
        let harpoon = Harpoon::load(lookup)?;
        local::absent_features(lookup)?;
        #[cfg(feature = "harpoon")]
        let has_endpoints = Some(!harpoon.targets.is_empty());
        #[cfg(not(feature = "harpoon"))]
        let has_endpoints = None;
        mcp::check_channels(lookup, &control_plane, &mcp, has_endpoints)?;
        plane::check_proxied_plaintext(lookup, &control_plane, &network)?;
        let policy = policy::load(lookup, &mcp)?;
        let health = Health::load(lookup)?;
        #[cfg(feature = "harpoon")]
        harpoon::check_listener(lookup, &harpoon, &health)?;
        #[cfg(feature = "page")]
        let admin_ui = AdminUi::load(lookup, &health)?;
        let process = Process::load(lookup)?;
        local::look_beside(lookup, &log, &health, &process);
        Ok(Settings {
            source: source.clone(),
            process,
            network,
            control_plane,
            mcp,
            #[cfg(feature = "harpoon")]
            harpoon,
            policy,
            audit: audit::load(lookup, &log)?,
            log,
            #[cfg(feature = "page")]
            admin_ui,
            health,
            proxy_check_interval: lookup.duration("proxy.check-interval")?,
            warnings: lookup.references.warnings.take(),
            #[cfg(feature = "page")]
            shown: shown::of(lookup),
        })
    }
}
