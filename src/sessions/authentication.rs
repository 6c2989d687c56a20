//! When and how the user of a session was last authenticated: `auth_time` and `amr` of its tokens.
//!
//! A login sets them and [`Sessions::reauthenticate`] replaces them; a refresh copies them.

use std::borrow::Cow;
use std::mem;

use diesel::QueryResult;
use serde::Serialize;

use super::issue::AccessGrant;
use super::{IssueError, Sessions, queries};
use crate::clock::Timestamp;
use crate::database::{Id, Tx};
use crate::secret::Secret;

/// The methods of an authentication: values of RFC 8176, separated by spaces.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuthMethods(Cow<'static, str>);

/// The value that stands for more than one factor.
const MULTI_FACTOR: &str = "mfa";

impl AuthMethods {
    /// The password.
    pub const PASSWORD: Self = Self(Cow::Borrowed("pwd"));

    /// The password and a code of an authenticator app.
    pub const TOTP: Self = Self(Cow::Borrowed("pwd otp mfa"));

    /// The password and a recovery code.
    pub const RECOVERY_CODE: Self = Self(Cow::Borrowed("pwd mfa"));

    /// The methods in a column.
    pub(super) const fn from_column(text: String) -> Self {
        Self(Cow::Owned(text))
    }

    /// The text in the column.
    pub(super) fn as_str(&self) -> &str {
        &self.0
    }

    /// The value of `amr`.
    pub(super) fn names(&self) -> Vec<String> {
        self.0.split(' ').map(str::to_owned).collect()
    }

    fn is_multi_factor(&self) -> bool {
        self.0.split(' ').any(|name| name == MULTI_FACTOR)
    }
}

/// An authentication.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Authentication {
    /// When it took place.
    pub at: Timestamp,
    /// Its methods.
    pub methods: AuthMethods,
}

/// When a second factor was proven, by the claims of an access token.
pub(super) fn factor_proven_at(auth_time: Option<i64>, amr: &[String]) -> Option<Timestamp> {
    let is_multi_factor = amr.iter().any(|name| name == MULTI_FACTOR);
    auth_time.filter(|_| is_multi_factor).map(Timestamp::from_unix_seconds)
}

/// An access token without a refresh token.
#[derive(Serialize)]
pub struct AccessToken {
    #[serde(skip_serializing_if = "String::is_empty")]
    access_token: String,
    expires_in: u64,
}

impl AccessToken {
    /// Moves the token out; returns it with the seconds until it expires.
    pub fn take_text(&mut self) -> (Secret<String>, u64) {
        (Secret::new(mem::take(&mut self.access_token)), self.expires_in)
    }
}

impl Sessions {
    /// The part of a session's authentication that its tokens contain. A login with the password
    /// alone is in none of them, unless the settings say so.
    pub(super) fn in_tokens(
        &self,
        authentication: Option<Authentication>,
        created_at: Timestamp,
    ) -> Option<Authentication> {
        authentication.filter(|it| {
            self.policy.auth_claims || it.methods.is_multi_factor() || it.at > created_at
        })
    }

    /// Replaces the authentication of a live session of the user, in the caller's unit of work;
    /// `None` when the session has ended.
    ///
    /// # Errors
    /// The database error.
    pub fn reauthenticate(
        &self,
        tx: &mut Tx<'_>,
        user: Id,
        session: Id,
        methods: AuthMethods,
        now: Timestamp,
    ) -> QueryResult<Option<AccessGrant>> {
        let row = queries::find(tx.connection(), session)?.filter(|row| row.user_id == user);
        let Some(row) = row.filter(|row| row.state().ended.is_none() && row.expires_at > now)
        else {
            return Ok(None);
        };
        // Later than the session's start, which tells it from the login: also by a clock that has
        // been set back since.
        let at = now.max(Timestamp::from_micros(row.created_at.as_micros().saturating_add(1)));
        let authentication = Authentication { at, methods };
        if !queries::set_authentication(tx.connection(), session, &authentication)? {
            return Ok(None);
        }
        let mut subject = row.subject();
        subject.authentication = Some(authentication);
        Ok(Some(AccessGrant {
            subject,
            session: session.uuid(),
            lifetime: self.policy.lifetime(row.client_settings()),
            client_id: row.client_id,
            granted_at: now,
            expires_at: row.expires_at,
        }))
    }

    /// Signs the access token that a unit of work has granted.
    ///
    /// # Errors
    /// [`IssueError::Signing`].
    pub fn issue_access_token(&self, grant: &AccessGrant) -> Result<AccessToken, IssueError> {
        let (access_token, lifetime) = self.sign_granted(grant)?;
        Ok(AccessToken { access_token, expires_in: lifetime.as_secs() })
    }

    /// The client that a session belongs to, and its authentication.
    ///
    /// # Errors
    /// The database error; "not found" when the session does not exist.
    pub fn client_and_authentication_of(
        &self,
        tx: &mut Tx<'_>,
        session: Id,
    ) -> QueryResult<(String, Option<Authentication>)> {
        let (client_id, at, amr) = queries::client_and_authentication(tx.connection(), session)?;
        Ok((client_id, authentication_of(at, amr)))
    }
}

/// The authentication in the columns of a session.
pub(super) fn authentication_of(
    at: Option<Timestamp>,
    amr: Option<String>,
) -> Option<Authentication> {
    let (at, amr) = at.zip(amr)?;
    Some(Authentication { at, methods: AuthMethods::from_column(amr) })
}
