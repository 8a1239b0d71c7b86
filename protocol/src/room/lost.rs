//! What it means that the signal socket is gone, or was refused.

use super::link::{Attempt, Phase, ROOM_GONE};
use super::machine::Room;
use super::{End, SignalError};
use crate::clock::Clocks;
use std::time::Instant;

impl Room {
    /// The signal socket is gone.
    pub(super) fn signal_lost(&mut self, why: SignalError, now: Instant) {
        let resuming = self.phase.attempt() == Some(Attempt::Resume);
        let rejoining = self.phase.attempt() == Some(Attempt::Rejoin);
        match self.phase {
            Phase::Ended | Phase::Waiting { .. } => {}
            Phase::Opening { .. } => match why {
                SignalError::Refused { status: status @ 401..=403, clocks } => {
                    self.end(End::Refused(refusal(status, clocks)), now);
                }
                SignalError::Refused { status: 404, .. } if rejoining => self.room_missing(now),
                SignalError::Refused { status: 400..=499, .. } if resuming => self.rejoin("resume refused", now),
                SignalError::Refused { status, clocks } if (400..500).contains(&status) && status != 429 => {
                    self.end(End::Refused(refusal(status, clocks)), now);
                }
                why => self.attempt_failed(describe(&why), now),
            },
            Phase::Connecting { .. } | Phase::Syncing { .. } | Phase::Live if self.media.closed.is_some() => {
                self.rejoin("peer and signal connection closed", now);
            }
            Phase::Connecting { .. } | Phase::Syncing { .. } | Phase::Live => self.resume(&describe(&why), now),
        }
    }

    /// We were in this room. It was closed behind us, and the server makes none for who joins; or a proxy answers for a
    /// server that will be back.
    fn room_missing(&mut self, now: Instant) {
        let since = self.retries.missing.unwrap_or(now);
        if now >= since + ROOM_GONE {
            return self.end(End::RoomClosed, now);
        }
        self.attempt_failed("the server answered HTTP 404".to_owned(), now);
        self.retries.missing = Some(since);
    }
}

fn describe(why: &SignalError) -> String {
    match why {
        SignalError::Refused { status, .. } => format!("the server answered HTTP {status}"),
        SignalError::Tls(why) => format!("TLS: {why}"),
        SignalError::Broken(why) => why.clone(),
        SignalError::Closed => "the server closed the signal connection".to_owned(),
    }
}

fn refusal(status: u16, clocks: Option<Clocks>) -> String {
    if let (401, Some(complaint)) = (status, clocks.as_ref().and_then(Clocks::complaint)) {
        return format!("HTTP 401: the token is not valid, and {complaint}; if that is not it: wrong key or secret");
    }
    let why = match status {
        401 => "the token is not valid: wrong key or secret, expired, or the clock of board or server is wrong",
        403 => "the token does not allow this",
        404 => "the room does not exist and is not created by itself",
        _ => "the request is not accepted",
    };
    format!("HTTP {status}: {why}")
}
