//! Argon2id, computed by one thread in one reused block of memory.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use allocator_api2::vec::Vec as VecIn;
use argon2::password_hash::phc::{self, Output, ParamsString, Salt};
use argon2::{Algorithm, Argon2, Block, Params, Version};
use hugealloc::HugeAlloc;

use super::dummy::{Candidate, DummyParams};
use super::{Password, PasswordHash};
use crate::secret::{equal, random_bytes};

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
        /// The same password hashed with the current parameters, to be stored instead, if the
        /// stored hash has others.
        upgraded: Option<PasswordHash>,
    },
}

/// One thread's Argon2, with memory that is allocated once: fresh pages would cost a third of the
/// speed. It uses huge pages where Linux provides them on request: Argon2 accesses memory at
/// random, and address translation over 5,000 small pages takes time.
pub(super) struct Argon2Worker {
    recipe: HashParams,
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
    /// Everything is counted in `work`, when it starts.
    pub(super) fn counted(cost: HashCost, work: Arc<Work>) -> io::Result<Self> {
        let recipe = HashParams::of(cost).ok_or_else(|| {
            io::Error::new(
                io::ErrorKind::InvalidInput,
                format!("Argon2 does not support this cost: {cost:?}"),
            )
        })?;
        let memory = allocator_api2::vec![in HugeAlloc; Block::new(); recipe.params.block_count()];
        Ok(Self { recipe, memory, work })
    }

    /// Hashes a new password.
    pub(super) fn hash(&mut self, password: &Password) -> PasswordHash {
        let recipe = self.recipe.clone();
        let salt = random_bytes::<{ Salt::RECOMMENDED_LENGTH }>();
        let tag = self.tag(&recipe, password.as_str().as_bytes(), &salt);
        PasswordHash::from_stored(recipe.write(&salt, &tag))
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
                let stored = Stored::read(hash).unwrap_or_else(|| Stored::dummy(&self.recipe));
                self.compare(password, &stored, false)
            }
            Candidate::Dummy(DummyParams(params)) => {
                let stored = Stored::dummy(params.as_ref().unwrap_or(&self.recipe));
                self.compare(password, &stored, false)
            }
        }
    }

    /// Compares a password with a stored hash, at the cost of one hash: also when one of them is
    /// missing or the hash is malformed. So the response time does not reveal whether an account
    /// exists.
    ///
    /// Where a hash from a time when they cost less does not match, as many more blocks are filled
    /// as the present cost asks for. One from a time when they cost more takes longer, until a good
    /// login upgrades it: so do dummy hashes, in the same proportion ([`super::dummy`]).
    pub(super) fn verify(
        &mut self,
        password: Option<&Password>,
        stored: Option<&PasswordHash>,
    ) -> Verdict {
        let stored = stored.and_then(Stored::read);
        let exists = stored.is_some();
        let stored = stored.unwrap_or_else(|| Stored::dummy(&self.recipe));
        self.compare(password, &stored, exists)
    }

    fn compare(&mut self, password: Option<&Password>, stored: &Stored, compares: bool) -> Verdict {
        let typed = password.map_or("", Password::as_str).as_bytes();
        let tag = self.tag(&stored.recipe, typed, &stored.salt);
        match password {
            Some(password) if equal(&tag, &stored.tag) && compares => Verdict::Right {
                upgraded: (stored.recipe != self.recipe).then(|| self.hash(password)),
            },
            _ => {
                self.fill_missing_blocks(&stored.recipe, typed);
                Verdict::Wrong
            }
        }
    }

    /// Fills the blocks that a hash at the current cost would have filled beyond this one.
    fn fill_missing_blocks(&mut self, recipe: &HashParams, typed: &[u8]) {
        let pass = self.recipe.params.block_count();
        let missing = self.recipe.blocks().saturating_sub(recipe.blocks());
        let whole = (pass, missing / pass);
        // Argon2 needs at least 8 blocks.
        let rest = (missing % pass / 4 * 4, usize::from(missing % pass >= 8));
        for (blocks, passes) in [whole, rest].into_iter().filter(|(_, passes)| *passes > 0) {
            let cost = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
            if let Ok(params) = Params::new(cost(blocks), cost(passes), 1, None) {
                self.work.filled.fetch_add((blocks * passes) as u64, Ordering::Relaxed);
                let argon2 = Argon2::new(self.recipe.algorithm, self.recipe.version, params);
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
        reason = "a recipe and a salt that were read are within Argon2's limits"
    )]
    fn tag(&mut self, recipe: &HashParams, password: &[u8], salt: &[u8]) -> Vec<u8> {
        self.work.hashed.fetch_add(1, Ordering::Relaxed);
        self.work.filled.fetch_add(recipe.blocks() as u64, Ordering::Relaxed);
        let argon2 = Argon2::new(recipe.algorithm, recipe.version, recipe.params.clone());
        let length = recipe.params.output_len().unwrap_or(Params::DEFAULT_OUTPUT_LEN);
        let mut tag = vec![0; length];
        if recipe.params.block_count() <= self.memory.len() {
            argon2.hash_password_into_with_memory(password, salt, &mut tag, &mut self.memory)
        } else {
            // A hash with more expensive parameters; its upgrade will fit.
            argon2.hash_password_into(password, salt, &mut tag)
        }
        .expect("Argon2 accepts parameters that were checked");
        tag
    }
}

/// All parameters that make two hashes of the same password and salt equal.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct HashParams {
    algorithm: Algorithm,
    version: Version,
    params: Params,
}

impl HashParams {
    pub(super) fn of(cost: HashCost) -> Option<Self> {
        let HashCost { memory_kib, iterations, parallelism } = cost;
        let length = Some(Params::DEFAULT_OUTPUT_LEN);
        let params = Params::new(memory_kib, iterations, parallelism, length).ok()?;
        Self { algorithm: Algorithm::Argon2id, version: Version::V0x13, params }.if_affordable()
    }

    /// The number of blocks that a hash fills.
    fn blocks(&self) -> usize {
        let passes = usize::try_from(self.params.t_cost()).unwrap_or(usize::MAX);
        self.params.block_count().saturating_mul(passes)
    }

    /// The parameters of a stored hash that can be read.
    pub(super) fn of_stored(hash: &PasswordHash) -> Option<Self> {
        Stored::parse(hash.as_str()).map(|stored| stored.recipe)
    }

    /// Whether a hash with these parameters takes longer than one with the configured ones: it fills
    /// more blocks, or needs memory beyond that which a thread has.
    pub(super) fn is_costlier_than(&self, configured: &Self) -> bool {
        let [own, other] = [self, configured].map(|it| (it.blocks(), it.params.block_count()));
        own.0 > other.0 || own.1 > other.1
    }

    /// The same order on every node.
    pub(super) fn sort_key(&self) -> (usize, u32, u32, u32, &'static str, u32) {
        let params = &self.params;
        let (algorithm, version) = (self.algorithm.as_str(), self.version.into());
        (self.blocks(), params.m_cost(), params.t_cost(), params.p_cost(), algorithm, version)
    }

    fn if_affordable(self) -> Option<Self> {
        let affordable = self.params.m_cost() <= HashCost::MAX_MEMORY_KIB
            && self.params.t_cost() <= HashCost::MAX_ITERATIONS;
        affordable.then_some(self)
    }

    #[expect(
        clippy::expect_used,
        reason = "salt, tag and numbers have lengths that PHC strings allow"
    )]
    fn write(&self, salt: &[u8], tag: &[u8]) -> String {
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

/// A parsed stored hash.
struct Stored {
    recipe: HashParams,
    salt: Vec<u8>,
    tag: Vec<u8>,
}

impl Stored {
    fn read(hash: &PasswordHash) -> Option<Self> {
        let text = hash.as_str();
        let stored = Self::parse(text);
        if stored.is_none() && !text.is_empty() {
            tracing::error!("malformed password hash in the database: its owner cannot log in");
        }
        stored
    }

    fn parse(text: &str) -> Option<Self> {
        let phc = phc::PasswordHash::new(text).ok()?;
        let version = match phc.version {
            Some(version) => Version::try_from(version).ok()?,
            // Argon2's encoding had no version before the second one.
            None => Version::V0x10,
        };
        let recipe = HashParams {
            algorithm: Algorithm::new(phc.algorithm.as_str()).ok()?,
            version,
            params: Params::try_from(&phc).ok()?,
        };
        Some(Self {
            recipe: recipe.if_affordable()?,
            salt: phc.salt?.to_vec(),
            tag: phc.hash?.as_bytes().to_vec(),
        })
    }

    fn dummy(recipe: &HashParams) -> Self {
        Self {
            recipe: recipe.clone(),
            salt: vec![0; Salt::RECOMMENDED_LENGTH],
            tag: vec![0; Params::DEFAULT_OUTPUT_LEN],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHEAP: HashCost = HashCost { memory_kib: 64, iterations: 1, parallelism: 1 };

    impl Argon2Worker {
        fn new(cost: HashCost) -> io::Result<Self> {
            Self::counted(cost, Arc::default())
        }
    }

    fn password(text: &str) -> Password {
        Password::parse(text).unwrap()
    }

    fn stored(phc: &str) -> PasswordHash {
        PasswordHash::from_stored(phc.to_owned())
    }

    #[test]
    fn a_hash_is_argon2id_at_owasps_cost_by_default() {
        let hash = Argon2Worker::new(HashCost::default()).unwrap().hash(&password("x"));
        assert!(hash.as_str().starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{}", hash.as_str());
    }

    #[test]
    fn the_right_password_matches_and_a_wrong_one_does_not() {
        let mut engine = Argon2Worker::new(CHEAP).unwrap();
        let hash = engine.hash(&password("right"));
        let again = engine.hash(&password("right"));
        assert_ne!(hash.as_str(), again.as_str(), "each hash has a salt of its own");

        let right = engine.verify(Some(&password("right")), Some(&hash));
        assert!(matches!(right, Verdict::Right { upgraded: None }));
        for wrong in ["", "Right", "right ", "righ"] {
            let verdict = engine.verify(Some(&password(wrong)), Some(&hash));
            assert!(matches!(verdict, Verdict::Wrong), "{wrong:?}");
        }
    }

    #[test]
    fn both_unicode_forms_of_a_password_match_one_hash() {
        let mut engine = Argon2Worker::new(CHEAP).unwrap();
        let hash = engine.hash(&password("caf\u{e9}"));
        let verdict = engine.verify(Some(&password("cafe\u{301}")), Some(&hash));
        assert!(matches!(verdict, Verdict::Right { .. }));
    }

    #[test]
    fn a_successful_login_upgrades_another_cost_algorithm_or_version() {
        // The first two are test vectors of the reference implementation.
        let others = [
            "$argon2i$m=256,t=2,p=1$c29tZXNhbHQ$/U3YPXYsSb3q9XxHvc0MLxur+GP960kN9j7emXX8zwY"
                .to_owned(),
            "$argon2i$v=19$m=256,t=2,p=2$c29tZXNhbHQ$T/XOJ2mh1/TIpJHfCdQan76Q5esCFVoT5MAeIM1Oq2E"
                .to_owned(),
            hashed_with(HashCost { iterations: 2, ..CHEAP }),
            hashed_with(HashCost { memory_kib: 32, ..CHEAP }),
            hashed_with(HashCost { parallelism: 2, ..CHEAP }),
        ];
        let mut engine = Argon2Worker::new(CHEAP).unwrap();
        for other in others {
            let wrong = engine.verify(Some(&password("Password")), Some(&stored(&other)));
            assert!(matches!(wrong, Verdict::Wrong), "{other}");

            let right = engine.verify(Some(&password("password")), Some(&stored(&other)));
            let Verdict::Right { upgraded: Some(better) } = right else {
                panic!("{other}: {right:?}")
            };
            assert!(better.as_str().starts_with("$argon2id$v=19$m=64,t=1,p=1$"));
            let verdict = engine.verify(Some(&password("password")), Some(&better));
            assert!(matches!(verdict, Verdict::Right { upgraded: None }));
        }
    }

    fn hashed_with(cost: HashCost) -> String {
        Argon2Worker::new(cost).unwrap().hash(&password("password")).as_str().to_owned()
    }

    #[test]
    fn missing_or_malformed_input_costs_one_hash_and_never_matches() {
        let real = hashed_with(CHEAP);
        let of_nothing = Argon2Worker::new(CHEAP).unwrap().hash(&password(""));
        let endless = real.replace("t=1", "t=4294967295");
        let huge = real.replace("m=64", "m=4294967295");
        let typed = password("password");
        for (password, hash) in [
            (None, None),
            (None, Some(real.as_str())),
            (None, Some(of_nothing.as_str())),
            (Some(&typed), None),
            (Some(&typed), Some("")),
            (Some(&typed), Some("password")),
            (Some(&typed), Some("$2b$12$R9h/cIPz0gi.URNNX3kh2OPST9/PgBkqquzi.Ss7KIUgO2t0jWMUW")),
            (Some(&typed), Some(&real[..real.len() - 44])),
            (Some(&typed), Some(endless.as_str())),
            (Some(&typed), Some(huge.as_str())),
        ] {
            let mut engine = Argon2Worker::new(CHEAP).unwrap();
            let verdict = engine.verify(password, hash.map(stored).as_ref());
            assert!(matches!(verdict, Verdict::Wrong), "{hash:?}");
            let worked = |block: &Block| block.as_ref().iter().any(|&word| word != 0);
            assert!(engine.memory.iter().all(worked), "{hash:?}");
        }
    }

    #[test]
    fn a_cheap_old_hash_takes_as_much_work_as_the_dummy() {
        let present = HashCost { memory_kib: 256, iterations: 3, parallelism: 1 };
        let filled = |password: Option<&Password>, hash: Option<&str>| {
            let mut engine = Argon2Worker::new(present).unwrap();
            let verdict = engine.verify(password, hash.map(stored).as_ref());
            assert!(matches!(verdict, Verdict::Wrong));
            assert_eq!(engine.work.hashed.load(Ordering::Relaxed), 1);
            engine.work.filled.load(Ordering::Relaxed)
        };
        let wrong = password("wrong");
        assert_eq!(filled(Some(&wrong), None), 3 * 256);
        for (memory_kib, iterations, parallelism) in
            [(256, 3, 1), (256, 2, 1), (64, 1, 1), (100, 2, 1), (128, 6, 1), (64, 1, 4)]
        {
            let hash = hashed_with(HashCost { memory_kib, iterations, parallelism });
            for password in [None, Some(&wrong)] {
                assert_eq!(filled(password, Some(&hash)), 3 * 256, "{memory_kib}, {iterations}");
            }
        }
        let argon2i =
            "$argon2i$m=256,t=2,p=1$c29tZXNhbHQ$/U3YPXYsSb3q9XxHvc0MLxur+GP960kN9j7emXX8zwY";
        assert_eq!(filled(Some(&wrong), Some(argon2i)), 3 * 256);
        let dearer = hashed_with(HashCost { memory_kib: 512, iterations: 2, parallelism: 1 });
        assert_eq!(filled(Some(&wrong), Some(&dearer)), 4 * 256);
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn the_memory_asks_for_huge_pages() {
        if !std::path::Path::new("/sys/kernel/mm/transparent_hugepage").exists() {
            return;
        }
        let engine = Argon2Worker::new(HashCost::default()).unwrap();
        let place = engine.memory.as_ptr().addr();
        let smaps = std::fs::read_to_string("/proc/self/smaps").unwrap();
        let holds = |line: &str| {
            let (start, end) = line.split_whitespace().next()?.split_once('-')?;
            let address = |text| usize::from_str_radix(text, 16).ok();
            Some((address(start)?..address(end)?).contains(&place))
        };
        let mut lines = smaps.lines().skip_while(|line| holds(line) != Some(true));
        let flags = lines.find_map(|line| line.strip_prefix("VmFlags:")).unwrap();
        assert!(flags.split_whitespace().any(|flag| flag == "hg"), "it asked for none: {flags}");
    }

    #[test]
    fn a_cost_beyond_reason_is_refused_at_the_start() {
        for cost in [
            HashCost { memory_kib: 0, ..CHEAP },
            HashCost { memory_kib: HashCost::MAX_MEMORY_KIB + 1, ..CHEAP },
            HashCost { iterations: 0, ..CHEAP },
            HashCost { iterations: HashCost::MAX_ITERATIONS + 1, ..CHEAP },
            HashCost { parallelism: 0, ..CHEAP },
            HashCost { parallelism: 9, ..CHEAP },
        ] {
            assert!(Argon2Worker::new(cost).is_err(), "{cost:?}");
        }
    }
}
