//! Liveness and readiness probes: `/healthz` and `/readyz`.

use std::sync::atomic::Ordering;
use std::time::Duration;

use actix_web::{HttpResponse, web};
use serde::Serialize;
use serde_json::json;

use crate::http::problem::{Code, Problem};
use crate::http::{Api, HttpSettings};
use crate::revocations::MAX_CLOCK_SKEW;

/// The staleness of the revocation list from which a load balancer should choose another node.
const READY_STALENESS: Duration = Duration::from_secs(5);

pub(in crate::http) async fn healthz() -> HttpResponse {
    HttpResponse::Ok().json(json!({ "status": "ok" }))
}

/// A node that serves requests.
#[derive(Serialize)]
pub(super) struct Readiness {
    /// `ready`, or `degraded` while writes are rejected.
    pub status: &'static str,
    revocations_age_seconds: f64,
    clock_skew_seconds: f64,
}

pub(in crate::http) async fn readyz(
    api: web::Data<Api>,
    settings: web::Data<HttpSettings>,
) -> Result<HttpResponse, Problem> {
    Ok(HttpResponse::Ok().json(readiness(&api, &settings).await?))
}

/// The state of this node.
///
/// # Errors
/// `not_ready`, with the reason.
pub(super) async fn readiness(api: &Api, settings: &HttpSettings) -> Result<Readiness, Problem> {
    if settings.is_shutting_down.load(Ordering::Relaxed) {
        return Err(Problem::new(Code::NotReady).detail("This node is shutting down."));
    }
    let staleness = api.revocations.staleness();
    if staleness > READY_STALENESS {
        return Err(Problem::new(Code::NotReady).detail(format!(
            "The revocation list was last complete {} seconds ago.",
            staleness.as_secs()
        )));
    }
    let clock_skew = api.revocations.clock_skew();
    if clock_skew > MAX_CLOCK_SKEW {
        return Err(Problem::new(Code::NotReady).detail(format!(
            "The clocks of this node and of the database differ by {} seconds.",
            clock_skew.as_secs()
        )));
    }
    if api.db.ping().await.is_err() {
        let detail = api.db.fault().map_or_else(
            || "The database does not respond.".to_owned(),
            |fault| format!("Writes are rejected: {fault} while the service runs."),
        );
        return Err(Problem::new(Code::NotReady).detail(detail));
    }
    // A node that rejects writes stays ready: reads are served, and with a shared database another
    // node would reject the writes, too.
    let status = if api.db.refuses_writes() { "degraded" } else { "ready" };
    Ok(Readiness {
        status,
        revocations_age_seconds: staleness.as_secs_f64(),
        clock_skew_seconds: clock_skew.as_secs_f64(),
    })
}
