//! `profiles`: listing, adding and editing them, and the samples.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use crate::support::client::Builder;
use crate::support::command::Command;
use crate::support::mcp::Mcp;
use crate::support::plane::{Plane, TUNNEL};
use crate::support::short::Home;

const SAMPLES: [&str; 4] = [
    "sample_mcp_enterprise_proxy",
    "sample_mcp_remote_no_auth",
    "sample_mcp_stdio_local",
    "sample_mcp_with_dcr",
];

/// The smallest profile.
const SMALL: &str = "# mine\nlog:\n  level: info\n";

/// The directory that profiles are kept in.
fn directory(home: &Home) -> PathBuf {
    home.join(".config/tunnel-client")
}

/// Adds a profile of this text.
fn add(home: &Home, name: &str, text: &str) -> PathBuf {
    let file = home.write("source.yaml", text);
    home.output(&["profiles", "add", name, "--from-file", &file, "--force"]);
    directory(home).join(format!("{name}.yaml"))
}

/// A home whose editor is this script; `$1` is the file to edit.
fn with_editor(script: &str) -> Home {
    let home = Home::new();
    let path = home.write("editor", script);
    home.env("EDITOR", &format!("sh  {path}"))
}

fn files(path: &Path) -> Vec<String> {
    let entries = fs::read_dir(path).unwrap().flatten();
    let mut names: Vec<String> = entries.map(|e| e.file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

fn mode(path: &Path) -> u32 {
    fs::symlink_metadata(path).unwrap().permissions().mode() & 0o777
}

/// Only what `--profile` could name is listed, sorted, as lines or as JSON.
#[test]
fn the_list_holds_what_can_be_used() {
    let home = Home::new();
    let folder = directory(&home);
    assert_eq!(home.output(&["profiles", "list"]), format!("No profiles found in {}\n", folder.display()));
    assert_eq!(home.output(&["profiles", "list", "--json"]), "[]\n");
    for name in ["b", "a.b", "z-1"] {
        add(&home, name, SMALL);
    }
    for name in [".hidden.yaml", "a b.yaml", "c.yml", ".yaml"] {
        fs::write(folder.join(name), SMALL).unwrap();
    }
    fs::create_dir(folder.join("folder.yaml")).unwrap();
    let path = |name: &str| folder.join(format!("{name}.yaml")).to_str().unwrap().to_owned();
    let lines: String = ["a.b", "b", "z-1"].map(|name| format!("{name}\t{}\n", path(name))).concat();
    assert_eq!(home.output(&["profiles", "list"]), lines);
    let text = home.output(&["profiles", "list", "--json"]);
    let start = format!("[\n  {{\n    \"name\": \"a.b\",\n    \"path\": \"{}\"\n  }},\n", path("a.b"));
    assert!(text.starts_with(&start), "{text}");
    assert_eq!(serde_json::from_str::<serde_json::Value>(&text).unwrap().as_array().unwrap().len(), 3);
}

/// The directory is where a flag says, then a variable, then the user's configuration.
#[test]
fn the_directory_is_looked_for_in_order() {
    let shown = |home: &Home, arguments: &[&str]| home.output(&[&["profiles"], arguments].concat());
    let home = Home::new().env("XDG_CONFIG_HOME", "/proc/nonexistent/xdg");
    assert_eq!(shown(&home, &["list"]), "No profiles found in /proc/nonexistent/xdg/tunnel-client\n");
    let home = home.env("TUNNEL_CLIENT_PROFILE_DIR", "~/mine");
    assert_eq!(shown(&home, &["list"]), format!("No profiles found in {}\n", home.path("mine")));
    for arguments in
        [["--profile-dir", "/proc/nonexistent/d", "list"], ["list", "--profile-dir", "/proc/nonexistent/d"]]
    {
        assert_eq!(shown(&home, &arguments), "No profiles found in /proc/nonexistent/d\n");
    }
    assert_eq!(
        home.refusal(&["profiles", "list", "--profile-dir="]),
        "profile directory is required when --profile-dir is set"
    );
    let file = home.write("file", "");
    let error = home.refusal(&["profiles", "list", "--profile-dir", &file]);
    assert_eq!(error, format!("read profile directory {file}: not a directory"));
}

/// A file is taken over as it is, comments and all, once it is valid.
#[test]
fn a_file_is_taken_over_as_it_is() {
    let home = Home::new();
    let text = format!("{SMALL}# the end, without a line ending");
    let source = home.write("source.yaml", &text);
    let path = directory(&home).join("mine.yaml");
    let said = home.output(&["profiles", "add", "mine", "--from-file", &source]);
    assert_eq!(said, format!("Added profile mine at {}\n", path.display()));
    assert_eq!(fs::read_to_string(&path).unwrap(), text);
    assert_eq!((mode(&path), mode(&directory(&home))), (0o600, 0o700));
    let again = home.refusal(&["profiles", "add", "mine", "--from-file", &source]);
    assert_eq!(again, "profile \"mine\" already exists; pass --force to replace it");
    home.output(&["profiles", "add", "mine", "--from-file", &source, "--force"]);
    assert_eq!(files(&directory(&home)), ["mine.yaml"]);
}

/// What could not be used is refused by its place, whether or not its secrets are there.
#[test]
fn what_is_added_is_valid() {
    let home = Home::new();
    let key = "control_plane:\n  api_key: env:NOT_SET_HERE\nca_bundle: file:/proc/nonexistent\n";
    add(&home, "unresolved", key);
    let source = home.path("source.yaml");
    for (text, expected) in [
        ("log:\n  colour: x\n", "line 2: unknown key \"log.colour\""),
        ("", "the file is empty"),
        (
            "control_plane:\n  api_key: 'env:A-B'\n",
            "line 2: invalid control_plane.api_key reference \"env:A-B\": environment variable name is invalid",
        ),
        ("ca_bundle: \"a\\nb\"\n", "line 1: ca_bundle cannot contain CR or LF"),
    ] {
        home.write("source.yaml", text);
        let error = home.refusal(&["profiles", "add", "p", "--from-file", &source]);
        assert_eq!(error, format!("parse config file {source}: {expected}"));
    }
    for (arguments, expected) in [
        (&["p"][..], "set exactly one of --from-file or --sample"),
        (
            &["p", "--from-file", "a", "--sample", "sample_mcp_with_dcr"],
            "set exactly one of --from-file or --sample",
        ),
        (&["p", "--from-file", "/proc/nonexistent"], "read /proc/nonexistent: no such file or directory"),
        (&["p", "--from-file", "/dev/null"], "read /dev/null: not a regular file"),
        (&["a b", "--from-file", "a"], "invalid profile name \"a b\": use letters, numbers, '.', '_' or '-'"),
        (&["p", "q"], "unexpected argument: write every value as --flag=value"),
        (&[], "accepts 1 arg(s), received 0; usage: tunnel-client profiles add <name>"),
        (
            &["p", "--sample", "sample_mcp_stdio_local", "--tunnel-id", TUNNEL],
            "sample_mcp_stdio_local requires --mcp-command",
        ),
    ] {
        assert_eq!(home.refusal(&[&["profiles", "add"], arguments].concat()), expected);
    }
    let error = home.refusal(&["profiles", "add", "p", "--sample", "sample_mcp_with_dcr"]);
    assert!(error.starts_with("tunnel ID is required.\n"), "{error}");
    assert_eq!(files(&directory(&home)), ["unresolved.yaml"]);
}

/// A profile that was added from a sample is used by its name.
#[test]
fn an_added_sample_relays_calls() {
    let (plane, mcp) = (Plane::start(), Mcp::start());
    let (home, origin, url) = (Home::new(), plane.server.origin(), mcp.url());
    home.output(&[
        "profiles",
        "add",
        "added",
        "--sample=sample_mcp_remote_no_auth",
        "--tunnel-id",
        TUNNEL,
        "--mcp-server-url",
        &url,
        "--control-plane-base-url",
        &origin,
        "--health-listen-addr=127.0.0.1:0",
    ]);
    let variable = directory(&home).to_str().unwrap().to_owned();
    let client =
        Builder::bare("run").flag("profile", "added").env("TUNNEL_CLIENT_PROFILE_DIR", &variable).start();
    let command = Command::method("ping", "1");
    plane.queue(&command);
    assert_eq!(plane.wait_answer(&command).code(), 200);
    drop(client);
}

/// Samples are listed with a summary each and shown with what they need and a profile that is valid.
#[test]
fn samples_explain_themselves() {
    let home = Home::new();
    let list = home.output(&["profiles", "samples", "list"]);
    let names: Vec<&str> = list.lines().map(|line| line.split_once('\t').unwrap().0).collect();
    assert_eq!(names, SAMPLES);
    for sample in SAMPLES {
        let text = home.output(&["profiles", "samples", "show", sample]);
        let (head, yaml) = text.split_once("\n\n").unwrap();
        for (line, start) in
            head.lines().zip([&format!("Sample: {sample}"), "Summary: ", "Use when: ", "Required:"])
        {
            assert!(line.starts_with(start), "{line}");
        }
        for heading in ["\nRequired:\n  - --tunnel-id\n", "\nOptional:\n  - ", "\nNotes:\n  - "] {
            assert!(head.contains(heading), "{head}");
        }
        assert!(yaml.contains("\nconfig_version: 1\n"), "{yaml}");
        add(&home, sample, yaml);
    }
    let error = home.refusal(&["profiles", "samples", "show", "sample_mcp_with_drc"]);
    let expected = "unknown sample \"sample_mcp_with_drc\"; run `tunnel-client profiles samples list` (did you mean sample_mcp_with_dcr?)";
    assert_eq!(error, expected);
    let error = home.refusal(&["profiles", "samples", "shwo"]);
    assert_eq!(
        error,
        "unknown command \"shwo\" for \"tunnel-client profiles samples\"; did you mean \"show\"?"
    );
    let stray = home.refusal(&["profiles", "samples", "list", "x"]);
    assert_eq!(stray, "unexpected argument: write every value as --flag=value");
}

/// The editor gets a private copy and no key; what it leaves there becomes the profile.
#[test]
fn an_edit_replaces_the_profile_as_a_whole() {
    let home = with_editor(
        "env > \"$HOME/seen\"; stat -c %a \"$1\" > \"$HOME/mode\"; echo \"$1\" > \"$HOME/name\"; echo '# edited' >> \"$1\"",
    );
    let home = home.env("CONTROL_PLANE_API_KEY", "sk-hidden").env("OPENAI_API_KEY", "sk-hidden");
    let home = home.env("OPENAI_ADMIN_KEY", "sk-hidden").env("VISUAL", " ");
    let path = add(&home, "p", SMALL);
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    let said = home.output(&["profiles", "edit", "p"]);
    assert_eq!(said, format!("Saved profile p at {}\n", path.display()));
    assert_eq!(fs::read_to_string(&path).unwrap(), format!("{SMALL}# edited\n"));
    assert_eq!(mode(&path), 0o600);
    let note = |name: &str| fs::read_to_string(home.join(name)).unwrap();
    assert!(note("seen").contains("HOME=") && !note("seen").contains("sk-hidden"));
    assert_eq!(note("mode"), "600\n");
    assert_eq!(Path::new(note("name").trim()).parent(), path.parent());
    assert_eq!(files(&directory(&home)), ["p.yaml"]);
}

/// A profile that is not there begins as a sample; a link is replaced and not followed.
#[test]
fn an_edit_begins_with_a_sample_and_replaces_links() {
    let home = with_editor("echo '# edited' >> \"$1\"");
    home.output(&["profiles", "--profile-dir", &home.path("new/dir"), "edit", "p"]);
    let text = fs::read_to_string(home.join("new/dir/p.yaml")).unwrap();
    assert!(text.starts_with("# A tunnel-client profile") && text.ends_with("# edited\n"), "{text}");
    assert!(text.contains(&format!("\"tunnel_{}\"", "0".repeat(32))));
    assert_eq!((mode(&home.join("new/dir")), mode(&home.join("new/dir/p.yaml"))), (0o700, 0o600));

    let path = add(&home, "linked", SMALL);
    let target = home.write("target.yaml", SMALL);
    fs::remove_file(&path).unwrap();
    symlink(&target, &path).unwrap();
    home.output(&["profiles", "edit", "linked"]);
    assert_eq!(fs::read_to_string(&target).unwrap(), SMALL);
    assert!(fs::symlink_metadata(&path).unwrap().is_file());
}

/// An interrupt of the terminal is the editor's alone, which may have a use for it.
#[test]
fn an_interrupt_does_not_end_an_edit() {
    // Waits until the signal is blocked: the second bit of the last digit.
    let home = with_editor(
        "n=0; until grep -q '^SigBlk:.*[2367abef]$' /proc/$PPID/status || [ $n -gt 2000 ]; do n=$((n+1)); sleep 0.01; done; \
         kill -INT $PPID; echo '# edited' >> \"$1\"",
    );
    let path = add(&home, "p", SMALL);
    home.output(&["profiles", "edit", "p"]);
    assert_eq!(fs::read_to_string(&path).unwrap(), format!("{SMALL}# edited\n"));
}

/// What does not validate is not saved and not lost.
#[test]
fn an_invalid_edit_is_kept_and_named() {
    let home = with_editor("echo 'colour: red' >> \"$1\"");
    let path = add(&home, "p", SMALL);
    let error = home.refusal(&["profiles", "edit", "p"]);
    let start = format!("profile did not validate; not saving {}: parse config file ", path.display());
    assert!(error.starts_with(&start), "{error}");
    let kept = error.rsplit_once("; what you wrote is kept in ").unwrap().1;
    assert!(error.contains(&format!("{kept}: line 4: unknown key \"colour\"; ")), "{error}");
    assert_eq!(fs::read_to_string(kept).unwrap(), format!("{SMALL}colour: red\n"));
    assert_eq!(mode(Path::new(kept)), 0o600);
    assert_eq!(fs::read_to_string(&path).unwrap(), SMALL);
    // The copy is no profile.
    assert_eq!(home.output(&["profiles", "list"]).lines().count(), 1);
}

/// An editor that fails changes nothing and leaves nothing.
#[test]
fn a_failing_editor_changes_nothing() {
    for (editor, expected) in
        [("sh -c false", "exit status 1"), ("/no/such/editor", "no such file or directory")]
    {
        let home = Home::new().env("VISUAL", editor).env("EDITOR", "true");
        let path = add(&home, "p", SMALL);
        let error = home.refusal(&["profiles", "edit", "p"]);
        assert!(error.starts_with(&format!("run editor {editor:?}: {expected}")), "{error}");
        assert_eq!(fs::read_to_string(&path).unwrap(), SMALL);
        assert_eq!(files(&directory(&home)), ["p.yaml"]);
    }
    let home = Home::new();
    assert_eq!(home.refusal(&["profiles", "edit", "p"]), "set VISUAL or EDITOR to edit profiles");
    assert!(!directory(&home).exists());
}

/// Two who edit one profile do not overwrite each other; an editor that leaves no text is told so.
#[test]
fn a_profile_that_changed_meanwhile_is_not_overwritten() {
    let home =
        with_editor("echo '# mine' >> \"$1\"; echo '# theirs' >> \"$HOME/.config/tunnel-client/p.yaml\"");
    let path = add(&home, "p", SMALL);
    let error = home.refusal(&["profiles", "edit", "p"]);
    let start = format!("the profile was changed while you edited it; not saving {}; ", path.display());
    assert!(error.starts_with(&start), "{error}");
    assert_eq!(fs::read_to_string(&path).unwrap(), format!("{SMALL}# theirs\n"));
    let kept = error.rsplit_once("; what you wrote is kept in ").unwrap().1;
    assert_eq!(fs::read_to_string(kept).unwrap(), format!("{SMALL}# mine\n"));

    let home = with_editor("rm \"$1\"");
    let path = add(&home, "p", SMALL);
    let error = home.refusal(&["profiles", "edit", "p"]);
    let expected =
        format!("profile did not validate; not saving {}: no such file or directory", path.display());
    assert_eq!(error, expected);
    assert_eq!(files(&directory(&home)), ["p.yaml"]);
}
