//! `tunnel-client admin tunnels …`: creates, shows, lists, changes and deletes tunnels.
//!
//! For people and scripts, not for daemons: the key that it takes manages tunnels, and comes by reference
//! only. Each command is one request. A failure is one line on standard error, or with `--json` one object on
//! standard output, and exit code 1. What the control plane says is shown cut and harmless; the key never is.

mod request;

use std::process::ExitCode;

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};
use ureq::http::Method;

use crate::config::settings::{Kind, Row};
use crate::config::{Flags, tunnel_id};

use super::terminal::{foreign, json};
use super::{Failure, print};
use request::{Fault, Session};

/// The settings of `run` that lead to the control plane.
pub(super) const SETTINGS: &[&str] = &[
    "ca-bundle",
    "tls.roots",
    "tls.require-fips",
    "http-proxy",
    "control-plane.base-url",
    "control-plane.url-path",
    "control-plane.allow-plaintext-http",
    "control-plane.organization-id",
    "control-plane.client-cert",
    "control-plane.client-key",
    "control-plane.http-proxy",
];

/// What the help texts of all commands end with.
pub(super) const DETAILS: &str = include_str!("help/admin.txt");

/// Ids hold no comma, so one flag may hold several of them.
const IDS: Kind = Kind::List(&[',']);

#[rustfmt::skip]
mod rows {
    use super::{IDS, Kind, Row};

    pub(super) const KEY: Row = Row::option("admin-key", Kind::Secret, "reference", "",
        "Where the admin API key is: env:NAME or file:PATH; otherwise OPENAI_ADMIN_KEY");
    pub(super) const JSON: Row = Row::option("json", Kind::Boolean, "", "false",
        "Print JSON, errors included");
    pub(super) const NAME: Row = Row::option("name", Kind::Text, "text", "", "Name of the tunnel");
    pub(super) const DESCRIPTION: Row = Row::option("description", Kind::Text, "text", "", "What it is for");
    pub(super) const ORGANIZATIONS: Row = Row::option("organization-id", IDS, "id", "",
        "An organization that the tunnel is for");
    pub(super) const WORKSPACES: Row = Row::option("workspace-id", IDS, "id", "",
        "A workspace that the tunnel is for");
    pub(super) const TENANTS: Row = Row::option("tenant-id", IDS, "id", "",
        "A tenant that the tunnel is for");
    pub(super) const UNUSED_ORGANIZATIONS: Row = Row::option("organization-id", IDS, "id", "", UNUSED);
    pub(super) const UNUSED_WORKSPACES: Row = Row::option("workspace-id", IDS, "id", "", UNUSED);
    const UNUSED: &str = "Accepted for command lines of the reference client; the tunnel's id alone counts";
    pub(super) const CONFIRM: Row = Row::option("confirm", Kind::Boolean, "", "false",
        "Really delete it; nothing brings it back");
}
use rows::{CONFIRM, DESCRIPTION, JSON, KEY, NAME, ORGANIZATIONS, TENANTS, WORKSPACES};
use rows::{UNUSED_ORGANIZATIONS, UNUSED_WORKSPACES};

/// What the commands take.
pub(super) const FORM: &[Row] = &[KEY, JSON, NAME, DESCRIPTION, ORGANIZATIONS, WORKSPACES];
/// The same of `get`.
pub(super) const GET: &[Row] = &[KEY, JSON];
/// The same of `list`.
pub(super) const LIST: &[Row] = &[KEY, JSON, ORGANIZATIONS, WORKSPACES, TENANTS];
/// The same of `delete`.
pub(super) const DELETE: &[Row] = &[KEY, JSON, CONFIRM, UNUSED_ORGANIZATIONS, UNUSED_WORKSPACES];

/// Flags for ids, and the members and parameters that they become.
const KINDS: [(&str, &str); 3] =
    [("organization-id", "organization"), ("workspace-id", "workspace"), ("tenant-id", "tenant")];

/// A new tunnel takes a moment to be known everywhere.
const WAIT_NOTE: &str =
    "\nWait 25 to 30 seconds before the first use: a new tunnel is not known everywhere at once.\n";

/// A tunnel as the control plane describes it, and as it is written with `--json`.
#[derive(Serialize, Deserialize)]
#[rustfmt::skip]
struct Tunnel {
    id: String,
    #[serde(default, deserialize_with = "or_null")] name: String,
    #[serde(default, deserialize_with = "or_null")] description: String,
    // In whatever form the plane has it: nothing is decided by it.
    #[serde(skip_serializing_if = "Option::is_none")] creator: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")] tenant_ids: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")] workspace_ids: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")] organization_ids: Option<Vec<String>>,
}

/// Several.
#[derive(Serialize, Deserialize)]
struct Tunnels {
    tunnels: Vec<Tunnel>,
}

/// One that is gone.
#[derive(Serialize)]
struct Deleted {
    id: String,
    deleted: bool,
}

/// `create`
pub(super) fn create(flags: &Flags) -> Result<ExitCode, Failure> {
    finish(flags, || {
        // By presence, not by content: an empty description may be meant, a forgotten one is a mistake. The
        // plane would say the same later, and in its own words.
        let missing = ["description", "name"].into_iter().filter(|flag| flags.last(flag).is_none());
        let missing: Vec<String> = missing.map(|flag| format!("{flag:?}")).collect();
        if !missing.is_empty() {
            return Err(Fault::new(format!("required flag(s) {} not set", missing.join(", "))));
        }
        let mut form = form(flags)?;
        // An empty list of ids empties one in an update. For a new tunnel it says nothing.
        form.retain(|_, value| value.as_array().is_none_or(|ids| !ids.is_empty()));
        if !KINDS.iter().any(|(_, kind)| form.contains_key(&format!("{kind}_ids"))) {
            return Err(Fault::new("at least one of --organization-id or --workspace-id is required"));
        }
        let text =
            Session::open(flags, false)?.ask(Method::POST, "", Some(form))?.show(flags, Tunnel::text)?;
        Ok(if flags.is_on("json") { text } else { text + WAIT_NOTE })
    })
}

/// `get <id>`
pub(super) fn get(flags: &Flags) -> Result<ExitCode, Failure> {
    finish(flags, || {
        let id = id(flags)?;
        // The tunnel's own key may look at it, so that a host can check what it was given.
        Session::open(flags, true)?.ask(Method::GET, &format!("/{id}"), None)?.show(flags, Tunnel::text)
    })
}

/// `list`
pub(super) fn list(flags: &Flags) -> Result<ExitCode, Failure> {
    finish(flags, || {
        let mut asked = Vec::new();
        for (flag, kind) in KINDS {
            asked.extend(ids(flags, flag)?.into_iter().flatten().map(|id| (kind, id)));
        }
        // With two of them it would be a guess whether both must hold or either.
        let [(kind, id)] = asked.as_slice() else {
            return Err(Fault::new(
                "provide exactly one of --organization-id, --workspace-id, or --tenant-id",
            ));
        };
        let query = format!("?{kind}_id={}", request::encoded(id));
        Session::open(flags, false)?.ask(Method::GET, &query, None)?.show(flags, |found: &Tunnels| {
            let texts: Vec<String> = found.tunnels.iter().map(Tunnel::text).collect();
            if texts.is_empty() { "No tunnels found\n".into() } else { texts.join("\n") }
        })
    })
}

/// `update <id>`
pub(super) fn update(flags: &Flags) -> Result<ExitCode, Failure> {
    finish(flags, || {
        let (id, form) = (id(flags)?, form(flags)?);
        // It would succeed and change nothing, which reads like a success of what was forgotten.
        if form.is_empty() {
            return Err(Fault::new("provide at least one field to update"));
        }
        let session = Session::open(flags, false)?;
        session.ask(Method::POST, &format!("/{id}"), Some(form))?.show(flags, Tunnel::text)
    })
}

/// `delete <id>`
pub(super) fn delete(flags: &Flags) -> Result<ExitCode, Failure> {
    finish(flags, || {
        let id = id(flags)?;
        // By a flag and not by a question: a script has nobody to answer, and a person may answer in haste.
        // It is looked at before the key is, so that trying the command out needs none.
        if !flags.is_on("confirm") {
            return Err(Fault::new("refusing to delete without --confirm"));
        }
        let answer = Session::open(flags, false)?.ask(Method::DELETE, &format!("/{id}"), None)?;
        // Whatever the reply holds, it is of a tunnel that is gone.
        Ok(answer.write(flags, Deleted { id, deleted: true }, |gone| format!("Deleted tunnel {}\n", gone.id)))
    })
}

/// Prints what a command found or why it failed, in the form that was asked for.
fn finish(flags: &Flags, work: impl FnOnce() -> Result<String, Fault>) -> Result<ExitCode, Failure> {
    match work() {
        Ok(text) => Ok(print(&text)),
        // On standard output too, where a program that asked for JSON reads; the exit code tells them apart.
        Err(fault) if flags.is_on("json") => {
            print(&json(&fault.envelope()));
            Ok(ExitCode::FAILURE)
        }
        Err(fault) => Err(Failure(fault.to_string())),
    }
}

/// The tunnel that is named; checked, since it becomes a part of a path.
fn id(flags: &Flags) -> Result<String, Fault> {
    let text = flags.arguments().first().map(String::as_str).unwrap_or_default();
    tunnel_id(text).map_err(|error| Fault::new(error.to_string()))
}

/// What of a tunnel was given: nothing that was not, so that an update leaves it alone.
fn form(flags: &Flags) -> Result<Map<String, Value>, Fault> {
    let mut form = Map::new();
    for flag in ["name", "description"] {
        form.extend(flags.last(flag).map(|text| (flag.to_owned(), text.into())));
    }
    for (flag, kind) in KINDS {
        form.extend(ids(flags, flag)?.map(|ids| (format!("{kind}_ids"), ids.into())));
    }
    Ok(form)
}

/// The ids of one kind, from flags that are repeated or hold several; `None` when there was no such flag.
fn ids(flags: &Flags, flag: &str) -> Result<Option<Vec<String>>, Fault> {
    let Some(given) = flags.all(flag) else { return Ok(None) };
    let (mut ids, mut twice): (Vec<String>, Vec<String>) = (Vec::new(), Vec::new());
    // A name twice is refused and not merged: the second one was probably meant to be another.
    for id in given.iter().flat_map(|text| text.split(',')).map(str::trim).filter(|id| !id.is_empty()) {
        let into = if ids.iter().any(|known| known == id) { &mut twice } else { &mut ids };
        into.push(id.to_owned());
    }
    twice.sort();
    twice.dedup();
    if !twice.is_empty() {
        return Err(Fault::new(format!("duplicate {flag} values: {}", foreign(&twice.join(", ")))));
    }
    Ok(Some(ids))
}

/// A text, or null where nobody wrote one.
fn or_null<'de, D: Deserializer<'de>>(from: D) -> Result<String, D::Error> {
    Ok(Option::deserialize(from)?.unwrap_or_default())
}

impl Tunnel {
    /// For people; somebody typed these texts in a form.
    fn text(&self) -> String {
        let list = |ids: &Option<Vec<String>>| match ids.as_deref().unwrap_or_default() {
            [] => "none".to_owned(),
            ids => foreign(&ids.join(", ")),
        };
        let mut text = format!("Tunnel {}\n", foreign(&self.id));
        text.push_str(&format!(
            "  Name: {}\n  Description: {}\n",
            foreign(&self.name),
            foreign(&self.description)
        ));
        if let Some(creator) = &self.creator {
            let creator = creator.as_str().map_or_else(|| creator.to_string(), str::to_owned);
            text.push_str(&format!("  Creator: {}\n", foreign(&creator)));
        }
        text.push_str(&format!("  Organizations: {}\n", list(&self.organization_ids)));
        text.push_str(&format!("  Workspaces: {}\n", list(&self.workspace_ids)));
        if self.tenant_ids.as_ref().is_some_and(|ids| !ids.is_empty()) {
            text.push_str(&format!("  Tenants: {}\n", list(&self.tenant_ids)));
        }
        text
    }
}
