//! The delay before the next attempt.

use std::time::Duration;

const MIN_DELAY: Duration = Duration::from_millis(100);

/// The longest delay. It limits how late a verifier notices that the issuer is available again.
pub(super) const MAX_DELAY: Duration = Duration::from_secs(10);

/// Exponential backoff with jitter: delays that double, each shortened at random by up to a half,
/// so that a thousand verifiers that lost the same server do not reconnect simultaneously.
#[derive(Debug)]
pub(super) struct Backoff {
    next: Duration,
}

impl Backoff {
    pub(super) const fn new() -> Self {
        Self { next: MIN_DELAY }
    }

    /// After a success the next failure starts from the shortest delay.
    pub(super) const fn reset(&mut self) {
        self.next = MIN_DELAY;
    }

    /// The delay before the next attempt.
    pub(super) fn wait(&mut self) -> Duration {
        let whole = self.next;
        self.next = (whole * 2).min(MAX_DELAY);
        whole.mul_f64(1.0 - 0.5 * random())
    }
}

/// From 0 up to 1. Without randomness from the system there is no jitter, which is harmless.
fn random() -> f64 {
    let mut bytes = [0; 4];
    let is_drawn = aws_lc_rs::rand::fill(&mut bytes).is_ok();
    if is_drawn { f64::from(u32::from_le_bytes(bytes)) / f64::from(u32::MAX) } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_grow_to_the_maximum_with_jitter() {
        let mut backoff = Backoff::new();
        let waits: Vec<Duration> = (0..20).map(|_| backoff.wait()).collect();
        assert!(waits[0] <= MIN_DELAY && waits[0] >= MIN_DELAY / 2);
        assert!(waits.iter().all(|wait| *wait <= MAX_DELAY && *wait >= MIN_DELAY / 2));
        assert!(waits[10..].iter().all(|wait| *wait >= MAX_DELAY / 2));
        assert_ne!(waits[18], waits[19]);
        backoff.reset();
        assert!(backoff.wait() <= MIN_DELAY);
    }
}
