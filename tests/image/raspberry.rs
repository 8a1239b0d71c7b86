//! The image for Raspberry Pis, as far as QEMU has one: a Pi 3 without its firmware, radio and VideoCore.

use tests::Server;
use tests::card::{BOOT, Board, Card, Machine};

#[test]
fn a_raspberry_pi_3_starts_from_its_card_through_u_boot_and_registers() {
    let server = Server::start_for_guest();
    let card = Card::of("rpi-64", "rpi-64", 512);
    card.configure(&server, "");
    card.open_shell(Machine::RaspberryPi3);
    let mut board = Board::start(Machine::RaspberryPi3, card);
    board.wait("slot a: starting", BOOT);
    board.wait("registered as", BOOT);
    assert_eq!(board.must("systemctl --failed --plain --no-legend"), "");
}
