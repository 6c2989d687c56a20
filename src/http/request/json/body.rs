//! The type and the bytes of a body.

use std::future::Future;

use actix_web::dev::Payload;
use actix_web::error::PayloadError;
use actix_web::http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, HeaderMap};
use actix_web::{HttpRequest, web};
use futures_util::StreamExt as _;
use zeroize::Zeroizing;

use crate::http::HttpSettings;
use crate::http::problem::{Code, Problem};
use crate::http::request::body_buffer::BodyBuffer;

/// Whether the body has this type, in UTF-8 if a charset is given, and is not compressed.
pub(in crate::http) fn has_content_type(headers: &HeaderMap, media_type: &str) -> bool {
    let mut types = headers.get_all(CONTENT_TYPE);
    let is_so = types
        .next()
        .and_then(|value| value.to_str().ok())
        .is_some_and(|value| is_type(value, media_type));
    let is_plain = headers
        .get_all(CONTENT_ENCODING)
        .all(|encoding| encoding.as_bytes().eq_ignore_ascii_case(b"identity"));
    is_so && is_plain && types.next().is_none()
}

pub(super) fn is_type(value: &str, media_type: &str) -> bool {
    let mut parts = value.split(';').map(str::trim);
    let essence = parts.next().unwrap_or_default();
    essence.eq_ignore_ascii_case(media_type)
        && parts.all(|parameter| {
            parameter.split_once('=').is_some_and(|(name, value)| {
                name.eq_ignore_ascii_case("charset")
                    && value.trim_matches('"').eq_ignore_ascii_case("utf-8")
            })
        })
}

/// The bytes of a body, within the limits of size and time.
pub(in crate::http) fn read(
    request: &HttpRequest,
    mut payload: Payload,
) -> impl Future<Output = Result<Zeroizing<Vec<u8>>, Problem>> + 'static {
    let settings = request.app_data::<web::Data<HttpSettings>>().cloned();
    let announced = request
        .headers()
        .get(CONTENT_LENGTH)
        .and_then(|length| length.to_str().ok()?.parse::<usize>().ok());
    async move {
        let settings = settings.ok_or(Code::InternalError)?;
        let most = settings.max_body_bytes;
        if announced.is_some_and(|length| length > most) {
            return Err(too_large(most));
        }
        let mut body = BodyBuffer::new(most);
        let collect = async {
            while let Some(chunk) = payload.next().await {
                let chunk = chunk.map_err(|error| broken(&error))?;
                if !body.push(&chunk) {
                    return Err(too_large(most));
                }
            }
            Ok(())
        };
        tokio::time::timeout(settings.body_timeout, collect)
            .await
            .map_err(|_| Problem::new(Code::RequestTimeout))??;
        Ok(body.into_bytes())
    }
}

fn too_large(most: usize) -> Problem {
    Problem::new(Code::PayloadTooLarge).detail(format!("The body may have at most {most} bytes."))
}

fn broken(error: &PayloadError) -> Problem {
    Problem::new(Code::MalformedRequest).detail(match error {
        PayloadError::Incomplete(_) => "The body ended before its announced length.",
        _ => "The body could not be read.",
    })
}
