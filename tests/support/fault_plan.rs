//! What a fault proxy does to a connection, and where: decided by a seed, or named by a test.

use std::sync::Mutex;
use std::time::Duration;

use super::random::Random;

/// How long bytes are held up at most; shorter than any time-out of the runs.
const DELAY_MAX_MS: u64 = 120;

impl Random {
    /// One for a part of a run, whatever the other parts have drawn.
    pub fn of(seed: u64, part: &str, number: usize) -> Random {
        let mut random = Random(seed);
        for byte in part.bytes().map(u64::from).chain([u64::try_from(number).unwrap()]) {
            random.0 = random.number() ^ byte;
        }
        random
    }

    /// True in so many cases of a hundred.
    pub fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }
}

/// The two ways of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// From the client.
    Up,
    /// To the client.
    Down,
}

/// What is done to a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deed {
    /// Bytes wait.
    Delay(Duration),
    /// The next bytes arrive in pieces of a few.
    Pieces,
    /// Bytes wait until another connection has passed some.
    Overtaken,
    /// Both ways end in order.
    Cut,
    /// One way ends in order; what is sent on it from then on is lost.
    HalfClose,
    /// Both sides get a reset.
    Reset,
    /// One way passes nothing more, and nobody is told.
    Swallow,
    /// What has come of the rest of a reply becomes garbage.
    Garble,
    /// A reply comes that nobody asked for.
    Forge,
}

/// Where in a reply something is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// Before its first byte.
    BeforeHead,
    /// In the middle of the head.
    InHead,
    /// Behind the head and a few bytes.
    InBody,
    /// Behind its last byte.
    Behind,
}

/// How a proxy treats connections by itself.
#[derive(Clone, Copy)]
pub struct Faults {
    /// What decides.
    pub seed: u64,
    /// The name of the proxy in this run.
    pub name: &'static str,
    /// How many bytes pass between two faults, as a rule.
    pub distance: u64,
}

impl Deed {
    /// Whether bytes are lost by it.
    pub fn breaks(self) -> bool {
        !matches!(self, Deed::Delay(_) | Deed::Pieces | Deed::Overtaken)
    }
}

/// What is in store for one way of a connection.
pub struct Plan {
    random: Random,
    distance: Option<u64>,
    /// How many bytes have passed.
    pub passed: u64,
    next: u64,
    /// How many more bytes arrive in pieces.
    pieces: u64,
    /// What came of the reply that is to be struck.
    reply: Vec<u8>,
}

impl Plan {
    /// Nothing has passed yet.
    pub fn new(faults: Option<Faults>, number: usize, way: Way) -> Plan {
        let part = faults.map_or(String::new(), |faults| format!("{} {way:?}", faults.name));
        let random = Random::of(faults.map_or(0, |faults| faults.seed), &part, number);
        let distance = faults.map(|faults| faults.distance);
        let mut plan = Plan { random, distance, passed: 0, next: 0, pieces: 0, reply: Vec::new() };
        plan.draw();
        plan
    }

    /// Decides where the next fault is: seldom at once, mostly within the distance, sometimes far away.
    fn draw(&mut self) {
        let Some(distance) = self.distance else { return };
        let scale = [distance / 8, distance, distance, distance, distance * 4];
        let scale = self.random.pick(&scale);
        self.next = self.passed + self.random.below(scale.max(1));
    }

    /// How many of these bytes pass, and what is done then.
    pub fn next(&mut self, left: usize) -> (usize, Option<Deed>) {
        if self.distance.is_none() {
            return (left, None);
        }
        if self.pieces > 0 {
            let piece = (1 + self.random.below(7)).min(u64::try_from(left).unwrap());
            self.pieces = self.pieces.saturating_sub(piece);
            return (usize::try_from(piece).unwrap(), None);
        }
        let free = usize::try_from(self.next.saturating_sub(self.passed)).unwrap();
        if free >= left {
            return (left, None);
        }
        self.passed += u64::try_from(free).unwrap();
        let deed = self.deed();
        self.draw();
        self.passed -= u64::try_from(free).unwrap();
        (free, Some(deed))
    }

    fn deed(&mut self) -> Deed {
        match self.random.below(100) {
            0..30 => Deed::Delay(Duration::from_millis(1 + self.random.below(DELAY_MAX_MS))),
            30..50 => {
                self.pieces = 20 + self.random.below(200);
                Deed::Pieces
            }
            50..70 => Deed::Overtaken,
            70..78 => Deed::Cut,
            78..85 => Deed::HalfClose,
            85..93 => Deed::Reset,
            _ => Deed::Swallow,
        }
    }

    /// The same for a reply to which something is to be done at a place.
    pub fn strike(&mut self, strike: &Mutex<Option<(Place, Deed)>>, bytes: &[u8]) -> (usize, Option<Deed>) {
        let mut strike = strike.lock().unwrap();
        let Some((place, deed)) = *strike else { return (bytes.len(), None) };
        let before = self.reply.len();
        self.reply.extend_from_slice(bytes);
        let head = self.reply.windows(4).position(|window| window == b"\r\n\r\n");
        let place = match place {
            Place::BeforeHead => Some(0),
            Place::InHead => Some(20),
            Place::InBody => head.map(|head| head + 4 + 5),
            Place::Behind => head.map(|head| head + 4 + length(&self.reply[..head])),
        };
        match place.and_then(|place| place.checked_sub(before)).filter(|fit| *fit <= bytes.len()) {
            Some(fit) => {
                *strike = None;
                self.reply.clear();
                (fit, Some(deed))
            }
            None => (bytes.len(), None),
        }
    }
}

/// What a head says about the length of its body; nothing said is nothing there.
fn length(head: &[u8]) -> usize {
    let head = String::from_utf8_lossy(head).to_lowercase();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length:")?.trim().parse().ok());
    length.unwrap_or_default()
}
