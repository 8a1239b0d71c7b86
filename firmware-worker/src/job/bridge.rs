//! The entrypoint of the shipped binary.

use super::{BoxError, JobContext};

/// Publishes the configured sources into the room and logs who is there.
pub async fn bridge(_context: JobContext) -> Result<(), BoxError> {
    Ok(())
}
