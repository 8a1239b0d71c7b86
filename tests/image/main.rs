//! Images as they are flashed: what is in them, and that each board starts from its card through U-Boot, on an emulated
//! board.

mod contents;
mod raspberry;
mod rpi_os;
mod rule;
mod virt;
