//! Measures which hash parameters fit a given time on this machine.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use super::argon2::Argon2Worker;
use super::{HashCost, Password};
use crate::clock::Clock;

/// Argon2id's parameters in OWASP's Password Storage Cheat Sheet: memory in KiB, and the passes
/// required with it.
const OWASP: [(u32, u32); 5] = [(47_104, 1), (19_456, 2), (12_288, 3), (9216, 4), (7168, 5)];

/// A measurement is the shortest of this many runs: other load on the machine only adds time.
const MEASUREMENTS: usize = 3;

/// The result of a calibration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Calibrated {
    /// The cost.
    pub cost: HashCost,
    /// The time of a hash with that cost on this machine, on one thread. It exceeds the requested
    /// time only when a lower cost would be below OWASP's minimum.
    pub took: Duration,
}

impl HashCost {
    /// The minimum memory that OWASP lists, in KiB.
    pub const OWASP_MEMORY_KIB: u32 = OWASP[OWASP.len() - 1].0;

    /// The minimum number of passes that OWASP requires with this much memory.
    #[must_use]
    pub fn fewest_iterations(memory_kib: u32) -> u32 {
        let fits = OWASP.iter().find(|(memory, _)| *memory <= memory_kib);
        fits.map_or(OWASP[OWASP.len() - 1].1, |(_, passes)| *passes)
    }
}

/// Finds the most passes over this much memory that take no longer than `wanted`, but never fewer
/// than OWASP requires.
///
/// # Errors
/// When Argon2 does not support this much memory.
pub fn calibrate(wanted: Duration, memory_kib: u32, clock: &Clock) -> io::Result<Calibrated> {
    let fewest = HashCost::fewest_iterations(memory_kib);
    let with = |iterations| HashCost { memory_kib, iterations, parallelism: 1 };
    let mut iterations = fewest;
    let mut took = time_of_a_hash(with(iterations), clock)?;
    if took < wanted {
        let affordable = wanted.div_duration_f64(took / fewest);
        // The conversion to an integer saturates.
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "passes are counted down, and bounded next"
        )]
        let affordable = affordable as u32;
        iterations = affordable.clamp(fewest, HashCost::MAX_ITERATIONS);
        took = time_of_a_hash(with(iterations), clock)?;
        while took > wanted && iterations > fewest {
            iterations -= 1;
            took = time_of_a_hash(with(iterations), clock)?;
        }
    }
    Ok(Calibrated { cost: with(iterations), took })
}

/// How long a hash of this cost takes: the shortest of a few.
///
/// # Errors
/// When Argon2 does not support the cost.
pub fn time_of_a_hash(cost: HashCost, clock: &Clock) -> io::Result<Duration> {
    let mut worker = Argon2Worker::counted(cost, Arc::default())?;
    let password = Password::parse("a password to measure by").map_err(io::Error::other)?;
    let mut shortest = Duration::MAX;
    for _ in 0..MEASUREMENTS {
        let begun = clock.monotonic();
        worker.hash(&password);
        shortest = shortest.min(clock.monotonic().duration_since(begun));
    }
    Ok(shortest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passes_are_never_fewer_than_owasp_asks_for() {
        for (memory, passes) in [(7168, 5), (9215, 5), (9216, 4), (19_456, 2), (40_000, 2)] {
            assert_eq!(HashCost::fewest_iterations(memory), passes, "{memory}");
        }
        assert_eq!(HashCost::fewest_iterations(47_104), 1);
        assert_eq!(HashCost::fewest_iterations(1 << 20), 1);
        let found = calibrate(Duration::ZERO, 7168, &Clock::system()).unwrap();
        assert_eq!(found.cost.iterations, 5);
        assert!(!found.took.is_zero());
    }

    #[test]
    fn more_time_allows_more_passes_up_to_the_bound() {
        let clock = Clock::system();
        let least = calibrate(Duration::ZERO, 7168, &clock).unwrap();
        let found = calibrate(least.took * 4, 7168, &clock).unwrap();
        assert!(found.cost.iterations > 5, "{found:?}");
    }
}
