//! Closes the listening socket without losing connections that wait to be accepted.

use std::io;
use std::net::{self, Shutdown, TcpListener};
#[cfg(target_os = "linux")]
use std::num::NonZeroU32;
use std::time::Duration;

use actix_web::dev::ServerHandle;
use socket2::SockRef;
use tokio::time::sleep;

use super::shutdown::ACCEPT_SETTLE_TIME;

/// How long a handshake that began before the shutdown may still take.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_millis(300);

/// Closes the listening socket without losing waiting connections, and returns those that actix had
/// not accepted.
///
/// No error here may abort the shutdown: the requests in progress are still to be answered.
pub(super) async fn close(listener: TcpListener, handle: &ServerHandle) -> Vec<net::TcpStream> {
    let socket = SockRef::from(&listener);
    #[cfg(target_os = "linux")]
    match refuse_new_connections(&socket) {
        Ok(()) => sleep(HANDSHAKE_TIMEOUT.saturating_sub(ACCEPT_SETTLE_TIME)).await,
        Err(error) => tracing::debug!(%error, "new connections may begin until the port closes"),
    }
    // Pauses first, or actix would try to accept from the closed socket over and over. It returns
    // when the request to pause is sent, not when it has taken effect.
    handle.pause().await;
    sleep(ACCEPT_SETTLE_TIME).await;
    // No step may separate the last accept and the shutdown, which resets connections that still
    // wait.
    let waiting = accept_all(&listener);
    if let Err(error) = socket.shutdown(Shutdown::Both)
        && error.kind() != io::ErrorKind::NotConnected
    {
        tracing::warn!(%error, "the port stays open until the process ends");
    }
    waiting
}

/// Accepts every waiting connection of a non-blocking socket.
fn accept_all(listener: &TcpListener) -> Vec<net::TcpStream> {
    let mut waiting = Vec::new();
    loop {
        match listener.accept() {
            Ok((stream, _)) if stream.set_nonblocking(true).is_ok() => waiting.push(stream),
            Ok(_) => {}
            // Only this connection failed, or a signal interrupted the call.
            Err(error) if is_transient(&error) => {}
            Err(_) => return waiting,
        }
    }
}

fn is_transient(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionReset, Interrupted};
    matches!(error.kind(), ConnectionAborted | ConnectionReset | Interrupted)
}

/// Lets handshakes in progress complete, and prevents new ones.
///
/// A client whose SYN is dropped sends it again a second later, and then reaches the successor.
/// Linux may require `CAP_NET_ADMIN` for the filter that drops it. Binding to a nonexistent
/// interface needs no privilege (since Linux 5.7). It rejects connections immediately, which leaves
/// the successor no time; but with `reuse_port` it drops the SYN, too.
#[cfg(target_os = "linux")]
fn refuse_new_connections(socket: &SockRef<'_>) -> io::Result<()> {
    const NO_INTERFACE: Option<NonZeroU32> = NonZeroU32::new(i32::MAX.cast_unsigned());
    let filtered = socket.attach_filter(&without_syn());
    filtered.or_else(|_| socket.bind_device_by_index_v4(NO_INTERFACE))
}

/// A filter over the TCP header that drops the start of a connection: byte 13 holds the flags, 2 is
/// SYN.
#[cfg(target_os = "linux")]
fn without_syn() -> [socket2::SockFilter; 4] {
    use socket2::SockFilter;
    const LOAD_BYTE: u16 = 0x30;
    const JUMP_IF_SET: u16 = 0x45;
    const RETURN: u16 = 0x06;
    [
        SockFilter::new(LOAD_BYTE, 0, 0, 13),
        SockFilter::new(JUMP_IF_SET, 0, 1, 2),
        SockFilter::new(RETURN, 0, 0, 0),
        SockFilter::new(RETURN, 0, 0, u32::MAX),
    ]
}
