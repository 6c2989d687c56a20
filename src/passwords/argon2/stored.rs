//! A stored hash, parsed from its text.

use argon2::password_hash::phc::{self, Salt};
use argon2::{Algorithm, Params, Version};

use super::HashParams;
use crate::passwords::PasswordHash;

/// A parsed stored hash.
pub(super) struct Stored {
    pub(super) hash_params: HashParams,
    pub(super) salt: Vec<u8>,
    pub(super) tag: Vec<u8>,
}

impl Stored {
    pub(super) fn read(hash: &PasswordHash) -> Option<Self> {
        let text = hash.as_str();
        let stored = Self::parse(text);
        if stored.is_none() && !text.is_empty() {
            tracing::error!("malformed password hash in the database: its owner cannot log in");
        }
        stored
    }

    pub(super) fn parse(text: &str) -> Option<Self> {
        let phc = phc::PasswordHash::new(text).ok()?;
        let version = match phc.version {
            Some(version) => Version::try_from(version).ok()?,
            // Argon2's encoding had no version before the second one.
            None => Version::V0x10,
        };
        let hash_params = HashParams {
            algorithm: Algorithm::new(phc.algorithm.as_str()).ok()?,
            version,
            params: Params::try_from(&phc).ok()?,
        };
        Some(Self {
            hash_params: hash_params.within_limits()?,
            salt: phc.salt?.to_vec(),
            tag: phc.hash?.as_bytes().to_vec(),
        })
    }

    /// Memory in KiB times passes.
    pub(super) fn work(&self) -> u64 {
        u64::from(self.hash_params.params.m_cost()) * u64::from(self.hash_params.params.t_cost())
    }

    /// Memory in KiB.
    pub(super) const fn memory_kib(&self) -> u32 {
        self.hash_params.params.m_cost()
    }

    pub(super) fn dummy(hash_params: &HashParams) -> Self {
        Self {
            hash_params: hash_params.clone(),
            salt: vec![0; Salt::RECOMMENDED_LENGTH],
            tag: vec![0; Params::DEFAULT_OUTPUT_LEN],
        }
    }
}
