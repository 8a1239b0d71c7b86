//! Several controls in one call.

use super::Argument;
use std::io;

/// One number: an integer, a switch, a menu's index. Controls of other types (texts, arrays) answer with ENOSPC or
/// ERANGE.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Control {
    /// `V4L2_CID_*`
    pub id: u32,
    /// Its value; cut to 32 bits unless `wide`.
    pub value: i64,
    /// Of the type INTEGER64.
    pub wide: bool,
}

impl Control {
    /// Of 32 bits, as nearly all are.
    pub fn new(id: u32, value: i32) -> Self {
        Self { id, value: value.into(), wide: false }
    }
}

/// What the extended control calls take and answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Controls {
    /// Which, and their values.
    pub list: Vec<Control>,
    /// After a failure, the place of the one that failed; the list's length where it was none in particular.
    pub failed: usize,
}

/// `struct v4l2_ext_control`, which is packed: its union is not aligned.
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub struct RawControl {
    id: u32,
    size: u32,
    reserved: u32,
    /// Union of `i32`, `i64` and pointers.
    value: [u32; 2],
}

/// `struct v4l2_ext_controls`
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub struct RawControls {
    which: u32,
    count: u32,
    error_index: u32,
    request: i32,
    reserved: u32,
    controls: usize,
}

// SAFETY: `RawControls` is the kernel's structure of all extended control calls. Its pointer leads to `count` entries that
// exist until the call is over. The kernel follows the pointer in an entry only where `size` leaves room for what it leads
// to, and `size` is 0 in all.
unsafe impl Argument for Controls {
    type Raw = RawControls;

    fn with(&mut self, call: impl FnOnce(&mut RawControls) -> io::Result<()>) -> io::Result<()> {
        let mut entries: Vec<RawControl> = self.list.iter().map(entry).collect();
        let mut raw = RawControls {
            count: entries.len() as u32,
            controls: entries.as_mut_ptr().expose_provenance(),
            ..RawControls::default()
        };
        let done = call(&mut raw);
        self.failed = (raw.error_index as usize).min(entries.len());
        for (control, entry) in self.list.iter_mut().zip(&entries) {
            control.value = value_of(entry, control.wide);
        }
        done
    }
}

fn entry(control: &Control) -> RawControl {
    let bytes = if control.wide {
        control.value.to_ne_bytes()
    } else {
        let mut bytes = [0; 8];
        bytes[..4].copy_from_slice(&(control.value as i32).to_ne_bytes());
        bytes
    };
    let [a, b, c, d, e, f, g, h] = bytes;
    let value = [u32::from_ne_bytes([a, b, c, d]), u32::from_ne_bytes([e, f, g, h])];
    RawControl { id: control.id, value, ..RawControl::default() }
}

fn value_of(entry: &RawControl, wide: bool) -> i64 {
    let [first, second] = entry.value;
    if !wide {
        return (first as i32).into();
    }
    let mut bytes = [0; 8];
    bytes[..4].copy_from_slice(&first.to_ne_bytes());
    bytes[4..].copy_from_slice(&second.to_ne_bytes());
    i64::from_ne_bytes(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::mem::offset_of;

    #[test]
    fn fields_are_where_the_kernels_header_has_them() {
        assert_eq!(offset_of!(RawControl, value), 12);
        #[cfg(target_pointer_width = "64")]
        assert_eq!(offset_of!(RawControls, controls), 24);
    }

    #[test]
    fn values_of_both_widths_survive_the_call_and_a_failure_says_which() {
        let list = vec![Control::new(7, -5), Control { id: 8, value: i64::MIN + 3, wide: true }];
        let mut controls = Controls { list: list.clone(), failed: 0 };
        let failed = controls.with(|raw| {
            assert_eq!(raw.count, 2);
            raw.error_index = 1;
            Err(io::Error::from_raw_os_error(libc::ERANGE))
        });
        assert!(failed.is_err());
        assert_eq!((controls.list, controls.failed), (list, 1));
    }
}
