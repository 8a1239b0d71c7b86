//! A job process that has been taken over, at its end of the control socket.

use super::*;
use futures_util::StreamExt;
use hal::process::Socket;
use protocol::worker::JobResult;
use std::io::Read;
use std::os::fd::AsFd;

/// The rig, and the job's bare socket.
async fn hostile() -> (Rig, Socket, Option<control::Link>) {
    let (rig, job) = Rig::with_job().await;
    (rig, job.link.into_socket(), job._alive)
}

impl Rig {
    /// Turns the loop until the server hears this.
    async fn server_hears(&mut self, text: &str) {
        let heard = async {
            loop {
                let deadline = self.supervisor.deadline();
                tokio::select! {
                    frame = self.server.next() => {
                        let frame = frame.expect("the worker stays").expect("a frame").into_data();
                        if frame.windows(text.len()).any(|part| part == text.as_bytes()) {
                            return;
                        }
                    }
                    () = sleep_until(deadline.into()) => {
                        self.supervisor.take(Happening::Deadline);
                        self.supervisor.turn();
                    }
                }
            }
        };
        timeout(PATIENCE, heard).await.unwrap_or_else(|_| panic!("the server does not hear {text:?}"));
    }
}

impl Rig {
    /// A turn of the loop for whatever comes next.
    async fn go_on(&mut self) {
        let deadline = self.supervisor.deadline();
        let Self { supervisor, queue, .. } = self;
        let next = async {
            tokio::select! {
                Some(event) = queue.recv() => Happening::Event(event),
                happening = poll_fn(|cx| supervisor.poll_children(cx)) => happening,
                () = sleep_until(deadline.into()) => Happening::Deadline,
            }
        };
        let happening = timeout(PATIENCE, next).await.expect("in time");
        supervisor.take(happening);
        supervisor.turn();
    }

    /// The control sockets of all processes with a job are closed.
    fn hears_nobody(&self) -> bool {
        let mut running = self.supervisor.jobs.processes.values().filter(|job| job.job().is_some());
        running.all(|job| job.process.is_dismissed())
    }
}

fn bytes(message: &FromJob) -> Vec<u8> {
    postcard::to_stdvec(message).expect("encodes")
}

#[tokio::test]
async fn garbage_ends_its_job_and_the_server_hears_why() {
    let (mut rig, socket, _alive) = hostile().await;
    socket.send(&[0xff; 9], &[]).expect("room");
    rig.listen().await;
    rig.server_hears("malformed message").await;
}

#[tokio::test]
async fn half_a_message_ends_its_job() {
    let (mut rig, socket, _alive) = hostile().await;
    let whole = bytes(&FromJob::Joined { sid: "PA_of_somebody_else".into() });
    socket.send(&whole[..whole.len() / 2], &[]).expect("room");
    rig.listen().await;
    rig.server_hears("malformed message").await;
    assert_eq!(rig.supervisor.jobs.records[&JobId("AJ_1".into())].sid.as_deref(), Some("PA_1"));
}

#[tokio::test]
async fn a_thousand_messages_a_second_end_their_job() {
    let (mut rig, socket, _alive) = hostile().await;
    let message = bytes(&FromJob::Rejoined);
    // It is heard no more long before the last.
    for _ in 0..1000 {
        if rig.hears_nobody() {
            break;
        }
        socket.send(&message, &[]).expect("room");
        rig.listen().await;
    }
    rig.server_hears("messages in a second").await;
}

#[tokio::test]
async fn foreign_descriptors_are_closed_and_end_their_job() {
    let (mut rig, socket, _alive) = hostile().await;
    let (mut reader, writer) = std::io::pipe().expect("a pipe");
    socket.send(&bytes(&FromJob::Rejoined), &[writer.as_fd(), writer.as_fd()]).expect("room");
    drop(writer);
    rig.listen().await;
    assert_eq!(reader.read(&mut [0; 1]).expect("readable"), 0, "nobody holds the other end");
    rig.server_hears("descriptors").await;
}

#[tokio::test]
async fn a_job_that_asks_for_a_device_again_and_again_is_denied_it_before_its_owner_is_flooded() {
    let (mut rig, socket, _alive) = hostile().await;
    let message = bytes(&FromJob::OpenSource { name: "camera".into() });
    let (mut given, mut denied, mut buffer) = (0, 0, [0; 4096]);
    // A second may end in the middle of it, and twice as much is given then.
    while denied == 0 && given <= 2 * control::MAX_REQUESTS {
        socket.send(&message, &[]).expect("room");
        rig.listen().await;
        while let Ok((length, _)) = socket.receive(&mut buffer) {
            match postcard::from_bytes(&buffer[..length]).expect("decodes") {
                ToJob::SourceFd { .. } => given += 1,
                ToJob::Denied { why, .. } if why == control::TOO_OFTEN => denied += 1,
                _ => {}
            }
        }
    }
    assert!(denied > 0, "{given} were given");
    assert!(!rig.hears_nobody(), "it goes on");
}

#[tokio::test]
async fn a_job_that_gives_up_a_device_after_many_tries_in_a_second_still_ends_well() {
    let (mut rig, socket, _alive) = hostile().await;
    let open = bytes(&FromJob::OpenSource { name: "camera".into() });
    for _ in 0..control::MAX_REQUESTS + 10 {
        socket.send(&open, &[]).expect("room");
        rig.listen().await;
    }
    let end = FromJob::Ending(JobResult::Success { reason: "no camera".into() });
    socket.send(&bytes(&end), &[]).expect("room");
    rig.listen().await;
    let mut buffer = [0; 4096];
    let acknowledged = loop {
        match socket.receive(&mut buffer) {
            Ok((0, _)) => break false,
            Ok((length, _)) => {
                if matches!(postcard::from_bytes(&buffer[..length]).expect("decodes"), ToJob::Ack) {
                    break true;
                }
            }
            // It waits until the server has filed the job, and then for its status to go out.
            Err(_) => rig.go_on().await,
        }
    };
    assert!(acknowledged);
}

#[tokio::test]
async fn a_job_that_sends_tokens_again_and_again_ends_before_the_board_is_busy_with_them() {
    let (mut rig, socket, _alive) = hostile().await;
    let message = bytes(&FromJob::Token(protocol::secret::Secret::new("a.b.c")));
    // A second may end in the middle of it.
    for _ in 0..2 * (control::MAX_REQUESTS + 1) {
        if rig.hears_nobody() {
            break;
        }
        socket.send(&message, &[]).expect("room");
        rig.listen().await;
    }
    rig.server_hears("things in a second").await;
    assert!(rig.hears_nobody(), "what it has sent before would condemn it again");
}

#[tokio::test]
async fn a_participant_whose_name_would_forge_a_line_of_the_log_ends_its_job() {
    let (mut rig, socket, _alive) = hostile().await;
    socket.send(&bytes(&FromJob::Joined { sid: "PA_2\n<3>all is lost".into() }), &[]).expect("room");
    rig.listen().await;
    rig.server_hears("no participant").await;
    assert!(rig.supervisor.jobs.records.values().all(|record| record.sid.as_deref() == Some("PA_1")));
}

#[tokio::test]
async fn a_token_in_the_text_of_an_error_is_told_to_nobody() {
    let (mut rig, socket, _alive) = hostile().await;
    let error = "connect: wss://host/?access_token=eyJhbGciOiJIUzI1NiJ9.eyJleHAiOjF9.c2lnbmF0dXJl failed".into();
    socket.send(&bytes(&FromJob::Failing(error)), &[]).expect("room");
    rig.listen().await;
    rig.server_hears("access_token=*** failed").await;
}
