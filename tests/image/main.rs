//! Images as they are flashed: what is in them, and that each board starts from its card through U-Boot, on an emulated
//! board.

mod contents;
mod hang;
mod raspberry;
mod recording;
mod rpi_os;
mod rule;
mod stuck;
mod update;
mod virt;
mod warnings;
mod wifi;

/// Where images/build/disk.sh puts the kernels and roots of the two slots, and the data partition behind them, bytes.
const KERNELS: [u64; 2] = [53 << 20, 183 << 20];
const ROOTS: [u64; 2] = [86 << 20, 216 << 20];
const DATA: u64 = 312 << 20;
