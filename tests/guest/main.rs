//! Tests of the arm64 release binary on an emulated board with real kernel drivers, against a server on the host.

mod board;
mod clock;
mod command;
mod devices;
mod limits;
mod loopback;
mod media;
mod numbers;
mod replugs;
mod sandbox;
mod speaker;
mod starved;
