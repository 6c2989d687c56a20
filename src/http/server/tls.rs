//! HTTPS: the certificate, which may change while the service runs, and the handshake.
//!
//! TLS 1.2 and 1.3, both with rustls's suites only: forward secrecy and authenticated encryption.
//! There is one certificate for every server name, so clients without SNI are served too. HTTP/1.1
//! is the only protocol offered.

mod error;
mod files;
mod handshake;
mod stream;

use std::sync::{Arc, Mutex, RwLock};
use std::time::Duration;

use rustls::client::verify_server_name;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::ServerName;
use rustls::server::{ClientHello, ParsedCertificate, ResolvesServerCert, ServerConfig};
use rustls::sign::CertifiedKey;
use x509_parser::prelude::{FromDer as _, X509Certificate};

pub use error::TlsError;
pub use files::TlsFiles;
pub(in crate::http) use stream::Stream;

use crate::clock::Timestamp;
use crate::locks;
use files::{Pair, refuse_open};

/// How long before its expiry a certificate is warned about, once a day.
pub const EXPIRY_WARNING: Duration = Duration::from_secs(7 * 24 * 60 * 60);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

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
}
