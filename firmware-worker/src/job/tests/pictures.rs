//! Pictures of cameras that the job has not published.

use super::*;

fn push(ring: &mut Writer, bell: &Doorbell) {
    let written_ns = monotonic_ns();
    let meta = Meta { captured_ns: written_ns, written_ns, flags: KEY, ..Meta::default() };
    ring.push(meta, &keyframe()).expect("it fits");
    bell.ring();
}

#[tokio::test]
async fn a_camera_that_nobody_publishes_is_opened_for_a_picture_and_let_go_after_it() {
    let entrypoint = async |context: JobContext| {
        let picture = context.snapshot("door").await?;
        // It can be published then, as if nothing had been.
        let publication = context.publish("door").await?;
        context.shutdown(format!("{}x{} {}", picture.width, picture.height, publication.muted()));
        Ok(())
    };
    let mut supervisor = Supervisor::running(WorkerOptions::new(entrypoint)).await;
    let (mut owner, mut ring, bell) = attach(&mut supervisor).await;
    wanted(&mut owner, Demand::Live).await;
    push(&mut ring, &bell);
    let gone = async { while owner.receive::<FromReader>().await.is_ok() {} };
    timeout(PATIENCE, gone).await.expect("the camera is let go");
    let (mut owner, _ring, _bell) = attach(&mut supervisor).await;
    wanted(&mut owner, Demand::Armed).await;
    assert_eq!(supervisor.ending().await, success("320x180 false"));
    supervisor.finish();
}

#[tokio::test]
async fn a_camera_that_cannot_be_had_is_told_to_who_waits_for_its_picture() {
    let entrypoint = async |context: JobContext| {
        let lost = context.snapshot("door").await.expect_err("there is no picture");
        let denied = context.snapshot("door").await.expect_err("there is no picture");
        context.shutdown(format!("{lost}; {denied}"));
        Ok(())
    };
    let mut supervisor = Supervisor::running(WorkerOptions::new(entrypoint)).await;
    let (mut owner, _ring, _bell) = attach(&mut supervisor).await;
    wanted(&mut owner, Demand::Live).await;
    owner.send(&ToReader::Lost { why: "/dev/video0: unplugged".into() }, &[]).expect("the job reads");
    assert!(matches!(supervisor.next().await, FromJob::OpenSource { name } if name == "door"));
    let denied = ToJob::Denied { name: "door".into(), why: "no such device".into() };
    supervisor.link.send(&denied, &[]).expect("the job reads");
    let expected = "source \"door\": /dev/video0: unplugged; source \"door\": no such device";
    assert_eq!(supervisor.ending().await, success(expected));
    supervisor.finish();
}

#[tokio::test]
async fn a_picture_can_be_drawn_on_and_published_under_its_cameras_name() {
    let entrypoint = async |context: JobContext| {
        let options = || crate::job::VideoOptions {
            name: "door".into(),
            width: 320,
            height: 180,
            fps: 1,
            bitrate: 100_000,
            source: protocol::room::Source::Camera,
        };
        context.snapshot("door").await?;
        let _drawn = context.publish_video(options()).await?;
        let twice = context.publish_video(options()).await.expect_err("one track per name");
        let source = context.publish("door").await.expect_err("one track per name");
        let picture = context.snapshot("door").await?;
        context.shutdown(format!("{twice}; {source}; {}", picture.width));
        Ok(())
    };
    let mut supervisor = Supervisor::running(WorkerOptions::new(entrypoint)).await;
    let (mut owner, mut ring, bell) = attach(&mut supervisor).await;
    wanted(&mut owner, Demand::Live).await;
    push(&mut ring, &bell);
    let gone = async { while owner.receive::<FromReader>().await.is_ok() {} };
    timeout(PATIENCE, gone).await.expect("the camera is let go");
    let (mut owner, mut ring, bell) = attach(&mut supervisor).await;
    wanted(&mut owner, Demand::Live).await;
    push(&mut ring, &bell);
    let twice = "track \"door\" is published already";
    assert_eq!(supervisor.ending().await, success(&format!("{twice}; {twice}; 320")));
    supervisor.finish();
}

/// More than the supervisor hears in a second.
const TRIES: u32 = 4 * crate::control::MAX_RATE;

#[tokio::test]
async fn a_loop_that_tries_a_lost_camera_without_waiting_is_denied_it_and_does_not_flood_the_supervisor() {
    let entrypoint = async |context: JobContext| {
        let (mut denied, mut refused) = (0, 0);
        for _ in 0..TRIES {
            match context.snapshot("door").await.expect_err("there is no picture") {
                Error::NoPicture { why, .. } if why == crate::control::TOO_OFTEN => denied += 1,
                _ => refused += 1,
            }
        }
        context.shutdown(format!("{denied} {refused}"));
        Ok(())
    };
    let mut supervisor = Supervisor::running(WorkerOptions::new(entrypoint)).await;
    let mut asked = 0;
    let result = loop {
        match supervisor.next().await {
            FromJob::OpenSource { name } => {
                asked += 1;
                supervisor.send(&ToJob::Denied { name, why: "no such device".into() });
            }
            FromJob::Ending(result) => break result,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(result, success(&format!("{} {asked}", TRIES - asked)));
    supervisor.finish();
}
