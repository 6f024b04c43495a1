//! The help text of `run`, made from the table of settings, so that it cannot lag behind it.
//!
//! It needs no settings and reads none: help must work where nothing else does yet. The frame is
//! that of the reference client, whose output people search with `grep`.

use crate::config::settings::{Kind, ROWS, Row, Status};

/// What `tunnel-client run --help` prints. Settings whose features are absent are not listed.
pub(crate) fn run_help() -> String {
    let mut text = format!("run version {}\n\nUsage of run:\n", env!("CARGO_PKG_VERSION"));
    for row in listed() {
        flag(&mut text, row);
    }
    text.push_str("\nNext steps:\n");
    text.push_str("  Set the tunnel id, the API key and one MCP server, for example:\n");
    text.push_str("  tunnel-client run --control-plane.tunnel-id tunnel_... \\\n");
    text.push_str("    --control-plane.api-key file:/etc/tunnel-client/key --mcp.server-url http://127.0.0.1:3000/mcp\n");
    text.push_str("\nEnvironment variables:\n");
    // Below the flags and not beside them: a unit's author looks for these alone.
    for row in listed() {
        for name in row.env {
            text.push_str(&format!("  {name}\t{}\n", row.help));
        }
    }
    text
}

/// What can be used today: a listed setting that is then refused would only annoy.
fn listed() -> impl Iterator<Item = &'static Row> {
    ROWS.iter().filter(|row| row.status == Status::Live)
}

/// One flag on a line of its own, since the longest leave no room beside them.
fn flag(text: &mut String, row: &Row) {
    let placeholder = match row.placeholder {
        "" => String::new(),
        word => format!(" {word}"),
    };
    // A default of false or nothing goes without saying.
    let default = match (row.kind, row.default) {
        (_, "") | (Kind::Boolean, "false") => String::new(),
        (Kind::Text, default) => format!(" (default {default:?})"),
        (_, default) => format!(" (default {default})"),
    };
    let repeated = if row.repeatable() { " (repeatable)" } else { "" };
    text.push_str(&format!(
        "      --{}{placeholder}\n            {}{repeated}{default}\n",
        row.flag, row.help
    ));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_live_setting_is_listed_and_nothing_else() {
        let help = run_help();
        for row in ROWS {
            let live = row.status == Status::Live;
            assert_eq!(help.contains(&format!("      --{}", row.flag)), live, "{}", row.flag);
            assert!(row.alias.is_empty() || !help.contains(&format!("--{} ", row.alias)), "{}", row.alias);
            for name in row.env {
                assert_eq!(help.contains(&format!("  {name}\t")), live, "{name}");
            }
        }
        assert!(help.contains("(default \"https://api.openai.com\")"));
    }
}
