//! How a process is ended, and how it has.

use super::*;

impl Process {
    pub(super) fn poll_end(&self, cx: &mut Context<'_>) -> Poll<Ended> {
        loop {
            // Fails only when the runtime is going down, and we with it.
            let Ok(mut guard) = ready!(self.child.poll_read_ready(cx)) else { return Poll::Pending };
            match guard.get_inner().0.0.try_wait() {
                Ok(Some(ended)) => return Poll::Ready(ended),
                Ok(None) => guard.clear_ready(),
                // A child that cannot be waited for is no child any more; its exit code is lost.
                Err(_) => return Poll::Ready(Ended::Code(-1)),
            }
        }
    }

    pub(super) fn explain(&self, ended: Ended) -> Exit {
        if let Some(limit) = self.leaf.as_ref().and_then(Leaf::out_of_memory) {
            return Exit::OutOfMemory(limit);
        }
        let exit = match ended {
            Ended::Code(code) => Exit::Code(code),
            Ended::Signal(signal) => Exit::Signal(signal),
        };
        match self.out_of_processes() {
            Some(limit) if exit != Exit::Code(0) => Exit::OutOfProcesses { limit, exit: Box::new(exit) },
            _ => exit,
        }
    }

    /// Its limit of processes and threads, if it has wanted more.
    pub(in crate::supervisor) fn out_of_processes(&self) -> Option<u32> {
        self.leaf.as_ref()?.out_of_pids()
    }

    /// Closes the control socket, and does not wait for ever for what should follow.
    pub(in crate::supervisor) fn dismiss(&mut self, now: Instant) {
        self.link = None;
        self.kill_at = Some(now + HANGUP_GRACE);
    }

    /// Its control socket is closed.
    pub(in crate::supervisor) fn is_dismissed(&self) -> bool {
        self.link.is_none()
    }

    /// Closes the control socket: the child leaves its room and exits by itself.
    pub(in crate::supervisor) fn hang_up(&mut self) {
        self.link = None;
    }

    /// Kills the child and everything it has started.
    pub(in crate::supervisor) fn kill(&self) {
        if let Err(e) = self.child.get_ref().0.0.signal(KILL) {
            warn!("cannot kill process {}: {e}", self.pid());
        }
        if let Some(leaf) = &self.leaf {
            leaf.kill();
        }
    }
}
