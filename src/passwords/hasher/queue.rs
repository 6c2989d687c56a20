//! The queue of the hashing pool, and the threads that take their jobs from it.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::Receiver;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::clock::Clock;
use crate::locks;
use crate::metrics::{Counter, EncodeLabelSet, Family, Histogram};
use crate::named::named;
use crate::passwords::argon2::Argon2Worker;

/// A job for a thread. It holds the sender of its result, so dropping it undone notifies its
/// caller.
pub(super) struct Job {
    pub(super) queued_at: Instant,
    pub(super) work: Box<dyn FnOnce(&mut Argon2Worker) + Send>,
}

/// The threads' end of the queue.
pub(super) struct Queue {
    pub(super) jobs: Mutex<Receiver<Job>>,
    pub(super) waiting: Arc<AtomicUsize>,
    pub(super) waited: Histogram,
    pub(super) refused: RejectionCounters,
    pub(super) deadline: Duration,
    pub(super) clock: Clock,
}

impl Queue {
    pub(super) fn run_jobs(&self, mut worker: Argon2Worker) {
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
            if catch_unwind(AssertUnwindSafe(|| (job.work)(&mut worker))).is_err() {
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
pub(in crate::passwords) type RejectionCounters = Family<RejectionLabel, Counter>;
