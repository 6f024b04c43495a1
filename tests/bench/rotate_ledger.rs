//! What the peers of a rotation know: which generations are in force, and what became of every call.
//!
//! A generation is due once the client must have taken it over: a moment after a SIGHUP that found it in its file, or
//! when its file has stood still for long enough that the client has seen it by itself. From then on a request with a
//! former one is late. The peers show a certificate of a new authority when the bundle with it is due, and refuse
//! client certificates of a former one when all pairs that are due come from later ones. So what they do is right in
//! order, and a client that does what it should loses nothing.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::certs::Authority;
use super::rotate_files::{MATERIALS, Material, Texts, header, key, pair};

/// When a generation is due: after a signal, and after its file was written.
const AFTER_SIGNAL: Duration = Duration::from_secs(3);
const BY_ITSELF: Duration = Duration::from_secs(25);
/// How long its file has to stand still for that.
const STILL: Duration = Duration::from_secs(21);
/// Calls that fall into this time after a SIGHUP are looked at apart.
const BESIDE: Duration = Duration::from_secs(1);
/// Calls a second.
pub const RATE: f64 = 200.0;

/// Where a call is counted by its time.
#[derive(Clone, Copy)]
pub enum When {
    Quiet,
    Signal,
    /// While the plane refused a key.
    Refused,
}

/// One sort of material.
#[derive(Default)]
pub struct Kind {
    /// When each generation was in place, and whether a SIGHUP followed.
    pub changes: Vec<(Instant, bool)>,
    /// The oldest generation that may arrive, and since when.
    pub required: usize,
    since: Option<Instant>,
    /// Requests of each generation.
    pub seen: BTreeMap<usize, usize>,
    /// Requests of a former one, and by how much at most.
    pub late: usize,
    pub late_by: Duration,
    /// The longest time from a change to its first request: by itself, and with SIGHUP.
    pub slowest: [Duration; 2],
}

struct Due {
    at: Instant,
    material: Material,
    generation: usize,
    signalled: bool,
}

#[derive(Default)]
pub struct Ledger {
    pub kinds: [Kind; MATERIALS.len()],
    dues: Vec<Due>,
    pub authorities: Vec<Arc<Authority>>,
    /// Which authority each generation of a pair is from.
    issuers: [Vec<usize>; MATERIALS.len()],
    /// Certificates by their PEM text.
    leaves: BTreeMap<Vec<u8>, (Material, usize)>,
    /// The oldest key that the plane takes, and when it will take another one for that.
    key_from: usize,
    revocations: Vec<(Instant, usize)>,
    refused_since: Option<Instant>,
    recovered: Option<Instant>,
    pub longest_refusal: Duration,
    pub refusals: usize,
    signal: Option<Instant>,
    pub signals: usize,
    began: Option<Instant>,
    /// When each call was due.
    due: Vec<Instant>,
    pub ends: Vec<u32>,
    pub unheard: usize,
    pub open: usize,
    pub stopped: bool,
    pub failed: BTreeMap<String, usize>,
    pub wrong: BTreeMap<String, usize>,
    pub twice: usize,
    pub handshakes: [usize; 2],
    pub times: [Vec<f64>; 3],
}

impl Ledger {
    pub fn kind(&mut self, material: Material) -> &mut Kind {
        &mut self.kinds[material as usize]
    }

    /// The texts of the next generation, which the peers know from now on.
    pub fn next(&mut self, material: Material) -> Texts {
        let generation = self.kind(material).changes.len();
        match material {
            Material::Key => vec![("key", key(generation))],
            Material::Header => vec![("header", header(generation))],
            Material::PlanePair => self.next_pair(material, ["plane.pem", "plane.key"]),
            Material::McpPair => self.next_pair(material, ["mcp.pem", "mcp.key"]),
            Material::Bundle => {
                // The first generation is made before there are pairs.
                self.authorities.push(Arc::new(Authority::new(&format!("authority {generation}"))));
                let shown = self.shown();
                let texts = self.authorities[shown..]
                    .iter()
                    .rev()
                    .map(|authority| std::fs::read_to_string(authority.bundle()).expect("a file of ours"));
                vec![("ca.pem", texts.collect())]
            }
        }
    }

    fn next_pair(&mut self, material: Material, names: [&'static str; 2]) -> Texts {
        let generation = self.kind(material).changes.len();
        let issuer = self.authorities.len() - 1;
        let (certificate, key) = pair(&self.authorities[issuer], names[0]);
        self.issuers[material as usize].push(issuer);
        self.leaves.insert(der(&certificate), (material, generation));
        vec![(names[0], certificate), (names[1], key)]
    }

    /// The file of a material has been touched.
    pub fn touch(&mut self, material: Material) {
        self.settle();
        let seen = Instant::now() + (BY_ITSELF - STILL);
        self.dues.retain(|due| due.material != material || due.signalled || due.at < seen);
    }

    /// The newest generation of a material has come into its file.
    pub fn placed(&mut self, material: Material, signalled: bool) {
        self.touch(material);
        let at = Instant::now();
        let generation = self.kind(material).changes.len();
        self.kind(material).changes.push((at, signalled));
        self.dues.push(Due { at: at + BY_ITSELF, material, generation, signalled: false });
        if material == Material::Key {
            self.revoke(at, generation.saturating_sub(1));
        }
    }

    /// A SIGHUP, which finds the newest generations of these in their files.
    pub fn signalled(&mut self, whole: &[Material]) {
        let now = Instant::now();
        (self.signal, self.signals) = (Some(now), self.signals + 1);
        for material in whole {
            let generation = self.kind(*material).changes.len() - 1;
            self.dues.push(Due { at: now + AFTER_SIGNAL, material: *material, generation, signalled: true });
        }
    }

    /// From then on the plane takes no key before this generation.
    pub fn revoke(&mut self, at: Instant, generation: usize) {
        self.revocations.push((at, generation));
    }

    /// Moves on what has become due.
    fn settle(&mut self) {
        let now = Instant::now();
        for due in &self.dues {
            let kind = &mut self.kinds[due.material as usize];
            if due.at <= now && due.generation > kind.required {
                (kind.required, kind.since) = (due.generation, Some(due.at));
            }
        }
        self.dues.retain(|due| due.at > now);
        for (at, generation) in &self.revocations {
            if *at <= now {
                self.key_from = self.key_from.max(*generation);
            }
        }
        self.revocations.retain(|(at, _)| *at > now);
    }

    /// The authority whose certificates the peers show.
    pub fn shown(&mut self) -> usize {
        self.settle();
        self.kind(Material::Bundle).required
    }

    /// The authorities of the client certificates that may arrive.
    pub fn accepted(&mut self, pair: Material) -> Vec<Arc<Authority>> {
        self.settle();
        let required = self.kind(pair).required;
        let from = self.issuers[pair as usize][required];
        self.authorities[from..].to_vec()
    }

    /// A request has come with a certificate; anything else is wrong.
    pub fn with_certificate(&mut self, certificate: Option<&[u8]>, pair: Material) {
        match certificate.and_then(|bytes| self.leaves.get(bytes)).copied() {
            Some((material, generation)) if material == pair => self.arrived(material, generation),
            _ => *self.wrong.entry("certificate".to_owned()).or_default() += 1,
        }
    }

    /// A request has come with this.
    pub fn arrived(&mut self, material: Material, generation: usize) {
        self.settle();
        let kind = self.kind(material);
        let count = kind.seen.entry(generation).or_default();
        *count += 1;
        if let (1, Some((at, signalled))) = (*count, kind.changes.get(generation)) {
            let slowest = &mut kind.slowest[usize::from(*signalled)];
            *slowest = at.elapsed().max(*slowest);
        }
        if let (true, Some(since)) = (generation < kind.required, kind.since) {
            (kind.late, kind.late_by) = (kind.late + 1, since.elapsed().max(kind.late_by));
        }
    }

    /// Whether the plane takes a request with this key.
    pub fn takes_key(&mut self, generation: Option<usize>) -> bool {
        self.settle();
        let taken = generation.filter(|generation| *generation >= self.key_from);
        match taken {
            Some(generation) => self.arrived(Material::Key, generation),
            None => {
                self.refusals += 1;
                self.refused_since.get_or_insert_with(Instant::now);
            }
        }
        taken.is_some()
    }

    /// A poll has been taken: the plane goes on where it was when it began to refuse.
    pub fn polled(&mut self) {
        let Some(since) = self.refused_since.take() else { return };
        let took = since.elapsed();
        self.longest_refusal = took.max(self.longest_refusal);
        self.began = self.began.map(|began| began + took);
        self.recovered = Some(Instant::now());
    }

    /// Hands out what is due: its numbers, or how long until there is something.
    pub fn hand_out(&mut self, limit: usize) -> Result<std::ops::Range<usize>, Duration> {
        let (first, now) = (self.ends.len(), Instant::now());
        let began = *self.began.get_or_insert(now);
        let at = |number: usize| began + Duration::from_secs_f64(number as f64 / RATE);
        let last = (first..first + limit).find(|number| at(*number) > now).unwrap_or(first + limit);
        if last == first {
            return Err(at(first) - now);
        }
        self.due.extend((first..last).map(at));
        self.ends.resize(last, 0);
        self.open += last - first;
        Ok(first..last)
    }

    /// The reply with these could not be written.
    pub fn unheard(&mut self, numbers: std::ops::Range<usize>) {
        self.unheard += numbers.len();
        for number in numbers {
            self.open -= usize::from(self.ends[number] == 0);
        }
    }

    /// An answer has come for the call of this number, which the server took so long for.
    pub fn answered(&mut self, number: usize, work: Duration, post: &Value) {
        self.ends[number] += 1;
        if self.ends[number] > 1 {
            self.twice += 1;
            return;
        }
        self.open -= 1;
        let (due, answer) = (self.due[number], &post["resp_json"]);
        if post["resp_code"] != 200 || answer["result"].is_null() {
            let why = answer["error"].to_string();
            *self.failed.entry(format!("{} {why}", post["resp_code"])).or_default() += 1;
        } else if answer["id"] != number || answer["result"]["n"] != number {
            *self.wrong.entry("answer".to_owned()).or_default() += 1;
        }
        let is_refused = self.refused_since.is_some() || self.recovered.is_some_and(|until| due <= until);
        let is_beside = self.signal.is_some_and(|signal| due <= signal + BESIDE);
        let when = match (is_refused, is_beside) {
            (true, _) => When::Refused,
            (false, true) => When::Signal,
            (false, false) => When::Quiet,
        };
        let time = due.elapsed().saturating_sub(work);
        self.times[when as usize].push(time.as_secs_f64() * 1e3);
    }
}

/// The bytes of a PEM text.
fn der(pem: &str) -> Vec<u8> {
    use base64::Engine;
    let text: String = pem.lines().filter(|line| !line.starts_with('-')).collect();
    base64::engine::general_purpose::STANDARD.decode(text).expect("a PEM text")
}
