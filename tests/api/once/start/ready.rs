//! A start that succeeds.

use std::fs;
use std::time::Duration;

use doorward::clock::Clock;

use crate::support::binary::{Doorward, data_of, doorward, home};

#[tokio::test]
async fn a_start_is_ready_in_less_than_half_a_second_on_a_quiet_machine() {
    let home = home();
    let clock = Clock::system();
    for start in ["the first start", "a later start"] {
        let begun = clock.monotonic();
        let service = Doorward::start(&mut doorward(home.path()));
        service.get("/readyz").send().await.assert_status(200);
        let took = clock.monotonic() - begun;
        println!("{start} is ready after {took:.0?}");
        assert!(took < Duration::from_secs(5), "{start}: {took:?}");
        assert!(service.stop().0.success());
    }
}

/// Closing any descriptor of a file releases all of a process's locks on it (POSIX, fcntl). Without
/// them, a process that reads the database meanwhile considers itself the last one, removes the
/// write-ahead log, and later commits are lost.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_running_service_holds_its_lock_on_the_database() {
    let home = home();
    let service = Doorward::start(&mut doorward(home.path()));
    service.get("/readyz").send().await.assert_status(200);
    let file = fs::metadata(data_of(home.path()).join("doorward.db")).unwrap();
    let locks = fs::read_to_string("/proc/locks").unwrap();
    let own = format!(":{} ", std::os::unix::fs::MetadataExt::ino(&file));
    assert!(locks.contains(&own), "no lock on inode {own}in\n{locks}");
    assert!(service.stop().0.success());
}

#[tokio::test]
async fn an_untrusted_proxy_is_warned_about_once() {
    let home = home();
    let forwarded = async |service: &Doorward| {
        for address in ["198.51.100.7", "198.51.100.8"] {
            let call = service.get("/healthz").header("x-forwarded-for", address);
            call.send().await.assert_status(200);
        }
    };
    let service = Doorward::start(&mut doorward(home.path()));
    forwarded(&service).await;
    let log = service.stop().2;
    assert_eq!(log.matches("forwarded_for_ignored").count(), 1, "{log}");
    assert!(log.contains("peer=127.0.0.1") && log.contains("trusted_proxies"), "{log}");
    let mut command = doorward(home.path());
    let service = Doorward::start(command.env("DOORWARD_TRUSTED_PROXIES", "127.0.0.1"));
    forwarded(&service).await;
    let log = service.stop().2;
    assert!(!log.contains("forwarded_for_ignored"), "{log}");
    assert!(log.contains("client=198.51.100.8"), "{log}");
}
