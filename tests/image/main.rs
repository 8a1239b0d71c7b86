//! Images as they are flashed: each board starts from its card through U-Boot, on an emulated board.

mod rule;
mod virt;
