//! Asks a server over stdio whether it answers, in either era, with children that serve nobody else.
//!
//! The first child is asked without a handshake, a second one with: servers of the older kind may be silent
//! to the first question, refuse it or end on it, and a slow one only seems silent. So the first is left
//! running while the second starts, and whichever answers as a server does decides. Both are started as for
//! calls, and both are ended before this returns or, if they resist, by their guards soon after. One that gets rid
//! of its guard is killed before this returns.
//!
//! It cannot fail: whatever goes wrong is its finding. No text that comes back is cleaned or bounded beyond
//! its number of lines; whoever shows it does that.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, BufReader, Write};
use std::process::{Child, ChildStdin};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::net::Budget;
use crate::relay::revision::Era;
use crate::relay::tree;
use crate::sync;

use super::super::questions;
use super::guards::Guards;
use super::handshake::CONFIRMATION;
use super::launch::Launch;
use super::lines::{LINE_BYTES_MAX, Lines, Output};
use super::stderr::read_line;

/// How long the first child alone is waited for. Longer than programs take that are there at once.
const HEAD_START: Duration = Duration::from_secs(1);

/// How long children may take to end after their input was closed, and after their guards were told. Guards
/// go on by themselves.
const EOF_WAIT: Duration = Duration::from_millis(500);
const END_WAIT: Duration = Duration::from_millis(1_200);

/// How often a child is looked at that ends.
const LOOK: Duration = Duration::from_millis(10);

/// Lines of standard error that are kept.
const STDERR_LINES_MAX: usize = 5;

/// What was said and not heard yet; a child that talks without end waits.
const EVENTS_MAX: usize = 64;

/// All that a child is told: no more than the smallest pipe holds, so that no child can keep us waiting by
/// asking much and reading nothing.
const TOLD_BYTES_MAX: usize = 4096;

/// What a probe found.
pub struct Finding {
    /// The era that answered, and the name and version that the server gave itself; else why not.
    pub verdict: Result<(Era, Option<String>), String>,
    /// How long that took.
    pub took: Duration,
    /// The last lines on standard error.
    pub last_words: Vec<String>,
}

/// What the children do, each by its number.
enum Event {
    Said(usize, Value),
    Ended(usize),
    Complained(String),
}

/// A child that serves the probe alone. Dropping it has its guard end it.
struct Trial<'a> {
    guards: &'a Guards,
    guard: Child,
    stdin: Option<ChildStdin>,
    lifeline: Option<File>,
    /// How much more it may be told.
    room: usize,
}

/// Probes the server that `launch` starts; the verdict stands by `deadline`, the end takes up to 1.7 s more, and
/// up to two where a guard was got rid of.
pub fn probe(launch: &Launch, guards: &Guards, deadline: Instant) -> Finding {
    let began = Instant::now();
    let (sender, events) = sync_channel(EVENTS_MAX);
    let mut trials = Vec::new();
    let mut last_words = VecDeque::new();
    let verdict = judge((launch, guards), deadline, (&sender, &events), &mut trials, &mut last_words);
    let took = began.elapsed();
    end(&mut trials);
    guards.leave();
    // What was said last may still have been in the pipe.
    for event in events.try_iter().take(EVENTS_MAX) {
        complained(event, &mut last_words);
    }
    Finding { verdict, took, last_words: last_words.into() }
}

/// Waits for what the children say and do until one of them has decided.
fn judge<'a>(
    (launch, guards): (&Launch, &'a Guards),
    deadline: Instant,
    (sender, events): (&SyncSender<Event>, &Receiver<Event>),
    trials: &mut Vec<Trial<'a>>,
    last_words: &mut VecDeque<String>,
) -> Result<(Era, Option<String>), String> {
    let questions = [questions::discover(), questions::initialize()];
    let mut ended = [false; 2];
    let began = Instant::now();
    let mut next_start = began;
    loop {
        let now = Instant::now();
        if now >= deadline {
            let seconds = now.duration_since(began).as_secs();
            return Err(format!("neither server/discover nor initialize was answered within {seconds} s"));
        }
        if let (Some(question), true) = (questions.get(trials.len()), now >= next_start) {
            let trial = Trial::begin((launch, guards), trials.len(), question, sender);
            trials.push(trial.map_err(|cause| format!("the program cannot be started: {cause}"))?);
            next_start = now + HEAD_START;
        }
        let wake = if trials.len() < questions.len() { next_start.min(deadline) } else { deadline };
        let Ok(event) = events.recv_timeout(wake.saturating_duration_since(now)) else { continue };
        match event {
            Event::Said(number, message) if message.get("method").is_some() => {
                if let Some(trial) = trials.get_mut(number) {
                    trial.pong(&message);
                }
            }
            Event::Said(number, message) if is_noise(questions.get(number), &message) => {}
            Event::Said(0, message) if questions::is_modern(&message, true) => {
                return Ok((Era::Modern, questions::server_name(&message)));
            }
            // It wants a handshake, and a fresh child for it.
            Event::Said(0, _) => {
                (ended[0], next_start) = (true, now);
                if let Some(trial) = trials.first_mut() {
                    (trial.stdin, trial.lifeline) = (None, None);
                }
            }
            Event::Said(_, message) => return opened(trials.last_mut(), &message),
            Event::Ended(0) => (ended[0], next_start) = (true, now),
            Event::Ended(_) => ended[1] = true,
            other @ Event::Complained(_) => complained(other, last_words),
        }
        if ended == [true; 2] {
            let how = trials.last_mut().and_then(Trial::status);
            let how = how.map_or_else(|| "closed its output".to_owned(), |how| format!("ended with {how}"));
            return Err(format!("the server {how} before it answered"));
        }
    }
}

/// An answer to nobody's question; a complaint may leave out what it is about.
fn is_noise(question: Option<&Value>, message: &Value) -> bool {
    let id = message.get("id").filter(|id| !id.is_null());
    id.is_some() && id != question.and_then(|question| question.get("id"))
}

/// The verdict on the answer to an `initialize`.
fn opened(trial: Option<&mut Trial<'_>>, message: &Value) -> Result<(Era, Option<String>), String> {
    if message.pointer("/result/protocolVersion").is_some_and(Value::is_string) {
        // Told as a client would; some servers complain about the end otherwise.
        if let Some(trial) = trial {
            trial.say(CONFIRMATION);
        }
        return Ok((Era::Legacy, questions::server_name(message)));
    }
    match questions::error_code(message) {
        Some(-32022) => Ok((Era::Modern, None)),
        Some(code) => Err(format!("initialize was refused with error {code}")),
        None => Err("initialize was answered without a protocol version".into()),
    }
}

fn complained(event: Event, last_words: &mut VecDeque<String>) {
    let Event::Complained(line) = event else { return };
    if last_words.len() == STDERR_LINES_MAX {
        last_words.pop_front();
    }
    last_words.push_back(line);
}

/// Ends all children side by side: their input first, then by their guards.
fn end(trials: &mut [Trial<'_>]) {
    trials.iter_mut().for_each(|trial| trial.stdin = None);
    wait_ends(trials, EOF_WAIT);
    trials.iter_mut().for_each(|trial| trial.lifeline = None);
    wait_ends(trials, END_WAIT);
}

fn wait_ends(trials: &mut [Trial<'_>], time: Duration) {
    let end = Instant::now() + time;
    let mut alive = |trial: &mut Trial<'_>| matches!(trial.guards.try_wait(&mut trial.guard), Ok(None));
    while trials.iter_mut().any(&mut alive) && Instant::now() < end {
        thread::sleep(LOOK);
    }
}

impl<'a> Trial<'a> {
    /// Starts a child, asks it, and has what it says reported.
    fn begin(
        (launch, guards): (&Launch, &'a Guards),
        number: usize,
        question: &Value,
        events: &SyncSender<Event>,
    ) -> io::Result<Trial<'a>> {
        let process = guards.start(launch)?;
        let (stdout, stderr) = (process.stdout, process.stderr);
        let (stdin, lifeline) = (Some(process.stdin), Some(process.lifeline));
        let mut trial = Trial { guards, guard: process.guard, stdin, lifeline, room: TOLD_BYTES_MAX };
        let spawn = |body: Box<dyn FnOnce() + Send>| sync::spawn("stdio-probe", body).map(drop);
        // Nobody listens any more once there is a verdict, and then nothing has to be told.
        let told = events.clone();
        spawn(Box::new(move || {
            let mut source = BufReader::new(stderr);
            while let Ok(Some((line, _))) = read_line(&mut source) {
                drop(told.send(Event::Complained(line)));
            }
        }))?;
        let told = events.clone();
        spawn(Box::new(move || {
            let (mut source, mut lines) = (BufReader::new(stdout), Lines::new(Budget::new(LINE_BYTES_MAX)));
            while let Ok(Some(line)) = lines.next(&mut source) {
                let Output::Messages(messages) = line else { continue };
                for message in messages.into_iter().flatten() {
                    let message = tree::read(message.text().as_bytes()).unwrap_or_default();
                    drop(told.send(Event::Said(number, message)));
                }
            }
            drop(told.send(Event::Ended(number)));
        }))?;
        trial.say(&question.to_string());
        Ok(trial)
    }

    /// Writes a line while there is room for it, so this does not wait; a child that has closed its input is
    /// noticed by its end or its silence.
    fn say(&mut self, message: &str) {
        let line = format!("{message}\n");
        if let (Some(stdin), Some(room)) = (&mut self.stdin, self.room.checked_sub(line.len())) {
            self.room = room;
            drop(stdin.write_all(line.as_bytes()));
        }
    }

    /// Answers a ping; a server may wait for that. Its other wishes have no claim on a probe.
    fn pong(&mut self, message: &Value) {
        if let (Some("ping"), Some(id)) = (message["method"].as_str(), message.get("id")) {
            self.say(&json!({"jsonrpc": "2.0", "id": id, "result": {}}).to_string());
        }
    }

    /// How it ended, in the words of the system; its guard needs a moment to tell.
    fn status(&mut self) -> Option<String> {
        wait_ends(std::slice::from_mut(self), EOF_WAIT);
        self.guards.try_wait(&mut self.guard).ok().flatten().map(|status| status.to_string())
    }
}
