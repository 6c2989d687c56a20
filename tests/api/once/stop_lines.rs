//! The log lines of a stop that does not wait.

use futures_util::future::join_all;
use rustix::process::Signal;

use crate::support::binary::{Doorward, unlimited};
use crate::support::client::PASSWORD;
use crate::support::program::free_port;
use crate::support::until;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_signal_is_logged_even_if_it_arrives_with_the_first() {
    for _ in 0..5 {
        let home = tempfile::tempdir().unwrap();
        let service = Doorward::start(&mut unlimited(home.path()));
        service.signal(Signal::TERM);
        service.signal(Signal::INT);
        let (status, _, log) = service.ended();
        assert_eq!(status.code(), Some(1), "{log}");
        assert!(log.contains("stopped by a second signal"), "{log}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_that_cuts_requests_off_says_how_many() {
    let home = tempfile::tempdir().unwrap();
    let metrics = format!("127.0.0.1:{}", free_port());
    let mut command = unlimited(home.path());
    command.envs([
        ("DOORWARD_METRICS__ENABLED", "true"),
        ("DOORWARD_METRICS__LISTEN", &metrics),
        ("DOORWARD_SHUTDOWN_TIMEOUT", "1s"),
        ("DOORWARD_PASSWORDS__THREADS", "1"),
        ("DOORWARD_PASSWORDS__MEMORY_KIB", "1048576"),
        ("DOORWARD_PASSWORDS__ITERATIONS", "10"),
    ]);
    let service = Doorward::start(&mut command);
    // One hash takes longer than the stop; the others wait for it.
    let (http, url) = (service.http.clone(), service.url.clone());
    let asked = join_all((0..3).map(|n| {
        let body =
            serde_json::json!({ "email": format!("n{n}@example.com"), "password": PASSWORD });
        let request = http.post(format!("{url}/register")).json(&body);
        async move { request.send().await.is_ok_and(|answer| answer.status() == 201) }
    }));
    let http = service.http.clone();
    let are_waiting = async || {
        let page = http.get(format!("http://{metrics}/metrics")).send().await.unwrap();
        page.text().await.unwrap().lines().any(|line| line == "doorward_hash_queue_length 2")
    };
    let stop = async {
        until(are_waiting).await;
        tokio::task::spawn_blocking(move || service.stop()).await.unwrap()
    };
    let (answered, (status, _, log)) = tokio::join!(asked, stop);
    assert!(answered.iter().all(|answered| !answered), "{log}");
    assert!(status.success(), "{log}");
    assert!(log.contains("requests were cut off unanswered"), "{log}");
    assert!(log.contains("requests=3"), "{log}");
}

#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_hashing_threads_have_a_lower_priority_than_the_others() {
    let home = tempfile::tempdir().unwrap();
    let service = Doorward::start(&mut unlimited(home.path()));
    let mut hashers = 0;
    for thread in std::fs::read_dir(format!("/proc/{}/task", service.id())).unwrap() {
        let stat = std::fs::read_to_string(thread.unwrap().path().join("stat")).unwrap();
        let (name, fields) = stat.rsplit_once(") ").unwrap();
        // Field 19 of proc_pid_stat(5); the fields after the name begin with the third.
        let nice = fields.split(' ').nth(16).unwrap();
        let is_hasher = name.contains("(hasher-");
        assert_eq!(nice, if is_hasher { "10" } else { "0" }, "{stat}");
        hashers += usize::from(is_hasher);
    }
    assert!(hashers > 0);
}
