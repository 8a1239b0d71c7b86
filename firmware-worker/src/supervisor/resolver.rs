//! Names to addresses, on a bounded pool of threads: `getaddrinfo` blocks for as long as it likes.

use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::sync::Arc;
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;

/// Lookups that run at a time, of all jobs, and of the supervisor's own, which no job must hold up. More wait their turn, so
/// that a dead name server costs a few small threads and not one per question.
const PARALLEL_OF_JOBS: usize = 4;
const PARALLEL_OF_OURS: usize = 2;

/// Addresses that are kept of one name: more would not be tried in the time a connection has.
const MAX_ADDRESSES: usize = 8;

/// Resolves names; clones share the pool.
#[derive(Clone, Debug)]
pub(super) struct Resolver {
    permits: Arc<Semaphore>,
}

impl Resolver {
    /// For jobs.
    pub(super) fn of_jobs() -> Self {
        Self::new(PARALLEL_OF_JOBS)
    }

    /// For the supervisor's own connections.
    pub(super) fn of_ours() -> Self {
        Self::new(PARALLEL_OF_OURS)
    }

    fn new(parallel: usize) -> Self {
        Self { permits: Arc::new(Semaphore::new(parallel)) }
    }

    /// The addresses of `host`, as the system prefers them.
    pub(super) async fn resolve(&self, host: &str, port: u16) -> Result<Vec<SocketAddr>, String> {
        if let Ok(address) = host.parse::<IpAddr>() {
            return Ok(vec![SocketAddr::new(address, port)]);
        }
        let permit = self.permits.clone().acquire_owned().await.map_err(|_| "shutting down".to_owned())?;
        let question = (host.to_owned(), port);
        let lookup = spawn_blocking(move || {
            let _permit = permit;
            question.to_socket_addrs().map(|found| found.take(MAX_ADDRESSES).collect::<Vec<_>>())
        });
        match lookup.await {
            Ok(Ok(addresses)) if !addresses.is_empty() => Ok(addresses),
            Ok(Ok(_)) => Err(format!("{host}: the name has no address")),
            Ok(Err(e)) => Err(format!("{host}: {e}")),
            Err(_) => Err("shutting down".into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn literal_addresses_need_no_lookup_and_names_are_named_in_errors() {
        let resolver = Resolver::of_jobs();
        assert_eq!(resolver.resolve("127.0.0.1", 5).await, Ok(vec!["127.0.0.1:5".parse().unwrap()]));
        assert_eq!(resolver.resolve("::1", 5).await, Ok(vec!["[::1]:5".parse().unwrap()]));
        assert!(resolver.resolve("localhost", 5).await.unwrap().iter().all(|a| a.ip().is_loopback()));
        let error = resolver.resolve("no such host", 5).await.unwrap_err();
        assert!(error.starts_with("no such host: "), "{error}");
    }
}
