//! The first exchange with every job and owner, before any of its threads: what it is to give up, and what it could not.
//!
//! ```text
//! supervisor --[CONFINEMENT], memfd with Confinement, page for refused calls--> child: takes it from itself
//! supervisor <--Report--------------------------------------------------------- child: goes on, or ends if `strict`
//! ```

use hal::process::{Layer, Limit, Missing, Sandbox, Socket, Tally, await_readable, read_sealed, sealed_memfd};
use serde::{Deserialize, Serialize};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// First byte of a child's socket; others follow only after the report.
const CONFINEMENT: u8 = 2;

/// Bytes of a confinement: paths and names of a configuration.
const MAX_BYTES: usize = 256 * 1024;

/// The supervisor sends it before it starts the child.
const PATIENCE: Duration = Duration::from_secs(5);

/// Of the thread that a sound card paces: SCHED_FIFO 5, below the kernel's own threads; 50 ms, many periods, until it is
/// taken for one that spins; nice -11 where the kernel gives no real time to its cgroup; memory within its cgroup's limit.
const REALTIME: [Limit; 4] =
    [Limit::Realtime(5), Limit::RealtimeRun(50_000), Limit::Nice(20 + 11), Limit::Locked(u64::MAX)];

/// Bytes of a reason, at four a character, so that all of them fit a message.
const MAX_REASON: usize = 256;

/// What a child gives up and keeps; see [`Sandbox`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Confinement {
    /// User and group to become, if we are root and it need not stay.
    pub uid: Option<u32>,
    /// Groups that it keeps.
    pub groups: Vec<u32>,
    /// It keeps the network.
    pub network: bool,
    /// It keeps `/sys`.
    pub devices: bool,
    /// It keeps sound cards.
    pub sound: bool,
    /// Directories that it reads beside the system's.
    pub paths: Vec<PathBuf>,
    /// Directories that are empty for it.
    pub hidden: Vec<PathBuf>,
    /// Bytes of its `/tmp`.
    pub temporary: u64,
    /// Descriptors.
    pub files: u64,
    /// Processes and threads.
    pub processes: Option<u64>,
    /// Its sound thread may be of SCHED_FIFO and lock its memory: it does so itself, which these limits and the filter allow.
    pub realtime: bool,
    /// More system calls.
    pub calls: Vec<String>,
    /// It ends where a layer is missing that `strict` needs.
    pub strict: bool,
}

/// What could not be taken: layers by their place in [`Layer::ALL`], and why.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    missing: Vec<(u8, String)>,
}

impl Report {
    /// Of these, with reasons cut to a message's length.
    pub fn new(missing: &[Missing]) -> Self {
        let place = |layer| Layer::ALL.iter().position(|other| *other == layer).and_then(|at| u8::try_from(at).ok());
        let short = |why: &str| why.chars().take(MAX_REASON / 4).collect();
        let told = missing.iter().filter_map(|missing| Some((place(missing.layer)?, short(&missing.why))));
        Self { missing: told.collect() }
    }

    /// The layers that are missing. What names none is left out: a child says what it likes.
    pub fn missing(&self) -> Vec<Missing> {
        let layer = |place: &u8| Layer::ALL.get(usize::from(*place)).copied();
        let missing =
            self.missing.iter().filter_map(|(place, why)| Some(Missing { layer: layer(place)?, why: why.clone() }));
        missing.take(Layer::ALL.len()).collect()
    }
}

/// Puts it into the socket of a child that is about to be started, with the page that its refused calls are counted in.
pub fn send(control: &Socket, confinement: &Confinement, tally: &Tally) -> io::Result<()> {
    let body = postcard::to_stdvec(confinement).map_err(io::Error::other)?;
    let body = sealed_memfd("confinement", &body)?;
    control.send(&[CONFINEMENT], &[body.as_fd(), tally.as_fd()])
}

/// In the child: takes everything from this process that can be taken, and reports the rest.
pub fn enter(control: &Socket) -> io::Result<()> {
    let (confinement, tally) = receive(control)?;
    let strict = confinement.strict;
    let missing = sandbox(confinement, tally).enter();
    let report = postcard::to_stdvec(&Report::new(&missing)).map_err(io::Error::other)?;
    control.send(&report, &[])?;
    match missing.iter().find(|missing| strict && missing.layer.required()) {
        Some(Missing { layer, why }) => Err(io::Error::other(format!(
            "isolation is strict, and without {}: {why} ({})",
            layer.name(),
            layer.remedy()
        ))),
        None => Ok(()),
    }
}

fn sandbox(confinement: Confinement, tally: Tally) -> Sandbox {
    let Confinement {
        uid,
        groups,
        network,
        devices,
        sound,
        paths,
        hidden,
        temporary,
        files,
        processes,
        realtime,
        calls,
        strict: _,
    } = confinement;
    let realtime = if realtime { &REALTIME[..] } else { &[] };
    let limits =
        [Limit::Files(files)].into_iter().chain(processes.map(Limit::Processes)).chain(realtime.iter().copied());
    let limits = limits.collect();
    Sandbox { uid, groups, network, devices, sound, paths, hidden, temporary, limits, calls, tally: Some(tally) }
}

fn receive(control: &Socket) -> io::Result<(Confinement, Tally)> {
    let malformed = || io::Error::new(io::ErrorKind::InvalidData, "no confinement came first");
    let started = Instant::now();
    let mut packet = [0; 16];
    let fds = loop {
        match control.receive(&mut packet) {
            Ok((length, fds)) if packet[..length] == [CONFINEMENT] => break fds,
            Ok(_) => return Err(malformed()),
            Err(error) if error.kind() != io::ErrorKind::WouldBlock || started.elapsed() >= PATIENCE => {
                return Err(error);
            }
            Err(_) => await_readable(control.as_fd(), PATIENCE)?,
        }
    };
    let [body, tally] = <[OwnedFd; 2]>::try_from(fds).map_err(|_| malformed())?;
    let confinement = postcard::from_bytes(&read_sealed(body, MAX_BYTES)?).map_err(io::Error::other)?;
    Ok((confinement, tally.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_confinement_and_its_page_come_through_the_socket() {
        let (ours, theirs) = Socket::pair().expect("socketpair");
        let confinement = Confinement { uid: Some(70_000), paths: vec!["/opt".into()], ..Confinement::default() };
        send(&ours, &confinement, &Tally::new().expect("a page")).expect("room");
        assert_eq!(receive(&theirs).expect("all of it").0, confinement);
        ours.send(&[9], &[]).expect("room");
        assert_eq!(receive(&theirs).expect_err("something else").kind(), io::ErrorKind::InvalidData);
    }

    #[test]
    fn a_report_names_layers_and_what_is_none_is_left_out() {
        let missing = vec![Missing { layer: Layer::Landlock, why: "x".repeat(9000) }];
        let mut report = Report::new(&missing);
        report.missing.push((99, "nonsense".into()));
        let read = report.missing();
        assert!(read.len() == 1 && read[0].layer == Layer::Landlock && read[0].why.len() <= MAX_REASON, "{read:?}");
    }
}
