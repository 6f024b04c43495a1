//! What the operator's page shows of a child. Cannot fail.

use std::time::Instant;

use crate::sync;

use super::Keeper;

impl Keeper {
    /// The last lines of its standard error.
    pub(in crate::mcp::stdio) fn last_lines(&self) -> Vec<String> {
        sync::lock(&self.state).last_lines.all()
    }

    /// Process id of its guard, and since when the child runs.
    pub(in crate::mcp::stdio) fn runs(&self) -> Option<(u32, Instant)> {
        let state = sync::lock(&self.state);
        state.last_lines.runs.filter(|_| state.core.is_running())
    }
}
