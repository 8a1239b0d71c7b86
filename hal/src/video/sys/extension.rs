//! A control of a UVC camera's extension unit, of which uvcvideo knows nothing: linux/uvcvideo.h.

use super::Argument;
use std::io;

/// `UVC_SET_CUR`
pub const SET_CUR: u8 = 0x01;
/// `UVC_GET_LEN`
pub const GET_LEN: u8 = 0x85;
/// `UVC_GET_INFO`
pub const GET_INFO: u8 = 0x86;

/// What is asked of a unit, and its answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExtensionQuery {
    /// `bUnitID`
    pub unit: u8,
    /// Which control.
    pub selector: u8,
    /// [`SET_CUR`], [`GET_LEN`], [`GET_INFO`].
    pub query: u8,
    /// Goes in, comes out; as long as the control is.
    pub data: Vec<u8>,
}

/// `struct uvc_xu_control_query`
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub struct RawQuery {
    unit: u8,
    selector: u8,
    query: u8,
    size: u16,
    data: usize,
}

// SAFETY: `RawQuery` is the kernel's structure of its one call. Its pointer leads to `size` bytes that exist until the call
// is over.
unsafe impl Argument for ExtensionQuery {
    type Raw = RawQuery;

    fn with(&mut self, call: impl FnOnce(&mut RawQuery) -> io::Result<()>) -> io::Result<()> {
        let size = u16::try_from(self.data.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
        let (unit, selector, query) = (self.unit, self.selector, self.query);
        let data = self.data.as_mut_ptr().expose_provenance();
        call(&mut RawQuery { unit, selector, query, size, data })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::mem::offset_of;

    #[test]
    fn fields_are_where_the_kernels_header_has_them() {
        assert_eq!((offset_of!(RawQuery, query), offset_of!(RawQuery, size), offset_of!(RawQuery, data)), (2, 4, 8));
    }
}
