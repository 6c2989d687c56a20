//! The check and the hash of a password that an account is to get.

use super::Accounts;
use crate::passwords::{Overloaded, Password, PasswordHash, UnacceptablePassword};

impl Accounts {
    /// The hash of a password that is acceptable for the account with this e-mail address.
    ///
    /// # Errors
    /// [`UnacceptablePassword`], or [`Overloaded`] when the hashing queue is full.
    pub(super) async fn hash_new_password<E>(
        &self,
        address: &str,
        password: Password,
    ) -> Result<PasswordHash, E>
    where
        E: From<UnacceptablePassword> + From<Overloaded>,
    {
        let personal = vec![address.to_owned()];
        let checked = self.hasher.check(self.policy, password.clone(), personal).await?;
        checked.map_err(UnacceptablePassword::from)?;
        Ok(self.hasher.hash(password).await?)
    }
}
