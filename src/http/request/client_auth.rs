//! Client authentication: `client_secret_basic`, `client_secret_post` or none (RFC 6749 2.3).

use actix_web::dev::Payload;
use actix_web::http::header::AUTHORIZATION;
use actix_web::{FromRequest, HttpRequest, web};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures_util::future::LocalBoxFuture;
use zeroize::Zeroizing;

use super::client_ip::ClientAddress;
use super::form::{Form, malformed};
use crate::audit::EventKind;
use crate::clients::{AuthenticatedClient, AuthenticationError, RequestingClient};
use crate::http::problem::{Code, Problem};
use crate::http::{Api, HttpSettings};
use crate::secret::Secret;

/// Handlers that take this run only for confidential clients authenticated by
/// `Authorization: Basic`. For resources without a form.
#[derive(Clone, Debug)]
pub struct ConfidentialClient(pub AuthenticatedClient);

impl FromRequest for ConfidentialClient {
    type Error = Problem;
    type Future = LocalBoxFuture<'static, Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let (authenticator, basic) = (ClientAuthenticator::of(request), Basic::of(request));
        Box::pin(async move {
            let Basic { id, secret } = basic?.ok_or(Code::InvalidClient)?;
            Ok(Self(authenticator?.authenticate(id.expose(), secret.expose()).await?))
        })
    }
}

/// A request to an OAuth endpoint: a form, and the requesting client.
#[derive(Debug)]
pub(in crate::http) struct OAuthRequest {
    /// The requesting client.
    pub requester: RequestingClient,
    /// The other parameters.
    pub form: Form,
}

impl OAuthRequest {
    /// The requesting client, if it is authenticated.
    ///
    /// # Errors
    /// `invalid_client` when it is not.
    pub(crate) fn confidential(&self) -> Result<&AuthenticatedClient, Problem> {
        match &self.requester {
            RequestingClient::Authenticated(client) => Ok(client),
            RequestingClient::Unauthenticated(_) => Err(Code::InvalidClient.into()),
        }
    }
}

impl FromRequest for OAuthRequest {
    type Error = Problem;
    type Future = LocalBoxFuture<'static, Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let (authenticator, basic) = (ClientAuthenticator::of(request), Basic::of(request));
        let form = Form::read(request, payload);
        Box::pin(async move {
            let mut form = form.await?;
            let requester = identify(&authenticator?, basic?, &mut form).await?;
            Ok(Self { requester, form })
        })
    }
}

async fn identify(
    authenticator: &ClientAuthenticator,
    basic: Option<Basic>,
    form: &mut Form,
) -> Result<RequestingClient, Problem> {
    let (id, secret) = (form.take("client_id")?, form.take("client_secret")?);
    if form.take("client_assertion")?.is_some() {
        let detail = "The client must use client_secret_basic or client_secret_post.";
        return Err(Problem::new(Code::InvalidClient).detail(detail));
    }
    let (id, secret) = match (basic, id, secret) {
        // RFC 6749 2.3: one method per request.
        (Some(_), _, Some(_)) => {
            return Err(malformed("The client authenticates in more than one way."));
        }
        (Some(basic), Some(id), None) if *id.expose() != *basic.id.expose() => {
            return Err(malformed("client_id differs from the one in Authorization."));
        }
        (Some(basic), _, None) => (basic.id, basic.secret),
        (None, Some(id), Some(secret)) => (id, secret),
        (None, None, Some(_)) => return Err(malformed("The parameter client_id is missing.")),
        (None, id, None) => return Ok(RequestingClient::named(id.map(|id| id.expose().clone()))),
    };
    authenticator
        .authenticate(id.expose(), secret.expose())
        .await
        .map(RequestingClient::Authenticated)
}

/// The dependencies for checking a client secret.
struct ClientAuthenticator {
    api: web::Data<Api>,
    address: ClientAddress,
}

impl ClientAuthenticator {
    fn of(request: &HttpRequest) -> Result<Self, Problem> {
        let api = request.app_data::<web::Data<Api>>().ok_or(Code::InternalError)?;
        let settings = request.app_data::<web::Data<HttpSettings>>().ok_or(Code::InternalError)?;
        let address = ClientAddress::of(request, &settings.trusted_proxies);
        Ok(Self { api: api.clone(), address })
    }

    /// Only failures count, and after too many of them the database is not asked. A service that
    /// has authenticated here before is never blocked.
    async fn authenticate(&self, id: &str, secret: &str) -> Result<AuthenticatedClient, Problem> {
        self.api.client_failures.check(self.address, (id, secret))?;
        let proof = self.api.clients.authenticate(id, secret).await;
        if let Err(AuthenticationError::Wrong) = proof {
            // Never the id: people confuse the fields and put the secret there.
            let network = self.address.network().to_string();
            self.api.audit.record_failure(EventKind::ClientAuthenticationFailed, None, &network);
            self.api.client_failures.count(self.address)?;
        }
        let client = proof?;
        self.api.client_failures.proven((id, secret));
        Ok(client)
    }
}

/// RFC 6749 2.3.1: id and secret, each encoded as in a form, as user and password of RFC 7617.
struct Basic {
    id: Secret<String>,
    secret: Secret<String>,
}

impl Basic {
    /// The credentials of a request, if there are any.
    fn of(request: &HttpRequest) -> Result<Option<Self>, Problem> {
        let mut fields = request.headers().get_all(AUTHORIZATION);
        let Some(field) = fields.next() else {
            return Ok(None);
        };
        if fields.next().is_some() {
            return Err(Code::MultipleCredentials.into());
        }
        field.to_str().ok().and_then(Self::parse).map(Some).ok_or_else(|| {
            let detail = "Authorization must be Basic, with the client's id and secret.";
            Problem::new(Code::InvalidClient).detail(detail)
        })
    }

    fn parse(field: &str) -> Option<Self> {
        let (scheme, encoded) = field.split_once(' ')?;
        if !scheme.eq_ignore_ascii_case("Basic") {
            return None;
        }
        let decoded = Zeroizing::new(STANDARD.decode(encoded.trim_matches(' ')).ok()?);
        let (id, secret) = str::from_utf8(&decoded).ok()?.split_once(':')?;
        Some(Self { id: unescape(id)?, secret: unescape(secret)? })
    }
}

/// Decodes a form-encoded value. A separator (`&`) in it would make two values of one.
fn unescape(text: &str) -> Option<Secret<String>> {
    if text.contains('&') {
        return None;
    }
    let whole = Zeroizing::new(format!("={text}"));
    let (_, value) = url::form_urlencoded::parse(whole.as_bytes()).next()?;
    Some(Secret::new(value.into_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(user_pass: &str) -> Option<(String, String)> {
        let basic = Basic::parse(&format!("bAsIc {}", STANDARD.encode(user_pass)))?;
        Some((basic.id.expose().clone(), basic.secret.expose().clone()))
    }

    #[test]
    fn basic_credentials_are_decoded_twice() {
        let some = |id: &str, secret: &str| Some((id.to_owned(), secret.to_owned()));
        assert_eq!(parse("a:b"), some("a", "b"));
        assert_eq!(parse("a%3Ab:%2B+%25:="), some("a:b", "+ %:="));
        assert_eq!(parse("dws%5Fa:dws%2Db"), some("dws_a", "dws-b"));
        assert_eq!(parse(":"), some("", ""));
        for odd in ["ab", "", "a&b:c", "a:b&=c"] {
            assert_eq!(parse(odd), None, "{odd}");
        }
        for odd in ["Basic", "Basic ", "Basic !", "Bearer YTpi", "BasicYTpi", "Basic YTpi="] {
            assert!(Basic::parse(odd).is_none(), "{odd}");
        }
    }
}
