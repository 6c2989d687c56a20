//! The hashing pool: threads and their queue.
//!
//! A hash takes tens of milliseconds of a core and megabytes of memory. A fixed number of threads
//! computes all hashes, so that a storm of logins does not affect memory and the rest of the
//! server; excess hashes are rejected.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use super::argon2::{Argon2Worker, HashCost, Verdict, Work};
use super::dummy::{Candidate, Dummies, StoredCosts};
use super::{Password, PasswordHash, PasswordPolicy, WeakPassword};
use crate::clock::Clock;
use crate::locks;
use crate::metrics::{Counter, EncodeLabelSet, Family, Histogram, counters, durations};
use crate::named::named;
use crate::secret::DerivedKey;

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

named! {
    /// Why a job was not done.
    pub enum HashRejection {
        /// The queue was full.
        QueueFull = "queue_full",
        /// It exceeded the deadline.
        Deadline = "deadline",
    }
}

/// The label of the jobs that were not done.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct RejectionLabel {
    /// Why.
    pub reason: HashRejection,
}

/// Jobs that were not done, by the reason.
pub(super) type RejectionCounters = Family<RejectionLabel, Counter>;

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
            let engine = Argon2Worker::counted(settings.cost, Arc::clone(&hasher.work))?;
            let queue = Arc::clone(&queue);
            thread::Builder::new()
                .name(format!("hasher-{number}"))
                .spawn(move || queue.run_jobs(engine))?;
        }
        Ok(hasher)
    }

    /// Chooses the dummy hashes of unknown addresses by this key, and by the stored hashes as far as
    /// they have been counted.
    #[must_use]
    pub fn with_dummy_key(self, key: DerivedKey) -> Self {
        let dummies = Some(Dummies::new(key, self.cost));
        Self { dummies, ..self }
    }

    /// A count of stored hashes to be filled in, for [`Self::set_stored_costs`].
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

    /// The dummy hash of an address that nobody has.
    #[must_use]
    pub fn dummy(&self, email_key: &str) -> Candidate {
        let dummies = self.dummies.as_ref();
        Candidate::Dummy(dummies.map(|it| it.choose(email_key)).unwrap_or_default())
    }

    /// Hashes a new password.
    ///
    /// # Errors
    /// [`Overloaded`] when the queue is full.
    pub async fn hash(&self, password: Password) -> Result<PasswordHash, Overloaded> {
        self.run(move |engine| engine.hash(&password)).await
    }

    /// Compares a password with a stored hash. A caller that has no password (it was too long) or
    /// nothing to compare it with ([`Self::dummy`]) asks all the same: it costs one hash, and never
    /// matches.
    ///
    /// # Errors
    /// [`Overloaded`] when the queue is full.
    pub async fn verify(
        &self,
        password: Option<Password>,
        candidate: Candidate,
    ) -> Result<Verdict, Overloaded> {
        self.run(move |engine| engine.verify_candidate(password.as_ref(), &candidate)).await
    }

    /// Checks a new password on these threads: estimating its strength can cost as much as a hash,
    /// and would delay everything else on the caller's thread.
    ///
    /// # Errors
    /// [`Overloaded`] when the queue is full.
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
    /// the thread. But if its caller is gone when its turn comes, it is not started.
    fn submit<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Argon2Worker) -> T + Send + 'static,
    ) -> Result<oneshot::Receiver<T>, Overloaded> {
        let (answer, answered) = oneshot::channel();
        let work = Box::new(move |engine: &mut Argon2Worker| {
            if !answer.is_closed() {
                let _ = answer.send(work(engine));
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

/// The queue holds more passwords than can be hashed in time. (Or the job panicked: the caller can
/// do nothing else about it.)
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("too many passwords are waiting to be hashed")]
pub struct Overloaded {
    /// When to retry: whole seconds, at least one.
    pub retry_after: Duration,
}

/// A job for a thread. It holds the sender of its result, so dropping it undone notifies its
/// caller.
struct Job {
    queued_at: Instant,
    work: Box<dyn FnOnce(&mut Argon2Worker) + Send>,
}

/// The threads' end of the queue.
struct Queue {
    jobs: Mutex<Receiver<Job>>,
    waiting: Arc<AtomicUsize>,
    waited: Histogram,
    refused: RejectionCounters,
    deadline: Duration,
    clock: Clock,
}

impl Queue {
    fn run_jobs(&self, mut engine: Argon2Worker) {
        lower_thread_priority();
        while let Some(job) = self.next() {
            let waited = self.clock.monotonic().duration_since(job.queued_at);
            self.waited.observe(waited.as_secs_f64());
            if waited >= self.deadline {
                self.refused
                    .get_or_create(&RejectionLabel { reason: HashRejection::Deadline })
                    .inc();
                continue;
            }
            // The next hash overwrites the memory after a panic.
            if catch_unwind(AssertUnwindSafe(|| (job.work)(&mut engine))).is_err() {
                tracing::error!("a hashing job panicked");
            }
        }
    }

    /// The next job, or `None` when the last handle is gone. One idle thread waits while holding
    /// the lock, the others wait for the lock.
    fn next(&self) -> Option<Job> {
        let job = locks::lock(&self.jobs).recv().ok()?;
        self.waiting.fetch_sub(1, Ordering::Relaxed);
        Some(job)
    }
}

/// Lowers the thread's priority below the server's other threads. Only Linux has priorities of
/// single threads; elsewhere this would affect the whole process.
fn lower_thread_priority() {
    #[cfg(target_os = "linux")]
    if let Err(error) = rustix::process::nice(10) {
        tracing::warn!(%error, "the hashing threads run at normal priority");
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::pin::pin;
    use std::sync::mpsc;
    use std::task::{Context, Poll, Wake};

    use super::*;
    use crate::clock::Timestamp;

    const SETTINGS: HasherSettings = HasherSettings {
        cost: HashCost { memory_kib: 64, iterations: 1, parallelism: 1 },
        threads: 1,
        queue: 1,
        deadline: Duration::from_secs(60),
    };

    fn start(settings: HasherSettings) -> Hasher {
        Hasher::start(settings, Clock::manual(Timestamp::from_micros(0))).unwrap()
    }

    fn password() -> Password {
        Password::parse("correct horse battery staple").unwrap()
    }

    /// Occupies a thread until the sender is dropped.
    fn occupy(hasher: &Hasher) -> mpsc::Sender<()> {
        let (begun, has_begun) = mpsc::channel();
        let (release, released) = mpsc::channel::<()>();
        // The result is not needed, but the job must not be skipped.
        let answer = hasher.submit(move |_| {
            begun.send(()).unwrap();
            let _ = released.recv();
        });
        has_begun.recv().unwrap();
        drop(answer);
        release
    }

    /// A minimal executor: futures that run here run under any other.
    fn block_on<T>(future: impl Future<Output = T>) -> T {
        struct Unpark(thread::Thread);
        impl Wake for Unpark {
            fn wake(self: Arc<Self>) {
                self.0.unpark();
            }
        }
        let waker = Arc::new(Unpark(thread::current())).into();
        let mut future = pin!(future);
        loop {
            match future.as_mut().poll(&mut Context::from_waker(&waker)) {
                Poll::Ready(value) => return value,
                Poll::Pending => thread::park(),
            }
        }
    }

    #[test]
    fn a_hash_can_be_verified() {
        let hasher = start(SETTINGS);
        let hash = block_on(hasher.hash(password())).unwrap();
        let right =
            block_on(hasher.verify(Some(password()), Candidate::Stored(hash.clone()))).unwrap();
        assert!(matches!(right, Verdict::Right { upgraded: None }));
        let nobody =
            block_on(hasher.verify(Some(password()), hasher.dummy("nobody@example.com"))).unwrap();
        assert!(matches!(nobody, Verdict::Wrong));
        let too_long = block_on(hasher.verify(None, Candidate::Stored(hash))).unwrap();
        assert!(matches!(too_long, Verdict::Wrong));
    }

    #[test]
    fn a_new_password_can_be_judged_in_the_same_lane() {
        let hasher = start(SETTINGS);
        let judge = |forbidden: &str| {
            block_on(hasher.check(
                PasswordPolicy::default(),
                password(),
                vec![forbidden.to_owned()],
            ))
        };
        assert_eq!(judge("somebody@example.org"), Ok(Ok(())));
        assert_eq!(judge(password().as_str()), Ok(Err(WeakPassword::Personal)));
    }

    #[test]
    fn a_full_queue_refuses_at_once() {
        let hasher = start(SETTINGS);
        let release = occupy(&hasher);
        let waiting = hasher.submit(|engine| engine.hash(&password())).unwrap();
        assert_eq!(hasher.waiting(), 1);

        let refused = block_on(hasher.hash(password())).unwrap_err();
        assert_eq!(refused.retry_after, Duration::from_secs(60));
        assert_eq!(hasher.waiting(), 1);
        let full = RejectionLabel { reason: HashRejection::QueueFull };
        assert_eq!(hasher.refused().get_or_create(&full).get(), 1);

        drop(release);
        assert!(block_on(waiting).is_ok());
        assert_eq!(hasher.waiting(), 0);
    }

    #[test]
    fn a_job_past_its_deadline_is_refused_without_a_hash() {
        let hasher = start(HasherSettings { deadline: Duration::ZERO, ..SETTINGS });
        let (begun, has_begun) = mpsc::channel();
        let refused = block_on(hasher.run(move |_| begun.send(()).unwrap())).unwrap_err();
        assert_eq!(refused.retry_after, Duration::from_secs(1));
        assert!(has_begun.recv().is_err());
        let late = RejectionLabel { reason: HashRejection::Deadline };
        assert_eq!(hasher.refused().get_or_create(&late).get(), 1);
    }

    #[test]
    fn a_caller_that_hung_up_in_the_queue_is_skipped() {
        let hasher = start(SETTINGS);
        let release = occupy(&hasher);
        let (begun, has_begun) = mpsc::channel();
        drop(hasher.submit(move |_| begun.send(()).unwrap()).unwrap());
        assert_eq!(hasher.waiting(), 1, "a disconnect frees no slot");

        drop(release);
        assert!(has_begun.recv().is_err());
        assert!(block_on(hasher.hash(password())).is_ok());
    }

    #[test]
    fn a_panic_ends_its_own_job_only() {
        let hasher = start(SETTINGS);
        for _ in 0..3 {
            assert!(block_on(hasher.run(|_| panic!("on purpose"))).is_err());
        }
        assert!(block_on(hasher.hash(password())).is_ok());
    }

    #[test]
    fn every_thread_takes_jobs() {
        let hasher = start(HasherSettings { threads: 3, ..SETTINGS });
        let held = [occupy(&hasher), occupy(&hasher), occupy(&hasher)];
        let waiting = hasher.submit(|engine| engine.hash(&password())).unwrap();
        assert!(hasher.submit(|_| ()).is_err());
        drop(held);
        assert!(block_on(waiting).is_ok());
    }

    #[test]
    fn the_threads_end_with_the_last_handle() {
        // Thread-local values are dropped when a thread ends.
        thread_local!(static ALIVE: RefCell<Option<mpsc::Sender<()>>> = RefCell::default());
        let hasher = start(SETTINGS);
        let (alive, ended) = mpsc::channel();
        block_on(hasher.clone().run(move |_| ALIVE.set(Some(alive)))).unwrap();
        assert!(ended.try_recv().is_err_and(|state| state == mpsc::TryRecvError::Empty));
        drop(hasher);
        assert!(ended.recv().is_err());
    }

    #[test]
    fn retry_after_is_the_deadline_in_whole_seconds() {
        for (deadline, seconds) in [(1, 1), (999, 1), (1000, 1), (1001, 2), (3000, 3)] {
            let deadline = Duration::from_millis(deadline);
            let hasher = start(HasherSettings { deadline, ..SETTINGS });
            assert_eq!(hasher.overloaded().retry_after, Duration::from_secs(seconds));
        }
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn hashing_threads_have_a_lower_priority() {
        let priority = || rustix::process::getpriority_process(None).unwrap();
        let hashing = block_on(start(SETTINGS).run(move |_| priority())).unwrap();
        assert_eq!(hashing, (priority() + 10).min(19));
    }

    #[test]
    fn futures_can_move_between_threads() {
        fn send<T: Send>(future: T) -> T {
            future
        }
        let hasher = start(SETTINGS);
        assert!(block_on(send(hasher.hash(password()))).is_ok());
        assert!(block_on(send(hasher.verify(None, hasher.dummy("")))).is_ok());
    }
}
