//! What the operator's policy says about a command.

use std::sync::Arc;

use crate::text::words;

use super::failure::Failure;

words! {
    /// What was decided about a command.
    Decision {
        /// It may go on.
        Allow = "allow",
        /// It is refused.
        Deny = "deny",
        /// It would be refused, if the policy was in force.
        Observe = "observe",
    }
}

/// Decision about a command, made once, before it is queued. It belongs to the command until that is dropped.
#[derive(Default)]
pub struct Judgement {
    /// What was decided; nothing where nobody judges its channel.
    pub decision: Option<Decision>,
    /// The rule that decided, in words of the profile. It stays on this side of the tunnel.
    pub rule: Option<Arc<str>>,
    /// How the command is answered in its server's place.
    pub refusal: Option<Failure>,
    /// A place among calls that may run at once, which is given back with the command.
    #[allow(dead_code, reason = "it is only kept")]
    pub hold: Option<Box<dyn Send + Sync>>,
}
