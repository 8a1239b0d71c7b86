//! Offers, answers and candidates.

use super::{AnswerError, Changes, Offer, Peer, RemoteCandidate, Section};
use super::{MAX_CANDIDATES, RTX_AGE, RTX_PACKETS, RTX_SHARE};
use crate::room::{Kind, LocalAddress, Proto};
use std::net::SocketAddr;
use str0m::Candidate;
use str0m::change::{SdpAnswer, SdpApi};
use str0m::channel::{ChannelConfig, Reliability};
use str0m::media::{Direction, MediaKind, Mid};
use str0m::net::{Protocol, TcpType};

impl Peer {
    /// Offers these sockets as host candidates; ones already known are ignored.
    pub(in crate::room) fn add_addresses(&mut self, addresses: &[LocalAddress]) {
        for a in addresses {
            match Candidate::host(SocketAddr::new(a.ip, a.port), "udp") {
                Ok(c) => drop(self.rtc.add_local_candidate(c)),
                Err(error) => tracing::debug!(address = %a.ip, %error, "not a usable local candidate"),
            }
        }
    }

    /// Makes the next offer. An earlier one without an answer is forgotten.
    pub(in crate::room) fn offer(&mut self, changes: &Changes<'_>) -> Offer {
        let (idle, repeat) = (self.idle_sections(), self.receiving.first().copied());
        let first = self.reliable.is_none();
        let mut api = self.rtc.sdp_api();
        if first {
            self.reliable = Some(api.add_channel_with_config(channel("_reliable", true)));
            self.lossy = Some(api.add_channel_with_config(channel("_lossy", false)));
        }
        for section in &changes.stop {
            api.set_direction(section.0, Direction::Inactive);
        }
        for mid in idle {
            api.set_direction(mid, Direction::RecvOnly);
        }
        let sections = changes.send.iter().map(|(kind, cid)| add_sender(&mut api, *kind, cid)).collect();
        let wanted = [(MediaKind::Audio, changes.receive_audio), (MediaKind::Video, changes.receive_video)];
        for (kind, count) in wanted {
            for _ in 0..count {
                self.receiving.push(api.add_media(kind, Direction::RecvOnly, None, None, None));
            }
        }
        if changes.ice_restart {
            api.ice_restart(true);
        }
        // "Offer again" is a request of the server of its own, but str0m offers nothing without a change.
        if let Some(mid) = repeat.filter(|_| !api.has_changes()) {
            api.set_direction(mid, Direction::Inactive);
            api.set_direction(mid, Direction::RecvOnly);
        } else if !api.has_changes() {
            self.receiving.push(api.add_media(MediaKind::Audio, Direction::RecvOnly, None, None, None));
        }
        let (offer, pending) = api.apply().expect("each of the changes above needs an offer");
        self.pending = Some(pending);
        if changes.ice_restart {
            // The server's candidates come again under new credentials.
            self.candidates.clear();
            self.tcp.clear();
        }
        Offer { sdp: offer.to_sdp_string(), sections }
    }

    /// Sections that an answer turned inactive: the next offer must say again that they receive.
    fn idle_sections(&self) -> Vec<Mid> {
        let idle = |mid: &&Mid| self.rtc.media(**mid).is_some_and(|m| m.direction() == Direction::Inactive);
        self.receiving.iter().filter(idle).copied().collect()
    }

    /// Applies the server's answer to the last offer.
    pub(in crate::room) fn answer(&mut self, sdp: &str) -> Result<(), AnswerError> {
        let answer = SdpAnswer::from_sdp_string(sdp).map_err(|e| AnswerError::Malformed(e.to_string()))?;
        let pending = self.pending.take().ok_or(AnswerError::Unexpected)?;
        self.rtc.sdp_api().accept_answer(pending, answer).map_err(|e| AnswerError::Refused(e.to_string()))
    }

    /// Sets up resends for a section that sends video; once, after its answer.
    pub(in crate::room) fn prepare_video(&mut self, section: Section) {
        if let Some(stream) = self.rtc.direct_api().stream_tx_by_mid(section.0, None) {
            stream.set_rtx_cache(RTX_PACKETS, RTX_AGE, Some(RTX_SHARE));
        }
    }

    /// A candidate line of the server. A passive TCP one is returned for the caller to connect to; others are used.
    pub(in crate::room) fn remote_candidate(&mut self, line: &str) -> Option<RemoteCandidate> {
        let line = line.strip_prefix("a=").unwrap_or(line);
        // Component 2 would be RTCP, which is multiplexed.
        if line.split_ascii_whitespace().nth(1) != Some("1") || self.candidates.len() >= MAX_CANDIDATES {
            return None;
        }
        let candidate = Candidate::from_sdp_string(line).ok()?;
        let proto = match candidate.proto() {
            Protocol::Udp => Proto::Udp,
            Protocol::Tcp if candidate.tcptype() == Some(TcpType::Passive) => Proto::Tcp,
            _ => return None,
        };
        if !self.candidates.insert((proto, candidate.addr())) {
            return None;
        }
        match proto {
            Proto::Udp => {
                self.rtc.add_remote_candidate(candidate);
                Some(RemoteCandidate::Udp)
            }
            Proto::Tcp => {
                let address = candidate.addr();
                self.tcp.push((address, candidate));
                Some(RemoteCandidate::Tcp(address))
            }
        }
    }

    /// The stream to a passive candidate is open.
    pub(in crate::room) fn tcp_open(&mut self, local: SocketAddr, remote: SocketAddr) {
        let Some(index) = self.tcp.iter().position(|(a, _)| *a == remote) else { return };
        let (_, candidate) = self.tcp.swap_remove(index);
        match Candidate::builder().tcp().host(local).tcptype(TcpType::Active).build() {
            Ok(c) => drop(self.rtc.add_local_candidate(c)),
            Err(error) => return tracing::debug!(%error, "not a usable TCP candidate"),
        }
        self.rtc.add_remote_candidate(candidate);
    }
}

/// The track id in the msid is the cid by which the server finds the announced track.
fn add_sender(api: &mut SdpApi<'_>, kind: Kind, cid: &str) -> Section {
    let cid = Some(cid.to_owned());
    Section(api.add_media(media_kind(kind), Direction::SendOnly, cid.clone(), cid, None))
}

fn channel(label: &str, reliable: bool) -> ChannelConfig {
    let reliability = if reliable { Reliability::Reliable } else { Reliability::MaxRetransmits { retransmits: 0 } };
    ChannelConfig { label: label.to_owned(), ordered: reliable, reliability, ..Default::default() }
}

fn media_kind(kind: Kind) -> MediaKind {
    match kind {
        Kind::Audio => MediaKind::Audio,
        Kind::Video => MediaKind::Video,
    }
}
