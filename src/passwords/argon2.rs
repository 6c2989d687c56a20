//! Argon2id, computed by one thread in one reused block of memory.

mod params;
mod stored;
#[cfg(test)]
mod tests;

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use allocator_api2::vec::Vec as VecIn;
use argon2::password_hash::phc::Salt;
use argon2::{Argon2, Block, Params};
use hugealloc::HugeAlloc;

use super::dummy::{Candidate, DummyParams};
use super::{Password, PasswordHash};
use crate::secret::{equal, random_bytes};

pub(super) use params::HashParams;
use stored::Stored;

/// The cost parameters of a hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HashCost {
    /// Memory in KiB, at most [`HashCost::MAX_MEMORY_KIB`].
    pub memory_kib: u32,
    /// Passes over that memory, at most [`HashCost::MAX_ITERATIONS`].
    pub iterations: u32,
    /// Lanes. They are computed sequentially: the threads serve other requests.
    pub parallelism: u32,
}

/// The maximum cost of another system's hash, as memory times passes: 8 times the default. A
/// costlier one would occupy a hashing thread.
const MAX_FOREIGN_WORK: u64 = 8 * 2 * 19_456;

/// The maximum memory of another system's hash, in KiB: 64 MiB, as PHP uses by default. Each
/// hashing thread may need it.
const MAX_FOREIGN_MEMORY_KIB: u32 = 65_536;

/// Whether a hash of another system can be verified, at an acceptable cost.
pub(super) fn is_verifiable(phc: &str) -> bool {
    Stored::parse(phc).is_some_and(|stored| {
        stored.work() <= MAX_FOREIGN_WORK && stored.memory_kib() <= MAX_FOREIGN_MEMORY_KIB
    })
}

impl HashCost {
    /// 1 GiB. A larger value is a mistake, or an attack on the server's memory by way of the
    /// database.
    pub const MAX_MEMORY_KIB: u32 = 1 << 20;

    /// The maximum number of passes.
    pub const MAX_ITERATIONS: u32 = 100;
}

impl Default for HashCost {
    /// The first choice of OWASP's Password Storage Cheat Sheet.
    fn default() -> Self {
        Self { memory_kib: 19_456, iterations: 2, parallelism: 1 }
    }
}

/// The result of comparing a password with a stored hash.
#[derive(Clone, Debug)]
pub enum Verdict {
    /// They do not match, or there was nothing to compare.
    Wrong,
    /// They match.
    Right {
        /// The password hashed with the current parameters, to replace the stored hash, if that has
        /// others.
        upgraded: Option<PasswordHash>,
    },
}

/// One thread's Argon2, with memory that is allocated once: fresh pages would cost a third of the
/// speed. It uses huge pages where Linux provides them on request: Argon2 accesses memory at
/// random, and address translation over 5,000 small pages takes time.
pub(super) struct Argon2Worker {
    hash_params: HashParams,
    memory: VecIn<Block, HugeAlloc>,
    work: Arc<Work>,
}

/// Counters shared by all threads.
#[derive(Debug, Default)]
pub(super) struct Work {
    /// Hashes started.
    pub hashed: AtomicU64,
    /// Blocks filled by them and by the work that equalises a cheaper hash's cost: memory times
    /// passes.
    pub filled: AtomicU64,
}

impl Argon2Worker {
    /// Creates a worker that counts each hash in `work` when the hash starts.
    pub(super) fn counted(cost: HashCost, work: Arc<Work>) -> io::Result<Self> {
        let hash_params = HashParams::of(cost).ok_or_else(|| {
            io::Error::new(
                io::ErrorKind::InvalidInput,
                format!("Argon2 does not support this cost: {cost:?}"),
            )
        })?;
        let memory =
            allocator_api2::vec![in HugeAlloc; Block::new(); hash_params.params.block_count()];
        Ok(Self { hash_params, memory, work })
    }

    /// Hashes a new password.
    pub(super) fn hash(&mut self, password: &Password) -> PasswordHash {
        let hash_params = self.hash_params.clone();
        let salt = random_bytes::<{ Salt::RECOMMENDED_LENGTH }>();
        let tag = self.tag(&hash_params, password.as_str().as_bytes(), &salt);
        PasswordHash::from_stored(hash_params.write(&salt, &tag))
    }

    /// Computes one hash of the password, and compares it where there is one to compare with.
    pub(super) fn verify_candidate(
        &mut self,
        password: Option<&Password>,
        candidate: &Candidate,
    ) -> Verdict {
        match candidate {
            Candidate::Stored(hash) => self.verify(password, Some(hash)),
            Candidate::Uncompared(hash) => {
                let stored = Stored::read(hash).unwrap_or_else(|| Stored::dummy(&self.hash_params));
                self.compare(password, &stored, false)
            }
            Candidate::Dummy(DummyParams(params)) => {
                let stored = Stored::dummy(params.as_ref().unwrap_or(&self.hash_params));
                self.compare(password, &stored, false)
            }
        }
    }

    /// Compares a password with a stored hash, at the cost of one hash: also when one of them is
    /// missing or the hash is malformed. So the response time does not reveal whether an account
    /// exists.
    ///
    /// After a mismatch with a hash that cost less than the current cost, the missing blocks are
    /// filled, too. A hash that cost more takes longer, until a login upgrades it; so do dummy
    /// hashes, in the same proportion ([`super::dummy`]).
    pub(super) fn verify(
        &mut self,
        password: Option<&Password>,
        stored: Option<&PasswordHash>,
    ) -> Verdict {
        let stored = stored.and_then(Stored::read);
        let exists = stored.is_some();
        let stored = stored.unwrap_or_else(|| Stored::dummy(&self.hash_params));
        self.compare(password, &stored, exists)
    }

    fn compare(&mut self, password: Option<&Password>, stored: &Stored, compares: bool) -> Verdict {
        let typed = password.map_or("", Password::as_str).as_bytes();
        let tag = self.tag(&stored.hash_params, typed, &stored.salt);
        match password {
            Some(password) if equal(&tag, &stored.tag) && compares => Verdict::Right {
                upgraded: (stored.hash_params != self.hash_params).then(|| self.hash(password)),
            },
            _ => {
                self.fill_missing_blocks(&stored.hash_params, typed);
                Verdict::Wrong
            }
        }
    }

    /// Fills the blocks that a hash at the current cost would have filled beyond this one.
    fn fill_missing_blocks(&mut self, hash_params: &HashParams, typed: &[u8]) {
        let pass = self.hash_params.params.block_count();
        let missing = self.hash_params.blocks().saturating_sub(hash_params.blocks());
        let whole = (pass, missing / pass);
        // Argon2 needs at least 8 blocks.
        let rest = (missing % pass / 4 * 4, usize::from(missing % pass >= 8));
        for (blocks, passes) in [whole, rest].into_iter().filter(|(_, passes)| *passes > 0) {
            let cost = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
            if let Ok(params) = Params::new(cost(blocks), cost(passes), 1, None) {
                self.work.filled.fetch_add((blocks * passes) as u64, Ordering::Relaxed);
                let argon2 =
                    Argon2::new(self.hash_params.algorithm, self.hash_params.version, params);
                let salt = [0; Salt::RECOMMENDED_LENGTH];
                let mut tag = [0; Params::DEFAULT_OUTPUT_LEN];
                // The memory is large enough, and the result is discarded.
                let _ =
                    argon2.hash_password_into_with_memory(typed, &salt, &mut tag, &mut self.memory);
            }
        }
    }

    #[expect(
        clippy::expect_used,
        reason = "parameters and a salt that were parsed are within Argon2's limits"
    )]
    fn tag(&mut self, hash_params: &HashParams, password: &[u8], salt: &[u8]) -> Vec<u8> {
        self.work.hashed.fetch_add(1, Ordering::Relaxed);
        self.work.filled.fetch_add(hash_params.blocks() as u64, Ordering::Relaxed);
        let argon2 =
            Argon2::new(hash_params.algorithm, hash_params.version, hash_params.params.clone());
        let length = hash_params.params.output_len().unwrap_or(Params::DEFAULT_OUTPUT_LEN);
        let mut tag = vec![0; length];
        if hash_params.params.block_count() <= self.memory.len() {
            argon2.hash_password_into_with_memory(password, salt, &mut tag, &mut self.memory)
        } else {
            // A hash with more expensive parameters; its upgrade will fit.
            argon2.hash_password_into(password, salt, &mut tag)
        }
        .expect("Argon2 accepts parameters that were checked");
        tag
    }
}
