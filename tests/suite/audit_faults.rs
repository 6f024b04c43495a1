//! The audit record while it cannot be written: full and hanging disks, files and readers that vanish.

use std::io::Write;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use serde_json::Value;

use crate::audit::{audited, records, verify, wait_records};
use crate::support::BOUND;
use crate::support::client::Client;
use crate::support::command::Command;
use crate::support::reply::Reply;
use crate::support::rig::Rig;
use crate::support::temp::TempDir;

/// Bounds how large a file the client may write, as a full disk would.
fn limit_files(client: &Client, bytes: Option<u64>) {
    let soft = bytes.map_or("unlimited".to_owned(), |bytes| bytes.to_string());
    let pid = client.pid().to_string();
    let status = std::process::Command::new("prlimit")
        .args(["--pid", &pid, &format!("--fsize={soft}:unlimited")])
        .status();
    assert!(status.unwrap().success());
}

fn ping(rig: &Rig) -> (u64, Value) {
    let answer = rig.call(r#"{"jsonrpc":"2.0","id":"p","method":"ping"}"#);
    (answer.code(), answer.payload()["error"].clone())
}

/// Calls until one is answered with this status, and tells how many had another one.
fn ping_until(rig: &Rig, status: u64) -> u64 {
    let end = Instant::now() + BOUND;
    let mut others = 0;
    while ping(rig).0 != status {
        others += 1;
        assert!(Instant::now() < end, "no call was answered {status}");
        std::thread::sleep(Duration::from_millis(20));
    }
    others
}

/// The records that stand for commands, and how many commands the gaps stand for.
fn counted(file: &Path) -> (u64, u64) {
    let (gaps, own): (Vec<Value>, Vec<Value>) =
        records(file).into_iter().partition(|record| record["event"] == "gap");
    (u64::try_from(own.len()).unwrap(), gaps.iter().map(|gap| gap["refused"].as_u64().unwrap()).sum())
}

fn assert_whole(files: &[&Path]) {
    let files: Vec<&str> = files.iter().map(|file| file.to_str().unwrap()).collect();
    let (code, output) = verify(&files);
    assert_eq!(code, Some(0), "{output}");
}

/// With `refuse` nothing runs that cannot be recorded; it recovers by itself, and one line stands for what was refused.
#[test]
fn a_full_disk_refuses_commands_where_that_is_wanted() {
    let directory = TempDir::new();
    let file = directory.join("audit.jsonl");
    let mut rig = Rig::with(|b| audited(b, &file, "  on_error: refuse\n"));
    rig.assert_alive();
    wait_records(&file, 1);
    // In the middle of the next line.
    limit_files(&rig.client, Some(std::fs::metadata(&file).unwrap().len() + 100));
    let ran = ping_until(&rig, 503);
    let (status, error) = ping(&rig);
    assert_eq!((status, &error["code"]), (503, &(-32000).into()));
    assert_eq!(
        error["data"],
        serde_json::json!({"origin": "tunnel-client", "error_type": "audit_unavailable"})
    );
    let unready = rig.client.wait_get("/readyz", |answer| answer.status == 503);
    assert!(
        unready.body.contains("audit unavailable: ") && unready.body.contains("file too large"),
        "{unready:?}"
    );
    let part = rig.client.get("/health/audit").json();
    assert_eq!((&part["status"], &part["reason_code"]), (&"degraded".into(), &"audit_unavailable".into()));
    let before = rig.mcp.calls_of("ping").len();
    assert_eq!(rig.send(&Command::notification("notifications/initialized")).code(), 503);
    assert_eq!(ping(&rig).0, 503);
    assert_eq!(rig.mcp.calls_of("ping").len(), before, "what has no record does not run");
    limit_files(&rig.client, None);
    let refused = 2 + 2 + ping_until(&rig, 200);
    rig.client.wait_get("/readyz", |answer| answer.status == 200);
    let metrics = rig.client.get("/metrics").body;
    assert!(
        metrics.contains(&format!("tunnel_client_audit_records_total{{result=\"refused\"}} {refused}\n")),
        "{metrics}"
    );
    assert_eq!(rig.client.get("/health/audit").json()["state"], "written");
    assert!(rig.client.stop().success());
    let (own, gap) = counted(&file);
    assert_eq!((own, gap), (ran + 2, refused));
    assert_whole(&[&file]);
}

/// With `count` commands go on, and their records come when there is room again.
#[test]
fn a_full_disk_delays_records_otherwise() {
    let directory = TempDir::new();
    let file = directory.join("audit.jsonl");
    let mut rig = Rig::with(|b| audited(b, &file, ""));
    rig.assert_alive();
    wait_records(&file, 1);
    limit_files(&rig.client, Some(std::fs::metadata(&file).unwrap().len() + 100));
    (0..5).for_each(|_| rig.assert_alive());
    rig.client.wait_log(|line| line.contains("audit records cannot be written"));
    (0..5).for_each(|_| rig.assert_alive());
    rig.client.wait_get("/readyz", |answer| answer.status == 200);
    limit_files(&rig.client, None);
    wait_records(&file, 11);
    rig.client.wait_log(|line| line.contains("audit records are written again"));
    assert!(rig.client.stop().success());
    assert_eq!(counted(&file), (11, 0));
    assert_whole(&[&file]);
}

/// How many were refused is in the log at least, where no line can say it any more.
#[test]
fn a_gap_without_a_line_is_logged() {
    let directory = TempDir::new();
    let file = directory.join("audit.jsonl");
    let mut rig = Rig::with(|b| audited(b, &file, "  on_error: refuse\n"));
    rig.assert_alive();
    wait_records(&file, 1);
    limit_files(&rig.client, Some(std::fs::metadata(&file).unwrap().len()));
    ping_until(&rig, 503);
    assert_eq!(ping(&rig).0, 503);
    rig.client.stop();
    let log = rig.client.log();
    let told = |line: &str| line.contains("the audit record does not tell") && line.contains("\"refused\":2");
    assert!(log.lines().any(told), "{log}");
}

/// What cannot be written until the end is named by its id.
#[test]
fn records_that_are_lost_at_the_end_are_logged() {
    let directory = TempDir::new();
    let file = directory.join("audit.jsonl");
    let mut rig = Rig::with(|b| audited(b, &file, ""));
    rig.assert_alive();
    wait_records(&file, 1);
    limit_files(&rig.client, Some(std::fs::metadata(&file).unwrap().len()));
    let command = Command::method("ping", "1");
    rig.send(&command);
    rig.client.stop();
    let log = rig.client.log();
    let lost =
        |line: &str| line.contains("audit record lost") && line.contains(&format!("\"{}\"", command.id));
    assert!(log.lines().any(lost), "{log}");
    assert_eq!(counted(&file), (1, 0));
}

/// A file that somebody deletes with its directory takes no record; once there is a directory the chain goes on. From
/// inside the cage a new directory is another one, and needs a restart.
#[test]
fn a_vanished_directory_is_noticed() {
    let directory = TempDir::new();
    let (folder, file) = (directory.join("log"), directory.join("log/audit.jsonl"));
    std::fs::create_dir(&folder).unwrap();
    let mut rig = Rig::with(|b| audited(b, &file, "  on_error: refuse\n").flag("process.cage", "off"));
    rig.assert_alive();
    wait_records(&file, 1);
    let first = std::fs::read(&file).unwrap();
    std::fs::remove_dir_all(&folder).unwrap();
    ping_until(&rig, 503);
    std::fs::create_dir(&folder).unwrap();
    ping_until(&rig, 200);
    assert!(rig.client.stop().success());
    // Nothing is missing but what was deleted.
    let kept = directory.join("kept");
    std::fs::write(&kept, first).unwrap();
    assert_whole(&[&kept, &file]);
}

/// A write that hangs counts as a fault after its bound, and no call waits for it meanwhile.
#[test]
fn a_reader_that_stops_reading_is_a_fault_after_5_seconds() {
    let directory = TempDir::new();
    let pipe = directory.join("pipe");
    let log = directory.join("log");
    let mut rig = Rig::with(|b| {
        audited(b, Path::new("'-'"), "  on_error: refuse\n")
            .flag("log.file", log.to_str().unwrap())
            // Both ends, so that opening does not wait for a reader.
            .after(&format!("mkfifo {0} && exec 1<>{0};", pipe.display()))
    });
    rig.client.wait_get("/readyz", |answer| answer.status == 200);
    let began = Instant::now();
    ping_until(&rig, 503);
    assert!(began.elapsed() >= Duration::from_secs(5));
    let unready = rig.client.wait_get("/readyz", |answer| answer.status == 503);
    assert!(unready.body.contains("no progress for 5 s"), "{unready:?}");
    // Somebody reads: it goes on.
    let reader = std::fs::File::open(&pipe).unwrap();
    let reading = std::thread::spawn(move || std::io::copy(&mut { reader }, &mut std::io::sink()));
    ping_until(&rig, 200);
    rig.client.stop();
    reading.join().unwrap().unwrap();
}

/// Each record is a datagram; a reader that comes back gets those that it missed.
#[test]
fn a_socket_gets_a_record_a_datagram() {
    let directory = TempDir::new();
    let path = directory.join("socket");
    let receiver = UnixDatagram::bind(&path).unwrap();
    receiver.set_read_timeout(Some(BOUND)).unwrap();
    let take = |socket: &UnixDatagram| -> Value {
        let mut buffer = [0; 65_536];
        let count = socket.recv(&mut buffer).unwrap();
        assert!(buffer[..count].ends_with(b"}\n"));
        serde_json::from_slice(&buffer[..count]).unwrap()
    };
    let place = format!("unix:{}", path.display());
    let mut rig = Rig::with(|b| audited(b, Path::new(&place), ""));
    rig.assert_alive();
    assert_eq!(take(&receiver)["seq"], 1);
    drop(receiver);
    std::fs::remove_file(&path).unwrap();
    rig.assert_alive();
    rig.client.wait_log(|line| line.contains("audit records cannot be written"));
    rig.assert_alive();
    let receiver = UnixDatagram::bind(&path).unwrap();
    receiver.set_read_timeout(Some(BOUND)).unwrap();
    assert_eq!([take(&receiver), take(&receiver)].map(|record| record["seq"].clone()), [2, 3]);
    assert!(rig.client.stop().success());
}

/// Many calls while servers fail, files are rotated and the disk is full at times: one record each, in one chain.
#[test]
fn many_calls_under_faults_have_one_record_each() {
    let directory = TempDir::new();
    let file = directory.join("audit.jsonl");
    let mut rig = Rig::with(|b| {
        audited(b, &file, "").flag("control-plane.max-inflight", "200").set("log.level", "info")
    });
    rig.mcp.hook(|request| {
        let number = request.text().len() + request.text().bytes().map(usize::from).sum::<usize>();
        (number % 7 == 0).then(Reply::closed)
    });
    let (rounds, size) = (10, 300);
    let mut files = Vec::new();
    for round in 0..rounds {
        let commands: Vec<Command> =
            (0..size).map(|at| Command::method("tools/list", &(round * size + at).to_string())).collect();
        rig.plane.queue_all(&commands);
        match round % 3 {
            0 => limit_files(&rig.client, Some(60_000)),
            1 => limit_files(&rig.client, None),
            _ => {
                let old = directory.join(&format!("audit.{round}"));
                std::fs::rename(&file, &old).unwrap();
                rig.client.signal(Signal::SIGHUP);
                files.push(old);
            }
        }
        commands.iter().for_each(|command| drop(rig.plane.wait_answer(command)));
    }
    limit_files(&rig.client, None);
    rig.client.wait_log(|line| line.contains("audit records are written again"));
    assert!(rig.client.stop().success());
    files.push(file);
    let all: Vec<&Path> = files.iter().map(AsRef::as_ref).collect();
    assert_whole(&all);
    let ids: Vec<Value> = files
        .iter()
        .flat_map(|file| records(file))
        .filter(|r| r["event"] != "rotated")
        .map(|r| r["request_id"].clone())
        .collect();
    let mut distinct: Vec<String> = ids.iter().map(Value::to_string).collect();
    distinct.sort();
    distinct.dedup();
    assert_eq!((ids.len(), distinct.len()), (rounds * size, rounds * size));
}

/// A disk that is full for real, below the record and the log alike: commands go on, records come when there is room
/// again, and lines of the log are lost and counted.
#[test]
#[ignore = "needs a small file system of its own, which tests/harsh.sh makes"]
fn a_file_system_without_room_loses_no_command() {
    let disk = std::path::PathBuf::from(std::env::var("TUNNEL_CLIENT_SMALL_DISK").unwrap());
    let (file, log, filler) = (disk.join("audit.jsonl"), disk.join("log"), disk.join("filler"));
    let mut rig = Rig::with(|b| audited(b, &file, "").flag("log.file", log.to_str().unwrap()));
    rig.assert_alive();
    wait_records(&file, 1);
    let mut full = std::fs::File::create(&filler).unwrap();
    let error = std::iter::repeat_with(|| full.write_all(&[b' '; 512])).find_map(Result::err).unwrap();
    assert_eq!(error.kind(), std::io::ErrorKind::StorageFull);
    (0..100).for_each(|_| rig.assert_alive());
    rig.client.wait_get("/health/audit", |answer| answer.body.contains("audit_unavailable"));
    assert_eq!(rig.client.get("/readyz").status, 200, "the record alone is behind");
    std::fs::remove_file(&filler).unwrap();
    drop(full);
    wait_records(&file, 101);
    (0..5).for_each(|_| rig.assert_alive());
    assert!(rig.client.stop().success());
    assert_eq!(counted(&file), (106, 0));
    assert_whole(&[&file]);
    let text = std::fs::read_to_string(&log).unwrap();
    assert!(text.contains("log lines were lost"), "{text}");
}
