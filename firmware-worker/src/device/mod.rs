//! The device owner process: camera and sound-card pipelines.
