//! Which command the words on the command line mean, and what is said when they mean none.

use crate::support::client::{Builder, Outcome};
use crate::support::plane::TUNNEL;
use crate::support::short::Home;

/// The commit of this build, as `--version` names it.
const COMMIT: &str = match option_env!("TUNNEL_CLIENT_COMMIT") {
    Some(commit) => commit,
    None => "unknown",
};

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
        let wanted = format!(
            "tunnel-client {word} does not exist in this program; tunnel-client --help lists what does, and man \
             tunnel-client what is absent"
        );
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

/// The version is one line, however it is asked for; its first word is what scripts compare.
#[test]
fn the_version_is_one_line() {
    let version =
        format!("{} (tunnel-client-rs, {}-linux", env!("CARGO_PKG_VERSION"), std::env::consts::ARCH);
    let cage = if cfg!(feature = "cage") { ",cage" } else { "" };
    let dev = if cfg!(feature = "dev") { ",dev" } else { "" };
    let library = if cfg!(feature = "openssl") { ",openssl" } else { "" };
    let features = format!("operator,harpoon,page{cage}{dev}{library}");
    for words in
        [&["--version"][..], &["-V"], &["-v"], &["version"], &["run", "--version"], &["admin", "--version"]]
    {
        let said = words.iter().fold(Builder::none(), |builder, word| builder.argument(word)).outcome();
        assert_eq!((said.code, said.stderr.as_str()), (Some(0), ""), "{words:?}");
        assert!(said.stdout.starts_with(&version), "{}", said.stdout);
        assert!(
            said.stdout.ends_with(&format!(", features: {features}, commit {COMMIT})\n")),
            "{}",
            said.stdout
        );
        assert_eq!(said.stdout.lines().count(), 1);
    }
}

/// Who has a profile and does not name it is told its name, and how it is named.
#[test]
fn profiles_that_are_there_are_offered() {
    let home = Home::new();
    let bare =
        "tunnel ID is required; set --control-plane.tunnel-id or CONTROL_PLANE_TUNNEL_ID; create or look";
    assert!(home.refusal(&["run"]).contains(bare));
    let arguments = ["--tunnel-id", TUNNEL, "--mcp-server-url", "http://127.0.0.1:3000/mcp"];
    home.output(&[&["init", "--profile", "prod"][..], &arguments].concat());
    for command in ["run", "doctor"] {
        let said = home.run(&[command]);
        let text = format!("{}{}", said.stdout, said.stderr);
        assert!(text.contains("tunnel ID is required"), "{text}");
        if command == "run" {
            assert!(text.contains("; or name a profile that is there: --profile prod"), "{text}");
        }
        let said = home.refusal(&[command, "prod"]);
        assert_eq!(said, "unexpected argument \"prod\"; did you mean --profile prod?");
        // It may be a secret that lost its flag, so it is repeated only where a profile has the name.
        let said = home.refusal(&[command, "sk-hidden"]);
        assert!(said.starts_with("unexpected argument: ") && !said.contains("hidden"), "{said}");
    }
    let said = home.refusal(&["run", "--profile", "pord"]);
    assert!(
        said.ends_with(
            "; tunnel-client profiles list shows what there is; tunnel-client init --profile pord writes one"
        ),
        "{said}"
    );
}

/// Stray arguments are refused: they may be values that lost their flag.
#[test]
fn stray_arguments_are_refused() {
    for words in [&["health", "bogus"][..], &["run", "bogus"], &["completion", "bash", "bogus"]] {
        assert!(complaint(words).starts_with("unexpected argument: write every value as --flag=value"));
    }
}
