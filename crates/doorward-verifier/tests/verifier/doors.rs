//! The responses of a service that uses the verifier, through actix-web and through tower.

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::task::{Context, Poll};
use std::time::Duration;

use actix_web::{App, test, web};
use doorward_verifier::tower::VerifierLayer;
use doorward_verifier::{Verifier, actix, tower};
use http::{Request, Response};
use tower_layer::Layer as _;
use tower_service::Service;

use super::issuer::Issuer;
use super::verifier;

/// Status, challenge, `Retry-After` and body.
type Seen = (u16, Option<String>, Option<String>, String);

/// Both integrations, called with these `Authorization` headers; they must agree.
async fn ask(verifier: &Verifier, authorization: &[&str]) -> Seen {
    let (one, other) =
        (by_actix(verifier, authorization).await, by_tower(verifier, authorization).await);
    assert_eq!(one, other);
    one
}

async fn by_actix(verifier: &Verifier, authorization: &[&str]) -> Seen {
    async fn who(access: actix::Access) -> String {
        access.sub.to_string()
    }
    let app = App::new().app_data(web::Data::new(verifier.clone())).route("/", web::get().to(who));
    let app = test::init_service(app).await;
    let mut request = test::TestRequest::get().uri("/");
    for value in authorization {
        request = request.append_header(("authorization", *value));
    }
    let response = test::call_service(&app, request.to_request()).await;
    let header =
        |name: &str| response.headers().get(name).map(|value| value.to_str().unwrap().to_owned());
    let (status, challenge, retry) =
        (response.status().as_u16(), header("www-authenticate"), header("retry-after"));
    let body = String::from_utf8(test::read_body(response).await.to_vec()).unwrap();
    (status, challenge, retry, body)
}

/// Responds with the token's subject.
#[derive(Clone)]
struct Who;

impl Service<Request<()>> for Who {
    type Response = Response<String>;
    type Error = Infallible;
    type Future = Ready<Result<Response<String>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<()>) -> Self::Future {
        let access = request.extensions().get::<tower::Access>().expect("was accepted");
        ready(Ok(Response::new(access.sub.to_string())))
    }
}

async fn by_tower(verifier: &Verifier, authorization: &[&str]) -> Seen {
    let mut service = VerifierLayer::new(verifier.clone()).layer(Who);
    let mut request = Request::new(());
    for value in authorization {
        request.headers_mut().append("authorization", value.parse().unwrap());
    }
    std::future::poll_fn(|context| service.poll_ready(context)).await.unwrap();
    let response = service.call(request).await.unwrap();
    let header =
        |name: &str| response.headers().get(name).map(|value| value.to_str().unwrap().to_owned());
    let (challenge, retry) = (header("www-authenticate"), header("retry-after"));
    (response.status().as_u16(), challenge, retry, response.into_body())
}

#[tokio::test]
async fn the_holder_of_a_valid_token_is_admitted() {
    let issuer = Issuer::start().await;
    let verifier = verifier(&issuer).await;
    let claims = issuer.claims();
    let token = issuer.sign(&claims);
    for scheme in ["Bearer", "bearer", "BEARER "] {
        let seen = ask(&verifier, &[&format!("{scheme} {token}")]).await;
        assert_eq!(seen, (200, None, None, claims.sub.to_string()));
    }
}

#[tokio::test]
async fn a_request_without_a_token_gets_a_bare_challenge() {
    let issuer = Issuer::start().await;
    let verifier = verifier(&issuer).await;
    let token = issuer.token();
    for shown in [vec![], vec!["Basic YTpi"], vec![token.as_str()], vec![&*format!("DPoP {token}")]]
    {
        let (status, challenge, retry, body) = ask(&verifier, &shown).await;
        assert_eq!((status, challenge.as_deref(), retry), (401, Some("Bearer"), None), "{shown:?}");
        assert!(body.contains("no access token"), "{body}");
    }
}

#[tokio::test]
async fn a_rejected_token_gets_the_reason() {
    let issuer = Issuer::start().await;
    let verifier = verifier(&issuer).await;
    let claims = issuer.claims();
    let bearer = format!("Bearer {}", issuer.sign(&claims));
    assert_eq!(ask(&verifier, &[&bearer]).await.0, 200);
    issuer.revoke(&claims.sid.unwrap().to_string());
    super::until(|| verifier.verify(&bearer[7..]).is_err()).await;
    let (status, challenge, _, body) = ask(&verifier, &[&bearer]).await;
    assert_eq!(status, 401);
    let expected =
        r#"Bearer error="invalid_token", error_description="the access token was revoked""#;
    assert_eq!(challenge.as_deref(), Some(expected));
    let problem: serde_json::Value = serde_json::from_str(&body).unwrap();
    assert_eq!((&problem["status"], &problem["title"]), (&401.into(), &"Unauthorized".into()));

    let (status, challenge, ..) = ask(&verifier, &["Bearer a\"b, c"]).await;
    assert_eq!(status, 401);
    assert!(challenge.unwrap().contains("malformed"));
    let (status, challenge, ..) = ask(&verifier, &[&bearer, &bearer]).await;
    assert_eq!(status, 400);
    assert!(challenge.unwrap().contains("invalid_request"));
}

#[tokio::test]
async fn an_unverifiable_token_gets_503() {
    let issuer = Issuer::start().await;
    let verifier = verifier(&issuer).await;
    let bearer = format!("Bearer {}", issuer.token());
    issuer.cut();
    issuer.clock.advance(Duration::from_secs(60));
    let (status, challenge, retry, _) = ask(&verifier, &[&bearer]).await;
    assert_eq!((status, challenge, retry.as_deref()), (503, None, Some("2")));
    // A forgery is still reported as one.
    assert_eq!(ask(&verifier, &["Bearer x.y.z"]).await.0, 401);
}

#[tokio::test]
async fn a_token_of_a_key_just_published_is_accepted_at_its_first_request() {
    let issuer = Issuer::start().await;
    let verifier = verifier(&issuer).await;
    issuer.set(|state| state.keys.insert(0, super::issuer::key()));
    assert_eq!(ask(&verifier, &[&format!("Bearer {}", issuer.token())]).await.0, 200);
}

#[tokio::test]
async fn an_app_without_a_verifier_rejects_every_request() {
    let app = App::new().route("/", web::get().to(async |_: actix::Access| "in"));
    let app = test::init_service(app).await;
    let response = test::call_service(&app, test::TestRequest::get().to_request()).await;
    assert_eq!(response.status().as_u16(), 500);
}
