//! Signals: those that stop the service, and those that it ignores.

use std::io;
use std::process;

use rustix::process::Signal as Number;
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::FlushLog;
use crate::clock::Clock;
use crate::http::server::tls::Tls;

/// The signals that would otherwise terminate the process immediately.
pub(super) struct Signals {
    terminate: Signal,
    interrupt: Signal,
    quit: Signal,
    hang_up: Signal,
}

impl Signals {
    /// Installs the handlers.
    ///
    /// # Errors
    /// When the system rejects a handler.
    pub(super) fn receive() -> io::Result<Self> {
        // A handler stays installed when its stream is dropped, so these signals are ignored.
        // SIGXFSZ is sent for a write beyond the file size limit (`ulimit -f`); the write then
        // fails with EFBIG and is handled like one to a full disk.
        drop(signal(SignalKind::user_defined1())?);
        drop(signal(SignalKind::user_defined2())?);
        drop(signal(SignalKind::from_raw(Number::XFSZ.as_raw()))?);
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            quit: signal(SignalKind::quit())?,
            hang_up: signal(SignalKind::hangup())?,
        })
    }

    /// Completes at the first SIGTERM, SIGINT or SIGQUIT; the second ends the process immediately.
    /// SIGHUP reloads the certificate. `flush_log` writes the lines that the log holds.
    pub(super) async fn stop(self, tls: Option<Tls>, clock: Clock, flush_log: FlushLog) {
        let Self { mut terminate, mut interrupt, mut quit, hang_up } = self;
        // SIGHUP is handled until the process ends, also during the drain.
        tokio::spawn(reload(hang_up, tls, clock));
        let mut next = async move || {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
                _ = quit.recv() => {}
            }
        };
        next().await;
        tokio::spawn(async move {
            next().await;
            tracing::warn!("stopped by a second signal");
            // A separate thread writes the log; `exit` would end it before the line is written.
            flush_log();
            process::exit(1);
        });
    }
}

/// Reads the certificate files at each SIGHUP. No other file is read again without a restart.
async fn reload(mut hang_up: Signal, tls: Option<Tls>, clock: Clock) {
    while hang_up.recv().await.is_some() {
        let Some(tls) = tls.clone() else {
            tracing::info!("SIGHUP ignored: settings change at a restart");
            continue;
        };
        tracing::info!("SIGHUP: reading tls.cert and tls.key; other settings change at a restart");
        let now = clock.now();
        let reloaded = tokio::task::spawn_blocking(move || tls.reload_if_changed(now)).await;
        if let Err(error) = reloaded {
            tracing::error!(%error, "the certificate files could not be read");
        }
    }
}
