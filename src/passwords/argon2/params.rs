//! The parameters of a hash, and their place in its text.

use argon2::password_hash::phc::{self, Output, ParamsString, Salt};
use argon2::{Algorithm, Params, Version};

use super::{HashCost, Stored};
use crate::passwords::PasswordHash;

/// All parameters that make two hashes of the same password and salt equal.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::passwords) struct HashParams {
    pub(super) algorithm: Algorithm,
    pub(super) version: Version,
    pub(super) params: Params,
}

impl HashParams {
    pub(in crate::passwords) fn of(cost: HashCost) -> Option<Self> {
        let HashCost { memory_kib, iterations, parallelism } = cost;
        let length = Some(Params::DEFAULT_OUTPUT_LEN);
        let params = Params::new(memory_kib, iterations, parallelism, length).ok()?;
        Self { algorithm: Algorithm::Argon2id, version: Version::V0x13, params }.within_limits()
    }

    /// The parameters of a stored hash that can be read.
    pub(in crate::passwords) fn of_stored(hash: &PasswordHash) -> Option<Self> {
        Stored::parse(hash.as_str()).map(|stored| stored.hash_params)
    }

    /// The number of blocks that a hash fills.
    pub(super) fn blocks(&self) -> usize {
        let passes = usize::try_from(self.params.t_cost()).unwrap_or(usize::MAX);
        self.params.block_count().saturating_mul(passes)
    }

    /// Whether a hash with these parameters takes longer than one with the configured ones: it
    /// fills more blocks, or needs memory beyond that which a thread has.
    pub(in crate::passwords) fn is_costlier_than(&self, configured: &Self) -> bool {
        let [own, other] = [self, configured].map(|it| (it.blocks(), it.params.block_count()));
        own.0 > other.0 || own.1 > other.1
    }

    /// The order is equal on every node.
    pub(in crate::passwords) fn sort_key(&self) -> (usize, u32, u32, u32, &'static str, u32) {
        let params = &self.params;
        let (algorithm, version) = (self.algorithm.as_str(), self.version.into());
        (self.blocks(), params.m_cost(), params.t_cost(), params.p_cost(), algorithm, version)
    }

    pub(super) fn within_limits(self) -> Option<Self> {
        let affordable = self.params.m_cost() <= HashCost::MAX_MEMORY_KIB
            && self.params.t_cost() <= HashCost::MAX_ITERATIONS;
        affordable.then_some(self)
    }

    #[expect(
        clippy::expect_used,
        reason = "salt, tag and numbers have lengths that PHC strings allow"
    )]
    pub(super) fn write(&self, salt: &[u8], tag: &[u8]) -> String {
        phc::PasswordHash {
            algorithm: self.algorithm.ident(),
            version: Some(self.version.into()),
            params: ParamsString::try_from(&self.params).expect("three numbers are short"),
            salt: Some(Salt::new(salt).expect("16 bytes make a salt")),
            hash: Some(Output::new(tag).expect("32 bytes make a tag")),
        }
        .to_string()
    }
}
