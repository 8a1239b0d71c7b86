//! Another configuration while the worker runs.

use super::*;

const FEW: &str = "2000-2019";

/// With 40 jobs, and these users and cameras of the pattern.
fn written(uids: &str, cameras: usize) -> Config {
    let camera = |n| format!("[[camera]]\nname = \"camera-{n}\"\ndevice = \"test-pattern\"\n");
    let cameras: String = (0..cameras).map(camera).collect();
    let text = format!("[worker]\nmax_jobs = 40\n[isolation]\nuids = \"{uids}\"\n{cameras}");
    configured("ws://127.0.0.1:1", parse(&text, std::path::Path::new("test")).expect("as written"))
}

#[tokio::test]
async fn no_more_jobs_are_taken_than_there_are_users_for_which_stay_those_of_the_start() {
    let few = written(FEW, 1);
    let others = few.devices.len() as u32 + few.worker.prewarm;
    let worker = Worker::new(super::super::super::options(&few, MODE), Instant::now(), 1);
    let brain = Brain::Worker(Box::new(worker));
    let mut supervisor = Supervisor::new(few, MODE, brain, None, mpsc::channel(1).0, 1).expect("a valid setup");
    assert_eq!(supervisor.config.worker.max_jobs, 20 - others);
    // More users and fewer devices come with the next start only.
    let many = written("70000-70999", 0);
    assert_eq!((many.worker.max_jobs, many.doubts.len()), (40, 0));
    supervisor.reconfigure(many);
    assert_eq!(supervisor.config.worker.max_jobs, 20 - others);
}
