//! `/docs`: the API in Swagger UI, from the binary.
//!
//! The page loads its script, its style sheet and `/openapi.yaml`, all from this service: its
//! content security policy allows no other host. With `docs.enabled = false` nothing is there.

use std::sync::LazyLock;

use actix_web::http::header::{
    CACHE_CONTROL, CONTENT_ENCODING, CONTENT_SECURITY_POLICY, ContentEncoding,
};
use actix_web::{HttpResponse, web};
use doorward_swagger_ui as swagger_ui;

use super::html::source_hash;
use crate::http::Api;
use crate::http::problem::{Code, Problem};

const START: &str = include_str!("docs/start.js");

/// The style sheet has its icons as `data:` URLs.
static POLICY: LazyLock<String> = LazyLock::new(|| {
    format!(
        "default-src 'none'; script-src 'self' {}; style-src 'self'; img-src data:; \
         connect-src 'self'; form-action 'none'; base-uri 'none'; frame-ancestors 'none'",
        source_hash(START)
    )
});

/// The paths are relative: a proxy may serve Doorward below a prefix.
static PAGE: LazyLock<String> = LazyLock::new(|| {
    let version = swagger_ui::VERSION;
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head><meta charset=\"utf-8\"><meta \
         name=\"viewport\" content=\"width=device-width\"><title>Doorward's API</title><link \
         rel=\"icon\" href=\"data:,\"><link rel=\"stylesheet\" \
         href=\"docs/swagger-ui.css\"></head>\n<body>\n<noscript>This page needs JavaScript. <a \
         href=\"openapi.yaml\">openapi.yaml</a> has its content.</noscript>\n<div \
         id=\"ui\"></div>\n<!-- Swagger UI {version}, Copyright 2020-2021 SmartBear Software Inc., \
         Apache License 2.0 -->\n<script src=\"docs/swagger-ui-bundle.js\"></script>\n\
         <script>{START}</script>\n</body>\n</html>\n"
    )
});

pub(in crate::http) async fn page(api: web::Data<Api>) -> Result<HttpResponse, Problem> {
    ensure_enabled(&api)?;
    Ok(HttpResponse::Ok()
        .insert_header((CONTENT_SECURITY_POLICY, POLICY.as_str()))
        .content_type("text/html; charset=utf-8")
        .body(PAGE.as_str()))
}

/// The script or the style sheet. Both are stored compressed, and sent so without regard to
/// `Accept-Encoding`: every browser accepts gzip.
pub(in crate::http) async fn file(
    api: web::Data<Api>,
    name: web::Path<String>,
) -> Result<HttpResponse, Problem> {
    ensure_enabled(&api)?;
    let (content, media_type) = match name.as_str() {
        "swagger-ui-bundle.js" => (swagger_ui::SCRIPT, "text/javascript; charset=utf-8"),
        "swagger-ui.css" => (swagger_ui::STYLE, "text/css; charset=utf-8"),
        _ => return Err(Code::NotFound.into()),
    };
    Ok(HttpResponse::Ok()
        .insert_header((CACHE_CONTROL, "public, max-age=3600"))
        .insert_header((CONTENT_ENCODING, ContentEncoding::Gzip))
        .content_type(media_type)
        .body(content))
}

fn ensure_enabled(api: &Api) -> Result<(), Problem> {
    if api.has_docs { Ok(()) } else { Err(Code::NotFound.into()) }
}
