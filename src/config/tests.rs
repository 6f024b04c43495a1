//! Whole loads: defaults, precedence, order of complaints, and what never shows.

use std::path::{Path, PathBuf};

use super::*;

const ID: &str = "tunnel_abcdefghijklmnopqrstuvwxyz012345";
const KEY: (&str, &str) = ("CONTROL_PLANE_API_KEY", "sk-runtime_1");
const TUNNEL: (&str, &str) = ("CONTROL_PLANE_TUNNEL_ID", ID);
const SERVER: (&str, &str) = ("MCP_SERVER_URL", "http://127.0.0.1:3000/mcp");

fn load<const N: usize>(arguments: &[&str], variables: [(&str, &str); N]) -> Result<Settings, Error> {
    let Request::Run(flags) = Flags::parse(arguments)? else { panic!("not a run") };
    Settings::load(&flags, &Environment::of(variables))
}

fn loaded<const N: usize>(arguments: &[&str], variables: [(&str, &str); N]) -> Settings {
    load(arguments, variables).unwrap()
}

fn refusal<const N: usize>(arguments: &[&str], variables: [(&str, &str); N]) -> String {
    load(arguments, variables).unwrap_err().to_string()
}

fn yaml(name: &str, text: &str) -> String {
    let path = std::env::temp_dir().join(format!("tunnel-client-load-{}-{name}.yaml", std::process::id()));
    std::fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_string()
}

#[test]
fn defaults_are_those_of_the_table() {
    let settings = loaded(&[], [TUNNEL, KEY, SERVER]);
    assert_eq!(settings.control_plane.origin.to_string(), "https://api.openai.com");
    assert_eq!(settings.control_plane.api_key.expose(), "sk-runtime_1");
    assert_eq!(settings.control_plane.api_key_label, "env:CONTROL_PLANE_API_KEY");
    assert_eq!(settings.control_plane.max_inflight, 20);
    assert_eq!(settings.control_plane.poll_timeout, Duration::from_secs(30));
    assert_eq!(settings.control_plane.poll_guardrail, Duration::from_secs(5));
    assert_eq!(settings.control_plane.initial_poll_timeout, Duration::from_secs(30));
    assert_eq!(settings.mcp.connection_max_ttl, Duration::from_secs(600));
    assert_eq!(settings.mcp.startup_wait, Duration::ZERO);
    assert_eq!(settings.mcp.max_concurrent_requests, 10);
    assert_eq!(settings.network.body_budget_bytes, 128 << 20);
    assert_eq!(settings.network.roots, Roots::Automatic);
    assert_eq!(settings.health.listen.address.to_string(), "127.0.0.1:8080");
    assert_eq!(settings.process.drain_timeout, Duration::from_secs(15));
    assert_eq!(settings.proxy_check_interval, Duration::from_secs(60));
    assert_eq!((settings.log.level, settings.log.format), (log::LevelFilter::Info, LogFormat::Unset));
    assert_eq!(settings.source, Source::default());
}

#[test]
fn flags_beat_variables_and_variables_beat_the_file() {
    let path = yaml(
        "precedence",
        "control_plane:\n  poll_timeout: 11s\n  max_inflight_requests: 7\n  extra_headers:\n    X-A: env:ABSENT\n",
    );
    let file = ["--config", path.as_str()];
    let header = ("CONTROL_PLANE_EXTRA_HEADERS", "X-B: b; X-C: c");
    let settings = loaded(&file, [TUNNEL, KEY, SERVER, header]);
    assert_eq!(settings.control_plane.poll_timeout, Duration::from_secs(11));
    assert_eq!(settings.control_plane.max_inflight, 7);
    // The list of the environment replaces the map, whose broken reference is then harmless.
    assert_eq!(settings.control_plane.extra_headers.len(), 2);
    let timeout = ("CONTROL_PLANE_POLL_TIMEOUT", "12s");
    let settings = loaded(&file, [TUNNEL, KEY, SERVER, header, timeout]);
    assert_eq!(settings.control_plane.poll_timeout, Duration::from_secs(12));
    let flags = ["--config", path.as_str(), "--control-plane.poll-timeout", "13s"];
    let settings = loaded(&flags, [TUNNEL, KEY, SERVER, header, timeout]);
    assert_eq!(settings.control_plane.poll_timeout, Duration::from_secs(13));
    // Set but empty hides the file.
    let settings = loaded(&file, [TUNNEL, KEY, SERVER, header, ("CONTROL_PLANE_POLL_TIMEOUT", "")]);
    assert_eq!(settings.control_plane.poll_timeout, Duration::from_secs(30));
    assert!(
        refusal(&file, [TUNNEL, KEY, SERVER])
            .ends_with("line 4: control_plane.extra_headers: invalid control-plane.extra-headers.X-A reference \"env:ABSENT\": environment variable \"ABSENT\" is not set")
    );
}

/// NEW-041
#[test]
fn switches_are_turned_off_by_who_comes_first() {
    let path = yaml("switch", "health:\n  show_details: true\n");
    let file = ["--config", path.as_str()];
    let shows = |arguments: &[&str], variable: &[(&'static str, &'static str)]| match variable {
        [variable] => loaded(arguments, [TUNNEL, KEY, SERVER, *variable]).health.show_details,
        _ => loaded(arguments, [TUNNEL, KEY, SERVER]).health.show_details,
    };
    assert!(shows(&file, &[]) && !shows(&[], &[]));
    assert!(!shows(&file, &[("HEALTH_SHOW_DETAILS", "false")]));
    assert!(!shows(&["--health.show-details=false"], &[("HEALTH_SHOW_DETAILS", "true")]));
    assert!(!shows(&["--health.show-details=false", "--config", &path], &[]));
}

/// NEW-042
#[test]
#[cfg(feature = "harpoon")]
fn a_list_of_origins_replaces_the_one_below() {
    let path = yaml("origins", "mcp:\n  oauth_trusted_origins: ['https://a', 'https://b']\n");
    let file = ["--config", path.as_str(), "--mcp.oauth-trusted-origin", "HTTPS://[2001:DB8:0::1]:0443/"];
    let names = |settings: Settings| -> Vec<String> {
        settings.mcp.oauth_trusted_origins.iter().map(ToString::to_string).collect()
    };
    assert_eq!(names(loaded(&file[..2], [TUNNEL, KEY, SERVER])), ["https://a", "https://b"]);
    let variable = ("MCP_OAUTH_TRUSTED_ORIGINS", "\n http://c:080 \n");
    assert_eq!(names(loaded(&file[..2], [TUNNEL, KEY, SERVER, variable])), ["http://c"]);
    assert_eq!(names(loaded(&file, [TUNNEL, KEY, SERVER, variable])), ["https://[2001:db8::1]"]);
}

#[test]
fn some_variables_must_not_be_empty() {
    assert!(
        refusal(&[], [("CONTROL_PLANE_TUNNEL_ID", ""), KEY, SERVER]).starts_with("tunnel ID is required")
    );
    assert!(
        refusal(&["--control-plane.tunnel-id", ""], [TUNNEL, KEY, SERVER])
            .starts_with("tunnel ID is required")
    );
    assert!(
        refusal(&[], [TUNNEL, ("CONTROL_PLANE_API_KEY", ""), ("OPENAI_API_KEY", "k"), SERVER])
            .contains("API key is required")
    );
    for (name, start) in [
        ("CONTROL_PLANE_MAX_INFLIGHT_REQUESTS", "invalid CONTROL_PLANE_MAX_INFLIGHT_REQUESTS: "),
        ("CONTROL_PLANE_POLL_CHANNELS", "control-plane.poll-channel contains an empty channel"),
        ("ADMIN_UI_LOG_BUFFER_EVENTS", "invalid ADMIN_UI_LOG_BUFFER_EVENTS: "),
        ("PROXY_CHECK_INTERVAL", "invalid PROXY_CHECK_INTERVAL: "),
    ] {
        let error = refusal(&[], [TUNNEL, KEY, SERVER, (name, "")]);
        assert!(error.starts_with(start), "{error}");
    }
    assert_eq!(
        refusal(&["--http-proxy", ""], [TUNNEL, KEY, SERVER]),
        "invalid http-proxy proxy: value is required"
    );
    loaded(&["--log.file", ""], [TUNNEL, KEY, SERVER, ("LOG_FILE", ""), ("HTTP_PROXY", "")]);
}

#[test]
fn the_key_of_a_profile_beats_the_general_key() {
    let path = yaml("key", "control_plane:\n  api_key: env:MINE\n");
    let settings =
        loaded(&["--config", &path], [TUNNEL, SERVER, ("OPENAI_API_KEY", "other"), ("MINE", "mine")]);
    assert_eq!(settings.control_plane.api_key.expose(), "mine");
    assert_eq!(settings.control_plane.api_key_label, "env:MINE");
    let settings = loaded(&[], [TUNNEL, SERVER, ("OPENAI_API_KEY", "other")]);
    assert_eq!(settings.control_plane.api_key_label, "env:OPENAI_API_KEY");
    let settings = loaded(&[], [TUNNEL, SERVER, ("CONTROL_PLANE_API_KEY", "env:MINE"), ("MINE", "mine")]);
    assert_eq!(settings.control_plane.api_key.expose(), "mine");
}

#[test]
fn plain_http_needs_loopback_or_a_switch() {
    let base = |url| ("CONTROL_PLANE_BASE_URL", url);
    for url in ["http://127.0.0.2:1/x?y", "http://[::1]", "http://localhost:80/"] {
        loaded(&[], [TUNNEL, KEY, SERVER, base(url)]);
    }
    let error = refusal(&[], [TUNNEL, KEY, SERVER, base("http://plane.example")]);
    assert!(
        error.starts_with("invalid control-plane.base-url: http would send the API key in plain text")
            && error.contains(
                "--control-plane.allow-plaintext-http (control_plane.allow_plaintext_http in YAML)"
            ),
        "{error}"
    );
    loaded(&["--control-plane.allow-plaintext-http"], [TUNNEL, KEY, SERVER, base("http://plane.example")]);
    let error = refusal(&[], [TUNNEL, KEY, SERVER, base("https://u:hidden@plane.example")]);
    assert_eq!(error, "invalid control-plane.base-url: must not contain credentials");
    assert_eq!(
        refusal(&[], [TUNNEL, KEY, SERVER, base("plane.example")]),
        "invalid control-plane.base-url: must include scheme and host"
    );
}

#[test]
fn a_client_certificate_moves_the_default_host_only() {
    let pair = ["--control-plane.client-cert", "c", "--control-plane.client-key", "file:k"];
    let settings =
        loaded(&pair, [TUNNEL, KEY, SERVER, ("CONTROL_PLANE_BASE_URL", "https://api.openai.com/")]);
    assert_eq!(settings.control_plane.origin.to_string(), "https://mtls.api.openai.com");
    assert_eq!(settings.control_plane.identity.unwrap().key, PathBuf::from("k"));
    let settings = loaded(&pair, [TUNNEL, KEY, SERVER, ("CONTROL_PLANE_BASE_URL", "https://plane.example")]);
    assert_eq!(settings.control_plane.origin.host, "plane.example");
    assert_eq!(
        refusal(&["--control-plane.client-cert", "c"], [TUNNEL, KEY, SERVER]),
        "invalid control-plane client certificate configuration: client key path is required when certificate path is set"
    );
}

#[test]
fn url_paths_are_normalised() {
    let path = |text| {
        load(&["--control-plane.url-path", text], [TUNNEL, KEY, SERVER]).map(|s| s.control_plane.url_path)
    };
    assert_eq!(path("/").unwrap(), "");
    assert_eq!(path("/a/b/").unwrap(), "/a/b");
    assert_eq!(path("a").unwrap_err().to_string(), "invalid control-plane.url-path: must start with '/'");
    for text in ["/a?b", "/a#b", "https://h/a", "//h/a"] {
        assert!(path(text).unwrap_err().to_string().ends_with("without scheme, host, query, or fragment"));
    }
}

#[test]
fn credentials_leave_the_text() {
    let server = (
        "MCP_SERVER_URL",
        "channel=main,url=https://user:hidd%65n@h:8443/mcp?q=1\nchannel=two,url=http://two/",
    );
    let settings = loaded(&["--http-proxy", "http://u:hidden@proxy"], [TUNNEL, KEY, server]);
    let Server::Http(http) = &settings.mcp.bindings[0].server else { panic!("http") };
    assert_eq!(http.url.to_string(), "https://h:8443/mcp?q=1");
    assert_eq!(http.credentials.as_ref().unwrap().expose(), "user:hidden");
    assert_eq!(settings.mcp.bindings.len(), 2);
    let shown = format!("{settings:?}");
    assert!(!shown.contains("hidden") && !shown.contains("sk-runtime"), "{shown}");
}

#[test]
fn a_misread_channel_shows_no_secret() {
    let refused = |flag, entry| refusal(&[flag, entry], [TUNNEL, KEY, ("MCP_SERVER_URL", "")]);
    assert_eq!(
        refused("--mcp.command", "command=serve --list a,channel=b --password hidden"),
        "invalid channel \"b...\""
    );
    assert_eq!(
        refused("--mcp.server-url", "url=https://u:p,channel=hidden@h"),
        "invalid channel \"[redacted]@h\""
    );
    assert_eq!(refused("--mcp.server-url", "channel=a b,url=http://h"), "invalid channel \"a b\"");
}

#[test]
fn the_listener_takes_names_addresses_and_nothing() {
    let listen = |text| load(&["--health.listen-addr", text], [TUNNEL, KEY, SERVER]).map(|s| s.health.listen);
    assert!(listen(":0").unwrap().address.ip().is_unspecified());
    assert_eq!(listen("[::1]:9").unwrap().host, "::1");
    assert!(listen("localhost:9").unwrap().address.ip().is_loopback());
    for text in ["8080", "h:x", "::1:80", "[::1:80"] {
        assert!(listen(text).unwrap_err().to_string().starts_with("invalid health.listen-addr "), "{text}");
    }
}

#[test]
fn features_that_are_not_here_must_be_off() {
    let off = yaml(
        "off",
        "harpoon:\n  targets: []\n  allow_plaintext_http: false\n  max_redirects: 3\nadmin_ui:\n  allow_remote: no\n  log_buffer_events: 50\n",
    );
    loaded(&["--config", &off], [TUNNEL, KEY, SERVER, ("OPEN_WEB_UI", "0")]);
    #[cfg(not(feature = "page"))]
    assert_eq!(
        refusal(&["--allow-remote-ui"], [TUNNEL, KEY, SERVER]),
        "allow-remote-ui is not available in this build, which has no page (feature page); remove it"
    );
    assert_eq!(
        refusal(&[], [TUNNEL, KEY, SERVER, ("CLOUDFLARED_TUNNEL_TOKEN", "")]),
        "CLOUDFLARED_TUNNEL_TOKEN is not supported"
    );
    assert_eq!(
        refusal(&["--cloudflared.managed"], [TUNNEL, KEY, SERVER]),
        "cloudflared.managed is not supported"
    );
}

#[test]
fn plain_http_leaves_the_machine_only_on_demand() {
    let plain = ("CONTROL_PLANE_BASE_URL", "http://127.0.0.1:1");
    loaded(&[], [TUNNEL, KEY, SERVER, plain]);
    for proxy in ["CONTROL_PLANE_HTTP_PROXY", "TUNNEL_CLIENT_HTTP_PROXY"] {
        let error = refusal(&[], [TUNNEL, KEY, SERVER, plain, (proxy, "http://proxy.example:1")]);
        assert!(error.starts_with("invalid control-plane.base-url: http through a proxy"), "{error}");
    }
    let proxy = ("CONTROL_PLANE_HTTP_PROXY", "http://proxy.example:1");
    loaded(&["--control-plane.allow-plaintext-http"], [TUNNEL, KEY, SERVER, plain, proxy]);
}

#[test]
fn a_file_that_others_may_write_is_not_read() {
    use std::os::unix::fs::PermissionsExt;
    let path = yaml("open", "log:\n  level: info\n");
    for mode in [0o666, 0o620] {
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        let error = refusal(&["--config", &path], [TUNNEL, KEY, SERVER]);
        assert!(error.ends_with("group or others may write to the file; run chmod go-w on it"), "{error}");
    }
}

#[test]
fn the_stub_is_there_where_it_was_built() {
    let stub = "--embedded-mcp-stub";
    #[cfg(feature = "dev")]
    {
        let settings = loaded(&[stub, "--embedded-mcp-listen-addr=:7"], [TUNNEL, KEY]);
        let stub = settings.mcp.stub.unwrap();
        assert_eq!((stub.listen.port(), stub.name.as_str(), stub.version.as_str()), (7, "mcp-stub", "0.1.0"));
        assert_eq!(settings.mcp.bindings.len(), 1);
        assert_eq!(settings.mcp.bindings[0].channel.as_str(), "main");
    }
    #[cfg(not(feature = "dev"))]
    assert_eq!(
        refusal(&[stub], [TUNNEL, KEY, SERVER]),
        "embedded-mcp-stub is not available in this build, which has no stub server (feature dev); remove it"
    );
    loaded(&["--embedded-mcp-stub=false"], [TUNNEL, KEY, SERVER]);
}

#[test]
fn the_first_mistake_wins() {
    let all = [
        ("CA_BUNDLE", "env:ABSENT"),
        ("TUNNEL_CLIENT_HTTP_PROXY", "x"),
        ("CONTROL_PLANE_TUNNEL_ID", "x"),
        ("MCP_COMMAND", "'"),
        ("LOG_LEVEL", "loud"),
    ];
    let expected = [
        "invalid ca-bundle reference",
        "invalid TUNNEL_CLIENT_HTTP_PROXY proxy: ",
        "invalid tunnel ID \"x\"",
        "invalid mcp.command: unterminated quoted string",
        "parse log level \"loud\"",
    ];
    let mended = [("CA_BUNDLE", "c"), ("TUNNEL_CLIENT_HTTP_PROXY", "http://p"), TUNNEL, ("MCP_COMMAND", "a")];
    let mut variables = [KEY, all[0], all[1], all[2], all[3], all[4]];
    for (step, expected) in expected.iter().enumerate() {
        let error = refusal(&["--log.format=json"], variables);
        assert!(error.starts_with(expected), "{error}");
        if let Some(mended) = mended.get(step) {
            variables[step + 1] = *mended;
        }
    }
}

#[test]
fn a_text_is_bounded_whatever_stands_in_it() {
    let error = refusal(&["--log.format=json"], [TUNNEL, KEY, SERVER, ("LOG_LEVEL", &"loud ".repeat(4096))]);
    assert!(error.starts_with("parse log level \"loud loud ") && error.ends_with("..."), "{error}");
    assert_eq!(error.len(), 4096);
}

/// A row that no section reads would be a setting that is accepted and ignored.
#[test]
fn every_live_row_is_read() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/config");
    let files = folder.read_dir().unwrap().map(|entry| entry.unwrap().path());
    let is_reader =
        |path: &PathBuf| path.is_file() && !path.ends_with("settings.rs") && !path.ends_with("tests.rs");
    let product = |path| {
        let text = std::fs::read_to_string(path).unwrap();
        text.split("#[cfg(test)]\nmod tests {").next().unwrap().to_owned()
    };
    let readers: String = files.filter(is_reader).map(product).collect();
    for row in settings::ROWS.iter().filter(|row| row.status == settings::Status::Live) {
        assert!(readers.contains(&format!("\"{}\"", row.flag)), "{}: no section reads it", row.flag);
    }
}
