//! Whether a signal ends this worker alone or the whole system. A drain may take its time; a system that goes down gives
//! nobody any, and whoever has not left its room by then stays in it as a ghost.
//!
//! A sign says it that systemd itself puts up and takes down. Beside a drain its manager is asked too, which at a system's end has
//! more to do than to answer, but is all there is without a sign.

mod manager;
mod sign;

pub use sign::PATH as SIGN;
pub(super) use sign::Sign;

use super::Event;
use super::run::Supervisor;
use hal::process::{Output, Program};
use protocol::worker::Input;
use sign::{Absence, Verdict};
use std::fmt;
use std::future::pending;
use std::path::Path;
use std::time::{Duration, Instant};
use tokio::task::spawn_blocking;
use tokio::time::{sleep, timeout};
use tracing::{debug, info};

/// Stands where systemd is the system's manager (sd_booted(3)).
const SYSTEMD: &str = "/run/systemd/system";

/// For who may not ask the manager itself; prints the number of a job, if there is one.
const QUESTION: [&str; 5] = ["systemctl", "show", "--property=Job", "--value", "shutdown.target"];

/// For the manager, which answers in a few ms, and else for systemctl, which a slow board takes seconds to start. Nothing waits
/// for either but the end of a drain.
const PATIENCE: Duration = Duration::from_secs(10);

/// Between two looks, and between two questions: a system may be told to go down when this worker drains already, and that is no
/// further signal.
const AGAIN: Duration = Duration::from_millis(500);

/// The same where a program has to be started for each.
const AGAIN_BY_COMMAND: Duration = Duration::from_secs(5);

/// For the hooks and goodbyes of jobs, of the two seconds in which all rooms are to be left.
const ROOMS_LEFT: Duration = Duration::from_millis(1400);

/// The same where the answer has come late.
const AT_LEAST: Duration = Duration::from_millis(500);

/// Who says that the system goes down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Source {
    /// It was up, and is gone.
    Sign,
    /// Its manager, or its command.
    Systemd,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Sign => "its sign",
            Self::Systemd => "systemd",
        })
    }
}

impl Supervisor {
    /// Before the end, so that it is known then whether there is a sign at all.
    pub(super) fn look_for_the_sign(&mut self) {
        self.sign = self.sign.after_look(sign::is_up(&self.sign_at));
    }

    /// Acts on it at once, or when it comes as an event; no answer means that it does not.
    pub(super) fn find_out_whether_the_system_goes_down(&mut self) {
        match self.sign.at_the_end(sign::is_up(&self.sign_at)) {
            Verdict::GoesDown => self.system_goes_down(Source::Sign, Instant::now()),
            Verdict::Alone => self.be_told_in_a_drain(true),
            Verdict::Unknown => self.be_told_in_a_drain(false),
        }
    }

    /// The same in a drain that the program before has begun: its signal is not the one that the sign goes with.
    pub(super) fn find_out_further_whether_the_system_goes_down(&self) {
        self.be_told_in_a_drain(self.sign.is_seen() || sign::is_up(&self.sign_at));
    }

    fn be_told_in_a_drain(&self, has_sign: bool) {
        let (events, sign) = (self.events.clone(), has_sign.then(|| self.sign_at.clone()));
        tokio::spawn(async move {
            let (source, asked) = told(sign.as_deref(), manager_says()).await;
            // The loop is gone when the worker has ended; then nobody needs to know.
            let _ = events.send(Event::SystemGoesDown { source, asked }).await;
        });
    }

    pub(super) fn system_goes_down(&mut self, source: Source, asked: Instant) {
        info!("the system goes down, as {source} says: all rooms are left now");
        self.jobs.processes.values().for_each(|job| job.process.hasten());
        self.inputs.push_back(Input::StopWithin(ROOMS_LEFT.saturating_sub(asked.elapsed()).max(AT_LEAST)));
    }
}

/// Waits for whichever says first that the system goes down, the sign that was up or systemd that is asked: who, and when was
/// looked or asked.
async fn told(sign: Option<&Path>, systemd: impl Future<Output = Instant>) -> (Source, Instant) {
    let Some(sign) = sign else { return (Source::Systemd, systemd.await) };
    tokio::select! {
        biased;
        at = taken_down(sign) => (Source::Sign, at),
        at = systemd => (Source::Systemd, at),
    }
}

/// Since when it is missing.
async fn taken_down(sign: &Path) -> Instant {
    let mut absence = Absence::default();
    loop {
        if let Some(since) = absence.after_look(sign::is_up(sign), Instant::now()) {
            return since;
        }
        sleep(AGAIN).await;
    }
}

/// Never ends where systemd is not the system's manager.
async fn manager_says() -> Instant {
    if !Path::new(SYSTEMD).exists() {
        return pending().await;
    }
    goes_down(Path::new(manager::SOCKET), QUESTION, PATIENCE).await
}

/// Asks the manager until it says yes, or, where that does not work, by this command: when was asked what has been answered by
/// yes. A manager that executes itself anew is away for a moment, so it is always asked again.
async fn goes_down(socket: &Path, command: [&str; 5], patience: Duration) -> Instant {
    loop {
        let asked = Instant::now();
        let why = match timeout(patience, manager::goes_down(socket)).await {
            Ok(Ok(true)) => return asked,
            Ok(Ok(false)) => {
                sleep(AGAIN).await;
                continue;
            }
            Ok(Err(e)) => e.to_string(),
            Err(_) => "no answer".to_owned(),
        };
        debug!("{}: {why}", socket.display());
        let (command, asked) = (command.map(str::to_owned), Instant::now());
        if spawn_blocking(move || is_told_by(&command, asked + patience)).await.unwrap_or(false) {
            return asked;
        }
        sleep(AGAIN_BY_COMMAND).await;
    }
}

/// Blocks until the command has answered.
fn is_told_by(command: &[String], deadline: Instant) -> bool {
    match ask(command, deadline) {
        Ok(job) => job.trim().parse::<u32>().is_ok_and(|job| job != 0),
        Err(e) => {
            debug!("{}: {e}", command.join(" "));
            false
        }
    }
}

fn ask(command: &[String], deadline: Instant) -> std::io::Result<String> {
    let mut program = Program::start(command)?;
    let (mut answer, mut buffer) = (Vec::new(), [0; 64]);
    while answer.len() < buffer.len() {
        match program.read(&mut buffer, deadline.saturating_duration_since(Instant::now()))? {
            Output::Bytes(count) => answer.extend_from_slice(&buffer[..count]),
            Output::Complaint(_) => {}
            Output::Silence | Output::End => break,
        }
    }
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixListener;

    const NOBODY: &str = "/no/such/manager";

    #[tokio::test]
    async fn who_may_not_ask_the_manager_asks_by_a_command() {
        let asked = goes_down(Path::new(NOBODY), ["sh", "-c", "echo 1234", "", ""], PATIENCE);
        timeout(PATIENCE, asked).await.expect("it answers");
    }

    #[test]
    fn only_a_job_means_that_the_system_goes_down() {
        let told = |script: &str| {
            let command = ["sh", "-c", script].map(str::to_owned);
            is_told_by(&command, Instant::now() + PATIENCE)
        };
        assert!(told("echo 1234"));
        assert!(!told("echo"));
        assert!(!told("echo 0"));
        assert!(!told("echo 1234 >&2; exit 1"));
        assert!(!is_told_by(&["/no/such/systemctl".to_owned()], Instant::now() + PATIENCE));
    }

    #[tokio::test]
    async fn a_manager_that_is_away_is_asked_again() {
        let socket = std::env::temp_dir().join(format!("absent-manager-{}", std::process::id()));
        let later = socket.clone();
        let asking = tokio::spawn(async move { goes_down(&later, ["/no/such/systemctl"; 5], PATIENCE).await });
        tokio::task::yield_now().await;
        let there = manager::tests::of_jobs("absent", &[7]);
        std::fs::rename(&there, &socket).unwrap();
        let asked = timeout(2 * AGAIN_BY_COMMAND, asking).await;
        std::fs::remove_file(&socket).unwrap();
        asked.expect("it answers").unwrap();
    }

    #[tokio::test]
    async fn a_system_that_goes_down_during_a_drain_is_known_too() {
        let socket = manager::tests::of_jobs("drain", &[0, 0, 7]);
        let (start, asked) = (Instant::now(), goes_down(&socket, ["false"; 5], PATIENCE).await);
        assert!(asked - start >= 2 * AGAIN, "the third answer is yes");
    }

    #[tokio::test]
    async fn a_sign_that_is_taken_down_during_a_drain_is_seen_though_the_manager_does_not_answer() {
        let sign = std::env::temp_dir().join(format!("sign-{}", std::process::id()));
        std::fs::create_dir(&sign).unwrap();
        let watched = sign.clone();
        let mut watching = tokio::spawn(async move { told(Some(&watched), pending()).await });
        // As long as it is up nothing is told, however often it was looked at.
        assert!(timeout(2 * AGAIN, &mut watching).await.is_err());
        std::fs::remove_dir(&sign).unwrap();
        let (source, _) = timeout(PATIENCE, watching).await.expect("it is seen").unwrap();
        assert_eq!(source, Source::Sign);
    }

    #[tokio::test]
    async fn a_manager_counts_that_says_it_while_the_sign_is_up() {
        let (up, asked) = (std::env::temp_dir(), Instant::now());
        let said = Ok((Source::Systemd, asked));
        assert_eq!(timeout(PATIENCE, told(Some(&up), async { asked })).await, said);
        assert_eq!(timeout(PATIENCE, told(None, async { asked })).await, said);
    }

    #[tokio::test]
    async fn neither_is_waited_for_that_does_not_answer() {
        let socket = std::env::temp_dir().join(format!("silent-manager-{}", std::process::id()));
        let _silent = UnixListener::bind(&socket).unwrap();
        let script = "test -e \"$0\" && echo 7; touch \"$0\"; sleep 60";
        let mark = socket.with_extension("asked");
        let command = ["sh", "-c", script, mark.to_str().unwrap(), ""];
        let limit = Duration::from_secs(10) + AGAIN_BY_COMMAND;
        let asked = timeout(limit, goes_down(&socket, command, Duration::from_millis(200))).await;
        [socket, mark].iter().for_each(|file| std::fs::remove_file(file).unwrap());
        asked.expect("the second command says yes");
    }
}
