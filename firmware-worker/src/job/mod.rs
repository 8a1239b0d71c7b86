//! The job process: room driver, JobContext, the default `bridge` entrypoint.
