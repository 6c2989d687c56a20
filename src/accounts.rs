//! Accounts: sign up, log in, change the password or the address, reset the password, close.
//!
//! Every operation that checks a password takes the same path: an attempt is reserved with login
//! throttling, one hash is computed, and only then is the database changed, on condition that the
//! account's credentials and state are unchanged since they were read
//! (`users.credentials_version`). So a burst of guesses counts as that many guesses, an unknown
//! e-mail costs as much as a wrong password, and a login that checked a password while it was being
//! changed leaves no session behind.

mod add;
pub mod admin;
mod change_email;
mod change_password;
mod claims;
mod close;
mod confirm_registration;
mod email;
pub mod email_keys;
mod log_in;
pub mod mail_proof;
pub mod metrics;
mod own_password;
mod password_check;
mod queries;
pub mod reset_password;
mod roles;
mod sign_up;
mod stored_costs;
pub mod throttle;

use std::sync::Arc;

use crate::audit::Audit;
use crate::clock::Clock;
use crate::database::{Database, Id, StoreError};
use crate::mail::Mail;
use crate::passwords::{Hasher, PasswordPolicy};
use crate::sessions::{Sessions, Subject};

pub use add::{AddAccountError, NewAccount, NewPassword};
pub use change_password::ChangeError;
pub use claims::{CustomClaims, InvalidClaims};
pub use email::{Email, EmailKeys, InvalidEmail};
pub use log_in::{LogInError, LoginAttempt};
use metrics::{LoginCounters, login_counters};
use queries::Credentials;
pub use queries::{Account, AccountDetails};
pub use roles::{InvalidRoles, RoleSet};
pub use sign_up::{RegistrationPolicy, SignUpError};
use throttle::LoginThrottle;

/// The maximum number of comparisons for one attempt: if the account changes after it was read, the
/// password is compared again.
const MAX_COMPARISONS: usize = 3;

/// Accounts and their passwords. Clones share everything.
#[derive(Clone)]
pub struct Accounts {
    db: Database,
    clock: Clock,
    hasher: Hasher,
    policy: PasswordPolicy,
    throttle: Arc<LoginThrottle>,
    sessions: Sessions,
    audit: Audit,
    mail: Mail,
    registration: RegistrationPolicy,
    logins: LoginCounters,
}

impl Accounts {
    /// Creates the service from its dependencies.
    #[must_use]
    #[expect(clippy::too_many_arguments, reason = "one caller, which names each of them")]
    pub fn new(
        db: Database,
        clock: Clock,
        hasher: Hasher,
        policy: PasswordPolicy,
        throttle: Arc<LoginThrottle>,
        sessions: Sessions,
        audit: Audit,
        mail: Mail,
    ) -> Self {
        let (registration, logins) = (RegistrationPolicy::Open, login_counters());
        Self { db, clock, hasher, policy, throttle, sessions, audit, mail, registration, logins }
    }

    /// Sets who may sign up; without it, everybody.
    #[must_use]
    pub fn with_registration(self, registration: RegistrationPolicy) -> Self {
        Self { registration, ..self }
    }

    /// Whether the owners of accounts that operators create set the first password, even while mail
    /// is off.
    #[must_use]
    pub fn is_by_invitation(&self) -> bool {
        self.registration == RegistrationPolicy::Invite
    }

    /// The hashing pool.
    #[must_use]
    pub const fn hasher(&self) -> &Hasher {
        &self.hasher
    }

    /// The account of a user.
    ///
    /// # Errors
    /// [`StoreError`] when the database does not answer.
    pub async fn profile(&self, user: Id) -> Result<Option<Account>, StoreError> {
        self.db.read(move |c| queries::account(c, user)).await
    }

    /// Disables an account: its sessions end and logins are rejected. False when there is no such
    /// account or it was already disabled.
    ///
    /// # Errors
    /// [`StoreError`]: nothing has changed.
    pub async fn disable(&self, user: Id) -> Result<bool, StoreError> {
        let this = self.clone();
        self.db
            .write(move |tx| {
                let now = this.clock.now();
                Ok(admin::disable(this.sessions.revocations(), tx, user, now)?.changed)
            })
            .await
    }
}

impl Credentials {
    fn subject(&self) -> Subject {
        Subject::new(self.id, self.roles.clone(), self.claims.as_deref())
    }
}
