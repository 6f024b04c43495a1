//! The samples that profiles are made from: what each is for, and its YAML.
//!
//! The YAML is put together from files that stand beside this one, whose comments are for the next reader
//! of the profile. Values are quoted, so that none can become a key; none is a secret. Opens nothing.

use crate::config::settings::{Kind, ROWS, Row, Status};
use crate::config::{Flags, draft, nearest};

use super::{Failure, usage};

/// A sample.
pub(super) struct Sample {
    pub(super) name: &'static str,
    pub(super) summary: &'static str,
    use_when: &'static str,
    takes: Takes,
    /// Trust and the way out come from variables.
    enterprise: bool,
    notes: &'static [&'static str],
}

/// Which server a sample is for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Takes {
    Url,
    Command,
    Either,
}

/// All samples, by name.
pub(super) const SAMPLES: [Sample; 4] = [
    Sample {
        name: "sample_mcp_enterprise_proxy",
        summary: "Any server, from a network with a proxy and a private CA",
        use_when: "the way out leads through a proxy, or certificates are signed by a private CA",
        takes: Takes::Either,
        enterprise: true,
        notes: &[
            "ENTERPRISE_CA_BUNDLE holds the path of a PEM bundle, HTTPS_PROXY the URL of the proxy",
            "both must be set wherever the profile is used",
        ],
    },
    Sample {
        name: "sample_mcp_remote_no_auth",
        summary: "A Streamable HTTP server that asks for no authentication",
        use_when: "the server is reachable by URL and trusts its network",
        takes: Takes::Url,
        enterprise: false,
        notes: &["a fixed token can be sent with mcp.extra_headers"],
    },
    Sample {
        name: "sample_mcp_stdio_local",
        summary: "A server that the tunnel starts as a child process",
        use_when: "the server speaks MCP on standard input and output",
        takes: Takes::Command,
        enterprise: false,
        notes: &[
            "the command is started without a shell",
            "the server sees only the variables that the profile sets or passes",
        ],
    },
    Sample {
        name: DEFAULT,
        summary: "Any server; with dynamic client registration, where it offers that",
        use_when: "in doubt, and for servers that authenticate their callers with OAuth",
        takes: Takes::Either,
        enterprise: false,
        notes: &["tokens of callers are passed on to a server that is reached by URL"],
    },
];

/// The sample, and the profile, of those who name none.
pub(super) const DEFAULT: &str = "sample_mcp_with_dcr";

/// The options that end up in a profile.
pub(super) const TUNNEL_ID: Row =
    Row::option("tunnel-id", Kind::Text, "id", "", "The tunnel to serve; required");
pub(super) const BASE_URL: Row = Row::option(
    "control-plane-base-url",
    Kind::Text,
    "url",
    "https://api.openai.com",
    "Control plane, or env:NAME or file:PATH",
);
pub(super) const URL_PATH: Row = Row::option(
    "control-plane-url-path",
    Kind::Text,
    "path",
    "",
    "Path placed before /v1/ in control-plane requests",
);
pub(super) const API_KEY: Row = Row::option(
    "control-plane-api-key-ref",
    Kind::Text,
    "reference",
    "env:CONTROL_PLANE_API_KEY",
    "Where the runtime API key is, env:NAME or file:PATH; never the key itself",
);
pub(super) const SERVER_URL: Row =
    Row::option("mcp-server-url", Kind::Text, "url", "", "The MCP server's URL, or env:NAME or file:PATH");
pub(super) const COMMAND: Row =
    Row::option("mcp-command", Kind::Text, "command", "", "The command that starts an MCP server on stdio");
pub(super) const LISTEN: Row = Row::option(
    "health-listen-addr",
    Kind::Text,
    "address",
    "127.0.0.1:8080",
    "Where health, readiness and metrics are served",
);
pub(super) const OPEN_UI: Row =
    Row::option("open-web-ui", Kind::Boolean, "", "false", "Let run open the status page in a browser");

/// The sample of a name.
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
            "tunnel ID is required.\n{}Create or look up a tunnel under Tunnels management and pass its id as --tunnel-id tunnel_...\n\
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
        let text = |row: &Row| match flags.option(row.flag) {
            "" => String::new(),
            text => draft::quoted(text),
        };
        Ok(self.fill(has_url, |placeholder| match placeholder {
            "tunnel_id" => text(&TUNNEL_ID),
            "base_url" => text(&BASE_URL),
            "url_path" => text(&URL_PATH),
            "api_key" => text(&API_KEY),
            "listen_addr" => text(&LISTEN),
            "open_browser" => opens_ui(flags).to_string(),
            "server_url" => text(&SERVER_URL),
            "command" => text(&COMMAND),
            _ => String::new(),
        }))
    }

    /// The same with values that show their form.
    pub(super) fn example(&self) -> String {
        self.fill(self.takes != Takes::Command, |placeholder| match placeholder {
            "tunnel_id" => format!("\"tunnel_{}\"", "0".repeat(32)),
            "base_url" => draft::quoted(BASE_URL.default),
            "api_key" => draft::quoted(API_KEY.default),
            "listen_addr" => draft::quoted(LISTEN.default),
            "open_browser" => OPEN_UI.default.to_owned(),
            "server_url" => "\"http://127.0.0.1:3000/mcp\"".to_owned(),
            "command" => "\"python3 /srv/mcp/server.py\"".to_owned(),
            _ => String::new(),
        })
    }

    /// What `profiles samples show` prints.
    pub(super) fn describe(&self) -> String {
        let server: &[&str] = match self.takes {
            Takes::Url => &["--mcp-server-url"],
            Takes::Command => &["--mcp-command"],
            Takes::Either => &["exactly one of --mcp-server-url and --mcp-command"],
        };
        let optional = [API_KEY, BASE_URL, URL_PATH, LISTEN, OPEN_UI]
            .map(|row| format!("--{} ({})", row.flag, row.help));
        let mut text =
            format!("Sample: {}\nSummary: {}\nUse when: {}\n", self.name, self.summary, self.use_when);
        let mut list = |heading: &str, items: &mut dyn Iterator<Item = &str>| {
            text.push_str(&format!("{heading}:\n"));
            items.for_each(|item| text.push_str(&format!("  - {item}\n")));
        };
        list("Required", &mut ["--tunnel-id"].iter().chain(server).copied());
        list("Optional", &mut optional.iter().map(String::as_str));
        list("Notes", &mut self.notes.iter().copied());
        format!("{text}\n{}", self.example())
    }

    /// Puts the parts together. A line whose placeholder has no value is left out; each has at most one, so
    /// that what was filled in is never searched for another.
    fn fill(&self, has_url: bool, value_of: impl Fn(&str) -> String) -> String {
        let network = match self.enterprise {
            true => include_str!("samples/enterprise.yaml"),
            false => include_str!("samples/direct.yaml"),
        };
        let server = match has_url {
            true => include_str!("samples/server_url.yaml"),
            false => include_str!("samples/command.yaml"),
        };
        let parts = [include_str!("samples/common.yaml"), network, include_str!("samples/host.yaml"), server];
        let mut text = format!("# A tunnel-client profile, made from {}.\n", self.name);
        if self.enterprise {
            text.push_str("# It needs the environment variables ENTERPRISE_CA_BUNDLE and HTTPS_PROXY.\n");
        }
        for line in parts.iter().flat_map(|part| part.lines()) {
            let found =
                line.split_once("<<").and_then(|(before, rest)| Some((before, rest.strip_suffix(">>")?)));
            match found.map(|(before, placeholder)| (before, value_of(placeholder))) {
                None => text.push_str(&format!("{line}\n")),
                Some((_, value)) if value.is_empty() => {}
                Some((before, value)) => text.push_str(&format!("{before}{value}\n")),
            }
        }
        text
    }
}

/// Whether the browser is to be opened: not as long as `run` would refuse that.
pub(super) fn opens_ui(flags: &Flags) -> bool {
    let is_here = ROWS.iter().any(|row| row.flag == OPEN_UI.flag && row.status == Status::Live);
    is_here && flags.is_on(OPEN_UI.flag)
}

/// Holds every value to the grammar that `run` has for it. The key comes first: it must not be repeated.
fn check(flags: &Flags, has_url: bool) -> Result<(), String> {
    draft::key_reference(flags.option(API_KEY.flag))
        .map_err(|why| format!("invalid control plane API key reference: {why}"))?;
    for row in [TUNNEL_ID, BASE_URL, URL_PATH, SERVER_URL, COMMAND, LISTEN] {
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
        crate::config::ListenAddress::parse(text)
            .map_err(|why| format!("invalid health listen address {text:?}: {why}"))?;
    }
    match has_url {
        true => draft::server_url(flags.option(SERVER_URL.flag)),
        false => draft::command(flags.option(COMMAND.flag)).map(drop),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Request;
    use std::path::Path;

    fn rendered(sample: &str, arguments: &[&str]) -> Result<String, String> {
        const OPTIONS: &[Row] =
            &[TUNNEL_ID, BASE_URL, URL_PATH, API_KEY, SERVER_URL, COMMAND, LISTEN, OPEN_UI];
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
