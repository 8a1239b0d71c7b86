//! The path of media: whether it lives, and by which candidates it may be found.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// Media are dead when nothing comes for this long: either side sends something every 3 s at least. If signalling
/// outlives it for long, the server takes UDP away from this identity for minutes.
const MEDIA_SILENCE: Duration = Duration::from_secs(4);
/// The way that media go is dead when nothing comes back on it for this long, whatever comes on others: each side checks
/// each way every 3 s at least, and a single check may be lost.
const WAY_SILENCE: Duration = Duration::from_secs(8);
/// A gap in feedback after which receivers have probably lost packets that nobody will ask for in time.
const FEEDBACK_GAP: Duration = Duration::from_millis(500);
/// Video that went out for this long without any answer is dropped from then on: it would queue, and come too late in
/// a burst. The server answers video ten times a second; while none is sent it may be silent for seconds.
const VIDEO_STALL: Duration = Duration::from_secs(1);

/// What is known about the path of media.
#[derive(Debug)]
pub(super) struct MediaPath {
    /// ICE, DTLS and keys stand.
    pub(super) up: bool,
    /// Last packet that came over it.
    heard: Instant,
    /// Where media go.
    used: Option<Used>,
    /// The first video that was sent after the last packet came.
    unanswered: Option<Instant>,
    /// The peer connection was closed by the other side; the Leave must come before this.
    pub(super) closed: Option<Instant>,
    /// Passive TCP candidates not tried yet.
    pub(super) tcp: VecDeque<SocketAddr>,
    /// When to try the next of them, unless ICE is up.
    pub(super) try_tcp: Option<Instant>,
    /// UDP candidates of the server are known.
    pub(super) udp: bool,
    /// ICE was restarted and has not come back yet.
    pub(super) restarted: bool,
}

impl MediaPath {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            up: false,
            heard: now,
            used: None,
            unanswered: None,
            closed: None,
            tcp: VecDeque::new(),
            try_tcp: None,
            udp: false,
            restarted: false,
        }
    }

    /// ICE is restarted: the server will tell its candidates again.
    pub(super) fn forget_candidates(&mut self) {
        self.tcp.clear();
        self.try_tcp = None;
        self.udp = false;
        self.used = None;
        self.restarted = true;
    }

    /// ICE and DTLS stand.
    pub(super) fn connected(&mut self, now: Instant) {
        self.up = true;
        self.heard = now;
        self.try_tcp = None;
    }

    /// A packet goes out.
    pub(super) fn goes(&mut self, local: SocketAddr, remote: SocketAddr, payload: &[u8], now: Instant) {
        if is_stun(payload) {
            return;
        }
        let heard = self.used.filter(|used| used.is(local, remote)).map_or(now, |used| used.heard);
        self.used = Some(Used { local, remote, at: now, heard });
    }

    /// A packet came. True after a gap in which receivers have probably lost something.
    ///
    /// On a board with two addresses ICE goes on with its checks on both ways: an answer on the one tells nothing of
    /// media that go the other. The server's own media say more, but it may send them another way than it gets ours.
    pub(super) fn came(&mut self, remote: SocketAddr, local: SocketAddr, payload: &[u8], now: Instant) -> bool {
        let silence = now.saturating_duration_since(self.heard);
        match &mut self.used {
            Some(used) if used.is(local, remote) => used.heard = now,
            Some(used) if is_stun(payload) && now < used.at + MEDIA_SILENCE => return false,
            // Nothing came any way: an outage is over, and this one may be the first to come back.
            Some(used) if silence >= MEDIA_SILENCE => used.heard = now,
            _ => {}
        }
        self.heard = now;
        self.unanswered = None;
        silence > FEEDBACK_GAP
    }

    /// Video went out.
    pub(super) fn video_sent(&mut self, now: Instant) {
        self.unanswered.get_or_insert(now);
    }

    /// Video should not be sent now.
    pub(super) fn stalled(&self, now: Instant) -> bool {
        self.unanswered.is_some_and(|since| now >= since + VIDEO_STALL)
    }

    /// No packet for too long.
    pub(super) fn dead(&self, now: Instant) -> bool {
        now >= self.dead_at()
    }

    /// What a dead path is dead of.
    pub(super) fn cause(&self, now: Instant) -> &'static str {
        if now >= self.heard + MEDIA_SILENCE {
            "no media packet for 4 s"
        } else {
            "no media packet for 8 s on the way that media go"
        }
    }

    /// When it is dead unless something comes.
    pub(super) fn dead_at(&self) -> Instant {
        let all = self.heard + MEDIA_SILENCE;
        // Of a way that media no longer go nothing has to come.
        let way = self.used.filter(|used| used.at + MEDIA_SILENCE > used.heard + WAY_SILENCE);
        way.map_or(all, |used| all.min(used.heard + WAY_SILENCE))
    }
}

/// Two addresses between which media go.
#[derive(Clone, Copy, Debug)]
struct Used {
    local: SocketAddr,
    remote: SocketAddr,
    /// When they did last.
    at: Instant,
    /// When something came back between the same two; at first, since when they go there.
    heard: Instant,
}

impl Used {
    fn is(&self, local: SocketAddr, remote: SocketAddr) -> bool {
        (self.local, self.remote) == (local, remote)
    }
}

/// RFC 7983: the first byte of STUN is 0 to 3, of DTLS and RTP more.
fn is_stun(payload: &[u8]) -> bool {
    payload.first().is_some_and(|first| *first < 4)
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "a test starts at any instant")]
mod tests {
    use super::*;

    const STUN: &[u8] = &[1, 1];
    const RTP: &[u8] = &[0x80, 111];

    fn address(port: u16) -> SocketAddr {
        ([192, 0, 2, 1], port).into()
    }

    fn after(start: Instant, ms: u64) -> Instant {
        start + Duration::from_millis(ms)
    }

    #[test]
    fn checks_on_another_way_do_not_keep_the_way_of_media_alive() {
        let start = Instant::now();
        let (wire, radio, server) = (address(1), address(2), address(3));
        let mut path = MediaPath::new(start);
        for ms in (0..=4000).step_by(100) {
            path.goes(wire, server, RTP, after(start, ms));
            path.came(server, radio, STUN, after(start, ms));
        }
        assert!(path.dead(after(start, 4000)));
        path.came(server, wire, STUN, after(start, 4000));
        assert!(!path.dead(after(start, 4000)));
    }

    #[test]
    fn media_of_the_server_on_another_way_keep_a_dead_way_alive_for_eight_seconds_and_no_longer() {
        let start = Instant::now();
        let (wire, radio, server) = (address(1), address(2), address(3));
        let mut path = MediaPath::new(start);
        for ms in (0..=8000).step_by(100) {
            assert!(!path.dead(after(start, ms)) || ms == 8000, "{ms} ms");
            path.goes(wire, server, RTP, after(start, ms));
            path.came(server, radio, RTP, after(start, ms));
        }
        assert!(path.dead(after(start, 8000)));
        path.came(server, wire, STUN, after(start, 8000));
        assert!(!path.dead(after(start, 8000)));
    }

    #[test]
    fn after_an_outage_of_all_ways_each_gets_its_time_again() {
        let start = Instant::now();
        let (wire, radio, server) = (address(1), address(2), address(3));
        let mut path = MediaPath::new(start);
        for ms in (0..=8500).step_by(100) {
            path.goes(wire, server, RTP, after(start, ms));
            if ms >= 6000 {
                path.came(server, radio, RTP, after(start, ms));
                assert!(!path.dead(after(start, ms)), "{ms} ms");
            }
        }
    }

    #[test]
    fn a_way_that_media_have_left_need_not_answer() {
        let start = Instant::now();
        let (wire, radio, server) = (address(1), address(2), address(3));
        let mut path = MediaPath::new(start);
        path.goes(wire, server, RTP, start);
        for ms in (0..=20_000).step_by(100) {
            path.goes(radio, server, RTP, after(start, ms));
            path.came(server, radio, RTP, after(start, ms));
            assert!(!path.dead(after(start, ms)), "{ms} ms");
        }
    }

    #[test]
    fn a_path_without_media_lives_by_any_check() {
        let start = Instant::now();
        let mut path = MediaPath::new(start);
        path.goes(address(1), address(3), RTP, start);
        path.came(address(3), address(2), STUN, after(start, 4500));
        assert!(!path.dead(after(start, 5000)));
    }

    #[test]
    fn video_stalls_after_a_second_without_an_answer_but_not_when_it_has_just_begun() {
        let start = Instant::now();
        let mut path = MediaPath::new(start);
        assert!(!path.stalled(after(start, 3000)));
        path.video_sent(after(start, 3000));
        path.video_sent(after(start, 3900));
        assert!(!path.stalled(after(start, 3900)));
        assert!(path.stalled(after(start, 4000)));
        path.came(address(3), address(1), RTP, after(start, 4000));
        assert!(!path.stalled(after(start, 4000)));
    }
}
