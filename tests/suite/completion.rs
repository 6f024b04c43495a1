//! `tunnel-client completion`: scripts that the shells themselves accept, and what they offer.

use std::process::{Command, Stdio};

use crate::support::client::Builder;
use crate::support::temp::TempDir;

fn script(shell: &str) -> String {
    let outcome = Builder::bare("completion").argument(shell).outcome();
    assert_eq!((outcome.code, outcome.stderr.as_str()), (Some(0), ""));
    outcome.stdout
}

/// Runs a shell on a script file; `None` where the shell is not installed.
fn run(shell: &str, arguments: &[&str], directory: &TempDir) -> Option<String> {
    let mut command = Command::new(shell);
    command.args(arguments).current_dir(directory.path()).stdin(Stdio::null());
    command.env("TUNNEL_CLIENT_PROFILE_DIR", directory.path());
    let output = match command.output() {
        Ok(output) => output,
        Err(_) => {
            eprintln!("skipped: {shell} is not installed");
            return None;
        }
    };
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success() && said.is_empty(), "{shell}: {said}");
    Some(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// What bash offers after these words, as it would call the function; the last one is being typed.
fn offered(directory: &TempDir, words: &[&str]) -> Vec<String> {
    let quoted: Vec<String> = words.iter().map(|word| format!("'{word}'")).collect();
    let call = format!(
        "set -u; source ./script; COMP_WORDS=(tunnel-client {}); COMP_CWORD={}; _tunnel_client; printf '%s\\n' \"${{COMPREPLY[@]}}\"",
        quoted.join(" "),
        words.len()
    );
    let text = run("bash", &["--norc", "-c", &call], directory).unwrap_or_default();
    text.lines().filter(|line| !line.is_empty()).map(str::to_owned).collect()
}

/// Bash completes commands, groups, flags, and the values of flags.
#[test]
fn bash_completes() {
    let directory = TempDir::new();
    directory.write("script", script("bash"));
    directory.write("work.yaml", "");
    directory.write("bundle.pem", "");
    std::fs::create_dir(directory.join("folder")).unwrap();
    if run("bash", &["--version"], &directory).is_none() {
        return;
    }
    for (words, expected) in [
        (&["he"][..], &["health", "help"][..]),
        (&["ru"], &["run"]),
        (&["admin", ""], &["tunnels"]),
        (&["admin", "tunnels", "l"], &["list"]),
        (&["admin", "--admin-key", "env:K", "tunnels", "--json", "de"], &["delete"]),
        (&["admin", "tunnels", "delete", "--conf"], &["--confirm"]),
        (&["run", "--mcp.comm"], &["--mcp.command"]),
        (&["run", "--log.http"], &["--log.http-raw-unsafe"]),
        (&["run", "--allow-remote"], &["--allow-remote-ui"]),
        (&["run", "--cloudflared"], &[]),
        (&["run", "--tls.roots", ""], &["system", "webpki", "none"]),
        (&["run", "--tls.roots", "=", "w"], &["webpki"]),
        (&["run", "--profile", "w"], &["work"]),
        (&["run", "--profile", "="], &["work"]),
        (&["run", "--ca-bundle", "bun"], &["bundle.pem"]),
        (&["run", "--profile-dir", ""], &["folder"]),
        (&["run", "--log.level", ""], &["debug", "info", "warn", "error"]),
        (&["run", "--log.format", "=", "j"], &["json"]),
        (&["run", "--log.level", "run", "--pid"], &["--pid.file"]),
        (&["health", "--pid"], &["--pid", "--pid-file"]),
        (&["help", "tr"], &["troubleshooting"]),
        (&["help", "ad"], &["admin"]),
        (&["completion", "f"], &["fish"]),
        (&["bogus", "--he"], &["--help"]),
    ] {
        assert_eq!(offered(&directory, words), expected, "{words:?}");
    }
}

/// A file in the directory of profiles is no command.
#[test]
fn names_of_files_are_not_run() {
    let directory = TempDir::new();
    directory.write("script", script("bash"));
    for name in ["work", "$(touch ran)", "a`touch ran`", "a $HOME", ".hidden"] {
        directory.write(&format!("{name}.yaml"), "");
    }
    if run("bash", &["--version"], &directory).is_some() {
        assert_eq!(offered(&directory, &["run", "--profile", ""]), ["work"]);
        assert!(!directory.join("ran").exists());
    }
}

/// The other shells can read theirs, where they are installed.
#[test]
fn other_shells_can_read_theirs() {
    let directory = TempDir::new();
    for shell in ["zsh", "fish"] {
        let text = script(shell);
        assert!(
            text.contains("run") && text.contains("log.level") && !text.contains("cloudflared"),
            "{shell}"
        );
        assert!(!text.contains("@PLACES") && !text.contains("@FLAGS"), "{shell}: a placeholder is left");
        directory.write("script", text);
        run(shell, &["-n", "script"], &directory);
    }
    assert!(script("zsh").starts_with("#compdef tunnel-client\n"));
}

/// Another shell is refused, and so is none.
#[test]
fn other_words_are_refused() {
    let outcome = Builder::bare("completion").argument("tcsh").outcome();
    assert_eq!((outcome.code, outcome.stdout.as_str()), (Some(1), ""));
    assert_eq!(outcome.stderr, "unknown shell \"tcsh\"; available shells: bash, zsh, fish\n");
    let outcome = Builder::bare("completion").outcome();
    assert_eq!(
        outcome.stderr,
        "accepts 1 arg(s), received 0; usage: tunnel-client completion <bash|zsh|fish>\n"
    );
}
