//! The state machine under a clock of its own.

use super::*;

const WINDOW: Duration = Duration::from_secs(100);

fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

/// A plane that was reached at `t`, and one target that is expected to be probed.
fn reached(t: Instant) -> Readiness {
    let readiness = Readiness::new(WINDOW, &[Channel::main()]);
    readiness.state().plane.succeed(t);
    readiness
}

fn text(readiness: &Readiness, now: Instant) -> String {
    let (ready, text) = readiness.verdict_at(now);
    format!("{} {text}", if ready { 200 } else { 503 })
}

fn fail_poll(readiness: &Readiness, at: Instant, why: &str, refused: bool) {
    let fault = Fault { why, category: "http_error", status: Some(503) };
    readiness.state().plane.fail(at, fault, refused, seconds(1));
}

#[test]
fn the_plane_is_reached_by_a_poll_by_metadata_or_by_a_held_poll() {
    let t = Instant::now();
    let readiness = Readiness::new(WINDOW, &[]);
    assert_eq!(text(&readiness, t), "503 control plane not reached yet");
    readiness.metadata_succeeded();
    assert_eq!(text(&readiness, t), "200 ready");

    let readiness = Readiness::new(WINDOW, &[]);
    readiness.state().plane.open_since = Some(t);
    assert_eq!(text(&readiness, t + seconds(1)), "503 control plane not reached yet");
    assert_eq!(text(&readiness, t + seconds(2)), "200 ready");
    fail_poll(&readiness, t + seconds(3), "refused", false);
    assert_eq!(text(&readiness, t + seconds(3)), "503 control plane not reached: refused");

    // One that has ended is evidence of nothing, however long it takes until the next.
    let readiness = Readiness::new(WINDOW, &[]);
    readiness.poll_started([WINDOW; 2], true);
    readiness.poll_ended();
    let later = text(&readiness, Instant::now() + seconds(3));
    assert_eq!(later, "503 control plane not reached yet");

    let readiness = Readiness::new(WINDOW, &[]);
    readiness.poll_started([WINDOW; 2], true);
    readiness.poll_succeeded();
    assert!(readiness.verdict().0);
    let later = text(&readiness, Instant::now() + WINDOW + seconds(1));
    assert_eq!(later, "503 control plane not reached: no poll succeeded for too long");
}

#[test]
fn one_failed_poll_is_forgiven_three_or_ten_seconds_are_not() {
    let t = Instant::now();
    let readiness = Readiness::new(WINDOW, &[]);
    let fail = |at| fail_poll(&readiness, at, "503", true);
    readiness.state().plane.succeed(t);
    fail(t);
    fail(t);
    assert_eq!(text(&readiness, t + seconds(60)), "200 ready");
    fail(t);
    assert_eq!(text(&readiness, t), "503 control plane reached, but polls fail: 503");
    readiness.state().plane.succeed(t);
    assert_eq!(text(&readiness, t), "200 ready");
    fail(t);
    fail(t + seconds(10));
    assert_eq!(text(&readiness, t + seconds(10)), "503 control plane reached, but polls fail: 503");
}

#[test]
fn a_held_poll_brings_the_plane_back_unless_the_last_one_was_swallowed() {
    let t = Instant::now();
    let readiness = Readiness::new(WINDOW, &[]);
    let open = |at| readiness.state().plane.open_since = Some(at);
    readiness.state().plane.succeed(t);
    for _ in 0..3 {
        open(t);
        fail_poll(&readiness, t, "refused", false);
    }
    open(t);
    assert!(!readiness.verdict_at(t + seconds(1)).0);
    assert!(readiness.verdict_at(t + seconds(2)).0);
    // It was held, so its end is a first failure again.
    fail_poll(&readiness, t + seconds(20), "reset", false);
    assert!(readiness.verdict_at(t + seconds(20)).0);
    // The next one is swallowed as well: a black hole, whatever is open.
    open(t + seconds(21));
    fail_poll(&readiness, t + seconds(51), "timed out", false);
    open(t + seconds(52));
    assert!(!readiness.verdict_at(t + seconds(60)).0);
    readiness.state().plane.succeed(t + seconds(61));
    assert!(readiness.verdict_at(t + seconds(61)).0);
}

#[test]
fn probes_speak_as_the_reference_does() {
    let t = Instant::now();
    let channel = Channel::main();
    let readiness = reached(t);
    assert_eq!(text(&readiness, t), "503 mcp startup probe pending");
    readiness.probed(&channel, Probe::WaitExpired("refused".into()));
    assert_eq!(text(&readiness, t), "503 mcp startup wait failed: refused");
    readiness.probed(&channel, Probe::Failed("Forbidden".into()));
    assert_eq!(text(&readiness, t), "503 mcp probe failed: Forbidden");
    readiness.probed(&channel, Probe::AuthorizationRequired("Unauthorized".into()));
    let auth = "200 ready (mcp initialize requires auth: Unauthorized)";
    assert_eq!(text(&readiness, t), auth);
    readiness.target_answered(&channel);
    assert_eq!(text(&readiness, t), auth);
    readiness.probed(&channel, Probe::Ready);
    assert_eq!(text(&readiness, t), "200 ready");
}

#[test]
fn a_silent_server_is_ready_at_first_and_failing_after_three_probes() {
    let t = Instant::now();
    let channel = Channel::main();
    let readiness = reached(t);
    let silent = || readiness.target(&channel, |target| target.probed(t, Probe::TimedOut("2s".into())));
    silent();
    silent();
    assert_eq!(text(&readiness, t), "200 ready (mcp startup probe timed out: 2s)");
    silent();
    assert_eq!(text(&readiness, t), "503 mcp probe failed: 2s");
    readiness.target_answered(&channel);
    assert_eq!(text(&readiness, t), "200 ready");
    assert!(readiness.answered_within(&channel, 5));
}

/// Findings of probes are told in the order of the channels, calls that fail after them.
#[test]
fn one_trouble_of_several_is_told() {
    let t = Instant::now();
    let readiness = reached(t);
    let (first, last) = (Channel::parse("a").unwrap(), Channel::parse("z").unwrap());
    for n in 0..3 {
        readiness.target(&first, |target| target.fail(t + seconds(n), "eof"));
    }
    readiness.target(&Channel::main(), |target| target.probed(t, Probe::WaitExpired("nobody".into())));
    readiness.target(&last, |target| target.probed(t, Probe::Failed("403".into())));
    assert_eq!(text(&readiness, t), "503 mcp startup wait failed: nobody");
    readiness.target(&Channel::main(), |target| target.answer(t));
    assert_eq!(text(&readiness, t), "503 mcp probe failed: 403");
    readiness.target(&last, |target| target.answer(t));
    assert_eq!(text(&readiness, t), "503 mcp channel \"a\" keeps failing: eof");
}

#[test]
fn traffic_that_keeps_failing_makes_unready_until_one_success() {
    let t = Instant::now();
    let channel = Channel::main();
    let readiness = reached(t);
    readiness.target_answered(&channel);
    let fail = |at| readiness.target(&channel, |target| target.fail(at, "gone\n"));
    fail(t);
    readiness.target(&channel, |target| target.probed(t, Probe::Failed("x".into())));
    assert_eq!(text(&readiness, t + seconds(90)), "200 ready");
    fail(t);
    assert_eq!(text(&readiness, t), "503 mcp channel \"main\" keeps failing: gone\\n");
    readiness.target_answered(&channel);
    assert_eq!(text(&readiness, t), "200 ready");
    fail(t);
    fail(t + seconds(11));
    assert!(!readiness.verdict_at(t + seconds(11)).0);
}

#[test]
fn a_reply_that_is_no_answer_ends_failed_calls_but_not_a_failed_probe() {
    let t = Instant::now();
    let channel = Channel::main();
    let readiness = reached(t);
    readiness.target_reached(&channel);
    assert_eq!(text(&readiness, t), "503 mcp startup probe pending");
    readiness.probed(&channel, Probe::Failed("the server answered 403".into()));
    readiness.target_reached(&channel);
    assert_eq!(text(&readiness, t), "503 mcp probe failed: the server answered 403");
    readiness.target_answered(&channel);
    assert_eq!(text(&readiness, t), "200 ready");

    let fail = || readiness.target(&channel, |target| target.fail(t, "gone"));
    (0..3).for_each(|_| fail());
    assert!(!readiness.verdict_at(t).0);
    readiness.target_reached(&channel);
    assert_eq!(text(&readiness, t), "200 ready");
    // The run is over too.
    (0..2).for_each(|_| fail());
    assert_eq!(text(&readiness, t), "200 ready");

    // Refused calls between failing probes do not keep a server ready.
    for _ in 0..3 {
        readiness.probed(&channel, Probe::Failed("the server answered 403".into()));
        readiness.target_reached(&channel);
    }
    assert_eq!(text(&readiness, t), "503 mcp probe failed: the server answered 403");
}

#[test]
fn foreign_text_is_bounded() {
    let readiness = reached(Instant::now());
    readiness.probed(&Channel::main(), Probe::Failed("\u{1b}[2J".repeat(500)));
    let (_, text) = readiness.verdict();
    assert!(text.len() <= 256 + "mcp probe failed: ".len(), "{}", text.len());
    assert!(!text.contains('\u{1b}'));
}
