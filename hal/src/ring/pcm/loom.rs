//! The PCM ring under every order of memory operations that loom can find within its bound.

use super::frames::{AtomicU32, Consumer, HEADER_WORDS, Producer, Words};
use ::loom::sync::Arc;
use ::loom::{model::Builder, thread};

const FRAMES: usize = 2;

struct Memory {
    header: Vec<AtomicU32>,
    frames: Vec<AtomicU32>,
}

impl Memory {
    fn words(&self) -> Words<'_> {
        Words { header: &self.header, frames: &self.frames }
    }
}

#[test]
fn frames_come_whole_in_order_and_none_is_lost() {
    let mut model = Builder::new();
    model.preemption_bound = Some(3);
    model.check(|| {
        let words = |count| (0..count).map(|_| AtomicU32::new(0)).collect();
        let memory = Arc::new(Memory { header: words(HEADER_WORDS), frames: words(FRAMES) });
        let shared = memory.clone();
        let writer = thread::spawn(move || {
            let mut producer = Producer::default();
            let mut next = 1;
            for _ in 0..3 {
                // The ring is full in some orders: then the frame is written in the next turn.
                next += producer.write(shared.words(), 0, &[[next, -next]]) as i16;
            }
            next - 1
        });
        let mut consumer = Consumer::default();
        let mut seen = 0;
        let mut take = |consumer: &mut Consumer| {
            let mut frames = [[0; 2]; FRAMES];
            let count = consumer.read(memory.words(), &mut frames).unwrap();
            for frame in &frames[..count] {
                seen += 1;
                assert_eq!(*frame, [seen, -seen]);
            }
            seen
        };
        take(&mut consumer);
        take(&mut consumer);
        let written = writer.join().unwrap();
        assert_eq!(take(&mut consumer), written);
    });
}

#[test]
fn what_comes_after_a_clear_is_never_thrown_away_by_it() {
    let mut model = Builder::new();
    model.preemption_bound = Some(3);
    model.check(|| {
        let words = |count| (0..count).map(|_| AtomicU32::new(0)).collect();
        let memory = Arc::new(Memory { header: words(HEADER_WORDS), frames: words(FRAMES) });
        let shared = memory.clone();
        let writer = thread::spawn(move || {
            let mut producer = Producer::default();
            assert_eq!(producer.write(shared.words(), 0, &[[1, 1]]), 1);
            producer.clear(shared.words());
            assert_eq!(producer.write(shared.words(), 0, &[[2, 2]]), 1);
        });
        let mut consumer = Consumer::default();
        let mut take = || {
            let mut frames = [[0; 2]; FRAMES];
            let count = consumer.read(memory.words(), &mut frames).unwrap();
            frames[..count].to_vec()
        };
        let early = take();
        writer.join().unwrap();
        let late = take();
        // Unless it was read before, the first is thrown away; the second is read, once.
        let (first, second) = ([[1, 1]], [[2, 2]]);
        match &early[..] {
            [] => assert_eq!(late, second),
            early if early == first => assert_eq!(late, second),
            early => assert!(early == second && late.is_empty(), "{early:?} then {late:?}"),
        }
    });
}
