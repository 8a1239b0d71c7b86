//! Pages of the program in this process.

use std::fs;
use std::io;
use std::ops::Range;

/// Takes the code of the program and its libraries out of this process: most of it was needed once, and the kernel brings in
/// sixteen pages around each that is. What runs again comes back from the page cache, by a fault without input or output.
pub fn let_go_of_code() -> io::Result<()> {
    let maps = fs::read_to_string("/proc/self/maps")?;
    for code in maps.lines().filter_map(code) {
        // SAFETY: the range is a mapping of a file that cannot be written to, so that each of its pages can be read anew from
        // that file; none holds relocations, which programs for these targets have in data alone.
        if unsafe { libc::madvise(code.start as *mut libc::c_void, code.len(), libc::MADV_DONTNEED) } != 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}

/// Where a line of `maps` has code of a file (proc_pid_maps(5)); the kernel's own, as the vdso, has no inode.
fn code(line: &str) -> Option<Range<usize>> {
    let mut fields = line.split_ascii_whitespace();
    let (start, end) = fields.next()?.split_once('-')?;
    let (permissions, inode) = (fields.next()?, fields.nth(2)?);
    let address = |text| usize::from_str_radix(text, 16).ok();
    (permissions == "r-xp" && inode != "0").then_some(address(start)?..address(end)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// KiB of code that this process has mapped in.
    fn resident() -> u64 {
        let smaps = fs::read_to_string("/proc/self/smaps").unwrap();
        let mut of_code = false;
        let mut sum = 0;
        for line in smaps.lines() {
            match line.strip_prefix("Rss:") {
                Some(size) if of_code => sum += size.trim_end_matches("kB").trim().parse::<u64>().unwrap(),
                Some(_) => {}
                None if line.contains('-') => of_code = code(line).is_some(),
                None => {}
            }
        }
        sum
    }

    #[test]
    fn code_that_was_let_go_of_is_gone_until_it_runs_again() {
        let before = resident();
        let_go_of_code().unwrap();
        let after = resident();
        assert!(after < before, "{after} of {before} kB");
    }

    #[test]
    fn only_what_is_read_from_a_file_and_never_written_is_code() {
        let line = |permissions, inode| format!("7f00-8000 {permissions} 00001000 fd:00 {inode}    /usr/bin/worker");
        assert_eq!(code(&line("r-xp", "17")), Some(0x7f00..0x8000));
        for (permissions, inode) in [("r-xp", "0"), ("rwxp", "17"), ("r--p", "17"), ("r-xs", "17")] {
            assert_eq!(code(&line(permissions, inode)), None, "{permissions} {inode}");
        }
    }
}
