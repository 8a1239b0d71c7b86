//! How a job ends, and that it always does.

use super::Driver;
use crate::control::{FromJob, LinkError};
use crate::job::user::ToUser;
use protocol::room::{Command, End};
use protocol::worker::JobResult;
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// For hooks when the supervisor gave no setup: there is no user code to run yet.
const NO_SETUP_GRACE: Duration = Duration::ZERO;

/// Kept back from a Terminate's grace for acknowledgement and goodbye, so that the supervisor need not kill.
const GOODBYE: Duration = Duration::from_millis(400);

/// With less grace than this, half of it is kept back: the system goes down, and everything on the board is slow.
const LITTLE: Duration = Duration::from_secs(2);

/// How long the terminal status may take to go out before we leave. Leaving first would make the server write its own.
const ACK_TIMEOUT: Duration = Duration::from_millis(200);

/// How long data sent last, in a shutdown hook for example, may take to be acknowledged before we leave: one repeat, which
/// SCTP makes after a second at the earliest, and its answer. A job without such data leaves at once.
const DELIVERY: Duration = Duration::from_millis(1500);

/// How long the Leave may take to go out; with the acknowledgement's share under what the watchdog allows an orphan.
const LEAVE_TIMEOUT: Duration = Duration::from_millis(150);

/// Where a job process is.
#[derive(Debug)]
pub(super) enum Phase {
    /// No job yet.
    Idle,
    /// The entrypoint runs.
    Running,
    /// Hooks run, still in the room.
    Closing { result: JobResult, until: Instant },
    /// The supervisor sends the terminal status.
    Acking { failed: bool, until: Instant },
    /// The last data are on their way.
    Delivering { failed: bool, until: Instant },
    /// Leave is on its way.
    Leaving { failed: bool, until: Instant },
    /// Nothing left to do.
    Over(ExitCode),
}

impl Phase {
    pub fn deadline(&self) -> Option<Instant> {
        match self {
            Phase::Idle | Phase::Running | Phase::Over(_) => None,
            Phase::Closing { until, .. }
            | Phase::Acking { until, .. }
            | Phase::Delivering { until, .. }
            | Phase::Leaving { until, .. } => Some(*until),
        }
    }
}

impl Driver {
    /// Somebody wants the job to end; the first wish decides the result.
    pub(super) fn end(&mut self, result: JobResult, now: Instant) {
        let timeout = self.setup.as_ref().map(|s| Duration::from_millis(s.shutdown_timeout_ms.into()));
        self.end_within(result, timeout.unwrap_or(NO_SETUP_GRACE), now);
    }

    /// The supervisor wants the job to end.
    pub(super) fn terminate(&mut self, reason: String, grace: Duration, now: Instant) {
        let kept = if grace < LITTLE { GOODBYE.max(grace / 2) } else { GOODBYE };
        let grace = grace.saturating_sub(kept);
        if let Phase::Closing { until, .. } = &mut self.phase {
            *until = (*until).min(now + grace);
            return;
        }
        let timeout = self.setup.as_ref().map(|s| Duration::from_millis(s.shutdown_timeout_ms.into()));
        self.end_within(JobResult::Success { reason }, timeout.unwrap_or(grace).min(grace), now);
    }

    fn end_within(&mut self, result: JobResult, hooks: Duration, now: Instant) {
        let idle = match self.phase {
            Phase::Idle => true,
            Phase::Running => false,
            Phase::Closing { .. }
            | Phase::Acking { .. }
            | Phase::Delivering { .. }
            | Phase::Leaving { .. }
            | Phase::Over(_) => return,
        };
        let reason = match &result {
            JobResult::Success { reason } | JobResult::Stopped { reason } => reason.clone(),
            JobResult::Failed { error } => error.clone(),
        };
        tracing::info!(reason, "the job is ending");
        self.closing.send_replace(Some(reason.clone()));
        self.phase = Phase::Closing { result, until: now + hooks };
        if idle || self.user.inbox.try_send(ToUser::Shutdown { reason }).is_err() {
            self.hooks_done(now);
        }
    }

    /// The room ended by itself.
    pub(super) fn room_ended(&mut self, end: End, now: Instant) {
        if let Some(joining) = self.joining.take() {
            // The job ends anyway; a caller that no longer waits needs no answer.
            let _ = joining.send(Err(crate::job::Error::Join(in_words(&end))));
        }
        self.gone = !matches!(end, End::Unreachable(_) | End::Refused(_));
        self.barred = matches!(end, End::DuplicateIdentity | End::Refused(_) | End::Other(_));
        if let Phase::Delivering { failed, .. } = self.phase {
            self.phase = Phase::Leaving { failed, until: now + LEAVE_TIMEOUT };
        }
        if matches!(end, End::Left) {
            return;
        }
        let result = match &end {
            End::Left | End::RoomClosed | End::Removed => JobResult::Success { reason: in_words(&end) },
            End::DuplicateIdentity | End::Refused(_) | End::Unreachable(_) | End::Other(_) => {
                JobResult::Failed { error: in_words(&end) }
            }
        };
        self.end(result, now);
    }

    /// All hooks are through, or nobody runs them.
    pub(super) fn hooks_done(&mut self, now: Instant) {
        let Phase::Closing { result, .. } = &self.phase else { return };
        let failed = matches!(result, JobResult::Failed { .. });
        let message = match bounded(result.clone()) {
            JobResult::Failed { error } if !self.barred => FromJob::Failing(error),
            result => FromJob::Ending(result),
        };
        self.phase = Phase::Acking { failed, until: now + ACK_TIMEOUT };
        if let Err(error) = self.link.send(&message, &[]) {
            tracing::warn!(%error, "the end could not be told to the supervisor");
            self.leave(failed, DELIVERY, now);
        }
    }

    /// The terminal status is out.
    pub(super) fn acknowledged(&mut self, now: Instant) {
        if let Phase::Acking { failed, .. } = self.phase {
            self.leave(failed, DELIVERY, now);
        }
    }

    /// The supervisor is gone: sign off and go.
    pub(super) fn orphaned(&mut self, error: &LinkError, now: Instant) {
        tracing::debug!(%error, "no supervisor any more");
        self.leave(true, Duration::ZERO, now);
    }

    /// A phase took too long.
    pub(super) fn phase_due(&mut self, now: Instant) {
        match self.phase {
            Phase::Idle | Phase::Running | Phase::Over(_) => {}
            Phase::Closing { .. } => {
                tracing::warn!("shutdown hooks took too long");
                self.hooks_done(now);
            }
            Phase::Acking { failed, .. } => self.leave(failed, DELIVERY, now),
            Phase::Delivering { failed, .. } | Phase::Leaving { failed, .. } => self.over(failed),
        }
    }

    fn leave(&mut self, failed: bool, delivery: Duration, now: Instant) {
        self.phase = Phase::Delivering { failed, until: now + delivery + LEAVE_TIMEOUT };
        match &mut self.session {
            Some(session) if session.signal_open() => session.command(Command::Leave { within: delivery }),
            _ => self.over(failed),
        }
    }

    /// The signal socket has sent everything.
    pub(super) fn left(&mut self) {
        if let Phase::Leaving { failed, .. } = self.phase {
            self.over(failed);
        }
    }

    fn over(&mut self, failed: bool) {
        self.tell_token(Instant::now());
        if self.gone {
            self.tell(&FromJob::Left);
        }
        // The result is told. What success says now is that nobody of ours is left in the room: else the supervisor signs off.
        let stays = self.session.is_some() && !self.gone;
        self.phase = Phase::Over(if failed || stays { ExitCode::FAILURE } else { ExitCode::SUCCESS });
    }
}

fn in_words(end: &End) -> String {
    match end {
        End::Left => "left".into(),
        End::RoomClosed => "room closed".into(),
        End::Removed => "participant removed".into(),
        End::DuplicateIdentity => {
            "duplicate identity: somebody else joined as this participant; two jobs of a room need \
                                   identities of their own, from on_request or --identity"
                .into()
        }
        End::Refused(why) | End::Unreachable(why) => why.clone(),
        End::Other(name) => format!("the server ended the session: {name}"),
    }
}

/// Characters of a job's end that are told: with up to four bytes each they fit a control message.
const MAX_TEXT_CHARS: usize = 900;

fn bounded(result: JobResult) -> JobResult {
    result.map_text(|text| match text.char_indices().nth(MAX_TEXT_CHARS) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    })
}
