use super::*;
use crate::net::Tls;
use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use protocol::update::{COPY_OFFSETS, RECORD_LEN, Seen, Slot};
use std::cell::Cell;
use std::fs;
use std::os::unix::fs::{FileExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering as Atomic};
use std::time::{Duration, Instant};

const KERNEL_ROOM: usize = 600 << 10;
const ROOT_ROOM: usize = 900 << 10;

/// A board's files, its disk among them: the partitions are files beside that of the disk.
struct Board(PathBuf);

impl Drop for Board {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

impl Board {
    /// It runs slot a of the virt image 1.0, and both slots hold `o` alone.
    fn new() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Atomic::Relaxed);
        let board = Self(std::env::temp_dir().join(format!("firmware-worker-update-{}-{number}", std::process::id())));
        board.put(
            "proc/self/mountinfo",
            "22 1 0:5 / /data rw - ext4 x rw\n31 22 8:1 / /boot/firmware ro - vfat /dev/sda1 ro\n",
        );
        board.put("etc/os-release", "NAME=Debian\nIMAGE_ID=virt\nIMAGE_VERSION=\"1.0\"\n");
        board.put("usr/share/firmware-worker/update.pub", &pem(&key(1)));
        board.put("dev/sda", &"\0".repeat(64 << 10));
        let disk = "sys/devices/pci/block/sda";
        for (number, room) in [(1, 4096), (5, KERNEL_ROOM), (6, ROOT_ROOM), (7, KERNEL_ROOM), (8, ROOT_ROOM)] {
            board.put(&format!("{disk}/sda{number}/partition"), &format!("{number}\n"));
            board.put(&format!("{disk}/sda{number}/size"), &format!("{}\n", room / 512));
            board.put(&format!("dev/sda{number}"), &"o".repeat(room));
        }
        fs::create_dir_all(board.0.join("sys/dev/block")).unwrap();
        symlink("../../devices/pci/block/sda/sda1", board.0.join("sys/dev/block/8:1")).unwrap();
        board.start(Slot::A, "");
        board
    }

    fn put(&self, file: &str, text: &str) {
        let path = self.0.join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    /// As U-Boot starts it.
    fn start(&self, slot: Slot, fallback: &str) {
        self.put("proc/cmdline", &format!("console=x ro firmware_worker.slot={slot} {fallback}\n"));
    }

    fn record(&self, good: Slot, tries: Option<u32>) {
        let disk = fs::OpenOptions::new().write(true).open(self.0.join("dev/sda")).unwrap();
        let (record, order) = Record::successor(&self.system().copies().unwrap(), good, tries);
        for index in order {
            disk.write_all_at(&record.bytes(), COPY_OFFSETS[index]).unwrap();
        }
    }

    fn system(&self) -> System {
        System::under(&self.0).unwrap()
    }

    fn newest(&self) -> Option<(Slot, Option<u32>)> {
        Record::newest(&self.system().copies().unwrap()).map(|record| (record.good, record.tries))
    }

    fn read(&self, partition: &str) -> Vec<u8> {
        fs::read(self.0.join("dev").join(partition)).unwrap()
    }

    fn file(&self, update: &[u8]) -> String {
        let path = self.0.join("update.fwu");
        fs::write(&path, update).unwrap();
        path.to_str().unwrap().to_owned()
    }

    fn install(&self, update: &[u8]) -> Result<Manifest, Error> {
        self.insist(update, Insist::default())
    }

    fn insist(&self, update: &[u8], insist: Insist) -> Result<Manifest, Error> {
        let mut source = Source::open(&self.file(update), Tls::new("").unwrap()).unwrap();
        install(&self.system(), &mut source, insist, true, |_, _| {})
    }

    /// Refused in these words, and neither a slot nor the record has changed.
    fn refuses(&self, update: &[u8], words: &[&str]) {
        let before = ["sda", "sda5", "sda6", "sda7", "sda8"].map(|node| self.read(node));
        let error = self.install(update).unwrap_err().to_string();
        assert!(words.iter().all(|word| error.contains(word)), "{error}");
        assert!(["sda", "sda5", "sda6", "sda7", "sda8"].map(|node| self.read(node)) == before, "{error}");
        assert!(self.system().history().trial.is_none(), "{error}");
    }

    /// A look each time at what `seen` says, in a time of its own.
    fn settle(&self, seen: impl Fn() -> Seen) -> Ending {
        let now = Cell::new(Instant::now());
        settle(&self.system(), seen, || now.get(), |until| now.set(until)).unwrap()
    }
}

fn key(seed: u8) -> Ed25519KeyPair {
    Ed25519KeyPair::from_seed_unchecked(&[seed; 32]).unwrap()
}

/// As `openssl pkey -pubout` writes it.
fn pem(key: &Ed25519KeyPair) -> String {
    let der = [&b"\x30\x2a\x30\x05\x06\x03\x2b\x65\x70\x03\x21\x00"[..], key.public_key().as_ref()].concat();
    format!("-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n", STANDARD.encode(der))
}

fn kernel() -> Vec<u8> {
    (0..500_000u32).map(|n| (n / 7) as u8).collect()
}

fn root() -> Vec<u8> {
    (0..800_001u32).map(|n| (n / 11) as u8).collect()
}

fn update(board: &str, version: &str, signer: u8) -> Vec<u8> {
    let part = |bytes: &[u8]| {
        let sum: String = digest(&SHA256, bytes).as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
        serde_json::json!({"size": bytes.len(), "sha256": sum})
    };
    let manifest = serde_json::json!({
        "board": board, "version": version, "kernel": part(&kernel()), "root": part(&root()),
    });
    let manifest = manifest.to_string();
    let header = format!("firmware-worker-update 1 {:06}\n", manifest.len());
    let signature = key(signer).sign(manifest.as_bytes());
    [header.as_bytes(), manifest.as_bytes(), signature.as_ref(), &kernel(), &root()].concat()
}

fn good() -> Vec<u8> {
    update("virt", "1.1", 1)
}

#[test]
fn an_update_goes_into_the_other_slot_and_on_trial_and_the_running_one_is_not_touched() {
    let board = Board::new();
    let manifest = board.install(&good()).unwrap();
    assert_eq!(manifest.version, "1.1");
    assert!(board.read("sda7").starts_with(&kernel()) && board.read("sda8").starts_with(&root()));
    assert!(board.read("sda7").len() == KERNEL_ROOM && board.read("sda8").len() == ROOT_ROOM);
    assert!([board.read("sda5"), board.read("sda6")].concat().iter().all(|byte| *byte == b'o'));
    assert_eq!(board.newest(), Some((Slot::A, Some(3))));
    let trial = board.system().history().trial.unwrap();
    assert_eq!((&*trial.version, trial.slot, trial.must_register), ("1.1", Slot::B, true));
    // And back again, once it is kept.
    board.start(Slot::B, "");
    board.record(Slot::B, None);
    board.install(&update("virt", "1.2", 1)).unwrap();
    assert!(board.read("sda5").starts_with(&kernel()));
    assert_eq!(board.newest(), Some((Slot::B, Some(3))));
}

#[test]
fn what_is_no_good_update_is_refused_in_words_before_a_byte_is_written() {
    let board = Board::new();
    board.refuses(b"PK\x03\x04 and so on, for longer than one line", &["no update file", "update.fwu"]);
    board.refuses(b"short", &["only 5 bytes", "truncated"]);
    board.refuses(&good()[..200], &["200 bytes", "truncated"]);
    board.refuses(&good()[..good().len() - 1], &["truncated or damaged", &good().len().to_string()]);
    board.refuses(&[good(), vec![0]].concat(), &["truncated or damaged"]);
    board.refuses(&update("virt", "1.1", 2), &["not signed with a key of this image"]);
    board.refuses(&update("rpi-64", "1.1", 1), &["\"rpi-64\"", "\"virt\""]);
    board.refuses(&update("virt", "0.9", 1), &["0.9 is older than 1.0", "--allow-older"]);
    let mut damaged = good();
    damaged[40] ^= 1;
    board.refuses(&damaged, &["changed since"]);
    let mut later = good();
    later[23] = b'2';
    board.refuses(&later, &["does not know"]);
    board.put("sys/devices/pci/block/sda/sda8/size", "1562\n");
    board.refuses(&good(), &["its root has 800001 bytes", "partition 799744"]);
}

#[test]
fn an_older_version_is_installed_where_somebody_insists() {
    let board = Board::new();
    board.insist(&update("virt", "0.9", 1), Insist { older: true, ..Insist::default() }).unwrap();
    assert_eq!(board.newest(), Some((Slot::A, Some(3))));
}

#[test]
fn a_byte_that_is_damaged_behind_the_signature_is_found_and_no_slot_boots_but_the_old_one() {
    for (from_end, part) in [(900_000, "kernel"), (7, "root")] {
        let board = Board::new();
        let mut damaged = good();
        let place = damaged.len() - from_end;
        damaged[place] ^= 4;
        let error = board.install(&damaged).unwrap_err().to_string();
        assert!(error.contains(part) && error.contains("not what was signed"), "{error}");
        assert!(matches!(board.newest(), None | Some((Slot::A, None))));
        assert!(board.read("sda7")[..4096].iter().all(|byte| *byte == 0), "a kernel without a head");
        assert_eq!(board.system().history(), protocol::update::History::default());
        board.install(&good()).unwrap();
    }
}

#[test]
fn a_system_without_slots_or_keys_says_so() {
    let board = Board::new();
    let why = |board: &Board| System::under(&board.0).unwrap_err().to_string();
    board.put("proc/cmdline", "root=/dev/sda2\n");
    assert!(why(&board).contains("no second slot") && why(&board).contains("apt"), "{}", why(&board));
    board.start(Slot::A, "");
    board.put("proc/self/mountinfo", "22 1 0:5 / /data rw - ext4 x rw\n");
    assert!(why(&board).contains("/boot/firmware"), "{}", why(&board));
    let board = Board::new();
    for text in ["", "-----BEGIN PUBLIC KEY-----\n?\n-----END PUBLIC KEY-----\n"] {
        board.put("usr/share/firmware-worker/update.pub", text);
        board.refuses(&good(), &["update.pub", "whose updates are good"]);
    }
    let board = Board::new();
    fs::remove_dir_all(board.0.join("sys/devices/pci/block/sda/sda8")).unwrap();
    board.refuses(&good(), &["sda has no partition 8"]);
}

#[test]
fn a_version_that_cannot_mount_the_boot_partition_is_taken_back_and_finds_its_disk_all_the_same() {
    let board = Board::new();
    board.install(&good()).unwrap();
    board.put("proc/self/mountinfo", "22 1 0:5 / /data rw - ext4 x rw\n");
    // Of the disks before it one has another signature, and one the same without such a partition.
    for (disk, signature, partition) in [("mmcblk0", 1, 8), ("ram0", 0x4b52_5746, 1), ("sda", 0x4b52_5746u32, 8)] {
        board.put(&format!("sys/block/{disk}/{disk}{partition}/partition"), &format!("{partition}\n"));
        let node = fs::OpenOptions::new().create(true).truncate(false).write(true).open(board.0.join("dev").join(disk));
        node.unwrap().write_all_at(&signature.to_le_bytes(), 440).unwrap();
    }
    board.start(Slot::B, "root=PARTUUID=4b525746-08");
    board.record(Slot::A, Some(2));
    let Ending::GivenUp(reason) = board.settle(|| Seen::Registered) else { panic!("kept") };
    assert!(reason.contains("the boot partition cannot be mounted"), "{reason}");
    assert_eq!(board.newest(), Some((Slot::A, None)));
}

#[test]
fn no_update_is_installed_beside_another_or_from_a_slot_that_is_on_trial() {
    let board = Board::new();
    let held = board.system().lock().unwrap();
    board.refuses(&good(), &["another update"]);
    drop(held);
    board.start(Slot::B, "");
    board.record(Slot::A, Some(2));
    board.refuses(&good(), &["on trial itself"]);
    // One that was installed and not started yet is replaced.
    board.start(Slot::A, "");
    board.install(&good()).unwrap();
}

#[test]
fn an_update_that_is_being_installed_is_waited_for_and_not_taken_back() {
    let board = Board::new();
    let lock = Cell::new(Some(board.system().lock().unwrap()));
    let mut history = board.system().history();
    history.installed("1.1", Slot::B, true, 1);
    board.system().remember(&history).unwrap();
    let now = Cell::new(Instant::now());
    let done = |until| {
        now.set(until);
        board.record(Slot::A, Some(3));
        drop(lock.take());
    };
    assert_eq!(settle(&board.system(), || Seen::Registered, || now.get(), done).unwrap(), Ending::Installed);
    assert_eq!(board.system().history(), history);
}

#[test]
fn a_slot_on_trial_is_kept_when_its_worker_has_registered() {
    let board = Board::new();
    board.install(&good()).unwrap();
    assert_eq!(board.settle(|| Seen::Registered), Ending::Installed);
    board.start(Slot::A, "firmware_worker.fallback=record");
    assert_eq!(board.settle(|| Seen::Registered), Ending::NotStarted);
    board.start(Slot::B, "");
    assert_eq!(board.settle(|| Seen::Registered), Ending::Kept);
    assert_eq!(board.newest(), Some((Slot::B, None)));
    assert_eq!(board.system().history(), protocol::update::History::default());
    assert_eq!(board.settle(|| Seen::Silent(String::new())), Ending::Settled);
}

#[test]
fn a_slot_that_does_not_register_is_given_up_and_its_version_is_not_installed_again_unless_somebody_insists() {
    let board = Board::new();
    board.install(&good()).unwrap();
    board.start(Slot::B, "");
    let started = Instant::now();
    let Ending::GivenUp(reason) = board.settle(|| Seen::Unregistered("HTTP 401".into())) else { panic!("kept") };
    assert!(reason.contains("HTTP 401"));
    assert!(started.elapsed() < Duration::from_secs(60), "in a time of its own");
    assert_eq!(board.newest(), Some((Slot::A, None)));
    board.start(Slot::A, "");
    assert_eq!(board.settle(|| Seen::Registered), Ending::Settled);
    board.refuses(&good(), &["version 1.1 was taken back before", "HTTP 401", "--again"]);
    board.insist(&good(), Insist { again: true, ..Insist::default() }).unwrap();
}

#[test]
fn a_slot_that_never_said_that_it_is_well_is_remembered_with_what_u_boot_saw() {
    for (fallback, words) in
        [("firmware_worker.fallback=kernel", "damaged"), ("firmware_worker.fallback=tries", "3 starts")]
    {
        let board = Board::new();
        board.install(&good()).unwrap();
        board.record(Slot::A, None);
        board.start(Slot::A, fallback);
        let Ending::TakenBack(version, reason) = board.settle(|| Seen::Registered) else { panic!("nothing") };
        assert!(version == "1.1" && reason.contains(words), "{reason}");
        board.refuses(&good(), &["taken back before", words]);
    }
}

#[test]
fn an_update_that_a_power_cut_ended_may_be_installed_again() {
    let board = Board::new();
    let before = board.read("sda");
    board.install(&good()).unwrap();
    // As if the records had not come to the disk.
    fs::write(board.0.join("dev/sda"), before).unwrap();
    assert_eq!(board.settle(|| Seen::Registered), Ending::CutOff("1.1".into()));
    assert_eq!(board.settle(|| Seen::Registered), Ending::Settled);
    board.install(&good()).unwrap();
}

#[test]
fn what_is_remembered_need_not_be_readable() {
    let board = Board::new();
    board.put("data/update/history.json", "{");
    board.install(&good()).unwrap();
    board.start(Slot::B, "");
    // A file where the folder should be: nothing can be written down.
    fs::remove_dir_all(board.0.join("data/update")).unwrap();
    board.put("data/update", "");
    assert_eq!(board.settle(|| Seen::Registered), Ending::Kept);
    assert_eq!(board.newest(), Some((Slot::B, None)));
}

#[test]
fn the_record_is_where_u_boot_reads_it() {
    let board = Board::new();
    board.install(&good()).unwrap();
    let disk = board.read("sda");
    for block in [64, 72] {
        let copy: [u8; RECORD_LEN] = disk[block * 512..][..RECORD_LEN].try_into().unwrap();
        assert!(Record::parse(&copy).is_some_and(|record| record.tries == Some(3)), "block {block}");
    }
    let rest = disk.iter().enumerate().filter(|(place, _)| ![64, 72].contains(&(place / 512)));
    assert!(rest.into_iter().all(|(_, byte)| *byte == 0));
    assert!(Path::new(&board.0.join("data/update/history.json")).exists());
}
