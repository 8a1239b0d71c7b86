//! When a device opens, and how long what follows takes.

use super::*;

/// Other tests may keep the machine busy: what is promised must be kept by one of so many tries.
const TRIES: usize = 5;

/// From the assignment to the first unit, for a camera that opens in `open` and a job that joins in `join`.
async fn first_unit(open: Duration, join: Duration) -> Duration {
    let mut supervisor = Supervisor::start(&camera(CameraDevice::Auto)).await;
    let mut job = supervisor.attached("a").await;
    let assigned = Instant::now();
    job.say(&FromReader::Demand(Demand::Armed));
    let opens = async {
        assert!(matches!(receive(&mut supervisor.link).await.0, FromOwner::NeedNode { .. }));
        tokio::time::sleep(open).await;
        supervisor.link.send(&ToOwner::NoNode { why: "no camera".into() }, &[]).unwrap();
    };
    let joins = async {
        tokio::time::sleep_until((assigned + join).into()).await;
        job.go_live();
        job.unit().await
    };
    let ((), (meta, _)) = tokio::join!(opens, joins);
    assert_eq!(meta.flags, KEY | DISCONTINUITY);
    assigned.elapsed()
}

#[tokio::test]
async fn a_device_that_is_armed_opens_while_its_job_joins() {
    const OPEN: Duration = Duration::from_millis(800);
    for join in [Duration::from_millis(200), Duration::from_millis(1200)] {
        let mut fastest = Duration::MAX;
        for _ in 0..TRIES {
            fastest = fastest.min(first_unit(OPEN, join).await);
            if fastest <= OPEN.max(join) + Duration::from_millis(100) {
                break;
            }
        }
        assert!(fastest <= OPEN.max(join) + Duration::from_millis(100), "{fastest:?} for a join of {join:?}");
    }
}

#[tokio::test]
async fn a_warm_device_opens_without_a_job_and_stays_open() {
    let device = Device {
        name: "camera".into(),
        kind: DeviceKind::Camera(Camera { device: CameraDevice::TestPattern, warm: true, ..Camera::default() }),
    };
    let mut supervisor = Supervisor::start(&device).await;
    assert!(matches!(supervisor.state().await, OwnerState::Running(_)));
    let stats = supervisor.stats().await;
    assert_eq!((stats.readers, stats.encoders), (0, 0));
    let mut job = supervisor.attached("a").await;
    let asked = Instant::now();
    job.go_live();
    job.unit().await;
    // Nothing has to be opened: a frame interval and the encoder's first picture, and the patience of a busy machine.
    assert!(asked.elapsed() < Duration::from_secs(1), "{:?}", asked.elapsed());
}

#[tokio::test]
async fn stages_are_counted_from_capture_to_ring() {
    let mut supervisor = Supervisor::start(&camera(CameraDevice::TestPattern)).await;
    let mut job = supervisor.attached("a").await;
    job.go_live();
    job.units(10).await;
    // A unit is in the ring a moment before it is counted.
    let counted = |stats: &OwnerStats, stage: usize| stats.stages[stage].counts.iter().sum::<u64>();
    supervisor.stats_until(|stats| counted(stats, 2) >= 10 && counted(stats, 3) >= 10).await;
    let stats = supervisor.stats().await;
    assert!(counted(&stats, 3) <= stats.written + 1 && stats.stages[2].sum_us > 0, "{stats:?}");
}
