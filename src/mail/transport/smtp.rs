//! A mail server (RFC 5321), by lettre.

use std::time::Duration;

use lettre::transport::smtp::PoolConfig;
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::{Tls, TlsParameters};
use lettre::transport::smtp::{AsyncSmtpTransport, Error};
use lettre::{AsyncTransport as _, Message, Tokio1Executor};

use super::{SendError, SendErrorKind};
use crate::secret::Secret;

/// The timeout of each answer of the server.
const TIMEOUT: Duration = Duration::from_secs(30);

/// The maximum number of open connections.
const MAX_CONNECTIONS: u32 = 8;

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

/// A mail server.
pub struct SmtpTransport {
    server: AsyncSmtpTransport<Tokio1Executor>,
    /// Its host and port.
    address: String,
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
        let tls = match tls {
            TlsPolicy::Implicit => Tls::Wrapper(parameters()?),
            TlsPolicy::StartTls => Tls::Required(parameters()?),
            TlsPolicy::None => Tls::None,
        };
        let mut builder = AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(host)
            .port(port)
            .tls(tls)
            .timeout(Some(TIMEOUT))
            .pool_config(PoolConfig::new().max_size(MAX_CONNECTIONS));
        if let Some((user, password)) = login {
            let credentials = Credentials::new(user.clone(), password.expose().clone());
            builder = builder.credentials(credentials);
        }
        Ok(Self { server: builder.build(), address: format!("{host}:{port}") })
    }

    pub(super) async fn send(&self, message: Message) -> Result<(), SendError> {
        self.server.send(message).await.map(drop).map_err(|error| self.classify(&error))
    }

    /// Connects, negotiates TLS and logs in.
    ///
    /// # Errors
    /// [`SendError`] for the first step that fails.
    pub async fn test(&self) -> Result<(), SendError> {
        match self.server.test_connection().await {
            Ok(true) => Ok(()),
            Ok(false) => {
                let text = format!("{} closed the connection", self.address);
                Err(SendError { text, kind: SendErrorKind::Dropped })
            }
            Err(error) => Err(self.classify(&error)),
        }
    }

    fn classify(&self, error: &Error) -> SendError {
        let kind = kind_of(error);
        SendError { text: format!("{}: {error}", self.address), kind }
    }
}

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
        None if is_connecting(error) => SendErrorKind::Unreachable,
        None => SendErrorKind::Dropped,
    }
}

/// Whether no connection was established. lettre has no predicate for this kind of error.
fn is_connecting(error: &Error) -> bool {
    error.is_tls() || error.to_string().starts_with("Connection error")
}
