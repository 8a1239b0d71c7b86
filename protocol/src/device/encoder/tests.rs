#![expect(clippy::disallowed_methods, reason = "simulated time starts at any instant")]

use super::*;

const MINUTE: Duration = Duration::from_secs(60);

fn encoder(wish: Wish, there: bool) -> Result<(Encoder, String), String> {
    let hardware = if there { Ok("/dev/video11, coda".to_owned()) } else { Err("there is none".to_owned()) };
    for_pictures(wish, hardware).map(|choice| (choice.encoder, choice.why))
}

#[test]
fn a_cameras_own_h264_is_taken_unless_something_else_is_wanted_or_it_must_be_mirrored() {
    use Wish::{Auto, Hardware, Passthrough, Software};
    assert_eq!(of_node(Auto, false), Ok(Encoded::Preferred));
    assert_eq!(of_node(Passthrough, false), Ok(Encoded::Only));
    assert!(of_node(Passthrough, true).is_err_and(|why| why.contains("hflip") && why.contains("auto")));
    for (wish, mirrored) in [(Auto, true), (Hardware, false), (Hardware, true), (Software, false)] {
        assert_eq!(of_node(wish, mirrored), Ok(Encoded::Never));
    }
}

#[test]
fn the_boards_encoder_is_taken_where_there_is_one_and_else_why_not_is_said() {
    let board = Ok((Encoder::Hardware, "/dev/video11, coda".to_owned()));
    assert_eq!(encoder(Wish::Auto, true), board);
    assert_eq!(encoder(Wish::Hardware, true), board);
    assert_eq!(encoder(Wish::Software, true), Ok((Encoder::Software, "as configured".to_owned())));
    assert_eq!(encoder(Wish::Auto, false), Ok((Encoder::Software, "there is none".to_owned())));
}

#[test]
fn a_wish_that_cannot_be_met_is_said() {
    for (wish, word) in [(Wish::Hardware, "\"hardware\""), (Wish::Passthrough, "\"passthrough\"")] {
        assert!(encoder(wish, false).is_err_and(|why| why.contains(word) && why.contains("auto")));
    }
}

#[test]
fn an_encoder_that_fails_starts_again_and_is_given_up_the_third_time_without_a_unit_between() {
    let mut attempts = Attempts::default();
    for _ in 0..100 {
        assert_eq!([attempts.failed(true), attempts.failed(true)], [Verdict::Again; 2]);
        attempts.coded();
    }
    let verdicts = [(); 3].map(|()| attempts.failed(true));
    assert_eq!(verdicts, [Verdict::Again, Verdict::Again, Verdict::GiveUp]);
    assert_eq!(Attempts::default().failed(false), Verdict::GiveUp, "what no new start mends");
}

#[test]
fn an_encoder_that_was_given_up_is_tried_at_the_first_opening_after_its_rest_which_doubles() {
    let (mut board, mut now) = (Board::default(), Instant::now());
    assert_eq!(board.trial(Wish::Auto, now), Ok(()));
    for minutes in [1, 2, 4, 8, 16, 32, 60, 60] {
        board.chosen();
        board.given_up("it stalled".into(), now);
        let rests = "it stalled; the board's encoder rests, and is tried at an opening";
        let resting = |minutes| Err(format!("{rests} {minutes} min after this one"));
        assert_eq!(board.trial(Wish::Auto, now), resting(minutes));
        now += minutes * MINUTE - Duration::from_millis(1);
        assert_eq!(board.trial(Wish::Auto, now), resting(1));
        now += Duration::from_millis(1);
        assert_eq!(board.trial(Wish::Auto, now), Ok(()));
    }
}

#[test]
fn an_encoder_that_has_worked_for_a_minute_rests_no_longer_than_the_first_time() {
    let (mut board, mut now) = (Board::default(), Instant::now());
    let mut work = |worked: Duration| {
        board.chosen();
        board.coded(now);
        now += worked;
        // The first counts, not the last.
        board.coded(now);
        rest(&mut board, &mut now)
    };
    let short = MINUTE - Duration::from_millis(1);
    assert_eq!([short, short].map(&mut work), [MINUTE, 2 * MINUTE]);
    assert_eq!(work(MINUTE), MINUTE);
}

#[test]
fn an_encoder_that_has_given_nothing_has_not_worked_however_long_the_camera_was_open() {
    let (mut board, mut now) = (Board::default(), Instant::now());
    let rests = [1, 2, 4].map(|_| {
        board.chosen();
        now += 60 * MINUTE;
        rest(&mut board, &mut now)
    });
    assert_eq!(rests, [MINUTE, 2 * MINUTE, 4 * MINUTE]);
}

#[test]
fn work_for_an_opening_that_ended_well_counts_in_the_next() {
    let (mut board, mut now) = (Board::default(), Instant::now());
    let mut close_and_fail = |worked: Duration| {
        board.chosen();
        board.coded(now);
        now += worked;
        board.closed(now);
        // In software, for example.
        board.coded(now);
        now += 60 * MINUTE;
        board.closed(now);
        board.chosen();
        rest(&mut board, &mut now)
    };
    let short = MINUTE - Duration::from_millis(1);
    assert_eq!([short, short, MINUTE].map(&mut close_and_fail), [MINUTE, 2 * MINUTE, MINUTE]);
}

#[test]
fn an_encoder_rests_until_it_is_chosen_again_and_not_only_until_it_may_be() {
    let (mut board, now) = (Board::default(), Instant::now());
    board.chosen();
    assert!(!board.rests());
    board.given_up("it stalled".into(), now);
    board.closed(now);
    assert_eq!((board.trial(Wish::Auto, now + MINUTE), board.rests()), (Ok(()), true));
    board.chosen();
    assert!(!board.rests());
}

/// How long it rests when it is given up at `now`, which is the end of that then.
fn rest(board: &mut Board, now: &mut Instant) -> Duration {
    board.given_up("it stalled".into(), *now);
    let given_up = *now;
    while board.trial(Wish::Auto, *now).is_err() {
        *now += MINUTE;
    }
    *now - given_up
}

#[test]
fn who_wants_no_other_encoder_gets_it_however_often_it_was_given_up() {
    let (mut board, now) = (Board::default(), Instant::now());
    board.given_up("it stalled".into(), now);
    assert!(board.trial(Wish::Auto, now).is_err());
    assert_eq!(board.trial(Wish::Hardware, now), Ok(()));
}
