//! Editors of profiles: known programs, with options that make them run nothing else.
//!
//! `VISUAL` and `EDITOR` may come from a place that is less trusted than the terminal, such as the settings of an
//! agent. So a value names one of a few programs, by the file that `PATH` gives for it, and no option of it may hold a
//! command. The complaints are those of the reference client.

use std::fs::{self, Metadata};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use crate::config::{Environment, arguments};

/// Each editor with the options that it may be given.
const EDITORS: [(&str, &[&str]); 8] = [
    ("vi", &["-R", "-n"]),
    ("vim", &["-f", "--nofork", "-n", "-R"]),
    ("nvim", &["-f", "--nofork", "-n", "-R"]),
    ("nano", &["-w", "--nowrap", "-l", "--linenumbers", "-m", "--mouse", "-E", "--tabstospaces"]),
    ("emacs", &["-nw", "--no-window-system", "-Q", "--quick", "-q", "--no-init-file", "--no-site-file"]),
    ("code", &["-w", "--wait", "-n", "--new-window", "-r", "--reuse-window", "--disable-extensions"]),
    ("subl", &["-w", "--wait", "-n", "--new-window", "-b", "--background"]),
    ("notepad", &[]),
];

/// The editor's file and its options, from the first variable that names one.
pub(super) fn of_environment(environment: &Environment) -> Result<(PathBuf, Vec<String>), String> {
    let text = ["VISUAL", "EDITOR"].into_iter().filter_map(|name| environment.filled(name));
    let text =
        text.map(str::trim).find(|text| !text.is_empty()).ok_or("set VISUAL or EDITOR to edit profiles")?;
    let invalid = |what: &str| format!("invalid VISUAL or EDITOR: {what}");
    if text.contains(char::is_control) {
        return Err(invalid("control characters are not allowed"));
    }
    let mut options = arguments(text).map_err(invalid)?;
    let program = options.remove(0);
    let name = program.rsplit('/').next().unwrap_or_default();
    let installed = |name: &str| in_path(environment.filled("PATH").unwrap_or_default(), name);
    let own = installed(name);
    // A distribution's `editor` is one of them under another name.
    let known = EDITORS.iter().find(|(known, _)| match name {
        "editor" => own.as_ref().zip(installed(known)).is_some_and(|(own, other)| own.1 == other.1),
        _ => *known == name,
    });
    let Some((known, allowed)) = known else {
        return Err(format!(
            "unsupported profile editor {name:?}; use vi, vim, nvim, nano, emacs, code, subl, or notepad"
        ));
    };
    if let Some(option) = options.iter().find(|option| !allowed.contains(&option.as_str())) {
        return Err(format!(
            "unsupported option {option:?} for profile editor {known:?}; \
             shell commands and editor evaluation options are not allowed"
        ));
    }
    let (path, identity) =
        own.ok_or_else(|| invalid(&format!("executable {name:?} is not found in PATH")))?;
    let is_same = |given: &str| fs::metadata(given).is_ok_and(|given| file(&given) == identity);
    if program.contains('/') && !is_same(&program) {
        return Err(format!(
            "profile editor path must select the installed {name:?} executable found in PATH"
        ));
    }
    Ok((path, options))
}

/// What tells one file from every other, whatever it is called.
fn file(metadata: &Metadata) -> (u64, u64) {
    (metadata.dev(), metadata.ino())
}

/// The executable of a name in the directories of a `PATH`. Relative ones are nobody's installation.
fn in_path(path: &str, name: &str) -> Option<(PathBuf, (u64, u64))> {
    let mut places = path.split(':').filter(|folder| folder.starts_with('/'));
    places.find_map(|folder| {
        let place = Path::new(folder).join(name);
        let metadata = fs::metadata(&place).ok()?;
        let is_program = metadata.is_file() && metadata.permissions().mode() & 0o111 != 0;
        is_program.then(|| (place, file(&metadata)))
    })
}
