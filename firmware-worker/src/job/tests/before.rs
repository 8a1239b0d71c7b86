//! What user code asks for before there is a room, or of what is not what it takes it for.

use super::*;

#[tokio::test]
async fn data_before_the_join_are_refused_as_subscriptions_are() {
    let entrypoint = async |context: JobContext| {
        let data = protocol::room::Data {
            payload: vec![1],
            topic: String::new(),
            reliable: true,
            to: Vec::new(),
            from: String::new(),
        };
        context.fail(context.send(data).await.expect_err("there is nobody to send to"));
        Ok(())
    };
    let mut supervisor = Supervisor::running(WorkerOptions::new(entrypoint)).await;
    assert_eq!(supervisor.ending().await, failed("send: the job has not joined its room"));
    supervisor.finish();
}

#[tokio::test]
async fn prewarm_may_block_on_a_runtime_of_its_own_and_start_tasks_on_that_of_the_job() {
    let options = WorkerOptions::new(async |context: JobContext| {
        let started: &std::sync::Mutex<Option<tokio::task::JoinHandle<u32>>> = context.prewarmed().expect("it ran");
        let task = started.lock().expect("not poisoned").take().expect("a task");
        context.shutdown(format!("{}", task.await?));
        Ok(())
    });
    let options = options.prewarm(|| {
        let fetched = runtime::Builder::new_current_thread().build()?.block_on(async { 41u32 });
        Ok(std::sync::Mutex::new(Some(tokio::spawn(async move { fetched + 1 }))))
    });
    let mut supervisor = Supervisor::running(options).await;
    assert_eq!(supervisor.ending().await, success("42"));
    supervisor.finish();
}
