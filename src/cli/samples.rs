//! The samples that profiles are made from: what each is for, and its YAML.
//!
//! The YAML is put together from files that stand beside this one, whose comments are for the next reader
//! of the profile. Values are quoted, so that none can become a key; none is a secret. Opens nothing.

use crate::config::settings::{Kind, ROWS, Row};
use crate::config::{Flags, ListenAddress, Origin, draft, nearest};
use crate::url::without_credentials;

use super::{Failure, usage};

/// A sample.
pub(super) struct Sample {
    pub(super) name: &'static str,
    takes: Takes,
    /// Trust and the way out come from variables.
    enterprise: bool,
    /// What `profiles samples show` says before the YAML.
    description: &'static str,
}

/// Which server a sample is for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Takes {
    Url,
    Command,
    Either,
}

/// The sample, and the profile, of those who name none.
pub(super) const DEFAULT: &str = "sample_mcp_with_dcr";

/// All samples, by name.
#[rustfmt::skip]
pub(super) const SAMPLES: [Sample; 4] = [
    Sample { name: "sample_mcp_enterprise_proxy", takes: Takes::Either, enterprise: true,
        description: include_str!("samples/sample_mcp_enterprise_proxy.txt") },
    Sample { name: "sample_mcp_remote_no_auth", takes: Takes::Url, enterprise: false,
        description: include_str!("samples/sample_mcp_remote_no_auth.txt") },
    Sample { name: "sample_mcp_stdio_local", takes: Takes::Command, enterprise: false,
        description: include_str!("samples/sample_mcp_stdio_local.txt") },
    Sample { name: DEFAULT, takes: Takes::Either, enterprise: false,
        description: include_str!("samples/sample_mcp_with_dcr.txt") },
];

/// The options that end up in a profile.
#[rustfmt::skip]
mod options {
    use super::{Kind, Row};

    pub(in crate::cli) const TUNNEL_ID: Row = Row::option("tunnel-id", Kind::Text, "id", "",
        "The tunnel to serve; required");
    pub(in crate::cli) const BASE_URL: Row = Row::option("control-plane-base-url", Kind::Text, "url", "https://api.openai.com",
        "Control plane, or env:NAME or file:PATH");
    pub(in crate::cli) const URL_PATH: Row = Row::option("control-plane-url-path", Kind::Text, "path", "",
        "Path placed before /v1/ in control-plane requests");
    // A profile is copied, shown and committed, so the key itself cannot be given here at all.
    pub(in crate::cli) const API_KEY: Row = Row::option("control-plane-api-key-ref", Kind::Text, "reference", "env:CONTROL_PLANE_API_KEY",
        "Where the runtime API key is, env:NAME or file:PATH; never the key itself");
    pub(in crate::cli) const SERVER_URL: Row = Row::option("mcp-server-url", Kind::Text, "url", "",
        "The MCP server's URL, or env:NAME or file:PATH");
    pub(in crate::cli) const COMMAND: Row = Row::option("mcp-command", Kind::Text, "command", "",
        "The command that starts an MCP server on stdio");
    // This host alone: the listener asks nobody who they are.
    pub(in crate::cli) const LISTEN: Row = Row::option("health-listen-addr", Kind::Text, "address", "127.0.0.1:8080",
        "Where health, readiness and metrics are served");
    pub(in crate::cli) const OPEN_UI: Row = Row::option("open-web-ui", Kind::Boolean, "", "false",
        "Have run say at its start where the page is and how another machine reaches it; no browser is opened");
}

pub(super) use options::*;

/// The sample of a name.
/// An unknown one fails with its nearest neighbour and is never replaced by it.
pub(super) fn find(name: &str) -> Result<&'static Sample, Failure> {
    SAMPLES.iter().find(|sample| sample.name == name).ok_or_else(|| {
        let hint = nearest(name, SAMPLES.iter().map(|sample| sample.name));
        let hint = hint.map(|known| format!(" (did you mean {known}?)")).unwrap_or_default();
        Failure(format!("unknown sample {name:?}; run `tunnel-client profiles samples list`{hint}"))
    })
}

/// Refuses a missing tunnel id with what a newcomer needs to get one.
pub(super) fn require_tunnel_id(flags: &Flags) -> Result<(), Failure> {
    match flags.option(TUNNEL_ID.flag) {
        "" => Err(Failure(format!(
            "tunnel ID is required.\n{}\
             Create or look up a tunnel under Tunnels management and pass its id as --tunnel-id tunnel_...\n\
             More: tunnel-client init --help, tunnel-client profiles samples list",
            usage::PLACES
        ))),
        _ => Ok(()),
    }
}

/// The sample that was asked for, or the one that fits the server.
pub(super) fn chosen(flags: &Flags) -> Result<&'static Sample, Failure> {
    match flags.option("sample") {
        "" if flags.option(SERVER_URL.flag).is_empty() && !flags.option(COMMAND.flag).is_empty() => {
            find("sample_mcp_stdio_local")
        }
        "" => find(DEFAULT),
        name => find(name),
    }
}

impl Sample {
    /// Whether the profile names a command; an address is taken instead where the sample allows both.
    pub(super) fn takes_command(&self, flags: &Flags) -> bool {
        match self.takes {
            Takes::Url => false,
            Takes::Command => true,
            Takes::Either => flags.option(SERVER_URL.flag).is_empty(),
        }
    }

    /// The profile that the options ask for; they are held to the grammars of `run`.
    pub(super) fn render(&self, flags: &Flags) -> Result<String, Failure> {
        let (url, command) = (flags.option(SERVER_URL.flag), flags.option(COMMAND.flag));
        let missing = match self.takes {
            Takes::Url if url.is_empty() => "--mcp-server-url",
            Takes::Command if command.is_empty() => "--mcp-command",
            Takes::Either if url.is_empty() == command.is_empty() => {
                "exactly one of --mcp-server-url or --mcp-command"
            }
            _ => "",
        };
        if !missing.is_empty() {
            return Err(Failure(format!("{} requires {missing}", self.name)));
        }
        let has_url = !self.takes_command(flags);
        check(flags, has_url).map_err(Failure)?;
        Ok(self.fill(has_url, |flag| match flags.option(flag) {
            _ if flag == OPEN_UI.flag => opens_ui(flags).to_string(),
            "" => String::new(),
            text => draft::quoted(text),
        }))
    }

    /// The same with values that show their form.
    /// They are of the right form and of nobody: a copy that was not filled in is refused by the plane and
    /// harms no tunnel.
    pub(super) fn example(&self) -> String {
        let tunnel_id = format!("tunnel_{}", "0".repeat(32));
        self.fill(self.takes != Takes::Command, |flag| match flag {
            "tunnel-id" => draft::quoted(&tunnel_id),
            "mcp-server-url" => draft::quoted("http://127.0.0.1:3000/mcp"),
            "mcp-command" => draft::quoted("python3 /srv/mcp/server.py"),
            "open-web-ui" => OPEN_UI.default.to_owned(),
            _ => {
                let row = [BASE_URL, API_KEY, LISTEN].into_iter().find(|row| row.flag == flag);
                row.map(|row| draft::quoted(row.default)).unwrap_or_default()
            }
        })
    }

    /// What `profiles samples show` prints.
    pub(super) fn describe(&self) -> String {
        format!("{}\n{}", self.description, self.example())
    }

    /// What the sample is, in a line.
    pub(super) fn summary(&self) -> &str {
        self.description.lines().find_map(|line| line.strip_prefix("Summary: ")).unwrap_or_default()
    }

    /// Puts the parts together, with the value of an option where they name its flag. A line whose option has
    /// none is left out; each names at most one, so that what was filled in is never searched for another.
    fn fill(&self, has_url: bool, value_of: impl Fn(&str) -> String) -> String {
        let network = match self.enterprise {
            true => include_str!("samples/enterprise.yaml"),
            false => include_str!("samples/direct.yaml"),
        };
        let server = match has_url {
            true => include_str!("samples/server_url.yaml"),
            false => include_str!("samples/command.yaml"),
        };
        // The proxy leads out: a server on this host is reached without it.
        let value_of = |flag: &str| match flag {
            "control-plane.http-proxy" if self.enterprise => draft::quoted("env:HTTPS_PROXY"),
            "mcp.http-proxy" if self.enterprise && !is_local(&value_of(SERVER_URL.flag)) => {
                draft::quoted("env:HTTPS_PROXY")
            }
            "control-plane.http-proxy" | "mcp.http-proxy" => String::new(),
            flag => value_of(flag),
        };
        let (common, policy) = (include_str!("samples/common.yaml"), include_str!("samples/policy.yaml"));
        let parts = [common, network, include_str!("samples/host.yaml"), server, policy];
        let mut text = format!("# A tunnel-client profile, made from {}.\n", self.name);
        if self.enterprise {
            text.push_str("# It needs the environment variables ENTERPRISE_CA_BUNDLE and HTTPS_PROXY.\n");
        }
        for line in parts.iter().flat_map(|part| part.lines()) {
            let found =
                line.split_once("<<").and_then(|(before, rest)| Some((before, rest.strip_suffix(">>")?)));
            match found.map(|(before, flag)| (before, value_of(flag))) {
                None => text.push_str(&format!("{line}\n")),
                Some((_, value)) if value.is_empty() => {}
                Some((before, value)) => text.push_str(&format!("{before}{value}\n")),
            }
        }
        text
    }
}

/// Whether a quoted URL leads to this host. A reference may lead anywhere.
fn is_local(quoted: &str) -> bool {
    let url = quoted.trim_matches('"').parse().ok();
    url.as_ref().and_then(Origin::of).is_some_and(|origin| origin.is_loopback())
}

/// Whether a browser is asked for: not where `run` would refuse that.
pub(super) fn opens_ui(flags: &Flags) -> bool {
    let is_here = ROWS.iter().any(|row| row.flag == OPEN_UI.flag && row.is_live());
    is_here && flags.is_on(OPEN_UI.flag)
}

/// Holds every value to the grammar that `run` has for it. The key comes first: it must not be repeated.
fn check(flags: &Flags, has_url: bool) -> Result<(), String> {
    draft::key_reference(flags.option(API_KEY.flag))
        .map_err(|why| format!("invalid control plane API key reference: {why}"))?;
    for row in [TUNNEL_ID, BASE_URL, URL_PATH, SERVER_URL, COMMAND, LISTEN] {
        // Quoting would keep them in their place, and the line that the next reader sees would be hard to
        // change.
        if flags.option(row.flag).contains(['\r', '\n']) {
            return Err(format!("--{} cannot contain CR or LF", row.flag));
        }
    }
    draft::tunnel_id(flags.option(TUNNEL_ID.flag))?;
    let value = |row: &Row| Some(flags.option(row.flag)).filter(|text| !draft::is_reference(text));
    if let Some(text) = value(&BASE_URL) {
        draft::base_url(text, false).map_err(|why| format!("invalid control-plane.base-url: {why}"))?;
    }
    if let Some(text) = value(&URL_PATH) {
        draft::url_path(text).map_err(|fault| {
            let why = fault.split_once(": ").map_or(fault.as_str(), |(_, why)| why);
            format!("invalid control plane URL path {text:?}: {why}")
        })?;
    }
    if let Some(text) = value(&LISTEN) {
        ListenAddress::parse(text).map_err(|why| format!("invalid health listen address {text:?}: {why}"))?;
    }
    match has_url {
        true => draft::server_url(flags.option(SERVER_URL.flag)).map_err(|what| {
            let text = without_credentials(flags.option(SERVER_URL.flag));
            format!("invalid --mcp-server-url {text:?}: {what}; for example http://127.0.0.1:3000/mcp")
        }),
        false => draft::command(flags.option(COMMAND.flag)).map(drop),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Request;
    use std::path::Path;

    const OPTIONS: &[Row] = &[TUNNEL_ID, BASE_URL, URL_PATH, API_KEY, SERVER_URL, COMMAND, LISTEN, OPEN_UI];

    fn rendered(sample: &str, arguments: &[&str]) -> Result<String, String> {
        let Ok(Request::Run(flags)) = Flags::of_command(arguments, &[OPTIONS], 0) else { panic!() };
        let text = find(sample).and_then(|sample| sample.render(&flags));
        text.map_err(|Failure(text)| text)
    }

    const TUNNEL: [&str; 2] = ["--tunnel-id", "tunnel_0123456789abcdefghijklmnopqrstuv"];

    #[test]
    fn every_sample_is_a_profile_with_every_server() {
        let (url, command) = (["--mcp-server-url", "https://h/mcp"], ["--mcp-command", "server x"]);
        for sample in &SAMPLES {
            for (server, refused) in [(url, Takes::Command), (command, Takes::Url)] {
                let further =
                    ["--control-plane-url-path", "/gateway", "--control-plane-api-key-ref", "file:key"];
                let text = rendered(sample.name, &[&TUNNEL[..], &server, &further].concat());
                assert_eq!(text.is_err(), sample.takes == refused, "{}", sample.name);
                if let Ok(text) = text {
                    draft::check(Path::new("p"), &text).unwrap();
                    assert!(text.contains("\n  url_path: \"/gateway\"\n") && !text.contains("<<"), "{text}");
                }
            }
        }
    }

    #[test]
    fn descriptions_name_their_sample_and_options_that_exist() {
        for sample in &SAMPLES {
            assert!(sample.description.starts_with(&format!("Sample: {}\nSummary: ", sample.name)));
            assert!(!sample.summary().is_empty());
            for word in sample.description.split_whitespace().filter_map(|word| word.strip_prefix("--")) {
                let name = word.trim_end_matches(':');
                assert!(OPTIONS.iter().any(|row| row.flag == name), "{name}");
            }
        }
    }

    /// What stands in comments for the next reader is what the reader may write.
    #[test]
    fn every_example_is_a_profile_with_its_comments_too() {
        for sample in &SAMPLES {
            let example = sample.example();
            let variables = draft::check(Path::new("p"), &example).unwrap();
            assert_eq!(variables.len(), if sample.enterprise { 3 } else { 1 }, "{}", sample.name);
            let setting = |text: &str| {
                let text = text.trim_start().trim_start_matches("- ");
                let value =
                    text.split_once(':').filter(|(key, _)| !key.contains(' ')).map(|(_, value)| value);
                value.is_some_and(|value| {
                    value.is_empty() || value.starts_with([' ']) && value.contains(['"', '['])
                })
            };
            let mut uncommented = 0;
            let lines = example.lines().map(|line| match line.split_once("# ") {
                Some((indent, text)) if indent.trim().is_empty() && setting(text) => {
                    uncommented += 1;
                    format!("{indent}{text}\n")
                }
                _ => format!("{line}\n"),
            });
            let text: String = lines.collect();
            draft::check(Path::new("p"), &text).unwrap_or_else(|error| panic!("{error}\n{text}"));
            assert!(uncommented > 8, "{uncommented}");
        }
    }

    #[test]
    fn the_proxy_leads_out_and_not_to_this_host() {
        let count = |server: [&str; 2]| {
            let text = rendered("sample_mcp_enterprise_proxy", &[&TUNNEL[..], &server].concat()).unwrap();
            text.lines().filter(|line| *line == "  http_proxy: \"env:HTTPS_PROXY\"").count()
        };
        for local in ["http://127.0.0.1:3000/mcp", "https://LOCALHOST/mcp", "http://[::1]:8/"] {
            assert_eq!(count(["--mcp-server-url", local]), 1, "{local}");
        }
        assert_eq!(count(["--mcp-command", "server"]), 1);
        assert_eq!(count(["--mcp-server-url", "https://mcp.example.com/mcp"]), 2);
        assert_eq!(count(["--mcp-server-url", "env:SERVER"]), 2);
    }

    #[test]
    fn hostile_values_stay_values() {
        for value in
            ["python3 \"a b\" # x", r"a\b: c", "<<tunnel_id>>", "x: &y *z", "\u{1f980}", "a\u{7}\u{2028}"]
        {
            let text = rendered("sample_mcp_stdio_local", &[&TUNNEL[..], &["--mcp-command", value]].concat())
                .unwrap();
            draft::check(Path::new("p"), &text).unwrap();
            let line = format!("\n      command: {}\n", draft::quoted(value));
            assert!(text.contains(&line), "{text}");
        }
        for option in ["--mcp-command", "--health-listen-addr", "--control-plane-base-url"] {
            let given = [&TUNNEL[..], &["--mcp-command", "x", option, "a\nb: c"]].concat();
            assert_eq!(
                rendered("sample_mcp_stdio_local", &given).unwrap_err(),
                format!("{option} cannot contain CR or LF")
            );
        }
    }
}
