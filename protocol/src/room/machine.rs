//! The room's states and their transitions.

use super::{Command, Config, Frame, LocalAddress, Output, Proto, SignalError, Stats, TrackId};
use std::net::SocketAddr;
use std::time::Instant;

/// One room: signalling and one peer connection.
#[derive(Debug)]
pub struct Room {}

#[allow(unused_variables, clippy::todo, missing_docs)]
impl Room {
    /// Starts to join; the first output is `Connect`.
    pub fn new(config: Config, addresses: &[LocalAddress], now: Instant) -> Self {
        todo!()
    }
    /// The signal socket is open.
    pub fn signal_open(&mut self, now: Instant) {
        todo!()
    }
    /// A binary frame (protobuf `SignalResponse`). Malformed ones are counted and ignored.
    pub fn signal_message(&mut self, frame: &[u8], now: Instant) {
        todo!()
    }
    /// The signal socket could not be opened or is gone.
    pub fn signal_closed(&mut self, why: SignalError, now: Instant) {
        todo!()
    }
    /// A packet came. TCP packets come without their length prefix.
    pub fn packet(&mut self, proto: Proto, source: SocketAddr, destination: SocketAddr, payload: &[u8], now: Instant) {
        todo!()
    }
    /// The stream asked for by `OpenTcp` is open from `local`.
    pub fn tcp_open(&mut self, local: SocketAddr, remote: SocketAddr, now: Instant) {
        todo!()
    }
    /// It failed or closed.
    pub fn tcp_closed(&mut self, remote: SocketAddr, now: Instant) {
        todo!()
    }
    /// The board's addresses changed: new UDP sockets were bound.
    pub fn addresses(&mut self, addresses: &[LocalAddress], now: Instant) {
        todo!()
    }
    /// A command of the job.
    pub fn command(&mut self, command: Command, now: Instant) {
        todo!()
    }
    /// Sends one frame. Before the connection stands, or while muted, it is dropped and counted.
    pub fn write(&mut self, track: &TrackId, frame: Frame<'_>, now: Instant) {
        todo!()
    }
    /// A deadline passed.
    pub fn timeout(&mut self, now: Instant) {
        todo!()
    }
    /// Next output.
    pub fn poll(&mut self) -> Option<Output> {
        todo!()
    }
    /// When `timeout` must be called.
    pub fn deadline(&self) -> Option<Instant> {
        todo!()
    }
    /// Counters.
    pub fn stats(&self) -> Stats {
        todo!()
    }
}
