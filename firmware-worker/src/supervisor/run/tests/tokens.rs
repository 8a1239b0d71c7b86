//! Tokens that a job's room has renewed, as they are kept for a restart or a sign-off.

use super::*;
use control::token::messages;
use protocol::secret::Secret;
use protocol::worker::JobId;

impl Rig {
    fn token(&self) -> &str {
        self.supervisor.jobs.records[&JobId("AJ_1".into())].spec.token.expose()
    }
}

#[tokio::test]
async fn a_token_that_comes_in_parts_is_kept_when_it_is_whole() {
    let (mut rig, job) = Rig::with_job().await;
    job.say(&FromJob::Token(Secret::new("short")));
    rig.listen().await;
    let long = "x".repeat(control::MAX_TOKEN);
    for message in messages(&Secret::new(long.as_str())).expect("within the limit") {
        assert_eq!(rig.token(), "short");
        job.say(&message);
        rig.listen().await;
    }
    assert!(rig.token() == long);
}

#[tokio::test]
async fn of_a_job_of_the_version_before_the_greeting_is_taken() {
    let (mut rig, _job) = Rig::with_job().await;
    for (version, taken) in [(control::OLDEST, true), (VERSION, true), (VERSION + 1, false)] {
        let (id, process) = rig.supervisor.jobs.processes.iter_mut().next().expect("the job's");
        process.greeted = false;
        let id = *id;
        rig.supervisor.job_said(id, FromJob::Hello { version });
        assert_eq!(rig.supervisor.jobs.processes[&id].greeted, taken, "version {version}");
    }
}
