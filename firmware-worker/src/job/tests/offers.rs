//! What `on_request` says.

use super::*;

#[tokio::test]
async fn offers_are_answered_by_on_request() {
    let options =
        WorkerOptions::new(async |_| Ok(())).on_request(async |job| Answer::Reject { terminate: job.metadata == "m" });
    let mut supervisor = Supervisor::start(options).await;
    assert!(matches!(supervisor.next().await, FromJob::Prewarmed));
    supervisor.send_body(&ToJob::Offer, &job());
    assert!(matches!(supervisor.next().await, FromJob::Answer(Answer::Reject { terminate: true })));
}

#[tokio::test]
async fn an_acceptance_that_fits_no_message_is_a_decline_at_once() {
    let options = WorkerOptions::new(async |_| Ok(()))
        .on_request(async |_| Answer::Accept(Accept { metadata: "m".repeat(5000), ..Accept::default() }));
    let mut supervisor = Supervisor::start(options).await;
    assert!(matches!(supervisor.next().await, FromJob::Prewarmed));
    supervisor.send_body(&ToJob::Offer, &job());
    assert!(matches!(supervisor.next().await, FromJob::Answer(Answer::Reject { terminate: false })));
}

#[tokio::test]
async fn an_acceptance_as_somebody_whom_no_server_takes_is_a_decline() {
    let long = || "n".repeat(257);
    let accepts = [
        Accept { identity: long(), ..Accept::default() },
        Accept { name: long(), ..Accept::default() },
        Accept { identity: "n".repeat(256), name: "n".repeat(256), ..Accept::default() },
    ];
    for (accept, taken) in accepts.into_iter().zip([false, false, true]) {
        let options = WorkerOptions::new(async |_| Ok(()))
            .on_request(move |_| std::future::ready(Answer::Accept(accept.clone())));
        let mut supervisor = Supervisor::start(options).await;
        assert!(matches!(supervisor.next().await, FromJob::Prewarmed));
        supervisor.send_body(&ToJob::Offer, &job());
        let FromJob::Answer(answer) = supervisor.next().await else { panic!("no answer") };
        assert_eq!(matches!(answer, Answer::Accept(_)), taken, "{answer:?}");
    }
}
