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

/// Each of these calls with what a card that is there fails with, and with what one says that is not.
fn each(calls: &[Call]) -> impl Iterator<Item = (Call, i32)> {
    let errnos = [libc::EPIPE, libc::ESTRPIPE, libc::EIO, libc::ENODEV];
    calls.iter().flat_map(move |call| errnos.map(|errno| (*call, errno)))
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
        if errno == libc::ENODEV {
            assert_eq!(play(&mut playback, |_| false), [Turn::Gone], "{call:?}");
            continue;
        }
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
    let calls =
        Call::ALL.into_iter().filter(|call| !matches!(call, Call::Resume | Call::Room | Call::Delay | Call::Wait));
    for (call, errno) in each(&calls.collect::<Vec<_>>()) {
        let name = format!("fake-set-up-{call:?}-{errno}");
        let card = Card::simulated(&name, 0.0);
        card.fail(call, errno);
        let error = Playback::start(&name, 1).unwrap_err().to_string();
        let says = if errno == libc::ENODEV { "no such sound card" } else { "snd_pcm_" };
        assert!(error.starts_with(&format!("{name}: {says}")), "{error}");
        assert_eq!(card.in_use(), 0, "{call:?} {errno}");
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

/// Every call, failing once in every way, whenever: the start is an error that names the card, or it plays on after a gap,
/// or the card is gone for good.
#[test]
fn every_errno_at_every_call_is_recovered_from_or_a_clear_stop() {
    let errnos = [
        libc::EPIPE,
        libc::ESTRPIPE,
        libc::ENODEV,
        libc::ENXIO,
        libc::EIO,
        libc::EAGAIN,
        libc::EINTR,
        libc::EBADFD,
        libc::EINVAL,
        libc::ENOSPC,
        libc::ENOMEM,
        libc::EACCES,
        libc::EBUSY,
        libc::ENOSYS,
    ];
    let (mut refused, mut recovered, mut gone) = (0, 0, 0);
    let cases = Call::ALL.into_iter().flat_map(|call| errnos.map(|errno| (call, errno)));
    for (i, (call, errno)) in cases.enumerate() {
        // Before it is opened, while it plays, and while it is started again.
        for when in 0..3 {
            let name = format!("fake-every-{i}-{when}");
            let card = Card::simulated(&name, 0.0);
            if when == 0 {
                card.fail(call, errno);
            }
            let Ok(mut playback) = Playback::start(&name, 1) else {
                (refused, _) = (refused + 1, assert_eq!((when, card.in_use()), (0, 0), "{call:?} {errno}"));
                continue;
            };
            let mut turns = play(&mut playback, for_a_while(2));
            if when == 2 {
                card.fail(Call::Room, libc::ESTRPIPE);
            }
            if when > 0 {
                card.fail(call, errno);
            }
            // What does not know when it is heard is no time.
            let _ = playback.leaves_ns();
            turns.extend(play(&mut playback, for_a_while(20)));
            match turns[..] {
                [.., Turn::Gone] => gone += 1,
                _ => recovered += 1,
            }
            assert!(turns.len() <= 2 && !turns.contains(&Turn::Stuck), "{call:?} {errno} {when}: {turns:?}");
        }
    }
    assert!(refused > 50 && recovered > 50 && gone > 20, "{refused} {recovered} {gone}");
}

#[test]
fn a_card_that_does_not_say_what_it_holds_has_no_time_for_what_it_plays_and_plays_on() {
    for (_, errno) in each(&[Call::Delay]) {
        let name = format!("fake-delay-{errno}");
        let card = Card::simulated(&name, 0.0);
        let mut playback = Playback::start(&name, 1).unwrap();
        play(&mut playback, for_a_while(2));
        assert!(playback.leaves_ns().is_some());
        card.fail(Call::Delay, errno);
        assert_eq!(playback.leaves_ns(), None, "{errno}");
        assert_eq!(play(&mut playback, for_a_while(3)), [Turn::Xrun], "{errno}: such a card has stopped");
        assert!(playback.leaves_ns().is_some());
    }
}

#[test]
fn the_best_rate_and_the_smallest_format_are_agreed_on() {
    use SampleFormat::{Float, S16, S24, S24Packed, S32};
    let agreed = |formats: &[SampleFormat], rates: &[u32]| {
        let name = format!("fake-agreed-{formats:?}-{rates:?}");
        let _card = Card::simulated(&name, 0.0).with(formats, rates);
        let shape = Playback::start(&name, 2).map_err(|e| e.to_string())?.shape();
        Ok::<_, String>((shape.format, shape.rate, shape.period, shape.to_string()))
    };
    let plain = "2 ch 48000 Hz, period 10.0 ms, buffer 50 ms";
    assert_eq!(agreed(&[S32, S16], &[44_100, 48_000]), Ok((S16, 48_000, 480, plain.into())));
    let packed = "S24_3LE 2 ch 44100 Hz, period 10.0 ms, buffer 50 ms";
    assert_eq!(agreed(&[Float, S24Packed], &[16_000, 44_100]), Ok((S24Packed, 44_100, 441, packed.into())));
    assert_eq!(agreed(&[S24], &[96_000]).map(|agreed| agreed.2), Ok(960));
    assert_eq!(agreed(&[Float], &[16_000]).map(|agreed| agreed.2), Ok(160));
    for (formats, rates) in [(&[S16][..], &[8_000][..]), (&[], &[48_000])] {
        let error = agreed(formats, rates).unwrap_err();
        assert!(error.contains(": plays none of S16, S24, S24_3, S32 and FLOAT at 16 to 96 kHz"), "{error}");
    }
}

#[test]
fn every_format_and_rate_plays_the_same_samples_at_its_own_pace() {
    for format in SampleFormat::ALL {
        for rate in [16_000, 44_100, 48_000, 96_000] {
            let name = format!("fake-plays-{format:?}-{rate}");
            let card = Card::simulated(&name, 0.0).with(&[format], &[rate]);
            let mut playback = Playback::start(&name, 2).unwrap();
            let period = playback.period();
            for n in 0..100 {
                // Each sample names its place.
                let place = |i: usize| ((n * period + i) * 7) as i16;
                let frames: Vec<Frame> = (0..period).map(|i| [place(i), !place(i)]).collect();
                assert_eq!((playback.wait(SECOND), playback.write(&frames)), (Turn::Ready, Turn::Ready));
            }
            let took = card.pass(Duration::ZERO).as_millis();
            assert!(took.abs_diff(990) <= 2, "{took} ms for a second, of which a period is due at once");
            let played = card.take_played().split_off((AHEAD - 1) * period);
            assert_eq!(played.len(), 100 * period);
            for (n, frame) in played.into_iter().enumerate() {
                assert_eq!(frame, [(n * 7) as i16, !((n * 7) as i16)], "{format:?} {rate} frame {n}");
            }
        }
    }
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
    assert_eq!(mono, [200, i16::MIN]);
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
