//! Exit codes, as `--help` lists them.

/// Something failed that no other code names; for `connect`, the job failed.
pub const FAILURE: u8 = 1;
/// Wrong arguments.
pub const USAGE: u8 = 2;
/// A second signal cut a drain short: jobs were stopped.
pub const CUT_SHORT: u8 = 3;
/// The configuration is wrong (EX_CONFIG). A service manager need not try again.
pub const CONFIGURATION: u8 = 78;

/// For the end of `--help`.
pub(super) const HELP: &str = "\
Environment (flags win over it, it wins over the file):
  LIVEKIT_URL, LIVEKIT_API_KEY, LIVEKIT_API_SECRET, LIVEKIT_TOKEN, LIVEKIT_AGENT_NAME, LIVEKIT_LOG_LEVEL

Exit codes:
   0  ended as asked
   1  failed; for `connect`: the job failed
   2  wrong arguments
   3  a second signal cut the drain short, and jobs were stopped
  78  the configuration is wrong";
