//! Runs in which every connection may be delayed, torn, reset or forgotten, and what they must leave behind.

mod check;
mod run;

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::support::certs::Authority;
use crate::support::plane::Posted;
use run::History;

/// Runs of plain `cargo test`.
const RUNS: u64 = 100;

/// Runs at once: they mostly wait.
const AT_ONCE: usize = 16;

/// The variable that names other runs, as `FIRST..END`.
const SEEDS: &str = "TUNNEL_CLIENT_FAULT_SEEDS";

/// Whatever happens on the way: a command that was taken has one record and one answer, its own, and what is lost
/// the log names.
#[test]
fn histories_hold() {
    let named = std::env::var(SEEDS).ok().map(|seeds| {
        let (first, end) = seeds.split_once("..").expect("FIRST..END");
        first.parse::<u64>().unwrap()..end.parse().unwrap()
    });
    let seeds = named.unwrap_or(1..1 + RUNS);
    println!("seeds {seeds:?}; {SEEDS}=FIRST..END names others");
    let (next, authority) = (AtomicU64::new(seeds.start), Authority::new("Histories"));
    let (faults, done) = (Mutex::new(Vec::new()), Mutex::new([0; 4]));
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::SeqCst);
                    if seed >= seeds.end {
                        return;
                    }
                    let history = run::run(seed, &authority, false);
                    faults.lock().unwrap().extend(described(&history));
                    let lost = history.log.iter().filter(|line| line.contains("failed to post response"));
                    let handed = history.handed.iter().map(|handed| handed.commands.len());
                    let counts = [
                        handed.sum(),
                        history.records.len(),
                        lost.count(),
                        history.done.len() + history.done_elsewhere,
                    ];
                    done.lock().unwrap().iter_mut().zip(counts).for_each(|(sum, count)| *sum += count);
                }
            });
        }
    });
    let [handed, taken, lost, done] = *done.lock().unwrap();
    println!("{handed} commands handed out, {taken} taken, {lost} answers lost and named, {done} faults");
    let faults = faults.into_inner().unwrap();
    assert!(faults.is_empty(), "{}", faults.join("\n\n"));
    assert!(taken > handed / 2, "most commands have to get through, and {taken} of {handed} did");
}

/// Makes a history wrong.
type Change<'a> = &'a dyn Fn(&mut History);

/// A history that was changed in one place does not hold.
#[test]
fn a_wrong_history_is_noticed() {
    let good = run::run(1, &Authority::new("Histories"), true);
    assert_eq!(check::faults(&good), Vec::<String>::new());
    let is_ok = |post: &Posted| post.code() == 200 && post.payload()["result"].is_object();
    let changes: [(&str, Change<'_>); 11] = [
        ("holds", &|history| {
            let answers: Vec<usize> =
                (0..history.posts.len()).filter(|at| is_ok(&history.posts[*at])).collect();
            let (one, other) = (answers[0], answers[1]);
            history.posts[one].request.body = history.posts[other].request.body.clone();
        }),
        ("another id", &|history| {
            let post = history.posts.iter_mut().find(|post| is_ok(post)).unwrap();
            post.json["resp_json"]["id"] = 77.into();
        }),
        ("token of another", &|history| history.posts[0].request.headers.clear()),
        ("a post for nobody", &|history| history.posts[0].json["request_id"] = "req_0".into()),
        ("records, and", &|history| drop(history.records.pop())),
        ("2 records", &|history| history.records.push(history.records[0].clone())),
        ("a record of nothing", &|history| history.records[0]["request_id"] = "req_0".into()),
        ("the record says 299", &|history| {
            let record = history.records.iter_mut().find(|record| record["status"] == 200);
            record.unwrap()["status"] = 299.into();
        }),
        ("nobody got", &|history| {
            let id = history.records[0]["request_id"].clone();
            history.posts.retain(|post| post.json["request_id"] != id);
        }),
        ("its server got it 2 times", &|history| {
            let call = history.called.iter().find(|text| text.contains("mark-")).unwrap().clone();
            history.called.push(call);
        }),
        ("another order", &|history| history.written.reverse()),
    ];
    for (wanted, change) in changes {
        let mut wrong = good.clone();
        change(&mut wrong);
        let faults = check::faults(&wrong);
        assert!(faults.iter().any(|fault| fault.contains(wanted)), "{wanted}: {faults:#?}");
    }
}

/// What is wrong with a run, how to repeat it, and what happened in it.
fn described(history: &History) -> Option<String> {
    let faults = check::faults(history);
    if faults.is_empty() {
        return None;
    }
    let (seed, end) = (history.seed, history.seed + 1);
    let log: Vec<&String> = history.log.iter().filter(|line| !line.contains("poll cycle")).collect();
    Some(format!(
        "seed {seed} ({SEEDS}={seed}..{end} cargo test --test suite -- histories_hold repeats it):\n{}\n{:?}\n{log:#?}",
        faults.join("\n"),
        history.done,
    ))
}
