//! A board with systemd that is told to power off while a job streams.

use super::board::{Board, SLOW, soaks};
use std::time::Duration;

/// The promise, from the signal on; `tools/test soak powers_off` asks for it.
const GONE: Duration = Duration::from_secs(2);
/// As far as a test of an emulated board may ask: all that ends there at once shares two processors, each about twenty times
/// slower than this machine's. Less than the drain of half a minute, which a worker has that is told to end alone.
const GONE_EMULATED: Duration = Duration::from_secs(20);

#[test]
fn a_board_that_powers_off_leaves_its_rooms_at_once_and_not_after_a_drain() {
    let mut board = Board::boot("power-off");
    board.must("dpkg -i /test/1.deb");
    board.configure();
    let judge = board.seen("ends");
    let mark = judge.mark();
    board.guest.type_line("echo powers off; systemctl poweroff");
    let console = |text: &str| {
        board.guest.wait_console(text, SLOW);
        board.guest.console().find(&[text]).expect("it was just there").at
    };
    let (asked, signalled) = (console("powers off"), console("draining: no new jobs"));
    // Systemd says it too, but on a busy board too late: a sign that is broken must not hide behind it.
    let known = console("the system goes down, as its sign says: all rooms are left now");
    let left = judge.wait_from(mark, "the board has left", SLOW, |e| e.name() == "participant_left").at();
    println!(
        "left {:.1} s after the signal, of {} that it may take, {:.1} s after the command; knew why {:.1} s after the signal",
        left - signalled,
        GONE.as_secs(),
        left - asked,
        known - signalled
    );
    let (took, limit) = if soaks() { (left - signalled, GONE) } else { (left - asked, GONE_EMULATED) };
    assert!(took < limit.as_secs_f64(), "{took:.1} s");
    board.guest.wait_off(SLOW);
}
