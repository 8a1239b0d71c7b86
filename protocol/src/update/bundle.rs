//! What an update file (`.fwu`) begins with:
//!
//! ```text
//! firmware-worker-update 1 000345\n    32 bytes: format, length of the manifest
//! {"board": …, "version": …, …}        the manifest
//! 64 bytes                             its Ed25519 signature
//! kernel, root                         as they go into the slot; sizes and sums are in the manifest
//! ```

use aws_lc_rs::signature::{ED25519, UnparsedPublicKey};
use serde::Deserialize;

/// Bytes of the first line.
pub const HEADER_LEN: usize = 32;

/// Bytes behind the manifest.
pub const SIGNATURE_LEN: usize = 64;

/// Bytes of a manifest: ours have about 300.
const MAX_MANIFEST: usize = 16 << 10;

const NAME: &str = "firmware-worker-update ";
const FORMAT: &str = "1 ";

/// What is in the file, and for whom.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Manifest {
    /// The image's board (`IMAGE_ID` of its os-release).
    pub board: String,
    /// The image's version (`IMAGE_VERSION`).
    pub version: String,
    /// For the slot's first partition.
    pub kernel: Payload,
    /// For its second.
    pub root: Payload,
}

/// One of the two.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Payload {
    /// Bytes.
    pub size: u64,
    /// In hexadecimal digits, small letters.
    pub sha256: String,
}

/// Why it is no update.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Another kind of file.
    #[error("is no update file: its first line is not that of a .fwu")]
    Foreign,
    /// Of a format that is not known here.
    #[error(
        "is an update file of a format that this version does not know: install an update in between, or flash the image"
    )]
    Newer,
    /// Made by somebody else, or changed after it was made.
    #[error("is not signed with a key of this image, or was changed since")]
    Signature,
    /// Signed, and wrong.
    #[error("has a manifest that makes no sense: {0}")]
    Manifest(String),
}

/// Length of the manifest, as the first line says it.
pub fn manifest_len(header: &[u8; HEADER_LEN]) -> Result<usize, Error> {
    let line = std::str::from_utf8(header).ok().and_then(|line| line.strip_prefix(NAME)).ok_or(Error::Foreign)?;
    let length = line.strip_prefix(FORMAT).ok_or(Error::Newer)?.strip_suffix('\n').ok_or(Error::Foreign)?;
    length.parse().ok().filter(|length| (1..=MAX_MANIFEST).contains(length)).ok_or(Error::Foreign)
}

/// The manifest, if it is signed with one of `keys`: Ed25519, 32 bytes or a SubjectPublicKeyInfo.
pub fn open(manifest: &[u8], signature: &[u8; SIGNATURE_LEN], keys: &[Vec<u8>]) -> Result<Manifest, Error> {
    let signed = |key| UnparsedPublicKey::new(&ED25519, key).verify(manifest, signature).is_ok();
    if !keys.iter().any(signed) {
        return Err(Error::Signature);
    }
    let manifest: Manifest = serde_json::from_slice(manifest).map_err(|e| Error::Manifest(e.to_string()))?;
    match manifest.kernel.size == 0 || manifest.root.size == 0 {
        true => Err(Error::Manifest("a part of it is empty".into())),
        false => Ok(manifest),
    }
}

impl Manifest {
    /// Bytes of kernel and root.
    pub fn payload(&self) -> u64 {
        self.kernel.size.saturating_add(self.root.size)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};

    const TEXT: &[u8] = br#"{"board":"virt","version":"1.2","kernel":{"size":9,"sha256":"ab"},"root":{"size":5,"sha256":"cd"},"later":1}"#;

    fn key(seed: u8) -> Ed25519KeyPair {
        Ed25519KeyPair::from_seed_unchecked(&[seed; 32]).unwrap()
    }

    fn public(key: &Ed25519KeyPair) -> Vec<u8> {
        key.public_key().as_ref().to_vec()
    }

    fn sign(key: &Ed25519KeyPair, text: &[u8]) -> [u8; SIGNATURE_LEN] {
        key.sign(text).as_ref().try_into().unwrap()
    }

    #[test]
    fn a_manifest_counts_only_as_it_was_signed_with_a_key_that_is_trusted() {
        let (ours, other) = (key(1), key(2));
        let trusted = [public(&other), public(&ours)];
        let manifest = open(TEXT, &sign(&ours, TEXT), &trusted).unwrap();
        assert_eq!((&*manifest.board, &*manifest.version, manifest.payload()), ("virt", "1.2", 14));
        assert_eq!(open(TEXT, &sign(&ours, TEXT), &trusted[..1]), Err(Error::Signature));
        assert_eq!(open(TEXT, &sign(&ours, TEXT), &[]), Err(Error::Signature));
        let mut changed = TEXT.to_vec();
        changed[12] ^= 1;
        assert_eq!(open(&changed, &sign(&ours, TEXT), &trusted), Err(Error::Signature));
        assert_eq!(open(TEXT, &[0; SIGNATURE_LEN], &trusted), Err(Error::Signature));
    }

    #[test]
    fn a_signed_manifest_that_makes_no_sense_is_refused_with_the_reason() {
        let empty = br#"{"board":"virt","version":"1","kernel":{"size":0,"sha256":""},"root":{"size":5,"sha256":""}}"#;
        for (text, reason) in [(&b"{}"[..], "board"), (empty, "empty")] {
            let refusal = open(text, &sign(&key(1), text), &[public(&key(1))]).unwrap_err().to_string();
            assert!(refusal.contains(reason), "{refusal}");
        }
    }

    #[test]
    fn the_first_line_tells_other_files_and_later_formats_apart() {
        assert_eq!(manifest_len(b"firmware-worker-update 1 000345\n"), Ok(345));
        assert_eq!(manifest_len(b"firmware-worker-update 2 000345\n"), Err(Error::Newer));
        for line in [b"firmware-worker-update 1 0003450", b"firmware-worker-update 1 999999\n", &[0xff; 32], &[0; 32]] {
            assert_eq!(manifest_len(line), Err(Error::Foreign));
        }
    }
}
