//! Settings: what was typed, exported or written in a profile becomes one validated [`Settings`].

mod yaml;
