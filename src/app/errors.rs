//! Why the service does not start or ends by itself.

use std::io;
use std::net::SocketAddr;

use super::mail::MailError;
use super::socket::remedy;
use crate::config::ConfigError;
use crate::database::{OpenError, StoreError};
use crate::http::server::tls::TlsError;
use crate::keys::KeysError;
use crate::tokens::TokenTooLong;

/// Why the service does not start: one line with the cause and the remedy.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A setting is invalid.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The address is in use or does not belong to this machine.
    #[error("cannot listen on {0}: {1}; {remedy} with --listen", remedy = remedy(.1))]
    Listen(SocketAddr, io::Error),
    /// The inherited socket is not a listening socket.
    #[error(
        "the inherited socket (LISTEN_FDS) cannot be used: {0}; pass one TCP socket that listens \
         (in a systemd .socket unit ListenStream= once, and Accept=no)"
    )]
    InheritedSocket(io::Error),
    /// An auxiliary address is in use or does not belong to this machine.
    #[error("{0}: cannot listen on {1}: {2}; {remedy}", remedy = remedy(.2))]
    AuxiliaryListener(&'static str, SocketAddr, io::Error),
    /// The certificate or its key is unusable.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// Every access token would be too long.
    #[error("tokens.max_bytes: {0}, without any role; raise it, or shorten public_url or audience")]
    TokenTooLong(#[from] TokenTooLong),
    /// The database is unusable.
    #[error(transparent)]
    Database(#[from] OpenError),
    /// The database was opened and then did not answer.
    #[error(
        "the database failed during start ({0}); see the log for the cause, fix it and start again"
    )]
    Store(#[from] StoreError),
    /// The signing keys are unusable.
    #[error(transparent)]
    Keys(#[from] KeysError),
    /// Mail cannot be set up.
    #[error(transparent)]
    Mail(#[from] MailError),
    /// The system provided no thread or socket.
    #[error("cannot start: {0}; check the limits on threads, memory and open files")]
    System(#[from] io::Error),
}

/// Why the service stopped: it did not start, or it ended without a signal.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// It did not start.
    #[error(transparent)]
    Start(#[from] StartError),
    /// It ended unexpectedly.
    #[error("the service ended by itself: {0}; see the log for the cause, then start it again")]
    Ended(io::Error),
}
