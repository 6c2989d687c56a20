//! `/`: the service, its state and its links. A browser gets a page, every other client JSON.

use std::fmt::Write as _;

use actix_web::http::header::{ACCEPT, VARY};
use actix_web::{HttpRequest, HttpResponse, web};
use serde_json::{Value, json};

use super::health::readiness;
use super::html::{Page, escaped};
use crate::http::{Api, HttpSettings};

const STYLE: &str = include_str!("index/page.css");
const SCRIPT: &str = include_str!("index/page.js");

const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The links of both forms: the name in JSON, the path, its text and description in the page.
const LINKS: [(&str, &str, &str, &str); 5] = [
    ("docs", "docs", "API page", "every request and every error, with forms to try them"),
    ("openapi", "openapi.yaml", "openapi.yaml", "the same for generators of clients"),
    (
        "metadata",
        ".well-known/oauth-authorization-server",
        "Server metadata",
        "the addresses of all endpoints (RFC 8414)",
    ),
    ("jwks", ".well-known/jwks.json", "Public keys", "for services that verify access tokens"),
    ("readiness", "readyz", "Readiness", "the state of this node, for load balancers"),
];

/// The state of the node, in the word for programs and in a sentence.
struct State {
    status: &'static str,
    text: String,
}

pub(in crate::http) async fn index(
    api: web::Data<Api>,
    settings: web::Data<HttpSettings>,
    request: HttpRequest,
) -> HttpResponse {
    let state = match readiness(&api, &settings).await {
        Ok(ready) if ready.status == "ready" => {
            State { status: ready.status, text: "Running, and ready for requests.".into() }
        }
        Ok(other) => {
            State { status: other.status, text: "Running, but writes are rejected.".into() }
        }
        Err(problem) => {
            State { status: "not_ready", text: format!("Not ready: {}", problem.text()) }
        }
    };
    let links = LINKS.into_iter().filter(|(name, ..)| api.has_docs || *name != "docs");
    if accepts_html(&request) {
        return page(&api, &state, links);
    }
    let issuer = &api.issuer;
    let links = links.map(|(name, path, ..)| (name.to_owned(), json!(format!("{issuer}/{path}"))));
    HttpResponse::Ok().insert_header((VARY, "accept")).json(json!({
        "service": "Doorward",
        "version": VERSION,
        "issuer": issuer,
        "status": state.status,
        "links": Value::Object(links.collect()),
    }))
}

fn page(
    api: &Api,
    state: &State,
    links: impl Iterator<Item = (&'static str, &'static str, &'static str, &'static str)>,
) -> HttpResponse {
    let (issuer, text) = (escaped(&api.issuer), escaped(&state.text));
    let mut body = format!(
        "<p>A self-hosted login service: it checks passwords, issues short-lived access tokens and \
         rotating refresh tokens, and revokes both at once. This is version {VERSION} at \
         {issuer}.</p>\n<p id=\"state\" class=\"{}\" role=\"status\">{text}</p>\n<dl>\n",
        state.status
    );
    for (_, path, name, description) in links {
        // Writing to a String cannot fail.
        let _ = writeln!(body, "<dt><a href=\"{path}\">{name}</a></dt><dd>{description}</dd>");
    }
    body.push_str(
        "<dt>Documentation</dt><dd>guides for apps, services and operators: the folder <code>docs\
         </code> beside the source, or <code>mdbook build</code></dd>\n</dl>\n",
    );
    let account = "\"email\":\"ada@example.com\",\"password\":\"seven otters juggle lanterns\"";
    let (text, path) = if api.accounts.is_open() {
        ("Create an account:", "register")
    } else {
        ("Operators create the accounts here. Log in with one:", "login")
    };
    let _ = write!(body, "<p>{text}</p>\n<pre>curl {issuer}/{path} --json '{{{account}}}'</pre>");
    let page = Page {
        title: "Doorward",
        body: &body,
        style: STYLE,
        script: SCRIPT,
        policy: "connect-src 'self'; form-action 'none'; img-src data:",
    };
    page.respond().insert_header((VARY, "accept")).body(page.text())
}

/// Whether `Accept` names HTML, as browsers do. `*/*` is not enough: curl sends it.
fn accepts_html(request: &HttpRequest) -> bool {
    let ranges = request.headers().get_all(ACCEPT).filter_map(|value| value.to_str().ok());
    ranges.flat_map(|value| value.split(',')).any(|range| {
        let mut parts = range.split(';').map(str::trim);
        let is_html = parts.next().is_some_and(|name| name.eq_ignore_ascii_case("text/html"));
        // RFC 9110 12.4.2: a weight of 0 means `not acceptable`.
        is_html && !parts.any(|part| part.replace(' ', "").trim_end_matches(['0', '.']) == "q=")
    })
}
