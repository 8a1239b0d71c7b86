//! A start in which something before the worker hangs.

use protocol::update::{COPY_OFFSETS, Record, Slot};
use tests::Server;
use tests::card::{BOOT, Board, Card, Machine};

/// Compared with what is kept, which somebody made a pipe of that nobody writes to: so reading never ends.
const KEYS: &str = "ssh_keys = [\"ssh-ed25519 AAAAC3Nz me@desk\"]\n";
const PIPE: &str = "/data/ssh/authorized_keys";

const SETTINGS: &str = "firmware-worker-board.service";

#[test]
fn settings_that_are_never_read_to_their_end_keep_neither_the_worker_nor_who_looks_after_updates() {
    let server = Server::start_for_guest();
    let card = Card::of("virt", "stuck", 512);
    card.configure(&server, "");
    card.open_shell(Machine::Virt);
    let mut board = Board::start(Machine::Virt, card);
    board.wait("registered as", BOOT);
    board.must(&format!("mkfifo {PIPE}"));
    let card = board.shut_down();

    card.configure(&server, KEYS);
    let (record, order) = Record::successor(&COPY_OFFSETS.map(|at| card.read_at(at)), Slot::B, Some(3));
    order.into_iter().for_each(|index| card.write_at(&record.bytes(), COPY_OFFSETS[index]));
    let mut board = Board::start(Machine::Virt, card);
    board.wait_shell();
    board.must("while ! systemctl is-active firmware-worker-update.service; do usleep 200000; done");
    assert_eq!(board.must(&format!("systemctl show --value --property ActiveState {SETTINGS}")), "activating");
    assert!(board.must("firmware-worker update --status").contains("it is on trial, with 2 starts left"));
    // As systemd does when their time is over, which nobody here waits for.
    assert_eq!(board.must(&format!("systemctl show --value --property TimeoutStartUSec {SETTINGS}")), "5min");
    board.must(&format!("systemctl kill --signal=KILL {SETTINGS}"));
    board.wait("registered as", BOOT);
    board.must("while firmware-worker update --status | grep 'on trial'; do usleep 200000; done");
}
