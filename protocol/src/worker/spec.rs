//! A job: as it is offered, answered and handed to its process.

use super::{JobId, JobType, Limits};
use crate::secret::Secret;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

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
