//! Extractors: handlers that take a [`Caller`] run only with a valid access token.

use actix_web::dev::Payload;
use actix_web::{FromRequest, HttpRequest, web};
use futures_util::FutureExt as _;
use futures_util::future::LocalBoxFuture;

use super::cookies::Cookies;
use crate::accounts::Owner;
use crate::factors::login_tokens::ENROL_PREFIX;
use crate::http::Api;
use crate::http::problem::{Code, Problem};
use crate::sessions::authenticate::AuthenticatedSession;

/// The holder of the request's access token.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Caller(pub AuthenticatedSession);

impl Caller {
    async fn of(request: HttpRequest) -> Result<AuthenticatedSession, Problem> {
        let token = Cookies::of(&request)?.access_token(request.method().is_safe())?;
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

/// The owner of an account: by an access token, or by a token for setting up a second factor before
/// the first session, which no other resource accepts.
#[derive(Clone, Copy, Debug)]
pub(crate) struct EnrolmentCaller(pub Owner);

impl EnrolmentCaller {
    async fn of(request: HttpRequest) -> Result<Owner, Problem> {
        let token = Cookies::of(&request)?.access_token(request.method().is_safe())?;
        let api = request.app_data::<web::Data<Api>>().ok_or(Code::InternalError)?;
        if token.as_str().starts_with(ENROL_PREFIX) {
            return Ok(Owner::Enrolment(api.accounts.read_enrol_token(token.as_str())?));
        }
        Ok(api.sessions.authenticate(token.as_str()).await?.into())
    }
}

impl FromRequest for EnrolmentCaller {
    type Error = Problem;
    type Future = LocalBoxFuture<'static, Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        Self::of(request.clone()).map(|owner| owner.map(Self)).boxed_local()
    }
}

/// The holder of the request's access token, for a handler that also works without a valid one.
pub(crate) struct MaybeCaller {
    /// The holder, or why the token was rejected.
    pub access: Result<AuthenticatedSession, Problem>,
    /// The session of an otherwise valid access token, if that session has ended.
    pub ended: Option<AuthenticatedSession>,
}

impl MaybeCaller {
    async fn of(request: HttpRequest) -> Self {
        let access = Caller::of(request.clone()).await;
        let is_revoked = access.as_ref().is_err_and(|problem| problem.code() == Code::TokenRevoked);
        let ended = if is_revoked { ended(&request).await.ok().flatten() } else { None };
        Self { access, ended }
    }
}

async fn ended(request: &HttpRequest) -> Result<Option<AuthenticatedSession>, Problem> {
    let token = Cookies::of(request)?.access_token(request.method().is_safe())?;
    let api = request.app_data::<web::Data<Api>>().ok_or(Code::InternalError)?;
    Ok(api.sessions.ended_session(token.as_str()).await?)
}

impl FromRequest for MaybeCaller {
    type Error = Problem;
    type Future = LocalBoxFuture<'static, Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        Self::of(request.clone()).map(Ok).boxed_local()
    }
}
