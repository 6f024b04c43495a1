//! What other programs read in the messages that we forward: Python, JavaScript, and Go where they are installed.
//!
//! `corpus.txt` holds one message a line, behind `+` when it is forwarded and `-` when it is refused. Of those
//! that are forwarded each reader must see the members that count as we do, or refuse the message itself.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stderr,
    clippy::unwrap_used,
    reason = "a test fails by panicking"
)]

use std::io::{ErrorKind, Write};
use std::path::Path;
use std::process::{Command, Stdio};

use tunnel_client::Message;
use tunnel_client::Span;

const CORPUS: &str = include_str!("corpus.txt");

/// What counts in a message, in the order in which readers print it.
const FIELDS: [&str; 6] = ["id", "method", "name", "requestId", "progressToken", "_meta.progressToken"];

/// The lines of the corpus: whether it is forwarded, and the message.
fn corpus() -> impl Iterator<Item = (bool, &'static str)> {
    let lines = CORPUS.lines().filter(|line| !line.starts_with('#'));
    lines.map(|line| (line.starts_with("+ "), line.get(2..).unwrap()))
}

/// A value as readers print it: its kind, and its text.
fn shown(literal: &str) -> Option<String> {
    match serde_json::from_str(literal).unwrap_or_default() {
        serde_json::Value::String(text) => Some(format!("s:{text}")),
        _ if literal.starts_with(|first: char| first == '-' || first.is_ascii_digit()) => {
            Some(format!("n:{literal}"))
        }
        serde_json::Value::Null => None,
        _ => Some("other".to_owned()),
    }
}

/// Our own reading.
fn ours(message: &Message) -> [Option<String>; 6] {
    let at = |span: Option<Span>| shown(span?.of(message.text()));
    let places = message.places();
    [
        message.id().and_then(shown),
        message.method().map(|method| format!("s:{method}")),
        message.param("name").map(|name| format!("s:{name}")),
        at(places.cancelled),
        at(places.progress),
        at(places.token),
    ]
}

/// Whether a reader sees the same. Numbers are compared as doubles, which is what most readers keep. A name that
/// is no text is none to us.
fn agree(field: &str, ours: Option<&str>, theirs: Option<&str>) -> bool {
    let number = |value: Option<&str>| value?.strip_prefix("n:")?.parse::<f64>().ok();
    let no_text = field == "name" && ours.is_none();
    ours == theirs
        || number(ours).is_some_and(|ours| number(theirs) == Some(ours))
        || (no_text && !theirs.is_some_and(|theirs| theirs.starts_with("s:")))
}

/// Lets a reader read what is forwarded. One that is not installed is left out, and that is said.
fn compare(program: &str, arguments: &[&str]) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/differential");
    let mut reader = Command::new(program);
    reader.args(arguments).current_dir(folder).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut reader = match reader.spawn() {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            return eprintln!("SKIPPED: there is no {program}");
        }
        reader => reader.unwrap(),
    };
    let forwarded: Vec<&str> = corpus().filter_map(|(passes, text)| passes.then_some(text)).collect();
    reader.stdin.take().unwrap().write_all(format!("{}\n", forwarded.join("\n")).as_bytes()).unwrap();
    let read = reader.wait_with_output().unwrap();
    assert!(read.status.success(), "{program} {arguments:?}: {}", read.status);
    let read = String::from_utf8(read.stdout).unwrap();
    assert_eq!(read.lines().count(), forwarded.len());
    let mut understood = 0;
    for (text, line) in forwarded.iter().zip(read.lines()) {
        let Some(theirs) = serde_json::from_str::<Option<[Option<String>; 6]>>(line).unwrap() else {
            continue;
        };
        understood += 1;
        let ours = ours(&Message::parse((*text).to_owned()).unwrap());
        for (field, (ours, theirs)) in FIELDS.into_iter().zip(ours.iter().zip(&theirs)) {
            let same = agree(field, ours.as_deref(), theirs.as_deref());
            assert!(same, "{program} {arguments:?} reads {field} as {theirs:?}, we as {ours:?}: {text}");
        }
    }
    // Who refuses a message reads nothing into it; most must be understood for the comparison to mean anything.
    assert!(understood * 10 > forwarded.len() * 9, "{program} understood {understood}");
}

#[test]
fn what_is_forwarded_and_what_is_refused_is_as_the_corpus_says() {
    for (forwarded, text) in corpus() {
        let read = Message::parse(text.to_owned()).map_err(|(malformed, _)| malformed);
        assert_eq!(read.is_ok(), forwarded, "{read:?}: {text}");
    }
}

#[test]
fn python_reads_what_we_read() {
    for order in ["last", "first"] {
        for names in ["exact", "generous"] {
            compare("python3", &["reader.py", order, names]);
        }
    }
}

#[test]
fn javascript_reads_what_we_read() {
    compare("node", &["reader.js"]);
}

#[test]
fn go_reads_what_we_read() {
    compare("go", &["run", "reader.go"]);
}
