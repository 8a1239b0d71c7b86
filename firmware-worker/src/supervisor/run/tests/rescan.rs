//! What is looked for at ticks: devices that came without a word of the kernel, and the sign that the system is up.

use super::*;
use crate::control::Link;

/// The supervisor's loop, and the camera's owner as a test plays it.
struct Rescan {
    supervisor: Supervisor,
    owner: Link,
    _alive: Option<Link>,
}

impl Rescan {
    fn start() -> Self {
        let now = Instant::now();
        let config = config("ws://127.0.0.1:1");
        let worker = Worker::new(super::super::super::options(&config, MODE), now, 1);
        let (events, _) = mpsc::channel(1);
        let brain = Brain::Worker(Box::new(worker));
        let mut supervisor = Supervisor::new(config, MODE, brain, None, events, 1).expect("a valid setup");
        let Supervisor { owners, spawner, .. } = &mut supervisor;
        owners.demand("camera", spawner, now).expect("a process");
        let process = owners.table.get_mut("camera").and_then(|owner| owner.process.as_mut()).expect("just started");
        let (socket, alive) = process.play();
        Self { supervisor, owner: Link::new(socket).expect("a runtime"), _alive: alive }
    }

    /// How often the owner is told to look again when it is `now`.
    fn told(&mut self, now: Instant) -> usize {
        self.supervisor.time(now);
        let messages = std::iter::from_fn(|| self.owner.try_receive().expect("the link stands"));
        messages.filter(|(message, _)| matches!(message, ToOwner::Rescan)).count()
    }
}

#[tokio::test]
async fn owners_look_for_their_devices_every_half_minute_without_any_event() {
    let mut rescan = Rescan::start();
    let start = rescan.supervisor.next_tick - PING_INTERVAL;
    let ticks = (1..=36).map(|n| start + PING_INTERVAL * n);
    let told: Vec<_> = ticks.filter(|now| rescan.told(*now) > 0).map(|now| (now - start).as_secs_f32()).collect();
    assert_eq!(told, [30.0, 60.0, 90.0], "s");
}

#[tokio::test]
async fn the_sign_that_the_system_is_up_is_looked_for_at_each_tick_until_it_is_there_and_then_seldom() {
    let mut supervisor = Rescan::start().supervisor;
    let start = supervisor.next_tick - PING_INTERVAL;
    supervisor.sign_at = std::env::temp_dir().join(format!("sign-at-ticks-{}", std::process::id()));
    let mut seen_after = |ticks: std::ops::RangeInclusive<u32>| {
        ticks.for_each(|n| supervisor.time(start + PING_INTERVAL * n));
        (supervisor.sign, supervisor.sign_at.clone())
    };
    let (before, sign) = seen_after(1..=1);
    // Its unit comes after the worker's.
    std::fs::create_dir(&sign).unwrap();
    let (next, _) = seen_after(2..=2);
    std::fs::remove_dir(&sign).unwrap();
    // From its end to the signal a busy board takes seconds.
    let (later, _) = seen_after(3..=4);
    assert_eq!([before, next, later], [Sign::Unknown, Sign::Up, Sign::Up]);
}
