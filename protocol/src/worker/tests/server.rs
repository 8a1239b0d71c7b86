//! The server's side of the wire, and actions as short lines.

use crate::secret::Secret;
use crate::worker::{Accept, Action, JobId, JobInfo, JobResult, JobSpec, JobType, RoomInfo};
use livekit_protocol as proto;
use prost::Message as _;
use proto::{server_message::Message as FromServer, worker_message::Message as ToServer};

fn encode(message: FromServer) -> Vec<u8> {
    proto::ServerMessage { message: Some(message) }.encode_to_vec()
}

pub fn registered(worker_id: &str) -> Vec<u8> {
    encode(FromServer::Register(proto::RegisterWorkerResponse {
        worker_id: worker_id.to_owned(),
        ..Default::default()
    }))
}

pub fn offer(job: &str, agent_name: &str, room: &str) -> Vec<u8> {
    offer_of(proto::Job {
        id: job.to_owned(),
        agent_name: agent_name.to_owned(),
        room: Some(proto::Room { name: room.to_owned(), ..Default::default() }),
        ..Default::default()
    })
}

pub fn offer_of(job: proto::Job) -> Vec<u8> {
    encode(FromServer::Availability(proto::AvailabilityRequest { job: Some(job), resuming: false }))
}

pub fn assignment(job: &str) -> Vec<u8> {
    encode(FromServer::Assignment(proto::JobAssignment {
        job: Some(proto::Job { id: job.to_owned(), ..Default::default() }),
        url: None,
        token: format!("token of {job}"),
    }))
}

/// What an earlier life has left of a job.
pub fn spec(job: &str) -> JobSpec {
    let info = JobInfo {
        id: JobId(job.to_owned()),
        kind: JobType::Room,
        room: RoomInfo { name: format!("room of {job}"), ..RoomInfo::default() },
        participant: None,
        metadata: String::new(),
        attributes: Default::default(),
        agent_name: "cam".to_owned(),
        dispatch_id: String::new(),
        deployment: String::new(),
    };
    let accept = Accept { identity: format!("agent-{job}"), ..Accept::default() };
    JobSpec {
        job: info,
        accept,
        url: None,
        token: Secret::new("newest"),
        worker_id: String::new(),
        limits: Default::default(),
    }
}

pub fn termination(job: &str) -> Vec<u8> {
    encode(FromServer::Termination(proto::JobTermination { job_id: job.to_owned() }))
}

pub fn pong() -> Vec<u8> {
    encode(FromServer::Pong(proto::WorkerPong::default()))
}

pub fn go_away() -> Vec<u8> {
    encode(FromServer::GoAway(proto::agent_http::GoAway::default()))
}

/// A member number that no schema has yet.
pub fn unknown() -> Vec<u8> {
    vec![0xfa, 0x01, 0x00]
}

/// What the worker said on the wire.
pub fn decode(frame: &[u8]) -> ToServer {
    proto::WorkerMessage::decode(frame).ok().and_then(|m| m.message).expect("the worker sends what the server knows")
}

/// One line for one action.
pub fn describe(action: &Action) -> String {
    match action {
        Action::Connect => "connect".to_owned(),
        Action::Send(frame) => format!("send {}", describe_frame(frame)),
        Action::Close => "close".to_owned(),
        Action::Ask(job) => format!("ask {}", job.id.0),
        Action::Forget(job) => format!("forget {}", job.0),
        Action::Start(spec) => {
            format!("start {} as {} in {}", spec.job.id.0, spec.accept.identity, spec.job.room.name)
        }
        Action::Terminate { job, reason, grace } => {
            format!("terminate {} in {} s: {reason}", job.0, grace.as_secs())
        }
        Action::Ack(job) => format!("ack {}", job.0),
        Action::Kill(job) => format!("kill {}", job.0),
        Action::Failed { job, error, wait } => format!("{} failed, again in {} s: {error}", job.0, wait.as_secs()),
        Action::Restart(job) => format!("restart {}", job.0),
        Action::SignOff(job) => format!("sign off {}", job.0),
        Action::CancelSignOff(job) => format!("cancel the sign-off of {}", job.0),
        Action::Release { job, result: JobResult::Success { reason } } => {
            format!("release {}: success: {reason}", job.0)
        }
        Action::Release { job, result: JobResult::Stopped { reason } } => {
            format!("release {}: stopped: {reason}", job.0)
        }
        Action::Release { job, result: JobResult::Failed { error } } => {
            format!("release {}: failed: {error}", job.0)
        }
        Action::Finished => "finished".to_owned(),
    }
}

fn describe_frame(frame: &[u8]) -> String {
    match decode(frame) {
        ToServer::Register(m) => format!("register {}", m.agent_name),
        ToServer::Availability(m) if m.available => format!("yes {} as {}", m.job_id, m.participant_identity),
        ToServer::Availability(m) if m.terminate => format!("no {}, nobody", m.job_id),
        ToServer::Availability(m) => format!("no {}", m.job_id),
        ToServer::UpdateWorker(m) => {
            let full = if m.status == Some(proto::WorkerStatus::WsFull.into()) { " full" } else { "" };
            let draining = if m.draining { " draining" } else { "" };
            format!("status {:.3}{full}{draining}", m.load)
        }
        ToServer::UpdateJob(m) => match m.status() {
            proto::JobStatus::JsPending => format!("job {} pending", m.job_id),
            proto::JobStatus::JsRunning => format!("job {} running", m.job_id),
            proto::JobStatus::JsSuccess if m.error.is_empty() => format!("job {} success", m.job_id),
            proto::JobStatus::JsSuccess => format!("job {} success: {}", m.job_id, m.error),
            proto::JobStatus::JsFailed => format!("job {} failed: {}", m.job_id, m.error),
        },
        ToServer::Ping(_) => "ping".to_owned(),
        ToServer::SimulateJob(_) => "simulate".to_owned(),
        ToServer::MigrateJob(m) => format!("migrate {}", m.job_ids.join(" ")),
    }
}
