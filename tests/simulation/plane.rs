//! Control plane of a simulation: it holds polls, hands out commands, takes answers, and fails as its weather says.

use std::collections::hash_map::DefaultHasher;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::hash::{Hash, Hasher};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::ask::{self, Ask};
use super::history::{Event, History, Note, Number, Told};
use super::random::Random;
use super::scheduler;
use super::seen::{Polls, Posts};
use super::weather::{Forecast, Weather};
use crate::net::{Error, Kind};
use crate::plane::oversized::Body;
use crate::plane::refusal::Refusal;
use crate::plane::transport::{self, Polled, Transport};
use crate::relay::command::Command;
use crate::relay::port::{Answer, AnswerKind};
use crate::sync::{self, Condition};

/// How long an exchange takes at most.
pub(super) const EXCHANGE_TIME: Duration = Duration::from_secs(30);

/// Longest time of an exchange in fine weather.
const FINE: Duration = Duration::from_millis(60);

/// The plane.
pub(super) struct Plane {
    pub(super) history: Arc<History>,
    pub(super) weather: Forecast<Weather>,
    /// Whether the key stands in a file.
    key_may_change: bool,
    board: Mutex<Board>,
    bell: Condition,
}

struct Board {
    random: Random,
    waiting: VecDeque<Ask>,
    /// Every command that was ever asked for.
    asks: BTreeMap<Number, Ask>,
    cut: [bool; 3],
    taken: BTreeSet<Number>,
    notes: BTreeMap<Number, u64>,
    polls: Polls,
    posts: Posts,
}

/// What can be cut.
#[derive(Clone, Copy)]
enum Line {
    Polls,
    Notes,
    Answers,
}

/// How an exchange ends.
enum End {
    Accepted,
    /// A status, and the wait that it asks for.
    Status(u16, Option<Duration>),
    Conflict,
    Unreadable,
    Broken {
        kind: Kind,
        sent: bool,
        taken: bool,
    },
}

impl Plane {
    pub(super) fn new(mut random: Random, weather: Forecast<Weather>, history: &Arc<History>) -> Arc<Plane> {
        let key_may_change = random.one_in(2);
        let (waiting, asks, cut, taken, notes, polls, posts) = Default::default();
        let board = Mutex::new(Board { random, waiting, asks, cut, taken, notes, polls, posts });
        let history = Arc::clone(history);
        Arc::new(Plane { history, weather, key_may_change, board, bell: Condition::default() })
    }

    /// Has a caller ask for something.
    pub(super) fn ask(&self, ask: Ask) {
        let mut board = sync::lock(&self.board);
        board.asks.insert(ask.number, ask.clone());
        board.waiting.push_back(ask);
        self.bell.notify_all();
    }

    /// Every command that was asked for.
    pub(super) fn asks(&self) -> BTreeMap<Number, Ask> {
        sync::lock(&self.board).asks.clone()
    }

    /// What polls and posts have come to.
    pub(super) fn seen(&self) -> (Polls, Posts) {
        let board = sync::lock(&self.board);
        (board.polls, board.posts.clone())
    }

    fn now(&self) -> Weather {
        self.weather.at(scheduler::elapsed()).0
    }

    fn draw<R>(&self, draw: impl FnOnce(&mut Random) -> R) -> R {
        draw(&mut sync::lock(&self.board).random)
    }

    fn cut(&self, line: Line) {
        sync::lock(&self.board).cut[place(line)] = true;
        self.bell.notify_all();
    }

    /// Lets time pass; false when the line is cut meanwhile.
    fn pass(&self, time: Duration, line: Line) -> bool {
        let cut = |board: &Board| board.cut[place(line)];
        !cut(&self.bell.wait_while(sync::lock(&self.board), time, |board| !cut(board)))
    }

    /// Holds a poll until there are commands, its wait is over, or the weather changes; false when it is cut.
    fn hold(&self, wait: Duration) -> bool {
        let blocked = |board: &mut Board| board.waiting.is_empty() && !board.cut[place(Line::Polls)];
        let left = self.weather.at(scheduler::elapsed()).1.saturating_sub(scheduler::elapsed());
        let board = self.bell.wait_while(sync::lock(&self.board), wait.min(left), blocked);
        !board.cut[place(Line::Polls)]
    }

    /// What a poll that is answered brings.
    fn hand_out(&self, limit: usize, on_head: &mut dyn FnMut()) -> Result<Polled, Refusal> {
        let (asks, delay) = {
            let mut board = sync::lock(&self.board);
            // More than was asked for, now and then.
            let limit = limit + if board.random.one_in(20) { 3 } else { 0 };
            let count = limit.min(board.waiting.len());
            let asks: Vec<Ask> = board.waiting.drain(..count).collect();
            let slow = board.random.one_in(10);
            (asks, board.random.time(if slow { Duration::from_millis(1500) } else { FINE / 6 }))
        };
        let (received, at) = (sync::now(), scheduler::elapsed());
        on_head();
        if !self.pass(delay, Line::Polls) {
            return Err(shut());
        }
        let odd = self.draw(|random| random.one_in(15));
        let mut items: Vec<String> = asks.iter().map(Ask::text).collect();
        if odd && !items.is_empty() {
            // One that nobody can answer costs no other.
            items.insert(items.len() / 2, r#"{"command_type":"jsonrpc","request_id":"x"}"#.to_owned());
        }
        asks.iter().for_each(|ask| self.history.add_at(at, Event::Handed(ask.number)));
        let empty = items.is_empty();
        let body = if empty && !odd { Body::None } else { whole(&items.join(",")) };
        Ok(Polled { received, body, tunnel_request_id: None })
    }

    fn exchange_poll(&self, ask: &transport::Ask, on_head: &mut dyn FnMut()) -> Result<Polled, Refusal> {
        let weather = self.now();
        let (chance, delay, wait) = self.draw(|random| {
            let longest = if weather == Weather::Slow { 4000 } else { 60 };
            let asked = Duration::from_secs(1 + random.below(60));
            (random.below(10), random.time(Duration::from_millis(longest)), random.one_in(2).then_some(asked))
        });
        let status = |status| Err(Refusal::example(status, None, wait));
        if !self.pass(delay, Line::Polls) {
            return Err(shut());
        }
        match (weather, chance) {
            (Weather::Down, 0..5) => Err(Error::new(Kind::Refused, "refused").into()),
            (Weather::Down, _) => Err(Error::new(Kind::Dns, "no such name").into()),
            (Weather::Silent, _) | (Weather::Flaky, 0) => match self.pass(ask.time - delay, Line::Polls) {
                true => Err(Error::new(Kind::Timeout, "silence").sent(true).into()),
                false => Err(shut()),
            },
            (Weather::Refuses(code), _) => status(code),
            (Weather::Flaky, 1) => status(503),
            (Weather::Flaky, 2) => Err(Error::new(Kind::UnexpectedEof, "cut").sent(true).into()),
            (Weather::Flaky, 3) if ask.limit > 1 => {
                Err(Error::new(Kind::TooLarge, "large").sent(true).into())
            }
            (Weather::Flaky, 4) => {
                on_head();
                let (body, received) = (Body::Whole(b"<html>".to_vec()), sync::now());
                Ok(Polled { received, body, tunnel_request_id: None })
            }
            _ if !self.hold(ask.wait) => Err(shut()),
            _ => match self.now() {
                Weather::Down | Weather::Silent => {
                    Err(Error::new(Kind::ConnectionReset, "reset").sent(true).into())
                }
                _ => self.hand_out(ask.limit, on_head),
            },
        }
    }

    /// How long a post takes, and how it ends.
    fn fate(&self, is_note: bool, time: Duration) -> (Duration, End) {
        let weather = self.now();
        self.draw(|random| {
            let asked = random.one_in(3).then(|| Duration::from_secs(1 + random.below(60)));
            let delay = random.time(if weather == Weather::Slow { Duration::from_secs(8) } else { FINE });
            let broken = |sent, taken| End::Broken { kind: Kind::ConnectionReset, sent, taken };
            match (weather, random.below(if is_note { 12 } else { 14 })) {
                (Weather::Down, _) => (delay, End::Broken { kind: Kind::Refused, sent: false, taken: false }),
                (Weather::Silent, _) => (time, broken(true, false)),
                (Weather::Flaky, 0) => (time, broken(true, true)),
                (Weather::Flaky, 1) => (delay, broken(true, true)),
                (Weather::Flaky, 2) => (delay, broken(true, false)),
                (Weather::Flaky, 3) => (delay, broken(false, false)),
                (Weather::Flaky, 4) => (delay, End::Status(random.pick(&[408, 502, 503, 504]), asked)),
                (Weather::Flaky, 5) => (delay, End::Status(429, asked)),
                (Weather::Flaky, 6) => (delay, End::Status(500, None)),
                (Weather::Flaky, 7) => (delay, End::Status(random.pick(&[400, 401, 403, 413]), None)),
                (Weather::Flaky, 8) => (delay, End::Conflict),
                (Weather::Flaky, 9) => (delay, End::Unreadable),
                (Weather::Refuses(code), _) => (delay, End::Status(code, asked)),
                (Weather::RefusesPosts, _) => (delay, End::Status(503, asked)),
                _ => (delay, End::Accepted),
            }
        })
    }

    /// Takes a post, or says that it has been taken before.
    fn take(&self, number: Number, note: Note) -> bool {
        let mut board = sync::lock(&self.board);
        let fresh = match note {
            None => board.taken.insert(number),
            Some(_) => true,
        };
        if fresh {
            self.history.add(Event::Taken(number, note));
        }
        fresh
    }

    fn exchange_post(&self, number: Number, note: Note, until: Instant) -> (Told, Result<u16, Refusal>) {
        let line = if note.is_some() { Line::Notes } else { Line::Answers };
        let time = EXCHANGE_TIME.min(until.saturating_duration_since(sync::now()));
        let (delay, end) = self.fate(note.is_some(), time);
        if !self.pass(delay.min(time), line) {
            return (Told::Cut, Err(shut()));
        }
        if delay > time {
            // The plane may have it all the same.
            if self.draw(|random| random.one_in(2)) {
                self.take(number, note);
            }
            let error = Error::new(Kind::Timeout, "late").sent(true);
            return (Told::Broken { sent: true }, Err(error.into()));
        }
        let refuse = |told, status, code, wait| (told, Err(Refusal::example(status, code, wait)));
        match end {
            End::Accepted if self.take(number, note) => (Told::Accepted, Ok(200)),
            End::Accepted if self.draw(|random| random.one_in(2)) => (Told::Accepted, Ok(404)),
            End::Accepted => refuse(Told::Settled, 409, Some("already_fulfilled"), None),
            End::Conflict => refuse(Told::Later(Duration::ZERO), 409, None, None),
            End::Unreadable => refuse(Told::Unreadable, 400, Some("invalid_json_payload"), None),
            End::Status(401, wait) => refuse(Told::Unauthorized, 401, None, wait),
            End::Status(code @ (400 | 403 | 413), wait) => refuse(Told::Refused, code, None, wait),
            End::Status(code, wait) => refuse(Told::Later(wait.unwrap_or_default()), code, None, wait),
            End::Broken { kind, sent, taken } => {
                if taken {
                    self.take(number, note);
                }
                (Told::Broken { sent }, Err(Error::new(kind, "broken").sent(sent).into()))
            }
        }
    }

    fn note_poll(&self, sent: Duration, polled: &Result<Polled, Refusal>) {
        let now = scheduler::elapsed();
        let is_page = |polled: &Polled| matches!(&polled.body, Body::Whole(body) if body.starts_with(b"<"));
        let is_good = match polled {
            Ok(polled) => Some(!is_page(polled)),
            // Fewer are asked for at once, and it is no failure.
            Err(Refusal::Transport(error)) if error.kind == Kind::TooLarge => None,
            Err(_) => Some(false),
        };
        sync::lock(&self.board).polls.ended(now, sent, is_good);
    }

    fn note_post(&self, number: Number, note: Note, told: Told) {
        if note.is_none() {
            sync::lock(&self.board).posts.ended(scheduler::elapsed(), number, told);
        }
        self.history.add(Event::Posted(number, note, told));
    }

    /// What is posted: its place, a digest, and what is wrong with it.
    fn look_at(&self, number: Number, command: &Command, answer: &Answer) -> (Note, u64) {
        let payload = answer.payload.as_ref().map(|payload| payload.text());
        let mut hasher = DefaultHasher::new();
        (answer.status, payload, answer.kind.word()).hash(&mut hasher);
        let token = format!("t{number}");
        if command.shard_token.as_bytes() != token.as_bytes() {
            self.history.wrong(format!("{number} is posted with the token of another one"));
        }
        let mut board = sync::lock(&self.board);
        if answer.kind != AnswerKind::Notification {
            board.posts.open += 1;
            board.posts.changed = scheduler::elapsed();
            let fault = board.asks.get(&number).and_then(|ask| ask.fault(answer.status, payload));
            drop(board);
            fault.into_iter().for_each(|fault| self.history.wrong(format!("{number}: {fault}")));
            return (None, hasher.finish());
        }
        let value: serde_json::Value = serde_json::from_str(payload.unwrap_or_default()).unwrap();
        if value["params"]["number"] != number {
            self.history.wrong(format!("{number} gets the notification of another one"));
        }
        let place = value["params"]["place"].as_u64().unwrap();
        board.notes.insert(number, place);
        (Some(place), hasher.finish())
    }
}

impl Transport for Plane {
    fn poll(&self, ask: &transport::Ask, on_head: &mut dyn FnMut()) -> Result<Polled, Refusal> {
        let sent = scheduler::elapsed();
        {
            let mut board = sync::lock(&self.board);
            (board.polls.open, board.polls.changed) = (Some(sent), sent);
        }
        let polled = self.exchange_poll(ask, on_head);
        self.note_poll(sent, &polled);
        polled
    }

    fn post(&self, command: &Command, answer: &Answer, until: Instant) -> Result<u16, Refusal> {
        let number = ask::number(&command.request_id);
        let (note, digest) = self.look_at(number, command, answer);
        self.history.add(Event::Posts(number, note, digest));
        let (told, result) = self.exchange_post(number, note, until);
        self.note_post(number, note, told);
        result
    }

    fn stop_polls(&self) {
        self.cut(Line::Polls);
    }

    fn stop_notes(&self) {
        self.cut(Line::Notes);
    }

    fn stop_answers(&self) {
        self.cut(Line::Answers);
    }

    fn exchange_time(&self) -> Duration {
        EXCHANGE_TIME
    }

    fn round_trip(&self) -> Option<Duration> {
        self.draw(|random| random.one_in(2)).then_some(FINE)
    }

    fn has_connected(&self) -> bool {
        true
    }

    fn key_may_change(&self) -> bool {
        self.key_may_change
    }
}

fn place(line: Line) -> usize {
    match line {
        Line::Polls => 0,
        Line::Notes => 1,
        Line::Answers => 2,
    }
}

fn shut() -> Refusal {
    Error::new(Kind::Shutdown, "shut").sent(true).into()
}

fn whole(items: &str) -> Body {
    Body::Whole(format!(r#"{{"commands":[{items}]}}"#).into_bytes())
}
