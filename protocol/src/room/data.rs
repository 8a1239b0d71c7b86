//! Data packets: bounded queues in front of the two channels, sequence numbers, replay after a resume.

use super::Data;
use super::peer::{Channel, Peer, SCTP_BUFFER};
use super::signal::lk;
use prost::Message;
use std::collections::{HashMap, VecDeque};

/// Bytes of one payload: a packet with room for addresses and topic.
const MAX_PAYLOAD: usize = 60_000;
/// Bytes of one packet with its addresses and topic: what every LiveKit client accepts.
const MAX_PACKET: usize = 64_000;
/// Bytes waiting in front of the reliable channel; more are refused.
const RELIABLE_QUEUE: usize = 256 * 1024;
/// Bytes waiting in front of the lossy channel; more are refused.
const LOSSY_QUEUE: usize = 64 * 1024;
/// Bytes inside SCTP at which a channel takes no further packet. Reliable data fill a fast path with it; lossy data
/// shall not get old there.
const RELIABLE_BUFFERED: usize = 64 * 1024;
const LOSSY_BUFFERED: usize = 16 * 1024;
/// A reliable burst must not starve lossy data, nor the other way round.
const _: () = assert!(RELIABLE_BUFFERED + LOSSY_BUFFERED + 2 * MAX_PACKET <= SCTP_BUFFER);
/// Bytes of sent reliable packets kept for replay. A resume takes a second or two.
const REPLAY: usize = 256 * 1024;
/// Senders whose last sequence number is remembered; beyond it all are forgotten, and a replayed packet may be told
/// twice.
const MAX_SENDERS: usize = 2000;

/// Data of one room.
#[derive(Debug, Default)]
pub(super) struct DataQueues {
    reliable: Queue,
    lossy: Queue,
    sequence: u32,
    sent: VecDeque<(u32, Vec<u8>)>,
    sent_bytes: usize,
    received: HashMap<String, u32>,
}

#[derive(Debug, Default)]
struct Queue {
    packets: VecDeque<(u32, Vec<u8>)>,
    bytes: usize,
}

impl DataQueues {
    /// Queues a packet, or says why not.
    pub(super) fn push(&mut self, data: Data) -> Result<(), String> {
        if data.payload.len() > MAX_PAYLOAD {
            return Err(format!("{} bytes, at most {MAX_PAYLOAD} fit a packet", data.payload.len()));
        }
        let reliable = data.reliable;
        let (queue, limit) =
            if reliable { (&mut self.reliable, RELIABLE_QUEUE) } else { (&mut self.lossy, LOSSY_QUEUE) };
        if queue.bytes + data.payload.len() > limit {
            return Err(format!("{limit} bytes are waiting already"));
        }
        let sequence = if reliable { self.sequence.wrapping_add(1).max(1) } else { 0 };
        let packet = encode(data, sequence);
        if packet.len() > MAX_PACKET {
            return Err(format!("{} bytes with topic and receivers, at most {MAX_PACKET} fit a packet", packet.len()));
        }
        if reliable {
            self.sequence = sequence;
        }
        queue.bytes += packet.len();
        queue.packets.push_back((sequence, packet));
        Ok(())
    }

    /// Something waits for its channel.
    pub(super) fn waiting(&self) -> bool {
        !(self.lossy.packets.is_empty() && self.reliable.packets.is_empty())
    }

    /// Hands over to the channels what they take. To be called after every input: no event of SCTP says that a channel
    /// which was not full takes more.
    pub(super) fn flush(&mut self, peer: &mut Peer) {
        while let Some((_, packet)) = self.lossy.packets.front() {
            if !peer.write(Channel::Lossy, LOSSY_BUFFERED, packet) {
                break;
            }
            self.lossy.pop();
        }
        while let Some((_, packet)) = self.reliable.packets.front() {
            if !peer.write(Channel::Reliable, RELIABLE_BUFFERED, packet) {
                break;
            }
            if let Some((sequence, packet)) = self.reliable.pop() {
                self.keep(sequence, packet);
            }
        }
    }

    fn keep(&mut self, sequence: u32, packet: Vec<u8>) {
        self.sent_bytes += packet.len();
        self.sent.push_back((sequence, packet));
        while self.sent_bytes > REPLAY {
            let Some((_, old)) = self.sent.pop_front() else { break };
            self.sent_bytes -= old.len();
        }
    }

    /// The server got everything up to `last`: the rest is sent again, before what is waiting.
    pub(super) fn replay(&mut self, last: u32) {
        while let Some((sequence, packet)) = self.sent.pop_back() {
            self.sent_bytes -= packet.len();
            if sequence > last {
                self.reliable.bytes += packet.len();
                self.reliable.packets.push_front((sequence, packet));
            }
        }
    }

    /// A new session: nothing sent before can be missing in it.
    pub(super) fn rejoin(&mut self) {
        self.sent.clear();
        self.sent_bytes = 0;
        self.received.clear();
    }

    /// Last sequence numbers by sender sid, for SyncState.
    pub(super) fn receive_states(&self) -> Vec<lk::DataChannelReceiveState> {
        let state =
            |(sid, last): (&String, &u32)| lk::DataChannelReceiveState { publisher_sid: sid.clone(), last_seq: *last };
        self.received.iter().map(state).collect()
    }

    /// Decodes a received packet; `None` for repeated ones and those that are not user data.
    pub(super) fn receive(&mut self, channel: Channel, bytes: &[u8]) -> Option<Data> {
        let packet = lk::DataPacket::decode(bytes).ok()?;
        if packet.sequence > 0 && !packet.participant_sid.is_empty() {
            if self.received.len() >= MAX_SENDERS {
                self.received.clear();
            }
            let last = self.received.entry(packet.participant_sid).or_default();
            if packet.sequence <= *last {
                return None;
            }
            *last = packet.sequence;
        }
        let Some(lk::data_packet::Value::User(user)) = packet.value else { return None };
        Some(Data {
            payload: user.payload,
            topic: user.topic.unwrap_or_default(),
            reliable: channel == Channel::Reliable,
            to: Vec::new(),
            from: packet.participant_identity,
        })
    }
}

impl Queue {
    fn pop(&mut self) -> Option<(u32, Vec<u8>)> {
        let (sequence, packet) = self.packets.pop_front()?;
        self.bytes -= packet.len();
        Some((sequence, packet))
    }
}

fn encode(data: Data, sequence: u32) -> Vec<u8> {
    let user = lk::UserPacket {
        payload: data.payload,
        topic: (!data.topic.is_empty()).then_some(data.topic),
        ..Default::default()
    };
    lk::DataPacket {
        destination_identities: data.to,
        sequence,
        value: Some(lk::data_packet::Value::User(user)),
        ..Default::default()
    }
    .encode_to_vec()
}
