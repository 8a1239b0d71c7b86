//! The numbers of SPECIFICATION.md, measured on this machine against a real server and printed as a table.
//!
//! `bench [--quick] [WORD...]`: only rows whose title contains a word; `--quick` repeats less often, to try a change.
//! The worker is the release build named by `FIRMWARE_WORKER`.

mod cpu;
mod ends;
mod memory;
mod start;
mod table;

use std::process::ExitCode;
use table::{Bench, Row};

/// How often a timing is taken.
#[derive(Clone, Copy, Debug)]
pub struct Repeats {
    timings: usize,
    kills: usize,
    cold_starts: usize,
}

const FULL: Repeats = Repeats { timings: 30, kills: 20, cold_starts: 10 };
const QUICK: Repeats = Repeats { timings: 5, kills: 4, cold_starts: 2 };

fn main() -> ExitCode {
    let (options, words): (Vec<_>, Vec<_>) = std::env::args().skip(1).partition(|argument| argument.starts_with("--"));
    let repeats = if options.iter().any(|option| option == "--quick") { QUICK } else { FULL };
    let mut rows = Vec::new();
    for bench in benches() {
        let wanted = words.is_empty() || bench.rows.iter().any(|title| words.iter().any(|word| title.contains(word)));
        if wanted {
            eprintln!("measuring: {}", bench.rows.join("; "));
            rows.extend((bench.measure)(repeats));
        }
    }
    table::print(&rows);
    if rows.iter().all(Row::met) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn benches() -> Vec<Bench> {
    [memory::benches(), cpu::benches(), start::benches(), ends::benches()].into_iter().flatten().collect()
}
