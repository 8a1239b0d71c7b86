//! Packets, data and estimates, between str0m's types and ours.

use super::{Arrived, Channel, Outgoing, Peer, PeerEvent, Section};
use super::{MAX_SSRCS, PT_H264, PT_OPUS};
use crate::room::Kind;
use crate::room::rtp::report::Report;
use str0m::bwe::{Bitrate, BweKind};
use str0m::channel::ChannelId;
use str0m::error::SctpError;
use str0m::media::{KeyframeRequestKind, Mid};
use str0m::rtp::{ExtensionValues, RtpPacket, RtpWrite};
use str0m::{Event, IceConnectionState, RtcError};

impl Peer {
    pub(super) fn translate(&mut self, event: Event) -> Option<PeerEvent> {
        match event {
            Event::Connected => {
                self.connected = true;
                Some(PeerEvent::Connected)
            }
            Event::IceConnectionStateChange(state) => {
                self.ice_up = matches!(state, IceConnectionState::Connected | IceConnectionState::Completed);
                None
            }
            Event::Closed => self.closing(),
            Event::KeyframeRequest(r) => Some(PeerEvent::KeyframeNeeded(Section(r.mid))),
            Event::RtpPacket(packet) => self.media(packet),
            Event::ChannelData(data) => {
                let channel = if self.lossy == Some(data.id) { Channel::Lossy } else { Channel::Reliable };
                Some(PeerEvent::Data(channel, data.data))
            }
            Event::EgressBitrateEstimate(BweKind::Twcc { can_probe, .. }) => {
                self.acknowledged = can_probe;
                None
            }
            Event::PeerStats(stats) if self.acknowledged && self.estimating => {
                let bps = stats.bwe_tx?.as_u64();
                Some(PeerEvent::Estimate(u32::try_from(bps).unwrap_or(u32::MAX)))
            }
            _ => None,
        }
    }

    fn media(&mut self, packet: RtpPacket) -> Option<PeerEvent> {
        let ssrc = *packet.header.ssrc;
        self.received = Some(packet.timestamp);
        let mid = match self.ssrcs.get(&ssrc) {
            Some(mid) => *mid,
            None => self.learn(ssrc, &packet)?,
        };
        let report = packet.last_sender_info.map(|s| Report { rtp: s.rtp_time.numer() as u32, at: s.ntp_time });
        let arrived = Arrived {
            ssrc,
            sequence: *packet.seq_no,
            timestamp: packet.time.numer(),
            marker: packet.header.marker,
            payload: packet.payload,
            at: packet.timestamp,
            report,
        };
        Some(PeerEvent::Media(Section(mid), arrived))
    }

    /// A section whose track was replaced gets a new SSRC; the old stream would keep its state for ever.
    fn learn(&mut self, ssrc: u32, packet: &RtpPacket) -> Option<Mid> {
        let mid = self.rtc.direct_api().stream_rx(&packet.header.ssrc)?.mid();
        let former: Vec<u32> = self.ssrcs.iter().filter(|(_, m)| **m == mid).map(|(s, _)| *s).collect();
        for old in former {
            self.ssrcs.remove(&old);
            self.rtc.direct_api().remove_stream_rx(old.into());
        }
        if self.ssrcs.len() >= MAX_SSRCS {
            self.ssrcs.clear();
        }
        self.ssrcs.insert(ssrc, mid);
        Some(mid)
    }

    /// Queues a packet; it leaves with the next [`Peer::timeout`]. Its SSRC; none where the section does not send (yet).
    pub(in crate::room) fn send(&mut self, section: Section, kind: Kind, packet: Outgoing) -> Option<u32> {
        let mut api = self.rtc.direct_api();
        let stream = api.stream_tx_by_mid(section.0, None)?;
        let (pt, nackable) = match kind {
            Kind::Audio => (PT_OPUS, false),
            Kind::Video => (PT_H264, true),
        };
        let mut ext = ExtensionValues::default();
        if let Some(level) = packet.level {
            ext.audio_level = Some(-i8::try_from(level.min(127)).unwrap_or(127));
            ext.voice_activity = Some(false);
        }
        let write = RtpWrite::new(pt.into(), packet.sequence.into(), packet.timestamp, packet.captured, packet.payload);
        stream.write_rtp(write.marker(packet.marker).nackable(nackable).ext_vals(ext));
        Some(*stream.ssrc())
    }

    /// Asks the sender of this stream for a keyframe.
    pub(in crate::room) fn request_keyframe(&mut self, ssrc: u32) {
        if let Some(stream) = self.rtc.direct_api().stream_rx(&ssrc.into()) {
            stream.request_keyframe(KeyframeRequestKind::Pli);
        }
    }

    /// Writes to a channel. False when it is not open or has `limit` bytes to deliver already. What it can never take is
    /// dropped: waiting would hold up everything behind it.
    pub(in crate::room) fn write(&mut self, channel: Channel, limit: usize, data: &[u8]) -> bool {
        let Some(mut channel) = self.channel(channel) else { return false };
        if channel.buffered_amount() >= limit {
            return false;
        }
        match channel.write(true, data) {
            Ok(accepted) => accepted,
            Err(RtcError::Sctp(SctpError::WriteBeforeEstablished)) => false,
            Err(error) => {
                tracing::warn!(%error, bytes = data.len(), "data packet dropped");
                true
            }
        }
    }

    /// Bytes that the other side has neither acknowledged yet nor, being lossy, lost.
    pub(in crate::room) fn undelivered(&mut self) -> usize {
        let buffered = |channel| self.channel(channel).map_or(0, |mut channel| channel.buffered_amount());
        [Channel::Reliable, Channel::Lossy].map(buffered).into_iter().sum()
    }

    fn channel(&mut self, channel: Channel) -> Option<str0m::channel::Channel<'_>> {
        let id = match channel {
            Channel::Reliable => self.reliable,
            Channel::Lossy => self.lossy,
        };
        id.and_then(|id| self.rtc.channel(id))
    }

    /// SCTP stream ids of the open channels with their labels, for SyncState.
    pub(in crate::room) fn channel_ids(&mut self) -> Vec<(&'static str, u32)> {
        let api = self.rtc.direct_api();
        let id = |c: Option<ChannelId>| c.and_then(|c| api.sctp_stream_id_by_channel_id(c)).map(u32::from);
        [("_reliable", id(self.reliable)), ("_lossy", id(self.lossy))]
            .into_iter()
            .filter_map(|(label, id)| Some((label, id?)))
            .collect()
    }

    /// What was learnt of the path does not count, because it is another or has changed.
    pub(in crate::room) fn reset_bandwidth(&mut self, estimate: u32) {
        self.rtc.bwe().reset(Bitrate::from(u64::from(estimate)));
    }

    /// What congestion control shall hold at least (by padding) and look for at most, bit/s.
    pub(in crate::room) fn set_bandwidth(&mut self, minimum: u32, desired: u32) {
        self.estimating = desired > 0;
        self.rtc.bwe().set_bitrate(Bitrate::from(u64::from(minimum)), Bitrate::from(u64::from(desired)));
    }
}
