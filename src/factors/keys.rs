//! The keys of second factors: they seal TOTP secrets and authenticate the tokens of unfinished
//! logins.

use uuid::Uuid;
use zeroize::Zeroizing;

use super::totp::TotpSecret;
use crate::secret::{DecryptError, DerivedKey, MasterSecret, Purpose, equal};

/// 128 bits, as for refresh tokens.
pub(super) const TAG: usize = 16;

/// The keys: the current ones and, while the master secret is being changed, the previous ones.
#[derive(Clone, Debug)]
pub struct FactorKeys {
    current: Keys,
    previous: Option<Keys>,
}

#[derive(Clone, Debug)]
struct Keys {
    seal: DerivedKey,
    factor_token: DerivedKey,
    enrol_token: DerivedKey,
}

/// The kinds of tokens of an unfinished login, each with a key of its own.
#[derive(Clone, Copy, Debug)]
pub(super) enum LoginTokenKind {
    Factor,
    Enrol,
}

/// The row that a sealed secret belongs to.
#[derive(Clone, Copy, Debug)]
pub enum SealContext {
    /// The secret of a user.
    Confirmed {
        /// The user.
        user: Uuid,
    },
    /// A secret that a user has not confirmed yet. It is valid for the credentials with which it
    /// was made, and for the session that made it.
    Pending {
        /// The user.
        user: Uuid,
        /// The version of the user's credentials.
        version: i64,
        /// The session; `None` for an enrolment before the first session.
        session: Option<Uuid>,
    },
}

impl Keys {
    fn of(secret: &MasterSecret) -> Self {
        Self {
            seal: secret.derive(Purpose::TotpSeal),
            factor_token: secret.derive(Purpose::FactorToken),
            enrol_token: secret.derive(Purpose::EnrolToken),
        }
    }

    const fn of_login_token(&self, kind: LoginTokenKind) -> &DerivedKey {
        match kind {
            LoginTokenKind::Factor => &self.factor_token,
            LoginTokenKind::Enrol => &self.enrol_token,
        }
    }
}

impl SealContext {
    fn bytes(self) -> Vec<u8> {
        match self {
            Self::Confirmed { user } => [b"totp".as_slice(), user.as_bytes()].concat(),
            Self::Pending { user, version, session } => {
                let session = session.unwrap_or_default();
                let version = version.to_be_bytes();
                [b"pending totp".as_slice(), user.as_bytes(), &version, session.as_bytes()].concat()
            }
        }
    }
}

impl FactorKeys {
    /// Seals and signs under `current`, and accepts what was made under either.
    #[must_use]
    pub fn new(current: &MasterSecret, previous: Option<&MasterSecret>) -> Self {
        Self { current: Keys::of(current), previous: previous.map(Keys::of) }
    }

    /// Whether there are previous keys.
    #[must_use]
    pub const fn has_previous(&self) -> bool {
        self.previous.is_some()
    }

    /// Encrypts a secret for the database.
    #[must_use]
    pub fn seal(&self, secret: &TotpSecret, context: SealContext) -> Vec<u8> {
        self.current.seal.seal(secret.as_bytes(), &context.bytes())
    }

    /// Decrypts a secret from the database.
    ///
    /// # Errors
    /// [`DecryptError`] when it was sealed for another context or under another master secret.
    pub fn open(&self, sealed: &[u8], context: SealContext) -> Result<TotpSecret, DecryptError> {
        let context = context.bytes();
        let plain = std::iter::once(&self.current)
            .chain(&self.previous)
            .find_map(|keys| keys.seal.open(sealed, &context).ok())
            .ok_or(DecryptError)?;
        TotpSecret::from_bytes(&plain).ok_or(DecryptError)
    }

    /// The secret of a user sealed under the current key; `None` when it already is.
    ///
    /// # Errors
    /// [`DecryptError`] when neither key opens it.
    pub fn reseal(&self, sealed: &[u8], user: Uuid) -> Result<Option<Vec<u8>>, DecryptError> {
        let context = SealContext::Confirmed { user };
        if self.current.seal.open(sealed, &context.bytes()).is_ok() {
            return Ok(None);
        }
        Ok(Some(self.seal(&self.open(sealed, context)?, context)))
    }

    pub(super) fn tag(&self, kind: LoginTokenKind, body: &[u8]) -> [u8; TAG] {
        tag(self.current.of_login_token(kind), body)
    }

    pub(super) fn is_tag(&self, kind: LoginTokenKind, body: &[u8], shown: &[u8]) -> bool {
        let genuine = |keys: &Keys| equal(&tag(keys.of_login_token(kind), body), shown);
        genuine(&self.current) || self.previous.as_ref().is_some_and(genuine)
    }
}

fn tag(key: &DerivedKey, body: &[u8]) -> [u8; TAG] {
    let mac = Zeroizing::new(key.mac(body));
    std::array::from_fn(|i| mac[i])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_opens_in_its_own_context_only() {
        let keys = FactorKeys::new(&MasterSecret::generate(), None);
        let [user, session] = [1, 2].map(Uuid::from_u128);
        let pending = SealContext::Pending { user, version: 3, session: Some(session) };
        let secret = TotpSecret::generate();
        let sealed = keys.seal(&secret, pending);
        assert_eq!(keys.open(&sealed, pending).unwrap().as_bytes(), secret.as_bytes());
        for other in [
            SealContext::Confirmed { user },
            SealContext::Pending { user, version: 4, session: Some(session) },
            SealContext::Pending { user, version: 3, session: None },
            SealContext::Pending { user: session, version: 3, session: Some(session) },
        ] {
            assert!(keys.open(&sealed, other).is_err(), "{other:?}");
        }
    }

    #[test]
    fn a_secret_of_the_previous_master_secret_is_resealed_once() {
        let (old, new) = (MasterSecret::generate(), MasterSecret::generate());
        let user = Uuid::from_u128(1);
        let secret = TotpSecret::generate();
        let sealed = FactorKeys::new(&old, None).seal(&secret, SealContext::Confirmed { user });
        let both = FactorKeys::new(&new, Some(&old));
        let resealed = both.reseal(&sealed, user).unwrap().unwrap();
        assert_eq!(both.reseal(&resealed, user), Ok(None));
        let alone = FactorKeys::new(&new, None);
        assert!(alone.open(&sealed, SealContext::Confirmed { user }).is_err());
        let opened = alone.open(&resealed, SealContext::Confirmed { user }).unwrap();
        assert_eq!(opened.as_bytes(), secret.as_bytes());
    }
}
