//! Jobs that mean no good, or know no better.

use super::*;
use std::io::Write;
use std::net::Shutdown;

#[tokio::test]
async fn a_job_that_reads_nothing_and_floods_its_doorbell_slows_nobody() {
    let mut supervisor = Supervisor::start(&camera(CameraDevice::TestPattern)).await;
    let mut bad = supervisor.attached("bad").await;
    bad.go_live();
    let mut bell = bad.bell.into_std().unwrap();
    let _ = bell.write(&[1; 65536]);
    bell.set_nonblocking(false).unwrap();
    let mut good = supervisor.attached("good").await;
    good.go_live();
    good.skip_to(KEY).await;
    let stuffing = Instant::now();
    for _ in 0..200 {
        let _ = bad.link.send(&FromReader::Keyframe, &[]);
    }
    let units = good.units(60).await;
    let gaps = units.windows(2).map(|w| w[1].0.written_ns.saturating_sub(w[0].0.written_ns));
    let longest = Duration::from_nanos(gaps.max().unwrap());
    assert!(longest < Duration::from_millis(500), "a gap of {longest:?}");
    assert!(stuffing.elapsed() < Duration::from_secs(6));
    assert_eq!(supervisor.stats().await.readers, 2);
}

#[tokio::test]
async fn a_job_that_breaks_the_protocol_is_detached_and_the_other_reads_on() {
    let supervisor = Supervisor::start(&camera(CameraDevice::TestPattern)).await;
    let mut good = supervisor.attached("good").await;
    good.go_live();

    let mut flood = supervisor.attached("flood").await;
    for _ in 0..600 {
        while let Err(LinkError::Full) = flood.link.send(&FromReader::Rate { bps: 1 }, &[]) {
            tokio::task::yield_now().await;
        }
    }
    assert!(flood.closed().await);

    let mut fds = supervisor.attached("descriptors").await;
    fds.link.send(&FromReader::Keyframe, &[std::io::stdin().as_fd()]).unwrap();
    assert!(fds.closed().await);

    let mut twice = supervisor.attached("twice").await;
    twice.say(&FromReader::Attach { version: VERSION });
    assert!(twice.closed().await);

    for first in [FromReader::Attach { version: VERSION + 1 }, FromReader::Keyframe, FromReader::Demand(Demand::Live)] {
        let mut early = supervisor.job("early").await;
        early.send(&first, &[]).unwrap();
        let answer = timeout(PATIENCE, early.receive::<ToReader>()).await.unwrap();
        assert!(matches!(answer, Err(LinkError::Closed)), "{answer:?}");
    }

    let garbage = Socket::pair().unwrap();
    supervisor.link.send(&ToOwner::Reader { job: "garbage".into() }, &[garbage.1.as_fd()]).unwrap();
    drop(garbage.1);
    garbage.0.send(&[0xFF; 4096], &[]).unwrap();
    let mut garbage = Link::new(garbage.0).unwrap();
    assert!(matches!(timeout(PATIENCE, garbage.receive::<ToReader>()).await.unwrap(), Err(LinkError::Closed)));

    good.ring.skip_to_newest();
    good.units(10).await;
}

#[tokio::test]
async fn a_job_that_asks_again_and_again_has_one_place_and_takes_none_from_others() {
    let mut supervisor = Supervisor::start(&camera(CameraDevice::TestPattern)).await;
    let mut greedy = Vec::new();
    for _ in 0..300 {
        greedy.push(supervisor.attached("greedy").await);
    }
    let mut good = supervisor.attached("good").await;
    assert_eq!(supervisor.stats().await.readers, 2);
    assert!(greedy[0].closed().await);
    good.go_live();
    good.unit().await;
}

#[tokio::test]
async fn a_job_that_closes_halves_of_its_sockets_harms_itself_alone() {
    let mut supervisor = Supervisor::start(&camera(CameraDevice::TestPattern)).await;
    let mut good = supervisor.attached("good").await;
    good.go_live();
    let mut deaf = supervisor.attached("deaf").await;
    deaf.go_live();
    deaf.bell.into_std().unwrap().shutdown(Shutdown::Both).unwrap();

    let mut halves = Vec::new();
    for (name, half) in [("mute", Shutdown::Write), ("closed", Shutdown::Read)] {
        let (ours, theirs) = Socket::pair().unwrap();
        supervisor.link.send(&ToOwner::Reader { job: name.into() }, &[theirs.as_fd()]).unwrap();
        let mut stream = UnixStream::from(ours.into_fd());
        let attach = postcard::to_stdvec(&FromReader::Attach { version: VERSION }).unwrap();
        // Who reads nothing is found out by the answer to this, which must not come before.
        if half == Shutdown::Read {
            stream.shutdown(half).unwrap();
        }
        stream.write_all(&attach).unwrap();
        stream.shutdown(half).unwrap();
        halves.push(stream);
    }
    supervisor.stats_until(|stats| stats.readers == 2).await;
    good.skip_to(KEY).await;
    good.units(10).await;
}
