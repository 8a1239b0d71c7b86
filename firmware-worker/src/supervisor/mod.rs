//! The supervisor: worker protocol, job and device table, cgroups, descriptor broker, HTTP for operators.
//!
//! One task owns all state and never waits for anything but its inputs:
//!
//! ```text
//! children's sockets and pidfds, events of helper tasks, signals, uevents, deadlines
//!     --> Supervisor: table --> machine.handle(input) --> actions --> children, link, helper tasks
//! ```
//!
//! Helper tasks (the WebSocket, lookups, sign-offs, openers, HTTP) hold no state of ours; what they find out comes
//! back through one bounded queue.

mod accounts;
mod actions;
mod admission;
mod announce;
mod asks;
mod brain;
mod broker;
mod burial;
mod cgroup;
mod commands;
mod credentials;
mod device_reports;
mod devices;
mod handover;
mod health;
mod hearing;
mod holder;
mod http;
mod inheritance;
mod isolation;
mod job_reports;
mod jobs;
mod kind;
mod ledger;
mod messages;
mod nodes;
mod oom;
mod opening;
mod operators;
mod owners;
mod peers;
mod process;
mod pulse;
mod reload;
mod report;
mod resolver;
mod restarts;
mod run;
mod shutdown;
mod signoff;
mod starts;
mod stuck;
mod system;
mod upgrade;
mod uplink;

pub use cgroup::kill_one_by_one;
pub use isolation::BOUNDING_SET;

pub(crate) use holder::describe as describe_holder;
pub(crate) use nodes::open as open_node;
pub use opening::main as open_for_owner;

use crate::config::{Config, Credentials, Server};
use crate::control::{FromOperator, panic, runtime_directory};
use crate::net::Tls;
use brain::Brain;
use cgroup::Cgroups;
use credentials::{extra_certificates, wall_clock};
use hal::process::{Inheritance, Peer};
use handover::Succession;
use protocol::secret::Secret;
use protocol::token::{self, Grant};
use protocol::worker::{Accept, Allowance, JobId, JobInfo, JobSpec, JobType, Limits, Options, RoomInfo, Solo, Worker};
pub use reload::Reload;
use run::{Ending, Supervisor};
use starts::Starts;
use std::net::SocketAddr;
use std::os::fd::RawFd;
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};
pub use system::SIGN;
use tokio::sync::{mpsc, oneshot};
use tracing::{error, warn};

/// Events of helper tasks that may wait for the loop. Full means that the tasks wait: the server by TCP's own queue.
const EVENTS: usize = 64;

/// Threads that may block at a time: the six that look up names, and as many for drivers, `/proc` and programs.
const BLOCKING: usize = 12;

/// A join token minted for `connect`. The room refreshes it from then on.
const JOIN_TTL: Duration = Duration::from_secs(3600);

/// How the worker behaves beyond its configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mode {
    /// The first signal drains: jobs may end by themselves. Otherwise it stops them.
    pub drain: bool,
    /// `on_request` is to be asked about every offer.
    pub ask: bool,
}

/// What helper tasks tell the loop.
#[derive(Debug)]
enum Event {
    /// Of the WebSocket to the server.
    Link { generation: u32, link: uplink::Link },
    /// A job's question has its answer.
    Resolved { process: jobs::ProcessId, id: u32, result: Result<Vec<SocketAddr>, String> },
    /// A camera node for an owner, if it is still the `start`-th process of its device, from the opener of this pid.
    Node { device: String, start: u32, opener: i32, result: Result<opening::Opened, opening::Failure> },
    /// Who holds a busy device, for its `start`-th process.
    Holder { device: String, start: u32, who: String },
    /// The new program has said whether it can take over, in words.
    Checked(Result<String, String>),
    /// User code has said whether its jobs can do something with a configuration that was read again, or why not.
    Judged(Result<String, String>),
    /// The whole system goes down, not this worker alone: who says so, and when that was looked at or asked.
    SystemGoesDown { source: system::Source, asked: Instant },
    /// A ghost is gone, or not.
    SignedOff { job: JobId, outcome: signoff::Outcome },
    /// An operator wants something.
    Operator { peer: Peer, question: FromOperator, reply: operators::Reply },
    /// Somebody wants to know how we are.
    Report(oneshot::Sender<report::Report>),
}

type Events = mpsc::Sender<Event>;

/// Runs a registered worker until it is told to stop.
///
/// Exit codes: 0 after a drain or a stop, 1 when the worker could not start, 3 when a second signal cut a drain short.
/// With an inheritance it takes the place of the program that was here before.
pub fn start(config: Config, mode: Mode, reload: Reload, inheritance: Option<Inheritance>) -> ExitCode {
    let now = Instant::now();
    let options = options(&config, mode);
    let succession = inheritance.map(Succession::of);
    let handover = succession.as_ref().map(|succession| succession.table.worker.clone());
    let brain = move |seed| {
        Brain::Worker(Box::new(match handover {
            Some(handover) => Worker::resume(options, handover, now, seed),
            None => Worker::new(options, now, seed),
        }))
    };
    run(config, mode, brain, Some(reload), succession)
}

/// Whether a worker with this configuration could take over what stands in the memfd of this number, in words.
pub fn check_handover(config: &Config, number: RawFd) -> Result<String, String> {
    let options = options(config, Mode { drain: true, ask: false });
    handover::check(number, |handover| drop(Worker::resume(options, handover, Instant::now(), 0)))
}

/// Whom to trust beside the built-in authorities, or what is wrong with the configured certificates.
pub fn trust(server: &Server) -> Result<Tls, String> {
    Tls::new(&extra_certificates(server.ca_file.as_deref())?)
}

/// Connects to the server as the worker would, without registering; in plain words why that does not work.
pub fn try_server(server: Server) -> Result<(), String> {
    let tls = trust(&server)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|e| e.to_string())?;
    let result = runtime.block_on(uplink::try_once(&server, &tls));
    runtime.shutdown_background();
    result.map_err(|error| error.in_words())
}

/// Runs one job in `room` without registration, and ends with it.
///
/// Exit codes: 0 if the job ended well, 1 if not.
pub fn connect(config: Config, room: String, identity: String, token: Option<Secret>) -> ExitCode {
    let Some(token) = token.or_else(|| join_token(&config, &room, &identity)) else {
        error!("a join token is needed to connect without an API secret");
        return ExitCode::FAILURE;
    };
    let spec = JobSpec { limits: config.limits.job, ..solo_spec(room, identity, token) };
    let timeouts = config.worker.timeouts();
    let mode = Mode { drain: false, ask: false };
    run(config, mode, move |_| Brain::Solo(Box::new(Solo::new(spec, timeouts, Instant::now()))), None, None)
}

fn run(
    config: Config,
    mode: Mode,
    brain: impl FnOnce(u64) -> Brain,
    reload: Option<Reload>,
    succession: Option<Succession>,
) -> ExitCode {
    if let Err(e) = panic::install(panic::Kind::Silent, None) {
        error!("panic hook: {e}");
    }
    // One thread turns everything; lookups block on few others, which go when idle.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(BLOCKING)
        .thread_keep_alive(Duration::from_secs(5))
        .build();
    succession.iter().for_each(Succession::announce);
    let starts = starts(mode, succession.is_some());
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(e) => {
            error!("runtime: {e}");
            return ExitCode::FAILURE;
        }
    };
    let seed = seed();
    let ending = runtime.block_on(async {
        let (events, queue) = mpsc::channel(EVENTS);
        let (brain, cgroups) = (brain(seed), cgroups());
        let supervisor = Supervisor::new(config, mode, brain, cgroups, events, seed);
        let supervisor = supervisor.map(|supervisor| supervisor.started_again(starts.restarts()));
        let started = match (supervisor, succession) {
            (Ok(supervisor), None) => supervisor.isolated().await.map(|supervisor| (supervisor, None)),
            (Ok(mut supervisor), Some(Succession { table, mut inheritance })) => {
                match supervisor.succeed(table, &mut inheritance) {
                    Ok(()) => Ok((supervisor, Some(inheritance))),
                    // Before anything of it is dropped: a leaf would end its child.
                    Err(why) => inheritance.go_back(&why),
                }
            }
            (Err(why), Some(succession)) => succession.inheritance.go_back(&why),
            (Err(why), None) => Err(why),
        };
        match started {
            Ok((supervisor, inheritance)) => supervisor.run(queue, reload, inheritance).await,
            Err(why) => {
                error!("{why}");
                Ending::NotStarted
            }
        }
    });
    // A lookup that blocks must not hold up the exit.
    runtime.shutdown_background();
    if ending != Ending::NotStarted {
        starts.forget();
    }
    ending.into()
}

/// Notes this start, where a service manager makes the next one, and waits if there were many.
fn starts(mode: Mode, succession: bool) -> Starts {
    let managed = mode.drain && std::env::var_os("NOTIFY_SOCKET").is_some();
    let directory = runtime_directory(|name| std::env::var(name).ok()).filter(|_| managed);
    let Some(directory) = directory.filter(|path| ledger::make_directory(path).is_ok()) else {
        return Starts::default();
    };
    if succession {
        return Starts::noted(&directory);
    }
    let starts = Starts::note(&directory);
    let wait = starts.wait();
    if !wait.is_zero() {
        warn!("started again {} times in ten minutes: waits {} s first", starts.restarts(), wait.as_secs());
        std::thread::sleep(wait);
    }
    starts
}

/// A leaf for each child, where this process may make any. What cannot be limited is told.
fn cgroups() -> Option<Cgroups> {
    oom::protect_supervisor(Path::new("/proc"));
    let cgroups = Cgroups::set_up(Path::new("/proc"), std::process::id());
    let cgroups = cgroups.inspect_err(|e| warn!("no limits for children: {e} ({DELEGATION})")).ok()?;
    cgroups.missing().iter().for_each(|missing| warn!("{missing}"));
    Some(cgroups)
}

/// What helps most where no cgroup can be made at all.
const DELEGATION: &str = "run the worker as a service with Delegate=yes";

fn options(config: &Config, mode: Mode) -> Options {
    let worker = &config.worker;
    Options {
        agent_name: worker.agent_name.clone(),
        deployment: worker.deployment.clone(),
        job_type: worker.job_type,
        permissions: worker.permissions.clone(),
        version: env!("CARGO_PKG_VERSION").into(),
        max_jobs: worker.max_jobs,
        limits: Allowance { default: config.limits.job, ceiling: config.limits.ceiling },
        target_load: worker.target_load,
        drain_timeout: worker.drain_timeout,
        timeouts: worker.timeouts(),
        restart: worker.restart,
        ask: mode.ask,
        accept: Accept::default(),
    }
}

fn join_token(config: &Config, room: &str, identity: &str) -> Option<Secret> {
    let Credentials::Key { key, secret } = &config.server.credentials else { return None };
    let (room, identity) = (room.to_owned(), identity.to_owned());
    let permissions = config.worker.permissions.clone();
    let grant = Grant::Join { room, name: identity.clone(), identity, agent: true, permissions };
    Some(token::mint(key, secret, &grant, wall_clock(), JOIN_TTL))
}

fn solo_spec(room: String, identity: String, token: Secret) -> JobSpec {
    let job = JobInfo {
        id: JobId("connect".into()),
        kind: JobType::Room,
        room: RoomInfo { name: room, ..RoomInfo::default() },
        participant: None,
        metadata: String::new(),
        attributes: Default::default(),
        agent_name: String::new(),
        dispatch_id: String::new(),
        deployment: String::new(),
    };
    let accept = Accept { name: identity.clone(), identity, ..Accept::default() };
    JobSpec { job, accept, url: None, token, worker_id: String::new(), limits: Limits::default() }
}

/// Spreads retries of many boards that start together. The hasher's keys are the randomness std offers.
fn seed() -> u64 {
    use std::hash::{BuildHasher, Hasher, RandomState};
    RandomState::new().build_hasher().finish()
}
