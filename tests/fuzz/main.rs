//! Damaged input: for both machines what a server, a network or an attacker can send, and what devices hand over, changed at
//! random. Nothing may panic, and time must always go on.
//!
//! The seed of a run is printed; `FUZZ_SEED` repeats it, `FUZZ_COUNT` says how many inputs (`tools/test soak fuzz` takes
//! many).

mod device;
mod h264;
mod mutate;
mod ring;
mod room;
mod worker;

/// Inputs in an ordinary run of one target: a few seconds in a debug build.
const COUNT: u64 = 20_000;

/// How many inputs this run takes.
fn count() -> u64 {
    number("FUZZ_COUNT").unwrap_or(COUNT)
}

/// A generator whose seed is in the test's output.
fn random(target: &str) -> mutate::Random {
    let seed = number("FUZZ_SEED").unwrap_or_else(|| u64::from(std::process::id()) << 16);
    println!("{target}: FUZZ_SEED={seed} FUZZ_COUNT={}", count());
    mutate::Random::new(seed)
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}
