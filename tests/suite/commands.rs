//! Which command the words on the command line mean, and what is said when they mean none.

use crate::support::client::{Builder, Outcome};

fn outcome(words: &[&str]) -> Outcome {
    words[1..].iter().fold(Builder::bare(words[0]), |builder, word| builder.argument(word)).outcome()
}

fn complaint(words: &[&str]) -> String {
    let outcome = outcome(words);
    assert_eq!((outcome.code, outcome.stdout.as_str()), (Some(1), ""), "{words:?}");
    assert_eq!(outcome.stderr.lines().count(), 1, "{}", outcome.stderr);
    outcome.stderr.trim_end().to_owned()
}

/// A slip of the finger gets the nearest name.
#[test]
fn misspelled_words_get_the_nearest_name() {
    for (words, wanted) in [
        (&["rnu"][..], "unknown command \"rnu\" for \"tunnel-client\"; did you mean \"run\"?"),
        (
            &["admin", "tunels"],
            "unknown command \"tunels\" for \"tunnel-client admin\"; did you mean \"tunnels\"?",
        ),
        (
            &["admin", "tunnels", "--json", "lst"],
            "unknown command \"lst\" for \"tunnel-client admin tunnels\"; did you mean \"list\"?",
        ),
        (
            &["something-else"],
            "unknown command \"something-else\" for \"tunnel-client\"; see tunnel-client --help",
        ),
        (&["\x1b[2J"], "unknown command \"\\u{1b}[2J\" for \"tunnel-client\"; see tunnel-client --help"),
        (&["run", "--log.levle"], "unknown flag: --log.levle (did you mean --log.level?)"),
        (&["admin", "--jsno", "tunnels", "list"], "unknown flag: --jsno"),
        (&["--log.level", "info", "run"], "unknown flag: --log.level"),
    ] {
        assert_eq!(complaint(words), wanted);
    }
}

/// Commands of the reference that will not come are said to be absent.
#[test]
fn absent_commands_are_named() {
    for word in ["codex", "plugin", "runtimes", "admin-profiles", "cloudflared"] {
        let wanted =
            format!("tunnel-client {word} does not exist in this program; see the README for what does");
        assert_eq!(complaint(&[word]), wanted);
        assert_eq!(complaint(&[word, "status"]), wanted);
    }
}

/// Without a command help is what was asked for, and a group alone shows what it holds.
#[test]
fn help_is_no_failure() {
    for words in [&[][..], &["--help"], &["-h"], &["help"]] {
        let outcome = words.iter().fold(Builder::none(), |builder, word| builder.argument(word)).outcome();
        assert_eq!((outcome.code, outcome.stderr.as_str()), (Some(0), ""), "{words:?}");
        assert!(
            outcome.stdout.contains("\nUsage: tunnel-client <command> [flags]\n\nCommands:\n  "),
            "{words:?}"
        );
    }
    let outcome = outcome(&["admin"]);
    assert!(
        outcome.stdout.starts_with("Usage: tunnel-client admin <command> [flags]\n"),
        "{}",
        outcome.stdout
    );
    assert!(outcome.stdout.contains("admin tunnels list") && !outcome.stdout.contains("\n  run"));
}

/// What packages leave out is no typing mistake.
#[cfg(not(feature = "dev"))]
#[test]
fn what_packages_leave_out_is_said() {
    for word in ["demo", "dev"] {
        let said = complaint(&[word]);
        assert_eq!(
            said,
            format!("tunnel-client {word} is not in this build: packages leave feature dev out")
        );
    }
}

/// The version is one line, wherever it is asked for.
#[test]
fn the_version_is_one_line() {
    let version = format!("{}\n", env!("CARGO_PKG_VERSION"));
    for words in [&["--version"][..], &["run", "--version"], &["admin", "--version"]] {
        let outcome = outcome(words);
        assert_eq!(
            (outcome.code, &outcome.stdout, outcome.stderr.as_str()),
            (Some(0), &version, ""),
            "{words:?}"
        );
    }
}

/// Stray arguments are refused: they may be values that lost their flag.
#[test]
fn stray_arguments_are_refused() {
    for words in [&["health", "bogus"][..], &["run", "bogus"], &["completion", "bash", "bogus"]] {
        assert_eq!(complaint(words), "unexpected argument: write every value as --flag=value");
    }
}
