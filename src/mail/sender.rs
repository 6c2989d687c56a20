//! The sender of this node: chooses messages, renders them and hands them to the transport.
//!
//! It polls every second. A request does not wake it: its work would slow down the next requests of
//! the same client for a known address more than for an unknown one, and so tell which is which.
//!
//! A message is rendered when it is sent, so its link and code are not stored. Failed attempts are
//! retried (`delivery`). While the mail server is unreachable, messages keep their
//! order, and the sender connects less and less often.

use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use tokio::time::{sleep, timeout};

use super::Mail;
use super::delivery::SendAttempt;
use super::messages::{MessageRenderer, RenderedMessage, TemplateError};
use super::queries::MailRequest;
use super::transport::{MailTransport, SendError};
use crate::database::StoreError;
use crate::locks;

pub use super::triage::{AccountDirectory, Recipient};

/// How often the sender polls for requests and for due messages.
const POLL_INTERVAL: Duration = Duration::from_secs(1);

/// Messages that are sent concurrently.
const BATCH: i64 = 8;

/// The deadline of an attempt: shorter than a lease.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(3 * 60);

/// How often the rows of the table are counted.
const COUNT_INTERVAL: Duration = Duration::from_secs(10);

/// The first pause after the server was unreachable; each further one is twice as long.
const FIRST_PAUSE: Duration = Duration::from_secs(1);

/// The longest pause.
const MAX_PAUSE: Duration = Duration::from_secs(60);

/// Sends the messages that wait. Each node has one.
pub struct MailSender {
    mail: Mail,
    directory: AccountDirectory,
    renderer: MessageRenderer,
    transport: MailTransport,
    state: Mutex<SenderState>,
}

#[derive(Default)]
struct SenderState {
    counted_at: Option<Instant>,
    /// While the server is unreachable: when to try again, and the next pause.
    paused: Option<(Instant, Duration)>,
}

impl MailSender {
    /// Creates a sender from its dependencies.
    #[must_use]
    pub fn new(
        mail: Mail,
        directory: AccountDirectory,
        renderer: MessageRenderer,
        transport: MailTransport,
    ) -> Self {
        Self { mail, directory, renderer, transport, state: Mutex::default() }
    }

    /// Sends until it is dropped, while the clock is trusted: it decides when a message is due, too
    /// old or expired.
    pub async fn run(&self, is_clock_trusted: impl Fn() -> bool) {
        loop {
            sleep(POLL_INTERVAL).await;
            if !is_clock_trusted() {
                continue;
            }
            // A database that does not answer is tried again at the next interval.
            let _ = self.send_due().await;
        }
    }

    async fn send_due(&self) -> Result<(), StoreError> {
        let now = self.mail.clock.monotonic();
        if self.is_time_to_count(now) {
            self.mail.count_rows().await?;
        }
        self.mail.store_pending_notices().await;
        let work = self.mail.work().await?;
        if work.has_undecided {
            while self.mail.choose_messages(&self.directory).await? {}
        } else if !work.has_due {
            return Ok(());
        }
        while !self.is_paused(now) {
            let claimed = self.mail.claim(BATCH).await?;
            if claimed.is_empty() {
                break;
            }
            let tried: Vec<SendAttempt> =
                join_all(claimed.into_iter().map(|row| self.attempt(row))).await;
            self.pause_if_unreachable(&tried);
            self.mail.store_results(tried).await?;
        }
        Ok(())
    }

    async fn attempt(&self, row: MailRequest) -> SendAttempt {
        let result = match self.render(&row) {
            Some(Ok(rendered)) => {
                let sending = self.transport.send(&rendered);
                timeout(ATTEMPT_TIMEOUT, sending).await.unwrap_or(Err(SendError::timed_out()))
            }
            Some(Err(error)) => {
                tracing::error!(%error, "a mail template cannot be rendered");
                Err(SendError::transient(error.to_string()))
            }
            None => Err(SendError::permanent("this version has no message of that name")),
        };
        (row, result)
    }

    fn render(&self, row: &MailRequest) -> Option<Result<RenderedMessage, TemplateError>> {
        let message = row.message()?;
        let lifetimes = self.mail.policy.lifetimes;
        Some(self.renderer.render(message, row, &self.mail.keys, lifetimes))
    }

    fn is_time_to_count(&self, now: Instant) -> bool {
        let mut state = self.state();
        let is_time = state.counted_at.is_none_or(|at| now.duration_since(at) >= COUNT_INTERVAL);
        if is_time {
            state.counted_at = Some(now);
        }
        is_time
    }

    fn is_paused(&self, now: Instant) -> bool {
        self.state().paused.is_some_and(|(until, _)| now < until)
    }

    /// Pauses when every attempt has failed because of the server, and continues when it has
    /// answered about a message. Only an unreachable server makes the pause grow: one that closes
    /// connections may do so because of these messages, and must not delay others.
    fn pause_if_unreachable(&self, tried: &[SendAttempt]) {
        let is_of_server = |(_, result): &SendAttempt| {
            let error = result.as_ref().err();
            error.is_some_and(|error| error.is_unreachable() || error.is_dropped())
        };
        let mut state = self.state();
        if !tried.iter().all(is_of_server) {
            state.paused = None;
            return;
        }
        let is_unreachable = |(_, result): &SendAttempt| {
            result.as_ref().err().is_some_and(SendError::is_unreachable)
        };
        let (pause, next) = if tried.iter().any(is_unreachable) {
            let pause = state.paused.map_or(FIRST_PAUSE, |(_, next)| next);
            (pause, (pause * 2).min(MAX_PAUSE))
        } else {
            (FIRST_PAUSE, FIRST_PAUSE)
        };
        state.paused = Some((self.mail.clock.monotonic() + pause, next));
    }

    fn state(&self) -> MutexGuard<'_, SenderState> {
        locks::lock(&self.state)
    }
}
