//! Values that follow from several settings or from the machine.

use std::net::SocketAddr;
use std::thread;

use super::{Config, PasswordsConfig};

impl Config {
    /// The issuer, without a trailing slash: `public_url`, or the address that the server is bound
    /// to.
    #[must_use]
    pub fn issuer(&self, bound: SocketAddr) -> String {
        match self.public_url.trim_end_matches('/') {
            "" => format!("{}://{bound}", if self.has_tls() { "https" } else { "http" }),
            url => url.to_owned(),
        }
    }

    /// Whether Doorward itself terminates TLS.
    #[must_use]
    pub fn has_tls(&self) -> bool {
        !self.tls.cert.as_os_str().is_empty()
    }

    /// Whether clients use https.
    #[must_use]
    pub fn is_https(&self) -> bool {
        match self.public_url.as_str() {
            "" => self.has_tls(),
            url => url.starts_with("https://"),
        }
    }

    /// Threads that process requests.
    #[must_use]
    pub fn worker_threads(&self) -> usize {
        or_cores(self.workers)
    }
}

impl PasswordsConfig {
    /// Threads that hash.
    #[must_use]
    pub fn hashing_threads(&self) -> usize {
        or_cores(self.threads)
    }

    /// The capacity of the hashing queue.
    #[must_use]
    pub fn queue_length(&self) -> usize {
        if self.queue_capacity == 0 { 16 * self.hashing_threads() } else { self.queue_capacity }
    }
}

fn or_cores(count: usize) -> usize {
    if count == 0 { thread::available_parallelism().map_or(1, usize::from) } else { count }
}
