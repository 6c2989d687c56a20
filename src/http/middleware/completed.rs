//! The metrics and the log line of a completed request.

use std::time::{Duration, Instant};

use actix_web::http::{Method, StatusCode};
use tracing::Span;

use crate::http::HttpSettings;
use crate::http::request::client_ip::ClientAddress;

/// A completed request.
pub(super) struct Completed<'a> {
    /// The method that was sent: HEAD also where the request was handled as GET.
    pub(super) method: &'a Method,
    /// The pattern of its resource.
    pub(super) route: Option<String>,
    pub(super) status: StatusCode,
    pub(super) took: Duration,
    pub(super) client: ClientAddress,
}

impl Completed<'_> {
    /// Counts the request, and writes its line within `span`.
    ///
    /// A flood must not fill the log: requests rejected by a limiter are counted, and some of them
    /// are logged.
    pub(super) fn record(&self, settings: &HttpSettings, started: Instant, span: &Span) {
        if let Some(requests) = &settings.requests {
            let (method, status) = (self.method.as_str(), self.status.as_u16());
            requests.record(self.route.as_deref(), method, status, self.took);
        }
        let is_refused = self.status == StatusCode::TOO_MANY_REQUESTS;
        let allowed = if is_refused { settings.refusals.allow_line(started) } else { Some(0) };
        if let Some(left_out) = allowed {
            span.in_scope(|| self.log(left_out));
        }
    }

    fn log(&self, left_out: u64) {
        tracing::info!(
            method = %self.method,
            // Never the path or the query themselves: they may contain secrets.
            route = self.route.as_deref().unwrap_or("-"),
            status = self.status.as_u16(),
            // JSON's writer turns wider integers into text.
            duration_us = u64::try_from(self.took.as_micros()).unwrap_or(u64::MAX),
            client = %self.client,
            left_out = (left_out > 0).then_some(left_out),
            "request completed",
        );
    }
}
