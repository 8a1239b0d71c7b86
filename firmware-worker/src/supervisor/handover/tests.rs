use super::*;
use crate::config::{DeviceKind, Microphone};
use protocol::secret::Secret;
use protocol::worker::{Accept, JobInfo, JobType, RoomInfo};

/// As the first program wrote it that handed anything over.
const VERSION_1: &str = include_str!("version_1.json");

fn spec(job: &str) -> JobSpec {
    let job = JobInfo {
        id: JobId(job.into()),
        kind: JobType::Room,
        room: RoomInfo { name: "studio".into(), ..RoomInfo::default() },
        participant: None,
        metadata: String::new(),
        attributes: Default::default(),
        agent_name: "board".into(),
        dispatch_id: String::new(),
        deployment: String::new(),
    };
    let accept = Accept { identity: "agent".into(), ..Accept::default() };
    let limits = Limits { memory: Some(64 << 20), ..Limits::default() };
    JobSpec { job, accept, url: None, token: Secret::new("t.o.k"), worker_id: "AW_1".into(), limits }
}

fn child(pid: i32, descriptors: RawFd) -> ChildEntry {
    let path = PathBuf::from(format!("/sys/fs/cgroup/fw-1-2-{pid}"));
    let user = UserEntry { uid: 60_000, leaf: Some(path.clone()) };
    ChildEntry {
        pid,
        pidfd: descriptors,
        label: format!("process {pid}"),
        control: Some(descriptors + 1),
        stderr: Some(descriptors + 3),
        leaf: Some(LeafEntry { path, limits: Limits::default() }),
        confined: Some(ConfinedEntry { user, tally: descriptors + 2, report: Some(Report::default()) }),
    }
}

/// What the fixture says.
fn table() -> Table {
    let worker = r#"{"jobs":[{"info":INFO,"phase":"Inside","grace":{"secs":10,"nanos":0},"may_be_inside":true,
        "stopped":false,"reported":true,"policy":"on-failure","restarts":[{"secs":90,"nanos":5}]}],"draining":null,
        "ended":["AJ_0"],"statuses":{"running":["AJ_1"],"ended":[["AJ_0",[34,4]]]}}"#;
    let info = serde_json::to_string(&spec("AJ_1").job).unwrap();
    let keeper = ChildEntry { control: None, stderr: None, confined: None, ..child(12, 30) };
    let microphone = DeviceKind::Microphone(Microphone::default());
    Table {
        version: 1,
        build: "0.1.0".into(),
        program: "/usr/bin/firmware-worker".into(),
        worker: serde_json::from_str(&worker.replace("INFO", &info)).unwrap(),
        signals: 0,
        sign_seen: false,
        processes_started: 7,
        leaves_made: 9,
        processes: vec![
            ProcessEntry { number: 6, child: child(10, 10), job: Some(JobId("AJ_1".into())) },
            ProcessEntry { number: 7, child: ChildEntry { confined: None, ..child(13, 40) }, job: None },
        ],
        jobs: vec![JobEntry {
            process: 6,
            spec: spec("AJ_1"),
            sid: Some("PA_1".into()),
            left: false,
            age: Duration::from_millis(61_500),
            restarts: 1,
            restarted: vec![],
            last_failure: Some("killed by signal 9 (SIGKILL)".into()),
        }],
        devices: vec![DeviceEntry {
            device: Device { name: "microphone".into(), kind: microphone },
            owner: Some(child(11, 20)),
            greeted: true,
            parked: false,
            state: OwnerState::Running("tone".into()),
            starts: 1,
            waiting: vec![6],
            keeper: Some(keeper),
        }],
        ghosts: vec![Entry { spec: spec("AJ_0"), sid: Some("PA_0".into()), over: true, restarted: vec![] }],
        ledger: Some(LedgerEntry { path: "/run/firmware-worker/k-0.jobs".into(), lock: 50 }),
        users: vec![UserEntry { uid: 60_001, leaf: Some("/sys/fs/cgroup/fw-1-2-9".into()) }],
        leaving: Vec::new(),
        failed: Vec::new(),
        totals: Totals::default(),
        claims: None,
        missing: Report::default(),
    }
}

#[test]
fn the_first_version_is_read() {
    assert_eq!(Table::parse(VERSION_1.as_bytes()).unwrap(), table());
}

#[test]
fn what_is_written_now_is_what_was_written_first_as_long_as_the_version_is_the_same() {
    let written = serde_json::to_value(table()).unwrap();
    let first: serde_json::Value = serde_json::from_str(VERSION_1).unwrap();
    assert_eq!(
        written,
        first,
        "a table of this form needs another version: {}",
        serde_json::to_string_pretty(&written).unwrap()
    );
}

#[test]
fn a_table_comes_through_a_sealed_memfd_with_the_numbers_of_all_its_descriptors() {
    let leaving = vec![ChildEntry { control: None, stderr: None, confined: None, ..child(14, 60) }];
    let failed = FailedJob { id: "AJ_0".into(), room: "studio".into(), error: "exit code 3".into(), seconds: 90 };
    let totals: Totals = serde_json::from_str("{\"jobs_failed\": 1}").unwrap();
    let table = Table { sign_seen: true, claims: Some(51), leaving, failed: vec![failed], totals, ..table() };
    assert_eq!(table.descriptors(), [10, 11, 13, 12, 40, 41, 43, 20, 21, 23, 22, 30, 60, 50, 51]);
    assert_eq!(Table::read(table.seal().unwrap()).unwrap(), table);
    assert_eq!(table.in_words(), "1 jobs and 1 device owners of program 0.1.0");
}

#[test]
fn fields_of_a_later_program_are_ignored_and_a_later_version_is_refused_by_name() {
    let more = VERSION_1.replacen('{', r#"{"from_the_future": [1], "#, 1);
    assert_eq!(Table::parse(more.as_bytes()).unwrap(), table());
    let later = VERSION_1.replace("\"version\": 1", "\"version\": 7");
    let why = Table::parse(later.as_bytes()).unwrap_err();
    assert!(why.contains("version 7 of program 0.1.0 is not read here (1 to 1 are)"), "{why}");
}

#[test]
fn what_is_damaged_is_refused_without_a_word_of_it() {
    for text in [&VERSION_1[..VERSION_1.len() - 40], &VERSION_1.replace("\"PA_1\"", "[\"t.o.k\"]"), "", "[]"] {
        let why = Table::parse(text.as_bytes()).unwrap_err();
        assert!(why.contains("damaged at line") && !why.contains("t.o.k"), "{why}");
    }
    let open = File::open("/dev/null").unwrap();
    assert!(Table::read(open.into()).is_err());
}
