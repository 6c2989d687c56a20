//! Connections that a stopping server accepts itself, after actix was told to accept no more.

use std::net;
use std::thread;

use actix_service::{Service as _, ServiceFactory};
use actix_web::rt::System;
use actix_web::rt::net::TcpStream;
use futures_util::future::join_all;
use tokio::sync::oneshot;

/// Serves a list of connections until they end.
type Serve = Box<dyn FnOnce(Vec<net::TcpStream>) + Send>;

/// The workers' service, for connections that no worker has accepted.
pub(in crate::http) struct ShutdownConnections(Serve);

impl ShutdownConnections {
    /// `make` is the factory of the workers' service.
    pub(super) fn new<M, S>(make: M) -> Self
    where
        M: FnOnce() -> S + Send + 'static,
        S: ServiceFactory<TcpStream, Config = ()>,
    {
        Self(Box::new(move |streams| {
            System::new().block_on(async move {
                let Ok(service) = make().new_service(()).await else {
                    tracing::error!("waiting connections cannot be served during shutdown");
                    return;
                };
                // The result of one connection does not matter to the others.
                let streams = streams.into_iter().filter_map(|it| TcpStream::from_std(it).ok());
                let _ = join_all(streams.map(|stream| service.call(stream))).await;
            });
        }))
    }

    /// Serves them on a separate thread, which signals when it is done; `None` when there are none.
    pub(super) fn serve(self, streams: Vec<net::TcpStream>) -> Option<oneshot::Receiver<()>> {
        if streams.is_empty() {
            return None;
        }
        let (done, served) = oneshot::channel();
        let serve = move || {
            (self.0)(streams);
            let _ = done.send(());
        };
        let started = thread::Builder::new().name("doorward-shutdown".into()).spawn(serve);
        if let Err(error) = started {
            tracing::error!(%error, "waiting connections cannot be served during shutdown");
            return None;
        }
        Some(served)
    }
}
