//! The table of all settings of the reference, what README lists as refused, and profiles as the reference writes them.

use tunnel_client::settings::{ROWS, Status};

use super::{GENERAL, complaint, complaint_about, complaint_without, file};
use crate::support::client::Builder;
use crate::support::command::Command;
use crate::support::mcp::Mcp;
use crate::support::plane::{Plane, TUNNEL};
use crate::support::stdio;

/// The table of settings: flag, variable, key, value, value in YAML, flags that belong to it.
fn settings() -> Vec<[&'static str; 6]> {
    let text = include_str!("settings.txt").split_once("\n\n").unwrap().1;
    let columns = |line: &'static str| {
        let mut columns = line.split('|').map(str::trim);
        std::array::from_fn(|_| columns.next().unwrap_or_default())
    };
    text.lines().map(columns).collect()
}

/// NEW-038, NEW-039: every setting of the reference is accepted as a flag, as a variable and as a key.
#[test]
fn every_setting_is_accepted_in_every_form() {
    let mut refused = Vec::new();
    for (at, [flag, variable, key, value, yaml, with]) in settings().into_iter().enumerate() {
        if (flag.contains("harpoon") && cfg!(not(feature = "harpoon")))
            || (flag.contains("capture") && cfg!(not(feature = "page")))
        {
            continue;
        }
        let with: Vec<&str> = with.split_whitespace().collect();
        let given = format!("--{flag}={value}");
        let mut said = vec![complaint(&[&[given.as_str()], &with[..]].concat(), &[GENERAL])];
        if !variable.is_empty() {
            said.push(complaint(&with, &[GENERAL, (variable, value)]));
        }
        if !key.is_empty() {
            let yaml = if yaml.is_empty() { value } else { yaml };
            let text = match key.split_once('.') {
                Some((section, key)) => format!("{section}:\n  {key}: {yaml}\n"),
                None => format!("{key}: {yaml}\n"),
            };
            let path = file(&format!("{at}.yaml"), &text);
            // What the file gives must not be hidden by what every start is given.
            let without = ROWS.iter().find(|row| row.yaml == key).unwrap().env;
            said.push(complaint_without(without, &[&["--config", &path], &with[..]].concat()));
        }
        refused.extend(said.into_iter().flatten().map(|said| format!("{flag}: {said}")));
    }
    assert!(refused.is_empty(), "{}", refused.join("\n"));
    let text = "control_plane:\n  initial_poll_timeout: 5s\n";
    let expected = "line 2: unknown key \"control_plane.initial_poll_timeout\"";
    assert_eq!(complaint_about("no-key.yaml", text).as_deref(), Some(expected));
}

/// The table knows all settings that are not this program's own, and every older name.
#[test]
fn the_table_is_complete() {
    const OWN: [&str; 16] = [
        "config",
        "profile",
        "profile-file",
        "profile-dir",
        "tls.roots",
        "tls.require-fips",
        "control-plane.allow-plaintext-http",
        "control-plane.response-timing",
        "process.cage",
        "process.drain-timeout",
        "mcp.forward-headers",
        "mcp.stdio-silence",
        "mcp.pass-env",
        "mcp.body-budget-bytes",
        "admin-ui.token",
        "admin-ui.allowed-host",
    ];
    let own = |flag: &str| {
        OWN.contains(&flag) || flag.starts_with("embedded-") || flag == "harpoon.transport-token"
    };
    let settings = settings();
    for row in ROWS.iter().filter(|row| row.status != Status::Never && !own(row.flag)) {
        let found = settings.iter().find(|[flag, ..]| *flag == row.flag);
        let [_, variable, key, ..] = found.unwrap_or_else(|| panic!("{} is not in the table", row.flag));
        assert_eq!((row.env[0], row.yaml), (*variable, *key), "{}", row.flag);
        assert!(
            row.alias.is_empty() || settings.iter().any(|[flag, ..]| *flag == row.alias),
            "{}",
            row.alias
        );
    }
}

/// What the reference takes and this program refuses is what README lists, no less and no more.
#[test]
fn what_is_refused_is_listed() {
    let plain = "--control-plane.base-url=http://plane.example";
    let target = "--harpoon.target=label=a,url=https://u:p@h/";
    let transport = "--harpoon.additional-transport=http-streamable";
    let tag = file("tag.yaml", "log:\n  level: !!str info\n");
    let twice = file("twice.yaml", "log:\n  level: info\n  level: info\n");
    // The beginning of a row of README, and what is refused with the remedy that it names.
    let cases: [(&str, &[&str], &str); 10] = [
        ("a control plane over `http`", &[plain], "--control-plane.allow-plaintext-http"),
        ("`mcp.max_concurrent_requests` above", &["--mcp.max-concurrent-requests=129"], "128"),
        ("user and password in the URL", &[target], "header"),
        ("`harpoon.additional_transports` on", &[transport], "harpoon.transport-token"),
        ("`harpoon.capture_payloads` without", &["--harpoon.capture-payloads"], "health.unix-socket"),
        ("`allow-remote-ui` without", &["--allow-remote-ui"], "admin-ui.token"),
        ("YAML tags", &["--config", &tag], "line 2: tags are not supported"),
        ("YAML tags", &["--config", &twice], "line 3: duplicate key"),
        ("words that no flag takes", &["prod"], "--profile"),
        ("words that no flag takes", &["--log.http-raw-unsafe", "true"], "--flag=value"),
    ];
    let readme = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/README.md")).unwrap();
    let rows = readme.split("\n| what | here |\n| --- | --- |\n").nth(1).unwrap();
    for row in rows.lines().map_while(|line| line.strip_prefix("| ")) {
        assert!(cases.iter().any(|(begins, ..)| row.starts_with(begins)), "no case for {row}");
    }
    for (begins, arguments, remedy) in cases {
        let of_harpoon =
            arguments.iter().any(|argument| argument.contains("harpoon") || argument.contains("remote-ui"));
        if of_harpoon && cfg!(not(all(feature = "harpoon", feature = "page"))) {
            continue;
        }
        assert!(
            rows.contains(&format!("\n| {begins}")) || rows.starts_with(&format!("| {begins}")),
            "{begins}"
        );
        let said = complaint(arguments, &[]);
        assert!(said.as_ref().is_some_and(|said| said.contains(remedy)), "{arguments:?}: {said:?}");
    }
}

/// A profile as `init` of the reference writes it is served, over both kinds of server.
#[test]
fn a_profile_of_the_reference_is_served() {
    let profile = |plane: &str, server: &str, further: &str| {
        format!(
            "config_version: 1\ncontrol_plane:\n  base_url: \"{plane}\"\n  tunnel_id: \"{TUNNEL}\"\n  \
             api_key: \"env:CONTROL_PLANE_API_KEY\"\n{further}health:\n  # Port 0 is ephemeral.\n  \
             listen_addr: \"127.0.0.1:0\"\n  # url_file: \"/tmp/health.url\"\nadmin_ui:\n  open_browser: false\n\
             log:\n  level: info\n  format: json\nmcp:\n{server}"
        )
    };
    let served = |text: &dyn Fn(&str) -> String| {
        let plane = Plane::start();
        let builder = Builder::bare("run").yaml(&text(&plane.server.origin()));
        let client = builder.env("ENTERPRISE_CA_BUNDLE", "").start();
        let command = Command::rpc(r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#);
        plane.queue(&command);
        let answer = plane.wait_answer(&command);
        assert_eq!(answer.code(), 200, "{} {}", answer.request.text(), client.log());
    };
    let mcp = Mcp::start();
    let url = format!("  server_urls:\n    - channel: main\n      url: \"{}\"\n", mcp.url());
    served(&|plane| profile(plane, &url, "  url_path: \"\"\n"));
    let journal = file("journal", "");
    let command = format!("{} plain {journal}", stdio::program());
    let server = format!("  commands:\n    - channel: main\n      command: \"{command}\"\n");
    served(&|plane| profile(plane, &server, ""));
}
