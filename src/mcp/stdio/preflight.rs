//! Whether a server's command could be started, seen before anybody tries: the program, the interpreter
//! of a script, and what the usual wrappers (`env`, shells, interpreters) would start in turn.
//!
//! Starts nothing and reads nothing but the first bytes of programs. It complains only of what is certain
//! to fail: where a shell would have to be understood, or an option may have taken a word, it says nothing.
//! Complaints name the program or script and how to mend it, never another argument, which may be a secret.

use std::collections::VecDeque;
use std::ffi::OsStr;
use std::fs::{File, Metadata};
use std::io::Read;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use nix::fcntl::OFlag;
use nix::unistd::{AccessFlags, access};

use super::launch::{assignment, enterable, executable, find, is_shell_word, shown};
use crate::config::arguments;

/// Wrappers within wrappers that are followed; more than two are hardly ever written.
const DEPTH_MAX: usize = 4;

/// What the kernel itself reads of a script's first line.
const SHEBANG_MAX_BYTES: u64 = 256;

/// What a shell would act on, so that words are not what they seem.
const SHELL_CHARACTERS: &[char] =
    &['$', '`', ';', '&', '|', '<', '>', '(', ')', '{', '*', '?', '~', '!', '\n'];

/// An interpreter by its name without version, the options with which it needs no script, and those whose
/// value is the next word.
type Interpreter = (&'static str, &'static [&'static str], &'static [&'static str]);

const INTERPRETERS: [Interpreter; 6] = [
    ("python", &["-c", "-m"], &["-W", "-X"]),
    ("node", &["-e", "--eval", "-p", "--print"], &["-r", "--require", "--import", "-C", "--conditions"]),
    ("ruby", &["-e"], &["-C", "-E", "-I", "-r"]),
    ("perl", &["-e", "-E"], &["-I"]),
    ("php", &["-r"], &["-c", "-d", "-z"]),
    ("deno", &["eval"], &["-c", "--config", "--import-map"]),
];

/// The file that the command would start, looked for in `path` and, if relative, in `working_dir`.
pub fn check(argv: &[String], path: Option<&OsStr>, working_dir: Option<&Path>) -> Result<PathBuf, String> {
    working_dir.map_or(Ok(()), enterable)?;
    Place { path, working_dir }.program(argv, 0)
}

/// Where names are looked for.
struct Place<'a> {
    path: Option<&'a OsStr>,
    working_dir: Option<&'a Path>,
}

impl Place<'_> {
    /// The file of a program, with what it needs itself and what it would start.
    fn program(&self, argv: &[String], depth: usize) -> Result<PathBuf, String> {
        let Some((program, rest)) = argv.split_first() else {
            return Err("the command is empty".into());
        };
        let file = self.executable(program)?;
        // Before the first line of a script is followed: a script may name itself there.
        if depth >= DEPTH_MAX {
            return Ok(file);
        }
        self.interpreter(program, &file)?;
        let name = Path::new(program).file_name().and_then(OsStr::to_str).unwrap_or_default();
        let name = name.trim_end_matches(|c: char| c.is_ascii_digit() || c == '.');
        match INTERPRETERS.iter().find(|(known, ..)| *known == name) {
            Some(interpreter) => self.script(interpreter, rest)?,
            None if name == "env" => self.env(program, rest, depth + 1)?,
            None if ["sh", "bash", "zsh", "dash", "ksh"].contains(&name) => {
                self.shell(program, rest, depth + 1)?;
            }
            None => {}
        }
        Ok(file)
    }

    fn executable(&self, program: &str) -> Result<PathBuf, String> {
        find(program, self.path, self.working_dir).map_err(|_| {
            let file = self.file(program);
            let metadata = file.metadata().ok().filter(|_| program.contains('/'));
            let what = match metadata.as_ref().map(Metadata::file_type) {
                Some(kind) if kind.is_dir() => "is a directory; fix: name the program in it".into(),
                Some(kind) if kind.is_file() => {
                    format!("is not executable; fix: chmod +x {}", file.display())
                }
                Some(_) => "is not a regular file; fix: name a program".into(),
                None if assignment(program).is_some() => {
                    "is a variable, which only a shell would set; fix: write it into the entry's env".into()
                }
                None if program.contains('/') => {
                    "was not found; fix: correct the path, or let this user into its directory".into()
                }
                None if is_shell_word(program) => {
                    "is a word of shells, and no shell is run; fix: write sh -c '...', or set working_dir"
                        .into()
                }
                None => "was not found; fix: install it, or write its whole path".into(),
            };
            format!("stdio MCP executable {:?} {what}", shown(program))
        })
    }

    /// What the kernel starts for a script: the program of its first line.
    fn interpreter(&self, script: &str, file: &Path) -> Result<(), String> {
        let Some(line) = shebang(file) else { return Ok(()) };
        let (program, argument) = line.split_once([' ', '\t']).unwrap_or((&line, ""));
        if !program.starts_with('/') {
            return Err(format!(
                "stdio MCP executable {script:?} uses non-absolute shebang interpreter {program:?}; fix: \
                 write its whole path in the script's first line, or #!/usr/bin/env and its name"
            ));
        }
        let mut found = executable(Path::new(program));
        if found.is_ok() && program.ends_with("/env") {
            // All that follows is one argument: that is why `env` has -S.
            // At full depth: wrappers are not followed from here.
            found = self.env(program, &[argument.trim().to_owned()], DEPTH_MAX);
        }
        found.map_err(|_| {
            format!(
                "stdio MCP executable {script:?} uses an unavailable interpreter {line:?}; fix: install it, \
                 or correct the script's first line"
            )
        })
    }

    /// What `env` would start, with the `PATH` that it is told.
    fn env(&self, program: &str, words: &[String], depth: usize) -> Result<(), String> {
        let mut words: VecDeque<String> = words.iter().filter(|word| !word.is_empty()).cloned().collect();
        let mut path = None;
        while let Some(word) = words.pop_front() {
            let split = match word.strip_prefix("--split-string=") {
                None if word.starts_with("--") || word.starts_with("-u") => None,
                None if word.starts_with('-') => word.split_once('S').map(|(_, text)| text),
                text => text,
            };
            if let Some(text) = split {
                let text = if text.is_empty() { words.pop_front() } else { Some(text.to_owned()) };
                let Ok(inner) = arguments(&text.unwrap_or_default()) else { return Ok(()) };
                inner.into_iter().rev().for_each(|word| words.push_front(word));
            } else if ["-u", "--unset"].contains(&word.as_str()) {
                words.pop_front();
            // From there on relative names lie where nobody has looked.
            } else if word.starts_with("-C") || word.starts_with("--chdir") {
                return Ok(());
            } else if let Some((name, value)) = assignment(&word) {
                path = if name == "PATH" { Some(value.to_owned()) } else { path };
            } else if !word.starts_with('-') {
                words.push_front(word);
                let path = path.as_ref().map(OsStr::new).or(self.path);
                let inner = Place { path, working_dir: self.working_dir };
                return inner.program(words.make_contiguous(), depth).map(drop);
            }
        }
        Err(format!("stdio MCP env wrapper {program:?} does not name a command"))
    }

    /// The script or command string of a shell.
    fn shell(&self, program: &str, words: &[String], depth: usize) -> Result<(), String> {
        let mut words = words.iter();
        while let Some(word) = words.next() {
            match word.as_str() {
                "--rcfile" | "--init-file" => drop(words.next()),
                "-" | "-s" => return Ok(()),
                "--" => return words.next().map_or(Ok(()), |script| self.readable(script)),
                long if long.starts_with("--") => {}
                // The next word belongs to the o, wherever that stands.
                options if options.starts_with(['-', '+']) && options.ends_with(['o', 'O']) => {
                    words.next();
                }
                options if options.starts_with('-') && options.contains('c') => {
                    let text = words.find(|word| !word.starts_with('-'));
                    return match text.filter(|text| !text.trim().is_empty()) {
                        Some(text) => self.command_string(text, depth),
                        None => Err(format!(
                            "stdio MCP shell wrapper {program:?} uses -c without a command string; fix: write \
                             the command behind it in quotes"
                        )),
                    };
                }
                options if options.starts_with(['-', '+']) => {}
                // A shell looks for it like for a program when it is not here.
                script if find(script, self.path, self.working_dir).is_ok() => return Ok(()),
                script => return self.readable(script),
            }
        }
        Ok(())
    }

    /// The first command of a shell's string, as far as it can be known without being a shell.
    fn command_string(&self, text: &str, depth: usize) -> Result<(), String> {
        let Ok(words) = arguments(text) else { return Ok(()) };
        let leads =
            |word: &String| ["exec", "command"].contains(&word.as_str()) || assignment(word).is_some();
        let start = words.iter().position(|word| !leads(word)).unwrap_or(words.len());
        let (before, argv) = words.split_at_checked(start).unwrap_or_default();
        let Some(program) = argv.first() else { return Ok(()) };
        let path = before.iter().any(|word| word.starts_with("PATH="));
        let opaque = program.contains(SHELL_CHARACTERS) || program.starts_with('-');
        if path || opaque || is_shell_word(program) {
            return Ok(());
        }
        let found = match text.contains(SHELL_CHARACTERS) {
            true => self.executable(program),
            false => self.program(argv, depth),
        };
        found.map(drop)
    }

    /// The script of an interpreter.
    fn script(&self, (name, stops, takes): &Interpreter, words: &[String]) -> Result<(), String> {
        let mut words = words.iter();
        // Its other subcommands run no script, or know scripts by names of their own.
        if *name == "deno" && words.next().is_none_or(|word| word != "run") {
            return Ok(());
        }
        let mut unsure = false;
        while let Some(word) = words.next() {
            // Letters stand together: `-um module` is `-u -m module`.
            let is_short = word.starts_with('-') && !word.starts_with("--");
            let letter =
                |stop: &&str| is_short && stop.len() == 2 && word.contains(stop.trim_start_matches('-'));
            if word == "-" || stops.contains(&word.as_str()) || stops.iter().any(letter) {
                return Ok(());
            }
            if takes.contains(&word.as_str()) {
                words.next();
            } else if word.starts_with('-') {
                // A long option that is not known here may take the next word.
                unsure = word != "--" && !is_short && !word.contains('=');
            } else if unsure
                || word.contains(':')
                || (*name == "node" && self.is_there(&format!("{word}.js")))
            {
                return Ok(());
            } else {
                return self.readable(word);
            }
        }
        Ok(())
    }

    fn readable(&self, script: &str) -> Result<(), String> {
        let file = self.file(script);
        let what = match access(&file, AccessFlags::R_OK) {
            Ok(()) => return Ok(()),
            Err(nix::Error::EACCES) => {
                format!(
                    "is not readable; fix: chmod +r {}, or let this user into its directory",
                    file.display()
                )
            }
            Err(_) if script.starts_with('/') => {
                "was not found; fix: create it, or name the one that exists".into()
            }
            Err(_) => "was not found; fix: write its whole path, or set working_dir".into(),
        };
        Err(format!("stdio MCP script {script:?} {what}"))
    }

    fn is_there(&self, name: &str) -> bool {
        self.file(name).exists()
    }

    fn file(&self, name: &str) -> PathBuf {
        self.working_dir.unwrap_or(Path::new("")).join(name)
    }
}

/// What stands behind `#!` on the first line. What cannot be read can still be a program, so it has none.
fn shebang(file: &Path) -> Option<String> {
    // Without waiting: a pipe may have taken the file's place.
    let file = File::options().read(true).custom_flags(OFlag::O_NONBLOCK.bits()).open(file).ok()?;
    if !file.metadata().ok()?.is_file() {
        return None;
    }
    let mut bytes = Vec::new();
    file.take(SHEBANG_MAX_BYTES).read_to_end(&mut bytes).ok()?;
    let line = bytes.strip_prefix(b"#!")?.split(|byte| *byte == b'\n').next()?;
    // A line ending of another system stays: it is why such a script does not start.
    Some(String::from_utf8_lossy(line).trim_matches([' ', '\t']).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    /// A directory with a program and a script each of the given kind, and a `PATH` that holds `PROGRAMS`.
    fn place(name: &str) -> PathBuf {
        let folder =
            std::env::temp_dir().join(format!("tunnel-client-preflight-{}-{name}", std::process::id()));
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir_all(folder.join("bin")).unwrap();
        std::fs::create_dir_all(folder.join("folder")).unwrap();
        for (file, text, mode) in [
            ("bin/env", "#!/bin/sh\n", 0o755),
            ("bin/python3", "ELF", 0o755),
            ("bin/node", "ELF", 0o755),
            ("bin/bash", "ELF", 0o755),
            ("bin/server", "ELF", 0o755),
            ("bin/selfish", "#!/usr/bin/env selfish\n", 0o755),
            ("script", "", 0o644),
            ("app.js", "", 0o644),
            ("plain", "ELF", 0o644),
            ("relative", "#!python3\n", 0o755),
            ("missing", "#!/no/such/thing -x\n", 0o755),
            ("carriage", "#!/bin/sh\r\n", 0o755),
            ("by-env", "#!/usr/bin/env node\n", 0o755),
            ("by-env-split", "#!/usr/bin/env -S node --x\n", 0o755),
            ("by-env-missing", "#!/usr/bin/env nothing-here\n", 0o755),
        ] {
            std::fs::write(folder.join(file), text).unwrap();
            std::fs::set_permissions(folder.join(file), std::fs::Permissions::from_mode(mode)).unwrap();
        }
        folder
    }

    fn check_in(folder: &Path, command: &str) -> Result<PathBuf, String> {
        check(&arguments(command).unwrap(), Some(folder.join("bin").as_os_str()), Some(folder))
    }

    #[test]
    fn what_can_start_passes() {
        let folder = place("passes");
        for command in [
            "server --any thing",
            "./bin/server",
            "./by-env",
            "./by-env-split",
            "python3 -u script --x missing",
            "python3 -m module",
            "python3 -um module",
            "python3 -X dev script",
            "node app",
            "node --unknown-option value missing.js",
            "node --import ./x.mjs app.js",
            "bash script",
            "bash server",
            "bash -euo pipefail script",
            "bash +O extglob -euo pipefail -c 'server x'",
            "bash -c 'cd /x && exec nothing'",
            "bash -c '[[ -f x ]] && nothing'",
            "bash -c 'function f { nothing; }; f'",
            "bash -lc 'exec A=b server x'",
            "bash -c '$HOME/bin/x'",
            "bash -c 'PATH=/elsewhere nothing'",
            "env -i -u X A=b python3 script",
            "env -S 'A=b server x'",
            "env -C /elsewhere nothing",
            "env PATH=/usr/bin:/bin sh -c 'true'",
            "env env env env env nothing-beyond-the-depth",
            "selfish",
        ] {
            check_in(&folder, command).unwrap_or_else(|why| panic!("{command}: {why}"));
        }
        assert_eq!(check_in(&folder, "server").unwrap(), folder.join("bin/server"));
    }

    #[test]
    fn what_cannot_start_is_told_with_a_remedy() {
        let folder = place("fails");
        for (command, expected) in [
            ("nothing", "executable \"nothing\" was not found; fix: "),
            ("./nothing", "executable \"./nothing\" was not found; fix: "),
            ("./plain", "executable \"./plain\" is not executable; fix: chmod +x "),
            ("./folder", "executable \"./folder\" is a directory; fix: "),
            ("/dev/null", "executable \"/dev/null\" is not a regular file; fix: "),
            (
                "./relative",
                "executable \"./relative\" uses non-absolute shebang interpreter \"python3\"; fix: ",
            ),
            (
                "./missing",
                "executable \"./missing\" uses an unavailable interpreter \"/no/such/thing -x\"; fix: ",
            ),
            ("./carriage", "executable \"./carriage\" uses an unavailable interpreter \"/bin/sh\\r\"; fix: "),
            ("./by-env-missing", "uses an unavailable interpreter \"/usr/bin/env nothing-here\"; fix: "),
            ("python3 /nonexistent/server.py", "was not found; fix: create it, or name the one that exists"),
            ("cd /srv && python3 x", "executable \"cd\" is a word of shells, and no shell is run; fix: "),
            ("bash nothing.sh", "script \"nothing.sh\" was not found; fix: "),
            ("bash -c 'exec nothing x'", "executable \"nothing\" was not found; fix: "),
            ("bash -c 'nothing | tee'", "executable \"nothing\" was not found; fix: "),
            ("bash -c", "shell wrapper \"bash\" uses -c without a command string; fix: "),
            ("env A=b", "env wrapper \"env\" does not name a command"),
            ("env -S 'node nothing.js'", "script \"nothing.js\" was not found; fix: "),
            ("env PATH=/nowhere server", "executable \"server\" was not found; fix: "),
        ] {
            let why = check_in(&folder, command).unwrap_err();
            assert!(why.starts_with("stdio MCP ") && why.contains(expected), "{command}: {why}");
        }
        let nowhere = check(&["x".into()], None, Some(Path::new("/proc/nonexistent"))).unwrap_err();
        assert!(nowhere.starts_with("working_dir /proc/nonexistent: "), "{nowhere}");
        assert_eq!(check(&[], None, None).unwrap_err(), "the command is empty");
    }
}
