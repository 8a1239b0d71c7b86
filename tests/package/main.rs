//! What is shipped: each target's binary, the packages, and a board with systemd on which one is installed.

mod archive;
mod binaries;
mod board;
mod power_off;
mod systemd;
