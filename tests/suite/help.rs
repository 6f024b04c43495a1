//! `tunnel-client help`: topics, commands, and words that are neither.

use crate::support::client::{Builder, Outcome};

fn help(words: &[&str]) -> Outcome {
    words.iter().fold(Builder::bare("help"), |builder, word| builder.argument(word)).outcome()
}

fn text(words: &[&str]) -> String {
    let outcome = help(words);
    assert_eq!((outcome.code, outcome.stderr.as_str()), (Some(0), ""), "{words:?}");
    outcome.stdout
}

/// What a command prints with --help.
fn own(words: &[&str]) -> String {
    let builder = words[1..].iter().fold(Builder::bare(words[0]), |builder, word| builder.argument(word));
    builder.argument("--help").outcome().stdout
}

/// Every topic that the root help lists is printed, on 80 columns.
#[test]
fn topics_are_listed_and_printed() {
    let root = text(&[]);
    let listed: Vec<&str> =
        root.lines().filter_map(|line| line.strip_prefix("  tunnel-client help ")).collect();
    let names: Vec<&str> = listed.iter().map(|line| line.split(' ').next().unwrap()).collect();
    assert_eq!(
        names,
        ["quickstart", "samples", "doctor", "policy", "oauth", "audit", "pins", "troubleshooting"]
    );
    for name in names {
        let text = text(&[name]);
        assert!(text.lines().count() > 20 && text.lines().all(|line| line.len() <= 80), "{name}");
    }
    assert!(
        root.contains("\n  Tunnels management: https://platform.openai.com/settings/organization/tunnels\n")
    );
}

/// The samples are those of `profiles samples list`.
#[test]
fn all_samples_are_explained() {
    let text = text(&["samples"]);
    for name in ["with_dcr", "stdio_local", "remote_no_auth", "enterprise_proxy"] {
        assert!(text.contains(&format!("\nsample_mcp_{name}\n")), "{name}");
    }
}

/// `help x y` is `x y --help`, for commands and for groups.
#[test]
fn commands_are_explained() {
    for words in
        [&["run"][..], &["health"], &["admin", "tunnels", "create"], &["admin"], &["admin", "tunnels"]]
    {
        assert_eq!(text(words), own(words), "{words:?}");
    }
    assert!(text(&["run"]).starts_with("run version "));
    assert!(text(&["health"]).contains("control_plane_poll"));
    // The topic, although there may be a command of this name.
    assert!(text(&["doctor"]).starts_with("doctor examines a set-up before run does."));
    assert!(
        own(&["help"])
            .starts_with("Explain a topic or a command\n\nUsage: tunnel-client help [topic|command...]")
    );
}

/// What is neither is refused with the topics, and the nearest word of both.
#[test]
fn unknown_words_are_refused() {
    let topics = "available topics: audit, doctor, oauth, pins, policy, quickstart, samples, troubleshooting";
    for (words, wanted) in [
        (&["plugin"][..], format!("unknown help topic \"plugin\"; {topics}\n")),
        (
            &["trubleshooting"],
            format!("unknown help topic \"trubleshooting\"; {topics} (did you mean \"troubleshooting\"?)\n"),
        ),
        (&["helth"], format!("unknown help topic \"helth\"; {topics} (did you mean \"health\"?)\n")),
        (&["run", "fast", "\x1b[2J"], format!("unknown help topic \"run fast \\u{{1b}}[2J\"; {topics}\n")),
    ] {
        let outcome = help(words);
        assert_eq!((outcome.code, outcome.stdout.as_str(), outcome.stderr), (Some(1), "", wanted));
    }
}
