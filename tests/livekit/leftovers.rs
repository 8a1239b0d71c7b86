//! Many jobs one after the other leave nothing behind.

use crate::SOON;
use std::path::PathBuf;
use tests::worker::{AGENT, Setup, Worker};
use tests::{Server, poll, procfs};

/// Enough to see a leak of one descriptor per job; `tools/test soak leave` runs a hundred.
const JOBS: usize = 10;
const JOBS_SOAK: usize = 100;

#[test]
fn jobs_one_after_the_other_leave_no_process_descriptor_memfd_or_cgroup() {
    let server = Server::start();
    let worker = Setup::new(&server).start();
    // The first job starts the device owners, which stay for a while by design.
    run_one(&server, &worker, 0);
    let before = Holdings::of(&worker);
    let has_leaf = worker.job_pids().into_iter().any(|pid| procfs::leaf(pid).is_some());
    assert!(before.cgroups > 0 || !has_leaf, "cgroups are not counted: {before:?}");
    let jobs = if std::env::var_os("SOAK").is_some() { JOBS_SOAK } else { JOBS };
    for number in 1..=jobs {
        run_one(&server, &worker, number);
    }
    let again = poll::try_until(SOON, || Holdings::of(&worker).within(&before).then_some(()));
    assert!(again.is_some(), "after {jobs} jobs the worker holds {:#?}, before {before:#?}", Holdings::of(&worker));
}

fn run_one(server: &Server, worker: &Worker, number: usize) {
    let room = format!("room-{number}");
    let dispatch = server.api().dispatch(&room, AGENT, "");
    poll::until("the board is in", SOON, || (server.api().identities(&room).len() == 1).then_some(()));
    poll::until("its rings are there, so leaks would be seen", SOON, || {
        (Holdings::of(worker).memfds > 0).then_some(())
    });
    server.api().delete_dispatch(&room, &dispatch);
    poll::until("the worker is idle with a job process in reserve", SOON, || {
        (worker.metric("lk_agents_active_job_count") == 0.0 && worker.job_pids().len() == 1).then_some(())
    });
}

/// What a worker holds of the kernel.
#[derive(Debug)]
struct Holdings {
    processes: usize,
    /// What the descriptors of the processes that stay point to, sorted: names tell what leaks.
    descriptors: Vec<PathBuf>,
    memfds: usize,
    cgroups: usize,
}

impl Holdings {
    fn of(worker: &Worker) -> Self {
        let owners = worker.owner_pids();
        let long_lived = || owners.iter().copied().chain([worker.pid()]);
        let mut descriptors: Vec<_> = long_lived().flat_map(procfs::descriptors).collect();
        descriptors.sort();
        Self {
            processes: procfs::descendants(worker.pid()).len(),
            descriptors,
            memfds: long_lived().map(procfs::memfds).sum(),
            cgroups: procfs::cgroups(worker.pid()),
        }
    }

    /// Whether it is no more: what was still on its way out at the first look may be gone.
    fn within(&self, before: &Self) -> bool {
        self.processes <= before.processes
            && self.descriptors.len() <= before.descriptors.len()
            && self.memfds <= before.memfds
            && self.cgroups <= before.cgroups
    }
}
