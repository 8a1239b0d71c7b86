//! Tests against a real LiveKit server, judged by a subscriber on the official SDK.

mod rig;
