//! A refresh, in one unit of work: the session is loaded and the client authorised, [`decide`]
//! decides about the token, and the change is applied or the reuse recorded.

mod refusal;

use diesel::QueryResult;

use super::issue::AccessGrant;
use super::metrics::RefreshOutcome;
use super::queries::{self, SessionRow, SessionUpdate};
use super::rotation::{Decision, EndReason, KeyHash, SessionState, decide, next_expiry};
use super::{Device, Grant, IssueError, Sessions, Tokens, find_session};
use crate::audit::{self, Event, EventKind};
use crate::clients::{self, RequestingClient, UnknownClient};
use crate::clock::Timestamp;
use crate::database::{Id, StoreError, Tx};
use crate::mail::messages::MessageKind;
use crate::mail::notices::NoticeContext;
use crate::refresh_token::RefreshToken;

pub use refusal::Refusal;

/// The maximum number of attempts of a refresh that loses races; each loss means that another
/// request succeeded.
const MAX_ATTEMPTS: usize = 20;

/// Why a refresh returned no tokens.
#[derive(Debug, thiserror::Error)]
pub enum RefreshError {
    /// The session has ended, or never existed. Terminal: the client has to log in again.
    #[error("the refresh token is rejected")]
    Refused(#[from] Refusal),
    /// The requesting client is unknown; the token may be valid.
    #[error(transparent)]
    Client(#[from] UnknownClient),
    /// The database did not answer; the token may still be valid.
    #[error(transparent)]
    Issue(#[from] IssueError),
}

impl From<StoreError> for RefreshError {
    fn from(error: StoreError) -> Self {
        Self::Issue(error.into())
    }
}

/// A request to refresh.
struct RefreshRequest {
    token: RefreshToken,
    requester: RequestingClient,
    key: Option<KeyHash>,
    device: Device,
}

/// The session of a request, as one attempt has read it.
struct Loaded {
    id: Id,
    row: SessionRow,
    state: SessionState,
    now: Timestamp,
}

/// The result of a decision: the generation whose tokens are returned once the change is stored.
struct RefreshResponse {
    generation: u32,
    change: Option<SessionUpdate>,
    outcome: RefreshOutcome,
}

impl Sessions {
    /// Returns the tokens that follow a refresh token, to the client that it was issued to. `key`
    /// is the request's `Idempotency-Key`, which proves a retry; `device` describes the request's
    /// source.
    ///
    /// # Errors
    /// [`RefreshError`]: a refusal is final; for every other error, retry with the same token and
    /// key.
    pub async fn refresh(
        &self,
        token: RefreshToken,
        requester: RequestingClient,
        key: Option<&[u8]>,
        device: Device,
    ) -> Result<Tokens, RefreshError> {
        let request = RefreshRequest { token, requester, key: key.map(KeyHash::of), device };
        let this = self.clone();
        let rotated = match self.ensure_clock() {
            Ok(()) => {
                let rotate = move |tx: &mut Tx<'_>| this.rotate_in_tx(tx, &request);
                self.db.write_one(rotate).await.map_err(RefreshError::from)
            }
            Err(error) => Err(IssueError::from(error).into()),
        };
        let result =
            rotated.flatten().and_then(|(grant, outcome)| Ok((self.issue(&grant)?, outcome)));
        self.count_refresh(match &result {
            Ok((_, outcome)) => *outcome,
            Err(error) => RefreshOutcome::of(error),
        });
        result.map(|(tokens, _)| tokens)
    }

    fn rotate_in_tx(
        &self,
        tx: &mut Tx<'_>,
        request: &RefreshRequest,
    ) -> QueryResult<Result<(Grant, RefreshOutcome), RefreshError>> {
        for _ in 0..MAX_ATTEMPTS {
            let loaded = match self.load_authorised(tx, request)? {
                Ok(loaded) => loaded,
                Err(error) => return Ok(Err(error)),
            };
            match self.answer_for(&loaded, request) {
                Ok(answer) => {
                    if let Some(granted) = self.apply(tx, request, loaded, answer)? {
                        return Ok(Ok(granted));
                    }
                }
                Err(Refusal::Reused) => {
                    let Loaded { row, now, .. } = &loaded;
                    if self.end_reused(tx, &request.token, row, &request.device, *now)? {
                        return Ok(Err(Refusal::Reused.into()));
                    }
                }
                Err(refusal) => return Ok(Err(refusal.into())),
            }
        }
        Err(diesel::result::Error::RollbackTransaction)
    }

    /// Loads the session of the token, if it belongs to the requesting client.
    fn load_authorised(
        &self,
        tx: &mut Tx<'_>,
        request: &RefreshRequest,
    ) -> QueryResult<Result<Loaded, RefreshError>> {
        let RefreshRequest { token, requester, .. } = request;
        let Some(row) = find_session(tx.connection(), token)? else {
            return Ok(Err(Refusal::UnknownToken.into()));
        };
        let id = Id::from(token.session);
        if row.client_id != *requester.id() {
            if let Err(unknown) = clients::ensure_known(tx.connection(), requester)? {
                return Ok(Err(unknown.into()));
            }
            tracing::warn!(event = "refresh_token_of_another_client", session = %id);
            return Ok(Err(Refusal::WrongClient.into()));
        }
        Ok(Ok(Loaded { id, state: row.state(), row, now: self.clock.now() }))
    }

    /// Converts the decision about the token to the response and the change of the row.
    fn answer_for(
        &self,
        loaded: &Loaded,
        request: &RefreshRequest,
    ) -> Result<RefreshResponse, Refusal> {
        let Loaded { id, row, state, now } = loaded;
        let used = SessionUpdate {
            rotated_at: Some(now.as_micros()),
            last_seen_at: Some(now.as_micros()),
            expires_at: Some(next_expiry(state, *now, self.policy.idle_timeout).as_micros()),
            ..SessionUpdate::default()
        };
        let current = state.generation;
        let (presented, window) =
            (request.token.generation, self.policy.window(row.client_settings()));
        let (generation, change, outcome) =
            match decide(state, presented, request.key, *now, window) {
                Decision::Ended(reason) => return Err(Refusal::Ended(reason)),
                Decision::Expired => return Err(Refusal::Expired),
                Decision::Reuse => return Err(Refusal::Reused),
                Decision::RepeatResponse => (current, None, RefreshOutcome::ConcurrentReplay),
                Decision::RepeatResponseAndStoreKey(keys) => {
                    let change = SessionUpdate::of_keys(&keys);
                    (current, Some(change), RefreshOutcome::ConcurrentReplay)
                }
                Decision::RepeatProvenRetry => (current, None, RefreshOutcome::ProvenRetry),
                Decision::ProvenRetry => {
                    let change =
                        SessionUpdate { reopened_generation: Some(current.into()), ..used };
                    (current, Some(change), RefreshOutcome::ProvenRetry)
                }
                Decision::ForgiveLostResponse => {
                    let change =
                        SessionUpdate { forgiven_generation: Some(current.into()), ..used };
                    (current, Some(change), RefreshOutcome::Forgiven)
                }
                Decision::Rotate { to, keys, fast_forward } => {
                    if fast_forward {
                        let event = "database_older_than_token";
                        tracing::warn!(event, session = %id, presented, generation = current);
                    }
                    let Device { user_agent, address, .. } = request.device.clone();
                    let change = SessionUpdate {
                        generation: Some(to.into()),
                        retry_keys: Some(KeyHash::join(&keys)),
                        user_agent,
                        // It is indexed: only a changed one is written.
                        address: address.filter(|new| !row.is_at(new)),
                        ..used
                    };
                    (to, Some(change), RefreshOutcome::Rotated)
                }
            };
        Ok(RefreshResponse { generation, change, outcome })
    }

    /// Stores the change and grants the tokens; nothing when the row has changed since it was read.
    fn apply(
        &self,
        tx: &mut Tx<'_>,
        request: &RefreshRequest,
        loaded: Loaded,
        answer: RefreshResponse,
    ) -> QueryResult<Option<(Grant, RefreshOutcome)>> {
        let Loaded { id, row, state, now } = loaded;
        let RefreshResponse { generation, change, outcome } = answer;
        if let Some(change) = &change
            && !queries::compare_and_set(tx.connection_to_write(), id, &row, change)?
        {
            return Ok(None);
        }
        let is_replay =
            matches!(outcome, RefreshOutcome::ConcurrentReplay | RefreshOutcome::Forgiven);
        let is_proven = request.key.is_some_and(|key| state.retry_keys.contains(&key));
        if is_replay && !is_proven && row.came_from_other_device(&request.device) {
            self.record_replay(tx, row.user_id, id, &request.device);
        }
        let expires_at = change.and_then(|change| change.expires_at);
        let mut subject = row.subject();
        subject.authentication = self.in_tokens(subject.authentication, row.created_at);
        let retry_window = self.policy.window(row.client_settings());
        let access = AccessGrant {
            subject,
            session: id.uuid(),
            lifetime: self.policy.lifetime(row.client_settings()),
            client_id: row.client_id,
            granted_at: now,
            expires_at: expires_at.map_or(row.expires_at, Timestamp::from_micros),
        };
        let token = request.token.at_generation(generation);
        let grant = Grant { token, access, retry_window };
        Ok(Some((grant, outcome)))
    }

    /// Records a reuse of a token that came from `device`, notifies the owner, and ends the
    /// session; false when the row has changed since it was read: another node may have reopened
    /// the window, or ended the session.
    pub(super) fn end_reused(
        &self,
        tx: &mut Tx<'_>,
        token: &RefreshToken,
        row: &SessionRow,
        device: &Device,
        now: Timestamp,
    ) -> QueryResult<bool> {
        let (id, state) = (Id::from(token.session), row.state());
        tx.begin()?;
        let unchanged = SessionUpdate::of_keys(&state.retry_keys);
        if !queries::compare_and_set(tx.connection(), id, row, &unchanged)? {
            return Ok(false);
        }
        let (presented, reached) = (token.generation, state.generation);
        let reused =
            Event::new(EventKind::RefreshTokenReused).with_user(row.user_id).with_session(id);
        let reused = reused
            .with_address(device.address.as_deref())
            .with_detail(format!("generation {presented}, after {reached} was issued"));
        audit::record(tx, reused, now)?;
        let context = NoticeContext {
            network: device.address.as_deref(),
            user_agent: device.user_agent.as_deref(),
            codes_left: None,
        };
        self.mail.notify(tx, row.user_id, MessageKind::RefreshTokenReused, context, now)?;
        self.end_one(tx, id, EndReason::RefreshTokenReused.into(), now)?;
        Ok(true)
    }

    /// Records a replay from another device after the commit: it may come from a tab behind another
    /// proxy, or from a thief. Replays are aggregated, because inside the window they write nothing
    /// else and only the session's rate limit bounds their number.
    fn record_replay(&self, tx: &mut Tx<'_>, user: Id, session: Id, device: &Device) {
        let replayed =
            Event::new(EventKind::RefreshReplayedElsewhere).with_user(user).with_session(session);
        let replayed = replayed.with_address(device.address.as_deref());
        let (audit, mail, device) = (self.audit.clone(), self.mail.clone(), device.clone());
        tx.after_commit(move || {
            audit.aggregate(&replayed);
            mail.notify_replay_soon(user, session, device.address, device.user_agent);
        });
    }
}
