//! Record of one command, and what it is told about its end.

use super::message::Message;

/// Record of one command. It belongs to the command and is written when that is dropped, whatever way it took.
pub trait Record: Send + Sync {
    /// A worker has the command of this message: what takes time to write down is read now, where it delays no other command.
    fn taken(&self, message: &Message);

    /// Adds how the command ended. Only the first one counts.
    fn end(&self, fate: Fate);

    /// The answer of that end was given up: nobody was told.
    fn untold(&self);
}

/// End of a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fate {
    /// One word of a fixed set.
    pub outcome: &'static str,
    /// The status that is posted.
    pub status: Option<u16>,
    /// The class of a failure.
    pub failure: Option<&'static str>,
    /// How many bytes are posted.
    pub bytes: usize,
}

impl Fate {
    /// That of a command which the end of the process has cut.
    pub const CANCELLED: Fate = Fate::new("cancelled", None);

    /// An end of which no more is known yet.
    pub const fn new(outcome: &'static str, failure: Option<&'static str>) -> Fate {
        Fate { outcome, status: None, failure, bytes: 0 }
    }
}
