//! How a camera that encodes is asked for a keyframe: by the driver's control for it, or by the extension unit that UVC
//! cameras with H.264 have (USB Device Class Definition for Video Devices: H.264 Payload 1.0).

use super::Handle;
use super::sys::{self, Control, ControlDescription, Controls, ExtensionQuery};
use std::io;

/// `V4L2_CID_MPEG_VIDEO_FORCE_KEY_FRAME`
pub(super) const FORCE_KEY_FRAME: u32 = 0x0099_09e5;

/// The H.264 extension unit, a29e7641-de04-47e3-8b2b-f4341aff003b as it stands in descriptors.
const H264_UNIT: [u8; 16] =
    [0x41, 0x76, 0x9e, 0xa2, 0x04, 0xde, 0xe3, 0x47, 0x8b, 0x2b, 0xf4, 0x34, 0x1a, 0xff, 0x00, 0x3b];

/// `UVCX_PICTURE_TYPE_CONTROL`: the number of a layer and the type of its next picture, 16 bits each.
const PICTURE_TYPE: u8 = 9;
/// The only layer; an IDR picture with new parameter sets.
const IDR_WITH_SETS: [u8; 4] = [0, 0, 2, 0];

/// In the answer to GET_INFO: it can be set.
const SETTABLE: u8 = 2;

/// How to ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Keyframe {
    /// By a control of the node.
    Control,
    /// By the extension unit of this number.
    ExtensionUnit(u8),
}

impl Keyframe {
    /// Looks what the camera has.
    pub(super) fn of(handle: &Handle) -> Option<Self> {
        let mut control = ControlDescription { id: FORCE_KEY_FRAME, ..Default::default() };
        let asked = handle.ioctl(&sys::QUERY_EXT_CTRL, &mut control);
        if asked.is_ok() && control.flags & (sys::CTRL_FLAG_DISABLED | sys::CTRL_FLAG_READ_ONLY) == 0 {
            return Some(Self::Control);
        }
        let (descriptors, interface) = handle.usb_descriptors()?;
        let unit = extension_unit(&descriptors, interface)?;
        let answer = |query, length| {
            let mut query = ExtensionQuery { unit, selector: PICTURE_TYPE, query, data: vec![0; length] };
            handle.ioctl(&sys::UVC_QUERY, &mut query).ok().map(|()| query.data)
        };
        let fits = answer(sys::GET_LEN, 2)? == (IDR_WITH_SETS.len() as u16).to_le_bytes();
        (fits && answer(sys::GET_INFO, 1)?[0] & SETTABLE != 0).then_some(Self::ExtensionUnit(unit))
    }

    /// Makes one of the next pictures a keyframe.
    pub(super) fn force(self, handle: &Handle) -> io::Result<()> {
        match self {
            Self::Control => {
                let list = vec![Control::new(FORCE_KEY_FRAME, 1)];
                handle.ioctl(&sys::S_EXT_CTRLS, &mut Controls { list, failed: 0 })
            }
            Self::ExtensionUnit(unit) => {
                let data = IDR_WITH_SETS.to_vec();
                let mut query = ExtensionQuery { unit, selector: PICTURE_TYPE, query: sys::SET_CUR, data };
                handle.ioctl(&sys::UVC_QUERY, &mut query)
            }
        }
    }
}

/// Descriptor types: INTERFACE, CS_INTERFACE.
const INTERFACE: u8 = 0x04;
const CLASS_INTERFACE: u8 = 0x24;
/// Subtype VC_EXTENSION_UNIT.
const EXTENSION_UNIT: u8 = 0x06;

/// The number of the H.264 extension unit of this interface, by the device's descriptors.
fn extension_unit(descriptors: &[u8], interface: u8) -> Option<u8> {
    let (mut rest, mut current) = (descriptors, None);
    while let [length, kind, ..] = *rest {
        // A descriptor that is shorter than its own head would be read for ever.
        let (descriptor, after) = rest.split_at_checked(usize::from(length)).filter(|_| length >= 2)?;
        match (kind, descriptor) {
            (INTERFACE, [_, _, number, ..]) => current = Some(*number),
            (CLASS_INTERFACE, [_, _, EXTENSION_UNIT, unit, guid @ ..])
                if current == Some(interface) && guid.starts_with(&H264_UNIT) =>
            {
                return Some(*unit);
            }
            _ => {}
        }
        rest = after;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    const OTHER: [u8; 16] = [7; 16];

    /// A device of two functions, each with an extension unit.
    fn device(first: &[u8; 16], second: &[u8; 16]) -> Vec<u8> {
        let unit = |number: u8, guid: &[u8; 16]| [&[24, 0x24, 6, number], &guid[..], &[1, 0, 0, 0]].concat();
        let interface = |number: u8| vec![9, 4, number, 0, 0, 14, 1, 0, 0];
        let head = [18, 1, 0, 2, 0, 0, 0, 64, 0x6d, 4, 0x2d, 8, 0, 0, 0, 0, 0, 1];
        [&head[..], &interface(0), &unit(12, first), &interface(2), &unit(5, second)].concat()
    }

    #[test]
    fn the_unit_of_the_nodes_own_interface_is_found() {
        assert_eq!(extension_unit(&device(&H264_UNIT, &OTHER), 0), Some(12));
        assert_eq!(extension_unit(&device(&H264_UNIT, &OTHER), 2), None);
        assert_eq!(extension_unit(&device(&OTHER, &H264_UNIT), 2), Some(5));
    }

    #[test]
    fn damaged_descriptors_end_the_search() {
        let good = device(&OTHER, &H264_UNIT);
        for cut in 0..good.len() - 4 {
            let mut cut_off = good[..cut].to_vec();
            extension_unit(&cut_off, 2);
            // Lengths of 0 and 1, where the next descriptor would begin.
            cut_off.extend([0, 1, 1]);
            assert_eq!(extension_unit(&cut_off, 2), None);
        }
    }
}
