//! Codecs and bitstreams.
