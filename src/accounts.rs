//! Accounts: sign up, log in, change the password or the address, reset the password, set up and
//! prove a second factor, close.
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
mod log_in_factor;
pub mod mail_proof;
pub mod metrics;
mod new_password;
mod own_password;
mod owner_proof;
mod password_check;
mod queries;
mod reauthenticate;
pub mod reset_password;
mod roles;
mod second_factor;
mod sign_up;
mod stored_costs;
pub mod throttle;
mod totp;

use std::sync::Arc;

use crate::audit::Audit;
use crate::clock::{Clock, Timestamp};
use crate::database::{Database, Id, StoreError};
use crate::mail::Mail;
use crate::passwords::{Hasher, PasswordPolicy};
use crate::sessions::{AuthMethods, Authentication, Sessions, Subject};

pub use add::{AddAccountError, NewAccount, NewPassword};
pub use change_password::ChangeError;
pub use claims::{CustomClaims, InvalidClaims};
pub use email::{Email, EmailKeys, InvalidEmail};
pub use log_in::{LogInError, LoginAttempt};
pub use log_in_factor::FactorAttempt;
use metrics::{LoginCounters, login_counters};
pub use owner_proof::{Owner, OwnerProof};
use queries::Credentials;
pub use queries::{Account, AccountDetails};
pub use roles::{InvalidRoles, RoleSet};
pub use second_factor::{FactorChallenge, FactorPolicy, RequiredFactor};
pub use sign_up::{RegistrationPolicy, SignUpError};
use throttle::LoginThrottle;
pub use totp::ConfirmTotpError;

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
    factors: Arc<FactorPolicy>,
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
        factors: FactorPolicy,
    ) -> Self {
        let (registration, logins) = (RegistrationPolicy::Open, login_counters());
        let factors = Arc::new(factors);
        Self {
            db,
            clock,
            hasher,
            policy,
            throttle,
            sessions,
            audit,
            mail,
            registration,
            factors,
            logins,
        }
    }

    /// Sets who may sign up; without it, everybody.
    #[must_use]
    pub fn with_registration(self, registration: RegistrationPolicy) -> Self {
        Self { registration, ..self }
    }

    /// Whether everybody may sign up.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.registration == RegistrationPolicy::Open
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
}

impl Credentials {
    /// The subject of a session that begins at `at` with an authentication by these methods.
    fn subject(&self, at: Timestamp, methods: AuthMethods) -> Subject {
        let authentication = Some(Authentication { at, methods });
        Subject::new(self.id, self.roles.clone(), self.claims.as_deref(), authentication)
    }
}
