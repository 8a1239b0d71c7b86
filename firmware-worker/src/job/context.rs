//! What an entrypoint can see and do.

use super::events::{Events, Roster};
use super::options::{BoxFuture, Userdata};
use super::publication::{AudioOptions, AudioWriter, Publication, VideoOptions, VideoWriter};
use super::request::{Own, Reply, Request};
use super::speaker::{Leases, Speaker};
use super::subscription::{AudioStream, VideoStream};
use super::{Error, Event};
use crate::control::Granted;
use crate::media::still::{self, Jpeg};
use protocol::room::{Data, Participant, TrackSid};
use protocol::worker::{JobInfo, JobResult, RoomInfo};
use serde::de::DeserializeOwned;
use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::{broadcast, mpsc, oneshot, watch};
use tokio::task::spawn_blocking;
use tokio::time::timeout;

/// Bytes of one data packet: what LiveKit's data channels carry in one message.
pub const MAX_DATA: usize = 60_000;

/// For [`JobContext::snapshot`]: a camera that has to be opened first takes up to two seconds.
const PICTURE_TIMEOUT: Duration = Duration::from_secs(10);

pub(super) type Hook = Box<dyn FnOnce(String) -> BoxFuture<()> + Send>;

/// A job, for its entrypoint; clones are the same job.
///
/// Everything here talks to the room driver on another thread: code that blocks delays itself, never the room.
#[derive(Clone)]
pub struct JobContext {
    shared: Arc<Shared>,
}

/// What the driver hands over with the job.
pub(super) struct Shared {
    pub job: JobInfo,
    pub identity: String,
    pub worker_id: String,
    pub options: String,
    pub sources: Vec<Granted>,
    pub speakers: Vec<String>,
    pub leases: Leases,
    pub requests: mpsc::Sender<Request>,
    /// One place: the first wish to end decides the result.
    pub ends: mpsc::Sender<JobResult>,
    pub roster: watch::Receiver<Roster>,
    pub events: broadcast::Sender<Event>,
    /// The reason, once the job is ending.
    pub closing: watch::Receiver<Option<String>>,
    pub prewarmed: Option<Userdata>,
    pub hooks: Mutex<Vec<Hook>>,
}

impl JobContext {
    pub(super) fn new(shared: Shared) -> Self {
        Self { shared: Arc::new(shared) }
    }

    /// The job as dispatched: of the room, what it was then.
    pub fn job(&self) -> &JobInfo {
        &self.shared.job
    }

    /// Name of the room.
    pub fn room_name(&self) -> &str {
        &self.shared.job.room.name
    }

    /// The room as it is now; before the join as it was dispatched. Changes are told as [`Event::RoomChanged`].
    pub fn room(&self) -> RoomInfo {
        self.shared.roster.borrow().room.clone()
    }

    /// The worker's id when the job was assigned, `AW_…`.
    pub fn worker_id(&self) -> &str {
        &self.shared.worker_id
    }

    /// The table `[job]` of the configuration, without `restart`, which is the worker's.
    pub fn options<T: DeserializeOwned>(&self) -> Result<T, serde_json::Error> {
        let text = if self.shared.options.is_empty() { "{}" } else { &self.shared.options };
        serde_json::from_str(text)
    }

    /// The sources that the configuration grants to jobs.
    pub fn sources(&self) -> &[Granted] {
        &self.shared.sources
    }

    /// Names of the speakers that the configuration grants to jobs.
    pub fn speakers(&self) -> &[String] {
        &self.shared.speakers
    }

    /// What `prewarm` returned, if it is a `T`.
    pub fn prewarmed<T: 'static>(&self) -> Option<&T> {
        self.shared.prewarmed.as_ref()?.downcast_ref()
    }

    /// As whom this job is in the room.
    pub fn identity(&self) -> &str {
        &self.shared.identity
    }

    /// Our participant sid, `PA_…`; `None` before the join. A full reconnect changes it.
    pub fn sid(&self) -> Option<String> {
        let roster = self.shared.roster.borrow();
        (!roster.sid.is_empty()).then(|| roster.sid.clone())
    }

    /// Joins the room. Tracks published before are part of the join, which is the fastest way to be seen.
    pub async fn connect(&self) -> Result<(), Error> {
        self.ask(|reply| Request::Connect { reply }).await
    }

    /// Everybody else who is in the room now.
    pub fn participants(&self) -> Vec<Participant> {
        self.shared.roster.borrow().participants.values().cloned().collect()
    }

    /// One of them.
    pub fn participant(&self, identity: &str) -> Option<Participant> {
        self.shared.roster.borrow().participants.get(identity).cloned()
    }

    /// Waits for the participant with this identity, or for any that is no agent.
    pub async fn wait_for_participant(&self, identity: Option<&str>) -> Result<Participant, Error> {
        let wanted = |p: &&Participant| identity.map_or(!p.agent, |wanted| p.identity == wanted);
        let mut roster = self.shared.roster.clone();
        let found = roster.wait_for(|roster| roster.participants.values().any(|p| wanted(&p))).await;
        let found = found.map_err(|_| Error::Ended)?;
        found.participants.values().find(wanted).cloned().ok_or(Error::Ended)
    }

    /// What happens in the room from now on. A receiver that falls far behind loses the oldest events and is told.
    pub fn events(&self) -> Events {
        Events(self.shared.events.subscribe())
    }

    /// Publishes a configured source by its name. Ready when the source is granted; its device opens meanwhile.
    pub async fn publish(&self, source: &str) -> Result<Publication, Error> {
        let name = source.to_owned();
        let track = self.ask(|reply| Request::PublishSource { name, reply }).await?;
        Ok(Publication::new(track, self.shared.requests.clone()))
    }

    /// Takes a picture with a configured camera, published by this job or not, muted or not, before the join or after. It
    /// is the next keyframe, decoded here; all that ask at a time share one, and its owner makes at most one per 500 ms. A
    /// camera that nobody else uses is opened for it and stays open for 30 s, so that the next picture comes at once.
    pub async fn snapshot(&self, source: &str) -> Result<Jpeg, Error> {
        let none = |why: String| Error::NoPicture { name: source.to_owned(), why };
        let name = source.to_owned();
        let keyframe = timeout(PICTURE_TIMEOUT, self.ask(|reply| Request::Keyframe { name, reply })).await;
        let keyframe = keyframe.map_err(|_| none(format!("no picture in {} s", PICTURE_TIMEOUT.as_secs())))??;
        match spawn_blocking(move || still::jpeg(&keyframe)).await {
            Ok(Ok(picture)) => Ok(picture),
            Ok(Err(error)) => Err(none(error.to_string())),
            Err(_) => Err(Error::Ended),
        }
    }

    /// Opens a configured speaker by its name, to play into. Its card opens with the first write.
    pub async fn speaker(&self, name: &str) -> Result<Speaker, Error> {
        Speaker::open(name, &self.shared.leases, self.shared.requests.clone()).await
    }

    /// Publishes a video track of your own frames.
    pub async fn publish_video(&self, options: VideoOptions) -> Result<VideoWriter, Error> {
        let rate = options.rate();
        let track = options.into_track();
        let track = self.ask(|reply| Request::PublishOwn { track, reply }).await?;
        Ok(VideoWriter::new(track, rate, self.shared.requests.clone()))
    }

    /// Publishes an audio track of your own packets.
    pub async fn publish_audio(&self, options: AudioOptions) -> Result<AudioWriter, Error> {
        let track = options.into_track();
        let track = self.ask(|reply| Request::PublishOwn { track, reply }).await?;
        Ok(AudioWriter::new(track, self.shared.requests.clone()))
    }

    /// Receives the Opus packets of a remote track. [`Error::OtherKind`] if it is a picture.
    pub async fn subscribe_audio(&self, sid: &TrackSid) -> Result<AudioStream, Error> {
        let sid = sid.clone();
        Ok(AudioStream::new(self.ask(|reply| Request::SubscribeAudio { sid, reply }).await?))
    }

    /// Receives the access units of a remote track. [`Error::OtherKind`] if it is sound.
    pub async fn subscribe_video(&self, sid: &TrackSid) -> Result<VideoStream, Error> {
        let frames = self.ask(|reply| Request::SubscribeVideo { sid: sid.clone(), reply }).await?;
        Ok(VideoStream::new(sid.clone(), frames, self.shared.requests.clone()))
    }

    /// Sends data; before [`JobContext::connect`] there is nobody to send it to. What the room cannot take is told as
    /// [`Event::DataRefused`].
    pub async fn send(&self, data: Data) -> Result<(), Error> {
        if data.payload.len() > MAX_DATA {
            return Err(Error::TooLarge { size: data.payload.len(), limit: MAX_DATA });
        }
        self.ask(|reply| Request::Send { data, reply }).await
    }

    /// Changes our display name; before the join it is kept for that. Here and below a server that refuses the change, as
    /// without the permission `update_metadata`, is told as [`Event::UpdateRefused`].
    pub async fn set_name(&self, name: &str) -> Result<(), Error> {
        self.request(Request::Update(Own { name: Some(name.to_owned()), ..Own::default() })).await
    }

    /// Changes our metadata; before the join they are kept for that.
    pub async fn set_metadata(&self, metadata: &str) -> Result<(), Error> {
        self.request(Request::Update(Own { metadata: Some(metadata.to_owned()), ..Own::default() })).await
    }

    /// Sets these attributes of ours; an empty value deletes one, others stay. Before the join they are kept for that.
    pub async fn set_attributes(&self, attributes: BTreeMap<String, String>) -> Result<(), Error> {
        self.request(Request::Update(Own { attributes, ..Own::default() })).await
    }

    /// Ends the job as SUCCESS: hooks run, then it leaves. The first wish to end decides the result; later ones change
    /// nothing.
    pub fn shutdown(&self, reason: impl Into<String>) {
        self.end(JobResult::Success { reason: reason.into() });
    }

    /// Ends the job as FAILED with this text: hooks run, then it leaves. As with [`JobContext::shutdown`], the first wish
    /// counts.
    pub fn fail(&self, error: impl fmt::Display) {
        self.end(JobResult::Failed { error: error.to_string() });
    }

    /// Runs `hook` with the reason when the job ends, while it is still in the room. All hooks run together and have
    /// `shutdown_timeout_s` (10 by default), less 400 ms where the supervisor ends the job, and 0.7 s where the whole system
    /// goes down. One that is added when the job is ending already does not run.
    pub fn add_shutdown_hook<H, F>(&self, hook: H)
    where
        H: FnOnce(String) -> F + Send + 'static,
        F: Future<Output = ()> + Send + 'static,
    {
        let hook: Hook = Box::new(move |reason| Box::pin(hook(reason)));
        self.shared.hooks.lock().unwrap_or_else(PoisonError::into_inner).push(hook);
    }

    /// Waits until the job is ending and tells why.
    pub async fn closing(&self) -> String {
        let mut closing = self.shared.closing.clone();
        match closing.wait_for(Option::is_some).await {
            Ok(reason) => reason.clone().unwrap_or_default(),
            Err(_) => "the job is over".into(),
        }
    }

    pub(super) fn take_hooks(&self) -> Vec<Hook> {
        std::mem::take(&mut *self.shared.hooks.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn end(&self, result: JobResult) {
        // A full or closed channel: somebody ended the job before.
        let _ = self.shared.ends.try_send(result);
    }

    async fn request(&self, request: Request) -> Result<(), Error> {
        self.shared.requests.send(request).await.map_err(|_| Error::Ended)
    }

    async fn ask<T>(&self, request: impl FnOnce(Reply<T>) -> Request) -> Result<T, Error> {
        let (reply, answer) = oneshot::channel();
        self.request(request(reply)).await?;
        answer.await.unwrap_or(Err(Error::Ended))
    }
}

impl fmt::Debug for JobContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JobContext").field("job", &self.shared.job.id).finish_non_exhaustive()
    }
}
