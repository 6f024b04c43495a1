//! What the pages show is what works: profiles are loaded, command lines are run, messages are said.
//!
//! Every literal block of a page says in a comment before it what it is. Nothing reaches the network: `run`
//! becomes `doctor --offline`, which loads the same settings, and `admin` asks a control plane of the test.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use super::page::{PAGES, Part, source};
use crate::support::client::{API_KEY, Builder};
use crate::support::closed;
use crate::support::plane::Plane;
use crate::support::temp::TempDir;

/// What blocks may be.
const KINDS: [&str; 4] = ["message", "profile", "shell", "unit"];

/// Where the pages keep files; a directory of the test takes its place.
const ETC: &str = "/etc/tunnel-client";

/// Stands for the program in command lines. A call is written down, and so is one that failed.
const STAND_IN: &str = r#"#!/bin/bash
echo "$*" >> "$CALLS"
command=$1
case $command in
run) shift; set -- doctor "$@" --offline --json ;;
doctor) set -- "$@" --offline --json ;;
admin) set -- "$@" --json --control-plane.base-url "$PLANE" ;;
esac
output=$("$PROGRAM" "$@" 2>&1)
status=$?
printf '%s\n' "$output"
case $command in
# That much is looked at only when the settings could be loaded.
run | doctor) [[ $output == *'"id": "tls_roots"'* ]] ;;
# What is asked may be unwell, but it was asked.
health) [[ $status != 1 ]] ;;
admin) [[ $output == *'"status_code": 404'* ]] ;;
*) [[ $status == 0 ]] ;;
esac || { echo "$*: $status: $output" >> "$FAILED"; exit 1; }
"#;

/// Commands of other programs, which do nothing here.
const OTHERS: &str =
    "apt curl dnf fapolicyd-cli install journalctl semanage setsebool ssh systemctl systemd-creds vi";

fn examples(kind: &str) -> Vec<(&'static str, String)> {
    let of_page = |name: &'static str| {
        let all = Part(&source(name)).examples().into_iter();
        all.filter(|(found, _)| found == kind).map(|(_, text)| (name, text)).collect::<Vec<_>>()
    };
    PAGES.into_iter().flat_map(of_page).collect()
}

/// Writes a file that only its owner can read.
fn private(path: &Path, text: &str) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, text).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).unwrap();
}

/// The words behind `file:` and `env:`.
fn references<'t>(text: &'t str, form: &'t str) -> impl Iterator<Item = &'t str> {
    let end = |rest: &'t str| rest.split(|c: char| c.is_whitespace() || "'\",]}".contains(c)).next();
    text.split(form).skip(1).filter_map(end)
}

/// Makes what a text refers to in a directory that takes the place of [`ETC`], and puts that in the text.
fn furnished(text: &str, directory: &TempDir) -> String {
    let root = directory.path().to_str().unwrap();
    let text = text
        .replace("file:/", &format!("file:{root}/"))
        .replace(&format!(" {ETC}"), &format!(" {root}{ETC}"));
    for path in references(&text, "file:") {
        // A name without a slash is one of the service manager's credentials.
        let path = if path.contains('/') { path.into() } else { directory.join("credentials").join(path) };
        let is_url = path.to_string_lossy().ends_with("url");
        private(
            &path,
            if is_url { "http://proxy.corp.example:3128\n" } else { "sk-runtime_1-long-enough\n" },
        );
    }
    text
}

/// No block is without a kind, so that none escapes its test.
#[test]
fn every_block_says_what_it_is() {
    for name in PAGES {
        for (kind, text) in Part(&source(name)).examples() {
            assert!(KINDS.contains(&kind.as_str()), "{name}: a block that is {kind:?}:\n{text}");
        }
    }
}

/// Every profile is loaded as `run` would load it.
#[test]
fn profiles_of_the_pages_load() {
    let profiles = examples("profile");
    assert!(profiles.len() >= 4);
    for (name, text) in profiles {
        let directory = TempDir::new();
        let text = furnished(&text, &directory);
        let path = directory.write("profile.yaml", &text);
        let mut builder =
            Builder::bare("doctor").argument("--offline").argument("--json").flag("config", &path);
        builder = builder.env("CREDENTIALS_DIRECTORY", directory.join("credentials").to_str().unwrap());
        if !text.contains("env:CONTROL_PLANE_API_KEY") {
            // The second variable yields to a profile, so that the profile's own reference is followed.
            builder = builder.without_env("CONTROL_PLANE_API_KEY").env("OPENAI_API_KEY", API_KEY);
        }
        if !text.contains("mcp:") {
            builder = builder.env("MCP_SERVER_URL", "http://127.0.0.1:3000/mcp");
        }
        let outcome = builder.outcome();
        let report: Value = serde_json::from_str(&outcome.stdout)
            .unwrap_or_else(|_| panic!("{name}:\n{text}\n{}{}", outcome.stdout, outcome.stderr));
        let status = |id: &str| {
            let checks = report["checks"].as_array().into_iter().flatten();
            checks.into_iter().find(|check| check["id"] == id).map(|check| check["status"].clone())
        };
        for id in ["config_source", "profile_load", "tunnel_id", "control_plane_api_key", "mcp_target"] {
            assert_eq!(status(id), Some("PASS".into()), "{name}: {id}:\n{text}\n{}", outcome.stdout);
        }
        assert!(status("tls_roots").is_some(), "{name}:\n{text}\n{}", outcome.stdout);
    }
}

/// Every command line is one that the program takes.
#[test]
fn command_lines_of_the_pages_are_taken() {
    let plane = Plane::start();
    // It plays the admin API too, which is another one.
    plane.off_contract();
    let blocks = examples("shell");
    assert!(blocks.iter().any(|(name, _)| *name == PAGES[0]));
    let profile = examples("profile").into_iter().find(|(_, text)| text.contains("file:api-key")).unwrap().1;
    for (name, text) in blocks {
        let directory = TempDir::new();
        private(&directory.join("admin.key"), "sk-admin_1\n");
        private(&directory.join("bin/tunnel-client"), STAND_IN);
        OTHERS.split(' ').for_each(|other| private(&directory.join("bin").join(other), "#!/bin/sh\n"));
        for entry in std::fs::read_dir(directory.join("bin")).unwrap() {
            std::fs::set_permissions(entry.unwrap().path(), PermissionsExt::from_mode(0o700)).unwrap();
        }
        for file in ["prod.yaml", "example.yaml"] {
            private(
                &directory.join(&format!("{}/{file}", ETC.trim_start_matches('/'))),
                &furnished(&profile, &directory),
            );
        }
        let text = furnished(&text, &directory).replace("8080", &closed::port().to_string());
        let path = |name: &str| directory.join(name).into_os_string();
        let output = Command::new("bash")
            .args(["--norc", "-euc", &text])
            .env_clear()
            .env("PATH", format!("{}:/usr/bin:/bin", directory.join("bin").display()))
            .env("PROGRAM", crate::support::client::PROGRAM)
            .env("PLANE", plane.server.origin())
            .env("CREDENTIALS_DIRECTORY", path("credentials"))
            .env("HOME", directory.path())
            .env("CALLS", path("calls"))
            .env("FAILED", path("failed"))
            .current_dir(directory.path())
            .output()
            .unwrap();
        let failed = std::fs::read_to_string(directory.join("failed")).unwrap_or_default();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && failed.is_empty(), "{name}:\n{text}\n{failed}{said}");
        let calls = std::fs::read_to_string(directory.join("calls")).unwrap_or_default();
        assert_eq!(calls.lines().count(), text.matches("tunnel-client ").count(), "{name}:\n{text}\n{calls}");
    }
}

/// The message of page 5 is said, in one line.
#[test]
fn messages_of_the_pages_are_said() {
    let messages = examples("message");
    assert_eq!(messages.len(), 1);
    let directory = TempDir::new();
    directory.write("prod.yaml", "config_version: 1\ncontrol_plane:\n  tunel_id: x\n");
    let output = crate::support::client::command(crate::support::client::PROGRAM)
        .args(["run", "--config", "prod.yaml"])
        .env_clear()
        .current_dir(directory.path())
        .output()
        .unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    let shown = messages[0].1.replace('\n', " ");
    assert_eq!(said.trim_end(), shown.trim_end());
}

/// The symptoms of page 8 are texts of the program: what is quoted stands in its code.
#[test]
fn symptoms_are_texts_of_the_program() {
    let text = source(PAGES[2]);
    let code = super::code();
    // A text may be continued on the next line of code.
    let code = code.replace("\\\"", "\"").replace("\\\n", "");
    let code: String = code.split_whitespace().collect::<Vec<_>>().join(" ");
    let items = Part(&text).under(".Sh TROUBLESHOOTING").items();
    let symptoms = items.iter().filter_map(|item| item.head.strip_prefix("Ql "));
    let mut count = 0;
    for symptom in symptoms {
        count += 1;
        // Words in capitals and dots stand for what differs.
        let is_fixed = |word: &&str| !word.starts_with("...") && word.chars().any(|c| c.is_ascii_lowercase());
        let symptom = symptom.replace("\\(dq", "\"");
        let words: Vec<&str> = symptom.split(' ').collect();
        for piece in words.split(|word| !is_fixed(word)).filter(|piece| !piece.is_empty()) {
            let piece = piece.join(" ");
            let piece = piece.trim_end_matches([':', ',', ';']);
            assert!(code.contains(piece), "no text of the program: {piece:?} of {symptom:?}");
        }
    }
    assert!(count >= 10, "{count} symptoms");
}
