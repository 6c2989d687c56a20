//! The sender of this node: chooses messages, renders them and hands them to the transport.
//!
//! It polls every second. A request does not wake it: its work would slow down the next requests of
//! the same client for a known address more than for an unknown one, and so tell which is which.
//!
//! A message is rendered when it is sent, so its link and code are not stored. When one is sent,
//! the next one is claimed: a slow recipient holds up no other message. Failed attempts are retried
//! (`delivery`). While the mail server is unreachable, messages keep their order, and the sender
//! connects less and less often.

use std::future::Future;
use std::pin::pin;
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use tokio::select;
use tokio::time::{MissedTickBehavior, interval, timeout};

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
pub(super) const MAX_CONCURRENT: usize = 8;

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
    /// Connections that the server has ended since it answered about a message.
    dropped: usize,
    /// The domains of the recipients of the messages that are being sent.
    in_transit: Vec<String>,
    /// Whether a message may be due that is not for a registration.
    has_urgent: bool,
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
        let mut poll = interval(POLL_INTERVAL);
        poll.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut sending = FuturesUnordered::new();
        loop {
            let is_poll = select! {
                _ = poll.tick() => true,
                Some(()) = sending.next() => false,
            };
            if !is_clock_trusted() {
                continue;
            }
            // A database that does not answer is tried again at the next interval.
            if is_poll && !matches!(meanwhile(&mut sending, self.poll()).await, Ok(true)) {
                continue;
            }
            while let Ok(claimed) = meanwhile(&mut sending, self.claim()).await
                && !claimed.is_empty()
            {
                sending.extend(claimed.into_iter().map(|row| self.deliver(row)));
            }
        }
    }

    /// Chooses the messages of new requests. Returns whether a message may be due.
    async fn poll(&self) -> Result<bool, StoreError> {
        if self.is_time_to_count(self.mail.clock.monotonic()) {
            self.mail.count_rows().await?;
        }
        self.mail.store_pending_notices().await;
        let mut work = self.mail.work().await?;
        if work.has_undecided {
            while self.mail.choose_messages(&self.directory).await? {}
            work = self.mail.work().await?;
        }
        self.state().has_urgent = work.has_urgent;
        if !work.has_due {
            self.transport.close_idle().await;
        }
        Ok(work.has_due)
    }

    /// Claims as many messages as may be sent now, those that are not for registrations first.
    async fn claim(&self) -> Result<Vec<MailRequest>, StoreError> {
        let (in_transit, has_urgent) = {
            let state = self.state();
            (state.in_transit.clone(), state.has_urgent)
        };
        let free = MAX_CONCURRENT.saturating_sub(in_transit.len());
        if free == 0 || self.is_paused(self.mail.clock.monotonic()) {
            return Ok(Vec::new());
        }
        let limit = i64::try_from(free).unwrap_or(1);
        let mut claimed = Vec::new();
        if has_urgent {
            claimed = self.mail.claim(in_transit.clone(), true, limit).await?;
            // Registrations may be many: they are not searched before each message.
            self.state().has_urgent = !claimed.is_empty();
        }
        if claimed.is_empty() {
            claimed = self.mail.claim(in_transit, false, limit).await?;
        }
        let domains = claimed.iter().map(|row| row.domain().to_owned());
        self.state().in_transit.extend(domains);
        Ok(claimed)
    }

    async fn deliver(&self, row: MailRequest) {
        let (domain, is_urgent) = (row.domain().to_owned(), row.is_urgent());
        let tried = self.attempt(row).await;
        self.pause_if_unreachable(&tried.1);
        let is_sent = tried.1.is_ok();
        // After repeated failures, the message is sent again.
        let _ = self.mail.store_attempt(tried).await;
        let mut state = self.state();
        state.has_urgent |= is_urgent && !is_sent;
        if let Some(place) = state.in_transit.iter().position(|it| *it == domain) {
            state.in_transit.swap_remove(place);
        }
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

    /// Pauses when an attempt has failed because of the server, and continues when the server has
    /// answered about a message. Only an unreachable server makes the pause grow: one that closes
    /// connections may do so because of these messages, and must not delay others.
    fn pause_if_unreachable(&self, result: &Result<(), SendError>) {
        let now = self.mail.clock.monotonic();
        let mut state = self.state();
        // Attempts that fail together make it grow once.
        let is_paused = state.paused.is_some_and(|(until, _)| now < until);
        match result {
            Err(error) if error.is_unreachable() => {
                if !is_paused {
                    let pause = state.paused.map_or(FIRST_PAUSE, |(_, next)| next);
                    state.paused = Some((now + pause, (pause * 2).min(MAX_PAUSE)));
                }
            }
            Err(error) if error.is_dropped() => {
                state.dropped += 1;
                if state.dropped >= MAX_CONCURRENT && !is_paused {
                    state.dropped = 0;
                    state.paused = Some((now + FIRST_PAUSE, FIRST_PAUSE));
                }
            }
            Ok(()) | Err(_) => (state.paused, state.dropped) = (None, 0),
        }
    }

    fn state(&self) -> MutexGuard<'_, SenderState> {
        locks::lock(&self.state)
    }
}

/// Waits for a step while messages are being sent.
async fn meanwhile<T>(
    sending: &mut FuturesUnordered<impl Future<Output = ()>>,
    step: impl Future<Output = T>,
) -> T {
    let mut step = pin!(step);
    loop {
        select! {
            done = &mut step => return done,
            Some(()) = sending.next() => {}
        }
    }
}
