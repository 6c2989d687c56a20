//! Events and their kinds.

use tracing::field::display;

use crate::database::Id;
use crate::named::named;

named! {
    /// The kinds of events.
    pub enum EventKind {
        /// An account was created, by sign-up or by an operator.
        AccountCreated = "account_created",
        /// A login, or the new session after a change or a reset of the password.
        SessionStarted = "session_started",
        /// A password was wrong, or no account has the address.
        LoginFailed = "login_failed",
        /// A password was rejected because too many had been wrong.
        LoginThrottled = "login_throttled",
        /// A sign-up used the address of the account.
        RegistrationRefused = "registration_refused",
        /// The password was changed, by its owner or an operator.
        PasswordChanged = "password_changed",
        /// An operator changed the account's roles; the detail names them.
        RolesChanged = "roles_changed",
        /// An operator changed the account's custom claims; the detail names them.
        ClaimsChanged = "claims_changed",
        /// An operator disabled the account.
        AccountDisabled = "account_disabled",
        /// An operator enabled it again.
        AccountEnabled = "account_enabled",
        /// The owner closed the account.
        AccountClosed = "account_closed",
        /// An operator deleted the account.
        AccountDeleted = "account_deleted",
        /// A session was ended early; the detail is the reason.
        SessionEnded = "session_ended",
        /// An already rotated refresh token was used.
        RefreshTokenReused = "refresh_token_reused",
        /// A refresh was repeated from another address and another user agent than before, without
        /// an idempotency key of that rotation, and got the same tokens.
        RefreshReplayedElsewhere = "refresh_replayed_elsewhere",
        /// A single access token was revoked.
        AccessTokenRevoked = "access_token_revoked",
        /// A client was registered; the detail is its id.
        ClientAdded = "client_added",
        /// A client's name, origins, scopes or lifetimes were changed; the detail is its id.
        ClientChanged = "client_changed",
        /// A client got another secret; the detail is its id.
        ClientSecretRotated = "client_secret_rotated",
        /// A client was removed; the detail is its id.
        ClientRemoved = "client_removed",
        /// A client sent a wrong secret or an unknown id.
        ClientAuthenticationFailed = "client_authentication_failed",
        /// A client read through the admin API; reads are added up by client and minute.
        AdminRead = "admin_read",
        /// A signing key is published, but does not sign yet; the detail is its `kid`.
        KeyPublished = "key_published",
        /// A signing key became active.
        KeyRotated = "key_rotated",
        /// A signing key no longer signs.
        KeyRetired = "key_retired",
        /// A signing key is no longer published.
        KeyRemoved = "key_removed",
        /// A signing key was revoked: its tokens are rejected.
        KeyRevoked = "key_revoked",
        /// A backup was restored and every session ended.
        BackupRestored = "backup_restored",
        /// A message was chosen for a mail request; the detail is the message's name.
        MailRequested = "mail_requested",
        /// A mail request got no message because a limit was reached; the detail is the message's
        /// name.
        MailLimited = "mail_limited",
        /// A message was abandoned; the detail is the purpose of its request.
        MailFailed = "mail_failed",
        /// A mailed link or code set a new password.
        PasswordReset = "password_reset",
        /// A mailed link or code proved the address, or an operator marked it as proven.
        EmailVerified = "email_verified",
        /// The address was changed, by its owner or an operator.
        EmailChanged = "email_changed",
        /// A second factor was set up; the detail is its kind.
        FactorAdded = "factor_added",
        /// The owner removed the second factor; the detail is its kind.
        FactorRemoved = "factor_removed",
        /// An operator removed every second factor and recovery code.
        FactorsReset = "factors_reset",
        /// New recovery codes replaced the old ones.
        RecoveryCodesReplaced = "recovery_codes_replaced",
        /// A recovery code was used; the detail is how many are left.
        RecoveryCodeUsed = "recovery_code_used",
        /// A second factor was wrong, after a right password or in a session; or it was used
        /// before.
        SecondFactorFailed = "second_factor_failed",
        /// A code was rejected because too many had been tried.
        SecondFactorThrottled = "second_factor_throttled",
    }
}

/// An event.
#[derive(Clone, Debug)]
pub struct Event {
    pub(super) kind: EventKind,
    pub(super) user: Option<Id>,
    pub(super) session: Option<Id>,
    pub(super) address: Option<String>,
    pub(super) detail: Option<String>,
    pub(super) actor: Option<String>,
}

impl Event {
    /// An event without an account, session or address.
    #[must_use]
    pub const fn new(kind: EventKind) -> Self {
        Self { kind, user: None, session: None, address: None, detail: None, actor: None }
    }

    /// Sets the account: its owner sees the event at `/me/activity`.
    #[must_use]
    pub fn with_user(self, user: Id) -> Self {
        Self { user: Some(user), ..self }
    }

    /// Sets the session.
    #[must_use]
    pub fn with_session(self, session: Id) -> Self {
        Self { session: Some(session), ..self }
    }

    /// Sets the client address, in the form that sessions store. Operators' events have none.
    #[must_use]
    pub fn with_address(self, address: Option<&str>) -> Self {
        Self { address: address.map(str::to_owned), ..self }
    }

    /// Sets the detail: a reason or an id. Never text that a client has sent.
    #[must_use]
    pub fn with_detail(self, detail: impl Into<String>) -> Self {
        Self { detail: Some(detail.into()), ..self }
    }

    /// Sets the operator who causes it, if it is one.
    #[must_use]
    pub fn with_actor(self, actor: Option<&str>) -> Self {
        Self { actor: actor.map(str::to_owned).or(self.actor), ..self }
    }

    pub(super) fn log(&self) {
        let (event, detail) = (self.kind.as_str(), self.detail.as_deref());
        let (user, session) = (self.user.map(display), self.session.map(display));
        let (address, actor) = (self.address.as_deref(), self.actor.as_deref());
        if self.kind == EventKind::RefreshTokenReused {
            tracing::warn!(event, user, session, address, actor, detail);
        } else {
            tracing::info!(event, user, session, address, actor, detail);
        }
    }
}
