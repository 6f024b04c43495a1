//! Validates the `mcp.*` settings: entries first, then what holds for all, then consistency.
//!
//! The order is that in which the reference client complains; tools show the first complaint, so
//! it decides which mistake a person is sent after. Opens no connection and starts no program: a
//! server that cannot be reached is found by the relay.

use std::time::Duration;

use ureq::http::{HeaderMap, HeaderName};

#[cfg(feature = "harpoon")]
use super::Origin;
#[cfg(feature = "dev")]
use super::Stub;
use super::binding::{Entry, arguments};
use super::document::Raw;
#[cfg(feature = "harpoon")]
use super::lookup::Giver;
use super::lookup::{Found, Lookup};
use super::plane::{POLL_CHANNEL_FLAG, RESERVED_CHANNEL, identity};
use super::reference::{self, is_variable_name};
use super::section::section;
use super::settings::{KEY_FLAG, ROWS};
use super::{
    Binding, Channel, ControlPlane, Error, HttpServer, Identity, Proxy, Secret, Server, StdioServer, headers,
    proxy,
};
use crate::url::Url;

/// Flag of the servers over HTTP.
pub(super) const SERVER_FLAG: &str = "mcp.server-url";
/// Flag of the servers over stdio.
pub(super) const COMMAND_FLAG: &str = "mcp.command";
/// Flag of the variables for all servers over stdio.
const PASS_FLAG: &str = "mcp.pass-env";

const MAIN_MISSING: &str =
    "main channel is required; set --mcp.server-url or --mcp.command, or MCP_SERVER_URL or MCP_COMMAND";
const MAIN_ADVICE: &str =
    "for example --mcp.server-url http://127.0.0.1:3000/mcp (more in tunnel-client run --help)";
const MAIN_UNNAMED: &str =
    "main channel is required; add channel=main to one --mcp.server-url or --mcp.command entry";

section! {
    /// The private MCP servers and how they are called.
    Mcp(lookup: &Lookup) {
        /// Bindings of the channels, server entries first, in the order given.
        bindings: Vec<Binding> = bindings(lookup)?;
        /// Bounds one whole call (`mcp.connection-max-ttl`).
        connection_max_ttl: Duration = lookup.duration("mcp.connection-max-ttl")?;
        /// How long a server over stdio that owes answers may say nothing (`mcp.stdio-silence`).
        stdio_silence: Duration = lookup.duration("mcp.stdio-silence")?;
        /// How long the first poll may wait for a server that refuses connections; zero: not at all.
        startup_wait: Duration = lookup.duration("mcp.startup-wait-timeout")?;
        /// Ordinary workers, 1 to 128.
        max_concurrent_requests: usize = lookup.integer("mcp.max-concurrent-requests")?;
        /// `mcp.http-proxy`.
        proxy: Option<Proxy> = proxy::load(lookup, "mcp.http-proxy")?;
        /// Sent to the configured origin and path only.
        extra_headers: HeaderMap = headers::load(lookup, "mcp.extra-headers", "")?;
        /// Sent with probes and discovery only.
        discovery_extra_headers: HeaderMap = headers::load(lookup, "mcp.discovery-extra-headers", "")?;
        /// The only headers of callers that pass, besides those of the protocol; `None` where all do that may.
        forward_headers: Option<Vec<HeaderName>> = headers::names(lookup, "mcp.forward-headers")?;
        /// Origins of others that OAuth discovery may ask, and register.
        #[cfg(feature = "harpoon")]
        oauth_trusted_origins: Vec<Origin> = trusted_origins(lookup)?;
        /// Whether trace contexts of commands go on to servers.
        forward_trace_context: bool = lookup.boolean("mcp.forward-trace-context")?;
        /// Whether somebody asked for `notifications/initialized`, which servers over stdio get in any case.
        stdio_send_initialized: bool = lookup.boolean("mcp.stdio-send-initialized-notification")?;
        /// The stub that serves `main`.
        #[cfg(feature = "dev")]
        stub: Option<Stub> = super::stub::load(lookup, &mut bindings)?;
    }
}

/// The MCP servers. Those over HTTP come before commands whichever was given first, so that the order of bindings does
/// not depend on where they were set.
fn bindings(lookup: &Lookup) -> Result<Vec<Binding>, Error> {
    let mut bindings = Vec::new();
    // Both halves or none: a certificate without its key is found here and not at the first handshake.
    let identity = identity(lookup, "mcp.client-cert", "mcp.client-key", "MCP")?;
    lookup.read(SERVER_FLAG, |found| {
        for entry in entries(found, Entry::server)? {
            let entry = entry.complete()?;
            let server = http_server(lookup, found, &entry, identity.as_ref())?;
            bind(&mut bindings, found, &entry, Server::Http(server))?;
        }
        Ok(())
    })?;
    // A certificate that nobody will be shown is a mistake: its owner believes in it.
    if identity.is_some() && bindings.is_empty() {
        return Err(Error::invalid(
            "mcp.client-cert and mcp.client-key require at least one http-streamable mcp.server-url binding",
        ));
    }
    // No identity and no proxy: nothing is dialled for a program of this host.
    let pass = passed_to_all(lookup)?;
    lookup.read(COMMAND_FLAG, |found| {
        for entry in entries(found, Entry::command)? {
            let server = stdio_server(lookup, found, &entry, &pass)?;
            bind(&mut bindings, found, &entry, Server::Stdio(server))?;
        }
        Ok(())
    })?;
    Ok(bindings)
}

/// Every polled channel needs a server, and without a list `main` does: commands that nobody can
/// take would otherwise be fetched from the control plane only to fail. Whether Harpoon has endpoints is unknown in a
/// build without it.
pub(crate) fn check_channels(
    lookup: &Lookup,
    plane: &ControlPlane,
    mcp: &Mcp,
    has_endpoints: Option<bool>,
) -> Result<(), Error> {
    let bound = |channel: &Channel| mcp.bindings.iter().any(|binding| binding.channel == *channel);
    if plane.poll_channels.is_empty() && !bound(&Channel::main()) {
        return Err(match mcp.bindings.as_slice() {
            [] => Error::invalid(MAIN_MISSING).of(SERVER_FLAG).advise(MAIN_ADVICE),
            _ => Error::invalid(MAIN_UNNAMED).of(SERVER_FLAG),
        });
    }
    for channel in &plane.poll_channels {
        let wrong = match channel.as_str() {
            _ if bound(channel) => continue,
            RESERVED_CHANNEL if has_endpoints.is_none() => {
                "harpoon cannot be served: this build has no Harpoon (feature harpoon)".to_string()
            }
            RESERVED_CHANNEL if has_endpoints == Some(true) => continue,
            // Beside `main` it may be asked for before it has anything to offer.
            RESERVED_CHANNEL if plane.poll_channels.contains(&Channel::main()) => continue,
            RESERVED_CHANNEL => "harpoon has no routable target".to_string(),
            "main" => "main has no local MCP handler".to_string(),
            other => format!("{other:?} has no local handler"),
        };
        return Err(lookup.fault(POLL_CHANNEL_FLAG, &format!("{POLL_CHANNEL_FLAG} {wrong}")));
    }
    Ok(())
}

/// Origins that others of the network have, canonical.
#[cfg(feature = "harpoon")]
fn trusted_origins(lookup: &Lookup) -> Result<Vec<Origin>, Error> {
    let origins = lookup.read("mcp.oauth-trusted-origin", |found| {
        // A variable shares the name of the flag in these texts, as in the reference.
        let name = if matches!(found.giver, Giver::File(..)) { found.row.yaml } else { found.row.flag };
        let texts = found.list().iter().map(|text| text.trim()).filter(|text| !text.is_empty());
        texts.map(|text| Origin::parse(text).map_err(|what| format!("{name}: {what}"))).collect()
    })?;
    Ok(origins.unwrap_or_default())
}

impl HttpServer {
    /// The server at this URL, without certificate or proxy of its own. Plain http is allowed here, unlike to the
    /// control plane: it is the operator's own network, and what is sent there is sent by choice.
    pub(crate) fn at(url: &str) -> Result<HttpServer, &'static str> {
        let url = Url::parse(url)?;
        let (origin, uri, credentials) = (url.origin()?, url.uri()?, url.credentials);
        let (unix_socket, proxy, identity) = (None, None, None);
        Ok(HttpServer { url: uri, origin, credentials, unix_socket, proxy, identity })
    }
}

/// The entries of a setting: texts are taken apart first, maps are so already.
fn entries(found: &Found, parse: fn(&str) -> Result<Entry, String>) -> Result<Vec<Entry>, String> {
    match &found.raw {
        Raw::Entries(entries) => Ok(entries.clone()),
        _ => found.list().iter().map(|text| parse(text)).collect(),
    }
}

/// The variables that every server over stdio gets.
fn passed_to_all(lookup: &Lookup) -> Result<Vec<String>, Error> {
    let names = lookup.read(PASS_FLAG, |found| {
        let texts = found.list();
        // A flag may hold several too.
        let names = texts.iter().flat_map(|text| text.split(','));
        let names = names.map(str::trim).filter(|name| !name.is_empty());
        names.map(|name| passed(lookup, PASS_FLAG, named(PASS_FLAG, name)?)).collect::<Result<Vec<_>, _>>()
    })?;
    Ok(names.unwrap_or_default())
}

fn named(flag: &str, name: &str) -> Result<String, String> {
    if is_variable_name(name) {
        Ok(name.to_string())
    } else {
        Err(format!("{flag}: {name:?} is no variable name"))
    }
}

/// The server of a command entry, which gets the variables `pass` too. The values that it sets may be secrets, by
/// reference above all. Whether the program exists is seen when it is
/// started: it may well be installed, or moved, after this process began.
fn stdio_server(
    lookup: &Lookup,
    found: &Found,
    entry: &Entry,
    pass: &[String],
) -> Result<StdioServer, String> {
    let listed: Vec<String> = entry.members("command").map(|(_, argument)| argument.to_owned()).collect();
    let argv = match listed.first() {
        None => arguments(&lookup.value(found, entry, "command")?),
        Some(program) if program.is_empty() => Err("command is empty"),
        Some(_) => Ok(listed),
    };
    let argv = argv.map_err(|fault| format!("invalid {COMMAND_FLAG}: {fault}"))?;
    argv.iter().try_for_each(|argument| passable("mcp.commands.command", argument))?;
    let variables = entry.members("env").map(|(name, value)| {
        let source = format!("mcp.commands.env.{}", named(COMMAND_FLAG, name)?);
        // An empty variable is how one that every server sees is taken from this one.
        let value = match value.trim() {
            "" => value.to_string(),
            // A server that runs keeps what it was started with.
            _ => lookup.references.lasting(&source, value)?,
        };
        passable(&source, &value)?;
        Ok((name.to_string(), Secret::new(value)))
    });
    let working_dir = entry.get("working_dir");
    passable("mcp.commands.working_dir", working_dir.unwrap_or_default())?;
    let own = entry.all("pass_env");
    let own = own.map(|name| passed(lookup, "mcp.commands.pass_env", named(COMMAND_FLAG, name)?));
    Ok(StdioServer {
        argv,
        environment: variables.collect::<Result<_, String>>()?,
        pass: own.chain(pass.iter().cloned().map(Ok)).collect::<Result<_, _>>()?,
        working_dir: working_dir.map(Into::into),
    })
}

/// Refuses the variable that our own key is in: with the key a server could answer in our place. What the
/// setting says is a reference to a variable or, of a file, what it led to; so a variable is the key's
/// by its name or by what it holds.
fn passed(lookup: &Lookup, flag: &str, name: String) -> Result<String, String> {
    let key = lookup.read(KEY_FLAG, |found| Ok(found.text().trim().to_string())).ok().flatten();
    let is_referred_to = |key: &str| reference::split(key) == Some(("env", name.as_str()));
    let value = lookup.references.environment.filled(&name).map(str::trim);
    let holds_key = key.is_some_and(|key| is_referred_to(&key) || value == Some(key.as_str()));
    if holds_key || ROWS.iter().any(|row| row.flag == KEY_FLAG && row.env.contains(&name.as_str())) {
        return Err(format!("{flag}: {name} is for the control plane's key, which no server gets"));
    }
    Ok(name)
}

/// The system ends texts at a NUL, so a program cannot be given one. Seen only at its start, it
/// would be a server that never comes up and does not say why.
fn passable(key: &str, text: &str) -> Result<(), String> {
    if text.contains('\0') { Err(format!("{key} must not contain a NUL character")) } else { Ok(()) }
}

/// The server of an entry, with what it refers to. Its own certificate wins over the one for all.
fn http_server(
    lookup: &Lookup,
    found: &Found,
    entry: &Entry,
    default_identity: Option<&Identity>,
) -> Result<HttpServer, String> {
    let channel = entry.channel()?;
    let url = lookup.value(found, entry, "url")?;
    // Nothing is proxied to a socket of this host; whoever sets both expects something else.
    if entry.get("unix_socket").is_some() && entry.get("http_proxy").is_some() {
        return Err(format!(
            "mcp config: unix-socket cannot be combined with http-proxy for channel {:?}",
            channel.as_str()
        ));
    }
    let mut server = HttpServer::at(&url).map_err(|what| format!("invalid {SERVER_FLAG}: {what}"))?;
    // Unlike the URL, the other keys take references from anywhere.
    let references = &lookup.references;
    let path = |key: &str| {
        let source = format!("{SERVER_FLAG} {}", key.replace('_', "-"));
        entry.get(key).map(|text| references.path(&source, text)).transpose()
    };
    server.unix_socket = path("unix_socket")?;
    server.identity = match (path("client_cert")?, path("client_key")?) {
        (Some(certificate), Some(key)) => Some(Identity { certificate, key }),
        _ => default_identity.cloned(),
    };
    if let Some(text) = entry.get("http_proxy") {
        let source = format!("{SERVER_FLAG} http-proxy");
        server.proxy = Some(proxy::explicit(references, &source, SERVER_FLAG, text)?);
    }
    Ok(server)
}

/// Binds a channel to one server: with two, which of them a command reached would be chance.
fn bind(bindings: &mut Vec<Binding>, found: &Found, entry: &Entry, server: Server) -> Result<(), String> {
    let (flag, channel) = (found.row.flag, entry.channel()?);
    // Refused before there is such a server here, so that no profile has to change when it comes.
    if channel.as_str() == RESERVED_CHANNEL {
        return Err(format!("mcp config: {flag} channel {RESERVED_CHANNEL:?} is reserved"));
    }
    let Some(present) = bindings.iter().find(|binding| binding.channel == channel) else {
        bindings.push(Binding { channel, server });
        return Ok(());
    };
    let kind = match present.server {
        Server::Http(_) => "http-streamable",
        Server::Stdio(_) => "stdio",
    };
    let channel = channel.as_str();
    Err(format!("mcp config: duplicate channel {channel:?} from {flag} ({kind} already configured)"))
}

#[cfg(test)]
mod tests {
    use super::super::{Environment, Flags, Request, Settings};
    use super::*;

    /// Loads a profile with a command entry of these further lines.
    fn stdio(name: &str, lines: &[&str]) -> Result<StdioServer, String> {
        let directory = std::env::temp_dir();
        let path = directory.join(format!("tunnel-client-mcp-{}-{name}.yaml", std::process::id()));
        let lines: String = lines.iter().map(|line| format!("      {line}\n")).collect();
        std::fs::write(&path, format!("mcp:\n  commands:\n    - channel: main\n{lines}")).unwrap();
        let Ok(Request::Run(flags)) = Flags::parse(&["--config", path.to_str().unwrap()]) else { panic!() };
        let environment = Environment::of([
            ("CONTROL_PLANE_TUNNEL_ID", "tunnel_abcdefghijklmnopqrstuvwxyz012345"),
            ("CONTROL_PLANE_API_KEY", "sk-runtime_1"),
            ("COPY", "sk-runtime_1"),
        ]);
        let settings = Settings::load(&flags, &environment).map_err(|error| error.to_string())?;
        match settings.mcp.bindings.into_iter().next().map(|binding| binding.server) {
            Some(Server::Stdio(server)) => Ok(server),
            _ => Err("no stdio server".into()),
        }
    }

    #[test]
    fn a_variable_can_be_emptied() {
        let server = stdio("empty", &["command: x", "env: {HOME: '', B: b}"]).unwrap();
        let environment = server.environment.iter().map(|(name, value)| (name.as_str(), value.expose()));
        assert_eq!(environment.collect::<Vec<_>>(), [("HOME", ""), ("B", "b")]);
    }

    #[test]
    fn a_nul_is_refused_by_its_key() {
        for (name, line, key) in [
            ("nul-env", "env: {A: \"hid\\0den\"}", "mcp.commands.env.A"),
            ("nul-dir", "working_dir: \"/hid\\0den\"", "mcp.commands.working_dir"),
            ("nul-argv", "", "mcp.commands.command"),
        ] {
            let command = if line.is_empty() { "command: \"x hid\\0den\"" } else { "command: x" };
            let error = stdio(name, &[command, line]).unwrap_err();
            assert!(error.ends_with(&format!("{key} must not contain a NUL character")), "{error}");
            assert!(error.contains("line 2") && !error.contains("hid"), "{error}");
        }
    }

    #[test]
    fn no_server_gets_our_key() {
        for (name, variable) in
            [("own", "CONTROL_PLANE_API_KEY"), ("other", "OPENAI_API_KEY"), ("copy", "COPY")]
        {
            let error = stdio(name, &["command: x", &format!("pass_env: [A, {variable}]")]).unwrap_err();
            let expected = format!("{variable} is for the control plane's key, which no server gets");
            assert!(error.ends_with(&expected) && !error.contains("sk-"), "{error}");
        }
        let all = |names: &str| {
            let entry = ["command: x".to_owned(), format!("pass_env: [B]\n  pass_env: {names}")];
            stdio("all", &[&entry[0], &entry[1]])
        };
        assert_eq!(all("[A, HOME]").unwrap().pass, ["B", "A", "HOME"]);
        assert!(
            all("[OPENAI_API_KEY]").unwrap_err().contains("mcp.pass-env: OPENAI_API_KEY is for the control")
        );
        assert!(all("['A=1']").unwrap_err().contains("mcp.pass-env: \"A=1\" is no variable name"));
        assert_eq!(stdio("fine", &["command: x", "pass_env: [A, HOME]"]).unwrap().pass, ["A", "HOME"]);
    }

    #[test]
    fn no_server_gets_a_key_that_is_referred_to() {
        let path = std::env::temp_dir().join(format!("tunnel-client-mcp-{}-key.yaml", std::process::id()));
        let entry = "mcp:\n  commands:\n    - command: x\n      pass_env: [MY_KEY]\n";
        let load = |arguments: &[&str]| {
            let config = ["--config", path.to_str().unwrap()];
            let Ok(Request::Run(flags)) = Flags::parse(&[&config, arguments].concat()) else { panic!() };
            let tunnel = ("CONTROL_PLANE_TUNNEL_ID", "tunnel_abcdefghijklmnopqrstuvwxyz012345");
            let environment = Environment::of([tunnel, ("MY_KEY", "sk-runtime_1")]);
            Settings::load(&flags, &environment).unwrap_err().to_string()
        };
        std::fs::write(&path, entry).unwrap();
        assert!(load(&["--control-plane.api-key", "env:MY_KEY"]).contains("MY_KEY is for the control"));
        std::fs::write(&path, format!("control_plane:\n  api_key: env:MY_KEY\n{entry}")).unwrap();
        assert!(load(&[]).contains("MY_KEY is for the control"));
    }
}
