//! A mail server (RFC 5321), by lettre.
//!
//! A connection is established, encrypted and logged in before it gets a message. A server that
//! rejects it there, with any reply, is unreachable: only a reply to the commands of a message says
//! something about the message.

mod plain_stream;

use std::future::Future;
use std::io;
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use futures_util::future::join_all;
use lettre::Message;
use lettre::transport::smtp::Error;
use lettre::transport::smtp::authentication::{Credentials, DEFAULT_MECHANISMS};
use lettre::transport::smtp::client::{AsyncSmtpConnection, TlsParameters};
use lettre::transport::smtp::extension::ClientId;
use tokio::net::{TcpStream, lookup_host};
use tokio::time::timeout;

use super::{SendError, SendErrorKind};
use crate::locks;
use crate::secret::Secret;

use plain_stream::{Phase, PlainStream};

/// The deadline of a connection to one address of the server.
const TCP_TIMEOUT: Duration = Duration::from_secs(10);

/// The deadline of a new connection, until a message can be handed over. Together with that it is
/// also bounded by the deadline of an attempt ([`crate::mail::sender`]): lettre has none for
/// replies.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(60);

/// The deadline of the check that an open connection still works, and of its end.
const NOOP_TIMEOUT: Duration = Duration::from_secs(5);

/// Replies that reject the login (RFC 4954 6), not a message.
const LOGIN_REJECTED: [u16; 4] = [530, 534, 535, 538];

/// The encryption of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TlsPolicy {
    /// TLS from the first byte on.
    Implicit,
    /// STARTTLS is required.
    StartTls,
    /// Unencrypted.
    None,
}

/// [`TlsPolicy`], with the trusted authorities.
enum Encryption {
    Implicit(TlsParameters),
    StartTls(TlsParameters),
    None,
}

/// A mail server.
pub struct SmtpTransport {
    host: String,
    port: u16,
    encryption: Encryption,
    login: Option<Credentials>,
    hello: ClientId,
    /// Open connections that no message uses.
    idle: Mutex<Vec<AsyncSmtpConnection>>,
}

impl SmtpTransport {
    /// A server. The first message opens a connection.
    ///
    /// # Errors
    /// When TLS cannot be set up.
    pub fn new(
        host: &str,
        port: u16,
        tls: TlsPolicy,
        login: Option<&(String, Secret<String>)>,
    ) -> Result<Self, Error> {
        let parameters = || TlsParameters::new(host.to_owned());
        let encryption = match tls {
            TlsPolicy::Implicit => Encryption::Implicit(parameters()?),
            TlsPolicy::StartTls => Encryption::StartTls(parameters()?),
            TlsPolicy::None => Encryption::None,
        };
        let login =
            login.map(|(user, password)| Credentials::new(user.clone(), password.expose().clone()));
        Ok(Self {
            host: host.to_owned(),
            port,
            encryption,
            login,
            hello: ClientId::default(),
            idle: Mutex::default(),
        })
    }

    pub(super) async fn send(&self, message: Message) -> Result<(), SendError> {
        let mut connection = match self.idle_connection().await {
            Some(connection) => connection,
            None => self.connect().await?,
        };
        let sent = connection.send(message.envelope(), &message.formatted()).await;
        if !connection.has_broken() {
            self.idle().push(connection);
        }
        sent.map(drop).map_err(|error| self.error(kind_of(&error), error))
    }

    /// Connects, negotiates TLS and logs in.
    ///
    /// # Errors
    /// [`SendError`] for the first step that fails.
    pub async fn test(&self) -> Result<(), SendError> {
        let mut connection = self.connect().await?;
        if !in_time(connection.test_connected()).await {
            return Err(self.error(SendErrorKind::Unreachable, "it closed the connection"));
        }
        end(connection).await;
        Ok(())
    }

    /// Ends the open connections that no message uses.
    pub(super) async fn close_idle(&self) {
        let idle = std::mem::take(&mut *self.idle());
        join_all(idle.into_iter().map(end)).await;
    }

    /// An open connection that works.
    async fn idle_connection(&self) -> Option<AsyncSmtpConnection> {
        loop {
            let mut connection = self.idle().pop()?;
            if in_time(connection.test_connected()).await {
                return Some(connection);
            }
        }
    }

    async fn connect(&self) -> Result<AsyncSmtpConnection, SendError> {
        let unreachable = SendErrorKind::Unreachable;
        match timeout(CONNECT_TIMEOUT, self.handshake()).await {
            Ok(Ok(connection)) => Ok(connection),
            Ok(Err(error)) => Err(self.error(unreachable, error)),
            Err(_) => Err(self.error(unreachable, "it does not answer")),
        }
    }

    async fn handshake(&self) -> Result<AsyncSmtpConnection, ConnectError> {
        let mut connection = match &self.encryption {
            Encryption::Implicit(tls) => {
                let (server, tls) = ((self.host.as_str(), self.port), Some(tls.clone()));
                let deadline = Some(TCP_TIMEOUT);
                AsyncSmtpConnection::connect_tokio1(server, deadline, &self.hello, tls, None)
                    .await?
            }
            Encryption::StartTls(tls) => {
                let mut connection = self.connect_plain(Phase::BeforeTls).await?;
                connection.starttls(tls.clone(), &self.hello).await?;
                connection
            }
            Encryption::None => self.connect_plain(Phase::Plain).await?,
        };
        if let Some(login) = &self.login {
            connection.auth(DEFAULT_MECHANISMS, login).await?;
        }
        Ok(connection)
    }

    async fn connect_plain(&self, phase: Phase) -> Result<AsyncSmtpConnection, ConnectError> {
        let stream = PlainStream::new(self.connect_tcp().await?, phase);
        Ok(AsyncSmtpConnection::connect_with_transport(Box::new(stream), &self.hello).await?)
    }

    /// Connects to the first address that answers.
    async fn connect_tcp(&self) -> io::Result<TcpStream> {
        let mut last = io::Error::new(io::ErrorKind::NotFound, "the host has no address");
        for address in lookup_host((self.host.as_str(), self.port)).await? {
            match timeout(TCP_TIMEOUT, TcpStream::connect(address)).await {
                Ok(Ok(stream)) => return Ok(stream),
                Ok(Err(error)) => last = error,
                Err(_) => last = io::ErrorKind::TimedOut.into(),
            }
        }
        Err(last)
    }

    fn error(&self, kind: SendErrorKind, problem: impl std::fmt::Display) -> SendError {
        SendError { text: format!("{}:{}: {problem}", self.host, self.port), kind }
    }

    fn idle(&self) -> MutexGuard<'_, Vec<AsyncSmtpConnection>> {
        locks::lock(&self.idle)
    }
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
enum ConnectError {
    #[error("Connection error: {0}")]
    Tcp(#[from] io::Error),
    #[error(transparent)]
    Smtp(#[from] Error),
}

async fn end(mut connection: AsyncSmtpConnection) {
    in_time(async { connection.quit().await.is_ok() }).await;
}

async fn in_time(step: impl Future<Output = bool>) -> bool {
    timeout(NOOP_TIMEOUT, step).await.unwrap_or(false)
}

/// The kind of an error that a message caused on a connection that was established.
fn kind_of(error: &Error) -> SendErrorKind {
    match error.status().map(u16::from) {
        Some(status) if LOGIN_REJECTED.contains(&status) => SendErrorKind::Unreachable,
        // RFC 5321 3.8: the server closes the connection. Some servers do so because of one
        // message.
        Some(421) => SendErrorKind::Dropped,
        Some(_) if error.is_permanent() => SendErrorKind::Permanent,
        Some(_) => SendErrorKind::Transient,
        // The server lacks SMTPUTF8, which the address needs.
        None if error.is_client() && error.to_string().contains("SMTPUTF8") => {
            SendErrorKind::Permanent
        }
        None => SendErrorKind::Dropped,
    }
}
