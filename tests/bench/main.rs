//! The numbers of SPECIFICATION.md, measured on this machine against a real server and printed as a table.
//!
//! `bench [--quick] [WORD...]`: only rows whose title contains a word; `--quick` repeats less often, to try a change.
//! The worker is the release build named by `FIRMWARE_WORKER`.

mod cpu;
mod devices;
mod encode;
mod ends;
mod memory;
mod picture;
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
    if let Some(unknown) = options.iter().find(|option| *option != "--quick") {
        eprintln!("bench: unknown option {unknown}; there is --quick");
        return ExitCode::from(2);
    }
    let repeats = if options.is_empty() { FULL } else { QUICK };
    let wanted = |title: &str| words.is_empty() || words.iter().any(|word| title.contains(word));
    let chosen: Vec<_> = benches().into_iter().filter(|bench| bench.rows.iter().any(|title| wanted(title))).collect();
    if chosen.is_empty() {
        let titles: Vec<_> = benches().iter().flat_map(|bench| bench.rows).copied().collect();
        eprintln!("bench: no title contains {}; there are:\n  {}", words.join(" or "), titles.join("\n  "));
        return ExitCode::from(2);
    }
    let rows: Vec<_> = chosen.iter().flat_map(|bench| measure(bench, repeats)).collect();
    table::print(&rows);
    if rows.iter().all(Row::met) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Its rows; what goes wrong in one must not cost the others.
fn measure(bench: &Bench, repeats: Repeats) -> Vec<Row> {
    eprintln!("measuring: {}", bench.rows.join("; "));
    std::panic::catch_unwind(|| (bench.measure)(repeats))
        .unwrap_or_else(|_| bench.rows.iter().map(|title| Row::not_measured(title)).collect())
}

fn benches() -> Vec<Bench> {
    [
        memory::benches(),
        cpu::benches(),
        encode::benches(),
        picture::benches(),
        start::benches(),
        ends::benches(),
        devices::benches(),
    ]
    .into_iter()
    .flatten()
    .collect()
}
