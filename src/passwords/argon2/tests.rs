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
    let mut worker = Argon2Worker::new(CHEAP).unwrap();
    let hash = worker.hash(&password("right"));
    let again = worker.hash(&password("right"));
    assert_ne!(hash.as_str(), again.as_str(), "each hash has a salt of its own");

    let right = worker.verify(Some(&password("right")), Some(&hash));
    assert!(matches!(right, Verdict::Right { upgraded: None }));
    for wrong in ["", "Right", "right ", "righ"] {
        let verdict = worker.verify(Some(&password(wrong)), Some(&hash));
        assert!(matches!(verdict, Verdict::Wrong), "{wrong:?}");
    }
}

#[test]
fn both_unicode_forms_of_a_password_match_one_hash() {
    let mut worker = Argon2Worker::new(CHEAP).unwrap();
    let hash = worker.hash(&password("caf\u{e9}"));
    let verdict = worker.verify(Some(&password("cafe\u{301}")), Some(&hash));
    assert!(matches!(verdict, Verdict::Right { .. }));
}

#[test]
fn a_successful_login_upgrades_another_cost_algorithm_or_version() {
    // The first two are test vectors of the reference implementation.
    let others = [
        "$argon2i$m=256,t=2,p=1$c29tZXNhbHQ$/U3YPXYsSb3q9XxHvc0MLxur+GP960kN9j7emXX8zwY".to_owned(),
        "$argon2i$v=19$m=256,t=2,p=2$c29tZXNhbHQ$T/XOJ2mh1/TIpJHfCdQan76Q5esCFVoT5MAeIM1Oq2E"
            .to_owned(),
        hashed_with(HashCost { iterations: 2, ..CHEAP }),
        hashed_with(HashCost { memory_kib: 32, ..CHEAP }),
        hashed_with(HashCost { parallelism: 2, ..CHEAP }),
    ];
    let mut worker = Argon2Worker::new(CHEAP).unwrap();
    for other in others {
        let wrong = worker.verify(Some(&password("Password")), Some(&stored(&other)));
        assert!(matches!(wrong, Verdict::Wrong), "{other}");

        let right = worker.verify(Some(&password("password")), Some(&stored(&other)));
        let Verdict::Right { upgraded: Some(better) } = right else { panic!("{other}: {right:?}") };
        assert!(better.as_str().starts_with("$argon2id$v=19$m=64,t=1,p=1$"));
        let verdict = worker.verify(Some(&password("password")), Some(&better));
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
        let mut worker = Argon2Worker::new(CHEAP).unwrap();
        let verdict = worker.verify(password, hash.map(stored).as_ref());
        assert!(matches!(verdict, Verdict::Wrong), "{hash:?}");
        let is_filled = |block: &Block| block.as_ref().iter().any(|&word| word != 0);
        assert!(worker.memory.iter().all(is_filled), "{hash:?}");
    }
}

#[test]
fn a_cheap_old_hash_takes_as_much_work_as_the_dummy() {
    let present = HashCost { memory_kib: 256, iterations: 3, parallelism: 1 };
    let filled = |password: Option<&Password>, hash: Option<&str>| {
        let mut worker = Argon2Worker::new(present).unwrap();
        let verdict = worker.verify(password, hash.map(stored).as_ref());
        assert!(matches!(verdict, Verdict::Wrong));
        assert_eq!(worker.work.hashed.load(Ordering::Relaxed), 1);
        worker.work.filled.load(Ordering::Relaxed)
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
    let argon2i = "$argon2i$m=256,t=2,p=1$c29tZXNhbHQ$/U3YPXYsSb3q9XxHvc0MLxur+GP960kN9j7emXX8zwY";
    assert_eq!(filled(Some(&wrong), Some(argon2i)), 3 * 256);
    let dearer = hashed_with(HashCost { memory_kib: 512, iterations: 2, parallelism: 1 });
    assert_eq!(filled(Some(&wrong), Some(&dearer)), 4 * 256);
}

#[test]
#[cfg(target_os = "linux")]
fn the_worker_requests_huge_pages() {
    if !std::path::Path::new("/sys/kernel/mm/transparent_hugepage").exists() {
        return;
    }
    let worker = Argon2Worker::new(HashCost::default()).unwrap();
    let place = worker.memory.as_ptr().addr();
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
fn unsupported_costs_are_rejected() {
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
