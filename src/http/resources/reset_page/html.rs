//! The HTML of the page, for each step of a reset.

use std::fmt::Write as _;
use std::sync::LazyLock;

use actix_web::HttpResponse;
use actix_web::http::header::{CONTENT_SECURITY_POLICY, REFERRER_POLICY};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::secret::{Secret, sha256};

const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");

/// The page's own style and script, and nothing else.
static CONTENT_POLICY: LazyLock<String> = LazyLock::new(|| {
    let hash = |text: &str| STANDARD.encode(sha256(text.as_bytes()));
    format!(
        "default-src 'none'; script-src 'sha256-{}'; style-src 'sha256-{}'; form-action 'self'; \
         base-uri 'none'; frame-ancestors 'none'",
        hash(SCRIPT),
        hash(STYLE)
    )
});

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
pub(super) struct Page {
    /// The URL's path that the forms are sent to.
    action: String,
    error: Option<String>,
}

impl Page {
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
        HttpResponse::Ok()
            .insert_header((CONTENT_SECURITY_POLICY, CONTENT_POLICY.as_str()))
            // With no-referrer, browsers send the form with the origin `null`.
            .insert_header((REFERRER_POLICY, "same-origin"))
            .content_type("text/html; charset=utf-8")
            .body(format!(
                "<!DOCTYPE html>\n<html lang=\"en\">\n<head><meta charset=\"utf-8\"><meta \
                 name=\"viewport\" content=\"width=device-width\"><title>Set a new \
                 password</title><style>{STYLE}</style></head>\n<body>\n<h1>Set a new \
                 password</h1>\n{body}<script>{SCRIPT}</script>\n</body>\n</html>\n"
            ))
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

fn escaped(text: &str) -> String {
    let escape = |c| match c {
        '&' => String::from("&amp;"),
        '<' => String::from("&lt;"),
        '>' => String::from("&gt;"),
        '"' => String::from("&quot;"),
        c => String::from(c),
    };
    text.chars().map(escape).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escaped_text_cannot_end_an_attribute() {
        assert_eq!(escaped("\"><script>&"), "&quot;&gt;&lt;script&gt;&amp;");
    }
}
