//! The handshake with a client.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use actix_web::rt::net::TcpStream;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::Tls;
use crate::http::server::raw_errors;

/// The timeout of a handshake. With the later write timeout it stays under the 30 s after which
/// every idle connection has ended.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);

/// How long, and how much, is still read from a client that sent plain HTTP: closing with unread
/// data would discard the response.
const LINGER: Duration = Duration::from_secs(1);
const LINGER_BYTES: u64 = 64 * 1024;

impl Tls {
    /// Performs the handshake with a client, in bounded time. A client that sends plain HTTP gets
    /// an error response.
    ///
    /// # Errors
    /// When the client does not speak TLS, is too slow, or has nothing in common with this server.
    pub(in crate::http) async fn accept(
        &self,
        mut io: TcpStream,
    ) -> io::Result<TlsStream<TcpStream>> {
        let handshake = timeout(HANDSHAKE_TIMEOUT, async {
            if speaks_http(&io).await? {
                io.write_all(&raw_errors::not_tls()).await?;
                io.shutdown().await?;
                let rest = (&mut io).take(LINGER_BYTES);
                let _ =
                    timeout(LINGER, tokio::io::copy(&mut { rest }, &mut tokio::io::sink())).await;
                return Err(io::ErrorKind::InvalidData.into());
            }
            TlsAcceptor::from(Arc::clone(&self.config)).accept(io).await
        });
        let handshake = handshake.await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
        handshake.inspect_err(|error| tracing::debug!(%error, "no TLS handshake"))
    }
}

/// Whether the first byte starts an HTTP method. That of a TLS record is 22 (RFC 8446 5.1).
async fn speaks_http(io: &TcpStream) -> io::Result<bool> {
    let mut first = [0];
    let read = io.peek(&mut first).await?;
    Ok(read == 1 && first[0].is_ascii_alphabetic())
}
