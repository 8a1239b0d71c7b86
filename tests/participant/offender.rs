//! User code that takes what it can get.

use firmware_worker::BoxError;
use std::time::Duration;

/// Memory, 4 MiB at a time with a moment for others between: a leak rather than one large mistake.
pub async fn eat() -> Result<(), BoxError> {
    let mut held = Vec::new();
    loop {
        held.push(vec![1u8; 4 << 20]);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
