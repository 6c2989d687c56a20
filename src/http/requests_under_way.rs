//! The requests that are being answered, so that a stop can say how many it cuts off.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Counts requests. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct RequestsUnderWay(Arc<Counts>);

#[derive(Debug, Default)]
struct Counts {
    under_way: AtomicUsize,
    dropped: AtomicUsize,
}

impl RequestsUnderWay {
    /// A request that has come in, to be kept until it is answered.
    pub(super) fn begin(&self) -> RequestUnderWay {
        self.0.under_way.fetch_add(1, Ordering::Relaxed);
        RequestUnderWay { all: self.clone(), is_answered: false }
    }

    /// How many have been dropped before they were answered, since the start.
    pub(super) fn dropped(&self) -> usize {
        self.0.dropped.load(Ordering::Relaxed)
    }

    /// How many are neither answered nor dropped.
    pub(super) fn under_way(&self) -> usize {
        self.0.under_way.load(Ordering::Relaxed)
    }
}

/// One request.
pub(super) struct RequestUnderWay {
    all: RequestsUnderWay,
    is_answered: bool,
}

impl RequestUnderWay {
    pub(super) fn answered(mut self) {
        self.is_answered = true;
    }
}

impl Drop for RequestUnderWay {
    fn drop(&mut self) {
        let counts = &self.all.0;
        if !self.is_answered {
            counts.dropped.fetch_add(1, Ordering::Relaxed);
        }
        counts.under_way.fetch_sub(1, Ordering::Relaxed);
    }
}
