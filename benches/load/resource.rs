//! This program as a server with Doorward's HTTP server and settings: an empty handler, for
//! everybody or only with a valid access token.

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use actix_web::rt::System;
use actix_web::{App, HttpResponse, web};
use doorward::clock::Clock;
use doorward::http::requests_in_progress::RequestsInProgress;
use doorward::http::server::raw_errors::RawErrors;
use doorward::http::server::{HttpServer, ServerSettings, serve};
use doorward_verifier::Verifier;
use doorward_verifier::actix::Access;

use super::floor::cores;

/// Serves a constant, until it is killed.
pub fn serve_bare(address: SocketAddr) {
    System::new().block_on(async {
        let app = || App::new().default_service(web::to(HttpResponse::Ok));
        let (listener, settings) = listening(address);
        for_ever(serve(listener, settings, app).unwrap()).await;
    });
}

/// Serves the same to holders of this issuer's access tokens, until it is killed: a service that
/// verifies tokens itself. It subscribes to the issuer's revocation feed as this client.
pub fn serve_guarded(address: SocketAddr, issuer: &str, [client, secret]: [&str; 2]) {
    System::new().block_on(async {
        let builder = Verifier::builder(issuer).audience("doorward").client(client, secret);
        let verifier = builder.start().await.unwrap();
        verifier.ready().await;
        let app = move || {
            let guarded = async |_: Access| HttpResponse::Ok();
            App::new()
                .app_data(web::Data::new(verifier.clone()))
                .route("/", web::get().to(HttpResponse::Ok))
                .default_service(web::to(guarded))
        };
        let (listener, settings) = listening(address);
        for_ever(serve(listener, settings, app).unwrap()).await;
    });
}

fn listening(address: SocketAddr) -> (TcpListener, ServerSettings) {
    let settings = ServerSettings {
        tls: None,
        workers: cores(),
        blocking_threads: None,
        connections_per_worker: 10_000,
        head_timeout: Duration::from_secs(15),
        keep_alive: Duration::from_secs(15),
        response_timeout: Duration::from_secs(25),
        socket_is_inherited: false,
        shutdown_delay: Duration::ZERO,
        drain_timeout: Duration::ZERO,
        shutdown_timeout: Duration::ZERO,
        is_shutting_down: Arc::default(),
        is_draining: Arc::new(AtomicBool::new(false)),
        in_progress: RequestsInProgress::default(),
        raw: Arc::new(RawErrors { hsts: None, clock: Clock::system() }),
    };
    (TcpListener::bind(address).unwrap(), settings)
}

async fn for_ever(running: HttpServer) {
    running.run_until(std::future::pending()).await.unwrap();
}
