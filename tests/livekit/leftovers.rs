//! Many jobs one after the other leave nothing behind.

use crate::SOON;
use std::collections::BTreeSet;
use std::fs;
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
    let jobs = if std::env::var_os("SOAK").is_some() { JOBS_SOAK } else { JOBS };
    for number in 1..=jobs {
        run_one(&server, &worker, number);
    }
    poll::until(&format!("holdings are {before:?} again after {jobs} jobs"), SOON, || {
        (Holdings::of(&worker) == before).then_some(())
    });
}

fn run_one(server: &Server, worker: &Worker, number: usize) {
    let room = format!("room-{number}");
    let dispatch = server.api().dispatch(&room, AGENT, "");
    poll::until("the board is in", SOON, || (server.api().identities(&room).len() == 1).then_some(()));
    server.api().delete_dispatch(&room, &dispatch);
    poll::until("the worker is idle with a job process in reserve", SOON, || {
        (worker.metric("lk_agents_active_job_count") == 0.0 && worker.job_pids().len() == 1).then_some(())
    });
}

/// What a worker holds of the kernel.
#[derive(Debug, PartialEq, Eq)]
struct Holdings {
    processes: usize,
    descriptors: usize,
    memfds: usize,
    cgroups: usize,
}

impl Holdings {
    fn of(worker: &Worker) -> Self {
        let owners = worker.owner_pids();
        let long_lived = || owners.iter().copied().chain([worker.pid()]);
        Self {
            processes: procfs::descendants(worker.pid()).len(),
            descriptors: long_lived().map(|pid| procfs::descriptors(pid).len()).sum(),
            memfds: long_lived().map(procfs::memfds).sum(),
            cgroups: cgroups(worker.pid()),
        }
    }
}

/// Directories beside and under the worker's own cgroup v2 leaf; 0 where there is none to see.
fn cgroups(pid: u32) -> usize {
    let own = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
    let path = own.lines().find_map(|line| line.strip_prefix("0::/")).unwrap_or_default();
    let mounts = ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"].map(|mount| PathBuf::from(mount).join(path));
    let parents: BTreeSet<_> = mounts.iter().filter_map(|leaf| leaf.parent()).collect();
    let entries = parents.into_iter().filter_map(|parent| fs::read_dir(parent).ok()).flatten().flatten();
    entries.filter(|entry| entry.path().is_dir()).count()
}
