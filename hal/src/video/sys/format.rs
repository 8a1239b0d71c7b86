//! Picture formats of both APIs as one type.

use super::{Argument, MAX_PLANES, Queue};
use std::io;

/// Lines and bytes of one plane.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PlaneFormat {
    /// Bytes of a line; 0 for compressed data.
    pub stride: u32,
    /// Bytes of the whole plane.
    pub size: u32,
}

/// The format of one queue, as the format calls take and answer it.
#[derive(Clone, Copy, Debug)]
pub struct Format {
    /// Whose.
    pub queue: Queue,
    /// Pixels.
    pub width: u32,
    /// Pixels.
    pub height: u32,
    /// The driver's name of the pixel format.
    pub pixelformat: u32,
    /// Interlacing.
    pub field: u32,
    /// `V4L2_COLORSPACE_*`
    pub colorspace: u32,
    /// `V4L2_YCBCR_ENC_*`
    pub encoding: u32,
    /// `V4L2_QUANTIZATION_*`
    pub quantization: u32,
    /// `V4L2_XFER_FUNC_*`
    pub transfer: u32,
    /// The first [`Format::count`] of them are used.
    pub planes: [PlaneFormat; MAX_PLANES],
    /// Planes.
    pub count: usize,
}

impl Format {
    /// Nothing set but the queue and one plane.
    pub fn of(queue: Queue) -> Self {
        Self {
            queue,
            width: 0,
            height: 0,
            pixelformat: 0,
            field: 0,
            colorspace: 0,
            encoding: 0,
            quantization: 0,
            transfer: 0,
            planes: Default::default(),
            count: 1,
        }
    }

    /// Its planes.
    pub fn planes(&self) -> &[PlaneFormat] {
        &self.planes[..self.count.min(MAX_PLANES)]
    }
}

/// `struct v4l2_format`
#[repr(C)]
pub struct RawFormat {
    kind: u32,
    body: Body,
}

/// Its union: 200 bytes, aligned for the pointers in members that we do not spell out.
#[repr(C)]
#[cfg_attr(target_pointer_width = "64", repr(align(8)))]
#[derive(Clone, Copy)]
union Body {
    picture: RawPicture,
    planes: RawPlanes,
    whole: [u32; 50],
}

/// `struct v4l2_pix_format`
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub struct RawPicture {
    width: u32,
    height: u32,
    pixelformat: u32,
    field: u32,
    bytesperline: u32,
    sizeimage: u32,
    colorspace: u32,
    private: u32,
    flags: u32,
    encoding: u32,
    quantization: u32,
    transfer: u32,
}

/// `V4L2_PIX_FMT_PRIV_MAGIC`: the fields after it count.
const PRIVATE: u32 = 0xfeed_cafe;

/// `struct v4l2_pix_format_mplane`
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub struct RawPlanes {
    width: u32,
    height: u32,
    pixelformat: u32,
    field: u32,
    colorspace: u32,
    planes: [RawPlane; MAX_PLANES],
    count: u8,
    flags: u8,
    encoding: u8,
    quantization: u8,
    transfer: u8,
    reserved: [u8; 7],
}

/// `struct v4l2_plane_pix_format`
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub struct RawPlane {
    sizeimage: u32,
    bytesperline: u32,
    reserved: [u16; 6],
}

// SAFETY: `RawFormat` is the kernel's structure of all format calls; `Queue` names only picture queues, whose members of
// the union hold no pointers.
unsafe impl Argument for Format {
    type Raw = RawFormat;

    fn with(&mut self, call: impl FnOnce(&mut RawFormat) -> io::Result<()>) -> io::Result<()> {
        let mut raw = RawFormat { kind: self.queue.kind(), body: Body { whole: [0; 50] } };
        if self.queue.is_multi_planar() {
            raw.body.planes = self.multi_planar();
        } else {
            raw.body.picture = self.single_planar();
        }
        call(&mut raw)?;
        if self.queue.is_multi_planar() {
            // SAFETY: all 200 bytes are initialised, and every value of the member's numbers is valid.
            self.take_multi_planar(unsafe { &raw.body.planes });
        } else {
            // SAFETY: as above.
            self.take_single_planar(unsafe { &raw.body.picture });
        }
        Ok(())
    }
}

impl Format {
    fn single_planar(&self) -> RawPicture {
        let [PlaneFormat { stride, size }, ..] = self.planes;
        RawPicture {
            width: self.width,
            height: self.height,
            pixelformat: self.pixelformat,
            field: self.field,
            bytesperline: stride,
            sizeimage: size,
            colorspace: self.colorspace,
            private: PRIVATE,
            flags: 0,
            encoding: self.encoding,
            quantization: self.quantization,
            transfer: self.transfer,
        }
    }

    fn take_single_planar(&mut self, raw: &RawPicture) {
        let mut planes = [PlaneFormat::default(); MAX_PLANES];
        planes[0] = PlaneFormat { stride: raw.bytesperline, size: raw.sizeimage };
        *self = Self {
            queue: self.queue,
            width: raw.width,
            height: raw.height,
            pixelformat: raw.pixelformat,
            field: raw.field,
            colorspace: raw.colorspace,
            encoding: raw.encoding,
            quantization: raw.quantization,
            transfer: raw.transfer,
            planes,
            count: 1,
        };
    }

    fn multi_planar(&self) -> RawPlanes {
        RawPlanes {
            width: self.width,
            height: self.height,
            pixelformat: self.pixelformat,
            field: self.field,
            colorspace: self.colorspace,
            planes: self.planes.map(|plane| RawPlane {
                sizeimage: plane.size,
                bytesperline: plane.stride,
                reserved: [0; 6],
            }),
            count: self.count.min(MAX_PLANES) as u8,
            flags: 0,
            encoding: self.encoding as u8,
            quantization: self.quantization as u8,
            transfer: self.transfer as u8,
            reserved: [0; 7],
        }
    }

    fn take_multi_planar(&mut self, raw: &RawPlanes) {
        *self = Self {
            queue: self.queue,
            width: raw.width,
            height: raw.height,
            pixelformat: raw.pixelformat,
            field: raw.field,
            colorspace: raw.colorspace,
            encoding: raw.encoding.into(),
            quantization: raw.quantization.into(),
            transfer: raw.transfer.into(),
            planes: raw.planes.map(|plane| PlaneFormat { stride: plane.bytesperline, size: plane.sizeimage }),
            count: usize::from(raw.count).min(MAX_PLANES),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::mem::offset_of;

    #[test]
    fn fields_are_where_the_kernels_header_has_them() {
        #[cfg(target_pointer_width = "64")]
        assert_eq!(offset_of!(RawFormat, body), 8);
        assert_eq!(offset_of!(RawPlanes, planes), 20);
        assert_eq!(offset_of!(RawPlanes, count), 180);
    }

    #[test]
    fn both_apis_carry_the_same_format_there_and_back() {
        for queue in [Queue::Capture, Queue::OutputPlanes] {
            let mut format = Format::of(queue);
            (format.width, format.height, format.pixelformat) = (640, 360, 0x3231_564e);
            format.quantization = 2;
            format.planes[0] = PlaneFormat { stride: 704, size: 704 * 540 };
            let sent = format;
            let call = |raw: &mut RawFormat| {
                assert_eq!(raw.kind, queue.kind());
                Ok(())
            };
            format.with(call).unwrap();
            assert_eq!(format!("{format:?}"), format!("{sent:?}"));
        }
    }

    #[test]
    fn a_driver_that_answers_with_too_many_planes_is_cut_short() {
        let mut format = Format::of(Queue::CapturePlanes);
        format
            .with(|raw| {
                raw.body.planes.count = 200;
                Ok(())
            })
            .unwrap();
        assert_eq!(format.planes().len(), MAX_PLANES);
    }
}
