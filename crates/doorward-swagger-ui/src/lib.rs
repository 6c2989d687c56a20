//! The files of [Swagger UI](https://github.com/swagger-api/swagger-ui) that a page needs, as gzip
//! files in the program's read-only memory. A server sends them as they are, with
//! `Content-Encoding: gzip`.
//!
//! They come from the crate `utoipa-swagger-ui-vendored`, which contains Swagger UI's release. It
//! is under the Apache License 2.0; the copyright is `SmartBear`'s (2020-2021).

/// The version of Swagger UI.
pub const VERSION: &str = env!("SWAGGER_UI_VERSION");

/// The script, `text/javascript`. It defines `SwaggerUIBundle`.
pub const SCRIPT: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/swagger-ui-bundle.js.gz"));

/// The style sheet, `text/css`.
pub const STYLE: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/swagger-ui.css.gz"));
