//! The HTML of the page, for each step of a reset.

use std::fmt::Write as _;

use actix_web::HttpResponse;
use actix_web::http::header::REFERRER_POLICY;

use crate::http::resources::html::{Page, escaped};
use crate::secret::Secret;

const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");

const PASSWORD: &str = "<label>New password <input name=\"password\" type=\"password\" \
                        autocomplete=\"new-password\" required></label>\n\
                        <button>Set the password</button>\n</form>\n";

/// The steps of a reset.
pub(super) enum Step {
    /// The link is pasted, or a message requested.
    Start {
        /// The link that was sent with a form which was refused.
        link: Secret<String>,
    },
    /// A message was requested; this is the request's token.
    Requested(Secret<String>),
    /// The password is set.
    Done,
}

impl Step {
    /// The step of an empty form.
    pub(super) fn start() -> Self {
        Self::Start { link: Secret::new(String::new()) }
    }
}

/// The page, without its content.
pub(super) struct ResetPage {
    /// The URL's path that the forms are sent to.
    action: String,
    error: Option<String>,
}

impl ResetPage {
    /// The page at `/reset` below this path.
    pub(super) fn new(path: String) -> Self {
        Self { action: escaped(&(path + "/reset")), error: None }
    }

    /// Shows an error above the form.
    pub(super) fn with_error(self, text: &str) -> Self {
        Self { error: Some(escaped(text)), ..self }
    }

    /// The response with the form of this step.
    pub(super) fn response(&self, step: &Step) -> HttpResponse {
        let mut body = String::new();
        if let Some(error) = &self.error {
            // Writing to a String cannot fail.
            let _ = writeln!(body, "<p role=\"alert\">{error}</p>");
        }
        self.write_step(step, &mut body);
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

    fn write_step(&self, step: &Step, body: &mut String) {
        let action = &self.action;
        let form = format!("<form method=\"post\" action=\"{action}\">\n");
        match step {
            Step::Start { link } => {
                let link = escaped(link.expose());
                let _ = writeln!(
                    body,
                    "{form}<label id=\"by-link\">The link from the message <input name=\"link\" \
                     value=\"{link}\" autocomplete=\"off\" required></label>\n{PASSWORD}\
                     <form method=\"post\" action=\"{action}/message\" id=\"ask\">\n\
                     <p>No message yet?</p>\n<label>Your e-mail address <input name=\"email\" \
                     type=\"email\" autocomplete=\"email\" required></label>\n\
                     <button>Send a message</button>\n</form>"
                );
            }
            Step::Requested(request) => {
                let request = escaped(request.expose());
                let _ = writeln!(
                    body,
                    "<p>If there is an account with this address, a message is sent to it. Type its \
                     code here, or open its link.</p>\n{form}<input type=\"hidden\" \
                     name=\"request\" value=\"{request}\">\n<label>The code from the message \
                     <input name=\"code\" autocomplete=\"one-time-code\" required></label>\n\
                     {PASSWORD}"
                );
            }
            Step::Done => body.push_str(
                "<p role=\"status\">Your password is set, and every session has ended. Log in with \
                 the new one.</p>\n",
            ),
        }
    }
}
