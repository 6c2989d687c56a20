//! For axum, hyper and other tower-based servers: a layer that passes only requests with a valid
//! access token, and adds an [`Access`] to their extensions.
//!
//! ```text
//! let app = axum::Router::new()
//!     .route("/orders", get(orders))
//!     .layer(VerifierLayer::new(verifier));
//!
//! async fn orders(Extension(access): Extension<Access>) -> String {
//!     format!("the orders of {}", access.sub)
//! }
//! ```
//!
//! Other requests get 401 with `WWW-Authenticate` (RFC 6750), 400 for several `Authorization`
//! headers, or 503 with `Retry-After` while tokens cannot be verified. The token is read only from
//! the `Authorization` header.

use std::future::Future;
use std::mem;
use std::pin::Pin;
use std::task::{Context, Poll};

use http::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{Request, Response, StatusCode};
use tower_layer::Layer;
use tower_service::Service;

use super::{Verifier, rejection};

pub use super::rejection::{Access, Rejection};

/// Wraps a service in a [`VerifierService`].
#[derive(Clone, Debug)]
pub struct VerifierLayer {
    verifier: Verifier,
}

impl VerifierLayer {
    /// A layer that uses this verifier.
    #[must_use]
    pub const fn new(verifier: Verifier) -> Self {
        Self { verifier }
    }
}

impl<S> Layer<S> for VerifierLayer {
    type Service = VerifierService<S>;

    fn layer(&self, inner: S) -> VerifierService<S> {
        VerifierService { verifier: self.verifier.clone(), inner }
    }
}

/// A service behind a [`VerifierLayer`].
#[derive(Clone, Debug)]
pub struct VerifierService<S> {
    verifier: Verifier,
    inner: S,
}

impl<S, B, R> Service<Request<B>> for VerifierService<S>
where
    S: Service<Request<B>, Response = Response<R>> + Clone + Send + 'static,
    S::Future: Send,
    B: Send + 'static,
    R: From<String>,
{
    type Response = Response<R>;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Response<R>, S::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        let verifier = self.verifier.clone();
        // The instance that reported ready is consumed; the next call polls its clone again.
        let clone = self.inner.clone();
        let mut inner = mem::replace(&mut self.inner, clone);
        let values = request.headers().get_all(AUTHORIZATION).iter().map(HeaderValue::as_bytes);
        let token = rejection::token(values).map(str::to_owned);
        Box::pin(async move {
            let access = match token {
                Ok(token) => rejection::admit(&verifier, &token).await,
                Err(denied) => Err(denied),
            };
            match access {
                Ok(access) => {
                    request.extensions_mut().insert(access);
                    inner.call(request).await
                }
                Err(denied) => Ok(rejected(&denied)),
            }
        })
    }
}

fn rejected<R: From<String>>(denied: &Rejection) -> Response<R> {
    let mut response = Response::new(R::from(denied.problem()));
    *response.status_mut() =
        StatusCode::from_u16(denied.status()).unwrap_or(StatusCode::UNAUTHORIZED);
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
    let challenge = denied.challenge().and_then(|text| HeaderValue::try_from(text).ok());
    if let Some(challenge) = challenge {
        headers.insert(WWW_AUTHENTICATE, challenge);
    }
    if let Some(seconds) = denied.retry_after() {
        headers.insert(RETRY_AFTER, seconds.into());
    }
    response
}
