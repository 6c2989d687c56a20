//! Counts the requests in progress, so that a shutdown can log how many it cuts off.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Counts requests. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct RequestsInProgress(Arc<Counts>);

#[derive(Debug, Default)]
struct Counts {
    in_progress: AtomicUsize,
    dropped: AtomicUsize,
}

impl RequestsInProgress {
    /// Counts a request until the returned guard is dropped.
    pub(super) fn begin(&self) -> RequestInProgress {
        self.0.in_progress.fetch_add(1, Ordering::Relaxed);
        RequestInProgress { all: self.clone(), is_answered: false }
    }

    /// The number of requests that were dropped without a response since the start.
    pub(super) fn dropped(&self) -> usize {
        self.0.dropped.load(Ordering::Relaxed)
    }

    /// The number of requests in progress.
    pub(super) fn in_progress(&self) -> usize {
        self.0.in_progress.load(Ordering::Relaxed)
    }
}

/// A counted request. Without a call of [`RequestInProgress::answered`] it counts as dropped.
pub(super) struct RequestInProgress {
    all: RequestsInProgress,
    is_answered: bool,
}

impl RequestInProgress {
    pub(super) fn answered(mut self) {
        self.is_answered = true;
    }
}

impl Drop for RequestInProgress {
    fn drop(&mut self) {
        let counts = &self.all.0;
        if !self.is_answered {
            counts.dropped.fetch_add(1, Ordering::Relaxed);
        }
        counts.in_progress.fetch_sub(1, Ordering::Relaxed);
    }
}
