//! Where a job stands.

use std::time::Instant;

/// See [`super`].
#[derive(Debug)]
pub(super) enum Phase {
    Starting {
        until: Instant,
    },
    Joining {
        until: Instant,
    },
    Running(Presence),
    Stopping {
        until: Instant,
        reason: String,
    },
    Leaving {
        until: Instant,
    },
    Killed {
        until: Instant,
        kills: u32,
    },
    /// To be started again when its process, which is killed, is gone.
    Failing {
        error: String,
        until: Instant,
        kills: u32,
    },
    /// Without a process until then.
    Waiting {
        until: Instant,
    },
}

/// Of a job that runs.
#[derive(Debug)]
pub(super) enum Presence {
    Inside,
    /// A resume, or a second join with the same identity, is under way, by the same process or by its successor.
    /// `terminated`: the server asked to end the job meanwhile. `successor`: of a process that has not been in the room yet,
    /// and must be in time; one that was tries for as long as its room does.
    Rejoining {
        until: Instant,
        terminated: bool,
        successor: bool,
    },
    /// Back, but terminations caused by the rejoin may still be on their way. `terminated`: one came, of which nobody can
    /// say whether the rejoin has caused it.
    Back {
        until: Instant,
        terminated: bool,
    },
}
