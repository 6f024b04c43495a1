//! `profiles`: listing, adding and editing them, and the samples.

mod editing;

use std::fs;
use std::os::unix::fs::PermissionsExt;
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

/// NEW-049: what could not be used is refused by its place, whether or not its secrets are there.
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
