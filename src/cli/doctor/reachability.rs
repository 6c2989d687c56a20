//! Reachability checks: certificate, URL and the client address behind a proxy.

use url::Url;

use super::{Doctor, DoctorArgs};
use crate::app::settings;
use crate::cli::doctor::probe;
use crate::config::Config;
use crate::http::request::client_ip::ClientAddress;
use crate::http::server::tls::{EXPIRY_WARNING, Tls};
use crate::revocations::MAX_CLOCK_SKEW;

impl DoctorArgs {
    /// The client address that a request from `--peer` counts under, if that was asked.
    #[must_use]
    pub fn client_address(&self, config: &Config) -> Option<String> {
        let peer = self.peer?;
        let (with, address) = match &self.forwarded_for {
            Some(text) => {
                let address =
                    ClientAddress::from_forwarded_for(peer, text, &config.trusted_proxies);
                let address = address.map(|address| address.to_string());
                (format!(" with X-Forwarded-For: {text}"), address)
            }
            None => (String::new(), None),
        };
        let address = address.unwrap_or_else(|| peer.to_canonical().to_string());
        Some(format!("A request from {peer}{with} counts as one of {address}."))
    }
}

impl Doctor<'_> {
    /// Whether the proxy is trusted and sends a client address.
    pub(super) fn forwarded(&mut self) {
        let (Some(peer), Some(text)) = (self.questions.peer, &self.questions.forwarded_for) else {
            return;
        };
        let peer = peer.to_canonical();
        let trusted = &self.config.trusted_proxies;
        let seen = ClientAddress::from_forwarded_for(peer, text, trusted).map(ClientAddress::ip);
        if !trusted.iter().any(|network| network.contains(&peer)) {
            let problem = format!(
                "{peer} is not listed, so its X-Forwarded-For is ignored; list it if it is your \
                 proxy"
            );
            self.report("trusted_proxies", problem);
        } else if seen.is_none_or(|seen| seen == peer) {
            let problem = format!(
                "the X-Forwarded-For of {peer} holds no client address; let the proxy send the \
                 address of its own peer, as in `proxy_set_header X-Forwarded-For $remote_addr`"
            );
            self.report("trusted_proxies", problem);
        }
    }

    /// The service at the given URL.
    pub(super) fn check_public_url(&mut self) {
        let Some(url) = &self.questions.url else {
            return;
        };
        let answered = match probe::healthz(url) {
            Ok(answered) => answered,
            Err(error) => {
                let problem = format!(
                    "{url} cannot be reached as clients do: {error}; check its name, its \
                     certificate and the proxy in front of it"
                );
                return self.report("url", problem);
            }
        };
        if answered.status != 200 {
            let problem = format!(
                "{url} answers /healthz with {}, so another service answers there; check its path \
                 and the proxy in front of it",
                answered.status
            );
            return self.report("url", problem);
        }
        let Some(date) = answered.date else {
            return;
        };
        // The Date header has whole seconds.
        let apart = self.now.since(date).max(date.since(self.now));
        if apart > MAX_CLOCK_SKEW + std::time::Duration::from_secs(1) {
            let problem = format!(
                "the clock at {url} is {} s away from this one's; let NTP set both",
                apart.as_secs()
            );
            self.report("clock", problem);
        }
    }

    pub(super) fn certificate(&mut self) {
        let Some(files) = settings::tls_files(self.config) else {
            return;
        };
        let key = files.key.clone();
        let tls = match Tls::load(files, self.now) {
            Ok(tls) => tls,
            Err(error) => return self.report("tls", error.to_string()),
        };
        let (from, until) = tls.validity();
        if self.now < from {
            self.report(
                "tls",
                format!("the certificate is valid only from {from} on; wait, or correct the clock"),
            );
        } else if until < self.now {
            self.report("tls", format!("the certificate has expired at {until}; renew it"));
        } else if until.since(self.now) < EXPIRY_WARNING {
            self.report("tls", format!("the certificate expires at {until}; renew it"));
        }
        let host = Url::parse(&self.config.public_url).ok();
        let host = host.and_then(|url| url.host_str().map(str::to_owned));
        if let Some(host) = host.filter(|host| !tls.is_for(host)) {
            let problem = format!(
                "the certificate is not for {host}, the host of public_url; get one that is"
            );
            self.report("tls", problem);
        }
        if let Some(fault) = tls.fault_of_chain(self.now) {
            let problem = format!(
                "{fault}, so that clients may be unable to verify it; write the whole chain in \
                 order, as the authority gives it"
            );
            self.report("tls", problem);
        }
        self.privacy("tls", &key, "640");
    }
}
