//! The board that QEMU plays best.

use tests::card::{BOOT, Board, Card, Machine};
use tests::{Server, poll};

/// From kernel to registered at most, seconds.
const REGISTERED_S: f64 = 20.0;

/// The same beside builds, which take more of this machine than its processors' time.
const REGISTERED_BUSY_S: f64 = 60.0;

/// Longer than this the board's processors do not wait for this machine's where it has nothing else to do, seconds.
const BUSY_S: f64 = 1.0;

/// MiB that nobody else can have, with the worker idle.
const MEMORY_MIB: u64 = 90;

#[test]
fn a_board_starts_from_its_card_registers_and_keeps_what_must_persist() {
    let server = Server::start_for_guest();
    let card = Card::of("virt", "virt", 512);
    card.configure(&server, "[isolation]\nmode = \"strict\"\n");
    card.open_shell(Machine::Virt);
    let mut board = Board::start(Machine::Virt, card);
    board.wait("Starting kernel", BOOT);
    let (kernel, waited) = (poll::monotonic(), board.waited());
    board.wait("registered as", BOOT);
    let (took, waited) = (poll::monotonic() - kernel, board.waited() - waited);
    println!("kernel to registered: {took:.1} s, of which {waited:.1} s in wait for a processor");
    assert!(took <= if waited < BUSY_S { REGISTERED_S } else { REGISTERED_BUSY_S }, "{took:.1} s");

    let used: u64 =
        board.must("awk '/MemTotal/{t=$2} /MemAvailable/{print t-$2}' /proc/meminfo").parse().expect("a number");
    println!("MemTotal - MemAvailable: {} MiB", used / 1024);
    assert!(used / 1024 <= MEMORY_MIB, "{used} KiB");
    assert_eq!(board.must("systemctl --failed --plain --no-legend"), "");
    let data: u64 = board.must("df -m /data | tail -n 1 | awk '{print $2}'").parse().expect("a number");
    assert!(data > 150, "grown to the card, not {data} MiB");
    let id = board.must("cat /etc/machine-id");
    board.must("sync");

    let mut board = Board::start(Machine::Virt, board.power_off());
    board.wait("registered as", BOOT);
    assert_eq!(board.must("cat /etc/machine-id"), id);
}
