//! Table of every setting.
//!
//! A row drives flag parsing, the environment, the YAML keys, `run --help`, and the tests that
//! compare documents with the program. What a value means is decided by the file that validates
//! its section; nothing else may hold a default or a name of its own.
//!
//! A new setting is a row here, a sentence in `settings.txt`, a field of [`super::Settings`] with its reading, its consumer,
//! and an item of the manual pages. The compiler asks for the field, and a test for each of the others: every live row
//! has a sentence and is read by some section, every reading names a row, and the pages list what the table lists.

use super::row::{CAGE, DEV, HARPOON, HARPOON_PAGE, PAGE, key, new, required};
pub use super::row::{Feature, Key, Kind, Least, Row, Shape, Status};

use Kind::{Boolean, Duration, Entries, Headers, Integer, List, Path, Proxy, Secret, Text};
use Least::{AboveZero, Zero};
use Status::{Absent, Never};

/// No body is larger than the budget, so less would be no service; 1 TiB stands for "no bound".
const BUDGET: Kind = Integer { min: 1 << 20, max: 1 << 40 };
/// In a variable entries stand on lines, because URLs may hold any other separator.
const SERVERS: Kind = Entries {
    separators: &['\n'],
    keys: &[
        key("channel", Shape::Text),
        key("unix_socket", Shape::Place),
        key("http_proxy", Shape::Place),
        key("client_cert", Shape::Place),
        key("client_key", Shape::Place),
        required("url", Shape::Value),
    ],
};
/// A command may well hold `;`.
const COMMANDS: Kind = Entries {
    separators: &['\n'],
    keys: &[
        key("channel", Shape::Text),
        key("working_dir", Shape::Text),
        key("env", Shape::Map),
        key("pass_env", Shape::List),
        required("command", Shape::Command),
    ],
};
/// Targets have always been separated by semicolons too.
const TARGETS: Kind = Entries {
    separators: &[';', '\n'],
    keys: &[
        required("label", Shape::Text),
        key("url", Shape::Value),
        key("template", Shape::Tree),
        key("unix_socket", Shape::Place),
        key("description", Shape::Text),
        key("methods", Shape::Restriction),
        key("headers", Shape::Map),
        key("max_request_bytes", Shape::Text),
        key("allowed_networks", Shape::Restriction),
    ],
};
/// Lists of one text an item, which never hold a semicolon.
const LINES: Kind = List(&[';', '\n']);

/// The setting of the control plane's key, which every section treats as a secret of its own.
pub(crate) const KEY_FLAG: &str = "control-plane.api-key";

/// The setting that names the tunnel.
pub(crate) const TUNNEL_ID_FLAG: &str = "control-plane.tunnel-id";

/// All settings, section by section.
// Two lines a setting read better than nine.
#[rustfmt::skip]
pub const ROWS: &[Row] = &[
    new("config", &["TUNNEL_CLIENT_CONFIG"], "", Text, "path", ""),
    new("profile", &["TUNNEL_CLIENT_PROFILE"], "", Text, "name", ""),
    new("profile-file", &["TUNNEL_CLIENT_PROFILE_FILE"], "", Text, "path", ""),
    new("profile-dir", &["TUNNEL_CLIENT_PROFILE_DIR"], "", Text, "directory", ""),

    new("ca-bundle", &["CA_BUNDLE"], "ca_bundle", Path, "path", ""),
    new("tls.roots", &["TUNNEL_CLIENT_TLS_ROOTS"], "tls.roots", Text, "system|webpki|none", ""),
    new("tls.require-fips", &["TUNNEL_CLIENT_TLS_REQUIRE_FIPS"], "tls.require_fips", Boolean, "", "false"),
    new("http-proxy", &["TUNNEL_CLIENT_HTTP_PROXY"], "http_proxy", Proxy, "url", ""),

    new("control-plane.base-url", &["CONTROL_PLANE_BASE_URL"], "control_plane.base_url", Text, "url", "https://api.openai.com").alias("control-plane-base-url").reference(),
    new("control-plane.url-path", &["CONTROL_PLANE_URL_PATH"], "control_plane.url_path", Text, "path", "").alias("control-plane-url-path").reference(),
    new("control-plane.allow-plaintext-http", &["CONTROL_PLANE_ALLOW_PLAINTEXT_HTTP"], "control_plane.allow_plaintext_http", Boolean, "", "false"),
    new("control-plane.tunnel-id", &["CONTROL_PLANE_TUNNEL_ID"], "control_plane.tunnel_id", Text, "id", "").alias("control-plane-tunnel-id").empty_counts(),
    new("control-plane.organization-id", &["CONTROL_PLANE_ORGANIZATION_ID"], "control_plane.organization_id", Text, "id", "").alias("control-plane-organization-id"),
    new("control-plane.api-key", &["CONTROL_PLANE_API_KEY", "OPENAI_API_KEY"], "control_plane.api_key", Secret, "reference", "").alias("control-plane-api-key").empty_counts(),
    new("control-plane.client-cert", &["CONTROL_PLANE_CLIENT_CERT"], "control_plane.client_cert", Path, "path", "").alias("control-plane-client-cert"),
    new("control-plane.client-key", &["CONTROL_PLANE_CLIENT_KEY"], "control_plane.client_key", Path, "path", "").alias("control-plane-client-key"),
    new("control-plane.http-proxy", &["CONTROL_PLANE_HTTP_PROXY"], "control_plane.http_proxy", Proxy, "url", ""),
    new("control-plane.max-inflight", &["CONTROL_PLANE_MAX_INFLIGHT_REQUESTS"], "control_plane.max_inflight_requests", Integer { min: 1, max: 10_000 }, "number", "20").empty_counts(),
    new("control-plane.poll-timeout", &["CONTROL_PLANE_POLL_TIMEOUT"], "control_plane.poll_timeout", Duration(AboveZero), "duration", "30s"),
    new("control-plane.poll-deadline-guardrail", &["CONTROL_PLANE_POLL_DEADLINE_GUARDRAIL"], "control_plane.poll_deadline_guardrail", Duration(AboveZero), "duration", "5s"),
    new("control-plane.initial-poll-timeout", &["CONTROL_PLANE_INITIAL_POLL_TIMEOUT"], "", Duration(AboveZero), "duration", "30s"),
    new("control-plane.response-timing", &["CONTROL_PLANE_RESPONSE_TIMING"], "control_plane.response_timing", Boolean, "", "false"),
    new("control-plane.poll-channel", &["CONTROL_PLANE_POLL_CHANNELS"], "control_plane.poll_channels", List(&[',']), "channel", "").empty_counts(),
    new("control-plane.extra-headers", &["CONTROL_PLANE_EXTRA_HEADERS"], "control_plane.extra_headers", Headers, "header", ""),

    new("log.level", &["LOG_LEVEL"], "log.level", Text, "debug|info|warn|error", "info"),
    new("log.format", &["LOG_FORMAT"], "log.format", Text, "struct-text|json", ""),
    new("log.file", &["LOG_FILE"], "log.file", Text, "path", ""),
    new("log.http-raw-unsafe", &["LOG_HTTP_RAW_UNSAFE"], "log.http_raw_unsafe", Boolean, "", "false"),

    new("health.listen-addr", &["HEALTH_LISTEN_ADDR"], "health.listen_addr", Text, "address", "127.0.0.1:8080").alias("health-listen-addr").reference(),
    new("health.unix-socket", &["HEALTH_UNIX_SOCKET"], "health.unix_socket", Text, "path", "").alias("health-unix-socket").reference(),
    new("health.url-file", &["HEALTH_URL_FILE"], "health.url_file", Text, "path", "").alias("health-url-file"),
    new("health.show-details", &["HEALTH_SHOW_DETAILS"], "health.show_details", Boolean, "", "false").alias("health-show-details"),
    new("pid.file", &["PID_FILE"], "process.pid_file", Text, "path", ""),
    new("process.drain-timeout", &["PROCESS_DRAIN_TIMEOUT"], "process.drain_timeout", Duration(AboveZero), "duration", "15s"),
    new("process.cage", &["PROCESS_CAGE"], "process.cage", Text, "auto|require|off", "auto").feature(CAGE),

    new("mcp.server-url", &["MCP_SERVER_URL"], "mcp.server_urls", SERVERS, "entry", "").alias("mcp-server-url"),
    new("mcp.command", &["MCP_COMMAND"], "mcp.commands", COMMANDS, "entry", "").alias("mcp-command"),
    new("mcp.http-proxy", &["MCP_HTTP_PROXY"], "mcp.http_proxy", Proxy, "url", ""),
    new("mcp.client-cert", &["MCP_CLIENT_CERT"], "mcp.client_cert", Path, "path", ""),
    new("mcp.client-key", &["MCP_CLIENT_KEY"], "mcp.client_key", Path, "path", ""),
    new("mcp.extra-headers", &["MCP_EXTRA_HEADERS"], "mcp.extra_headers", Headers, "header", "").alias("mcp-extra-headers"),
    new("mcp.discovery-extra-headers", &["MCP_DISCOVERY_EXTRA_HEADERS"], "mcp.discovery_extra_headers", Headers, "header", "").alias("mcp-discovery-extra-headers"),
    new("mcp.forward-headers", &["MCP_FORWARD_HEADERS"], "mcp.forward_headers", List(&[',', ';', '\n']), "name", ""),
    new("mcp.oauth-trusted-origin", &["MCP_OAUTH_TRUSTED_ORIGINS"], "mcp.oauth_trusted_origins", LINES, "origin", "").feature(HARPOON),
    new("mcp.forward-trace-context", &["MCP_FORWARD_TRACE_CONTEXT"], "mcp.forward_trace_context", Boolean, "", "false"),
    new("mcp.stdio-send-initialized-notification", &["MCP_STDIO_SEND_INITIALIZED_NOTIFICATION"], "mcp.stdio_send_initialized_notification", Boolean, "", "false"),
    new("mcp.startup-wait-timeout", &["MCP_STARTUP_WAIT_TIMEOUT"], "mcp.startup_wait_timeout", Duration(Zero), "duration", "0s"),
    new("mcp.connection-max-ttl", &["MCP_CONNECTION_MAX_TTL"], "mcp.connection_max_ttl", Duration(AboveZero), "duration", "10m"),
    new("mcp.stdio-silence", &["MCP_STDIO_SILENCE"], "mcp.stdio_silence", Duration(AboveZero), "duration", "60s"),
    new("mcp.pass-env", &["MCP_PASS_ENV"], "mcp.pass_env", List(&[',']), "name", ""),
    new("mcp.max-concurrent-requests", &["MCP_MAX_CONCURRENT_REQUESTS"], "mcp.max_concurrent_requests", Integer { min: 1, max: 128 }, "number", "10"),
    new("mcp.body-budget-bytes", &["MCP_BODY_BUDGET_BYTES"], "mcp.body_budget_bytes", BUDGET, "bytes", "134217728"),

    new("proxy.check-interval", &["PROXY_CHECK_INTERVAL"], "proxy.check_interval", Duration(AboveZero), "duration", "60s").empty_counts(),

    new("harpoon.target", &["HARPOON_TARGETS"], "harpoon.targets", TARGETS, "entry", "").feature(HARPOON),
    new("harpoon.allow-plaintext-http", &["HARPOON_ALLOW_PLAINTEXT_HTTP"], "harpoon.allow_plaintext_http", Boolean, "", "false").feature(HARPOON),
    new("harpoon.max-response-bytes", &["HARPOON_MAX_RESPONSE_BYTES"], "harpoon.max_response_bytes", Integer { min: 1, max: 102_400 }, "bytes", "102400").feature(HARPOON),
    new("harpoon.max-redirects", &["HARPOON_MAX_REDIRECTS"], "harpoon.max_redirects", Integer { min: 0, max: 5 }, "number", "5").feature(HARPOON),
    new("harpoon.http-proxy", &["HARPOON_HTTP_PROXY"], "harpoon.http_proxy", Proxy, "url", "").feature(HARPOON),
    new("harpoon.additional-transport", &["HARPOON_ADDITIONAL_TRANSPORTS"], "harpoon.additional_transports", LINES, "transport", "").feature(HARPOON),
    new("harpoon.transport-token", &["HARPOON_TRANSPORT_TOKEN"], "harpoon.transport_token", Secret, "reference", "").feature(HARPOON),
    new("harpoon.hosts-include-suffix", &["HARPOON_HOSTS_INCLUDE_SUFFIX"], "harpoon.hosts_include_suffix", LINES, "suffix", "").feature(HARPOON),
    new("harpoon.hosts-include-regex", &["HARPOON_HOSTS_INCLUDE_REGEX"], "harpoon.hosts_include_regex", LINES, "regex", "").feature(HARPOON),
    new("harpoon.hosts-include-loopback", &["HARPOON_HOSTS_INCLUDE_LOOPBACK"], "harpoon.hosts_include_loopback", Boolean, "", "true").feature(HARPOON),
    new("harpoon.hosts-include-private", &["HARPOON_HOSTS_INCLUDE_PRIVATE"], "harpoon.hosts_include_private", Boolean, "", "true").feature(HARPOON),
    new("harpoon.capture-payloads", &["HARPOON_CAPTURE_PAYLOADS"], "harpoon.capture_payloads", Boolean, "", "false").feature(HARPOON_PAGE),

    new("allow-remote-ui", &["ALLOW_REMOTE_UI"], "admin_ui.allow_remote", Boolean, "", "false").feature(PAGE),
    new("admin-ui.token", &["ADMIN_UI_TOKEN"], "admin_ui.token", Secret, "reference", "").feature(PAGE),
    new("admin-ui.allowed-host", &["ADMIN_UI_ALLOWED_HOSTS"], "admin_ui.allowed_hosts", List(&[',']), "host", "").feature(PAGE),
    new("open-web-ui", &["OPEN_WEB_UI"], "admin_ui.open_browser", Boolean, "", "false").feature(PAGE),
    new("admin-ui.log-buffer-events", &["ADMIN_UI_LOG_BUFFER_EVENTS"], "admin_ui.log_buffer_events", Integer { min: 1, max: 100_000 }, "number", "2000").status(Absent).empty_counts(),
    new("embedded-mcp-stub", &[], "", Boolean, "", "false").feature(DEV),
    new("embedded-stateless-mcp-stub", &[], "", Boolean, "", "false").feature(DEV),
    new("embedded-mcp-listen-addr", &[], "", Text, "address", "127.0.0.1:0").feature(DEV),
    new("embedded-mcp-unix-socket", &[], "", Text, "path", "").feature(DEV),
    new("embedded-mcp-server-name", &[], "", Text, "name", "mcp-stub").feature(DEV),
    new("embedded-mcp-server-version", &[], "", Text, "version", "0.1.0").feature(DEV),

    new("cloudflared.token", &["CLOUDFLARED_TUNNEL_TOKEN"], "cloudflared.token", Secret, "reference", "").status(Never),
    new("cloudflared.managed", &["CLOUDFLARED_MANAGED"], "cloudflared.managed", Boolean, "", "").status(Never),
    new("cloudflared.path", &["CLOUDFLARED_PATH"], "cloudflared.path", Text, "path", "").status(Never),
    new("cloudflared.ready-timeout", &["CLOUDFLARED_READY_TIMEOUT"], "cloudflared.ready_timeout", Duration(AboveZero), "duration", "").status(Never),
];

/// Sections that only a file can hold, each read by its own file as one structure.
pub const TREES: &[Row] =
    &[new("policy", &[], "policy", Kind::Tree, "", ""), new("audit", &[], "audit", Kind::Tree, "", "")];

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn no_name_appears_twice() {
        let mut seen = BTreeSet::new();
        for row in ROWS {
            assert!(seen.insert(row.flag), "{}", row.flag);
            for name in row.env.iter().chain([&row.yaml, &row.alias]).filter(|name| !name.is_empty()) {
                // A top-level YAML key may well be spelled like its flag.
                assert!(*name == row.flag || seen.insert(name), "{name}");
            }
        }
    }

    #[test]
    fn every_value_has_a_placeholder_and_every_live_row_a_help_text() {
        for row in ROWS {
            assert_eq!(row.placeholder.is_empty(), row.kind == Boolean, "{}", row.flag);
            let help = row.help();
            assert_eq!(help.is_empty(), row.status != Status::Live, "{}", row.flag);
            assert!(!help.ends_with('.'), "{}", row.flag);
        }
    }
}
