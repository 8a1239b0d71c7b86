use super::*;
use protocol::secret::Secret;
use protocol::worker::{Accept, JobId, JobInfo, JobType, RoomInfo};
use std::os::unix::fs::PermissionsExt;
use std::sync::atomic::{AtomicU32, Ordering};

/// A file of version 1, as it is in the field.
const VERSION_1: &str = include_str!("version_1.json");

struct Directory(PathBuf);

impl Directory {
    fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        Self(std::env::temp_dir().join(format!("firmware-worker-ledger-{}-{number}", std::process::id())))
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn entry(job: &str) -> Entry {
    let info = JobInfo {
        id: JobId(job.into()),
        kind: JobType::Room,
        room: RoomInfo { sid: "RM_1".into(), name: "studio".into(), metadata: String::new() },
        participant: None,
        metadata: "m".into(),
        attributes: [("a".to_owned(), "b".to_owned())].into(),
        agent_name: "board".into(),
        dispatch_id: "AD_1".into(),
        deployment: String::new(),
    };
    let accept = Accept { name: "Board".into(), identity: "board-1".into(), ..Accept::default() };
    let spec = JobSpec {
        job: info,
        accept,
        url: None,
        token: Secret::new("t.o.k"),
        worker_id: "AW_1".into(),
        limits: Default::default(),
    };
    Entry { spec, sid: Some("PA_1".into()), over: false, restarted: vec![] }
}

fn left_in(directory: &Directory, text: &str) -> Result<Vec<Entry>, Error> {
    fs::create_dir_all(&directory.0).unwrap();
    let path = directory.0.join("k-0.jobs");
    fs::write(&path, text).unwrap();
    read(&path)
}

#[test]
fn a_successor_finds_what_its_predecessor_kept_last_and_nobody_else_can_read_it() {
    let directory = Directory::new();
    let (mut first, left) = Ledger::open(&directory.0, "k").unwrap();
    assert!(left.is_empty());
    first.keep([entry("AJ_1")].iter().map(Entry::line));
    let kept = vec![Entry { restarted: vec![7, 9], ..entry("AJ_1") }, Entry { over: true, ..entry("AJ_2") }];
    first.keep(kept.iter().map(Entry::line));
    let mode = fs::metadata(&first.path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    drop(first);
    assert_eq!(Ledger::open(&directory.0, "k").unwrap().1, kept);
}

#[test]
fn two_workers_alike_have_a_place_each_and_others_are_not_looked_at() {
    let directory = Directory::new();
    let (mut first, _) = Ledger::open(&directory.0, "k").unwrap();
    first.keep([entry("AJ_1")].iter().map(Entry::line));
    let (second, left) = Ledger::open(&directory.0, "k").unwrap();
    assert!(left.is_empty() && second.path != first.path);
    drop(first);
    assert!(Ledger::open(&directory.0, "other").unwrap().1.is_empty());
    assert_eq!(Ledger::open(&directory.0, "k").unwrap().1, [entry("AJ_1")]);
}

#[test]
fn a_directory_full_of_workers_is_one_error() {
    let directory = Directory::new();
    let all: Vec<_> = (0..PLACES).map(|_| Ledger::open(&directory.0, "k").unwrap()).collect();
    assert!(matches!(Ledger::open(&directory.0, "k"), Err(Error::Crowded { .. })));
    drop(all);
}

#[test]
fn the_recorded_file_of_version_1_is_read() {
    let entries = left_in(&Directory::new(), VERSION_1).unwrap();
    assert_eq!(entries, [entry("AJ_1"), Entry { over: true, sid: None, ..entry("AJ_2") }]);
}

#[test]
fn a_damaged_file_or_one_of_a_later_build_is_named_without_its_tokens() {
    let directory = Directory::new();
    let half = &VERSION_1[..VERSION_1.len() - 40];
    let wrong = VERSION_1.replace("\"studio\"", "[\"t.o.k\"]");
    let later = VERSION_1.replace("\"version\": 1", "\"version\": 7");
    for text in ["", "\u{0}\u{0}", "{}", half, &wrong, &later] {
        let error = left_in(&directory, text).unwrap_err().to_string();
        assert!(error.contains("k-0.jobs") && error.contains("not resumed") && !error.contains("t.o.k"), "{error}");
    }
}

#[test]
fn keys_are_the_same_in_every_build_and_apart_for_what_is_configured_differently() {
    assert_eq!(key(&["ws://h", "board"]), "92f0cbff4e658029");
    assert_ne!(key(&["ab", "c"]), key(&["a", "bc"]));
}
