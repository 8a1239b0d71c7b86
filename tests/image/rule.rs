//! U-Boot with the image's script, and its twin: for each state of the record and the kernels both take the same slot and
//! leave the same record. The kernels are a hundred bytes that say which slot they are of.

use crate::KERNELS;
use crc::{CRC_32_ISO_HDLC, Crc};
use protocol::update::{COPY_OFFSETS, RECORD_LEN, Record, Slot, rule};
use std::fs;
use std::process::Command;
use tests::card::{BOOT, Board, Card, Conditions, Machine};
use tests::poll;

const BLOCK: usize = 512;

/// Prints what follows it on the first serial port of QEMU's board.
const CODE: [u32; 8] = [
    0x1000_0101, // adr x1, text
    0xd2a1_2002, // mov x2, #0x9000000
    0x3840_1423, // next: ldrb w3, [x1], #1
    0x3400_0063, // cbz w3, end
    0x3900_0043, // strb w3, [x2]
    0x17ff_fffd, // b next
    0xd503_205f, // end: wfe
    0x17ff_ffff, // b end
];

/// A kernel's header (Documentation/arch/arm64/booting.rst) and what it jumps to.
fn program(text: &str) -> Vec<u8> {
    let mut words = [0; 16];
    // Over the header.
    words[0] = 0x1400_0010;
    // Bytes of memory; it may be anywhere.
    (words[4], words[6]) = (0x1000, 0x8);
    words[14] = u32::from_le_bytes(*b"ARM\x64");
    words.iter().chain(&CODE).flat_map(|word| word.to_le_bytes()).chain(text.bytes()).chain([0]).collect()
}

/// A kernel slot as images/README.md draws it.
fn kernel(slot: Slot, folder: &Card) -> Vec<u8> {
    let image = program(&format!("kernel of slot {slot}\r\n"));
    let file = folder.path().with_file_name("payload");
    fs::write(&file, image).expect("the card's folder is writable");
    let packed = Command::new("gzip").arg("-nc").arg(&file).output().expect("gzip is everywhere").stdout;
    let mut payload = packed.clone();
    payload.resize(BLOCK, 0);
    let initrd = (BLOCK + payload.len()) as u32;
    payload.extend([b'i'; BLOCK]);
    let mut header = b"FWKS".to_vec();
    let words = [1, (payload.len() / BLOCK) as u32, packed.len() as u32, BLOCK as u32, initrd, sum(&payload)];
    header.extend(words.iter().flat_map(|word| word.to_le_bytes()));
    header.extend(sum(&header).to_le_bytes());
    header.resize(BLOCK, 0);
    [header, payload].concat()
}

fn sum(bytes: &[u8]) -> u32 {
    Crc::<u32>::new(&CRC_32_ISO_HDLC).checksum(bytes)
}

/// What is wrong with a slot's kernel.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Kernel {
    Whole,
    /// As an update in progress leaves it.
    Headless,
    /// A bit of the header's numbers.
    Header,
    /// A bit of the rest.
    Payload,
}

type State = (&'static str, [[u8; RECORD_LEN]; 2], [Kernel; 2]);

fn record(generation: u32, good: Slot, tries: Option<u32>) -> [u8; RECORD_LEN] {
    Record { generation, good, tries }.bytes()
}

/// Half of it was written over what was there before.
fn torn(record: [u8; RECORD_LEN]) -> [u8; RECORD_LEN] {
    let mut torn = [0x5a; RECORD_LEN];
    torn[..20].copy_from_slice(&record[..20]);
    torn
}

fn states() -> Vec<State> {
    use Kernel::{Header, Headless, Payload, Whole};
    use Slot::{A, B};
    let both = |record| [record, record];
    let whole = [Whole; 2];
    vec![
        ("a new card", [[0; RECORD_LEN]; 2], whole),
        ("a is good", both(record(1, A, None)), whole),
        ("b is good", both(record(2, B, None)), whole),
        ("the second copy is newer", [record(255, A, None), record(256, B, None)], whole),
        ("the first copy is newer", [record(0x1_0000, B, None), record(0xffff, A, None)], whole),
        ("the newer copy is torn", [torn(record(9, B, None)), record(8, A, None)], whole),
        ("the second copy is torn", [record(8, B, None), torn(record(9, A, None))], whole),
        ("both copies are torn", both(torn(record(9, B, None))), whole),
        ("b is on trial", both(record(4, A, Some(3))), whole),
        ("a is on trial for the last time", both(record(4, B, Some(1))), whole),
        ("the trial is spent", both(record(4, A, Some(0))), whole),
        ("one copy has the trial", [record(3, A, None), record(4, A, Some(3))], whole),
        ("the kernel on trial is headless", both(record(4, A, Some(3))), [Whole, Headless]),
        ("the kernel on trial has a damaged header", both(record(4, A, Some(3))), [Whole, Header]),
        ("the kernel on trial is damaged", both(record(4, B, Some(2))), [Payload, Whole]),
        ("the good kernel is damaged", both(record(4, A, None)), [Payload, Whole]),
        ("the trial is spent and the good kernel damaged", both(record(4, A, Some(0))), [Payload, Whole]),
        ("both kernels are damaged", both(record(4, A, None)), [Payload, Headless]),
    ]
}

fn put(card: &Card, copies: &[[u8; RECORD_LEN]; 2], kernels: [Kernel; 2]) {
    for (copy, offset) in copies.iter().zip(COPY_OFFSETS) {
        card.write_at(copy, offset);
    }
    for ((slot, state), offset) in [Slot::A, Slot::B].into_iter().zip(kernels).zip(KERNELS) {
        let mut bytes = kernel(slot, card);
        match state {
            Kernel::Whole => {}
            Kernel::Headless => bytes[..BLOCK].fill(0),
            Kernel::Header => bytes[12] ^= 1,
            Kernel::Payload => bytes[BLOCK + 40] ^= 1,
        }
        card.write_at(&bytes, offset);
    }
}

/// What U-Boot starts from this card, which comes back.
#[track_caller]
fn started(conditions: Conditions, card: Card, name: &str) -> (Option<Slot>, Card) {
    let board = Board::start_under(conditions, Machine::Virt, card);
    let ends =
        [("no slot has a kernel", None), ("kernel of slot a", Some(Slot::A)), ("kernel of slot b", Some(Slot::B))];
    let said = || ends.iter().find_map(|(end, slot)| board.console().find(&[end]).map(|_| *slot));
    let slot = poll::until(&format!("U-Boot starts a kernel where {name}"), BOOT, said);
    (slot, board.power_off())
}

#[test]
fn u_boot_takes_the_slot_that_its_twin_takes_and_leaves_the_same_record() {
    let mut card = Card::of("virt", "rule", 512);
    for (name, copies, kernels) in states() {
        put(&card, &copies, kernels);
        let wanted = rule::boot(&copies, |slot| kernels[slot as usize] == Kernel::Whole);
        let slot;
        (slot, card) = started(Conditions::default(), card, name);
        assert_eq!(slot, wanted.slot, "{name}");
        let after = Record::newest(&COPY_OFFSETS.map(|offset| card.read_at(offset)));
        let before = Record::newest(&copies).map(|record| (record.good, record.tries));
        let left = after.map(|record| (record.good, record.tries));
        assert_eq!(left, wanted.written.or(before), "{name}");
    }
}

#[test]
fn u_boot_starts_no_trial_from_a_card_that_takes_no_writes() {
    let mut card = Card::of("virt", "rule-read-only", 512);
    let on_trial = |state: &State| Record::newest(&state.1).is_some_and(|record| record.tries.is_some());
    for (name, copies, kernels) in states().into_iter().filter(on_trial) {
        put(&card, &copies, kernels);
        let wanted = rule::boot_read_only(&copies, |slot| kernels[slot as usize] == Kernel::Whole);
        let slot;
        (slot, card) = started(Conditions { read_only: true, ..Conditions::default() }, card, name);
        assert_eq!(slot, wanted, "{name}");
    }
}
