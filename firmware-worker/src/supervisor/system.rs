//! Whether a signal ends this worker alone or the whole system. A drain may take its time; a system that goes down gives
//! nobody any, and whoever has not left its room by then stays in it as a ghost.

use super::Event;
use super::run::Supervisor;
use hal::process::{Output, Program};
use protocol::worker::Input;
use std::path::Path;
use std::time::{Duration, Instant};
use tracing::{debug, info};

/// Stands where systemd is the system's manager (sd_booted(3)).
const SYSTEMD: &str = "/run/systemd/system";

/// Root needs no D-Bus for it: systemctl asks the manager itself.
const QUESTION: [&str; 2] = ["systemctl", "is-system-running"];

/// The manager answers in a few ms.
const PATIENCE: Duration = Duration::from_millis(500);

/// For the hooks and goodbyes of jobs, of the two seconds in which all rooms are to be left.
const ROOMS_LEFT: Duration = Duration::from_millis(1400);

impl Supervisor {
    /// The answer comes as an event; none means no.
    pub(super) fn ask_whether_the_system_goes_down(&self) {
        if !Path::new(SYSTEMD).exists() {
            return;
        }
        let events = self.events.clone();
        tokio::spawn(async move {
            let question = QUESTION.map(str::to_owned);
            if tokio::task::spawn_blocking(move || goes_down(&question)).await.unwrap_or(false) {
                // The loop is gone when the worker has ended; then nobody needs to know.
                let _ = events.send(Event::SystemGoesDown).await;
            }
        });
    }

    pub(super) fn system_goes_down(&mut self) {
        info!("the system goes down: all rooms are left now");
        self.inputs.push_back(Input::StopWithin(ROOMS_LEFT));
    }
}

/// Asks by this command. Blocks until it has answered, for `PATIENCE` at most.
fn goes_down(command: &[String]) -> bool {
    match ask(command) {
        Ok(state) => state.trim() == "stopping",
        Err(e) => {
            debug!("{}: {e}", command.join(" "));
            false
        }
    }
}

fn ask(command: &[String]) -> std::io::Result<String> {
    let (mut program, deadline) = (Program::start(command)?, Instant::now() + PATIENCE);
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

    fn answered(script: &str) -> bool {
        goes_down(&["sh", "-c", script].map(str::to_owned))
    }

    #[test]
    fn only_a_manager_that_says_so_means_that_the_system_goes_down() {
        assert!(answered("echo stopping; exit 1"));
        assert!(!answered("echo running"));
        assert!(!answered("echo stopping >&2; exit 1"));
        assert!(!goes_down(&["/no/such/systemctl".to_owned()]));
    }

    #[test]
    fn a_manager_that_does_not_answer_is_not_waited_for() {
        let asked = Instant::now();
        assert!(!answered("sleep 60"));
        assert!(asked.elapsed() < 10 * PATIENCE);
    }
}
