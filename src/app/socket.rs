//! The API's socket: a new one, or one inherited from the process that started this one.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

use socket2::{Domain, SockRef, Type};

use super::StartError;
use crate::config::Config;

/// The number of attempts to bind a port in use, and the pause between them.
const BIND_ATTEMPTS: u32 = 10;
const BIND_PAUSE: Duration = Duration::from_millis(100);

/// Connections that may wait to be accepted; the kernel has its own maximum (`net.core.somaxconn`).
const BACKLOG: i32 = 4096;

/// A listening socket.
pub(super) struct Socket {
    pub listener: TcpListener,
    /// Whether the parent process shares it, and keeps accepting connections when this one stops.
    pub is_inherited: bool,
}

impl Socket {
    /// The inherited socket, or else a new one.
    pub(super) async fn open(
        inherited: Option<TcpListener>,
        config: &Config,
    ) -> Result<Self, StartError> {
        if let Some(listener) = inherited {
            listens(&listener).map_err(StartError::InheritedSocket)?;
            return Ok(Self { listener, is_inherited: true });
        }
        let bound = bind(config.listen, config.reuse_port).await;
        let listener = bound.map_err(|error| StartError::Listen(config.listen, error))?;
        Ok(Self { listener, is_inherited: false })
    }
}

/// The remedy for an address that cannot be bound.
pub(super) fn remedy(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::PermissionDenied => {
            "a port below 1024 needs CAP_NET_BIND_SERVICE (AmbientCapabilities= in a systemd \
             service) or an inherited socket (a systemd .socket unit); provide one of them, or \
             choose another port"
        }
        io::ErrorKind::AddrNotAvailable => {
            "that address does not belong to this machine; choose another address"
        }
        _ => "stop the process that uses that port, or choose another address",
    }
}

/// Rejects a connected socket, which systemd passes with `Accept=yes`.
fn listens(listener: &TcpListener) -> io::Result<()> {
    #[cfg(target_os = "linux")]
    if !SockRef::from(listener).is_listener()? {
        return Err(io::Error::other("it does not listen"));
    }
    listener.local_addr().map(drop)
}

/// Binds the port, shared with another process if that is allowed. A predecessor that is shutting
/// down may still hold the port for a short time.
pub(super) async fn bind(address: SocketAddr, may_share_port: bool) -> io::Result<TcpListener> {
    let bind = || bind_once(address, may_share_port);
    for _ in 0..BIND_ATTEMPTS {
        match bind() {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
                tokio::time::sleep(BIND_PAUSE).await;
            }
            result => return result,
        }
    }
    bind()
}

/// As the standard library does, but with optional sharing and a longer queue: of hundreds of
/// simultaneous connections, those beyond its 128 would have to retry a second later.
fn bind_once(address: SocketAddr, may_share_port: bool) -> io::Result<TcpListener> {
    let socket = socket2::Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(may_share_port)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}
