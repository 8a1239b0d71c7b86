//! The protobuf edge: frames to what the machine understands, and back. Schema types stay in this file.

use super::{Accept, JobId, JobInfo, JobResult, JobType, Options, ParticipantInfo, RoomInfo};
use crate::room::signal::source_out;
use crate::secret::Secret;
use livekit_protocol as proto;
use prost::Message as _;
use proto::{server_message::Message as FromProto, worker_message::Message as ToProto};

/// What the server said.
#[derive(Debug, PartialEq)]
pub(super) enum FromServer {
    /// Registration accepted.
    Registered { worker_id: String },
    /// Do you take this job?
    Offer(Box<JobInfo>),
    /// An offer of a kind we cannot run: an unknown job type, or a job without a room.
    Unfit(JobId),
    /// The job is ours.
    Assignment { job: JobId, url: Option<String>, token: Secret },
    /// The job is over as far as the server is concerned.
    Termination(JobId),
    /// Answer to our ping.
    Pong,
    /// Register again, elsewhere.
    GoAway,
    /// A member newer than our schema.
    Unknown,
}

/// Why a frame was ignored.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    #[error("worker protocol: frame is no ServerMessage: {0}")]
    Frame(#[from] prost::DecodeError),
    #[error("worker protocol: {0} without a job id")]
    NoJob(&'static str),
}

/// What `UpdateWorkerStatus` says.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Status {
    pub full: bool,
    pub load: f32,
    pub jobs: u32,
    pub draining: bool,
}

pub(super) fn decode(frame: &[u8]) -> Result<FromServer, Error> {
    let Some(message) = proto::ServerMessage::decode(frame)?.message else {
        return Ok(FromServer::Unknown);
    };
    Ok(match message {
        FromProto::Register(m) => FromServer::Registered { worker_id: m.worker_id },
        FromProto::Availability(m) => offer(m.job.ok_or(Error::NoJob("offer"))?)?,
        FromProto::Assignment(m) => FromServer::Assignment {
            job: job_id(m.job.map(|job| job.id).unwrap_or_default(), "assignment")?,
            url: m.url.filter(|url| !url.is_empty()),
            token: Secret::new(m.token),
        },
        FromProto::Termination(m) => FromServer::Termination(job_id(m.job_id, "termination")?),
        FromProto::Pong(_) => FromServer::Pong,
        FromProto::GoAway(_) => FromServer::GoAway,
    })
}

fn job_id(id: String, message: &'static str) -> Result<JobId, Error> {
    if id.is_empty() { Err(Error::NoJob(message)) } else { Ok(JobId(id)) }
}

fn offer(job: proto::Job) -> Result<FromServer, Error> {
    let id = job_id(job.id, "offer")?;
    let kind = match proto::JobType::try_from(job.r#type) {
        Ok(proto::JobType::JtRoom) => JobType::Room,
        Ok(proto::JobType::JtPublisher) => JobType::Publisher,
        Ok(proto::JobType::JtParticipant) => JobType::Participant,
        Err(_) => return Ok(FromServer::Unfit(id)),
    };
    let Some(room) = job.room else {
        return Ok(FromServer::Unfit(id));
    };
    Ok(FromServer::Offer(Box::new(JobInfo {
        id,
        kind,
        room: RoomInfo { sid: room.sid, name: room.name, metadata: room.metadata },
        participant: job.participant.map(|p| ParticipantInfo {
            sid: p.sid,
            identity: p.identity,
            name: p.name,
            metadata: p.metadata,
            attributes: p.attributes.into_iter().collect(),
        }),
        metadata: job.metadata,
        attributes: job.attributes.into_iter().collect(),
        agent_name: job.agent_name,
        dispatch_id: job.dispatch_id,
        deployment: job.deployment,
    })))
}

#[allow(deprecated, reason = "`agent` is what official workers still send, and what an older server may look at")]
pub(super) fn register(options: &Options) -> Vec<u8> {
    let kind = match options.job_type {
        JobType::Room => proto::JobType::JtRoom,
        JobType::Publisher => proto::JobType::JtPublisher,
        JobType::Participant => proto::JobType::JtParticipant,
    };
    let asked = &options.permissions;
    // Once the message is there, the server reads an unset flag as a refusal, not as its default.
    let permissions = proto::ParticipantPermission {
        can_subscribe: asked.subscribe,
        can_publish: asked.publish,
        can_publish_sources: asked.sources.iter().map(|source| source_out(*source).into()).collect(),
        can_publish_data: asked.publish_data,
        can_update_metadata: asked.update_metadata,
        hidden: asked.hidden,
        agent: true,
        ..Default::default()
    };
    encode(ToProto::Register(proto::RegisterWorkerRequest {
        r#type: kind.into(),
        agent_name: options.agent_name.clone(),
        version: options.version.clone(),
        allowed_permissions: Some(permissions),
        deployment: options.deployment.clone(),
        ..Default::default()
    }))
}

pub(super) fn available(job: &JobId, accept: &Accept) -> Vec<u8> {
    encode(ToProto::Availability(proto::AvailabilityResponse {
        job_id: job.0.clone(),
        available: true,
        participant_name: accept.name.clone(),
        participant_identity: accept.identity.clone(),
        participant_metadata: accept.metadata.clone(),
        participant_attributes: accept.attributes.clone().into_iter().collect(),
        ..Default::default()
    }))
}

pub(super) fn unavailable(job: &JobId, terminate: bool) -> Vec<u8> {
    encode(ToProto::Availability(proto::AvailabilityResponse {
        job_id: job.0.clone(),
        terminate,
        ..Default::default()
    }))
}

/// `sequence` only grows within a registration.
pub(super) fn worker_status(status: Status, sequence: u64) -> Vec<u8> {
    let availability = if status.full { proto::WorkerStatus::WsFull } else { proto::WorkerStatus::WsAvailable };
    encode(ToProto::UpdateWorker(proto::UpdateWorkerStatus {
        status: Some(availability.into()),
        load: status.load,
        job_count: status.jobs,
        draining: status.draining,
        seq: sequence,
    }))
}

pub(super) fn job_running(job: &JobId) -> Vec<u8> {
    job_status(job, proto::JobStatus::JsRunning, String::new())
}

pub(super) fn job_ended(job: &JobId, result: &JobResult) -> Vec<u8> {
    match result {
        JobResult::Success { .. } => job_status(job, proto::JobStatus::JsSuccess, String::new()),
        // The one text beside a success: whoever looks for the job elsewhere learns why it is gone.
        JobResult::Stopped { reason } => job_status(job, proto::JobStatus::JsSuccess, reason.clone()),
        JobResult::Failed { error } => job_status(job, proto::JobStatus::JsFailed, error.clone()),
    }
}

fn job_status(job: &JobId, status: proto::JobStatus, error: String) -> Vec<u8> {
    encode(ToProto::UpdateJob(proto::UpdateJobStatus { job_id: job.0.clone(), status: status.into(), error }))
}

pub(super) fn ping(timestamp_ms: i64) -> Vec<u8> {
    encode(ToProto::Ping(proto::WorkerPing { timestamp: timestamp_ms }))
}

pub(super) fn migrate<'a>(jobs: impl Iterator<Item = &'a JobId>) -> Vec<u8> {
    encode(ToProto::MigrateJob(proto::MigrateJobRequest { job_ids: jobs.map(|job| job.0.clone()).collect() }))
}

fn encode(message: ToProto) -> Vec<u8> {
    proto::WorkerMessage { message: Some(message) }.encode_to_vec()
}
