//! What can be told without leaving this machine: settings, key, listener, and the command that comes next.
//!
//! Changes nothing: a port is bound and let go at once, a socket file is only looked at. The one request that
//! is made goes to our own listener's address. Mistakes in the settings come back as checks; nothing fails
//! here.

#[cfg(feature = "cage")]
use std::path::PathBuf;
use std::time::{Duration, Instant};

use ureq::http::{HeaderMap, Method, Uri};

#[cfg(feature = "cage")]
use crate::cage::Cage;
use crate::config::draft::is_reference;
use crate::config::settings::{Kind, ROWS};
use crate::config::{self, Flags, Origin, Settings, Source};
use crate::net::{Net, Request};
use crate::ops::listener::bind;
use crate::ops::redact::Redactor;
use crate::ops::shell_quoted;
#[cfg(feature = "cage")]
use crate::sync;

use super::report::{ASK_AGAIN, Check};

/// Where things come from, each by the id of its check.
pub(crate) const PLACES: [(&str, &str); 4] = [
    ("tunnels_management_url", "https://platform.openai.com/settings/organization/tunnels"),
    ("runtime_api_keys_url", "https://platform.openai.com/settings/organization/api-keys"),
    ("admin_api_keys_url", "https://platform.openai.com/settings/organization/admin-keys"),
    ("chatgpt_connector_settings_url", "https://chatgpt.com/#settings/Connectors"),
];

/// The id of the check of the key.
pub(super) const KEY: &str = "control_plane_api_key";

/// How long whoever holds our port may take to say who it is.
/// On one host that is plenty, and the other checks wait meanwhile.
const NEIGHBOUR_TIME: Duration = Duration::from_secs(1);

/// What to do about a mistake that says itself what is wrong.
const CORRECT: &str = "correct the setting";

/// Why a mistake in the settings matters, whichever it is.
const CONFIG_WHY: &str = "run does not start with settings that it cannot use.";

/// Which file was selected.
pub(super) fn source(source: &Source) -> Check {
    let text = match source.way {
        "" => "flags/environment only".to_owned(),
        "config" => source.name.clone(),
        way => format!("{}: {}", way.replace('-', " "), source.name),
    };
    Check::pass("config_source", text)
}

/// That the selected file could be read.
pub(super) fn profile(source: &Source) -> Check {
    let path = source.path.as_ref().map(|path| path.display().to_string());
    Check::pass("profile_load", path.unwrap_or_else(|| "flags/environment only".into()))
}

/// The choice of the file, as flags.
pub(super) fn selection(flags: &Flags, source: &Source) -> String {
    if source.way.is_empty() {
        return String::new();
    }
    let mut words = format!(" --{} {}", source.way, shell_quoted(&source.name));
    if let Some(directory) = flags.last("profile-dir") {
        words.push_str(&format!(" --profile-dir {}", shell_quoted(directory)));
    }
    words
}

/// The first mistake in the settings, under the id of what it is about.
pub(super) fn fault(error: &config::Error, source: &Source) -> Check {
    let text = error.to_string();
    let id = match error.setting() {
        Some("control-plane.tunnel-id") => "tunnel_id",
        Some("control-plane.api-key") => KEY,
        Some("control-plane.base-url") => "control_plane_base_url",
        Some("mcp.server-url" | "mcp.command") => "mcp_target",
        // Faults of a file name it, and nothing else tells them from faults of flags and variables.
        _ if source.path.as_ref().is_some_and(|path| text.contains(&*path.to_string_lossy())) => {
            "profile_load"
        }
        _ => "config_validation",
    };
    // A reference that leads nowhere is the state of whoever has made no key yet.
    let otherwise = match id {
        KEY => {
            "put a runtime API key where control-plane.api-key says; keys are made at \
             https://platform.openai.com/settings/organization/api-keys"
        }
        _ => CORRECT,
    };
    complaint(id, error, otherwise)
}

/// Settings that cannot be used.
pub(super) fn unusable(id: &str, error: &config::Error) -> Check {
    complaint(id, error, CORRECT)
}

/// The check of a mistake, with its own advice or, where it has none, this one.
fn complaint(id: &str, error: &config::Error, otherwise: &str) -> Check {
    let next = error.hint().unwrap_or(otherwise);
    let check = Check::fail(id, error.to_string(), CONFIG_WHY, [next]);
    check.step(format!("then ask again: {ASK_AGAIN}")).of_settings()
}

/// The pages that a newcomer needs.
pub(super) fn places() -> impl Iterator<Item = Check> {
    PLACES.into_iter().map(|(id, url)| Check::pass(id, url))
}

/// Which tunnel, with which key, at which control plane, and who said so; never the key. Without a key the
/// fault takes its place.
pub(super) fn identity(settings: &Settings, key_fault: Option<Check>) -> Vec<Check> {
    let plane = &settings.control_plane;
    let label = Some(plane.api_key_label.as_str()).filter(|label| !label.is_empty());
    let key = || Check::pass(KEY, label.unwrap_or("configured"));
    let mut checks = vec![
        Check::pass("tunnel_id", &plane.tunnel_id),
        key_fault.unwrap_or_else(key),
        Check::pass(
            "control_plane_base_url",
            format!("{}{}, {}", plane.origin, plane.url_path, plane.origin_label),
        ),
    ];
    if !settings.warnings.is_empty() {
        checks.push(Check::pass("config_warnings", settings.warnings.join("; ")));
    }
    checks
}

/// Whether the operator's listener can stand where it is to. A tunnel client that stands there already is
/// named: that is what whoever asks about a running service will see.
pub(super) fn listener(settings: &Settings, net: Option<&Net>) -> Check {
    const ID: &str = "health_listener";
    let error = match bind::try_bind(&settings.health) {
        Ok(text) => return Check::pass(ID, text),
        Err(error) => error,
    };
    // Asked only after the bind failed: a free address has nobody to ask.
    let ours = net.is_some_and(|net| is_neighbour(settings, net).is_some());
    let (why, next) = if ours {
        let ask = match &settings.health.unix_socket {
            Some(path) => {
                format!(
                    "curl --unix-socket {} http://localhost/readyz",
                    shell_quoted(&path.to_string_lossy())
                )
            }
            None => format!("tunnel-client health --url http://{}", settings.health.listen.address),
        };
        (
            "Another tunnel-client runs here and holds the address; a second one on this host needs its own.",
            vec![
                format!("ask it how it is: {ask}"),
                "for a second one: --health.listen-addr 127.0.0.1:0, or another --health.unix-socket"
                    .to_owned(),
            ],
        )
    } else {
        let next = "choose another --health.listen-addr or --health.unix-socket; if it is in use, see who has it: ss -ltnp";
        ("run does not start when health and readiness cannot be served.", vec![next.to_owned()])
    };
    let summary = if ours { format!("{error}: another tunnel-client runs here") } else { error.to_string() };
    Check::fail(ID, summary, why, next)
}

/// The limits that a process with these settings sets itself, tried on a thread that keeps them to its end.
#[cfg(feature = "cage")]
pub(super) fn cage(settings: &Settings) -> Check {
    const CAGE: &str = "cage";
    let named = settings.material().into_iter().chain(settings.pin_file()).map(PathBuf::from);
    let named = named.chain(settings.source.path.clone()).collect();
    let settings = settings.clone();
    let tried = sync::spawn("doctor", move || Cage::shut(&settings, &named).map(|cage| cage.words()));
    let tried = tried.map(|tried| tried.join().unwrap_or_else(|_| Err("it ended early".to_owned())));
    match tried {
        Ok(Ok(words)) => Check::pass(CAGE, words),
        Ok(Err(why)) => {
            let next = "process.cage: auto takes what this system has; off takes nothing";
            Check::fail(CAGE, why, "run does not start without what is required.", [next])
        }
        Err(error) => Check::skip(CAGE, format!("not tried: {error}")),
    }
}

/// Asks whoever listens whether it is alive, in the words of a tunnel client.
fn is_neighbour(settings: &Settings, net: &Net) -> Option<()> {
    let (health, address) = (&settings.health, settings.health.listen.address);
    let origin = Origin { tls: false, host: address.ip().to_string(), port: address.port() };
    let uri: Uri = format!("{origin}/healthz").parse().ok()?;
    let client = Net::operator(&origin, health.unix_socket.clone()).ok()?;
    let deadline = Instant::now() + NEIGHBOUR_TIME;
    let (method, headers) = (Method::GET, HeaderMap::new());
    let request = Request { method, uri: &uri, headers, body: None, deadline, replay_when_stale: false };
    // Status and body both: a page of any other service is often answered with 200.
    let reply = client.send(request).ok().filter(|reply| reply.status == 200)?;
    let body = reply.read_all(64, net.budget(), deadline).ok()?;
    (body.data == b"live").then_some(())
}

/// The command that runs what was checked: the same file and the same flags. Secrets are taken out of each
/// value by itself, before the quotes: a guess of the redactor must not reach into the next word.
pub(super) fn next_command(flags: &Flags, source: &Source, redactor: &Redactor) -> String {
    let quoted = |value: &str| shell_quoted(&redactor.clean(value));
    let mut words = vec!["tunnel-client run".to_owned()];
    if !source.way.is_empty() {
        words.extend([format!("--{}", source.way), quoted(&source.name)]);
    }
    // By their names, not as they were typed: no flag depends on the order of others.
    let others =
        flags.given(ROWS).filter(|(row, _)| !["config", "profile", "profile-file"].contains(&row.flag));
    for (row, values) in others {
        for value in values {
            // A reference is no secret, whatever the header is called that it stands for.
            let refers = |value: &str| value.split_once(':').is_some_and(|(_, text)| is_reference(text));
            match row.kind {
                Kind::Headers if refers(value) => {
                    words.extend([format!("--{}", row.flag), shell_quoted(value)]);
                }
                // A boolean takes its value behind an equals sign alone.
                Kind::Boolean => words.push(format!("--{}={}", row.flag, quoted(value))),
                _ => words.extend([format!("--{}", row.flag), quoted(value)]),
            }
        }
    }
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Request;

    #[test]
    fn the_next_command_repeats_what_was_asked() {
        let arguments = ["--log.http-raw-unsafe=false", "--profile-dir", "/a b", "--mcp.command", "x 'y'"];
        let arguments = arguments.into_iter().chain([
            "--mcp.extra-headers",
            "Authorization: Bearer a b",
            "--mcp.extra-headers",
            "X-Api-Key: file:/key",
        ]);
        let Ok(Request::Run(flags)) = Flags::parse(arguments) else { panic!() };
        let source = Source { way: "profile", name: "prod".into(), path: Some("/a b/prod.yaml".into()) };
        assert_eq!(
            next_command(&flags, &source, &Redactor::new(Vec::new())),
            r"tunnel-client run --profile prod --log.http-raw-unsafe=false --mcp.command 'x '\''y'\''' --mcp.extra-headers 'Authorization: [REDACTED]' --mcp.extra-headers 'X-Api-Key: file:/key' --profile-dir '/a b'"
        );
    }
}
