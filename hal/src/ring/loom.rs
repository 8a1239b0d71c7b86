//! The protocol under every order of memory operations that loom can find within its bound.

use super::Layout;
use super::protocol::{AtomicU32, AtomicUsize, Consumer, DESCRIPTOR_WORDS, HEADER_WORDS, Producer, Taken, Words};
use ::loom::sync::Arc;
use ::loom::{model::Builder, thread};

const LAYOUT: Layout = Layout { slots: 2, arena: 16 };

struct Memory {
    header: Vec<AtomicU32>,
    descriptors: Vec<AtomicU32>,
    arena: Vec<AtomicUsize>,
}

impl Memory {
    fn new(layout: Layout) -> Self {
        let words = |count| (0..count).map(|_| AtomicU32::new(0)).collect();
        Self {
            header: words(HEADER_WORDS),
            descriptors: words(layout.slots as usize * DESCRIPTOR_WORDS),
            arena: (0..layout.arena as usize / size_of::<usize>()).map(|_| AtomicUsize::new(0)).collect(),
        }
    }

    fn words(&self) -> Words<'_> {
        Words { header: &self.header, descriptors: &self.descriptors, arena: &self.arena }
    }
}

fn explore(units: u32, bytes: usize, turns: usize) {
    let mut model = Builder::new();
    model.preemption_bound = Some(3);
    model.check(move || {
        let memory = Arc::new(Memory::new(LAYOUT));
        let mut consumer = Consumer::new(LAYOUT, memory.words());
        let shared = memory.clone();
        let writer = thread::spawn(move || {
            let mut producer = Producer::new(LAYOUT);
            for n in 1..=units {
                producer.push(shared.words(), &[n; 1], &vec![n as u8; bytes]);
            }
        });
        let mut seen = 0;
        let mut buffer = Vec::new();
        for _ in 0..turns {
            match consumer.next(memory.words(), &mut buffer) {
                Taken::Unit([n]) => {
                    assert!(n > seen, "units come in order");
                    assert_eq!(buffer, vec![n as u8; bytes], "a unit is whole");
                    seen = n;
                }
                Taken::Lapped(skipped) => seen += skipped as u32,
                Taken::Empty => {}
            }
        }
        writer.join().unwrap();
    });
}

#[test]
fn a_reader_gets_whole_units_while_their_slots_are_taken() {
    explore(3, 8, 2);
}

#[test]
fn a_reader_gets_whole_units_while_their_bytes_are_taken() {
    explore(2, 16, 2);
}
