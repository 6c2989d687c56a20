//! The source of a request, as sessions store it and login throttling counts it.

use std::future::{Ready, ready};

use actix_web::dev::Payload;
use actix_web::{FromRequest, HttpRequest, web};

use super::client_ip::ClientAddress;
use super::user_agent::UserAgent;
use crate::http::HttpSettings;
use crate::http::problem::Problem;
use crate::sessions::Device;

/// The client's network and user agent.
pub(crate) struct RequestSource {
    network: String,
    user_agent: Option<String>,
}

impl RequestSource {
    /// One IPv4 address, or one IPv6 /64.
    pub(crate) fn network(&self) -> &str {
        &self.network
    }

    /// The device data of a session started from here.
    pub(crate) fn device(&self, label: Option<String>) -> Device {
        Device { label, user_agent: self.user_agent.clone(), address: Some(self.network.clone()) }
    }
}

impl FromRequest for RequestSource {
    type Error = Problem;
    type Future = Ready<Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let settings = request.app_data::<web::Data<HttpSettings>>();
        let trusted = settings.map_or(&[][..], |settings| &settings.trusted_proxies);
        let network = ClientAddress::of(request, trusted).network().to_string();
        ready(Ok(Self { network, user_agent: UserAgent::of(request).0 }))
    }
}
