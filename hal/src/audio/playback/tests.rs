use super::fake::{Call, Card};
use super::*;

const SECOND: Duration = Duration::from_secs(1);

/// Far above what anything here takes, far below a hung test.
const PATIENCE: Duration = Duration::from_secs(10);

/// Plays periods until `done`; the turns that were not `Ready`.
fn play(playback: &mut Playback, mut done: impl FnMut(&[Turn]) -> bool) -> Vec<Turn> {
    let (mut turns, start) = (Vec::new(), Instant::now());
    let frames = vec![[1000, -1000]; playback.period()];
    while !done(&turns) {
        assert!(start.elapsed() < PATIENCE, "{turns:?}");
        let mut turn = playback.wait(SECOND);
        if turn == Turn::Ready {
            turn = playback.write(&frames);
        }
        match turn {
            Turn::Ready => {}
            Turn::Gone => return [turns, vec![Turn::Gone]].concat(),
            other => turns.push(other),
        }
    }
    turns
}

fn for_a_while(periods: usize) -> impl FnMut(&[Turn]) -> bool {
    let mut count = 0;
    move |_| {
        count += 1;
        count > periods
    }
}

/// Each of these calls with what a card that is there fails with.
fn each(calls: &[Call]) -> impl Iterator<Item = (Call, i32)> {
    calls.iter().flat_map(|call| [libc::EPIPE, libc::ESTRPIPE, libc::EIO].map(|errno| (*call, errno)))
}

#[test]
fn a_card_is_filled_with_silence_and_then_played_at_its_own_pace() {
    for (ppm, ms) in [(0.0, 1000), (10_000.0, 990)] {
        let name = format!("fake-pace-{ppm}");
        let card = Card::simulated(&name, ppm);
        let mut playback = Playback::start(&name, 2).unwrap();
        // The first one is due at once.
        assert_eq!(play(&mut playback, for_a_while(101)), []);
        let took = card.pass(Duration::ZERO).as_millis();
        assert!(took.abs_diff(ms) <= 2, "{took} ms at {ppm} ppm");
        let played = card.take_played();
        assert_eq!(played.len(), (101 + AHEAD - 1) * 480);
        assert!(played[..(AHEAD - 1) * 480].iter().all(|frame| *frame == [0; 2]));
        assert!(played[(AHEAD - 1) * 480..].iter().all(|frame| *frame == [1000, -1000]));
    }
}

#[test]
fn each_call_that_fails_once_costs_a_restart_and_no_more() {
    for (call, errno) in each(&[Call::Room, Call::Wait, Call::Write]) {
        let name = format!("fake-once-{call:?}-{errno}");
        let card = Card::simulated(&name, 0.0);
        let mut playback = Playback::start(&name, 1).unwrap();
        play(&mut playback, for_a_while(2));
        // Not every card can resume.
        card.fail(Call::Resume, libc::ENOSYS);
        card.fail(call, errno);
        assert_eq!(play(&mut playback, |turns| !turns.is_empty()), [Turn::Xrun], "{call:?} {errno}");
        assert_eq!(play(&mut playback, for_a_while(3)), [], "{call:?} {errno}");
        assert_eq!(card.starts(), 2);
    }
}

#[test]
fn a_card_that_cannot_be_started_again_is_gone() {
    for (call, errno) in each(&[Call::Prepare, Call::Write, Call::Start]) {
        let name = format!("fake-stays-down-{call:?}-{errno}");
        let card = Card::simulated(&name, 0.0);
        let mut playback = Playback::start(&name, 1).unwrap();
        card.fail(Call::Room, libc::EPIPE);
        card.fail(call, errno);
        assert_eq!(playback.wait(SECOND), Turn::Gone, "{call:?} {errno}");
    }
}

#[test]
fn a_card_that_is_unplugged_is_gone_whatever_call_finds_out() {
    for (i, call) in [Call::Room, Call::Wait, Call::Write].into_iter().enumerate() {
        let name = format!("fake-gone-{i}");
        let card = Card::simulated(&name, 0.0);
        let mut playback = Playback::start(&name, 1).unwrap();
        play(&mut playback, for_a_while(2));
        card.fail(call, libc::ENODEV);
        assert_eq!(play(&mut playback, |_| false), [Turn::Gone]);
    }
    let card = Card::simulated("fake-pulled", 0.0);
    let mut playback = Playback::start("fake-pulled", 1).unwrap();
    card.unplug(true);
    assert_eq!(play(&mut playback, |_| false), [Turn::Gone]);
    assert!(matches!(Playback::start("fake-pulled", 1), Err(Error::Missing(_))));
    card.unplug(false);
    assert!(Playback::start("fake-pulled", 1).is_ok());
}

#[test]
fn a_card_that_cannot_be_set_up_says_which_call_failed() {
    for (call, errno) in each(&[Call::Open, Call::Prepare, Call::Write, Call::Start]) {
        let name = format!("fake-set-up-{call:?}-{errno}");
        let card = Card::simulated(&name, 0.0);
        card.fail(call, errno);
        let error = Playback::start(&name, 1).unwrap_err().to_string();
        assert!(error.starts_with(&format!("{name}: snd_pcm_")), "{error}");
        assert!(Playback::start(&name, 1).is_ok(), "{call:?} {errno}: the next start");
    }
}

#[test]
fn a_card_that_cannot_be_had_says_why_and_what_to_do() {
    for (errno, says) in [
        (libc::EBUSY, "in use by another program"),
        (libc::EAGAIN, "in use by another program"),
        (libc::EACCES, "permission denied (is this user in the group `audio`?)"),
        (libc::EPERM, "permission denied (is this user in the group `audio`?)"),
        (libc::ENOSPC, "no bandwidth is left on its USB bus; use another port, or lower a camera's size or rate"),
        (libc::ENODEV, "no such sound card (`firmware-worker devices` lists those there are)"),
    ] {
        let name = format!("fake-refused-{errno}");
        let card = Card::simulated(&name, 0.0);
        card.fail(Call::Open, errno);
        assert_eq!(Playback::start(&name, 1).unwrap_err().to_string(), format!("{name}: {says}"));
    }
}

#[test]
fn a_card_that_fails_again_and_again_is_gone() {
    let card = Card::simulated("fake-broken", 0.0);
    let mut playback = Playback::start("fake-broken", 1).unwrap();
    let mut xruns = 0;
    for _ in 0..=MAX_RESTARTS {
        card.fail(Call::Room, libc::EPIPE);
        match playback.wait(SECOND) {
            Turn::Xrun => xruns += 1,
            turn => assert_eq!(turn, Turn::Gone),
        }
    }
    assert_eq!(xruns, MAX_RESTARTS);
}

#[test]
fn a_thread_that_is_late_is_told_of_the_xrun() {
    let card = Card::simulated("fake-late", 0.0);
    let mut playback = Playback::start("fake-late", 2).unwrap();
    play(&mut playback, for_a_while(3));
    // Longer than the card's buffer.
    card.pass(Duration::from_millis(80));
    assert_eq!(playback.wait(SECOND), Turn::Xrun);
    assert_eq!(play(&mut playback, for_a_while(3)), []);
}

#[test]
fn a_pcm_without_a_clock_is_paced_by_ours() {
    let mut playback = Playback::start("null", 2).unwrap();
    // It takes the probe at once.
    let probe = (PROBE as usize + playback.shape.buffer) / 480 + 1;
    play(&mut playback, for_a_while(probe));
    let start = Instant::now();
    assert_eq!(play(&mut playback, for_a_while(20)), []);
    assert!(start.elapsed() > SECOND / 6, "{:?}", start.elapsed());
}

#[test]
fn stereo_becomes_what_the_card_has() {
    let mut mono = [9; 2];
    spread(&[[100, 300], [i16::MIN, i16::MIN]], 1, &mut mono);
    assert_eq!(mono, [200, i32::from(i16::MIN)]);
    let mut four = [9; 4];
    spread(&[[1, 2]], 4, &mut four);
    assert_eq!(four, [1, 2, 0, 0]);
}

#[test]
fn a_card_that_is_not_there_is_missing() {
    for name in ["hw:CARD=none_such", "a\0b", ""] {
        assert!(matches!(Playback::start(name, 2), Err(Error::Missing(_))), "{name:?}");
    }
}

#[test]
fn a_period_leaves_the_card_after_what_it_held_already() {
    let _card = Card::plug_in("fake-leaves", 0.0);
    let mut playback = Playback::start("fake-leaves", 2).unwrap();
    let frames = vec![[1000, -1000]; playback.period()];
    let mut earlier = None;
    for _ in 0..20 {
        assert_eq!((playback.wait(SECOND), playback.write(&frames)), (Turn::Ready, Turn::Ready));
        let (now, leaves) = (monotonic_ns(), playback.leaves_ns().unwrap());
        // Three periods, less what passes until the thread runs.
        assert!((5_000_000..=31_000_000).contains(&(leaves - now)), "{} ns ahead", leaves - now);
        if let Some(earlier) = earlier.replace(leaves) {
            assert!((9_900_000..=10_100_000).contains(&(leaves - earlier)), "{} ns apart", leaves - earlier);
        }
    }
}
