//! A custom participant for tests: it publishes what is configured, then does what the first word of the dispatch's
//! metadata says, so that one binary plays well-behaved and ill-behaved user code.

use firmware_worker::{Accept, Answer, BoxError, Data, JobContext, JobInfo, WorkerOptions};
use std::process::ExitCode;
use std::time::Duration;

fn main() -> ExitCode {
    firmware_worker::run(WorkerOptions::new(entrypoint).prewarm(|| Ok(String::from("warm"))).on_request(on_request))
}

async fn on_request(job: JobInfo) -> Answer {
    match act(&job) {
        "decline" => Answer::Reject { terminate: false },
        "forbid" => Answer::Reject { terminate: true },
        "ponder" => std::future::pending().await,
        "stumble" => panic!("the lens is stuck"),
        "named" => Answer::Accept(Accept {
            name: "Front door".into(),
            identity: "front-door".into(),
            metadata: "porch".into(),
            attributes: [("floor".into(), "0".into())].into(),
        }),
        _ => Answer::Accept(Accept::default()),
    }
}

async fn entrypoint(context: JobContext) -> Result<(), BoxError> {
    for source in context.sources().to_vec() {
        context.publish(&source.name).await?;
    }
    context.connect().await?;
    match act(context.job()) {
        "block" => std::thread::sleep(seconds(&context)),
        "fail" => return Err("the lens cap is on".into()),
        "panic" => drop(tokio::spawn(async { panic!("the shutter broke") })),
        "finish" => context.shutdown("enough pictures"),
        "tell" => tell(&context).await?,
        "farewell" => {
            let in_hook = context.clone();
            context.add_shutdown_hook(move |reason| async move {
                // The room may be gone already, which the test would see.
                let _ = say(&in_hook, "farewell", &reason).await;
            });
        }
        _ => {}
    }
    Ok(())
}

/// Sends what a job knows of itself to whoever is there.
async fn tell(context: &JobContext) -> Result<(), BoxError> {
    let listener = context.wait_for_participant(None).await?;
    let job = context.job();
    let facts = serde_json::json!({
        "metadata": job.metadata,
        "attributes": job.attributes,
        "agent_name": job.agent_name,
        "room": context.room_name(),
        "listener": listener.identity,
        "prewarmed": context.prewarmed::<String>(),
    });
    say(context, "facts", &facts.to_string()).await
}

async fn say(context: &JobContext, topic: &str, text: &str) -> Result<(), BoxError> {
    let data = Data { payload: text.into(), topic: topic.into(), reliable: true, to: Vec::new(), from: String::new() };
    Ok(context.send(data).await?)
}

fn act(job: &JobInfo) -> &str {
    job.metadata.split(' ').next().unwrap_or_default()
}

/// The second word of the metadata.
fn seconds(context: &JobContext) -> Duration {
    let number = context.job().metadata.split(' ').nth(1).and_then(|word| word.parse().ok());
    Duration::from_secs(number.expect("the test gives a number of seconds"))
}
