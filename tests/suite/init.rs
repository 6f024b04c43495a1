//! `init`: what it writes, what it refuses, and that a tunnel runs with what it wrote.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

use crate::support::certs::Authority;
use crate::support::client::{API_KEY, Builder, Client};
use crate::support::command::Command;
use crate::support::mcp::Mcp;
use crate::support::plane::{Plane, TUNNEL};
use crate::support::proxy::{Manner, Proxy};
use crate::support::short::Home;
use crate::support::stdio::Journal;

const URL: &str = "http://127.0.0.1:3000/mcp";

/// `init` with what it always needs, and these.
fn init<'a>(arguments: &[&'a str]) -> Vec<&'a str> {
    [&["init", "--tunnel-id", TUNNEL], arguments].concat()
}

/// A tunnel that runs with a profile of this home.
fn run(home: &Home, name: &str, adjust: impl FnOnce(Builder) -> Builder) -> Client {
    let directory = home.path(".config/tunnel-client");
    adjust(Builder::bare("run").flag("profile", name).flag("profile-dir", &directory)).start()
}

/// Relays one call and returns the answer's code.
fn relay(plane: &Plane, method: &str) -> u64 {
    let command = Command::method(method, "1");
    plane.queue(&command);
    plane.wait_answer(&command).code()
}

fn mode(path: &std::path::Path) -> u32 {
    fs::symlink_metadata(path).unwrap().permissions().mode() & 0o777
}

/// The first profile is private, named in the output, and its next two commands are the last lines.
#[test]
fn the_first_profile_is_private_and_the_next_commands_are_the_last_lines() {
    let home = Home::new();
    let text = home.output(&init(&["--mcp-server-url", URL]));
    let path = home.join(".config/tunnel-client/sample_mcp_with_dcr.yaml");
    let start =
        format!("Created profile sample_mcp_with_dcr at {}\nSample: sample_mcp_with_dcr\n", path.display());
    assert!(text.starts_with(&start), "{text}");
    assert!(text.contains("\n  Tunnels management: https://platform.openai.com/"), "{text}");
    assert!(text.contains("\nConnector runtime note:\n  "), "{text}");
    assert!(text.contains("\n  export CONTROL_PLANE_API_KEY=...\nNext:\n"), "{text}");
    assert!(text.ends_with(
        "\nNext:\n  tunnel-client doctor --profile sample_mcp_with_dcr --explain\n  tunnel-client run --profile sample_mcp_with_dcr\n"
    ));
    assert_eq!((mode(&path), mode(path.parent().unwrap())), (0o600, 0o700));
    assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
}

/// What is set need not be exported; a directory that was named is named again, as a shell takes it.
#[test]
fn the_next_commands_work_as_they_are_pasted() {
    let home = Home::new().env("MY_KEY", "sk-hidden");
    let directory = home.path("it's mine");
    let arguments =
        ["--profile", "a.b", "--profile-dir", &directory, "--control-plane-api-key-ref", "env:MY_KEY"];
    let text = home.output(&init(&[&arguments[..], &["--mcp-server-url", URL]].concat()));
    assert!(!text.contains("export") && !text.contains("sk-hidden"), "{text}");
    let quoted = directory.replace('\'', r"'\''");
    assert!(
        text.ends_with(&format!("\n  tunnel-client run --profile a.b --profile-dir '{quoted}'\n")),
        "{text}"
    );
    let line = text.lines().last().unwrap().replace("tunnel-client run", "printf '%s\\n'");
    let output = std::process::Command::new("sh").args(["-c", &line]).output().unwrap();
    assert_eq!(
        String::from_utf8(output.stdout).unwrap(),
        format!("--profile\na.b\n--profile-dir\n{directory}\n")
    );
}

/// A name that is taken stays as it is, unless its owner insists; a link in its place is never followed.
#[test]
fn nothing_is_overwritten_without_force_and_no_link_is_followed() {
    let home = Home::new();
    home.output(&init(&["--profile", "p", "--mcp-server-url", URL]));
    let path = home.join(".config/tunnel-client/p.yaml");
    let before = fs::read_to_string(&path).unwrap();
    let other = ["--profile", "p", "--mcp-server-url", "http://127.0.0.1:4000/other"];
    let taken = "profile \"p\" already exists; pass --force to replace it";
    assert_eq!(home.refusal(&init(&other)), taken);
    assert_eq!(fs::read_to_string(&path).unwrap(), before);
    let inode = fs::metadata(&path).unwrap().ino();
    home.output(&init(&[&other[..], &["--force"]].concat()));
    assert!(fs::read_to_string(&path).unwrap().contains("4000/other"));
    assert_ne!(fs::metadata(&path).unwrap().ino(), inode);

    let victim = home.write("victim", "untouched");
    for target in [victim.as_str(), "/proc/nonexistent/dangling"] {
        fs::remove_file(&path).unwrap();
        symlink(target, &path).unwrap();
        assert_eq!(home.refusal(&init(&other)), taken);
        home.output(&init(&[&other[..], &["--force"]].concat()));
        assert!(fs::symlink_metadata(&path).unwrap().is_file() && mode(&path) == 0o600);
        assert_eq!(fs::read_to_string(&victim).unwrap(), "untouched");
    }
    assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
}

/// A place that cannot be written to is named.
#[test]
fn a_directory_that_cannot_be_used_is_named() {
    let home = Home::new();
    let file = home.write("file", "");
    let error = home.refusal(&init(&["--profile-dir", &file, "--mcp-server-url", URL]));
    assert_eq!(error, format!("create profile directory {file}: file exists"));
    let below = format!("{file}/below");
    let error = home.refusal(&init(&["--profile-dir", &below, "--mcp-server-url", URL]));
    assert_eq!(error, format!("create profile directory {below}: not a directory"));
    // Root may write anywhere, except where the kernel lets nobody.
    let error = home.refusal(&init(&["--profile-dir", "/proc/self", "--mcp-server-url", URL]));
    assert!(error.starts_with("write profile /proc/self/sample_mcp_with_dcr.yaml: "), "{error}");
}

/// Without a tunnel id a newcomer is told where one comes from; nothing is asked.
#[test]
fn a_missing_tunnel_id_is_explained() {
    let home = Home::new();
    for arguments in [&["init"][..], &["init", "--mcp-server-url", URL, "--profile", "../x"]] {
        let error = home.refusal(arguments);
        assert!(
            error.starts_with("tunnel ID is required.\n  Tunnels management: https://platform."),
            "{error}"
        );
        assert!(error.contains("--tunnel-id tunnel_"), "{error}");
    }
    assert!(!home.join(".config").exists());
}

/// Every refusal says what is wrong, repeats no key, and leaves nothing behind.
#[test]
fn refusals_are_sentences_and_write_nothing() {
    let home = Home::new();
    let url = ["--mcp-server-url", URL];
    let with = |first: &[&'static str], second: &[&'static str]| [first, second].concat();
    for (arguments, expected) in [
        (
            with(&url, &["--health-listen-addr", "8080"]),
            "invalid health listen address \"8080\": expected host:port",
        ),
        (
            with(&url, &["--control-plane-url-path", "v1"]),
            "invalid control plane URL path \"v1\": must start with '/'",
        ),
        (
            with(&url, &["--control-plane-base-url", "api"]),
            "invalid control-plane.base-url: must include scheme and host",
        ),
        (
            with(&url, &["--tunnel-id", "a/b"]),
            "invalid tunnel ID \"a/b\": must be safe for use as a URL path parameter",
        ),
        (
            with(&url, &["--tunnel-id", "tunnel_x"]),
            "invalid tunnel ID \"tunnel_x\": must match tunnel_<32 lowercase letters or digits>, or tunnel_<4>_<32> with a namespace",
        ),
        (
            vec!["--mcp-server-url", "h:1"],
            "invalid --mcp-server-url \"h:1\": must include scheme and host; for example http://127.0.0.1:3000/mcp",
        ),
        (
            vec!["--mcp-server-url", "http://u:hidden@h/"],
            "invalid --mcp-server-url \"http://[redacted]@h/\": credentials would be written to the profile; pass the URL as env:NAME or file:PATH; for example http://127.0.0.1:3000/mcp",
        ),
        (vec!["--mcp-command", "'"], "invalid mcp.command: unterminated quoted string"),
        (
            vec!["--mcp-command", "no-such-server-here"],
            "mcp-command preflight failed: no-such-server-here: not found in PATH: install it, or write its whole path; no shell is run, so commands of a shell need sh -c '...'",
        ),
        (
            vec!["--mcp-command", "/proc/nonexistent/server.sh"],
            "mcp-command preflight failed: /proc/nonexistent/server.sh: No such file or directory (os error 2)",
        ),
        (
            with(&url, &["--profile", "../x"]),
            "invalid profile name \"../x\": path separators are not allowed",
        ),
        (with(&url, &["--profile", ""]), "profile name is required"),
        (with(&url, &["stray"]), "unexpected argument: write every value as --flag=value"),
    ] {
        let error = home.refusal(&init(&arguments));
        assert_eq!(error, expected, "{arguments:?}");
        assert!(!error.contains("hidden"), "{error}");
    }
    assert!(!home.join(".config").exists());
}

/// A sample says which server it needs.
#[test]
fn samples_demand_their_server() {
    let home = Home::new();
    let either = "requires exactly one of --mcp-server-url or --mcp-command";
    let (url, command) = (["--mcp-server-url", URL], ["--mcp-command", "true"]);
    let with = |first: &[&'static str], second: &[&'static str]| [first, second].concat();
    let sample = |name| ["--sample", name];
    for (arguments, expected) in [
        (vec![], format!("sample_mcp_with_dcr {either}")),
        (with(&url, &command), format!("sample_mcp_with_dcr {either}")),
        (sample("sample_mcp_enterprise_proxy").to_vec(), format!("sample_mcp_enterprise_proxy {either}")),
        (
            with(&url, &sample("sample_mcp_stdio_local")),
            "sample_mcp_stdio_local requires --mcp-command".into(),
        ),
        (
            with(&command, &sample("sample_mcp_remote_no_auth")),
            "sample_mcp_remote_no_auth requires --mcp-server-url".into(),
        ),
        (
            with(&url, &sample("sample_mcp_stdio_lokal")),
            "unknown sample \"sample_mcp_stdio_lokal\"; run `tunnel-client profiles samples list` (did you mean sample_mcp_stdio_local?)".into(),
        ),
    ] {
        assert_eq!(home.refusal(&init(&arguments)), expected, "{arguments:?}");
    }
    assert!(!home.join(".config").exists());
}

/// A key is named and never given; one that was given all the same is not repeated.
#[test]
fn a_key_is_refused_and_not_repeated() {
    let home = Home::new();
    for text in ["sk-hidden", "", "env:sk-hidden", "env:", "file:"] {
        let error = home.refusal(&init(&["--mcp-server-url", URL, "--control-plane-api-key-ref", text]));
        let why = "use env:VARNAME or file:/path/to/key";
        assert_eq!(error, format!("invalid control plane API key reference: {why}"));
    }
    assert!(!home.join(".config").exists());
}

/// That a browser be opened is written into the profile, which is served: nothing is opened.
#[test]
fn a_profile_that_asks_for_a_browser_is_served() {
    let home = Home::new();
    let said = home.run(&init(&["--open-web-ui", "--mcp-server-url", URL, "--profile", "p"]));
    assert_eq!(said.code, Some(0));
    let plane = Plane::start();
    let client = run(&home, "p", |b| {
        b.flag("control-plane.base-url", &plane.server.origin()).flag("health.listen-addr", "127.0.0.1:0")
    });
    plane.wait_polls(1);
    drop(client);
}

/// A tunnel runs with every sample that takes a URL.
#[test]
fn profiles_for_a_url_relay_calls() {
    let (plane, mcp) = (Plane::start(), Mcp::start());
    for sample in ["sample_mcp_with_dcr", "sample_mcp_remote_no_auth"] {
        let home = Home::new();
        let (origin, url) = (plane.server.origin(), mcp.url());
        let options = ["--control-plane-base-url", &origin, "--mcp-server-url", &url, "--sample", sample];
        let further = [
            "--control-plane-url-path",
            "/gate way",
            "--health-listen-addr",
            "127.0.0.1:0",
            "--profile",
            sample,
        ];
        let error = home.refusal(&init(&[&options[..], &further].concat()));
        assert!(error.contains("must be percent-encoded"), "{error}");
        home.output(&init(&[&options[..], &further[2..]].concat()));
        let client = run(&home, sample, |builder| builder);
        assert_eq!(relay(&plane, "ping"), 200);
        drop(client);
    }
}

/// A tunnel starts the server of the stdio sample, whatever its command is made of.
#[test]
fn a_profile_for_a_command_relays_calls() {
    let plane = Plane::start();
    let home = Home::new();
    let journal = Journal::new(home.path("a \"journal\" # with: traps"));
    let server = crate::support::stdio::program();
    let command = format!("{server} plain '{}'", journal.path());
    let origin = plane.server.origin();
    let key = home.write("key", &format!("{API_KEY}\n"));
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
    let reference = format!("file:{key}");
    let text = home.output(&init(&[
        "--control-plane-base-url",
        &origin,
        "--mcp-command",
        &command,
        "--health-listen-addr",
        "127.0.0.1:0",
        "--control-plane-api-key-ref",
        &reference,
    ]));
    assert!(text.contains("\nSample: sample_mcp_stdio_local\n") && !text.contains("export"), "{text}");
    let client = run(&home, "sample_mcp_with_dcr", |b| b.without_env("CONTROL_PLANE_API_KEY"));
    assert_eq!(relay(&plane, "echo"), 200);
    assert_eq!(journal.of("echo").len(), 1);
    drop(client);
    journal.wait_gone();
}

/// The enterprise sample takes proxy and trust from its variables and says which they are. A server on this host is
/// reached past the proxy.
#[test]
fn the_enterprise_profile_uses_its_variables() {
    let authority = Authority::new("Company Root");
    let proxy = Proxy::start(None, Manner::Open);
    let plane = Plane::start_with(Some(authority.server()));
    let mcp = Mcp::start_with(Some(authority.server()));
    let home = Home::new();
    let (origin, url) = (plane.server.origin(), mcp.url());
    let text = home.output(&init(&[
        "--sample",
        "sample_mcp_enterprise_proxy",
        "--control-plane-base-url",
        &origin,
        "--mcp-server-url",
        &url,
        "--health-listen-addr",
        "127.0.0.1:0",
        "--profile",
        "e",
    ]));
    for name in ["CONTROL_PLANE_API_KEY", "ENTERPRISE_CA_BUNDLE", "HTTPS_PROXY"] {
        assert!(text.contains(&format!("\n  export {name}=...\n")), "{text}");
    }
    let client = run(&home, "e", |builder| {
        builder.env("ENTERPRISE_CA_BUNDLE", &authority.bundle()).env("HTTPS_PROXY", &proxy.url())
    });
    assert_eq!(relay(&plane, "ping"), 200);
    let wanted = format!("127.0.0.1:{}", plane.server.port());
    let targets = proxy.targets();
    assert!(!targets.is_empty() && targets.iter().all(|target| *target == wanted), "{targets:?}");
    drop(client);
}
