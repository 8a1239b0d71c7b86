//! The image for Raspberry Pis, as far as QEMU has one: a Pi 3 without its firmware, radio and VideoCore.

use tests::card::{BOOT, Board, Card, Machine};
use tests::{Server, poll};

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

#[test]
fn a_raspberry_pi_that_does_not_find_its_script_tries_again_whatever_comes_on_its_serial_line() {
    let card = Card::of("rpi-64", "rpi-64-prompt", 512);
    card.put("boot.scr", "cut off");
    let mut board = Board::start(Machine::RaspberryPi3, card);
    board.type_line("noise");
    // After a reset it does not say its name.
    let tries = || board.console().find(&["Executing script"]);
    let began = poll::until("U-Boot tries the script", BOOT, tries).at;
    poll::until("U-Boot tries it again", BOOT, || tries().filter(|line| line.at > began));
}
