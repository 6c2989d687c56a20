//! `/reset`: the built-in page for setting a new password, for deployments without one of their
//! own.
//!
//! It works without JavaScript: the user pastes the link from the message, or the page requests a
//! message (`/reset/message`), keeps the request's token in the form, and accepts the code. With
//! JavaScript, the token in the fragment of a mailed link fills the form; it is sent with the form
//! and not before. No GET consumes anything. An error that the user can correct is shown above the
//! form.

mod html;

use actix_web::dev::Payload;
use actix_web::{FromRequest, HttpRequest, HttpResponse, web};
use futures_util::future::LocalBoxFuture;
use url::Url;

use crate::accounts::mail_proof::{MailSource, ShownProof};
use crate::accounts::reset_password::Reset;
use crate::http::problem::{Code, Problem};
use crate::http::request::csrf;
use crate::http::request::form::Form;
use crate::http::request::language::Language;
use crate::http::request::requester::RequestSource;
use crate::http::{Api, HttpSettings};
use crate::mail::codes::find_link_token;
use crate::secret::Secret;

use html::{ResetPage, Step};

/// A form that this page has sent.
pub(in crate::http) struct OwnForm(Form);

impl FromRequest for OwnForm {
    type Error = Problem;
    type Future = LocalBoxFuture<'static, Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let settings = request.app_data::<web::Data<HttpSettings>>();
        let is_own = settings.map_or(Err(Code::InternalError.into()), |settings| {
            csrf::check(request.headers(), &settings.cookies)
        });
        let form = Form::read(request, payload);
        Box::pin(async move {
            is_own?;
            form.await.map(Self)
        })
    }
}

impl OwnForm {
    /// A field; empty when it is missing.
    fn take(&mut self, name: &str) -> Secret<String> {
        self.0.take_text(name).unwrap_or_else(|| Secret::new(String::new()))
    }
}

pub(in crate::http) async fn show(api: web::Data<Api>) -> Result<HttpResponse, Problem> {
    // While mail is off, operators may hand over the links of invitations.
    if !api.accounts.mail().is_on() && !api.accounts.is_by_invitation() {
        return Err(Code::EmailOff.into());
    }
    Ok(page(&api).response(&Step::start()))
}

/// Requests a message.
pub(in crate::http) async fn request_message(
    api: web::Data<Api>,
    source: RequestSource,
    language: Language,
    mut form: OwnForm,
) -> Result<HttpResponse, Problem> {
    let source = MailSource { network: source.network(), known_device: None, locale: language.0 };
    let email = form.take("email");
    let request = api.accounts.forgot_password(email.expose(), source).await;
    let done = request.map(|request| Step::Requested(Secret::new(request)));
    page_or_problem(&api, done.map_err(Problem::from), &Step::start())
}

/// Sets the password.
pub(in crate::http) async fn set_password(
    api: web::Data<Api>,
    source: RequestSource,
    mut form: OwnForm,
) -> Result<HttpResponse, Problem> {
    let [link, request, code, password] =
        ["link", "request", "code", "password"].map(|name| form.take(name));
    let (shown, step) = if request.expose().is_empty() {
        (
            ShownProof::Link(find_link_token(link.expose()).unwrap_or_default()),
            Step::Start { link: link.clone() },
        )
    } else {
        let shown = ShownProof::Code { request: request.expose(), code: code.expose() };
        (shown, Step::Requested(request.clone()))
    };
    let device = source.device(None);
    let reset = Reset { shown, password: password.expose(), login: None, device };
    let done = api.accounts.reset_password(reset).await.map(|_| Step::Done);
    page_or_problem(&api, done.map_err(Problem::from), &step)
}

/// The page after a form was sent: the next step, or `again` below an error that the user can
/// correct.
fn page_or_problem(
    api: &Api,
    result: Result<Step, Problem>,
    again: &Step,
) -> Result<HttpResponse, Problem> {
    match result {
        Ok(step) => Ok(page(api).response(&step)),
        Err(problem) if matches!(problem.code(), Code::InvalidFields | Code::InvalidLink) => {
            Ok(page(api).with_error(problem.text()).response(again))
        }
        Err(problem) => Err(problem),
    }
}

/// The page below the path of the public URL.
fn page(api: &Api) -> ResetPage {
    let path = Url::parse(&api.issuer).map(|url| url.path().trim_end_matches('/').to_owned());
    ResetPage::new(path.unwrap_or_default())
}
