//! A complete service that verifies Doorward's access tokens itself and rejects them as soon as the
//! user logs out.
//!
//! ```sh
//! export DOORWARD_ISSUER=http://127.0.0.1:8080 DOORWARD_AUDIENCE=doorward
//! # The id (not the name) and the secret, as `doorward client add` prints them.
//! export DOORWARD_CLIENT_ID=019ab3e1-0b52-7e90-a2c6-5d41f7b80a93 DOORWARD_CLIENT_SECRET=…
//! cargo run --example resource_server
//! curl http://127.0.0.1:8081/orders -H "Authorization: Bearer $ACCESS_TOKEN"
//! ```

#![expect(clippy::disallowed_methods, reason = "an example has no other configuration")]

use std::env::var;
use std::error::Error;

use actix_web::{App, HttpResponse, HttpServer, Responder, web};
use doorward_verifier::Verifier;
use doorward_verifier::actix::Access;

/// Runs only with a valid access token.
async fn orders(access: Access) -> impl Responder {
    format!("the orders of {}, who may {:?}\n", access.sub, access.scope)
}

/// For load balancers: the service is ready while it can verify tokens.
async fn readyz(verifier: web::Data<Verifier>) -> impl Responder {
    if verifier.is_ready() {
        HttpResponse::Ok().body("ready\n")
    } else {
        HttpResponse::ServiceUnavailable().body(format!("not ready: {:?}\n", verifier.last_error()))
    }
}

#[actix_web::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let verifier = Verifier::builder(&var("DOORWARD_ISSUER")?)
        .audience(&var("DOORWARD_AUDIENCE")?)
        .client(&var("DOORWARD_CLIENT_ID")?, &var("DOORWARD_CLIENT_SECRET")?)
        .start()
        .await?;
    let app = move || {
        App::new()
            .app_data(web::Data::new(verifier.clone()))
            .route("/orders", web::get().to(orders))
            .route("/readyz", web::get().to(readyz))
    };
    let address = var("ORDERS_LISTEN").unwrap_or_else(|_| "127.0.0.1:8081".into());
    HttpServer::new(app).bind(address)?.run().await?;
    Ok(())
}
