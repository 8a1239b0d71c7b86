//! RTP payload formats, sequence numbers and receive buffers: pure, a packet at a time.
