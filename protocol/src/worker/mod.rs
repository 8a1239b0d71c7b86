//! The agents worker protocol as one machine: registration, offers, jobs, load, drain, reconnect.
//!
//! ```text
//! Link: Waiting{until} --Connect--> Connecting --LinkUp--> Registering --register--> Registered
//!         ^------------------------ LinkDown (from any) ---------------------------------'
//! Job:  Offered -> Reserved --assignment--> Starting --ready--> Running --terminate/stop/ending--> Stopping -> Ended
//! ```
//!
//! The shell feeds [`Input`]s with the time, executes every [`Action`] it polls, and wakes the machine at
//! [`Worker::deadline`].

mod admission;
mod exit;
mod intake;
mod job;
mod limits;
mod link;
mod machine;
mod offer;
mod restart;
mod solo;
mod statuses;
#[cfg(test)]
mod tests;
mod wire;

pub use admission::PLANNED_MEMORY;
pub use limits::{Allowance, Limits, MemoryLimit};
pub use machine::Worker;
pub use solo::Solo;

use crate::clock::Clocks;
use crate::secret::Secret;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::time::Duration;

/// Identifies a job; the server's `AJ_…`, or a name of ours for a job without dispatch (`connect`).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct JobId(pub String);

/// What a worker registers for and what a job was made from (livekit_agent.proto `JobType`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum JobType {
    /// One job per dispatch into a room.
    #[default]
    Room,
    /// One job per participant that publishes its first track.
    Publisher,
    /// One job per participant that joins.
    Participant,
}

/// What becomes of a job that fails. The server never dispatches it again, so this is the board's own answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RestartPolicy {
    /// Its end is reported.
    #[default]
    Never,
    /// It is started again, three times in ten minutes at most; the last failure is reported.
    OnFailure,
}

/// What the server grants our jobs in their rooms (livekit_models.proto `ParticipantPermission`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Permissions {
    /// May subscribe to tracks.
    pub subscribe: bool,
    /// May publish tracks.
    pub publish: bool,
    /// May send data packets.
    pub publish_data: bool,
    /// May change its own metadata and attributes.
    pub update_metadata: bool,
    /// Is not shown to other participants.
    pub hidden: bool,
}

impl Default for Permissions {
    fn default() -> Self {
        Self { subscribe: true, publish: true, publish_data: true, update_metadata: true, hidden: false }
    }
}

/// How the worker presents and limits itself. Fixed for the life of the machine.
#[derive(Clone, Debug)]
pub struct Options {
    /// Name for explicit dispatch; empty means automatic dispatch into every new room.
    pub agent_name: String,
    /// Deployment label, at most 64 bytes; empty for none.
    pub deployment: String,
    /// The one job type registered for: a second register would close the socket.
    pub job_type: JobType,
    /// Grants asked for our jobs.
    pub permissions: Permissions,
    /// Version string shown to the server.
    pub version: String,
    /// Slots; at least 1.
    pub max_jobs: u32,
    /// What jobs may use.
    pub limits: Allowance,
    /// The load below which the server still selects us (`agents.target_load`, default 0.7).
    pub target_load: f32,
    /// How long a drain waits for running jobs before it stops them.
    pub drain_timeout: Duration,
    /// How long a job may take from Terminate to its exit before it is killed.
    pub shutdown_timeout: Duration,
    /// What becomes of jobs that fail.
    pub restart: RestartPolicy,
    /// Whether `on_request` is asked in a prewarmed job process ([`Action::Ask`]) or every offer is accepted that
    /// fits.
    pub ask: bool,
    /// Name, identity, metadata and attributes for accepted jobs when `ask` is false or `on_request` left them empty.
    /// An empty identity becomes `agent-<job id>`.
    pub accept: Accept,
}

/// A room as an offer describes it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RoomInfo {
    /// `RM_…`; may be empty.
    pub sid: String,
    /// Unique name.
    pub name: String,
    /// Free text set by the application.
    pub metadata: String,
}

/// The participant that a PUBLISHER or PARTICIPANT job was made for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ParticipantInfo {
    /// `PA_…`.
    pub sid: String,
    /// Unique in its room.
    pub identity: String,
    /// Display name.
    pub name: String,
    /// Free text set by the application.
    pub metadata: String,
    /// Key-value pairs.
    pub attributes: BTreeMap<String, String>,
}

/// A job as offered and assigned (livekit_agent.proto `Job`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobInfo {
    /// Its id.
    pub id: JobId,
    /// What it was made from.
    pub kind: JobType,
    /// Its room.
    pub room: RoomInfo,
    /// For PUBLISHER and PARTICIPANT jobs.
    pub participant: Option<ParticipantInfo>,
    /// Dispatch metadata.
    pub metadata: String,
    /// Dispatch attributes.
    pub attributes: BTreeMap<String, String>,
    /// The agent name it was dispatched to; empty for automatic dispatch.
    pub agent_name: String,
    /// `AD_…`; empty for simulated jobs.
    pub dispatch_id: String,
    /// Deployment label of the dispatch.
    pub deployment: String,
}

/// As whom the job joins.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Accept {
    /// Display name.
    pub name: String,
    /// Identity; empty means `agent-<job id>`.
    pub identity: String,
    /// Participant metadata.
    pub metadata: String,
    /// Participant attributes.
    pub attributes: BTreeMap<String, String>,
}

/// What `on_request` said to an offer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Answer {
    /// Take it.
    Accept(Accept),
    /// Leave it to the next worker, or with `terminate` to nobody.
    Reject {
        /// End the job for good (the server records SUCCESS).
        terminate: bool,
    },
    /// The process panicked, died or has no answer; a decline with terminate=false.
    Silent,
}

/// All that a job process needs. Travels over an inherited socket only.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobSpec {
    /// The job.
    pub job: JobInfo,
    /// As whom it joins.
    pub accept: Accept,
    /// Room server, if the assignment names one; else the worker's own URL.
    pub url: Option<String>,
    /// Join token.
    pub token: Secret,
    /// Our worker id at assignment, `AW_…`.
    pub worker_id: String,
    /// What it may use.
    #[serde(default)]
    pub limits: Limits,
}

/// How a job ended; becomes its terminal `UpdateJobStatus`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum JobResult {
    /// shutdown(), termination, drain, room closed or deleted, participant removed.
    Success {
        /// For the log.
        reason: String,
    },
    /// A success because an operator of the worker ended it; the server is told the reason too.
    Stopped {
        /// In plain words.
        reason: String,
    },
    /// Anything else; the text goes to the server as it is.
    Failed {
        /// One line that names operation and object.
        error: String,
    },
}

/// What a job does, for operators.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JobState {
    /// Its process gets ready.
    Starting,
    /// It joins its room.
    Joining,
    /// It is in its room.
    Running,
    /// It joins its room again.
    Rejoining,
    /// It was asked to end, or ends.
    Ending,
    /// It has failed, and waits for its restart.
    Restarting,
}

impl JobState {
    /// All, for metrics.
    pub const ALL: [Self; 6] =
        [Self::Starting, Self::Joining, Self::Running, Self::Rejoining, Self::Ending, Self::Restarting];

    /// As operators read it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Joining => "joining",
            Self::Running => "running",
            Self::Rejoining => "rejoining",
            Self::Ending => "ending",
            Self::Restarting => "restarting",
        }
    }
}

/// How a job process left.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Exit {
    /// Exit code.
    Code(i32),
    /// Killed by this signal.
    Signal(i32),
    /// Killed for the memory that it, or the whole board, used.
    OutOfMemory(MemoryLimit),
    /// It failed after it had wanted more processes and threads than its cgroup allows.
    OutOfProcesses {
        /// pids.max
        limit: u32,
        /// How it ended.
        exit: Box<Exit>,
    },
    /// It could not be started.
    NotStarted(String),
}

/// Why the link went down.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LinkError {
    /// HTTP refusal of the upgrade, with Retry-After where sent.
    Refused {
        /// HTTP status.
        status: u16,
        /// Retry-After.
        retry_after: Option<Duration>,
        /// Ours and the server's, where it told its time.
        clocks: Option<Clocks>,
    },
    /// The certificate is not valid (yet): wrong name, or the board's clock is off. Text names the object and the
    /// remedy.
    Tls(String),
    /// No credentials could be made: expired or unreadable token. Text names the object and the remedy.
    Credentials(String),
    /// Anything else: DNS, connect, reset, closed.
    Broken(String),
}

/// Board health, sampled by the shell.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Health {
    /// False when memory pressure, heat or the like says that no further job fits.
    pub takes_jobs: bool,
    /// From 0 for an idle board to 1 for one at its bounds; raises the load that is reported.
    pub strain: f32,
    /// Bytes that all jobs together may use; `None` where it is not known.
    pub memory_for_jobs: Option<u64>,
}

impl Default for Health {
    /// Of a board that was not looked at yet.
    fn default() -> Self {
        Self { takes_jobs: true, strain: 0.0, memory_for_jobs: None }
    }
}

/// What the job process told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum JobEvent {
    /// Ran its preparation and read its spec.
    Ready,
    /// Is in the room.
    Joined,
    /// Is about to open a new WebSocket with the same identity (livekit#4887).
    Rejoining,
    /// Is back.
    Rejoined,
    /// Wants to leave; waits for [`Action::Ack`].
    Ending(JobResult),
    /// Has failed in a way that another start may mend: a panic, an error of the entrypoint, a broken rule.
    Failing(String),
    /// Its process is gone.
    Exited(Exit),
}

/// What of [`Options`] may change while the worker runs. It counts for jobs that are assigned from then on.
#[derive(Clone, Copy, Debug)]
pub struct Tuning {
    /// As in [`Options`].
    pub max_jobs: u32,
    /// As in [`Options`].
    pub limits: Allowance,
    /// As in [`Options`].
    pub drain_timeout: Duration,
    /// As in [`Options`].
    pub shutdown_timeout: Duration,
    /// As in [`Options`].
    pub restart: RestartPolicy,
}

/// What happens to the machine.
#[derive(Clone, Debug)]
pub enum Input {
    /// A job of this worker's earlier life, whose processes are gone: it goes on, without the server's knowledge if that is
    /// the open-source one, which forgets the jobs of a lost connection.
    Adopt(Box<JobSpec>),
    /// The WebSocket is open.
    LinkUp,
    /// The WebSocket could not be opened or is gone.
    LinkDown(LinkError),
    /// A binary frame (protobuf `ServerMessage`).
    Message(Vec<u8>),
    /// Answer to [`Action::Ask`].
    Answer(JobId, Answer),
    /// From a job process.
    Job(JobId, JobEvent),
    /// New health sample.
    Health(Health),
    /// Drain: take nothing new, wait for jobs.
    Drain,
    /// An operator ends this job.
    End(JobId),
    /// Stop now: end jobs, then [`Action::Finished`].
    Stop,
    /// As `Stop`, but every job, those that are ending already among them, has no longer than this.
    StopWithin(Duration),
    /// The configuration was read again.
    Tune(Tuning),
    /// A deadline passed.
    Time,
}

/// What the shell must do, in order.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Open the WebSocket with fresh credentials; `LinkUp` or `LinkDown` must follow.
    Connect,
    /// Send this binary frame; may be dropped when the link is down.
    Send(Vec<u8>),
    /// Close the WebSocket cleanly (code 1000), or stop opening it. No `LinkDown` is owed for it.
    Close,
    /// Ask `on_request` in the prewarmed process; answer by [`Input::Answer`]. Either `Start` or `Forget` follows.
    Ask(Box<JobInfo>),
    /// The asked job does not come: the process can be reused or dropped. It may still owe an answer, which is ignored.
    Forget(JobId),
    /// Hand the job to a prewarmed process, or start one.
    Start(Box<JobSpec>),
    /// Tell the job to end: run hooks, leave, exit.
    Terminate {
        /// Which.
        job: JobId,
        /// Shown to the shutdown hooks.
        reason: String,
        /// After this the job will be killed.
        grace: Duration,
    },
    /// The terminal status was sent: the job may leave its room.
    Ack(JobId),
    /// Kill the process and its cgroup.
    Kill(JobId),
    /// The job failed, which the server is not told: it is to be started again after the wait.
    Failed {
        /// Which.
        job: JobId,
        /// In plain words.
        error: String,
        /// Until [`Action::Restart`].
        wait: Duration,
    },
    /// Start the job again in a new process, with the newest token. By joining it replaces what is left in the room.
    Restart(JobId),
    /// The dead job did not leave its room: sign its participant off.
    SignOff(JobId),
    /// The server has ended a job whose participant may be being signed off: it is gone. A sign-off would resume a
    /// successor, or make a deleted room anew.
    CancelSignOff(JobId),
    /// The job is Ended: forget it. Only a `CancelSignOff` can follow for a job.
    Release {
        /// Which.
        job: JobId,
        /// How it ended, for log and metrics.
        result: JobResult,
    },
    /// Drained or stopped, all jobs ended.
    Finished,
}

/// Why the machine wants to be woken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// Next connection attempt.
    Reconnect,
    /// Register response missing.
    RegisterTimeout,
    /// Status is due (2.5 s).
    Status,
    /// WorkerPing is due, or its pong missing.
    Ping,
    /// `on_request` gave no answer.
    AnswerTimeout,
    /// Accepted, but no assignment came.
    AssignmentTimeout,
    /// The server has filed a fresh job by now, so that its end can be told.
    Filing,
    /// Job process not ready.
    ReadyTimeout,
    /// Not in its room.
    JoinTimeout,
    /// Rejoin grace is over: a termination recorded meanwhile is dropped if the job is back, else acted on.
    RejoinGrace,
    /// Did not end in time.
    KillTimeout,
    /// The wait before a restart is over.
    Restart,
    /// Drain timeout.
    Drain,
}

/// What operators see of the worker (`/worker`, `/metrics`, `/ready`).
#[derive(Clone, Debug, PartialEq)]
pub struct Snapshot {
    /// Registered now.
    pub registered: bool,
    /// `AW_…` of the present or last registration.
    pub worker_id: String,
    /// Draining or stopping.
    pub draining: bool,
    /// Load as reported.
    pub load: f32,
    /// Jobs starting, running or stopping.
    pub active_jobs: u32,
    /// In plain words why it is not registered; empty when it is.
    pub problem: String,
}

/// What the machine ignored or lost since its start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Frames that are no `ServerMessage`, or lack the job they speak of.
    pub malformed: u64,
    /// Messages of a kind we do not know, or that came out of turn.
    pub ignored: u64,
    /// Terminal statuses that were never sent, because too many jobs ended without a link.
    pub statuses_lost: u64,
}
