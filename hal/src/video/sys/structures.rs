//! Constants, and the kernel's structures that are plain numbers.

pub const CAP_VIDEO_CAPTURE: u32 = 0x1;
pub const CAP_VIDEO_CAPTURE_MPLANE: u32 = 0x1000;
pub const CAP_VIDEO_M2M_MPLANE: u32 = 0x4000;
pub const CAP_VIDEO_M2M: u32 = 0x8000;
pub const CAP_STREAMING: u32 = 0x0400_0000;
pub const CAP_IO_MC: u32 = 0x2000_0000;
pub const CAP_DEVICE_CAPS: u32 = 0x8000_0000;
pub const CAP_TIME_PER_FRAME: u32 = 0x1000;
pub const MEMORY_MMAP: u32 = 1;
pub const MEMORY_DMABUF: u32 = 4;
pub const FIELD_NONE: u32 = 1;
pub const FMT_FLAG_COMPRESSED: u32 = 0x1;
pub const BUF_FLAG_ERROR: u32 = 0x40;
pub const BUF_FLAG_LAST: u32 = 0x0010_0000;
pub const BUF_FLAG_TIMESTAMP_MASK: u32 = 0xe000;
pub const BUF_FLAG_TIMESTAMP_MONOTONIC: u32 = 0x2000;
pub const BUF_FLAG_TIMESTAMP_COPY: u32 = 0x4000;
pub const BUF_FLAG_TSTAMP_SRC_MASK: u32 = 0x7_0000;
pub const BUF_FLAG_TSTAMP_SRC_SOE: u32 = 0x1_0000;
pub const FRAME_DISCRETE: u32 = 1;
pub const EVENT_SOURCE_CHANGE: u32 = 5;
pub const ENC_CMD_STOP: u32 = 1;
pub const CTRL_FLAG_DISABLED: u32 = 0x1;
pub const CTRL_FLAG_READ_ONLY: u32 = 0x4;
pub const CTRL_FLAG_INACTIVE: u32 = 0x10;
pub const CTRL_FLAG_WRITE_ONLY: u32 = 0x40;
pub const CTRL_FLAG_NEXT_CTRL: u32 = 0x8000_0000;
pub const CTRL_TYPE_INTEGER: u32 = 1;
pub const CTRL_TYPE_BOOLEAN: u32 = 2;
pub const CTRL_TYPE_MENU: u32 = 3;
pub const CTRL_TYPE_BUTTON: u32 = 4;
pub const CTRL_TYPE_INTEGER64: u32 = 5;
pub const CTRL_TYPE_BITMASK: u32 = 8;
pub const CTRL_TYPE_INTEGER_MENU: u32 = 9;

/// `struct v4l2_capability`
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub struct Capability {
    pub driver: [u8; 16],
    pub card: [u8; 32],
    pub bus_info: [u8; 32],
    pub version: u32,
    pub capabilities: u32,
    pub device_caps: u32,
    pub reserved: [u32; 3],
}

/// `struct v4l2_fmtdesc`
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub struct FormatDescription {
    pub index: u32,
    pub kind: u32,
    pub flags: u32,
    pub description: [u8; 32],
    pub pixelformat: u32,
    pub mbus_code: u32,
    pub reserved: [u32; 3],
}

/// `struct v4l2_frmsizeenum`; a discrete size is in the first two numbers of `stepwise`.
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub struct FrameSize {
    pub index: u32,
    pub pixelformat: u32,
    pub kind: u32,
    pub stepwise: SizeSteps,
    pub reserved: [u32; 2],
}

/// `struct v4l2_frmsize_stepwise`
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub struct SizeSteps {
    pub min_width: u32,
    pub max_width: u32,
    pub step_width: u32,
    pub min_height: u32,
    pub max_height: u32,
    pub step_height: u32,
}

/// `struct v4l2_frmivalenum`; a discrete interval is in `min`.
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub struct FrameInterval {
    pub index: u32,
    pub pixelformat: u32,
    pub width: u32,
    pub height: u32,
    pub kind: u32,
    pub min: Fraction,
    pub max: Fraction,
    pub step: Fraction,
    pub reserved: [u32; 2],
}

/// `struct v4l2_fract`
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub struct Fraction {
    pub numerator: u32,
    pub denominator: u32,
}

/// `struct v4l2_streamparm`; both directions have their interval at the same place.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct StreamParameters {
    pub kind: u32,
    pub capability: u32,
    pub mode: u32,
    pub time_per_frame: Fraction,
    pub extended_mode: u32,
    pub buffers: u32,
    rest: [u32; 44],
}

impl StreamParameters {
    /// Of one queue.
    pub fn of(queue: super::Queue) -> Self {
        Self {
            kind: queue.kind(),
            capability: 0,
            mode: 0,
            time_per_frame: Fraction::default(),
            extended_mode: 0,
            buffers: 0,
            rest: [0; 44],
        }
    }
}

/// `struct v4l2_requestbuffers`
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub struct RequestBuffers {
    pub count: u32,
    pub kind: u32,
    pub memory: u32,
    pub capabilities: u32,
    pub flags: u32,
}

/// `struct v4l2_exportbuffer`
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub struct ExportBuffer {
    pub kind: u32,
    pub index: u32,
    pub plane: u32,
    pub flags: u32,
    pub fd: i32,
    pub reserved: [u32; 11],
}

/// `struct v4l2_query_ext_ctrl`
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub struct ControlDescription {
    pub id: u32,
    pub kind: u32,
    pub name: [u8; 32],
    pub minimum: i64,
    pub maximum: i64,
    pub step: u64,
    pub default: i64,
    pub flags: u32,
    pub element_size: u32,
    pub elements: u32,
    pub dimensions_used: u32,
    pub dimensions: [u32; 4],
    pub reserved: [u32; 32],
}

/// `struct v4l2_querymenu`; the name's first eight bytes are the value where the menu is of integers.
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub struct MenuItem {
    pub id: u32,
    pub index: u32,
    pub name: [u8; 32],
    pub reserved: u32,
}

/// `struct v4l2_encoder_cmd`
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub struct EncoderCommand {
    pub command: u32,
    pub flags: u32,
    pub data: [u32; 8],
}

/// `struct v4l2_event_subscription`
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub struct EventSubscription {
    pub kind: u32,
    pub id: u32,
    pub flags: u32,
    pub reserved: [u32; 5],
}

/// `struct v4l2_event`
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub struct Event {
    pub kind: u32,
    pub data: [u64; 8],
    pub pending: u32,
    pub sequence: u32,
    pub seconds: i64,
    pub nanoseconds: i64,
    pub id: u32,
    pub reserved: [u32; 8],
}

/// `struct v4l2_selection`
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub struct Selection {
    pub kind: u32,
    pub target: u32,
    pub flags: u32,
    pub left: i32,
    pub top: i32,
    pub width: u32,
    pub height: u32,
    pub reserved: [u32; 9],
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::mem::offset_of;

    #[test]
    fn fields_are_where_the_kernels_header_has_them() {
        assert_eq!(offset_of!(ControlDescription, minimum), 40);
        assert_eq!(offset_of!(ControlDescription, flags), 72);
        assert_eq!(offset_of!(MenuItem, name), 8);
        assert_eq!(offset_of!(Event, data), 8);
        assert_eq!(offset_of!(Event, pending), 72);
        assert_eq!(offset_of!(Event, seconds), 80);
        assert_eq!(offset_of!(Event, id), 96);
    }
}
