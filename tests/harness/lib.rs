//! What tests stand on: a real LiveKit server, the worker binary, the judge, a proxy that cuts connections, and a look
//! into `/proc`. Everything started here is ended by pid when its handle is dropped; on a failed test the last log lines
//! of each process are printed.

#![forbid(unsafe_code)]
#![warn(missing_docs)]

pub mod api;
pub mod card;
pub mod guest;
pub mod http;
pub mod installed;
pub mod judge;
pub mod namespace;
pub mod package;
pub mod path;
pub mod paths;
pub mod pipe;
pub mod poll;
pub mod process;
pub mod procfs;
pub mod proxy;
pub mod server;
pub mod sntp;
pub mod token;
pub mod worker;

pub use api::Api;
pub use card::{Board, Card};
pub use guest::Guest;
pub use installed::Installed;
pub use judge::Judge;
pub use path::Path;
pub use proxy::Proxy;
pub use server::Server;
pub use sntp::TimeServer;
pub use worker::Worker;
