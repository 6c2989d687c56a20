//! HTTPS: the certificate, which may change while the service runs, and the handshake.
//!
//! TLS 1.2 and 1.3, both with rustls's suites only: forward secrecy and authenticated encryption.
//! There is one certificate for every server name, so clients without SNI are served too. HTTP/1.1
//! is the only protocol offered.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::{Arc, Mutex, RwLock};
use std::task::{Context, Poll};
use std::time::Duration;

use actix_web::rt::net::TcpStream;
use rustls::client::verify_server_name;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::{ClientHello, ParsedCertificate, ResolvesServerCert, ServerConfig};
use rustls::sign::CertifiedKey;
use rustls::{Error as RustlsError, InconsistentKeys};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadBuf};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use x509_parser::prelude::{FromDer as _, X509Certificate};
use zeroize::Zeroizing;

use super::raw_errors;
use crate::clock::Timestamp;
use crate::locks;
use crate::secret::sha256;

/// The timeout of a handshake. With the later write timeout it stays under the 30 s after which
/// every idle connection has ended.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);

/// How long, and how much, is still read from a client that sent plain HTTP: closing with unread
/// data would discard the response.
const LINGER: Duration = Duration::from_secs(1);
const LINGER_BYTES: u64 = 64 * 1024;

/// How long before its expiry a certificate is warned about, once a day.
pub const EXPIRY_WARNING: Duration = Duration::from_secs(7 * 24 * 60 * 60);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// The paths of the certificate and its key, in PEM.
#[derive(Clone, Debug)]
pub struct TlsFiles {
    /// The certificate, followed by its chain of intermediate certificates.
    pub cert: PathBuf,
    /// Its private key.
    pub key: PathBuf,
}

/// Why a certificate is unusable: one line that names the setting and the remedy.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file is missing or unreadable for this user.
    #[error("{setting}: {} cannot be read: {cause}; name a file that this user can read", path.display())]
    Unreadable {
        /// `tls.cert` or `tls.key`.
        setting: &'static str,
        /// The file.
        path: PathBuf,
        /// The I/O error.
        cause: io::Error,
    },
    /// Every user of the machine can read the key.
    #[error(
        "tls.key: every user of this machine can read {} (its mode is {mode:o}); chmod 640 it (for \
         a Kubernetes volume set defaultMode: 0440 and fsGroup; for a Docker secret, which is 0444 \
         by default, set uid and mode: 0400)",
        path.display()
    )]
    Open {
        /// The file.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
    /// There is no certificate.
    #[error(
        "tls.cert: there is no certificate in {}: {cause}; write it in PEM, your own first and \
         then the intermediate ones",
        path.display()
    )]
    NoCertificate {
        /// The file.
        path: PathBuf,
        /// The cause.
        cause: String,
    },
    /// There is no private key.
    #[error(
        "tls.key: there is no private key in {}: {cause}; write it in PEM (PKCS #8, PKCS #1 or \
         SEC 1), not encrypted",
        path.display()
    )]
    NoKey {
        /// The file.
        path: PathBuf,
        /// The cause.
        cause: String,
    },
    /// The two do not match.
    #[error(
        "tls.key: the key in {} does not match the first certificate in {}; name the two files \
         that belong together",
        key.display(), cert.display()
    )]
    Mismatch {
        /// The key's file.
        key: PathBuf,
        /// The certificate's.
        cert: PathBuf,
    },
    /// The TLS library rejects them.
    #[error("tls.cert: it is not usable: {0}; request a certificate with an ECDSA or RSA key")]
    Unusable(#[from] RustlsError),
}

/// The TLS configuration of a listener. Clones share the certificate.
#[derive(Clone, Debug)]
pub struct Tls {
    config: Arc<ServerConfig>,
    certificate: Arc<Certificate>,
    files: TlsFiles,
    state: Arc<Mutex<CertificateState>>,
}

/// The result of the last checks of the files.
#[derive(Debug)]
struct CertificateState {
    /// The digest of the files in use.
    served: [u8; 32],
    /// The digest of unusable files, and whether they were logged.
    refused: Option<([u8; 32], bool)>,
    warned_at: Option<Timestamp>,
}

/// The certificate in use.
#[derive(Debug)]
struct Certificate(RwLock<Arc<Served>>);

#[derive(Debug)]
struct Served {
    key: Arc<CertifiedKey>,
    not_before: Timestamp,
    not_after: Timestamp,
}

impl ResolvesServerCert for Certificate {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.served().key))
    }
}

impl Certificate {
    fn served(&self) -> Arc<Served> {
        Arc::clone(&locks::read(&self.0))
    }
}

impl Tls {
    /// Reads the certificate and its key.
    ///
    /// # Errors
    /// [`TlsError`]. An expired certificate is not an error; the log has a warning.
    pub fn load(files: TlsFiles, now: Timestamp) -> Result<Self, TlsError> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let pair = Pair::read(&files)?;
        let certificate = Certificate(RwLock::new(Arc::new(pair.parse(&files, &provider)?)));
        refuse_open(&files.key)?;
        let certificate = Arc::new(certificate);
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_cert_resolver(Arc::<Certificate>::clone(&certificate));
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        // Sessions are resumed statelessly, with keys that rotate every few hours.
        config.ticketer = aws_lc_rs::Ticketer::new()?;
        let state = CertificateState { served: pair.digest(), refused: None, warned_at: None };
        let (config, state) = (Arc::new(config), Arc::new(Mutex::new(state)));
        let tls = Self { config, certificate, files, state };
        tls.warn_of_expiry(&mut locks::lock(&tls.state), now);
        Ok(tls)
    }

    /// The validity period of the certificate in use.
    #[must_use]
    pub fn validity(&self) -> (Timestamp, Timestamp) {
        let served = self.certificate.served();
        (served.not_before, served.not_after)
    }

    /// Whether the certificate in use is valid for this host.
    #[must_use]
    pub fn is_for(&self, host: &str) -> bool {
        let key = Arc::clone(&self.certificate.served().key);
        let own = key.cert.first().and_then(|own| ParsedCertificate::try_from(own).ok());
        let name = ServerName::try_from(host.trim_matches(['[', ']']));
        own.zip(name.ok()).is_some_and(|(own, name)| verify_server_name(&own, &name).is_ok())
    }

    /// The problem of the certificate chain after the first certificate, if any.
    #[must_use]
    pub fn fault_of_chain(&self, now: Timestamp) -> Option<String> {
        let key = Arc::clone(&self.certificate.served().key);
        let parse = |one| X509Certificate::from_der(one).map(|(_, parsed)| parsed);
        let chain: Vec<_> = key.cert.iter().map_while(|one| parse(one).ok()).collect();
        for (place, pair) in (2..).zip(chain.windows(2)) {
            let [below, above] = pair else { continue };
            let until = Timestamp::from_unix_seconds(above.validity().not_after.timestamp());
            if below.issuer() != above.subject() {
                return Some(format!("certificate {place} did not issue the one before it"));
            }
            if until < now {
                return Some(format!("certificate {place} has expired at {until}"));
            }
        }
        None
    }

    /// When the certificate in use expires.
    #[must_use]
    pub fn not_after(&self) -> Timestamp {
        self.certificate.served().not_after
    }

    /// Checks whether the files have changed, and serves the new certificate from the next
    /// handshake on. An unusable one leaves the old one in place; the log says why, but only from
    /// the second check on, because the two files change one after the other. It reads files: do
    /// not call it on an async thread.
    pub fn reload_if_changed(&self, now: Timestamp) {
        let mut state = locks::lock(&self.state);
        let read = Pair::read(&self.files);
        let digest = read.as_ref().map_or([0; 32], Pair::digest);
        if digest == state.served {
            state.refused = None;
            return self.warn_of_expiry(&mut state, now);
        }
        let parsed = read.and_then(|pair| pair.parse(&self.files, self.config.crypto_provider()));
        match parsed {
            Ok(renewed) => {
                tracing::info!(event = "certificate_renewed", expires = %renewed.not_after);
                let mut served = locks::write(&self.certificate.0);
                *served = Arc::new(renewed);
                drop(served);
                *state = CertificateState { served: digest, refused: None, warned_at: None };
            }
            Err(error) => {
                let again = state.refused.filter(|(before, _)| *before == digest);
                if again.is_some_and(|(_, told)| !told) {
                    let event = "certificate_refused";
                    tracing::error!(event, %error, "the previous certificate is still served");
                }
                state.refused = Some((digest, again.is_some()));
            }
        }
        self.warn_of_expiry(&mut state, now);
    }

    fn warn_of_expiry(&self, state: &mut CertificateState, now: Timestamp) {
        let Served { not_before, not_after, .. } = *self.certificate.served();
        if state.warned_at.is_some_and(|at| now.since(at) < DAY) {
            return;
        }
        let cert = self.files.cert.display();
        if now < not_before {
            tracing::warn!(%cert, from = %not_before, "the certificate is not valid yet");
        } else if not_after < now {
            tracing::warn!(%cert, since = %not_after, "the certificate has expired; renew it");
        } else if not_after.since(now) < EXPIRY_WARNING {
            tracing::warn!(%cert, at = %not_after, "the certificate expires soon; renew it");
        } else {
            return;
        }
        state.warned_at = Some(now);
    }

    /// Performs the handshake with a client, in bounded time. A client that sends plain HTTP gets
    /// an error response.
    ///
    /// # Errors
    /// When the client does not speak TLS, is too slow, or has nothing in common with this server.
    pub(in crate::http) async fn accept(
        &self,
        mut io: TcpStream,
    ) -> io::Result<TlsStream<TcpStream>> {
        let shaken = timeout(HANDSHAKE_TIMEOUT, async {
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
        let shaken = shaken.await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
        shaken.inspect_err(|error| tracing::debug!(%error, "no TLS handshake"))
    }
}

/// Whether the first byte starts an HTTP method. That of a TLS record is 22 (RFC 8446 5.1).
async fn speaks_http(io: &TcpStream) -> io::Result<bool> {
    let mut first = [0];
    let read = io.peek(&mut first).await?;
    Ok(read == 1 && first[0].is_ascii_alphabetic())
}

/// The contents of the two files.
struct Pair {
    cert: Vec<u8>,
    key: Zeroizing<Vec<u8>>,
}

impl Pair {
    fn read(files: &TlsFiles) -> Result<Self, TlsError> {
        let read = |setting, path: &Path| {
            let unreadable = |cause| TlsError::Unreadable { setting, path: path.to_owned(), cause };
            fs::read(path).map_err(unreadable)
        };
        let key = Zeroizing::new(read("tls.key", &files.key)?);
        Ok(Self { cert: read("tls.cert", &files.cert)?, key })
    }

    fn digest(&self) -> [u8; 32] {
        sha256(&[sha256(&self.cert), sha256(&self.key)].concat())
    }

    fn parse(&self, files: &TlsFiles, provider: &CryptoProvider) -> Result<Served, TlsError> {
        let none = |why: &dyn ToString| TlsError::NoCertificate {
            path: files.cert.clone(),
            cause: why.to_string(),
        };
        let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&self.cert).collect();
        let chain = chain.map_err(|error| none(&error))?;
        let first = chain.first().ok_or_else(|| none(&"it has no CERTIFICATE section"))?;
        let (_, own) = X509Certificate::from_der(first).map_err(|error| none(&error))?;
        let seconds =
            |time: x509_parser::time::ASN1Time| Timestamp::from_unix_seconds(time.timestamp());
        let not_before = seconds(own.validity().not_before);
        let not_after = seconds(own.validity().not_after);
        let key = PrivateKeyDer::from_pem_slice(&self.key).map_err(|error| TlsError::NoKey {
            path: files.key.clone(),
            cause: error.to_string(),
        })?;
        let key = CertifiedKey::from_der(chain, key, provider).map_err(|error| match error {
            RustlsError::InconsistentKeys(InconsistentKeys::KeyMismatch) => {
                TlsError::Mismatch { key: files.key.clone(), cert: files.cert.clone() }
            }
            error => error.into(),
        })?;
        Ok(Served { key: Arc::new(key), not_before, not_after })
    }
}

fn refuse_open(key: &Path) -> Result<(), TlsError> {
    use std::os::unix::fs::PermissionsExt as _;
    let mode = fs::metadata(key).map_or(0, |about| about.permissions().mode());
    if mode & 0o007 != 0 {
        return Err(TlsError::Open { path: key.to_owned(), mode: mode & 0o777 });
    }
    Ok(())
}

/// A connection, with or without TLS.
pub(in crate::http) enum Stream {
    /// Unencrypted.
    Plain(TcpStream),
    /// Over TLS.
    Tls(Box<TlsStream<TcpStream>>),
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(io) => Pin::new(io).poll_read(cx, buffer),
            Self::Tls(io) => Pin::new(io).poll_read(cx, buffer),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(io) => Pin::new(io).poll_write(cx, data),
            Self::Tls(io) => Pin::new(io).poll_write(cx, data),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(io) => Pin::new(io).poll_flush(cx),
            Self::Tls(io) => Pin::new(io).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(io) => Pin::new(io).poll_shutdown(cx),
            Self::Tls(io) => Pin::new(io).poll_shutdown(cx),
        }
    }
}
