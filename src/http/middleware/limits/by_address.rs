//! Rate limits by client network, before the work.

use std::num::NonZeroUsize;
use std::time::Duration;

use actix_governor::governor::NotUntil;
use actix_governor::governor::clock::QuantaInstant;
use actix_governor::governor::middleware::NoOpMiddleware;
use actix_governor::{Governor, GovernorConfig, GovernorConfigBuilder, KeyExtractor};
use actix_web::dev::ServiceRequest;
use actix_web::http::Method;
use actix_web::{HttpResponse, HttpResponseBuilder, web};

use super::{Buckets, KeyedLimiter, Rate, too_many};
use crate::http::HttpSettings;
use crate::http::problem::Problem;
use crate::http::request::client_ip::ClientAddress;
use crate::metrics::Counter;

/// Limits the POST requests of each client network to a resource.
#[derive(Clone)]
pub struct AddressLimiter {
    config: GovernorConfig<ByNetwork, NoOpMiddleware>,
    limiter: KeyedLimiter,
}

impl AddressLimiter {
    /// A limiter with `buckets` buckets.
    ///
    /// # Panics
    /// Never: neither the burst nor the period is zero.
    #[must_use]
    pub fn new(rate: Rate, buckets: NonZeroUsize, settings: web::Data<HttpSettings>) -> Self {
        let (buckets, refusals) = (Buckets::new(buckets), Counter::default());
        let by_network =
            ByNetwork { buckets: buckets.clone(), settings, refusals: refusals.clone() };
        #[expect(clippy::expect_used, reason = "neither the burst nor the period is zero")]
        let config = GovernorConfigBuilder::default()
            .period(rate.every.max(Duration::from_nanos(1)))
            .burst_size(rate.burst.get())
            .methods(vec![Method::POST])
            .key_extractor(by_network)
            .finish()
            .expect("a valid rate");
        Self { limiter: KeyedLimiter { limiter: config.limiter(), buckets, refusals }, config }
    }

    /// The middleware for a resource; all from one limiter count together.
    #[must_use]
    pub fn middleware(&self) -> Governor<ByNetwork, NoOpMiddleware> {
        Governor::new(&self.config)
    }

    /// The limiter behind the middleware.
    #[must_use]
    pub const fn limiter(&self) -> &KeyedLimiter {
        &self.limiter
    }
}

/// Finds the bucket of a request's client network.
#[derive(Clone)]
pub struct ByNetwork {
    buckets: Buckets,
    settings: web::Data<HttpSettings>,
    refusals: Counter,
}

impl KeyExtractor for ByNetwork {
    type Key = usize;
    type KeyExtractionError = Problem;

    fn extract(&self, request: &ServiceRequest) -> Result<usize, Problem> {
        let address = ClientAddress::of(request.request(), &self.settings.trusted_proxies);
        Ok(self.buckets.bucket_index(address.network()))
    }

    fn exceed_rate_limit_response(
        &self,
        negative: &NotUntil<QuantaInstant>,
        _: HttpResponseBuilder,
    ) -> HttpResponse {
        self.refusals.inc();
        HttpResponse::from_error(too_many(negative))
    }
}
