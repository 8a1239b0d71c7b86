//! The worker at a developer's desk.

use super::agents::{Agents, SOON};
use super::children;
use livekit_protocol as lk;
use rustix::process::Signal;
use tests::procfs;
use tests::worker::Setup;

#[test]
fn dev_stops_at_the_first_signal_also_beside_a_running_job_which_ends_with_success() {
    let agents = Agents::listen();
    let mut worker = Setup::with_url(&agents.url()).develop();
    let (mut connection, _) = agents.registered();
    connection.run_job("AJ_1", "studio");
    let pids = children(&worker);
    worker.signal(Signal::TERM);
    let end = connection.status("AJ_1");
    assert_eq!(end.status(), lk::JobStatus::JsSuccess, "{end:?}");
    worker.wait(SOON);
    assert!(!pids.iter().any(|&pid| procfs::alive(pid)), "{}", worker.log());
    assert!(!worker.log().contains("drain"), "{}", worker.log());
}
