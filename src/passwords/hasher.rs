//! The hashing pool: threads and their queue.
//!
//! A hash takes tens of milliseconds of a core and megabytes of memory. A fixed number of threads
//! computes all hashes, so that a storm of logins does not affect memory and the rest of the
//! server; excess hashes are rejected.

mod queue;
#[cfg(test)]
mod tests;

use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use tokio::sync::oneshot;

use super::argon2::{Argon2Worker, HashCost, Verdict, Work};
use super::dummy::{Candidate, Dummies, StoredCosts};
use super::{Password, PasswordHash, PasswordPolicy, WeakPassword};
use crate::clock::Clock;
use crate::metrics::{Histogram, counters, durations};
use crate::secret::DerivedKey;

use queue::{HashRejection, Job, Queue, RejectionCounters, RejectionLabel};

/// The settings of the hashing pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HasherSettings {
    /// The cost of a new hash.
    pub cost: HashCost,
    /// The number of threads; each keeps the memory of one hash. At least one.
    pub threads: usize,
    /// The capacity of the queue. At least one.
    pub queue: usize,
    /// How long a job may wait in the queue.
    pub deadline: Duration,
}

/// A handle to the hashing pool. The threads end when the last handle is dropped.
#[derive(Clone, Debug)]
pub struct Hasher {
    jobs: SyncSender<Job>,
    waiting: Arc<AtomicUsize>,
    work: Arc<Work>,
    waited: Histogram,
    refused: RejectionCounters,
    deadline: Duration,
    clock: Clock,
    cost: HashCost,
    dummies: Option<Dummies>,
}

impl Hasher {
    /// Starts the threads.
    ///
    /// # Errors
    /// When Argon2 does not support the cost, or the system provides no thread.
    pub fn start(settings: HasherSettings, clock: Clock) -> io::Result<Self> {
        let (jobs, receiver) = sync_channel(settings.queue.max(1));
        let hasher = Self {
            jobs,
            waiting: Arc::default(),
            work: Arc::default(),
            waited: durations(),
            refused: counters(HashRejection::ALL.iter().map(|&reason| RejectionLabel { reason })),
            deadline: settings.deadline,
            clock: clock.clone(),
            cost: settings.cost,
            dummies: None,
        };
        let queue = Arc::new(Queue {
            jobs: Mutex::new(receiver),
            waiting: Arc::clone(&hasher.waiting),
            waited: hasher.waited.clone(),
            refused: hasher.refused.clone(),
            deadline: settings.deadline,
            clock,
        });
        for number in 0..settings.threads.max(1) {
            let worker = Argon2Worker::counted(settings.cost, Arc::clone(&hasher.work))?;
            let queue = Arc::clone(&queue);
            thread::Builder::new()
                .name(format!("hasher-{number}"))
                .spawn(move || queue.run_jobs(worker))?;
        }
        Ok(hasher)
    }

    /// Chooses the dummy hashes of unknown addresses by this key, and by the stored hashes as far
    /// as they have been counted.
    #[must_use]
    pub fn with_dummy_key(self, key: DerivedKey) -> Self {
        let dummies = Some(Dummies::new(key, self.cost));
        Self { dummies, ..self }
    }

    /// An empty count of stored hashes, to be filled and passed to [`Self::set_stored_costs`].
    #[must_use]
    pub fn stored_costs(&self) -> StoredCosts {
        StoredCosts::none(self.cost)
    }

    /// Chooses dummy hashes by this count from now on.
    pub fn set_stored_costs(&self, costs: StoredCosts) {
        if let Some(dummies) = &self.dummies {
            dummies.set(costs);
        }
    }

    /// The dummy hash for an address without an account.
    #[must_use]
    pub fn dummy(&self, email_key: &str) -> Candidate {
        let dummies = self.dummies.as_ref();
        Candidate::Dummy(dummies.map(|it| it.choose(email_key)).unwrap_or_default())
    }

    /// Hashes a new password.
    ///
    /// # Errors
    /// [`Overloaded`] when the queue is full or the job waited too long.
    pub async fn hash(&self, password: Password) -> Result<PasswordHash, Overloaded> {
        self.run(move |worker| worker.hash(&password)).await
    }

    /// Compares a password with a stored hash. A caller that has no password (it was too long) or
    /// nothing to compare it with ([`Self::dummy`]) calls it as well: it then costs one hash and
    /// never matches.
    ///
    /// # Errors
    /// [`Overloaded`] when the queue is full or the job waited too long.
    pub async fn verify(
        &self,
        password: Option<Password>,
        candidate: Candidate,
    ) -> Result<Verdict, Overloaded> {
        self.run(move |worker| worker.verify_candidate(password.as_ref(), &candidate)).await
    }

    /// Checks a new password on these threads: estimating its strength can cost as much as a hash,
    /// and would delay everything else on the caller's thread.
    ///
    /// # Errors
    /// [`Overloaded`] when the queue is full or the job waited too long.
    pub async fn check(
        &self,
        policy: PasswordPolicy,
        password: Password,
        forbidden: Vec<String>,
    ) -> Result<Result<(), WeakPassword>, Overloaded> {
        self.run(move |_| {
            let forbidden: Vec<&str> = forbidden.iter().map(String::as_str).collect();
            policy.check(&password, &forbidden)
        })
        .await
    }

    /// The number of jobs in the queue.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }

    /// The number of hashes started since the start.
    #[must_use]
    pub fn hashed(&self) -> u64 {
        self.work.hashed.load(Ordering::Relaxed)
    }

    /// The number of blocks that hashes have filled since the start.
    #[must_use]
    pub fn filled(&self) -> u64 {
        self.work.filled.load(Ordering::Relaxed)
    }

    /// How long jobs have waited in the queue.
    #[must_use]
    pub const fn waited(&self) -> &Histogram {
        &self.waited
    }

    /// The number of jobs rejected since the start.
    #[must_use]
    pub const fn refused(&self) -> &RejectionCounters {
        &self.refused
    }

    async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Argon2Worker) -> T + Send + 'static,
    ) -> Result<T, Overloaded> {
        self.submit(work)?.await.map_err(|_| self.overloaded())
    }

    /// Queues a job. The job owns its slot: a client that disconnects frees neither the slot nor
    /// the thread. But if its caller has disconnected by the time a worker takes it, it is not
    /// started.
    fn submit<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Argon2Worker) -> T + Send + 'static,
    ) -> Result<oneshot::Receiver<T>, Overloaded> {
        let (answer, answered) = oneshot::channel();
        let work = Box::new(move |worker: &mut Argon2Worker| {
            if !answer.is_closed() {
                let _ = answer.send(work(worker));
            }
        });
        self.waiting.fetch_add(1, Ordering::Relaxed);
        self.jobs.try_send(Job { queued_at: self.clock.monotonic(), work }).map_err(|_| {
            self.waiting.fetch_sub(1, Ordering::Relaxed);
            self.refused.get_or_create(&RejectionLabel { reason: HashRejection::QueueFull }).inc();
            self.overloaded()
        })?;
        Ok(answered)
    }

    /// By the deadline all queued jobs are done or rejected.
    fn overloaded(&self) -> Overloaded {
        let whole = Duration::from_secs(self.deadline.as_secs());
        let rounded_up = if whole < self.deadline { whole + Duration::from_secs(1) } else { whole };
        Overloaded { retry_after: rounded_up.max(Duration::from_secs(1)) }
    }
}

/// A password was not hashed: the queue is full, the job waited for longer than the deadline, or it
/// panicked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("too many passwords are waiting to be hashed")]
pub struct Overloaded {
    /// When to retry: whole seconds, at least one.
    pub retry_after: Duration,
}
