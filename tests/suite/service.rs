//! `tunnel-clientd`: the service, with what its features hold and nothing else.

use crate::support::client::Builder;
#[cfg(not(feature = "harpoon"))]
use crate::support::command::Command;
use crate::support::rig::Rig;

/// The features of this build, as `--version` names them.
const FEATURES: &[&str] = &[
    #[cfg(feature = "operator")]
    "operator",
    #[cfg(feature = "harpoon")]
    "harpoon",
    #[cfg(feature = "page")]
    "page",
    #[cfg(feature = "cage")]
    "cage",
    #[cfg(feature = "dev")]
    "dev",
    #[cfg(feature = "openssl")]
    "openssl",
];

/// The commit of this build, as `--version` names it.
const COMMIT: &str = match option_env!("TUNNEL_CLIENT_COMMIT") {
    Some(commit) => commit,
    None => "unknown",
};

#[test]
fn it_relays_calls() {
    Rig::with(|builder| builder.daemon()).assert_alive();
}

#[test]
fn a_unit_may_say_run() {
    let rig = Rig::with(|builder| builder.daemon());
    assert!(rig.client.pid() > 0);
    let said = Builder::bare("run").argument("--version").daemon().outcome();
    assert_eq!((said.code, said.stderr.as_str()), (Some(0), ""), "{}", said.stdout);
}

#[test]
fn commands_are_refused() {
    for word in ["init", "doctor", "admin", "profiles", "health", "run-away"] {
        let said = Builder::bare(word).daemon().outcome();
        let sentence = "tunnel-clientd takes flags alone, each value as --flag=value; commands are those of \
                        tunnel-client\n";
        assert_eq!(
            (said.code, said.stdout.as_str(), said.stderr.as_str()),
            (Some(1), "", sentence),
            "{word}"
        );
    }
}

#[test]
fn it_explains_itself() {
    let said = Builder::bare("--version").daemon().outcome();
    let features = if FEATURES.is_empty() { "none".to_owned() } else { FEATURES.join(",") };
    assert!(said.stdout.ends_with(&format!(", features: {features}, commit {COMMIT})\n")), "{}", said.stdout);
    let said = Builder::bare("--help").daemon().outcome();
    assert_eq!((said.code, said.stderr.as_str()), (Some(0), ""), "{}", said.stdout);
    assert!(
        said.stdout.contains("Usage of tunnel-clientd:") && said.stdout.contains("--control-plane.tunnel-id")
    );
}

/// The process that holds the key has no code of an editor, of the administrator's client, or of `init`.
#[test]
#[cfg(not(feature = "operator"))]
fn code_for_people_is_not_in_it() {
    let program = std::fs::read(crate::support::client::DAEMON).unwrap();
    for text in [
        "EDITOR",
        "OPENAI_ADMIN_KEY must be",
        "admin key is",
        "sample_mcp_stdio_local",
        "doctor --explain",
        "_tunnel-client",
    ] {
        let found = program.windows(text.len()).any(|window| window == text.as_bytes());
        assert!(!found, "{text}");
    }
}

#[test]
#[cfg(not(feature = "page"))]
fn without_the_page_nothing_is_there() {
    let mut rig = Rig::with(|builder| builder.daemon());
    for path in ["/", "/ui"] {
        assert_eq!(rig.client.get(path).status, 404, "{path}");
    }
    assert!(!rig.client.log().contains("WEB UI"));
}

#[test]
#[cfg(not(feature = "harpoon"))]
fn without_harpoon_its_channel_is_refused_by_name() {
    let rig = Builder::run("http://127.0.0.1:9", "http://127.0.0.1:9/mcp").daemon();
    let (code, log) =
        rig.flag("control-plane.poll-channel", "main").flag("control-plane.poll-channel", "harpoon").finish();
    assert_eq!(code, Some(1));
    assert!(log.contains("this build has no Harpoon (feature harpoon)"), "{log}");
}

/// The caller hears that there is nothing to find, and the log says why.
#[test]
#[cfg(not(feature = "harpoon"))]
fn without_harpoon_discovery_is_answered_as_failed() {
    let rig = Rig::with(|builder| builder.daemon());
    let command = Command::of_type("oauth_discovery");
    rig.plane.queue(&command);
    let answer = rig.plane.wait_answer(&command);
    assert!(answer.code() >= 500 && answer.payload()["error"]["code"] == "oauth_discovery_failed");
    rig.client.wait_log(|line| line.contains("this build has no OAuth discovery (feature harpoon)"));
}

/// A setting that were accepted and ignored would let people believe that it works. What says no more than "off", or
/// spells out a number, is no reason to refuse a profile.
#[test]
#[cfg(not(feature = "harpoon"))]
fn without_harpoon_its_settings_are_refused_by_name() {
    for (name, value) in [
        ("harpoon.target", "label=a,url=https://a.example/"),
        ("harpoon.http-proxy", "http://proxy.example:1"),
        ("harpoon.transport-token", "file:/nonexistent"),
        ("harpoon.transport-token", "hunter2hunter2"),
        ("harpoon.hosts-include-suffix", "a.example"),
    ] {
        let rig = Builder::run("http://127.0.0.1:9", "http://127.0.0.1:9/mcp").daemon();
        let (code, log) = rig.flag(name, value).finish();
        let sentence = format!(
            "{name} is not available in this build, which has no Harpoon (feature harpoon); remove it"
        );
        assert_eq!(code, Some(1), "{name}");
        assert!(log.contains(&sentence) && !log.contains("hunter2"), "{log}");
    }
    let off = [("harpoon.max-redirects", "3"), ("harpoon.http-proxy", ""), ("harpoon.transport-token", "")];
    let with =
        |builder: Builder| off.iter().fold(builder, |builder, (name, value)| builder.flag(name, value));
    Rig::with(|builder| with(builder.daemon())).assert_alive();
}

/// What is set must have an effect: a build without a cage takes the words that ask for none.
#[cfg(not(feature = "cage"))]
#[test]
fn a_cage_that_is_required_is_refused_by_a_build_without_one() {
    for word in ["auto", "off"] {
        Rig::with(|builder| builder.daemon().flag("process.cage", word)).assert_alive();
    }
    let required =
        Builder::run("http://127.0.0.1:1", "http://127.0.0.1:2").daemon().flag("process.cage", "require");
    let (code, text) = required.finish();
    let sentence = "process.cage is not available in this build, which has no cage (feature cage); remove it";
    assert!(code == Some(1) && text.contains(sentence), "{text}");
}
