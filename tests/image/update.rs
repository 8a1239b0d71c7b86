//! Updates of a whole image: installed from a server and kept, taken back, and with the plug pulled in between.

use crate::recording::{
    Event, Recording, Replay, boot_file, check_boot_partition, check_file_system, is_of_boot_partition, thinned,
    write_with_holes,
};
use crate::release::Release;
use crate::{DATA, KERNELS, ROOTS};
use protocol::update::{COPY_OFFSETS, Copies, RECORD_LEN, Slot, rule};
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;
use tests::card::{BOOT, Board, Card, Conditions, Machine};
use tests::server::SECRET;
use tests::{Server, paths, poll};

const BLOCK: u64 = 512;
const PAGE: u64 = 4096;

/// MiB of the cards here.
const CARD: u64 = 512;

/// Bytes of the data partition as it is flashed; what a board has beyond is what it has grown by.
const FLASHED: u64 = 64 << 20;

/// Of the room with a job that must be left before the restart.
const ROOM: &str = "studio";

/// A job without media, and no more patience with it than the test has.
const WITH_A_JOB: &str = "[worker]\nagent_name = \"board\"\ndrain_timeout_s = 1\n[job]\npublish = []\n";

/// On the boot partition, and a comment in it: longer than a block there, so that it has a second one to be lost.
const SETTINGS: &str = "firmware-worker.toml";
const COMMENT: &str = "# Who has more than one board finds this one by the door.";

/// For an update to be fetched, written, read back and started, beside other work of this machine.
const UPDATE: Duration = Duration::from_secs(480);

/// Data partitions that are checked, and boards that are started, after power cuts: in short, and in the long run.
const CHECKS: [usize; 2] = [40, 1000];
const STARTS: [usize; 2] = [3, 50];

/// Writes and flushes of a first start with an update at least, each of which the power is cut after: there are some 270.
const CUTS: usize = 200;

/// What a power cut leaves of what was not flushed, drawn so many times after each event: with those, more than a thousand cuts.
const TEARS: usize = 4;

/// Bytes of slot A's kernel slot and root.
pub fn parts(card: &Card) -> (u64, u64) {
    let blocks = u32::from_le_bytes(card.read_at(KERNELS[0] + 8));
    // A squashfs says how long it is; mksquashfs fills up its last page.
    let root = u64::from_le_bytes(card.read_at(ROOTS[0] + 40)).next_multiple_of(PAGE);
    ((1 + u64::from(blocks)) * BLOCK, root)
}

pub fn option(key: &str, path: &Path) -> String {
    format!("{key}={}", path.display())
}

#[track_caller]
pub fn run(command: &mut Command) {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}; run tools/setup image"));
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// A board that has started from its card, with a shell, and is registered.
fn start(card: Card) -> Board {
    start_under(Conditions::default(), card)
}

fn start_under(conditions: Conditions, card: Card) -> Board {
    let board = Board::start_under(conditions, Machine::Virt, card);
    board.wait("registered as", BOOT);
    board
}

pub fn new_card(server: &Server, name: &str) -> Card {
    let card = Card::of("virt", name, CARD);
    card.configure(server, "");
    card.open_shell(Machine::Virt);
    card
}

/// Waits for a line that comes later than `since`, and says when it came.
#[track_caller]
pub fn wait_later(board: &Board, text: &str, since: f64) -> f64 {
    let found = || board.console().find(&[text]).filter(|line| line.at > since);
    poll::until(&format!("the board says {text:?} again"), UPDATE, found).at
}

/// Waits until no slot is on trial, and gives what is said then.
#[track_caller]
fn settled(board: &mut Board) -> String {
    let mut ask = || Some(board.must("firmware-worker update --status")).filter(|text| !text.contains("on trial"));
    poll::until("no slot is on trial", UPDATE, &mut ask)
}

#[test]
fn the_update_that_is_made_with_an_image_has_its_slots_and_its_version() {
    let image = paths::image("virt");
    let name = image.file_stem().and_then(|name| name.to_str()).expect("plain");
    let version = name.strip_prefix("virt-").expect("named after its board");
    let release = Release::new("made");
    release.publish(&Card::of("virt", "made", CARD), version, false);
    let [made, own] = [release.file(version), image.with_extension("fwu")].map(|path| fs::read(path).expect("made"));
    assert!(made == own, "{} is not made of the image's slots", image.with_extension("fwu").display());
}

#[test]
fn an_update_from_a_server_is_kept_and_a_power_cut_at_any_point_of_it_leaves_a_board_that_starts() {
    let server = Server::start_for_guest();
    let card = new_card(&server, "update");
    card.configure(&server, &format!("{WITH_A_JOB}{}", format!("{COMMENT}\n").repeat(20)));
    let release = Release::secure("update");
    release.publish(&card, "9.1", false);
    let before = fs::read(card.path()).expect("the card is ours");
    let mut board = start_under(Conditions { recorded: true, ..Conditions::default() }, card);
    assert!(board.must("firmware-worker update --status").contains("slot a runs: virt"));
    server.api().dispatch(ROOM, "board", "");
    poll::until("the job is in its room", UPDATE, || server.api().identities(ROOM).pop());
    let said = release.refused(&mut board, "9.1");
    assert!(said.contains("unknown authority") && said.contains("--ca-file"), "{said}");
    release.introduce(&mut board);
    let began = poll::monotonic();
    release.install(&mut board, "9.1");
    let end = server.job_end(ROOM, UPDATE);
    assert_eq!((end.status.as_str(), end.error.as_str()), ("JS_SUCCESS", ""), "it was told before the restart");
    let restarted = wait_later(&board, "slot b: starting", began);
    println!("installed and restarted in {:.0} s", restarted - began);
    wait_later(&board, "registered as", restarted);
    assert!(settled(&mut board).contains("slot b runs"));
    let card = board.power_off();
    let recording = Recording::of(&card);
    pull_the_plug(card, &recording, before);
}

/// Cuts the recording off at every event; boots the card of a few of them.
fn pull_the_plug(mut card: Card, recording: &Recording, before: Vec<u8>) {
    let long = usize::from(std::env::var_os("SOAK").is_some());
    let image = Image::of(&card, &before);
    let all = recording.events.len();
    assert!(all >= CUTS, "{all} events");
    leaves_the_boot_partition_alone(recording);
    let starts = cuts_to_start(recording, STARTS[long]);
    assert!(starts.len() >= STARTS[0], "{starts:?}");
    let torn = recording.first_flush_of_boot_partition().expect("secrets are moved");
    let of_data = |index: &usize| matches!(recording.events[index - 1], Event::Write { at, .. } if at as u64 >= DATA);
    let checks = thinned(&(1..=all).filter(of_data).collect(), CHECKS[long]);
    let settings = [boot_file(&card, &before, SETTINGS), card.text(SETTINGS)];
    assert!(settings[0].contains(SECRET) && !settings[1].contains(SECRET), "{settings:?}");
    let mut replay = Replay::new(recording, before);
    let (mut seed, mut other_seed) = (1, 2);
    let mut booted = [0; 2];
    for cut in 0..=all {
        replay.play(cut);
        let look = |disk: &[u8]| {
            if cut > 0 && is_of_boot_partition(recording.events[cut - 1]) {
                let text = boot_file(&card, disk, SETTINGS);
                assert!(settings.contains(&text), "cut after event {cut}: {text:?}");
            }
            image.starts(disk, cut)
        };
        for _ in 1..TEARS {
            booted[replay.cut(|| next(&mut other_seed), look) as usize] += 1;
        }
        let keep = |disk: &[u8]| {
            if checks.contains(&cut) {
                let path = card.path().with_file_name("data");
                write_with_holes(&path, &disk[DATA as usize..]);
                check_file_system(&path, &format!("cut after event {cut}"));
            }
            if starts.contains(&cut) {
                write_with_holes(&card.path(), disk);
            }
            look(disk)
        };
        booted[replay.cut(|| next(&mut seed), keep) as usize] += 1;
        if starts.contains(&cut) {
            card = start_after_cut(card, cut);
        }
        if cut == torn {
            replay.cut_before_tables(|disk| write_with_holes(&card.path(), disk));
            card = start_after_cut(card, cut);
        }
    }
    println!(
        "{} cuts, torn in {TEARS} ways each: {} start the old slot, {} the new one",
        all + 1,
        booted[0],
        booted[1]
    );
    println!("{} data partitions checked, {} boards started", checks.len(), starts.len() + 1);
    assert!(booted.iter().all(|count| *count > 0), "the whole way was cut");
}

/// From the first copy of the card's first record, which an update begins with, to the last of the one that puts it on trial.
/// Settings were moved before that, and the next start reports after it.
fn leaves_the_boot_partition_alone(recording: &Recording) {
    let records: Vec<_> = recording.writes_to(&COPY_OFFSETS).collect();
    let [begins, _, _, ends, ..] = records[..] else { panic!("two records: {records:?}") };
    let to_slots =
        |event: &Event| matches!(event, Event::Write { at, .. } if (KERNELS[1]..DATA).contains(&(*at as u64)));
    assert!(recording.events[begins..ends].iter().any(to_slots), "the update lies between");
    let strange = (begins..ends).find(|&index| is_of_boot_partition(recording.events[index]));
    assert_eq!(strange, None, "an update wrote to the boot partition");
}

/// While the data partition grows, of which the journal alone knows then, while the root is written, and between the copies of the
/// record that puts it on trial (the first record of a card comes before the update); in the long run between those that keep it
/// too, and the rest evenly.
fn cuts_to_start(recording: &Recording, count: usize) -> BTreeSet<usize> {
    let records: Vec<_> = recording.writes_to(&COPY_OFFSETS).collect();
    let [_, first, trial, .., kept, _] = records[..] else { panic!("a trial and its end: {records:?}") };
    let grown = recording.growth_of(DATA as usize, FLASHED).expect("the card is larger than the image");
    let mut cuts = BTreeSet::from([grown, first.midpoint(trial), trial + 1]);
    let rest = count - cuts.len();
    if rest > 0 {
        cuts.insert(kept + 1);
        cuts.extend((0..rest).map(|nth| nth * recording.events.len() / rest));
    }
    cuts
}

/// With settings and secret where the cut has left them.
fn start_after_cut(card: Card, cut: usize) -> Card {
    let mut board = start(card);
    board.must("while systemctl is-active -q firmware-worker-update.service; do usleep 100000; done");
    let status = settled(&mut board);
    println!("cut after event {cut}: {status}");
    assert!(!status.contains("taken back"), "cut after event {cut}: {status}");
    let card = board.power_off();
    let settings = card.text(SETTINGS);
    let moved = settings.contains("[server]") && !settings.contains(SECRET);
    assert!(moved, "cut after event {cut}: {settings}\n{}", card.text("firmware-worker-report.txt"));
    check_boot_partition(&card, &format!("cut after event {cut}, and started"));
    card
}

/// xorshift64: any sequence does.
fn next(state: &mut u64) -> usize {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    *state as usize
}

/// What a slot must hold to start: the update has the bytes of the old slot.
struct Image {
    kernel: Vec<u8>,
    root: Vec<u8>,
}

impl Image {
    fn of(card: &Card, disk: &[u8]) -> Self {
        let (kernel, root) = parts(card);
        let cut = |at: u64, length: u64| disk[at as usize..][..length as usize].to_vec();
        Self { kernel: cut(KERNELS[0], kernel), root: cut(ROOTS[0], root) }
    }

    /// The slot that U-Boot starts from this disk, which must be whole.
    fn starts(&self, disk: &[u8], cut: usize) -> Slot {
        let holds = |at: [u64; 2], slot: Slot, bytes: &[u8]| disk[at[slot as usize] as usize..].starts_with(bytes);
        let copies: Copies = COPY_OFFSETS.map(|at| {
            let copy = &disk[at as usize..][..RECORD_LEN];
            copy.try_into().expect("as long")
        });
        let boot = rule::boot(&copies, |slot| holds(KERNELS, slot, &self.kernel));
        let slot = boot.slot.unwrap_or_else(|| panic!("cut after event {cut}: no slot has a kernel"));
        assert!(holds(ROOTS, slot, &self.root), "cut after event {cut}: the root of slot {slot} is not whole");
        slot
    }
}

#[test]
fn an_update_that_does_not_start_is_taken_back_and_neither_it_nor_a_foreign_one_is_installed_again() {
    let server = Server::start_for_guest();
    let card = new_card(&server, "broken");
    let release = Release::new("broken");
    release.publish(&card, "9.2", true);
    release.publish_impostors();
    let mut board = start(card);
    let said = release.refused(&mut board, "9.7");
    assert!(
        said.contains("9.7.fwu: is for boards of the kind \"rpi-64\", and this image is of the kind \"virt\""),
        "{said}"
    );
    let said = release.refused(&mut board, "9.8");
    assert!(said.contains("9.8.fwu: it is not signed with a key of this image"), "{said}");
    let said = release.refused(&mut board, "9.9");
    assert!(said.contains("9.9.fwu: has ") && said.contains("it is truncated or damaged"), "{said}");
    let said = release.refused(&mut board, "0.0.1");
    assert!(said.contains("0.0.1.fwu: version 0.0.1 is older than ") && said.contains("--allow-older"), "{said}");
    let mut since = poll::monotonic();
    release.install(&mut board, "9.2");
    for _ in 0..3 {
        since = wait_later(&board, "slot b: starting", since);
    }
    since = wait_later(&board, "slot a: starting", since);
    wait_later(&board, "registered as", since);
    // Who looks after updates says so a little after the worker is up.
    let status = poll::until("it was taken back", UPDATE, || {
        Some(board.must("firmware-worker update --status")).filter(|status| status.contains("9.2 was taken back"))
    });
    assert!(status.contains("slot a runs") && status.contains("3 starts"), "{status}");
    let said = release.refused(&mut board, "9.2");
    assert!(said.contains("version 9.2 was taken back before: ") && said.contains("--again"), "{said}");
}
