//! The loop: one input, one turn of the machine, all of its actions.

mod time;

use super::announce::{self, notify};
use super::brain::Brain;
use super::cgroup::Cgroups;
use super::credentials::extra_certificates;
use super::health::Health;
use super::isolation::{Isolation, secrets};
use super::jobs::{Jobs, ProcessId, in_ms};
use super::ledger::Ledger;
use super::opening::Openings;
use super::operators::{self, Operators};
use super::owners::Owners;
use super::process::{Happened, Spawner};
use super::pulse::{Check, PING_INTERVAL};
use super::reload::{self, Judging, Reload};
use super::report::Totals;
use super::resolver::Resolver;
use super::system::{SIGN, Sign};
use super::upgrade::Upgrade;
use super::uplink::{Link, Uplink, Uplinks};
use super::{Event, Events, Mode, devices, http, stuck};
use crate::config::Config;
use crate::control::{FromJob, FromOwner, Granted, JobSetup, Owned, ToJob, ToOwner};
use crate::net::Tls;
use hal::board::Board;
use hal::hotplug::Listener;
use hal::process::{Inheritance, let_go_of_code};
use protocol::worker::{Exit, Input, JobEvent, JobId, JobResult, PLANNED_MEMORY, Snapshot};
use std::collections::{BTreeMap, VecDeque};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};
use tokio::io::unix::AsyncFd;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::sleep_until;
use tracing::{debug, info, warn};

/// Owners look for their devices this often whatever the kernel tells: its events can be lost, or not be heard at all.
const RESCAN_INTERVAL: Duration = Duration::from_secs(30);

/// All state of the supervisor.
#[derive(Debug)]
pub(super) struct Supervisor {
    pub(super) config: Config,
    pub(super) mode: Mode,
    pub(super) brain: Brain,
    pub(super) inputs: VecDeque<Input>,
    pub(super) jobs: Jobs,
    pub(super) owners: Owners,
    pub(super) openings: Openings,
    pub(super) spawner: Spawner,
    pub(super) uplinks: Uplinks,
    pub(super) uplink: Option<Uplink>,
    pub(super) closing: Option<JoinHandle<()>>,
    /// For our own connections.
    pub(super) resolver: Resolver,
    pub(super) resolver_of_jobs: Resolver,
    pub(super) tls: Tls,
    pub(super) events: Events,
    pub(super) signoffs: BTreeMap<JobId, super::actions::SigningOff>,
    pub(super) operators: Operators,
    /// None where there is no place for it, and for a worker without registration.
    pub(super) ledger: Option<Ledger>,
    pub(super) reload: Option<Reload>,
    pub(super) judging: Option<Judging>,
    /// Where the program of this worker is looked for.
    pub(super) program: PathBuf,
    pub(super) upgrade: Option<Upgrade>,
    pub(super) totals: Totals,
    /// Of this worker lately, by a service manager.
    pub(super) restarts: usize,
    pub(super) seed: u64,
    pub(super) finished: bool,
    pub(super) last_result: Option<JobResult>,
    health: Health,
    pub(super) seen: Option<Snapshot>,
    /// When it was registered last, as far as the loop has seen.
    pub(super) registered: Option<Instant>,
    pub(super) signals: u32,
    /// That the system stays up.
    pub(super) sign: Sign,
    /// Where that is looked for.
    pub(super) sign_at: PathBuf,
    pub(super) next_tick: Instant,
    /// Registered, and without a job.
    rests: bool,
    next_rescan: Instant,
}

/// How the supervisor ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    /// As asked.
    Good,
    /// The job of `connect` failed.
    JobFailed,
    /// A second signal cut the drain short.
    CutShort,
    /// It could not start.
    NotStarted,
}

impl From<Ending> for ExitCode {
    fn from(ending: Ending) -> Self {
        match ending {
            Ending::Good => Self::SUCCESS,
            Ending::JobFailed | Ending::NotStarted => Self::FAILURE,
            Ending::CutShort => Self::from(crate::cli::exit::CUT_SHORT),
        }
    }
}

/// What the loop waits for.
enum Happening {
    Signal,
    Hangup,
    Upgrade,
    Job(ProcessId, Happened<FromJob>),
    Owner(String, Happened<FromOwner>),
    Command(String, Exit),
    Event(Event),
    Devices,
    Deadline,
}

struct Inputs {
    terminate: Signal,
    interrupt: Signal,
    /// Where there is something to reload; otherwise SIGHUP ends the process, as that of a terminal should.
    hangup: Option<Signal>,
    upgrade: Signal,
    queue: mpsc::Receiver<Event>,
    hotplug: Option<AsyncFd<Owned<Listener>>>,
}

impl Supervisor {
    pub(super) fn new(
        config: Config,
        mode: Mode,
        brain: Brain,
        cgroups: Option<Cgroups>,
        events: Events,
        seed: u64,
    ) -> Result<Self, String> {
        let now = Instant::now();
        let ca_pem = extra_certificates(config.server.ca_file.as_deref())?;
        let tls = Tls::new(&ca_pem)?;
        let resolver = Resolver::of_ours();
        let program = std::env::current_exe().map_err(|e| format!("own executable: {e}"))?;
        let isolation = Isolation::new(config.isolation.clone(), secrets(&config));
        let spawner = Spawner::new(cgroups, isolation, config.log_level).map_err(|e| format!("own executable: {e}"))?;
        let setup = JobSetup {
            url: config.server.url.clone(),
            sources: config.devices.iter().filter_map(Granted::of).collect(),
            speakers: config.speakers().map(str::to_owned).collect(),
            shutdown_timeout_ms: in_ms(config.worker.shutdown_timeout),
            ca_pem,
            options: config.job_options.clone(),
        };
        Ok(Self {
            jobs: Jobs::new(setup, config.limits.job, now, seed),
            owners: Owners::new(&config.devices, config.limits.owner, now, seed),
            openings: Openings::default(),
            uplinks: Uplinks::new(config.server.clone(), tls.clone(), resolver.clone(), events.clone()),
            config,
            mode,
            brain,
            inputs: VecDeque::new(),
            spawner,
            uplink: None,
            closing: None,
            resolver,
            resolver_of_jobs: Resolver::of_jobs(),
            tls,
            events,
            signoffs: BTreeMap::new(),
            operators: Operators::default(),
            ledger: None,
            reload: None,
            judging: None,
            program,
            upgrade: None,
            totals: Totals::default(),
            restarts: 0,
            seed,
            finished: false,
            last_result: None,
            health: Health::new(Board::under("/"), now),
            seen: None,
            registered: None,
            signals: 0,
            sign: Sign::default(),
            sign_at: SIGN.into(),
            next_tick: now + PING_INTERVAL,
            rests: false,
            next_rescan: now + RESCAN_INTERVAL,
        })
    }

    /// So often lately, by a service manager.
    pub(super) fn started_again(self, restarts: usize) -> Self {
        Self { restarts, ..self }
    }

    /// With an inheritance this program takes the place of another, and has its children already.
    pub(super) async fn run(
        mut self,
        queue: mpsc::Receiver<Event>,
        reload: Option<Reload>,
        inheritance: Option<Inheritance>,
    ) -> Ending {
        let (Ok(terminate), Ok(interrupt), Ok(upgrade)) =
            (signal(SignalKind::terminate()), signal(SignalKind::interrupt()), signal(SignalKind::user_defined2()))
        else {
            return Ending::NotStarted;
        };
        let hangup = reload.as_ref().and_then(|_| signal(SignalKind::hangup()).ok());
        self.reload = reload;
        let mut inputs = Inputs { terminate, interrupt, hangup, upgrade, queue, hotplug: devices::listen() };
        if let Some(address) = self.config.http {
            http::serve(address, self.config.isolation.uids.clone(), self.events.clone()).await;
        }
        operators::serve(self.events.clone());
        match inheritance {
            // No child is started before: the program of before would not know it.
            Some(inheritance) => {
                self.turn();
                tokio::task::yield_now().await;
                self.settle(inheritance);
                // The program before has asked, and nobody has told it yet.
                if self.mode.drain && self.signals == 1 {
                    self.find_out_further_whether_the_system_goes_down();
                }
            }
            None => {
                self.owners.keep_warm(&mut self.spawner, Instant::now());
                self.inherit().await;
                self.turn();
            }
        }
        self.look_for_the_sign();
        announce::started();
        while !self.finished {
            let happening = self.next(&mut inputs).await;
            self.take(happening);
            self.turn();
            if inputs.queue.is_empty() {
                self.upgrade().await;
            }
        }
        self.shut_down().await;
        self.write_ledger();
        match (&self.brain, &self.last_result) {
            (Brain::Worker(_), _) if self.mode.drain && self.signals > 1 => Ending::CutShort,
            (Brain::Solo(_), Some(JobResult::Failed { .. })) => Ending::JobFailed,
            _ => Ending::Good,
        }
    }

    /// Children come before events: what a job has said must be known when a message of the server is acted on.
    async fn next(&mut self, inputs: &mut Inputs) -> Happening {
        let deadline = self.deadline();
        tokio::select! {
            biased;
            _ = inputs.terminate.recv() => Happening::Signal,
            _ = inputs.interrupt.recv() => Happening::Signal,
            () = reload::asked(&mut inputs.hangup) => Happening::Hangup,
            _ = inputs.upgrade.recv() => Happening::Upgrade,
            happening = std::future::poll_fn(|cx| self.poll_children(cx)) => happening,
            Some(event) = inputs.queue.recv() => Happening::Event(event),
            () = devices::changed(&mut inputs.hotplug) => Happening::Devices,
            () = sleep_until(deadline.into()) => Happening::Deadline,
        }
    }

    fn poll_children(&mut self, cx: &mut Context<'_>) -> Poll<Happening> {
        if let Poll::Ready((id, happened)) = self.jobs.poll_next(cx) {
            return Poll::Ready(Happening::Job(id, happened));
        }
        if let Poll::Ready((name, exit)) = self.owners.poll_commands(cx) {
            return Poll::Ready(Happening::Command(name, exit));
        }
        self.owners.poll_next(cx).map(|(name, happened)| Happening::Owner(name, happened))
    }

    fn take(&mut self, happening: Happening) {
        match happening {
            Happening::Signal => self.signalled(),
            Happening::Hangup => self.read_configuration(),
            Happening::Upgrade => self.asked_to_upgrade(),
            Happening::Job(id, happened) => self.job_happened(id, happened),
            Happening::Owner(name, happened) => self.owner_happened(&name, happened, Instant::now()),
            Happening::Command(name, exit) => self.command_ended(&name, &exit),
            Happening::Event(event) => self.event(event),
            Happening::Devices => self.try_hanging(Instant::now(), true),
            Happening::Deadline => self.time(Instant::now()),
        }
    }

    /// Feeds the machine and does what it says, until it has nothing more to say.
    pub(super) fn turn(&mut self) {
        loop {
            while let Some(action) = self.brain.poll() {
                self.execute(action);
            }
            match self.inputs.pop_front() {
                Some(input) => self.brain.handle(input, Instant::now()),
                None => break,
            }
        }
        self.write_ledger();
        self.announce();
    }

    fn event(&mut self, event: Event) {
        match event {
            Event::Link { generation, link } => self.link_event(generation, link),
            Event::Resolved { process, id, result } => self.resolved(process, id, result),
            Event::Node { device, start, opener, result } => self.node_opened(&device, start, opener, result),
            Event::Holder { device, start, who } => self.holder_found(&device, start, who),
            Event::Checked(result) => self.checked(result),
            Event::Judged(result) => self.judged(result),
            Event::SystemGoesDown { source, asked } => self.system_goes_down(source, asked),
            Event::SignedOff { job, outcome } => self.signed_off(&job, outcome),
            Event::Operator { peer, question, reply } => self.answer_operator(peer, question, reply),
            Event::Report(reply) => {
                // Whoever asked may be gone.
                let _ = reply.send(self.report());
            }
        }
    }

    fn link_event(&mut self, generation: u32, link: Link) {
        let Some(uplink) = self.uplink.as_mut().filter(|uplink| uplink.generation == generation) else { return };
        match link {
            Link::Up => {
                uplink.up = true;
                self.inputs.push_back(Input::LinkUp);
            }
            Link::Written(job) => self.tell(&job, &ToJob::Ack),
            Link::Frame(frame) => {
                // A termination may be about a participant that its job has just replaced (livekit#4887).
                while let Some((id, happened)) = self.jobs.try_next() {
                    self.job_happened(id, happened);
                }
                self.inputs.push_back(Input::Message(frame));
            }
            Link::Down(why) => {
                self.uplink = None;
                self.inputs.push_back(Input::LinkDown(why));
            }
        }
    }

    fn signalled(&mut self) {
        self.signals += 1;
        let drain = self.mode.drain && self.signals == 1;
        info!(
            "{}",
            if drain { "draining: no new jobs, running ones go on; a second signal stops them" } else { "stopping" }
        );
        let status = if drain { "draining" } else { "stopping" };
        notify(&[sd_notify::NotifyState::Stopping, sd_notify::NotifyState::Status(status)]);
        self.inputs.push_back(if drain { Input::Drain } else { Input::Stop });
        if drain {
            self.find_out_whether_the_system_goes_down();
        }
        // Whoever asks a third time means it.
        self.finished |= self.signals > 2;
    }

    pub(super) fn job_input(&mut self, job: JobId, event: JobEvent) {
        self.inputs.push_back(Input::Job(job, event));
    }
}

#[cfg(test)]
mod tests;
