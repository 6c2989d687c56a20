//! Handlers that take a [`Caller`] run for holders of a good access token only.

use actix_web::dev::Payload;
use actix_web::{FromRequest, HttpRequest, web};
use futures_util::FutureExt as _;
use futures_util::future::LocalBoxFuture;

use super::Api;
use super::caller::BearerToken;
use super::problem::{Code, Problem};
use crate::sessions::access::Access;

/// The holder of the access token that came with the request.
#[derive(Clone, Copy, Debug)]
pub struct Caller(pub Access);

impl Caller {
    async fn of(request: HttpRequest) -> Result<Access, Problem> {
        let token = BearerToken::of(&request)?.ok_or(Code::MissingToken)?;
        let api = request.app_data::<web::Data<Api>>().ok_or(Code::InternalError)?;
        Ok(api.sessions.authenticate(token.as_str()).await?)
    }
}

impl FromRequest for Caller {
    type Error = Problem;
    type Future = LocalBoxFuture<'static, Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        Self::of(request.clone()).map(|access| access.map(Self)).boxed_local()
    }
}

/// The same for a handler that has another way when there is no good access token.
pub struct MaybeCaller(pub Result<Access, Problem>);

impl FromRequest for MaybeCaller {
    type Error = Problem;
    type Future = LocalBoxFuture<'static, Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        Caller::of(request.clone()).map(|access| Ok(Self(access))).boxed_local()
    }
}
