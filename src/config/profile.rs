//! Which YAML file is read: `--config`, `--profile` or `--profile-file`, or their variables.
//!
//! Decides on a path and opens no file. Whoever controls the name of a profile may choose among
//! the files of one directory, so a name is held to a grammar without separators. Fails when two
//! ways are used at once: to let one win in silence would run a tunnel with the wrong identity.

use std::path::{Path, PathBuf};

#[cfg(feature = "operator")]
use super::settings::TUNNEL_ID_FLAG;
use super::{Environment, Error, Flags};

/// The three ways to name a file: flag, variable, and what a blank flag lacks.
const WAYS: [(&str, &str, &str); 3] = [
    ("config", "TUNNEL_CLIENT_CONFIG", "config file path"),
    ("profile", "TUNNEL_CLIENT_PROFILE", "profile name"),
    ("profile-file", "TUNNEL_CLIENT_PROFILE_FILE", "profile file path"),
];

/// A directory with more files than this holds something else than profiles.
#[cfg(feature = "operator")]
const ENTRIES_MAX: usize = 10_000;

/// Profiles that an advice names; a list of all of them is one command away.
#[cfg(feature = "operator")]
const ADVISED_MAX: usize = 5;

/// A profile's name is a file name, so it stays short.
const PROFILE_NAME_MAX_BYTES: usize = 128;

/// Which file, if any, supplied the YAML settings.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Source {
    /// The flag that chooses it: `config`, `profile` or `profile-file`; empty where there is none.
    pub way: &'static str,
    /// What that names: the name of a profile, or the file.
    pub name: String,
    /// The file.
    pub path: Option<PathBuf>,
}

/// Decides where the YAML part comes from. Any flag beats any variable, so that a host with a
/// variable in its unit can still be asked for another profile by hand.
pub(crate) fn select(flags: &Flags, environment: &Environment) -> Result<Source, Error> {
    let mut given = Vec::new();
    for (way, _, what) in WAYS {
        given.extend(flag_value(flags, way, what)?.map(|value| (way, format!("--{way}"), value)));
    }
    if given.is_empty() {
        let of_variable =
            |(way, name, _): (_, &str, _)| Some((way, name.to_owned(), trimmed(environment, name)?));
        given.extend(WAYS.into_iter().filter_map(of_variable));
    }
    let (way, text) = match given.as_slice() {
        [] => return Ok(Source::default()),
        [(way, _, text)] => (*way, *text),
        [(_, one, _), (_, other, _), ..] => {
            return Err(Error::invalid(format!("{one} and {other} are mutually exclusive")));
        }
    };
    let path = match way {
        "config" => PathBuf::from(text),
        "profile" => file(flags, environment, text)?,
        _ => expanded(environment, text)?,
    };
    match (way, path.file_name().and_then(|name| name.to_str()?.strip_suffix(".yaml"))) {
        ("config", _) => {}
        ("profile", _) => confine(&path)?,
        // It must look like a profile, so that what manages profiles can use it as well.
        (_, Some(name)) => check_name(name)?,
        _ => return Err(Error::invalid(format!("profile file {text:?} must end with .yaml"))),
    }
    let name = if way == "profile" { text.to_owned() } else { path.display().to_string() };
    Ok(Source { way, name, path: Some(path) })
}

/// The file of a profile, be it there or not.
pub(crate) fn file(flags: &Flags, environment: &Environment, name: &str) -> Result<PathBuf, Error> {
    check_name(name)?;
    Ok(directory(flags, environment)?.join(format!("{name}.yaml")))
}

/// Refuses a profile that is a link out of its directory: a name would else choose among all files. A link inside is
/// relative, as those of Kubernetes are. Of one that leads nowhere the reader will say so.
pub(crate) fn confine(path: &Path) -> Result<(), Error> {
    let Ok(target) = path.read_link() else { return Ok(()) };
    let place = path.canonicalize().ok().zip(path.parent().and_then(|folder| folder.canonicalize().ok()));
    if target.is_relative() && place.is_none_or(|(file, folder)| file.starts_with(folder)) {
        return Ok(());
    }
    Err(Error::invalid(format!(
        "read config file {}: a link out of the profile directory; name the file with --profile-file",
        path.display()
    )))
}

/// The directory that profiles are looked for in: the first one that is named, whether or not it
/// exists. To go on to the next would run another profile of the same name.
pub(crate) fn directory(flags: &Flags, environment: &Environment) -> Result<PathBuf, Error> {
    let flag = flag_value(flags, "profile-dir", "profile directory")?;
    if let Some(value) = flag.or_else(|| trimmed(environment, "TUNNEL_CLIENT_PROFILE_DIR")) {
        return expanded(environment, value);
    }
    if let Some(value) = trimmed(environment, "XDG_CONFIG_HOME") {
        return Ok(expanded(environment, value)?.join("tunnel-client"));
    }
    match trimmed(environment, "HOME") {
        Some(home) => Ok(Path::new(home).join(".config/tunnel-client")),
        None => {
            Err(Error::invalid("resolve default profile directory: neither XDG_CONFIG_HOME nor HOME is set"))
        }
    }
}

/// The profiles of a directory, by name. Other files are passed over in silence, because editors leave copies
/// beside what they edit; a directory that is not there has none.
#[cfg(feature = "operator")]
pub(crate) fn list(directory: &Path) -> std::io::Result<Vec<(String, PathBuf)>> {
    let found = match directory.read_dir() {
        Ok(found) => found,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let named = |path: PathBuf| {
        let name = path.file_name()?.to_str()?.strip_suffix(".yaml")?.to_owned();
        (check_name(&name).is_ok() && path.is_file()).then_some((name, path))
    };
    let mut entries: Vec<_> =
        found.take(ENTRIES_MAX).flatten().filter_map(|entry| named(entry.path())).collect();
    // Directories have no order of their own, and scripts compare lists.
    entries.sort();
    Ok(entries)
}

/// The mistake with what to do about it, where the choice of a profile is behind it: none was chosen, or
/// one that is not there.
#[cfg(feature = "operator")]
pub(super) fn advise(error: Error, source: &Source, flags: &Flags, environment: &Environment) -> Error {
    // Of the faults of a tunnel's id only a missing one comes with advice.
    let missing = error.setting() == Some(TUNNEL_ID_FLAG) && error.hint().is_some();
    match &source.path {
        None if missing => {
            let found = directory(flags, environment).ok().and_then(|directory| list(&directory).ok());
            let names = found.into_iter().flatten().map(|(name, _)| format!("--profile {name}"));
            let names: Vec<String> = names.take(ADVISED_MAX).collect();
            match names.is_empty() {
                true => error,
                false => error.advise(format!("or name a profile that is there: {}", names.join(", "))),
            }
        }
        Some(path) if source.way == "profile" && !path.exists() => error.advise(format!(
            "tunnel-client profiles list shows what there is; tunnel-client init --profile {} writes one",
            source.name
        )),
        _ => error,
    }
}

/// A flag's value. A blank one is refused: it usually stands for a variable that a script forgot
/// to set, and without the file the tunnel would run with other settings than were meant.
fn flag_value<'f>(flags: &'f Flags, flag: &str, what: &str) -> Result<Option<&'f str>, Error> {
    match flags.last(flag).map(str::trim) {
        Some("") => Err(Error::invalid(format!("{what} is required when --{flag} is set"))),
        value => Ok(value),
    }
}

/// A variable's value; a blank one counts as not set.
fn trimmed<'e>(environment: &'e Environment, name: &str) -> Option<&'e str> {
    environment.get(name).map(str::trim).filter(|value| !value.is_empty())
}

/// A name may not lead out of the profile directory. It begins with a letter or digit, so that it
/// is neither a hidden file nor, in a script, a flag.
pub(crate) fn check_name(name: &str) -> Result<(), Error> {
    let legal = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    let why = match name {
        "" => return Err(Error::invalid("profile name is required")),
        "." | ".." => "path separators are not allowed",
        _ if name.contains(['/', '\\']) => "path separators are not allowed",
        _ if name.starts_with(|c: char| c.is_ascii_alphanumeric())
            && name.len() <= PROFILE_NAME_MAX_BYTES
            && name.chars().all(legal) =>
        {
            return Ok(());
        }
        _ => "use letters, numbers, '.', '_' or '-'",
    };
    Err(Error::invalid(format!("invalid profile name {name:?}: {why}")))
}

/// Replaces a leading `~` by the home directory, as a shell does; in units and YAML none does.
fn expanded(environment: &Environment, text: &str) -> Result<PathBuf, Error> {
    let rest = match text.strip_prefix('~') {
        Some(rest) if rest.is_empty() || rest.starts_with('/') => rest.trim_start_matches('/'),
        _ => return Ok(PathBuf::from(text)),
    };
    match environment.filled("HOME") {
        Some(home) => Ok(Path::new(home).join(rest)),
        None => Err(Error::invalid("cannot expand \"~\" without HOME")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Request;

    fn selected<const N: usize>(arguments: &[&str], variables: [(&str, &str); N]) -> Result<Source, String> {
        let Ok(Request::Run(flags)) = Flags::parse(arguments) else { panic!("flags") };
        select(&flags, &Environment::of(variables)).map_err(|error| error.to_string())
    }

    #[test]
    fn flags_beat_variables() {
        let source =
            selected(&["--config", "a"], [("TUNNEL_CLIENT_PROFILE", "b"), ("TUNNEL_CLIENT_CONFIG", "c")]);
        assert_eq!(source, Ok(Source { way: "config", name: "a".into(), path: Some("a".into()) }));
        assert_eq!(selected(&[], [("TUNNEL_CLIENT_CONFIG", " ")]), Ok(Source::default()));
    }

    #[test]
    fn profiles_are_found_in_the_first_directory_that_is_named() {
        let path = |source: Result<Source, String>| source.unwrap().path.unwrap();
        let home = ("HOME", "/home/u");
        assert_eq!(
            path(selected(&["--profile", "p"], [home])),
            Path::new("/home/u/.config/tunnel-client/p.yaml")
        );
        assert_eq!(
            path(selected(&["--profile", "p"], [home, ("XDG_CONFIG_HOME", "~/x")])),
            Path::new("/home/u/x/tunnel-client/p.yaml")
        );
        assert_eq!(
            path(selected(&["--profile", "p"], [("TUNNEL_CLIENT_PROFILE_DIR", "/d")])),
            Path::new("/d/p.yaml")
        );
        assert_eq!(path(selected(&["--profile", "p", "--profile-dir", "/e"], [])), Path::new("/e/p.yaml"));
        assert_eq!(path(selected(&["--profile-file", "~/p.yaml"], [home])), Path::new("/home/u/p.yaml"));
    }

    #[test]
    fn mistakes_are_named() {
        for (arguments, expected) in [
            (&["--config", "a", "--profile", "b"][..], "--config and --profile are mutually exclusive"),
            (&["--profile", " "], "profile name is required when --profile is set"),
            (&["--profile", "../x"], "invalid profile name \"../x\": path separators are not allowed"),
            (&["--profile", "-x"], "invalid profile name \"-x\": use letters, numbers, '.', '_' or '-'"),
            (&["--profile-file", "x.yml"], "profile file \"x.yml\" must end with .yaml"),
            (&["--profile-file", "~/x.yaml"], "cannot expand \"~\" without HOME"),
            (
                &["--profile", "x", "--profile-dir", ""],
                "profile directory is required when --profile-dir is set",
            ),
        ] {
            assert_eq!(selected(arguments, []), Err(expected.to_string()));
        }
        let both = [("TUNNEL_CLIENT_PROFILE", "a"), ("TUNNEL_CLIENT_PROFILE_FILE", "b.yaml")];
        assert_eq!(
            selected(&[], both),
            Err("TUNNEL_CLIENT_PROFILE and TUNNEL_CLIENT_PROFILE_FILE are mutually exclusive".into())
        );
    }
}
