//! Pure state machines of the LiveKit agents worker and room protocols.
//!
//! Nothing here has a socket, a file, a process, a runtime, a clock or a source of randomness: `now` and random
//! values are parameters, and a machine returns what it wants done. Shells in `firmware-worker` act.

#![forbid(unsafe_code)]
#![warn(missing_docs)]

pub mod backoff;
pub mod clock;
pub mod device;
mod random;
pub mod room;
pub mod secret;
pub mod token;
pub mod update;
pub mod worker;
