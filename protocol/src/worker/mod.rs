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
mod handover;
mod intake;
mod job;
mod limits;
mod link;
mod machine;
mod offer;
mod options;
mod restart;
mod solo;
mod spec;
mod statuses;
mod strange;
#[cfg(test)]
mod tests;
mod wire;

pub use admission::PLANNED_MEMORY;
pub use exit::complaint;
pub use handover::{Busy, Handover};
pub use limits::{Allowance, Limits, MemoryLimit};
pub use link::UNLESS_LOGIN;
pub use machine::Worker;
pub use options::{Options, Permissions, RestartPolicy, Timeouts, Tuning};
pub use solo::Solo;
pub use spec::{Accept, Answer, JobInfo, JobSpec, ParticipantInfo, RoomInfo};

use crate::clock::Clocks;
use serde::{Deserialize, Serialize};
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

impl JobResult {
    /// The same end with its text changed.
    pub fn map_text(self, change: impl FnOnce(String) -> String) -> Self {
        match self {
            Self::Success { reason } => Self::Success { reason: change(reason) },
            Self::Stopped { reason } => Self::Stopped { reason: change(reason) },
            Self::Failed { error } => Self::Failed { error: change(error) },
        }
    }
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
    /// It joins its room again, or resumes its session there.
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
    /// It failed, and had complained before.
    Complained {
        /// How it ended.
        exit: Box<Exit>,
        /// The last that it wrote to its standard error.
        stderr: String,
    },
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
    /// Only this board's clock stands between us and the server: it is not set yet, or behind. Text names the remedy.
    Clock(String),
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
    /// Is about to open a new WebSocket with the same identity (livekit#4887), to resume its session or to begin another.
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

/// What happens to the machine.
#[derive(Clone, Debug)]
pub enum Input {
    /// A job of this worker's earlier life, whose processes are gone: it goes on, without the server's knowledge if that is
    /// the open-source one, which forgets the jobs of a lost connection. How long ago it was started again, oldest first,
    /// which the restart policy must allow once more ([`RestartPolicy::allows`]).
    Adopt(Box<JobSpec>, Vec<Duration>),
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
