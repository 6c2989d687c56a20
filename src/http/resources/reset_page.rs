//! `/reset`: the built-in page for setting a new password, for deployments without one of their own.
//!
//! It works without JavaScript: the user pastes the link from the message, or the page requests a
//! message, keeps the request's token in the form, and accepts the code. With JavaScript, the token in
//! the fragment of a mailed link fills the form; it is sent with the form and not before. No GET consumes
//! anything. An error that the user can correct is shown above the form.

use std::fmt::Write as _;

use actix_web::dev::Payload;
use actix_web::http::header::REFERRER_POLICY;
use actix_web::{FromRequest, HttpRequest, HttpResponse, web};
use futures_util::future::LocalBoxFuture;

use crate::accounts::mail_proof::{MailSource, ShownProof};
use crate::accounts::reset_password::Reset;
use crate::http::problem::{Code, Problem};
use crate::http::request::csrf;
use crate::http::request::form::Form;
use crate::http::request::language::Language;
use crate::http::request::requester::RequestSource;
use crate::http::resources::html::{Page, escaped};
use crate::http::{Api, HttpSettings};
use crate::secret::Secret;

const STYLE: &str = include_str!("reset_page/page.css");
const SCRIPT: &str = include_str!("reset_page/page.js");

/// Characters of a link's token after its prefix.
const TOKEN_CHARS: usize = 44;

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

pub(in crate::http) async fn show(api: web::Data<Api>) -> Result<HttpResponse, Problem> {
    if !api.accounts.mail().is_on() {
        return Err(Code::EmailOff.into());
    }
    Ok(page(&Step::Start, None))
}

pub(in crate::http) async fn submit(
    api: web::Data<Api>,
    origin: RequestSource,
    language: Language,
    form: OwnForm,
) -> Result<HttpResponse, Problem> {
    let mut form = form.0;
    if let Some(email) = form.take_text("email") {
        let source =
            MailSource { network: origin.network(), known_device: None, locale: language.0 };
        let request = api.accounts.forgot_password(email.expose(), source).await;
        return page_or_problem(request.map_err(Problem::from), &Step::Start, |request| {
            page(&Step::Requested(Secret::new(request)), None)
        });
    }
    let mut field = |name| form.take_text(name).unwrap_or_else(|| Secret::new(String::new()));
    let [link, request, code, password] = ["link", "request", "code", "password"].map(&mut field);
    let (shown, step) = if request.expose().is_empty() {
        (ShownProof::Link(token_of(link.expose())), Step::Start)
    } else {
        let shown = ShownProof::Code { request: request.expose(), code: code.expose() };
        (shown, Step::Requested(request.clone()))
    };
    let device = origin.device(None);
    let reset = Reset { shown, password: password.expose(), login: None, device };
    let done = api.accounts.reset_password(reset).await;
    page_or_problem(done.map_err(Problem::from), &step, |_| page(&Step::Done, None))
}

/// Shows an error that the user can correct above the form.
fn page_or_problem<T>(
    result: Result<T, Problem>,
    step: &Step,
    done: impl FnOnce(T) -> HttpResponse,
) -> Result<HttpResponse, Problem> {
    match result {
        Ok(value) => Ok(done(value)),
        Err(problem) if matches!(problem.code(), Code::InvalidFields | Code::InvalidLink) => {
            Ok(page(step, Some(problem.text())))
        }
        Err(problem) => Err(problem),
    }
}

/// The token in a link, or the token itself.
fn token_of(text: &str) -> &str {
    let token = text.find("dwm_").and_then(|at| text.get(at..at + 4 + TOKEN_CHARS));
    token.unwrap_or_default()
}

/// The steps of a reset.
enum Step {
    Start,
    /// A message was requested; this is the request's token.
    Requested(Secret<String>),
    Done,
}

const PASSWORD: &str = "<label>New password <input name=\"password\" type=\"password\" \
                        autocomplete=\"new-password\" required></label>\n\
                        <button>Set the password</button>\n</form>\n";

fn page(step: &Step, error: Option<&str>) -> HttpResponse {
    let mut body = String::new();
    if let Some(error) = error {
        // Writing to a String cannot fail.
        let _ = writeln!(body, "<p role=\"alert\">{}</p>", escaped(error));
    }
    match step {
        Step::Start => {
            body.push_str(
                "<form method=\"post\">\n<label id=\"by-link\">The link from the message <input \
                 name=\"link\" autocomplete=\"off\" required></label>\n",
            );
            body.push_str(PASSWORD);
            body.push_str(
                "<form method=\"post\" id=\"ask\">\n<p>No message yet?</p>\n<label>Your e-mail \
                 address <input name=\"email\" type=\"email\" autocomplete=\"email\" \
                 required></label>\n<button>Send one</button>\n</form>\n",
            );
        }
        Step::Requested(request) => {
            body.push_str(
                "<p>If there is an account with this address, a message is on its way. Type its \
                 code here, or open its link.</p>\n<form method=\"post\">\n",
            );
            let request = escaped(request.expose());
            let _ = writeln!(body, "<input type=\"hidden\" name=\"request\" value=\"{request}\">");
            body.push_str(
                "<label>The code from the message <input name=\"code\" \
                 autocomplete=\"one-time-code\" required></label>\n",
            );
            body.push_str(PASSWORD);
        }
        Step::Done => body.push_str(
            "<p role=\"status\">Your password is set, and every session has ended. Log in with the \
             new one.</p>\n",
        ),
    }
    let page = Page {
        title: "Set a new password",
        body: &body,
        style: STYLE,
        script: SCRIPT,
        policy: "form-action 'self'",
    };
    // With no-referrer, browsers send the form with the origin `null`.
    page.respond().insert_header((REFERRER_POLICY, "same-origin")).body(page.text())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_found_in_a_link_or_alone() {
        let token = format!("dwm_{}", "A".repeat(TOKEN_CHARS));
        for text in [token.clone(), format!(" https://x.example/reset#token={token}\r\n")] {
            assert_eq!(token_of(&text), token);
        }
        for odd in ["", "dwm_", "dwm_short", "dwm_\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}"] {
            assert_eq!(token_of(odd), "");
        }
    }
}
