//! `doctor`: what it says of set-ups that work, of settings that do not, and in which form.

mod endpoints;
mod oauth;
mod peers;
mod plane;
mod policy;
mod stdio;

use serde_json::Value;

use crate::support::client::{API_KEY, Builder};
use crate::support::mcp::Mcp;
use crate::support::plane::{Plane, TUNNEL};
use crate::support::temp::TempDir;

/// `doctor` for this control plane, without a server.
fn doctor(base_url: &str) -> Builder {
    Builder::bare("doctor")
        .flag("control-plane.base-url", base_url)
        .argument("--control-plane.allow-plaintext-http")
        .flag("control-plane.tunnel-id", TUNNEL)
        .flag("health.listen-addr", "127.0.0.1:0")
}

/// A report as JSON, and the exit code.
struct Findings {
    code: Option<i32>,
    json: Value,
}

impl Findings {
    fn of(builder: Builder) -> Findings {
        let (code, output) = builder.argument("--json").finish();
        let json = serde_json::from_str(&output).unwrap_or_else(|error| panic!("{error}: {output}"));
        Findings { code, json }
    }

    fn ids(&self) -> Vec<&str> {
        self.json["checks"].as_array().unwrap().iter().map(|c| c["id"].as_str().unwrap()).collect()
    }

    fn check(&self, id: &str) -> &Value {
        let checks = self.json["checks"].as_array().unwrap();
        checks.iter().find(|check| check["id"] == id).unwrap_or_else(|| panic!("no {id}: {}", self.json))
    }

    fn summary(&self, id: &str) -> &str {
        self.check(id)["summary"].as_str().unwrap()
    }

    fn status(&self, id: &str) -> &str {
        self.check(id)["status"].as_str().unwrap()
    }

    /// That these checks failed and no other, each with all that a person needs; the text of the first.
    fn assert_failed(&self, ids: &[&str]) -> String {
        assert_eq!(self.json["failed_checks"], serde_json::json!(ids), "{}", self.json);
        assert_eq!((self.code, self.json["result"].as_str()), (Some(2), Some("fail")));
        for id in ids {
            let check = self.check(id);
            let listed = |name: &str| check[name].as_array().is_some_and(|lines| !lines.is_empty());
            assert!(check["why"].is_string() && listed("evidence") && listed("next"), "{check}");
        }
        self.check(ids[0]).to_string()
    }

    fn assert_ok(&self) {
        assert_eq!((self.code, self.json["result"].as_str()), (Some(0), Some("ok")), "{}", self.json);
    }
}

/// All is well: every line has its form, and the command that comes next is named.
#[test]
fn a_good_set_up_passes() {
    let (plane, mcp) = (Plane::start(), Mcp::start());
    let (code, text) = doctor(&plane.server.origin()).flag("mcp.server-url", &mcp.url()).finish();
    assert_eq!(code, Some(0), "{text}");
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines[0], "CHECK config_source            PASS flags/environment only");
    assert!(lines.contains(&format!("CHECK tunnel_id                PASS {TUNNEL}").as_str()), "{text}");
    let next = lines.iter().position(|line| line.starts_with("NEXT   tunnel-client run ")).unwrap();
    assert_eq!((lines[next - 2], lines[next - 1], lines.len()), ("", "RESULT ok", next + 1));
    assert!(lines[next].contains(&format!("--mcp.server-url {}", mcp.url())), "{text}");
    assert!(!text.contains("FAIL") && !text.contains('\u{1b}'), "{text}");
    // Asked once for the metadata, never polled.
    let asked: Vec<String> = plane.server.requests().iter().map(|r| r.path().to_owned()).collect();
    assert_eq!(asked, [format!("/v1/tunnels/{TUNNEL}")]);
}

/// The JSON form: ids in their order, no member without content, the same with `--explain`.
#[test]
fn the_json_form_is_stable() {
    let (plane, mcp) = (Plane::start(), Mcp::start());
    let builder = || doctor(&plane.server.origin()).flag("mcp.server-url", &mcp.url());
    let found = Findings::of(builder());
    found.assert_ok();
    let expected = [
        "config_source",
        "profile_load",
        "tunnel_id",
        "control_plane_api_key",
        "control_plane_base_url",
        "tunnels_management_url",
        "runtime_api_keys_url",
        "admin_api_keys_url",
        "chatgpt_connector_settings_url",
        "mcp_target",
        "mcp_server_reachable",
        "oauth_metadata",
        "health_listener",
        "control_plane_route",
        "control_plane_metadata",
        "mcp_route",
        "mcp_handshake",
        "certificate_expiry",
        "tls_roots",
        "cryptography",
        "resolver",
        #[cfg(feature = "cage")]
        "cage",
    ];
    assert_eq!(found.ids(), expected);
    let members: Vec<&String> = found.json.as_object().unwrap().keys().collect();
    assert_eq!(members, ["checks", "next", "result"]);
    assert_eq!(found.summary("control_plane_api_key"), "env:CONTROL_PLANE_API_KEY");
    assert!(found.check("tunnel_id").get("why").is_none());
    let explained = Findings::of(builder().argument("--explain"));
    assert_eq!(explained.ids(), found.ids());
    let (_, output) = builder().argument("--json").finish();
    assert!(output.starts_with("{\n  \"result\": \"ok\",\n  \"next\": \"tunnel-client run "), "{output}");
}

/// `--explain` says of whatever did not pass why it matters, what was seen and what to do.
#[test]
fn failures_are_explained_on_request() {
    let mcp = Mcp::start();
    let builder = || doctor("http://nowhere.invalid").flag("mcp.server-url", &mcp.url());
    let (code, text) = builder().finish();
    assert_eq!(code, Some(2));
    assert!(
        text.ends_with("\nRESULT fail\nFAILED_CHECKS control_plane_metadata\nEXIT_CODE 2\n".trim_end()),
        "{text}"
    );
    let (_, text) = builder().argument("--explain").finish();
    let (_, explained) =
        text.split_once("\nCHECK control_plane_metadata   FAIL\nWhy this matters:\n  ").unwrap();
    assert!(explained.contains("\n\nEvidence:\n  - failure: dns"), "{text}");
    assert!(explained.contains("\n\nWhat to do next:\n  1. getent hosts nowhere.invalid\n  2. "), "{text}");
    assert!(explained.contains("the proxy resolves"), "{text}");
    assert!(!text.contains("CHECK tunnel_id   PASS"), "{text}");
    // What was left out needs no explanation, and has none.
    assert!(text.contains("CHECK certificate_expiry       SKIP") && !text.contains("   SKIP\n"), "{text}");
}

/// Without a key everything that does not hang on it is looked at all the same, and nobody is asked with an
/// empty one.
#[test]
fn a_missing_key_hides_nothing_else() {
    let (plane, mcp) = (Plane::start(), Mcp::start());
    let directory = TempDir::new();
    let yaml = "control_plane:\n  api_key: env:SURELY_ABSENT\n";
    let profile = directory.write("prod.yaml", yaml);
    let two = directory.write("two.key", "hidden-1\nhidden-2\n");
    let builder = || {
        let builder = doctor(&plane.server.origin()).flag("mcp.server-url", &mcp.url());
        builder.without_env("CONTROL_PLANE_API_KEY")
    };
    for (builder, why) in [
        (builder(), "control plane API key is required"),
        (builder().flag("profile-file", &profile), "environment variable \"SURELY_ABSENT\" is not set"),
        (builder().flag("control-plane.api-key", &format!("file:{two}")), "it has more than one line"),
    ] {
        let found = Findings::of(builder);
        found.assert_failed(&["control_plane_api_key"]);
        let said = found.summary("control_plane_api_key");
        assert!(said.contains(why) && said.matches("control_plane.api_key").count() < 2, "{said}");
        for id in ["mcp_server_reachable", "mcp_handshake", "health_listener", "control_plane_route"] {
            assert_eq!(found.status(id), "PASS", "{id}: {}", found.json);
        }
        assert_eq!(found.status("control_plane_metadata"), "SKIP");
        let said = found.summary("control_plane_metadata");
        assert!(said.starts_with("blocked by control_plane_api_key; connected to "), "{said}");
        assert!(!found.json.to_string().contains("hidden-"), "{}", found.json);
    }
    assert!(plane.server.requests().is_empty());
}

/// Where the control plane is, and whose word that was; what is not used of it is worth a warning.
#[test]
fn the_control_plane_has_a_giver() {
    let (plane, mcp) = (Plane::start(), Mcp::start());
    let directory = TempDir::new();
    let yaml = "control_plane:\n  base_url: https://elsewhere.invalid\n";
    let profile = directory.write("prod.yaml", yaml);
    let origin = plane.server.origin();
    let builder = doctor(&origin).without("control-plane.base-url").flag("profile-file", &profile);
    let builder = builder.flag("mcp.server-url", &mcp.url());
    let found = Findings::of(builder.env("CONTROL_PLANE_BASE_URL", &format!("{origin}/v1/")));
    found.assert_ok();
    assert_eq!(
        found.summary("control_plane_base_url"),
        format!(
            "{origin}, set by CONTROL_PLANE_BASE_URL, which wins over control_plane.base_url of the file"
        )
    );
    assert_eq!(
        found.summary("config_warnings"),
        "CONTROL_PLANE_BASE_URL: the path behind the host is not used; control-plane.url-path places one before /v1/"
    );
}

/// A profile that is not there: what there is, how to make it, and how to ask again for the same one.
#[test]
fn a_missing_profile_says_what_to_type() {
    let directory = TempDir::new();
    let folder = directory.path().to_str().unwrap();
    let found = Findings::of(Builder::bare("doctor").flag("profile", "prod").flag("profile-dir", folder));
    let text = found.assert_failed(&["profile_load"]);
    for words in [
        "tunnel-client profiles list",
        "tunnel-client init --profile prod",
        &format!("then ask again: tunnel-client doctor --profile prod --profile-dir {folder}"),
    ] {
        assert!(text.contains(words), "no `{words}` in {text}");
    }
}

/// A listener for everybody is not shown as one of this host alone.
#[test]
fn an_open_listener_is_called_so() {
    let (plane, mcp) = (Plane::start(), Mcp::start());
    for address in ["0.0.0.0:0", "[::]:0", ":0"] {
        let builder = doctor(&plane.server.origin()).set("health.listen-addr", address);
        let found = Findings::of(builder.flag("mcp.server-url", &mcp.url()));
        let said = found.summary("health_listener");
        assert!(said.contains("all addresses of this host, port ") && !said.contains("localhost"), "{said}");
        assert!(said.contains("other machines may read health, readiness and metrics"), "{said}");
    }
}

/// The command that comes next names the same file.
#[test]
fn the_next_command_names_the_source() {
    let (plane, mcp) = (Plane::start(), Mcp::start());
    let directory = TempDir::new();
    let yaml = format!(
        "control_plane:\n  base_url: {}\n  tunnel_id: {TUNNEL}\nhealth:\n  listen_addr: 127.0.0.1:0\nmcp:\n  server_urls:\n    - url: {}\n",
        plane.server.origin(),
        mcp.url()
    );
    let path = directory.write("prod.yaml", yaml);
    let folder = directory.path().to_str().unwrap();
    for (flags, source) in [
        (format!("--config {path}"), path.clone()),
        (format!("--profile-file {path}"), format!("profile file: {path}")),
        (format!("--profile prod --profile-dir {folder}"), "profile: prod".to_owned()),
    ] {
        let builder = flags.split(' ').fold(Builder::bare("doctor"), Builder::argument);
        let found = Findings::of(builder);
        found.assert_ok();
        assert_eq!(found.json["next"], format!("tunnel-client run {flags}"));
        assert_eq!(found.summary("config_source"), source);
        assert_eq!(found.summary("profile_load"), path);
    }
}

/// The first mistake in the settings is a check of its own, under the name of what it is about.
#[test]
fn mistakes_in_settings_have_their_checks() {
    let yaml = |text: &str| doctor("http://127.0.0.1:1").yaml(text);
    let url = "http://127.0.0.1:1/mcp";
    let cases = [
        (Builder::bare("doctor"), "tunnel_id"),
        (doctor("http://127.0.0.1:1").set("control-plane.tunnel-id", "x"), "tunnel_id"),
        (doctor("ftp://h"), "control_plane_base_url"),
        (doctor("http://127.0.0.1:1"), "mcp_target"),
        (doctor("http://127.0.0.1:1").flag("mcp.server-url", "nonsense"), "mcp_target"),
        (yaml("mcp:\n  commands:\n    - command: \"'open\"\n"), "mcp_target"),
        (yaml("nonsense: 1\n"), "profile_load"),
        (doctor("http://127.0.0.1:1").flag("config", "/proc/nonexistent.yaml"), "profile_load"),
        (
            doctor("http://127.0.0.1:1").flag("mcp.server-url", url).flag("log.level", "loud"),
            "config_validation",
        ),
        (doctor("http://127.0.0.1:1").flag("config", "a").flag("profile", "b"), "config_source"),
    ];
    for (builder, id) in cases {
        let found = Findings::of(builder);
        found.assert_failed(&[id]);
        assert_eq!(found.ids().last(), Some(&"chatgpt_connector_settings_url"));
        assert_eq!(
            found.ids().iter().filter(|known| **known == "profile_load").count(),
            usize::from(id != "config_source")
        );
    }
}

/// What to do about a mistake is not taken for a secret.
#[test]
fn complaints_about_settings_are_whole() {
    let found = Findings::of(doctor("http://127.0.0.1:1").flag("control-plane.api-key", "sk-literal-key"));
    found.assert_failed(&["control_plane_api_key", "mcp_target"]);
    let said = found.summary("control_plane_api_key");
    assert!(said.ends_with(r#"value must be prefixed with "env:" or "file:""#), "{said}");
    assert!(!found.json.to_string().contains("sk-literal-key"), "{}", found.json);
}

/// A mistake of the command line is one, and no finding.
#[test]
fn unknown_flags_are_refused() {
    let (code, output) = Builder::bare("doctor").argument("--explian").finish();
    assert_eq!((code, output.as_str()), (Some(1), "unknown flag: --explian (did you mean --explain?)"));
    let (code, help) = Builder::bare("doctor").argument("--help").finish();
    assert_eq!(code, Some(0));
    for word in ["--explain", "--json", "--offline", "failed_checks", "SKIP", "tunnel-client run --help"] {
        assert!(help.contains(word), "{help}");
    }
}

/// Secrets are in no form of the report, whichever check quotes them.
#[test]
fn secrets_are_not_shown() {
    let (plane, mcp) = (Plane::start(), Mcp::start());
    plane.metadata(
        crate::support::reply::Reply::json(
            401,
            format!(r#"{{"error":{{"message":"bad \u001b[31m key {API_KEY}","code":"invalid_api_key"}}}}"#),
        )
        .off_contract(),
    );
    let builder = |form: &str| {
        doctor(&plane.server.origin())
            .flag("mcp.server-url", &format!("{}?key=query-secret-1", mcp.url()))
            .flag("mcp.extra-headers", "X-Auth: header-secret-2")
            .flag("mcp.http-proxy", "http://u:proxy-secret-3@127.0.0.1:1")
            .argument(form)
    };
    for form in ["--json", "--explain"] {
        let (code, text) = builder(form).finish();
        assert_eq!(code, Some(2), "{text}");
        for secret in [API_KEY, "query-secret-1", "header-secret-2", "proxy-secret-3", "\u{1b}"] {
            assert!(!text.contains(secret), "{secret}: {text}");
        }
        assert!(text.contains("[REDACTED]"), "{text}");
    }
    // The command that comes next repeats flags, but no secret among them.
    plane.metadata(crate::support::reply::Reply::json(200, format!(r#"{{"id":"{TUNNEL}"}}"#)).off_contract());
    let found = Findings::of(builder("--explain").without("mcp.http-proxy"));
    found.assert_ok();
    assert!(!found.json.to_string().contains("secret-"), "{}", found.json);
    // What is taken out of one value leaves the others as they were.
    let other = "Authorization: Bearer header-secret-4";
    let builder = builder("--explain").without("mcp.http-proxy").flag("mcp.discovery-extra-headers", other);
    let found = Findings::of(builder);
    let next = found.json["next"].as_str().unwrap();
    assert!(
        next.contains(" --mcp.discovery-extra-headers 'Authorization: [REDACTED]' --mcp.extra-"),
        "{next}"
    );
    assert!(next.contains(" --mcp.server-url 'http://127.0.0.1:") && !next.contains("secret-"), "{next}");
}
