//! Settings: what was typed, exported or written in a profile becomes one validated [`Settings`].

mod environment;
mod error;
mod flags;
mod reference;
pub mod settings;
mod value;
mod yaml;

pub use environment::Environment;
pub use error::{Error, ErrorKind};
pub use flags::{Flags, Request};
pub use reference::Secret;
