//! HTTPS: the certificate and its renewal, malformed input before a request, the redirect from
//! http, and a stop.

mod certificates;
mod refused;
mod serving;
mod shutdown;

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use doorward::config::Config;
use rcgen::{CertificateParams, KeyPair};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{self, ClientConfig, RootCertStore};

use crate::support::binary::{Doorward, give};

pub const ISSUER: &str = "https://doorward.test";

/// A certificate for 127.0.0.1 and its key, as files.
pub struct Files {
    directory: PathBuf,
}

impl Files {
    pub fn in_directory(directory: &Path) -> Self {
        Self { directory: directory.to_owned() }
    }

    fn cert(&self) -> PathBuf {
        self.directory.join("cert.pem")
    }

    fn key(&self) -> PathBuf {
        self.directory.join("key.pem")
    }

    /// Writes a new pair, and returns the certificate.
    pub fn issue(&self) -> CertificateDer<'static> {
        let (pem, key, der) = pair(|_| {});
        fs::write(self.cert(), pem).unwrap();
        fs::write(self.key(), key).unwrap();
        fs::set_permissions(self.key(), std::os::unix::fs::PermissionsExt::from_mode(0o600))
            .unwrap();
        give(&self.cert(), &self.directory);
        give(&self.key(), &self.directory);
        der
    }

    fn configure(&self, config: &mut Config) {
        config.public_url = ISSUER.into();
        (config.tls.cert, config.tls.key) = (self.cert(), self.key());
    }

    pub fn command(&self, mut command: Command) -> Command {
        command.env("DOORWARD_TLS__CERT", self.cert()).env("DOORWARD_TLS__KEY", self.key());
        command
    }
}

fn pair(change: impl FnOnce(&mut CertificateParams)) -> (String, String, CertificateDer<'static>) {
    let mut params = CertificateParams::new(["127.0.0.1".into(), "localhost".into()]).unwrap();
    change(&mut params);
    let key = KeyPair::generate().unwrap();
    let cert = params.self_signed(&key).unwrap();
    (cert.pem(), key.serialize_pem(), cert.der().clone())
}

/// A client that trusts only these.
fn trusting(trusted: &[CertificateDer<'static>]) -> reqwest::Client {
    let trusted = trusted.iter().map(|der| reqwest::Certificate::from_der(der).unwrap());
    // A connection for each request, and so a handshake for each.
    let client = reqwest::Client::builder().no_proxy().tls_certs_only(trusted);
    client.pool_max_idle_per_host(0).build().unwrap()
}

/// A raw TLS connection.
pub async fn connect(
    address: SocketAddr,
    trusted: &[CertificateDer<'static>],
    versions: &[&'static rustls::SupportedProtocolVersion],
    protocols: &[&[u8]],
) -> std::io::Result<TlsStream<TcpStream>> {
    let stream = TcpStream::connect(address).await?;
    shake_hands(stream, trusted, versions, protocols).await
}

pub async fn shake_hands(
    stream: TcpStream,
    trusted: &[CertificateDer<'static>],
    versions: &[&'static rustls::SupportedProtocolVersion],
    protocols: &[&[u8]],
) -> std::io::Result<TlsStream<TcpStream>> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(trusted.iter().cloned());
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider);
    let config = config.with_protocol_versions(versions).unwrap();
    let mut config = config.with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
    // By its address: without SNI.
    let name = ServerName::from(stream.peer_addr()?.ip());
    TlsConnector::from(Arc::new(config)).connect(name, stream).await
}

pub const BOTH: &[&rustls::SupportedProtocolVersion] =
    &[&rustls::version::TLS12, &rustls::version::TLS13];

/// Starts a service with its certificate, and uses https with it.
pub fn start(command: &mut Command, cert: &CertificateDer<'static>) -> Doorward {
    let mut service = Doorward::start(command);
    service.http = trusting(std::slice::from_ref(cert));
    service.url = service.url.replace("http://", "https://");
    service
}
