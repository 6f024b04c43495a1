//! `tunnel-client profiles edit`: the operator's editor on a copy, which replaces the profile once valid.
//!
//! The profile is never half-written and never invalid: a copy that does not validate is kept and named, so
//! that no work is lost, and so is one whose original somebody else has changed meanwhile. The editor is
//! started without a shell, and without the keys that only the tunnel needs.

use std::fmt::Display;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use crate::config::{Environment, Flags, draft, profile};
use crate::ops::signals::Signals;
use crate::ops::{files, os_text};

use super::profiles::{argument, create_directory, path};
use super::{Failure, editor, print, samples};

/// Variables with keys, which no editor needs and every plug-in of one could read.
const KEYS: [&str; 3] = ["CONTROL_PLANE_API_KEY", "OPENAI_API_KEY", "OPENAI_ADMIN_KEY"];

/// What the editor works on, removed when this is dropped.
struct Copy {
    path: PathBuf,
    is_kept: bool,
}

/// Lets the operator edit a profile, or a first one made from a sample.
pub(super) fn command(flags: &Flags) -> Result<ExitCode, Failure> {
    let environment = Environment::of_process()?;
    let name = argument(flags);
    let path = path(flags, &environment, name)?;
    let (editor, options) = editor::of_environment(&environment).map_err(Failure)?;
    let original = read_profile(&path).map_err(Failure)?;
    create_directory(&path)?;
    let text = match &original {
        Some(text) => text.clone(),
        None => samples::find(samples::DEFAULT)?.example(),
    };
    let mut copy = Copy::create(&path, name, &text)?;
    run_editor(&editor, &options, &copy.path)?;
    match save(&copy.path, &path, original.as_deref()) {
        Ok(()) => Ok(print(&format!("Saved profile {name} at {}\n", path.display()))),
        // An editor may have taken its file away.
        Err(why) if !copy.path.exists() => Err(Failure(why)),
        Err(why) => {
            copy.is_kept = true;
            let kept = copy.path.display();
            Err(Failure(format!("{why}; what you wrote is kept in {kept}")))
        }
    }
}

/// Puts the edited text in the profile's place, if it is valid and nobody else was faster.
fn save(copy: &Path, path: &Path, original: Option<&str>) -> Result<(), String> {
    let invalid =
        |why: &dyn Display| format!("profile did not validate; not saving {}: {why}", path.display());
    let read = draft::read_text(copy, draft::CONFIG_FILE_MAX_BYTES);
    let text = read.map_err(|error| invalid(&os_text(&error)))?;
    draft::check(copy, &text).map_err(|error| invalid(&error))?;
    if read_profile(path)?.as_deref() != original {
        return Err(format!("the profile was changed while you edited it; not saving {}", path.display()));
    }
    // The copy itself is not moved: an editor may have put another file, with another mode, in its place.
    files::write_profile(path, &text, true)
        .map_err(|error| format!("write profile {}: {}", path.display(), os_text(&error)))
}

/// The text of a profile, if there is one.
fn read_profile(path: &Path) -> Result<Option<String>, String> {
    profile::confine(path).map_err(|error| error.to_string())?;
    match draft::read_text(path, draft::CONFIG_FILE_MAX_BYTES) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(format!("read profile {}: {}", path.display(), os_text(&error))),
    }
}

/// Runs the editor, with our terminal, until it ends.
fn run_editor(editor: &Path, options: &[String], copy: &Path) -> Result<(), Failure> {
    let failed = |why: String| Failure(format!("run editor {editor:?}: {why}"));
    let mut command = Command::new(editor);
    command.args(options).arg(copy);
    for key in KEYS {
        command.env_remove(key);
    }
    let ended = command.spawn().and_then(|mut child| {
        // A terminal sends its Ctrl-C to both, and it is the editor's to act on: without us nothing is saved.
        // Blocked only now, or the editor would not hear of it.
        let _signals = Signals::block();
        child.wait()
    });
    match ended {
        Ok(status) if status.success() => Ok(()),
        // As Go says it.
        Ok(status) => Err(failed(status.to_string().replace("status: ", "status "))),
        Err(error) => Err(failed(os_text(&error))),
    }
}

impl Copy {
    /// A private file beside the profile, with a name that no profile has and an ending that editors know.
    fn create(path: &Path, name: &str, text: &str) -> Result<Copy, Failure> {
        let path = path.with_file_name(format!(".{name}.{}.yaml", std::process::id()));
        match files::write_profile(&path, text, false) {
            Ok(()) => Ok(Copy { path, is_kept: false }),
            Err(error) => Err(Failure(format!("write {}: {}", path.display(), os_text(&error)))),
        }
    }
}

impl Drop for Copy {
    fn drop(&mut self) {
        if !self.is_kept {
            // Some editors move it away themselves.
            let _ = fs::remove_file(&self.path);
        }
    }
}
