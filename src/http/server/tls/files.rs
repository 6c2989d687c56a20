//! The files of the certificate and its key.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use rustls::{Error as RustlsError, InconsistentKeys};
use x509_parser::prelude::{FromDer as _, X509Certificate};
use zeroize::Zeroizing;

use super::{Served, TlsError};
use crate::clock::Timestamp;
use crate::secret::sha256;

/// The paths of the certificate and its key, in PEM.
#[derive(Clone, Debug)]
pub struct TlsFiles {
    /// The certificate, followed by its chain of intermediate certificates.
    pub cert: PathBuf,
    /// Its private key.
    pub key: PathBuf,
}

/// The contents of the two files.
pub(super) struct Pair {
    cert: Vec<u8>,
    key: Zeroizing<Vec<u8>>,
}

impl Pair {
    pub(super) fn read(files: &TlsFiles) -> Result<Self, TlsError> {
        let read = |setting, path: &Path| {
            let unreadable = |cause| TlsError::Unreadable { setting, path: path.to_owned(), cause };
            fs::read(path).map_err(unreadable)
        };
        let key = Zeroizing::new(read("tls.key", &files.key)?);
        Ok(Self { cert: read("tls.cert", &files.cert)?, key })
    }

    pub(super) fn digest(&self) -> [u8; 32] {
        sha256(&[sha256(&self.cert), sha256(&self.key)].concat())
    }

    pub(super) fn parse(
        &self,
        files: &TlsFiles,
        provider: &CryptoProvider,
    ) -> Result<Served, TlsError> {
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

pub(super) fn refuse_open(key: &Path) -> Result<(), TlsError> {
    use std::os::unix::fs::PermissionsExt as _;
    let mode = fs::metadata(key).map_or(0, |about| about.permissions().mode());
    if mode & 0o007 != 0 {
        return Err(TlsError::Open { path: key.to_owned(), mode: mode & 0o777 });
    }
    Ok(())
}
