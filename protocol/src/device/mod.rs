//! The device owner's policy: demand, linger, keyframe coalescing, bitrate of a layer.
