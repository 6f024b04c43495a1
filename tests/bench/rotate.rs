//! The rotation: keys, headers, client certificates and authorities change under load, over mutual TLS on both sides.
//!
//! `cargo bench --bench relay -- rotate [SECONDS]`, 600 as a rule. Half of the time a rotation comes every two seconds,
//! with a SIGHUP while its files are broken and one when they are right; the other half, several come within seconds
//! and one material stays broken, and the client has to see by itself what it can use. It fails when a call was lost,
//! failed, wrong or answered twice, when a handshake failed, when a request came with what should have been
//! replaced, and when memory or descriptors have grown.

use std::process::ExitCode;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use super::process::Client;
use super::rotate_files::{FLAWS, Files, Flaw, MATERIALS, Material, Texts};
use super::rotate_ledger::{Kind, Ledger, When};
use super::rotate_peers::{HEADER, Peers};

/// How long it takes as a rule.
pub const LONG: Duration = Duration::from_secs(600);

/// What is rotated at once.
const ROTATIONS: [&[Material]; 6] = [
    &[Material::Key],
    &[Material::Header],
    &[Material::PlanePair],
    &[Material::McpPair],
    &[Material::PlanePair, Material::McpPair],
    &[Material::Bundle],
];

/// Between two rotations with SIGHUP, and how many there are in a round.
const STEP: Duration = Duration::from_millis(1900);
const SIGNALLED: usize = 18;
/// The same without, and how long the client then has.
const QUICK_STEP: Duration = Duration::from_millis(280);
const BY_ITSELF: usize = 20;
const QUIET: Duration = Duration::from_secs(26);
/// One round of both.
const ROUND: Duration = Duration::from_secs(66);
/// How long files are broken, and the time between the end of a key and the other one beside it.
const BROKEN: Duration = Duration::from_millis(300);
const REVOKED: Duration = Duration::from_secs(1);
/// How long the last answers may take.
const SETTLE: Duration = Duration::from_secs(90);
/// What may still be added after the first half: by the allocator, and by connections of a moment without a processor.
const GROWTH_MB: f64 = 6.0;
const GROWTH_FILES: usize = 64;

struct Run {
    peers: Arc<Peers>,
    files: Files,
    client: Client,
    /// Rotations so far, and how often something was broken.
    turn: usize,
    broken: usize,
    placed: usize,
    keys: usize,
    /// What holds no good content.
    bad: Vec<Material>,
}

/// Memory, descriptors and threads.
type Sizes = (f64, usize, usize);

/// Runs it and prints its table.
pub fn run(length: Duration) -> ExitCode {
    let mut run = Run::start();
    run.peers.wait_first_call();
    thread::sleep(Duration::from_secs(3));
    let mut sizes = vec![run.sizes()];
    let rounds = length.as_secs() / ROUND.as_secs();
    for round in 0..rounds {
        run.signalled(SIGNALLED);
        run.by_itself(MATERIALS[round as usize % MATERIALS.len()]);
        if round == rounds / 2 {
            sizes.push(run.sizes());
        }
    }
    if rounds == 0 {
        run.signalled(length.as_secs() as usize / 4);
        sizes.push(run.sizes());
        run.signalled(length.as_secs() as usize / 4);
    }
    // The last of them is due.
    thread::sleep(Duration::from_secs(5));
    sizes.push(run.sizes());
    run.peers.settle(SETTLE);
    // Time for second answers.
    thread::sleep(Duration::from_secs(1));
    run.report(&sizes)
}

impl Run {
    fn start() -> Run {
        let (files, mut ledger) = (Files::new(), Ledger::default());
        // The authority comes first, since the certificates are from it.
        for material in MATERIALS.into_iter().rev() {
            let texts = ledger.next(material);
            files.put(&texts, true);
            ledger.placed(material, false);
        }
        let peers = Peers::new(ledger);
        let [plane, mcp] = peers.listen();
        let path = |name: &str| files.path(name);
        let flags = [
            format!("--mcp.server-url=https://127.0.0.1:{mcp}/mcp"),
            format!("--control-plane.api-key=file:{}", path("key")),
            format!("--control-plane.client-cert={}", path("plane.pem")),
            format!("--control-plane.client-key={}", path("plane.key")),
            format!("--mcp.client-cert={}", path("mcp.pem")),
            format!("--mcp.client-key={}", path("mcp.key")),
            format!("--mcp.extra-headers={HEADER}: file:{}", path("header")),
            format!("--ca-bundle={}", path("ca.pem")),
            "--tls.roots=none".to_owned(),
            "--mcp.max-concurrent-requests=32".to_owned(),
        ];
        let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
        let client = Client::launch(&format!("https://127.0.0.1:{plane}"), &flags);
        Run { peers, files, client, turn: 0, broken: 0, placed: 0, keys: 0, bad: Vec::new() }
    }

    fn sizes(&self) -> Sizes {
        (self.client.memory_mb().0, self.client.count("fd"), self.client.count("task"))
    }

    /// What comes next: all six in one order, then in another, until every order has been.
    fn next(&mut self) -> &'static [Material] {
        // Prime to their number, so that neighbours have little in common.
        let mut order = self.turn / ROTATIONS.len() * 143 % 720;
        let mut left = ROTATIONS.to_vec();
        for _ in 0..self.turn % ROTATIONS.len() {
            let one = order % left.len();
            order /= left.len();
            left.remove(one);
        }
        self.turn += 1;
        left[order % left.len()]
    }

    /// Rotations with a SIGHUP each.
    fn signalled(&mut self, rotations: usize) {
        for _ in 0..rotations {
            let end = Instant::now() + STEP;
            let materials = self.next();
            self.rotate(materials, true);
            thread::sleep(end.saturating_duration_since(Instant::now()));
        }
    }

    /// Rotations that the client has to see, while one material stays broken.
    fn by_itself(&mut self, broken: Material) {
        // Half a key is one that is refused, and that should not last.
        let flaws: Vec<Flaw> = FLAWS.into_iter().filter(|flaw| *flaw != Flaw::Half).collect();
        let names = match broken {
            Material::Key => ["key"].as_slice(),
            Material::Header => &["header"],
            Material::PlanePair => &["plane.pem", "plane.key"],
            Material::McpPair => &["mcp.pem", "mcp.key"],
            Material::Bundle => &["ca.pem"],
        };
        let texts = names.iter().map(|name| (*name, String::new())).collect();
        self.spoil(broken, flaws[self.turn % flaws.len()], &texts);
        for _ in 0..BY_ITSELF {
            let end = Instant::now() + QUICK_STEP;
            let materials = self.next();
            if !materials.contains(&broken) {
                self.rotate(materials, false);
            }
            thread::sleep(end.saturating_duration_since(Instant::now()));
        }
        thread::sleep(QUIET);
    }

    /// Breaks the files of these and puts the next generation in place.
    fn rotate(&mut self, materials: &[Material], signalled: bool) {
        let mut texts = Vec::new();
        for material in materials {
            texts.push((*material, self.peers.ledger().next(*material)));
        }
        for (material, texts) in &texts {
            self.spoil(*material, FLAWS[self.turn % FLAWS.len()], texts);
        }
        let is_key = materials.contains(&Material::Key);
        self.keys += usize::from(is_key);
        // Two keys side by side; the former one ends a second after the other one is there; a second before.
        let ends = if is_key { self.keys % 3 } else { 0 };
        let generation = self.peers.ledger().kind(Material::Key).changes.len();
        if ends == 2 {
            self.peers.ledger().revoke(Instant::now(), generation);
        }
        if signalled {
            thread::sleep(BROKEN / 2);
            self.signal();
        }
        thread::sleep(match (ends, signalled) {
            (2, _) => REVOKED,
            (_, true) => BROKEN / 2,
            (_, false) => BROKEN / 3,
        });
        for (material, texts) in &texts {
            self.files.put(texts, self.turn % 3 > 0);
            self.bad.retain(|bad| bad != material);
            self.peers.ledger().placed(*material, signalled);
        }
        if ends == 1 {
            self.peers.ledger().revoke(Instant::now() + REVOKED, generation);
        }
        self.placed += 1;
        if signalled {
            self.signal();
        }
    }

    fn spoil(&mut self, material: Material, flaw: Flaw, texts: &Texts) {
        self.peers.ledger().touch(material);
        self.files.spoil(material, flaw, texts, self.turn / FLAWS.len());
        self.broken += 1;
        self.bad.push(material);
    }

    fn signal(&self) {
        let whole: Vec<_> = MATERIALS.into_iter().filter(|material| !self.bad.contains(material)).collect();
        self.client.hang_up();
        self.peers.ledger().signalled(&whole);
    }

    /// Prints what has come of it.
    fn report(self, sizes: &[Sizes]) -> ExitCode {
        let status = self.client.end();
        let mut ledger = self.peers.ledger();
        println!(
            "{} rotations, {} of them broken before, {} SIGHUPs",
            self.placed, self.broken, ledger.signals
        );
        print_table(&mut ledger);
        println!(
            "key refused {} times, at most {:.1} s; handshakes {}, failed {}",
            ledger.refusals,
            ledger.longest_refusal.as_secs_f64(),
            ledger.handshakes[1],
            ledger.handshakes[0]
        );
        let shown: Vec<String> = sizes
            .iter()
            .map(|(mb, fds, threads)| format!("{mb:.1} MB {fds} fds {threads} threads"))
            .collect();
        println!("start, middle, end: {}", shown.join(", "));
        let lost = ledger.ends.iter().filter(|ends| **ends == 0).count();
        let lost = lost.saturating_sub(ledger.unheard);
        println!(
            "calls {}, lost {lost}, twice {}, failed {:?}, wrong {:?}, never arrived {}, {status}",
            ledger.ends.len(),
            ledger.twice,
            ledger.failed,
            ledger.wrong,
            ledger.unheard
        );
        let late: usize = ledger.kinds.iter().map(|kind| kind.late).sum();
        let unused = ledger.kinds[..4].iter().any(|kind| {
            kind.changes.len() > 1 && kind.seen.keys().max().is_none_or(|last| last + 1 < kind.changes.len())
        });
        let [.., middle, end] = sizes else { return ExitCode::FAILURE };
        let has_grown = end.0 > middle.0 + GROWTH_MB || end.1 > middle.1 + GROWTH_FILES;
        let bad =
            lost + ledger.twice + late + ledger.handshakes[0] + ledger.failed.len() + ledger.wrong.len();
        if bad == 0 && !unused && !has_grown && status.success() {
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        }
    }
}

/// A row for each sort of material, and one for each sort of time.
fn print_table(ledger: &mut Ledger) {
    println!(
        "{:<10} {:>11} {:>5} {:>9} {:>5} {:>6}  longest until used: by itself, with SIGHUP (s)",
        "material", "generations", "used", "requests", "late", "by s"
    );
    for material in MATERIALS {
        let Kind { changes, seen, late, late_by, slowest, .. } = ledger.kind(material);
        let (requests, [own, signalled]) = (seen.values().sum::<usize>(), slowest);
        println!(
            "{:<10} {:>11} {:>5} {requests:>9} {late:>5} {:>6.2}  {:.1}, {:.3}",
            format!("{material:?}"),
            changes.len(),
            seen.len(),
            late_by.as_secs_f64(),
            own.as_secs_f64(),
            signalled.as_secs_f64()
        );
    }
    for (when, name) in
        [(When::Quiet, "quiet"), (When::Signal, "within 1 s of a SIGHUP"), (When::Refused, "key refused")]
    {
        let times = &mut ledger.times[when as usize];
        times.sort_by(f64::total_cmp);
        let at = |share: f64| times.get((times.len() as f64 * share) as usize).copied().unwrap_or(f64::NAN);
        println!(
            "{name:<22} {:>7} calls, ms: median {:.1}, 99 % {:.1}, 99.9 % {:.1}, longest {:.1}",
            times.len(),
            at(0.5),
            at(0.99),
            at(0.999),
            times.last().unwrap_or(&f64::NAN)
        );
    }
}
