//! What a job's requests can fail with.

/// Why a request of the entrypoint failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Nothing can be asked any more.
    #[error("the job is over")]
    Ended,
    /// The room could not be joined.
    #[error("join: {0}")]
    Join(String),
    /// `connect` was called before.
    #[error("join: the job has joined already")]
    JoinedAlready,
    /// It needs the room.
    #[error("{0}: the job has not joined its room")]
    NotJoined(&'static str),
    /// The configuration has no such source for this job, or its device cannot be had.
    #[error("source {name:?}: {why}")]
    Denied {
        /// Source.
        name: String,
        /// In plain words.
        why: String,
    },
    /// One track per name.
    #[error("track {0:?} is published already")]
    PublishedAlready(String),
    /// A picture was asked of what is no camera that jobs may use.
    #[error("source {0:?}: no camera of this name is configured")]
    NoCamera(String),
    /// A camera gave no picture.
    #[error("source {name:?}: {why}")]
    NoPicture {
        /// Source.
        name: String,
        /// In plain words.
        why: String,
    },
    /// One handle per speaker.
    #[error("speaker {0:?} is in use by this job already")]
    InUse(String),
    /// The server refused or ended the track.
    #[error("track {track:?}: {why}")]
    Unpublished {
        /// Its name.
        track: String,
        /// In plain words.
        why: String,
    },
    /// More than one packet can hold.
    #[error("data of {size} bytes does not fit a packet of {limit}")]
    TooLarge {
        /// Its size.
        size: usize,
        /// The limit.
        limit: usize,
    },
    /// The track is of the other kind.
    #[error("track {sid:?}: there is no {wanted} in it, it is {is}")]
    OtherKind {
        /// Track.
        sid: String,
        /// `audio` or `video`, as asked for.
        wanted: &'static str,
        /// What the publisher says.
        is: &'static str,
    },
    /// An encoder or decoder failed.
    #[error("{call}: {why}")]
    Codec {
        /// Operation.
        call: &'static str,
        /// Why.
        why: String,
    },
}
