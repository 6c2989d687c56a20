//! Why a certificate is unusable.

use std::io;
use std::path::PathBuf;

use rustls::Error as RustlsError;

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
