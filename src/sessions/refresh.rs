//! A refresh: what [`decide`] says, carried out in one unit of work.

use diesel::QueryResult;

use super::metrics::RefreshOutcome;
use super::queries::{self, SessionUpdate};
use super::rotation::{Decision, EndReason, KeyHash, SessionState, decide, next_expiry};
use super::{Device, Grant, IssueError, Sessions, Tokens, find_session};
use crate::audit::{self, Event, EventKind};
use crate::clients::{self, RequestingClient, UnknownClient};
use crate::clock::Timestamp;
use crate::database::{Id, StoreError, Tx};
use crate::refresh_token::RefreshToken;

/// How often a refresh that lost a race reads the row again; each loss means that another one won.
const MAX_ATTEMPTS: usize = 20;

/// Why a refresh answered no tokens.
#[derive(Debug, thiserror::Error)]
pub enum RefreshError {
    /// The session is over, or never was. Terminal: the client has to log in again.
    #[error("the refresh token is refused")]
    Refused(Refusal),
    /// The client that asks is not known; the token may be good.
    #[error(transparent)]
    Client(#[from] UnknownClient),
    /// The token may still be good; the database did not answer.
    #[error(transparent)]
    Issue(#[from] IssueError),
}

impl RefreshError {
    /// For a token that no session has.
    #[must_use]
    pub const fn unknown() -> Self {
        Self::Refused(Refusal::UnknownToken)
    }
}

impl From<StoreError> for RefreshError {
    fn from(error: StoreError) -> Self {
        Self::Issue(error.into())
    }
}

/// Why a refresh token is not good any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// It is none, or its session is forgotten.
    UnknownToken,
    /// It was issued to another client.
    WrongClient,
    /// Its session was not refreshed in time, or has lived as long as any may.
    Expired,
    /// It was spent, and its session is ended by this.
    Reused,
    /// Its session was ended before.
    Ended(EndReason),
}

impl Refusal {
    /// The stable name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::UnknownToken => "unknown_token",
            Self::WrongClient => "wrong_client",
            Self::Expired => "expired",
            Self::Reused => EndReason::RefreshTokenReused.as_str(),
            Self::Ended(reason) => reason.as_str(),
        }
    }

    /// One sentence for a person.
    #[must_use]
    pub const fn explanation(self) -> &'static str {
        match self {
            Self::UnknownToken => "This is not a refresh token of a session here. Log in again.",
            Self::WrongClient => {
                "The refresh token was issued to another client. Name the one that logged in."
            }
            Self::Expired => "The session has expired. Log in again.",
            Self::Ended(EndReason::Logout) => "The session was logged out. Log in again.",
            Self::Ended(EndReason::EndedByUser) => {
                "The session was ended from the list of sessions. Log in again."
            }
            Self::Reused | Self::Ended(EndReason::RefreshTokenReused) => {
                "A spent refresh token of this session was used again, so somebody may have stolen it. Log in again."
            }
            Self::Ended(EndReason::PasswordChanged) => "The password was changed. Log in again.",
            Self::Ended(EndReason::AccountDisabled) => "The account is disabled.",
            Self::Ended(EndReason::AccountClosed) => "The account was closed.",
            Self::Ended(EndReason::TooManySessions) => {
                "The session gave way to a newer one of the same account. Log in again."
            }
            Self::Ended(EndReason::Replaced) => {
                "A later login in the same browser replaced the session."
            }
            Self::Ended(EndReason::BackupRestored) => {
                "The service was restored from a backup. Log in again."
            }
            Self::Ended(EndReason::ClientRemoved) => {
                "The client that the session belongs to was removed."
            }
        }
    }
}

/// A verdict of the unit of work.
enum RefreshRejection {
    Token(Refusal),
    Client(UnknownClient),
}

impl From<RefreshRejection> for RefreshError {
    fn from(refused: RefreshRejection) -> Self {
        match refused {
            RefreshRejection::Token(reason) => Self::Refused(reason),
            RefreshRejection::Client(unknown) => unknown.into(),
        }
    }
}

impl From<Refusal> for RefreshRejection {
    fn from(refusal: Refusal) -> Self {
        Self::Token(refusal)
    }
}

impl Sessions {
    /// Answers the tokens that follow a refresh token to the client that it was issued to. `key` is the request's `Idempotency-Key`, by
    /// which a client proves that it asks again; `device` is where it asks from.
    ///
    /// # Errors
    /// [`RefreshError`]: a refusal is final, anything else is worth a retry with the same token and
    /// key.
    pub async fn refresh(
        &self,
        token: RefreshToken,
        requester: RequestingClient,
        key: Option<&[u8]>,
        device: Device,
    ) -> Result<Tokens, RefreshError> {
        let key = key.map(KeyHash::of);
        let this = self.clone();
        let verdict = self
            .db
            .write_one(move |tx| this.rotate_in_tx(tx, &token, &requester, key, &device))
            .await;
        let result = match verdict {
            Ok(Ok((grant, outcome))) => {
                self.issue(&grant).map(|tokens| (tokens, outcome)).map_err(RefreshError::from)
            }
            Ok(Err(refused)) => Err(refused.into()),
            Err(error) => Err(error.into()),
        };
        self.refreshes.count(match &result {
            Ok((_, outcome)) => *outcome,
            Err(error) => RefreshOutcome::of(error),
        });
        result.map(|(tokens, _)| tokens)
    }

    fn rotate_in_tx(
        &self,
        tx: &mut Tx<'_>,
        token: &RefreshToken,
        requester: &RequestingClient,
        key: Option<KeyHash>,
        device: &Device,
    ) -> QueryResult<Result<(Grant, RefreshOutcome), RefreshRejection>> {
        let session = Id::from(token.session);
        for _ in 0..MAX_ATTEMPTS {
            let Some(row) = find_session(tx.connection(), token)? else {
                return Ok(Err(Refusal::UnknownToken.into()));
            };
            if row.client_id != *requester.id() {
                let known = clients::ensure_known(tx.connection(), requester)?;
                return Ok(Err(known.map_or_else(RefreshRejection::Client, |()| {
                    tracing::warn!(event = "refresh_token_of_another_client", %session);
                    Refusal::WrongClient.into()
                })));
            }
            let (state, now) = (row.state(), self.clock.now());
            let expires_at = next_expiry(&state, now, self.policy.idle_timeout);
            let used = SessionUpdate {
                rotated_at: Some(now.as_micros()),
                last_seen_at: Some(now.as_micros()),
                expires_at: Some(expires_at.as_micros()),
                ..SessionUpdate::default()
            };
            let window = self.policy.window(row.client_settings());
            let step = decide(&state, token.generation, key, now, window);
            let outcome = RefreshOutcome::after(&step);
            let is_doubtful =
                is_unproven_replay(&step, &state, key) && row.came_from_other_device(device);
            let (generation, change) = match step {
                Decision::Ended(reason) => return Ok(Err(Refusal::Ended(reason).into())),
                Decision::Expired => return Ok(Err(Refusal::Expired.into())),
                Decision::Reuse => {
                    tx.begin()?;
                    // Another node may have opened the window again in the meantime, or ended it.
                    let retry_keys = Some(KeyHash::join(&state.retry_keys));
                    let as_it_is = SessionUpdate { retry_keys, ..SessionUpdate::default() };
                    if !queries::compare_and_set(tx.connection(), session, &row, &as_it_is)? {
                        continue;
                    }
                    let generations = (token.generation, state.generation);
                    self.end_reused(tx, row.user_id, session, generations, device, now)?;
                    return Ok(Err(Refusal::Reused.into()));
                }
                Decision::RepeatAnswer | Decision::RepeatProvenRetry => (state.generation, None),
                Decision::RepeatAnswerAndRemember(keys) => {
                    let retry_keys = Some(KeyHash::join(&keys));
                    (
                        state.generation,
                        Some(SessionUpdate { retry_keys, ..SessionUpdate::default() }),
                    )
                }
                Decision::ProvenRetry => {
                    let reopened_generation = Some(i64::from(state.generation));
                    (state.generation, Some(SessionUpdate { reopened_generation, ..used }))
                }
                Decision::ForgiveLostAnswer => {
                    let forgiven_generation = Some(i64::from(state.generation));
                    (state.generation, Some(SessionUpdate { forgiven_generation, ..used }))
                }
                Decision::Rotate { to, keys, fast_forward } => {
                    if fast_forward {
                        let (presented, generation) = (token.generation, state.generation);
                        let event = "database_older_than_token";
                        tracing::warn!(event, %session, presented, generation);
                    }
                    let change = SessionUpdate {
                        generation: Some(i64::from(to)),
                        retry_keys: Some(KeyHash::join(&keys)),
                        user_agent: device.user_agent.clone(),
                        // It is indexed: only a new one is written.
                        address: device.address.clone().filter(|new| !row.is_at(new)),
                        ..used
                    };
                    (to, Some(change))
                }
            };
            let expires_at = match &change {
                Some(SessionUpdate { expires_at: Some(_), .. }) => expires_at,
                _ => row.expires_at,
            };
            let stands = match change {
                Some(change) => {
                    queries::compare_and_set(tx.connection_to_write(), session, &row, &change)?
                }
                None => true,
            };
            if stands {
                if is_doubtful {
                    self.record_replay(tx, row.user_id, session, device);
                }
                let grant = Grant {
                    subject: row.subject(),
                    lifetime: self.policy.lifetime(row.client_settings()),
                    token: token.at_generation(generation),
                    client_id: row.client_id,
                    granted_at: now,
                    expires_at,
                };
                return Ok(Ok((grant, outcome)));
            }
        }
        Err(diesel::result::Error::RollbackTransaction)
    }

    /// Records a reuse, with the generations of the token and of its session, and ends the session.
    fn end_reused(
        &self,
        tx: &mut Tx<'_>,
        user: Id,
        session: Id,
        (presented, reached): (u32, u32),
        device: &Device,
        now: Timestamp,
    ) -> QueryResult<()> {
        let reused = Event::new(EventKind::RefreshTokenReused).with_user(user);
        let reused = reused.with_session(session).with_address(device.address.as_deref());
        let detail = format!("generation {presented}, after {reached} was issued");
        audit::record(tx, reused.detail(detail), now)?;
        self.end_one(tx, session, EndReason::RefreshTokenReused.into(), now).map(drop)
    }

    /// Puts a replay from elsewhere on record once it is answered: it may be a tab behind another
    /// proxy, or a thief beside the owner. Summed, because an answer inside the window writes
    /// nothing, and as many as the rate limit of the session allows may come.
    fn record_replay(&self, tx: &mut Tx<'_>, user: Id, session: Id, device: &Device) {
        let replayed =
            Event::new(EventKind::RefreshReplayedElsewhere).with_user(user).with_session(session);
        let replayed = replayed.with_address(device.address.as_deref());
        let audit = self.audit.clone();
        tx.after_commit(move || audit.add_failure(&replayed));
    }
}

/// Whether a step answers the present token once more to a request that shows no key of the rotation
/// that led to it.
fn is_unproven_replay(step: &Decision, state: &SessionState, key: Option<KeyHash>) -> bool {
    let is_replay = matches!(
        step,
        Decision::RepeatAnswer | Decision::RepeatAnswerAndRemember(_) | Decision::ForgiveLostAnswer
    );
    is_replay && !key.is_some_and(|key| state.retry_keys.contains(&key))
}
