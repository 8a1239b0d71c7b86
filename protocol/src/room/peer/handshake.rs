//! What is offered in the handshakes of peer connections (DTLS 1.2, RFC 6347).

use dimpl::crypto::{CryptoProvider, Dtls12CipherSuite, NamedGroup, aws_lc_rs};
use std::sync::Once;

/// What every WebRTC server takes: it must, by RFC 8827.
const SUITE: Dtls12CipherSuite = Dtls12CipherSuite::ECDHE_ECDSA_AES128_GCM_SHA256;

/// X25519, which LiveKit's server chooses, and P-256, which RFC 8827 demands of everybody. The library tries all that it offers,
/// at both ends and for each connection: P-384 took most of that time, a third of a job's start.
const CURVES: [NamedGroup; 2] = [NamedGroup::X25519, NamedGroup::Secp256r1];

/// For all connections of this process, unless user code has set what they offer before the worker runs.
pub(super) fn offer_what_servers_take() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        if CryptoProvider::get_default().is_some() {
            return;
        }
        let all = aws_lc_rs::default_provider();
        let curves: Vec<_> = all.kx_groups.iter().copied().filter(|curve| CURVES.contains(&curve.name())).collect();
        let suites: Vec<_> = all.cipher_suites.iter().copied().filter(|suite| suite.suite() == SUITE).collect();
        CryptoProvider::install_default(CryptoProvider {
            kx_groups: curves.leak(),
            cipher_suites: suites.leak(),
            ..all
        });
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_servers_take_is_all_that_the_library_offers() {
        offer_what_servers_take();
        let offered = CryptoProvider::get_default().expect("it was set");
        assert!(offered.kx_groups.iter().map(|curve| curve.name()).eq(CURVES), "{offered:?}");
        assert!(offered.cipher_suites.iter().map(|suite| suite.suite()).eq([SUITE]), "{offered:?}");
    }
}
