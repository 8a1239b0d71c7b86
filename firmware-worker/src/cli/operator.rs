//! The running workers of this board, as an operator speaks to them.

use super::environment;
use crate::control::{FromOperator, Link, OPERATOR_VERSION, ToOperator, runtime_directories};
use hal::process::Socket;
use std::io::ErrorKind;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::runtime::{Builder, Runtime};
use tokio::time::timeout;

/// A worker answers within a turn of its loop.
pub(super) const PATIENCE: Duration = Duration::from_secs(5);

/// All that there are.
#[derive(Debug)]
pub(super) struct Workers {
    /// Their sockets; each takes one question.
    sockets: Vec<PathBuf>,
    /// What may not be spoken to.
    pub(super) forbidden: Option<String>,
    looked: Vec<PathBuf>,
}

/// What a worker said, and the descriptors beside it.
pub(super) type Answer = (ToOperator, Vec<OwnedFd>);

/// For one command.
pub(super) fn runtime() -> Result<Runtime, String> {
    Builder::new_current_thread().enable_all().build().map_err(|e| format!("runtime: {e}"))
}

impl Workers {
    /// Looks where workers have their sockets.
    pub(super) fn find() -> Self {
        let looked = runtime_directories(environment);
        let (mut sockets, mut forbidden) = (Vec::new(), None);
        for directory in &looked {
            match sockets_in(directory) {
                Ok(found) => sockets.extend(found),
                Err(e) if e.kind() == ErrorKind::PermissionDenied => forbidden = Some(advice(directory)),
                Err(_) => {}
            }
        }
        Self { sockets, forbidden, looked }
    }

    /// Asks one after the other, and gives what each says that `listens`; those that do not know are passed over.
    pub(super) fn ask(
        &mut self,
        runtime: &Runtime,
        question: &FromOperator,
        patience: Duration,
    ) -> Result<Vec<Answer>, String> {
        let (mut answers, mut failure) = (Vec::new(), None);
        for path in &self.sockets {
            let socket = match Socket::connect(path) {
                Ok(socket) => socket,
                Err(e) if e.kind() == ErrorKind::PermissionDenied => {
                    self.forbidden = Some(advice(path));
                    continue;
                }
                // Of a worker that was killed.
                Err(e) if matches!(e.kind(), ErrorKind::ConnectionRefused | ErrorKind::NotFound) => continue,
                Err(e) => {
                    failure = Some(format!("{}: {e}", path.display()));
                    continue;
                }
            };
            match runtime.block_on(converse(socket, question, patience)) {
                Ok((ToOperator::Unknown, _)) => {}
                Ok((ToOperator::Refused { why }, _)) | Err(why) => failure = Some(format!("{}: {why}", path.display())),
                Ok(answer) => answers.push(answer),
            }
        }
        match failure {
            Some(why) if answers.is_empty() => Err(why),
            Some(why) => {
                // What the others say is still worth having.
                eprintln!("firmware-worker: {why}");
                Ok(answers)
            }
            None => Ok(answers),
        }
    }

    /// There is none, or none that may be asked.
    pub(super) fn missing(&self) -> Option<String> {
        let looked = || self.looked.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(" and ");
        self.forbidden
            .clone()
            .or_else(|| self.sockets.is_empty().then(|| format!("no worker runs: looked in {}", looked())))
    }
}

fn sockets_in(directory: &Path) -> std::io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in directory.read_dir()? {
        let path = entry?.path();
        if path.extension().is_some_and(|ending| ending == "sock") {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

fn advice(path: &Path) -> String {
    format!("{}: only root and the worker's own user may ask: use sudo", path.display())
}

async fn converse(socket: Socket, question: &FromOperator, patience: Duration) -> Result<Answer, String> {
    let mut link = Link::new(socket).map_err(|e| e.to_string())?;
    // One that refuses at once may have hung up already; what it said is still there.
    let _ = link.send(&FromOperator::Hello { version: OPERATOR_VERSION }, &[]).and_then(|()| link.send(question, &[]));
    match timeout(patience, link.receive::<ToOperator>()).await {
        Ok(answer) => answer.map_err(|e| e.to_string()),
        Err(_) => Err(format!("no answer in {} s", patience.as_secs())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hal::process::{Listener, await_readable};
    use std::os::fd::AsFd;

    /// A worker that gives everybody this answer.
    fn worker(path: PathBuf, answer: ToOperator) {
        let listener = Listener::bind(&path).expect("a socket");
        std::thread::spawn(move || {
            let runtime = runtime().expect("a runtime");
            let _inside = runtime.enter();
            while await_readable(listener.as_fd(), PATIENCE).is_ok() {
                let Ok((socket, _)) = listener.accept() else { return };
                Link::new(socket).and_then(|link| link.send(&answer, &[])).expect("the operator listens");
            }
        });
    }

    #[test]
    fn a_worker_that_refuses_does_not_hide_what_the_others_say() {
        let place = |name: &str| std::env::temp_dir().join(format!("fw-operator-{}-{name}.sock", std::process::id()));
        worker(place("old"), ToOperator::Refused { why: "another version".into() });
        worker(place("new"), ToOperator::Stopped { result: "gone".into() });
        let runtime = runtime().expect("a runtime");
        let ask = |sockets: Vec<PathBuf>| {
            let mut workers = Workers { sockets, forbidden: None, looked: Vec::new() };
            workers.ask(&runtime, &FromOperator::Stop { job: "AJ_1".into() }, PATIENCE)
        };
        let answers = ask(vec![place("old"), place("new")]).expect("one answers");
        assert!(matches!(&answers[..], [(ToOperator::Stopped { result }, _)] if result == "gone"), "{answers:?}");
        let refused = ask(vec![place("old")]).expect_err("none answers");
        assert!(refused.ends_with("another version"), "{refused}");
    }
}
