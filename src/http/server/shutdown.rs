//! The shutdown, which answers every accepted request.

use std::future::Future;
use std::io;
use std::pin::pin;
use std::sync::atomic::Ordering;
use std::time::Duration;

use actix_web::dev::ServerHandle;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, sleep_until, timeout, timeout_at};

use super::closing_port::close;
use super::{HttpServer, ServerSettings};
use crate::http::requests_in_progress::RequestsInProgress;

/// How long accepting may continue after it was asked to pause, until accepted connections have
/// reached a worker, where they are counted.
pub(super) const ACCEPT_SETTLE_TIME: Duration = Duration::from_millis(100);

/// How often the shutdown checks whether the last connection is closed.
const POLL_INTERVAL: Duration = Duration::from_millis(20);

impl HttpServer {
    /// Serves until `stop` completes, and then until every accepted request is answered.
    ///
    /// # Errors
    /// When the server ends unexpectedly.
    pub async fn run_until(self, stop: impl Future<Output = ()>) -> io::Result<()> {
        let Self { server, listener, late, open, settings } = self;
        let handle = server.handle();
        let mut server = tokio::spawn(server);
        tokio::select! {
            ended = &mut server => return ended.map_err(io::Error::other)?,
            () = stop => {}
        }
        settings.is_shutting_down.store(true, Ordering::Relaxed);
        sleep(settings.shutdown_delay).await;
        settings.is_draining.store(true, Ordering::Relaxed);
        if settings.shutdown_timeout.is_zero() {
            return stop_at_once(&handle, server, &settings.in_progress).await;
        }
        let mut late = if settings.socket_is_inherited {
            handle.pause().await;
            sleep(ACCEPT_SETTLE_TIME).await;
            None
        } else {
            late.serve(close(listener, &handle).await)
        };
        let drained = async {
            while open.load(Ordering::Relaxed) > 0 {
                sleep(POLL_INTERVAL).await;
            }
        };
        let late_served = async {
            if let Some(served) = &mut late {
                let _ = served.await;
            }
        };
        let _ = timeout(settings.drain_timeout, async { tokio::join!(late_served, drained) }).await;
        stop_after_requests(&handle, server, late, &settings).await
    }
}

/// Stops without waiting for requests.
async fn stop_at_once(
    handle: &ServerHandle,
    server: JoinHandle<io::Result<()>>,
    requests: &RequestsInProgress,
) -> io::Result<()> {
    let before = requests.dropped();
    handle.stop(false).await;
    let ended = server.await;
    warn_of_cut_requests(requests, before);
    ended.map_err(io::Error::other)?
}

/// Stops when the requests in progress are answered, at the latest after the shutdown timeout.
async fn stop_after_requests(
    handle: &ServerHandle,
    server: JoinHandle<io::Result<()>>,
    late: Option<oneshot::Receiver<()>>,
    settings: &ServerSettings,
) -> io::Result<()> {
    let requests = &settings.in_progress;
    let finished = Instant::now() + settings.shutdown_timeout;
    let stop = async {
        handle.stop(true).await;
        if let Some(served) = late.filter(|served| !served.is_terminated()) {
            let _ = timeout_at(finished, served).await;
        }
        server.await
    };
    // Requests that their clients abandon before then are not cut off by the server.
    let abandoned = async {
        sleep_until(finished.checked_sub(POLL_INTERVAL).unwrap_or(finished)).await;
        requests.dropped()
    };
    let mut stop = pin!(stop);
    let (ended, before) = tokio::select! {
        biased;
        before = abandoned => (stop.await, Some(before)),
        ended = &mut stop => (ended, None),
    };
    if let Some(before) = before {
        warn_of_cut_requests(requests, before);
    }
    ended.map_err(io::Error::other)?
}

/// Logs how many requests got no response: those dropped after the first `before` ones, and those
/// still in progress.
fn warn_of_cut_requests(requests: &RequestsInProgress, before: usize) {
    let count = requests.dropped().saturating_sub(before) + requests.in_progress();
    if count > 0 {
        tracing::warn!(
            requests = count,
            "requests were cut off unanswered; a longer shutdown_timeout lets them end"
        );
    }
}
