//! `tunnel-client profiles`: the files of the profile directory, and the samples that they are made from.
//!
//! A profile is checked before it is written, as far as that goes without its secrets: the schema, and how
//! references are spelt. Files are private to their owner and are never written through a link. A name that
//! is taken is an error, unless replacing was asked for.

use std::fmt::Display;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use serde::Serialize;

use crate::config::settings::{Kind, Row};
use crate::config::{Environment, Flags, draft, profile};
use crate::ops::{files, os_text};

use super::samples::{
    self, API_KEY, BASE_URL, COMMAND, LISTEN, OPEN_UI, SAMPLES, SERVER_URL, TUNNEL_ID, URL_PATH,
};
use super::{Failure, print};

pub(super) const PROFILE_DIR: Row =
    Row::option("profile-dir", Kind::Text, "directory", "", "Where profiles are kept");
/// Never the default: an overwritten profile is not kept anywhere.
pub(super) const FORCE: Row =
    Row::option("force", Kind::Boolean, "", "false", "Replace a profile of that name");
/// Has no default, so that a profile is never made from a sample that nobody chose; `init` chooses itself.
pub(super) const SAMPLE: Row =
    Row::option("sample", Kind::Text, "name", "", "The sample; `profiles samples list` lists all");
/// With its comments, which are its author's.
const FROM_FILE: Row = Row::option("from-file", Kind::Text, "path", "", "A YAML file to take over as it is");
const JSON: Row = Row::option("json", Kind::Boolean, "", "false", "Print JSON");

pub(super) const OPTIONS: &[Row] = &[PROFILE_DIR];
pub(super) const LIST_OPTIONS: &[Row] = &[PROFILE_DIR, JSON];
pub(super) const ADD_OPTIONS: &[Row] = &[
    FROM_FILE,
    SAMPLE,
    PROFILE_DIR,
    FORCE,
    TUNNEL_ID,
    BASE_URL,
    URL_PATH,
    API_KEY,
    SERVER_URL,
    COMMAND,
    LISTEN,
    OPEN_UI,
];

/// One profile, with the members of the JSON output.
#[derive(Serialize)]
struct Entry {
    name: String,
    path: String,
}

/// `profiles list`.
pub(super) fn list(flags: &Flags) -> Result<ExitCode, Failure> {
    // Only the directory is read. A profile that cannot be parsed is listed as well, or nobody would find it.
    let directory = profile::directory(flags, &Environment::of_process()?).map_err(plain)?;
    let found = profile::list(&directory).map_err(|error| {
        Failure(format!("read profile directory {}: {}", directory.display(), os_text(&error)))
    })?;
    let entry = |(name, path): (String, PathBuf)| Entry { name, path: path.display().to_string() };
    let entries: Vec<Entry> = found.into_iter().map(entry).collect();
    if flags.is_on(JSON.flag) {
        let json = serde_json::to_string_pretty(&entries).map_err(plain)?;
        return Ok(print(&format!("{json}\n")));
    }
    if entries.is_empty() {
        return Ok(print(&format!("No profiles found in {}\n", directory.display())));
    }
    let lines = entries.iter().map(|Entry { name, path }| format!("{name}\t{path}\n"));
    Ok(print(&lines.collect::<String>()))
}

/// `profiles add`.
pub(super) fn add(flags: &Flags) -> Result<ExitCode, Failure> {
    let environment = Environment::of_process()?;
    let name = argument(flags);
    let path = path(flags, &environment, name)?;
    let text = match (flags.option(FROM_FILE.flag), flags.option(SAMPLE.flag)) {
        (from, "") if !from.is_empty() => {
            let read = draft::read_text(Path::new(from), draft::CONFIG_FILE_MAX_BYTES);
            let text = read.map_err(|error| Failure(format!("read {from}: {}", os_text(&error))))?;
            // Under the name of the file that was given: that is where the mistake has to be mended.
            draft::check(Path::new(from), &text).map_err(plain)?;
            text
        }
        ("", sample) if !sample.is_empty() => {
            let sample = samples::find(sample)?;
            samples::require_tunnel_id(flags)?;
            let text = sample.render(flags)?;
            draft::check(&path, &text).map_err(plain)?;
            text
        }
        _ => return Err(Failure("set exactly one of --from-file or --sample".into())),
    };
    write(name, &path, &text, flags.is_on(FORCE.flag))?;
    Ok(print(&format!("Added profile {name} at {}\n", path.display())))
}

/// `profiles samples list`.
pub(super) fn samples_list(_: &Flags) -> Result<ExitCode, Failure> {
    let lines = SAMPLES.iter().map(|sample| format!("{}\t{}\n", sample.name, sample.summary()));
    Ok(print(&lines.collect::<String>()))
}

/// `profiles samples show`.
pub(super) fn samples_show(flags: &Flags) -> Result<ExitCode, Failure> {
    Ok(print(&samples::find(argument(flags))?.describe()))
}

/// The file of a profile.
pub(super) fn path(flags: &Flags, environment: &Environment, name: &str) -> Result<PathBuf, Failure> {
    profile::file(flags, environment, name).map_err(plain)
}

/// Writes a profile, into a directory that is made for it.
pub(super) fn write(name: &str, path: &Path, text: &str, replacing: bool) -> Result<(), Failure> {
    create_directory(path)?;
    files::write_profile(path, text, replacing).map_err(|error| match error.kind() {
        io::ErrorKind::AlreadyExists => {
            Failure(format!("profile {name:?} already exists; pass --force to replace it"))
        }
        _ => Failure(format!("write profile {}: {}", path.display(), os_text(&error))),
    })
}

/// Makes the directory that a profile is to stand in.
pub(super) fn create_directory(path: &Path) -> Result<(), Failure> {
    let directory = path.parent().unwrap_or(Path::new("."));
    files::create_profile_directory(directory).map_err(|error| {
        Failure(format!("create profile directory {}: {}", directory.display(), os_text(&error)))
    })
}

/// The one argument that the table demands.
pub(super) fn argument(flags: &Flags) -> &str {
    flags.arguments().first().map(String::as_str).unwrap_or_default()
}

/// A complaint without the prefix that only `run` uses.
pub(super) fn plain(error: impl Display) -> Failure {
    Failure(error.to_string())
}
