use super::*;

const PERIOD: usize = 480;

/// A job that writes packets at its own clock, and a card that takes periods at 48 kHz.
struct World {
    playout: Playout,
    /// Frames that wait; a fraction is what the resampler carries.
    level: f64,
    /// Parts in a million by which the job is faster.
    ppm: f64,
    packet: usize,
    owed: f64,
    dry: usize,
    skipped: usize,
    /// Lead before each period.
    leads: Vec<f64>,
    /// Fewest frames before a period.
    lowest: f64,
    speeds: Vec<f64>,
}

impl World {
    fn new(ppm: f64, packet: usize) -> Self {
        let (leads, speeds, lowest) = (Vec::new(), Vec::new(), f64::MAX);
        let playout = Playout::new(PERIOD);
        Self { playout, level: 0.0, ppm, packet, owed: 0.0, dry: 0, skipped: 0, leads, lowest, speeds }
    }

    fn run(&mut self, seconds: usize) -> &mut Self {
        for _ in 0..seconds * 100 {
            self.owed += PERIOD as f64 * (1.0 + self.ppm / 1e6);
            while self.owed >= self.packet as f64 {
                self.owed -= self.packet as f64;
                self.level += self.packet as f64;
            }
            self.period(false);
        }
        self
    }

    fn period(&mut self, held: bool) {
        self.leads.push(lead(self.level as usize, self.owed as usize) as f64);
        let Step::Play { skip, speed } = self.playout.next(self.level as usize, self.owed as usize, held) else {
            return;
        };
        self.skipped += skip;
        self.level -= skip as f64;
        self.lowest = self.lowest.min(self.level);
        self.speeds.push(speed);
        let taken = PERIOD as f64 * speed;
        if self.level < taken {
            self.dry += 1;
            self.playout.ran_dry();
            self.level = 0.0;
        } else {
            self.level -= taken;
        }
    }

    /// The largest distance of a mean over a second from the target, in ms, `from` seconds after the start.
    fn worst_ms(&self, from: usize) -> f64 {
        let means = self.leads[from * 100..].windows(100).map(|second| second.iter().sum::<f64>() / 100.0);
        means.map(|mean| (mean - TARGET as f64).abs() / 48.0).fold(0.0, f64::max)
    }
}

#[test]
fn a_clock_that_is_off_by_1000_ppm_keeps_the_lead_within_10_ms() {
    for ppm in [-1000.0, -100.0, 0.0, 30.0, 1000.0] {
        for packet in [160, 480, 960] {
            let mut world = World::new(ppm, packet);
            world.run(120);
            assert_eq!((world.dry, world.skipped), (0, 0), "{ppm} ppm, packets of {packet}");
            let (worst, settled) = (world.worst_ms(1), world.worst_ms(90));
            assert!(worst < 6.0, "{ppm} ppm, packets of {packet}: {worst:.1} ms");
            assert!(settled < 0.1, "{ppm} ppm, packets of {packet}: {settled:.2} ms after 90 s");
            let speed = world.speeds.last().unwrap();
            assert!((speed - 1.0 - ppm / 1e6).abs() < 1e-5, "{ppm} ppm: {speed}");
            assert!(world.lowest >= 600.0, "{ppm} ppm, packets of {packet}: only {} frames", world.lowest);
        }
    }
}

#[test]
fn the_speed_never_jumps_and_never_leaves_its_limits() {
    let mut world = World::new(1000.0, 960);
    world.run(10);
    // A burst that is short of a backlog, a step of the clock, and a gap.
    world.level += 2000.0;
    world.run(30);
    world.ppm = -1000.0;
    world.run(30);
    world.level = 500.0;
    world.run(30);
    let steps = world.speeds.windows(2).map(|pair| (pair[1] - pair[0]).abs());
    let largest = steps.fold(0.0, f64::max);
    assert!(largest <= SLEW * 0.01 + 1e-12, "{largest}");
    assert!(world.speeds.iter().all(|speed| (speed - 1.0).abs() <= MAX_DEVIATION + 1e-12));
    assert!(world.worst_ms(80) < 10.0, "{:.1} ms", world.worst_ms(80));
}

#[test]
fn a_step_of_the_clock_by_2000_ppm_keeps_the_lead_within_10_ms() {
    let mut world = World::new(-1000.0, 960);
    world.run(60);
    world.ppm = 1000.0;
    world.run(120);
    assert_eq!((world.dry, world.skipped), (0, 0));
    assert!(world.worst_ms(50) < 6.0, "{:.1} ms", world.worst_ms(50));
}

#[test]
fn a_backlog_is_skipped_after_a_second_and_a_short_burst_is_not() {
    let mut world = World::new(0.0, 480);
    world.run(10);
    world.level += 4000.0;
    world.run(3);
    assert!(world.skipped.abs_diff(4000) < 480, "{}", world.skipped);
    assert!(world.leads.last().unwrap() - (TARGET as f64) < 480.0);
    let skipped = world.skipped;
    world.level += 2000.0;
    world.run(20);
    assert_eq!(world.skipped, skipped);
}

#[test]
fn after_it_ran_dry_it_waits_for_the_target_and_keeps_the_speed_it_learned() {
    let mut world = World::new(1000.0, 960);
    world.run(120);
    world.level = 0.0;
    world.period(false);
    assert_eq!(world.dry, 1);
    assert!(!world.playout.is_playing());
    assert_eq!(world.playout.next(TARGET - PERIOD / 2 - 1, 0, false), Step::Wait);
    let Step::Play { skip: 0, speed } = world.playout.next(TARGET - PERIOD / 2, 0, false) else { panic!("it waits") };
    assert!((speed - 1.001).abs() < 1e-4, "{speed}");
}

#[test]
fn a_sound_shorter_than_the_target_is_played_after_80_ms() {
    let mut playout = Playout::new(PERIOD);
    assert_eq!(playout.next(0, 9, false), Step::Wait);
    let waits = (0..100).take_while(|_| playout.next(700, 0, false) == Step::Wait).count();
    assert_eq!(waits, 8);
}

#[test]
fn what_piled_up_while_the_card_was_away_is_skipped_unless_its_job_waits_for_room() {
    assert_eq!(Playout::new(PERIOD).next(8000, 0, false), Step::Play { skip: 8000 - TARGET - BACKLOG, speed: 1.0 });
    assert_eq!(Playout::new(PERIOD).next(8000, 0, true), Step::Play { skip: 0, speed: 1.0 });
}

#[test]
fn a_job_that_waits_for_room_is_played_at_the_cards_own_pace() {
    let mut world = World::new(0.0, 480);
    for _ in 0..60_000 {
        world.level = 8000.0;
        world.period(true);
    }
    assert_eq!((world.skipped, world.dry), (0, 0));
    assert!(world.speeds.iter().all(|speed| *speed == 1.0));
}
