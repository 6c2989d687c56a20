//! For actix-web: handlers that take an [`Access`] run only with a valid access token.
//!
//! ```no_run
//! use actix_web::{App, Responder, web};
//! use doorward_verifier::Verifier;
//! use doorward_verifier::actix::Access;
//!
//! async fn orders(access: Access) -> impl Responder {
//!     format!("the orders of {}", access.sub)
//! }
//!
//! # fn app(verifier: Verifier) {
//! App::new().app_data(web::Data::new(verifier)).route("/orders", web::get().to(orders));
//! # }
//! ```
//!
//! Other requests get 401 with `WWW-Authenticate` (RFC 6750), 400 for several `Authorization`
//! headers, or 503 with `Retry-After` while tokens cannot be verified. The token is read only from
//! the `Authorization` header.

use std::future::Future;
use std::pin::Pin;

use actix_web::dev::Payload;
use actix_web::http::StatusCode;
use actix_web::http::header::{AUTHORIZATION, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE};
use actix_web::{FromRequest, HttpRequest, HttpResponse, ResponseError, error, web};

use super::{Verifier, rejection};

pub use super::rejection::{Access, Rejection};

impl FromRequest for Access {
    /// A [`Rejection`]; or 500 when the app has no `web::Data<Verifier>`.
    type Error = actix_web::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self, Self::Error>>>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let request = request.clone();
        Box::pin(async move {
            let verifier = request
                .app_data::<web::Data<Verifier>>()
                .ok_or_else(|| error::ErrorInternalServerError("the app has no Verifier"))?;
            let values = request.headers().get_all(AUTHORIZATION).map(HeaderValue::as_bytes);
            Ok(rejection::admit(verifier, rejection::token(values)?).await?)
        })
    }
}

impl ResponseError for Rejection {
    fn status_code(&self) -> StatusCode {
        StatusCode::from_u16(self.status()).unwrap_or(StatusCode::UNAUTHORIZED)
    }

    fn error_response(&self) -> HttpResponse {
        let mut response = HttpResponse::build(self.status_code());
        if let Some(challenge) = self.challenge() {
            response.insert_header((WWW_AUTHENTICATE, challenge));
        }
        if let Some(seconds) = self.retry_after() {
            response.insert_header((RETRY_AFTER, seconds.to_string()));
        }
        response.content_type("application/problem+json").body(self.problem())
    }
}
