//! The encryption of private keys in the database.

use zeroize::Zeroizing;

use super::{KeysError, queries};
use crate::database::Database;
use crate::secret::DerivedKey;

/// The keys for the encryption of private keys: the current one, and the previous one for
/// decryption.
#[derive(Clone, Debug)]
pub struct Seal {
    /// Encrypts and decrypts.
    pub current: DerivedKey,
    /// Decrypts only: set while the master secret is being rotated.
    pub previous: Option<DerivedKey>,
}

impl Seal {
    pub(super) fn open(&self, sealed: &[u8], kid: &str) -> Result<Zeroizing<Vec<u8>>, KeysError> {
        let previous = self.previous.iter();
        std::iter::once(&self.current)
            .chain(previous)
            .find_map(|key| key.open(sealed, kid.as_bytes()).ok())
            .ok_or(KeysError::WrongSecret)
    }
}

/// Re-encrypts under the current secret the keys that only the previous one decrypts, so that the
/// previous one can be dropped.
pub(super) async fn reseal(db: &Database, seal: &Seal) -> Result<(), KeysError> {
    let mut changed = Vec::new();
    for row in db.read(queries::load).await? {
        if seal.current.open(&row.sealed, row.kid.as_bytes()).is_err() {
            let plain = seal.open(&row.sealed, &row.kid)?;
            changed.push((row.kid.clone(), seal.current.seal(&plain, row.kid.as_bytes())));
        }
    }
    if !changed.is_empty() {
        db.write(move |tx| {
            for (kid, sealed) in &changed {
                queries::reseal(tx.connection(), kid, sealed)?;
            }
            Ok(())
        })
        .await?;
    }
    Ok(())
}
