use std::cell::RefCell;
use std::pin::pin;
use std::sync::mpsc;
use std::task::{Context, Poll, Wake};

use super::*;
use crate::clock::Timestamp;

const SETTINGS: HasherSettings = HasherSettings {
    cost: HashCost { memory_kib: 64, iterations: 1, parallelism: 1 },
    threads: 1,
    queue: 1,
    deadline: Duration::from_secs(60),
};

fn start(settings: HasherSettings) -> Hasher {
    Hasher::start(settings, Clock::manual(Timestamp::from_micros(0))).unwrap()
}

fn password() -> Password {
    Password::parse("correct horse battery staple").unwrap()
}

/// Occupies a thread until the sender is dropped.
fn occupy(hasher: &Hasher) -> mpsc::Sender<()> {
    let (begun, has_begun) = mpsc::channel();
    let (release, released) = mpsc::channel::<()>();
    // The result is not needed, but the job must not be skipped.
    let answer = hasher.submit(move |_| {
        begun.send(()).unwrap();
        let _ = released.recv();
    });
    has_begun.recv().unwrap();
    drop(answer);
    release
}

/// A minimal executor: futures that run here run under any other.
fn block_on<T>(future: impl Future<Output = T>) -> T {
    struct Unpark(thread::Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Arc::new(Unpark(thread::current())).into();
    let mut future = pin!(future);
    loop {
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(value) => return value,
            Poll::Pending => thread::park(),
        }
    }
}

#[test]
fn a_hash_can_be_verified() {
    let hasher = start(SETTINGS);
    let hash = block_on(hasher.hash(password())).unwrap();
    let right = block_on(hasher.verify(Some(password()), Candidate::Stored(hash.clone()))).unwrap();
    assert!(matches!(right, Verdict::Right { upgraded: None }));
    let nobody =
        block_on(hasher.verify(Some(password()), hasher.dummy("nobody@example.com"))).unwrap();
    assert!(matches!(nobody, Verdict::Wrong));
    let too_long = block_on(hasher.verify(None, Candidate::Stored(hash))).unwrap();
    assert!(matches!(too_long, Verdict::Wrong));
}

#[test]
fn a_new_password_can_be_checked_by_the_hashing_threads() {
    let hasher = start(SETTINGS);
    let check = |forbidden: &str| {
        block_on(hasher.check(PasswordPolicy::default(), password(), vec![forbidden.to_owned()]))
    };
    assert_eq!(check("somebody@example.org"), Ok(Ok(())));
    assert_eq!(check(password().as_str()), Ok(Err(WeakPassword::Personal)));
}

#[test]
fn a_full_queue_refuses_at_once() {
    let hasher = start(SETTINGS);
    let release = occupy(&hasher);
    let waiting = hasher.submit(|worker| worker.hash(&password())).unwrap();
    assert_eq!(hasher.waiting(), 1);

    let refused = block_on(hasher.hash(password())).unwrap_err();
    assert_eq!(refused.retry_after, Duration::from_secs(60));
    assert_eq!(hasher.waiting(), 1);
    let full = RejectionLabel { reason: HashRejection::QueueFull };
    assert_eq!(hasher.refused().get_or_create(&full).get(), 1);

    drop(release);
    assert!(block_on(waiting).is_ok());
    assert_eq!(hasher.waiting(), 0);
}

#[test]
fn a_job_past_its_deadline_is_refused_without_a_hash() {
    let hasher = start(HasherSettings { deadline: Duration::ZERO, ..SETTINGS });
    let (begun, has_begun) = mpsc::channel();
    let refused = block_on(hasher.run(move |_| begun.send(()).unwrap())).unwrap_err();
    assert_eq!(refused.retry_after, Duration::from_secs(1));
    assert!(has_begun.recv().is_err());
    let late = RejectionLabel { reason: HashRejection::Deadline };
    assert_eq!(hasher.refused().get_or_create(&late).get(), 1);
}

#[test]
fn a_queued_job_of_a_disconnected_caller_is_skipped() {
    let hasher = start(SETTINGS);
    let release = occupy(&hasher);
    let (begun, has_begun) = mpsc::channel();
    drop(hasher.submit(move |_| begun.send(()).unwrap()).unwrap());
    assert_eq!(hasher.waiting(), 1, "a disconnect frees no slot");

    drop(release);
    assert!(has_begun.recv().is_err());
    assert!(block_on(hasher.hash(password())).is_ok());
}

#[test]
fn a_panic_ends_its_own_job_only() {
    let hasher = start(SETTINGS);
    for _ in 0..3 {
        assert!(block_on(hasher.run(|_| panic!("on purpose"))).is_err());
    }
    assert!(block_on(hasher.hash(password())).is_ok());
}

#[test]
fn every_thread_takes_jobs() {
    let hasher = start(HasherSettings { threads: 3, ..SETTINGS });
    let held = [occupy(&hasher), occupy(&hasher), occupy(&hasher)];
    let waiting = hasher.submit(|worker| worker.hash(&password())).unwrap();
    assert!(hasher.submit(|_| ()).is_err());
    drop(held);
    assert!(block_on(waiting).is_ok());
}

#[test]
fn the_threads_end_with_the_last_handle() {
    // Thread-local values are dropped when a thread ends.
    thread_local!(static ALIVE: RefCell<Option<mpsc::Sender<()>>> = RefCell::default());
    let hasher = start(SETTINGS);
    let (alive, ended) = mpsc::channel();
    block_on(hasher.clone().run(move |_| ALIVE.set(Some(alive)))).unwrap();
    assert!(ended.try_recv().is_err_and(|state| state == mpsc::TryRecvError::Empty));
    drop(hasher);
    assert!(ended.recv().is_err());
}

#[test]
fn retry_after_is_the_deadline_in_whole_seconds() {
    for (deadline, seconds) in [(1, 1), (999, 1), (1000, 1), (1001, 2), (3000, 3)] {
        let deadline = Duration::from_millis(deadline);
        let hasher = start(HasherSettings { deadline, ..SETTINGS });
        assert_eq!(hasher.overloaded().retry_after, Duration::from_secs(seconds));
    }
}

#[test]
#[cfg(target_os = "linux")]
fn hashing_threads_have_a_lower_priority() {
    let priority = || rustix::process::getpriority_process(None).unwrap();
    let hashing = block_on(start(SETTINGS).run(move |_| priority())).unwrap();
    assert_eq!(hashing, (priority() + 10).min(19));
}

#[test]
fn futures_can_move_between_threads() {
    fn send<T: Send>(future: T) -> T {
        future
    }
    let hasher = start(SETTINGS);
    assert!(block_on(send(hasher.hash(password()))).is_ok());
    assert!(block_on(send(hasher.verify(None, hasher.dummy("")))).is_ok());
}
