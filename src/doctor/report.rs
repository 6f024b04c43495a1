//! Checks and their report, as text and as JSON.
//!
//! Everything that is shown goes through the redactor and is cut and escaped here, once, because it quotes
//! peers and files; complaints about settings and the next command come without secrets already. The JSON of
//! a [`Report`] is for programs and stays as it is: members are added, not changed. `result` is `ok` or `fail`;
//! `failed_checks` is there when it is `fail`, `next` when it is `ok`. Each of `checks` has `id`, `status`
//! (`PASS`, `FAIL`, `SKIP`) and `summary`, and where there is something to say `why`, `evidence` and `next`. The
//! checks of a channel other than `main` end in `:CHANNEL`, those of an endpoint in `:LABEL`.
//!
//! The ids, in their order: `config_source`, `profile_load`, then a mistake in the settings as `tunnel_id`,
//! `control_plane_api_key`, `control_plane_base_url`, `mcp_target`, `profile_load` or `config_validation`; else
//! `tunnel_id`, `control_plane_api_key` (also when it fails alone), `control_plane_base_url`, `config_warnings`
//! (if there are any). Then `tunnels_management_url`,
//! `runtime_api_keys_url`, `admin_api_keys_url`, `chatgpt_connector_settings_url`; without a mistake `mcp_target`,
//! `mcp_command_executable` (stdio), `mcp_server_reachable`, `oauth_metadata`, `health_listener`, `control_plane_route`,
//! `proxy_reachable` (behind a proxy), `control_plane_metadata`, `mcp_route` (HTTP), `mcp_proxy_reachable` (behind
//! a proxy), `mcp_handshake`, those of other channels, `harpoon` and `harpoon_target:LABEL` (where there are
//! endpoints), `policy` (of each channel with rules), `pins` and `audit` (where there are such), `certificate_expiry`, `tls_roots`, `cryptography`, `resolver`, `cage` (in a build with it).

use serde::Serialize;

use crate::ops::redact::Redactor;
use crate::text::{MAX_FOREIGN_BYTES, bounded};

/// The text form pads ids to this width, so that the words behind them form a column.
const ID_WIDTH: usize = 24;

/// What stands in advice for the command that makes this report once more; the report puts the choice of
/// the file behind it.
pub(crate) const ASK_AGAIN: &str = "tunnel-client doctor";

/// How a check went.
#[derive(Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "UPPERCASE")]
pub(crate) enum Status {
    /// It works.
    Pass,
    /// `run` would not work, or not as intended.
    Fail,
    /// It was not tried, or does not apply.
    Skip,
}

impl Status {
    /// The word for it.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Status::Pass => "PASS",
            Status::Fail => "FAIL",
            Status::Skip => "SKIP",
        }
    }
}

/// One check.
#[derive(Clone, Serialize)]
pub(crate) struct Check {
    /// Its name.
    pub(crate) id: String,
    /// Its outcome.
    pub(crate) status: Status,
    /// The outcome in a sentence.
    pub(crate) summary: String,
    /// Why it matters.
    #[serde(skip_serializing_if = "Option::is_none")]
    why: Option<String>,
    /// What was seen.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    evidence: Vec<String>,
    /// What to type next.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    next: Vec<String>,
    /// It quotes nobody but this program, whose advice the redactor would take for a secret.
    #[serde(skip)]
    is_ours: bool,
}

impl Check {
    fn new(id: impl Into<String>, status: Status, summary: impl Into<String>) -> Check {
        let (id, summary) = (id.into(), summary.into());
        Check { id, status, summary, why: None, evidence: Vec::new(), next: Vec::new(), is_ours: false }
    }

    /// It works.
    pub(crate) fn pass(id: impl Into<String>, summary: impl Into<String>) -> Check {
        Check::new(id, Status::Pass, summary)
    }

    /// It was not tried; the summary says why.
    pub(crate) fn skip(id: impl Into<String>, summary: impl Into<String>) -> Check {
        Check::new(id, Status::Skip, summary)
    }

    /// It does not work, why that matters, and what to do, step by step.
    pub(crate) fn fail(
        id: impl Into<String>,
        summary: impl Into<String>,
        why: impl Into<String>,
        next: impl IntoIterator<Item = impl Into<String>>,
    ) -> Check {
        let next = next.into_iter().map(Into::into).collect();
        Check { why: Some(why.into()), next, ..Check::new(id, Status::Fail, summary) }
    }

    /// Adds a step to what to do.
    pub(crate) fn step(mut self, line: impl Into<String>) -> Check {
        self.next.push(line.into());
        self
    }

    /// Marks a complaint about settings: it holds no secret, and `run` prints it as it is.
    pub(crate) fn of_settings(mut self) -> Check {
        self.is_ours = true;
        self
    }

    /// Adds what was seen.
    pub(crate) fn evidence(mut self, lines: impl IntoIterator<Item = impl Into<String>>) -> Check {
        self.evidence.extend(lines.into_iter().map(Into::into));
        self
    }
}

/// All checks, in their order.
#[derive(Serialize)]
pub(crate) struct Report {
    result: &'static str,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    failed_checks: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
    checks: Vec<Check>,
}

impl Report {
    /// The report on these checks; `next` is the command that comes after a success, already without
    /// secrets, and `again` the one that asks once more. There is no redactor where nobody but this program
    /// has said anything yet.
    pub(crate) fn new(checks: Vec<Check>, next: String, again: &str, redactor: Option<&Redactor>) -> Report {
        let cleaned = |mut check: Check| {
            // Many a failure is its own evidence: a sentence of the settings, of the system, of a peer.
            if check.status == Status::Fail && check.evidence.is_empty() {
                check.evidence.push(check.summary.clone());
            }
            let redactor = redactor.filter(|_| !check.is_ours);
            let clean = |text: &String| match redactor {
                Some(redactor) => bounded(&redactor.clean(text), MAX_FOREIGN_BYTES),
                None => bounded(text, MAX_FOREIGN_BYTES),
            };
            // Taken apart by name, so that a new text is not forgotten here.
            let Check { id, status, summary, why, evidence, next, is_ours } = check;
            Check {
                id,
                status,
                summary: clean(&summary),
                why: why.as_ref().map(clean),
                evidence: evidence.iter().map(clean).collect(),
                next: next.iter().map(|line| clean(line).replace(ASK_AGAIN, again)).collect(),
                is_ours,
            }
        };
        let checks: Vec<Check> = checks.into_iter().map(cleaned).collect();
        let failed = checks.iter().filter(|check| check.status == Status::Fail);
        let failed_checks: Vec<String> = failed.map(|check| check.id.clone()).collect();
        let ok = failed_checks.is_empty();
        let result = if ok { "ok" } else { "fail" };
        // Half a command is none, so it is not cut; it is as long as the arguments that were given.
        Report { result, failed_checks, next: ok.then(|| bounded(&next, usize::MAX)), checks }
    }

    /// Whether nothing failed.
    pub(crate) fn is_ok(&self) -> bool {
        self.failed_checks.is_empty()
    }

    /// The JSON form, with a line end.
    pub(crate) fn json(&self) -> String {
        // Structures of texts always have a JSON form.
        serde_json::to_string_pretty(self).unwrap_or_default() + "\n"
    }

    /// The text form; `word` writes a status, in colour or not. With `explain` whatever did not pass is
    /// explained below, and what was seen where a check has seen something.
    pub(crate) fn text(&self, explain: bool, word: impl Fn(Status) -> String) -> String {
        let mut text = String::new();
        for Check { id, status, summary, .. } in &self.checks {
            text.push_str(&format!("CHECK {id:ID_WIDTH$} {} {summary}\n", word(*status)));
        }
        text.push_str(&format!("\nRESULT {}\n", self.result));
        match &self.next {
            Some(next) => text.push_str(&format!("NEXT   {next}\n")),
            None => {
                let failed = self.failed_checks.join(",");
                text.push_str(&format!("FAILED_CHECKS {failed}\nEXIT_CODE 2\n"));
            }
        }
        for check in self.checks.iter().filter(|check| explain && check.has_more()) {
            check.explain(&mut text, &word);
        }
        text
    }
}

impl Check {
    /// Whether there is more to say than its line.
    fn has_more(&self) -> bool {
        self.status == Status::Fail || !self.evidence.is_empty()
    }

    fn explain(&self, text: &mut String, word: impl Fn(Status) -> String) {
        text.push_str(&format!("\nCHECK {}   {}\n", self.id, word(self.status)));
        if let Some(why) = &self.why {
            text.push_str(&format!("Why this matters:\n  {why}\n"));
        }
        if !self.evidence.is_empty() {
            text.push_str("\nEvidence:\n");
        }
        for line in &self.evidence {
            text.push_str(&format!("  - {line}\n"));
        }
        if !self.next.is_empty() {
            text.push_str("\nWhat to do next:\n");
        }
        for (number, line) in (1..).zip(&self.next) {
            text.push_str(&format!("  {number}. {line}\n"));
        }
    }
}
