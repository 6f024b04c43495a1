//! `profiles edit`: which editors it starts, and what becomes of what they wrote.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use super::{SMALL, add, directory, files, mode};
use crate::support::short::Home;

/// A home whose editor is this script; `$1` is the file to edit.
fn with_editor(script: &str) -> Home {
    let home = Home::new();
    let folder = home.path("bin");
    fs::create_dir(&folder).unwrap();
    installed(&home, "vi", &format!("#!/bin/sh\n{script}\n"));
    home.env("PATH", &format!("{folder}:/usr/bin:/bin")).env("EDITOR", "vi")
}

/// Puts a program into the home's own directory of programs.
fn installed(home: &Home, name: &str, script: &str) -> String {
    let path = home.write(&format!("bin/{name}"), script);
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    path
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
    let target = directory(&home).join("target.yml");
    fs::write(&target, SMALL).unwrap();
    fs::remove_file(&path).unwrap();
    symlink("target.yml", &path).unwrap();
    home.output(&["profiles", "edit", "linked"]);
    assert_eq!(fs::read_to_string(&target).unwrap(), SMALL);
    assert!(fs::symlink_metadata(&path).unwrap().is_file());
}

/// NEW-050: a name chooses among the files of its directory, and a link there leads to one of them.
#[test]
fn a_profile_leads_nowhere_else() {
    let home = with_editor("echo '# edited' >> \"$1\"");
    let path = add(&home, "linked", SMALL);
    let outside = home.write("outside.yaml", SMALL);
    fs::create_dir(directory(&home).join("..data")).unwrap();
    fs::write(directory(&home).join("..data/linked.yaml"), SMALL).unwrap();
    symlink(home.join("."), directory(&home).join("out")).unwrap();
    let runs = |target: &str| {
        fs::remove_file(&path).unwrap();
        symlink(target, &path).unwrap();
        home.run(&["run", "--profile", "linked"]).stderr
    };
    let inside = directory(&home).join("..data/linked.yaml");
    assert!(runs("..data/linked.yaml").starts_with("configure tunnel-client: tunnel ID is required"));
    let expected = format!(
        "read config file {}: a link out of the profile directory; name the file with --profile-file",
        path.display()
    );
    for target in ["../../outside.yaml", &outside, "out/outside.yaml", inside.to_str().unwrap()] {
        assert_eq!(runs(target), format!("configure tunnel-client: {expected}\n"), "{target}");
        assert_eq!(home.refusal(&["profiles", "edit", "linked"]), expected);
    }
    // An explicit path leads wherever it leads.
    let explicit = home.run(&["run", "--profile-file", path.to_str().unwrap()]).stderr;
    assert!(explicit.starts_with("configure tunnel-client: tunnel ID is required"), "{explicit}");
    assert_eq!(fs::read_to_string(&outside).unwrap(), SMALL);
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

/// Rules that would protect nothing are no profile either.
#[test]
fn a_policy_is_held_to_its_grammar() {
    let home = with_editor("echo 'policy: {channels: {main: {tools: {alow: [a]}}}}' >> \"$1\"");
    add(&home, "p", SMALL);
    let error = home.refusal(&["profiles", "edit", "p"]);
    assert!(error.contains("line 4: unknown key \"alow\" in policy.channels.main.tools"), "{error}");
}

/// An editor that fails changes nothing and leaves nothing.
#[test]
fn a_failing_editor_changes_nothing() {
    for (script, expected) in
        [("#!/bin/sh\nfalse\n", "exit status 1"), ("#!/no/such/shell\n", "no such file or directory")]
    {
        let home = with_editor("").env("VISUAL", "vim -n").env("EDITOR", "true");
        let editor = installed(&home, "vim", script);
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

/// NEW-119, NEW-120: an editor is a known program, found in PATH, with options that run nothing.
#[test]
fn editors_are_known_and_run_nothing_else() {
    let home = with_editor("echo \"# $0 $*\" >> \"$1\"");
    let only = home.path("bin");
    let mut home = home.env("PATH", &only);
    let path = add(&home, "p", SMALL);
    let other = home.write("vi", "#!/bin/sh\n");
    fs::set_permissions(&other, fs::Permissions::from_mode(0o755)).unwrap();
    let vi = home.path("bin/vi");
    let unsupported = |name: &str| {
        format!("unsupported profile editor {name:?}; use vi, vim, nvim, nano, emacs, code, subl, or notepad")
    };
    let option = |option: &str, name: &str| {
        format!(
            "unsupported option {option:?} for profile editor {name:?}; \
             shell commands and editor evaluation options are not allowed"
        )
    };
    for (editor, expected) in [
        ("sh -c 'echo'", unsupported("sh")),
        ("/usr/bin/ed", unsupported("ed")),
        ("editor", unsupported("editor")),
        ("vi -c '!touch x'", option("-c", "vi")),
        ("vi +q", option("+q", "vi")),
        ("vi /etc/passwd", option("/etc/passwd", "vi")),
        ("emacs --eval=(shell-command)", option("--eval=(shell-command)", "emacs")),
        ("vi 'x", "invalid VISUAL or EDITOR: unterminated quoted string".to_owned()),
        ("vi \\", "invalid VISUAL or EDITOR: unterminated escape sequence".to_owned()),
        ("vi\tx", "invalid VISUAL or EDITOR: control characters are not allowed".to_owned()),
        ("subl -w", "invalid VISUAL or EDITOR: executable \"subl\" is not found in PATH".to_owned()),
        (&other, "profile editor path must select the installed \"vi\" executable found in PATH".to_owned()),
    ] {
        home = home.env("VISUAL", editor);
        assert_eq!(home.refusal(&["profiles", "edit", "p"]), expected, "{editor}");
    }
    assert_eq!(fs::read_to_string(&path).unwrap(), SMALL);
    symlink(&vi, home.join("bin/editor")).unwrap();
    for editor in ["vi", "'v'i", &vi, "editor"] {
        home = home.env("VISUAL", editor);
        home.output(&["profiles", "edit", "p"]);
    }
    assert_eq!(fs::read_to_string(&path).unwrap().matches("/bin/").count(), 4);
}
