//! Opens nodes of cameras for their owners, in a short-lived child each time: where a driver hangs, that child hangs and
//! not a thread of ours, which would keep this process from executing another program, and from ending.
//!
//! ```text
//! owner --NeedNode--> supervisor --device, nodes to leave alone--> opener: looks for it, opens it
//!                     supervisor <--each node before it is touched-- opener
//! owner <--Node------ supervisor <--descriptors, or why not--------- opener
//! ```
//! A driver may hang as well when its node is closed for the last time. So an opener keeps what it has opened until we have given
//! it away and closed it: where no owner wants it any more, the last close is the opener's.
//!
//! A node that keeps its opener for [`LIMIT`] hangs. It is left alone until its driver has let go of the opener, and then until
//! a device comes or goes, or for [`AGAIN`].

use super::process::{Process, Spawner};
use super::run::Supervisor;
use super::{Event, commands, nodes};
use crate::config::Device;
use crate::control::{Link, ToOwner, watchdog};
use hal::process::{Socket, exit_now, read_sealed, sealed_memfd};
use serde::{Deserialize, Serialize};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};
use tokio::time::timeout;
use tracing::{debug, info, warn};

/// For one node: hardware may have to wake, and an upgrade waits for 10 s.
const LIMIT: Duration = Duration::from_secs(8);

/// For the opener to start.
const START: Duration = Duration::from_secs(8);

/// Until a driver is called again that hung.
const AGAIN: Duration = Duration::from_secs(60);

/// First byte of an opener's socket, beside it a memfd with an [`Order`]. It is there before the opener is.
const ORDER: u8 = 3;

/// Bytes of an order: a device's configuration, and paths.
const MAX_ORDER: usize = 128 * 1024;

/// Characters of a reason that are passed on.
const MAX_WHY_CHARS: usize = 800;

/// What an opener is to open.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Order {
    device: Device,
    /// Nodes whose drivers hang.
    without: Vec<PathBuf>,
}

/// What an opener says.
#[derive(Debug, Serialize, Deserialize)]
enum Said {
    /// The driver of this node is called next.
    Touches(PathBuf),
    /// The descriptors are beside it.
    Opened,
    /// In plain words.
    Failed(String),
}

/// Open nodes. Their opener has them as long as its link stands, which is dropped after them.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) nodes: Vec<OwnedFd>,
    pub(super) opener: Link,
}

/// Why there is no node.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// In plain words.
    Told(String),
    /// The driver of this node does not come back.
    Hangs(PathBuf),
}

/// Openers under way, and nodes whose drivers hang.
#[derive(Debug)]
pub(super) struct Openings {
    running: Vec<Opening>,
    hanging: Vec<Hanging>,
    pub(super) limit: Duration,
}

#[derive(Debug)]
struct Opening {
    device: String,
    /// Of the owner that it is for.
    start: u32,
    opener: Process,
}

#[derive(Debug)]
struct Hanging {
    node: PathBuf,
    /// Killed. None once it is gone.
    opener: Option<Process>,
    until: Instant,
}

impl Default for Openings {
    fn default() -> Self {
        Self { running: Vec::new(), hanging: Vec::new(), limit: LIMIT }
    }
}

impl Openings {
    /// A device that is being opened.
    pub(super) fn under_way(&self) -> Option<&str> {
        self.running.first().map(|opening| &*opening.device)
    }

    /// Openers that hang in the kernel, or have ended and were not reaped.
    pub(super) fn left(&self) -> impl Iterator<Item = &Process> {
        self.hanging.iter().filter_map(|hanging| hanging.opener.as_ref())
    }

    fn end(&mut self, opener: i32) -> Option<Process> {
        let at = self.running.iter().position(|opening| opening.opener.pid() == opener)?;
        Some(self.running.swap_remove(at).opener)
    }

    /// Forgets those that may be tried again; whether there were any.
    fn forget(&mut self, now: Instant, changed: bool) -> bool {
        let before = self.hanging.len();
        self.hanging.retain_mut(|hanging| {
            let over = hanging.is_over(now, changed);
            if over {
                info!("{}: its driver is tried again", hanging.node.display());
            }
            !over
        });
        self.hanging.len() < before
    }
}

impl Hanging {
    fn is_over(&mut self, now: Instant, changed: bool) -> bool {
        self.opener.take_if(|opener| opener.is_gone());
        self.opener.is_none() && (changed || self.until <= now)
    }
}

impl Supervisor {
    /// An owner wants its node, or its command.
    pub(super) fn open_node(&mut self, name: &str, path: &str) {
        let Some(owner) = self.owners.table.get(name) else { return };
        if commands::of(&owner.device).is_some() {
            return self.start_command(name);
        }
        let start = owner.starts;
        if self.openings.running.iter().any(|opening| opening.device == name && opening.start == start) {
            return;
        }
        debug!("device {name}: node asked for ({path:?})");
        let without = self.openings.hanging.iter().map(|hanging| hanging.node.clone()).collect();
        match self.spawner.open(&Order { device: owner.device.clone(), without }) {
            Ok((opener, link)) => {
                let (pid, device) = (opener.pid(), name.to_owned());
                self.openings.running.push(Opening { device: device.clone(), start, opener });
                let (events, limit) = (self.events.clone(), self.openings.limit);
                tokio::spawn(async move {
                    let result = hear(link, limit).await;
                    let _ = events.send(Event::Node { device, start, opener: pid, result }).await;
                });
            }
            Err(why) => self.give_nodes(name, start, Err(why)),
        }
    }

    /// What has become of it.
    pub(super) fn node_opened(&mut self, name: &str, start: u32, opener: i32, result: Result<Opened, Failure>) {
        let Some(opener) = self.openings.end(opener) else { return };
        match result {
            Ok(Opened { nodes, opener: link }) => {
                self.give_nodes(name, start, Ok(&nodes));
                drop(nodes);
                drop(link);
                self.spawner.let_go(opener);
            }
            Err(Failure::Told(why)) => {
                self.spawner.let_go(opener);
                self.give_nodes(name, start, Err(why));
            }
            Err(Failure::Hangs(node)) => {
                let why = nodes::hangs(&node);
                warn!("device {name} cannot be opened: {why}; no camera is looked for there before it has answered");
                opener.kill();
                let until = Instant::now() + AGAIN;
                self.openings.hanging.push(Hanging { node, opener: Some(opener), until });
                self.give_nodes(name, start, Err(why));
            }
        }
    }

    /// To the owner, if it is still the one that has asked.
    fn give_nodes(&self, name: &str, start: u32, result: Result<&[OwnedFd], String>) {
        let owner = self.owners.table.get(name).filter(|owner| owner.starts == start);
        let Some(process) = owner.and_then(|owner| owner.process.as_ref()) else { return };
        let (message, nodes) = match result {
            Ok(nodes) => (ToOwner::Node, nodes),
            Err(why) => (ToOwner::NoNode { why }, &[][..]),
        };
        if let Err(e) = process.send(&message, &nodes.iter().map(AsFd::as_fd).collect::<Vec<_>>()) {
            debug!("device {name}: {e}");
        }
    }

    /// Looks whether drivers have let go of their openers. `changed`: a device has come or gone.
    pub(super) fn try_hanging(&mut self, now: Instant, changed: bool) {
        if self.openings.forget(now, changed) || changed {
            self.owners.rescan();
        }
    }
}

impl Spawner {
    fn open(&mut self, order: &Order) -> Result<(Process, Link), String> {
        let failed = |what: &str, error: &dyn std::fmt::Display| format!("{what}: {error}");
        let body = postcard::to_stdvec(order).map_err(|e| failed("order", &e))?;
        let body = sealed_memfd("order", &body).map_err(|e| failed("memfd", &e))?;
        let (ours, theirs) = Socket::pair().map_err(|e| failed("control socket", &e))?;
        ours.send(&[ORDER], &[body.as_fd()]).map_err(|e| failed("order", &e))?;
        let link = Link::new(ours).map_err(|e| e.to_string())?;
        Ok((self.start_opener(theirs)?, link))
    }
}

/// What an opener says in the end; `limit` is how long a driver may take.
async fn hear(mut link: Link, limit: Duration) -> Result<Opened, Failure> {
    let mut touched = None;
    loop {
        let limit = if touched.is_some() { limit } else { START };
        match (timeout(limit, link.receive()).await, touched.take()) {
            (Ok(Ok((Said::Touches(node), _))), _) => touched = Some(node),
            (Ok(Ok((Said::Opened, nodes))), _) => return Ok(Opened { nodes, opener: link }),
            (Ok(Ok((Said::Failed(why), _))), _) => return Err(Failure::Told(why)),
            (Ok(Err(error)), _) => return Err(Failure::Told(format!("process that opens it: {error}"))),
            (Err(_), Some(node)) => return Err(Failure::Hangs(node)),
            (Err(_), None) => return Err(Failure::Told("the process that opens it does not start".into())),
        }
    }
}

/// The opener's process.
pub fn main(control: Socket) -> ExitCode {
    match open(&control) {
        // Not a return: nothing may hold up the end.
        Ok(()) => exit_now(0),
        Err(error) => {
            tracing::error!("opener of nodes: {error}");
            exit_now(1)
        }
    }
}

fn open(control: &Socket) -> io::Result<()> {
    // A driver may never come back from a call.
    watchdog::spawn(control)?;
    let malformed = || io::Error::new(io::ErrorKind::InvalidData, "no order came first");
    let mut packet = [0; 16];
    let (length, mut fds) = control.receive(&mut packet)?;
    let body = fds.pop().filter(|_| packet[..length] == [ORDER]).ok_or_else(malformed)?;
    let order: Order = postcard::from_bytes(&read_sealed(body, MAX_ORDER)?).map_err(io::Error::other)?;
    let mut touch = |node: &Path| {
        let may = !order.without.iter().any(|hangs| hangs == node);
        // Whoever does not listen any more does not want the node either.
        may && say(control, &Said::Touches(node.to_owned()), &[]).is_ok()
    };
    match nodes::open(Path::new("/proc"), &order.device, &mut touch) {
        Ok(nodes) => {
            say(control, &Said::Opened, &nodes.iter().map(AsFd::as_fd).collect::<Vec<_>>())?;
            hal::hangup::wait(control.as_fd())
        }
        Err(why) => say(control, &Said::Failed(why.chars().take(MAX_WHY_CHARS).collect()), &[]),
    }
}

fn say(control: &Socket, said: &Said, fds: &[BorrowedFd<'_>]) -> io::Result<()> {
    control.send(&postcard::to_stdvec(said).map_err(io::Error::other)?, fds)
}
