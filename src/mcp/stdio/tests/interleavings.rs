//! Any interleaving of what can happen to calls, drawn at random and the same in every run.

use std::collections::BTreeMap;

use super::*;

/// Numbers that are the same in every run.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap() % sides
    }
}

/// A child's answer to a line: the call's own number under its private id.
fn echo(line: &str) -> Option<String> {
    let n = serde_json::from_str::<serde_json::Value>(line).unwrap()["params"]["n"].clone();
    Some(format!(r#"{{"jsonrpc":"2.0","id":{},"result":{{"n":{n}}}}}"#, message(line.trim_end()).id()?))
}

/// Any interleaving of calls, answers, deadlines and restarts gives each caller its own answer or its
/// own failure, once.
#[test]
fn every_caller_gets_its_own_end_once() {
    for seed in 0..300 {
        let mut dice = Dice(seed);
        let mut core = opened();
        let mut open: BTreeMap<u64, (usize, String, Call)> = BTreeMap::new();
        let mut lines: Vec<String> = Vec::new();
        for step in 0..400 {
            match dice.roll(10) {
                0..=3 => {
                    let id = ["1", "\"1\"", "2", "\"a\""][dice.roll(4)];
                    let call = format!(
                        r#"{{"jsonrpc":"2.0","id":{id},"method":"tools/call","params":{{"n":{step},"_meta":{{"progressToken":"t"}}}}}}"#
                    );
                    let message = message(&call);
                    if let Admission::Call(number, replies) = take(&mut core, &message, None) {
                        open.insert(number, (step, id.to_owned(), Call { replies, message }));
                    }
                }
                4 | 5 => lines.extend(core.next_line().map(|line| bytes(&line))),
                6 | 7 if !lines.is_empty() => {
                    // Sometimes the line stays, and the child answers it again later.
                    let at = dice.roll(lines.len());
                    let line = if dice.roll(4) == 0 { lines[at].clone() } else { lines.swap_remove(at) };
                    if let Some(answer) = echo(&line) {
                        incoming(&mut core, &answer);
                    }
                }
                8 if !open.is_empty() => {
                    let number = *open.keys().nth(dice.roll(open.len())).unwrap();
                    core.give_up(number);
                    let (_, _, call) = open.remove(&number).unwrap();
                    while call.next() != Got::Nothing {}
                }
                9 if dice.roll(5) == 0 => {
                    die(&mut core);
                    start(&mut core);
                }
                _ => {}
            }
            open.retain(|_, (n, id, call)| match call.next() {
                Got::Answer(text) => {
                    assert_eq!(
                        text,
                        format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{{"n":{n}}}}}"#),
                        "seed {seed}"
                    );
                    assert_eq!(call.next(), Got::Nothing, "seed {seed}");
                    false
                }
                Got::Failed(source) => {
                    assert_eq!(source, net::Source::TransportClosed);
                    false
                }
                Got::Notification(_) | Got::Nothing => true,
            });
        }
        core.fail_all(net::Kind::ConnectionClosed, "the end");
        assert!(open.values().all(|(_, _, call)| matches!(call.next(), Got::Failed(_))), "seed {seed}");
    }
}
