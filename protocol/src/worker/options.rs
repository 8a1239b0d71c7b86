//! How a worker presents and limits itself.

use super::machine::LONGEST_TIMEOUT;
use super::{Accept, Allowance, JobType};
use crate::room::Source;
use serde::{Deserialize, Serialize};
use std::time::Duration;

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
    /// Of which sources; of any where there are none.
    pub sources: Vec<Source>,
    /// May send data packets.
    pub publish_data: bool,
    /// May change its own metadata and attributes.
    pub update_metadata: bool,
    /// Is not shown to other participants.
    pub hidden: bool,
}

impl Default for Permissions {
    fn default() -> Self {
        Self {
            subscribe: true,
            publish: true,
            sources: vec![],
            publish_data: true,
            update_metadata: true,
            hidden: false,
        }
    }
}

/// How long a job may take to begin and to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// From assignment to Ready; a process that hangs before user code runs would keep its slot for ever.
    pub initialize: Duration,
    /// From Terminate to its exit; it is killed then.
    pub shutdown: Duration,
}

impl Timeouts {
    pub(super) fn bounded(self) -> Self {
        Self { initialize: self.initialize.min(LONGEST_TIMEOUT), shutdown: self.shutdown.min(LONGEST_TIMEOUT) }
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
    /// How long a job may take to begin and to end.
    pub timeouts: Timeouts,
    /// What becomes of jobs that fail.
    pub restart: RestartPolicy,
    /// Whether `on_request` is asked in a prewarmed job process ([`Action::Ask`]) or every offer is accepted that
    /// fits.
    pub ask: bool,
    /// Name, identity, metadata and attributes for accepted jobs when `ask` is false or `on_request` left them empty.
    /// An empty identity becomes `agent-<job id>`.
    pub accept: Accept,
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
    pub timeouts: Timeouts,
    /// As in [`Options`].
    pub restart: RestartPolicy,
}
