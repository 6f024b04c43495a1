//! How stdio servers are started: what they are told, what they see, and what they never see.

use serde_json::{Value, json};

use crate::support::client::{API_KEY, Builder};
use crate::support::command::Command;
use crate::support::plane::Plane;
use crate::support::stdio::{Journal, Rig, call, initialize, program};
use crate::support::temp::TempDir;

fn facts(rig: &Rig) -> Value {
    rig.call("facts", "").payload()["result"].clone()
}

/// The YAML entry of a server for `main` in mode `plain`, with further lines.
fn entry(journal: &Journal, lines: &[&str]) -> String {
    let command = json!(journal.command("plain"));
    let lines: String = lines.iter().map(|line| format!("      {line}\n")).collect();
    format!("mcp:\n  commands:\n    - channel: main\n      command: {command}\n{lines}")
}

/// MCP-114, MCP-115: quotes and backslashes as in a shell, nothing else of a shell, empty arguments kept.
#[test]
fn commands_are_split_without_a_shell() {
    let rig = Rig::bound(|builder, journal| {
        let rest = r#"x'y'z "a \"b\"" '' "" $HOME `id` *.rs ; ~ a\ b > /dev/null"#;
        builder.flag("mcp.command", &format!("{} {rest}", journal.command("plain")))
    });
    let facts = facts(&rig);
    let wanted =
        json!(["xyz", "a \"b\"", "", "", "$HOME", "`id`", "*.rs", ";", "~", "a b", ">", "/dev/null"]);
    assert_eq!(facts["arguments"].as_array().unwrap()[3..], *wanted.as_array().unwrap());
}

/// MCP-116 as DESIGN has it: a server sees the public part of our environment, what its entry sets and names,
/// and nothing else; references are resolved for it.
#[test]
fn servers_see_only_what_is_named() {
    let rig = Rig::bound(|builder, journal| {
        let file = builder.path("token");
        std::fs::write(&file, "from a file\n").unwrap();
        let from_file =
            format!("env: {{GIVEN: plain, FROM_ENV: \"env:SOURCE\", FROM_FILE: \"file:{file}\"}}");
        let yaml = entry(journal, &[&from_file, "pass_env: [PASSED, ABSENT]"]);
        builder
            .yaml(&yaml)
            .env("HOME", "/proc/nonexistent")
            .env("LC_TEST", "x")
            .env("XDG_TEST", "y")
            .env("PASSED", "passed")
            .env("SOURCE", "from the environment")
            .env("OPENAI_ADMIN_KEY", "sk-admin-other")
            .env("OTHER_TOKEN", "t")
            .env("NOTIFY_SOCKET", "/proc/nonexistent/notify")
            .env("WATCHDOG_USEC", "60000000")
            .env("CREDENTIALS_DIRECTORY", "/proc/nonexistent/credentials")
    });
    let wanted = json!({
        "HOME": "/proc/nonexistent", "LC_TEST": "x", "XDG_TEST": "y", "PASSED": "passed", "GIVEN": "plain",
        "FROM_ENV": "from the environment", "FROM_FILE": "from a file",
    });
    assert_eq!(facts(&rig)["environment"], wanted);
}

/// The API key stands neither in the environment nor in the arguments of any process that we start.
#[test]
fn no_process_knows_the_key() {
    let rig = Rig::start("plain");
    rig.assert_alive();
    let processes = rig.journal.processes();
    assert_eq!(processes.len(), 2, "a server and its guard");
    for pid in processes {
        for file in ["environ", "cmdline"] {
            let content = std::fs::read(format!("/proc/{pid}/{file}")).unwrap();
            assert!(!String::from_utf8_lossy(&content).contains(API_KEY), "{file} of {pid}");
        }
    }
}

/// MCP-116: the working directory is ours unless one is named; no signal is blocked.
#[test]
fn servers_run_where_they_are_told() {
    let rig = Rig::start("plain");
    let facts_here = facts(&rig);
    let own = std::fs::canonicalize(rig.client.path("")).unwrap();
    assert_eq!(facts_here["directory"], own.to_str().unwrap());
    assert_eq!(facts_here["blocked"], "0000000000000000");
    let directory = TempDir::new();
    let named = std::fs::canonicalize(directory.path()).unwrap();
    let line = format!("working_dir: {}", named.display());
    let rig = Rig::bound(|builder, journal| builder.yaml(&entry(journal, &[&line])));
    assert_eq!(facts(&rig)["directory"], named.to_str().unwrap());
}

/// Servers and their guards are outside our process group, so that a terminal's signals reach us alone.
#[test]
fn servers_have_a_group_of_their_own() {
    let rig = Rig::start("plain");
    rig.assert_alive();
    let group = |pid: i32| {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
        stat.rsplit(')').next().unwrap().split_whitespace().nth(2).unwrap().parse::<i32>().unwrap()
    };
    let server = rig.server_pid();
    assert_eq!(group(server), server);
    assert_ne!(group(server), group(i32::try_from(rig.client.pid()).unwrap()));
}

/// Servers that start at the same time get their three pipes and nothing of each other.
#[test]
fn servers_inherit_three_descriptors() {
    let channels = ["c1", "c2", "c3", "c4", "c5", "c6", "c7", "c8"];
    let rig = Rig::with("plain", |builder| {
        channels.iter().fold(builder, |builder, channel| {
            let command = Journal::new(builder.path("journal")).command("plain");
            builder.flag("mcp.command", &format!("channel={channel},command={command}"))
        })
    });
    for channel in channels {
        assert_eq!(rig.send(&call("echo", "1", "").channel(channel)).code(), 200);
    }
    for start in rig.journal.of("(start)") {
        let descriptors = std::fs::read_dir(format!("/proc/{}/fd", start.pid)).unwrap().flatten();
        let mut numbers: Vec<String> =
            descriptors.map(|entry| entry.file_name().into_string().unwrap()).collect();
        numbers.sort();
        assert_eq!(numbers, ["0", "1", "2"]);
    }
}

/// MCP-118: what cannot be executed ends the start with status 1, before any poll.
#[test]
fn programs_that_cannot_be_executed_stop_the_start() {
    let directory = TempDir::new();
    let plain_file = directory.write("file", "no program");
    let folder = directory.path().to_str().unwrap().to_owned();
    for program in ["/proc/nonexistent/server", "no-such-program-anywhere", &plain_file, &folder] {
        let plane = Plane::start();
        let builder = Builder::without_server(&plane.server.origin()).env("PATH", "/usr/bin:/bin");
        let (code, log) = builder.flag("mcp.command", &format!("{program} argument")).finish();
        assert_eq!(code, Some(1), "{log}");
        assert!(log.lines().any(|line| line.starts_with("start tunnel-client: ")), "{log}");
        assert!(log.contains(program), "{log}");
        assert_eq!(plane.polls().len(), 0);
    }
}

/// MCP-118: a program that is there but is none (a script without an interpreter) ends the start too, and is named.
#[test]
fn broken_programs_are_named() {
    use std::os::unix::fs::PermissionsExt;
    let directory = TempDir::new();
    let script = directory.write("server", "#!/proc/nonexistent/interpreter\n");
    std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755)).unwrap();
    let plane = Plane::start();
    let builder = Builder::without_server(&plane.server.origin()).flag("mcp.command", &script);
    let (code, log) = builder.finish();
    assert_eq!(code, Some(1), "{log}");
    assert!(log.contains(&format!("{script}: the interpreter \"/proc/nonexistent/interpreter\"")), "{log}");
}

/// MCP-119, CP-009, NEW-009: every channel has a server of its own, started once; both are declared as bound to us.
#[test]
fn channels_have_servers_of_their_own() {
    let mut second = None;
    let rig = Rig::with("plain", |builder| {
        let journal = Journal::new(builder.path("second"));
        let entry = format!("channel=two,command={}", journal.command("plain"));
        second = Some(journal);
        builder.flag("mcp.command", &entry)
    });
    let second = second.unwrap();
    let poll = &rig.plane.wait_polls(1)[0];
    let info = r#"{"version":1,"channels":[{"name":"main","proc_affinity":true},{"name":"two","proc_affinity":true}]}"#;
    assert_eq!(poll.header("x-tunnel-mcp-server-info"), Some(info));
    for _ in 0..3 {
        rig.assert_alive();
        let answer = rig.send(&call("echo", "1", "").channel("two"));
        assert_eq!(answer.payload()["result"]["pid"], second.of("(start)")[0].pid);
    }
    assert_eq!((rig.journal.of("(start)").len(), second.of("(start)").len()), (1, 1));
    assert_eq!((rig.journal.of("echo").len(), second.of("echo").len()), (3, 3));
}

/// MCP-140, REV-016: nothing is sent before the first command; we are ready at once, and no second child is there.
#[test]
fn nothing_is_sent_at_start() {
    let mut rig = Rig::start("plain");
    assert_eq!(rig.wait_ready(200), "ready");
    rig.plane.wait_polls(1);
    rig.journal.wait("(start)", 1);
    assert_eq!(rig.journal.notes().len(), 1);
    let answer = rig.send(&initialize("\"i\""));
    assert_eq!(answer.payload()["result"]["serverInfo"]["name"], "scripted");
    let notes = rig.journal.notes();
    assert_eq!(notes.len(), 2);
    assert_eq!(notes[1].json()["params"]["clientInfo"]["name"], "product");
}

/// NEW-053, NEW-055, NEW-059, MCP-120 as DESIGN has it: a caller whose session is older than we are gets the server opened for it, once.
#[test]
fn a_missing_handshake_is_made() {
    let rig = Rig::start("strict");
    rig.assert_alive();
    rig.assert_alive();
    let words: Vec<String> = rig.journal.notes().iter().map(|note| note.word()).collect();
    assert_eq!(words, ["(start)", "initialize", "notifications/initialized", "echo", "echo"]);
}

/// NEW-055, NEW-060: a child is told `initialized` before the next command that its callers send, whoever sends it; one more
/// is acknowledged and not written. The reference's setting for that is accepted, and the log says that it is so.
#[test]
fn a_child_is_told_initialized_once_and_in_time() {
    for (setting, next) in [(true, "echo"), (false, "ping"), (false, "notifications/initialized")] {
        let flag = format!("--mcp.stdio-send-initialized-notification={setting}");
        let rig = Rig::with("plain", |b| b.argument(&flag));
        assert_eq!(rig.send(&initialize("0")).code(), 200);
        let command = match next {
            "notifications/initialized" => Command::notification(next),
            _ => call(next, "1", ""),
        };
        assert_eq!(rig.send(&command).code(), 200);
        let confirms = rig.send(&Command::notification("notifications/initialized"));
        assert_eq!((confirms.kind(), confirms.code()), ("notify_ack", 200));
        rig.assert_alive();
        let words: Vec<String> = rig.journal.notes().iter().map(|note| note.word()).collect();
        let mut expected = vec!["(start)", "initialize", "notifications/initialized"];
        expected.extend([next, "echo"].iter().filter(|word| **word != "notifications/initialized"));
        assert_eq!(words, expected);
        let told = rig.client.log().matches("send-initialized-notification changes nothing").count();
        assert_eq!(told, usize::from(setting));
    }
}

/// NEW-063: two instances of a tunnel would each have a child, and no session in common.
#[test]
fn the_log_says_that_a_child_belongs_to_one_instance() {
    let rig = Rig::start("plain");
    rig.client.wait_log(|line| line.contains("run one instance of this tunnel"));
    let rig = crate::support::rig::Rig::start();
    rig.assert_alive();
    assert!(!rig.client.log().contains("one instance"));
}

/// A server that refuses a second handshake is not asked for one: everybody gets the first one's answer.
#[test]
fn one_handshake_serves_all() {
    let rig = Rig::start("strict");
    let first = rig.open();
    for id in ["7", "\"seven\""] {
        let answer = rig.send(&initialize(id));
        assert_eq!(answer.payload()["result"], first.payload()["result"]);
        assert_eq!(answer.payload()["id"].to_string(), id);
        assert_eq!(rig.send(&Command::notification("notifications/initialized")).code(), 200);
        rig.assert_alive();
    }
    assert_eq!(rig.journal.of("initialize").len(), 1);
    assert_eq!(rig.journal.of("notifications/initialized").len(), 1);
}

/// The scripted server is where plain `cargo test` puts it.
#[test]
fn the_scripted_server_is_built() {
    assert!(program().ends_with("/examples/stdio-server"));
}

/// The guard is our own program: nothing that is set for its server applies to it, or stands in its arguments.
#[test]
fn guards_do_not_get_the_environment_of_servers() {
    let rig = Rig::with("plain", |builder| {
        let builder = builder.flag("mcp.pass-env", "MARK,LD_PRELOAD").env("MARK", "marked value");
        builder.env("LD_PRELOAD", "")
    });
    let facts = facts(&rig);
    assert_eq!(
        (&facts["environment"]["MARK"], &facts["environment"]["LD_PRELOAD"]),
        (&json!("marked value"), &json!(""))
    );
    let server = rig.server_pid();
    let guard = rig.journal.processes().into_iter().find(|pid| *pid != server).unwrap();
    assert_eq!(std::fs::read(format!("/proc/{guard}/environ")).unwrap(), b"");
    let arguments = std::fs::read(format!("/proc/{guard}/cmdline")).unwrap();
    assert!(!String::from_utf8_lossy(&arguments).contains("marked"));
}

/// A server that ends at once is told of with the names, and not the values, of what it did not get.
#[test]
fn withheld_variables_are_named() {
    let rig = Rig::with("down", |b| b.env("GITHUB_TOKEN", "hidden-value").env("LC_ALL", "C"));
    let line = rig.client.wait_log(|line| line.contains("mcp.pass-env"));
    assert!(line.contains("GITHUB_TOKEN") && !line.contains("LC_ALL"), "{line}");
    assert!(!line.contains("CONTROL_PLANE_API_KEY"), "{line}");
    rig.client.wait_log(|line| line.contains("\"deaths\":2"));
    let log = rig.client.log();
    assert!(
        log.lines().filter(|line| line.contains("mcp.pass-env")).count() == 1
            && !log.contains("hidden-value")
    );
}
