//! The listener of the admin API.

use actix_web::middleware::from_fn;
use actix_web::web;

use super::StartError;
use super::listeners::AuxiliaryListener;
use crate::config::Config;
use crate::http::problem::{Code, Problem};
use crate::http::server::tls::Tls;
use crate::http::{self, Api, HttpSettings, middleware};

/// Starts the listener, if the admin API is served on an address of its own. It shares the
/// certificate of the main port.
pub(super) async fn listen(
    config: &Config,
    settings: &web::Data<HttpSettings>,
    api: &Api,
    may_share_port: bool,
    tls: Option<Tls>,
) -> Result<Option<AuxiliaryListener>, StartError> {
    if !config.admin.enabled || config.admin.on_main_port {
        return Ok(None);
    }
    let (at, clock) = (config.admin.listen, settings.clock.clone());
    let (settings, api) = (settings.clone(), web::Data::new(api.clone()));
    let app = move || {
        actix_web::App::new()
            .app_data(settings.clone())
            .app_data(api.clone())
            .configure(http::admin_routes)
            .default_service(web::to(not_found))
            .wrap(from_fn(middleware::reject_invalid))
            .wrap(from_fn(middleware::handle_request))
    };
    AuxiliaryListener::serve("admin.listen", at, may_share_port, &clock, tls, app).await.map(Some)
}

async fn not_found() -> Result<actix_web::HttpResponse, Problem> {
    Err(Code::NotFound.into())
}
