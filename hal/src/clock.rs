//! Whether the kernel's wall clock follows a better one.

/// False while no time service has set it since the start of the board; `None` where the kernel does not tell.
pub fn synchronised() -> Option<bool> {
    // SAFETY: all-zero is a valid timex; with `modes` zero the kernel only fills it.
    let mut state: libc::timex = unsafe { std::mem::zeroed() };
    // SAFETY: the kernel writes one timex to the place it is given.
    let result = unsafe { libc::adjtimex(&mut state) };
    (result >= 0).then_some(result != libc::TIME_ERROR && state.status & libc::STA_UNSYNC == 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_tells_of_its_clock_without_privileges() {
        assert!(synchronised().is_some());
    }
}
