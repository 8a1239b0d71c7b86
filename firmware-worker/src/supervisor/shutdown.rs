//! The end: the link closes first, then the children go.

use super::process::Process;
use super::run::Supervisor;
use futures_util::future::join_all;
use std::task::Poll;
use std::time::{Duration, Instant};
use tokio::time::timeout;

/// Children leave their rooms within 250 ms of losing us; what is left after this is killed.
const CHILDREN_GRACE: Duration = Duration::from_millis(400);

/// Until what was killed is gone: a few ms, but for a child that hangs in the kernel.
const KILLED: Duration = Duration::from_millis(200);

/// Last statuses and the Close must not wait for a dead server.
const GOODBYE: Duration = Duration::from_secs(1);

impl Supervisor {
    /// Everything the machine wanted is done: let the link close, then let the children go and see that they do.
    pub(super) async fn shut_down(&mut self) {
        if let Some(uplink) = self.uplink.take() {
            self.closing = Some(uplink.close());
        }
        if let Some(closing) = self.closing.take() {
            // Either it is closed or the server is not there to care.
            let _ = timeout(GOODBYE, closing).await;
        }
        // Those that need longer are left to the server's own timeout.
        let signing_off = std::mem::take(&mut self.signoffs).into_values().map(|signing_off| signing_off.task);
        let _ = timeout(GOODBYE, join_all(signing_off)).await;
        let jobs = std::mem::take(&mut self.jobs.processes).into_values().map(|job| job.process);
        let owners = self.owners.table.values_mut();
        let owners = owners.flat_map(|owner| [owner.process.take(), owner.command.keeper.take()]).flatten();
        let mut children: Vec<_> = jobs.chain(owners).collect();
        children.iter_mut().for_each(Process::hang_up);
        if timeout(CHILDREN_GRACE, gone(&mut children)).await.is_err() {
            children.iter().for_each(Process::kill);
            // Their cgroups can be removed when they are gone; one that hangs in the kernel is left to the next start.
            let _ = timeout(KILLED, gone(&mut children)).await;
        }
        drop(children);
        self.spawner.sweep(Instant::now());
    }
}

/// Waits until all have ended.
async fn gone(children: &mut Vec<Process>) {
    std::future::poll_fn(|cx| {
        children.retain_mut(|child| child.poll_next::<()>(cx).is_pending());
        if children.is_empty() { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
}
