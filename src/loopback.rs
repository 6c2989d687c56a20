//! Hosts that are this machine by their names.

use url::{Host, Url};

/// Whether a host is a loopback address or `localhost`.
pub(crate) fn is_loopback(host: &Host<impl AsRef<str>>) -> bool {
    match host {
        Host::Domain(name) => name.as_ref() == "localhost",
        Host::Ipv4(address) => address.is_loopback(),
        Host::Ipv6(address) => address.is_loopback(),
    }
}

/// Whether a URL is local to this machine: browsers trust those without https. Only browsers are
/// sure to resolve names below `localhost` to a loopback address (RFC 6761 6.3), so that
/// connections of the service itself are checked by [`is_loopback`].
pub(crate) fn is_local(url: &Url) -> bool {
    url.host().is_some_and(|host| {
        is_loopback(&host) || matches!(host, Host::Domain(name) if name.ends_with(".localhost"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_below_localhost_are_local_for_browsers_only() {
        for (host, local, loopback) in [
            ("localhost", true, true),
            ("127.0.0.2", true, true),
            ("[::1]", true, true),
            ("app.localhost", true, false),
            ("localhost.example", false, false),
            ("192.0.2.1", false, false),
            ("[2001:db8::1]", false, false),
        ] {
            let url = Url::parse(&format!("http://{host}/")).unwrap();
            assert_eq!(is_local(&url), local, "{host}");
            assert_eq!(is_loopback(&url.host().unwrap()), loopback, "{host}");
        }
    }
}
