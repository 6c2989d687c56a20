//! The plain-HTTP listener that redirects to https.

use actix_web::http::header::{LOCATION, X_CONTENT_TYPE_OPTIONS};
use actix_web::http::uri::PathAndQuery;
use actix_web::{HttpRequest, HttpResponse, web};

/// The origin of `public_url`: scheme, host and port.
#[derive(Clone, Debug)]
pub struct RedirectTarget(pub String);

/// Redirects every request to the same path under [`RedirectTarget`], which is in the app's data.
/// 308 keeps the method (RFC 9110 15.4.9). Nothing in the request determines the host.
pub fn routes(config: &mut web::ServiceConfig) {
    config.default_service(web::to(redirect));
}

async fn redirect(
    redirect_target: web::Data<RedirectTarget>,
    request: HttpRequest,
) -> HttpResponse {
    let target = request.uri().path_and_query().map(PathAndQuery::as_str);
    // `OPTIONS *` has no path.
    let target = target.filter(|it| it.starts_with('/')).unwrap_or("/");
    HttpResponse::PermanentRedirect()
        .insert_header((LOCATION, format!("{}{target}", redirect_target.0)))
        .insert_header((X_CONTENT_TYPE_OPTIONS, "nosniff"))
        .finish()
}
