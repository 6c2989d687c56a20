//! Proxies, TLS and listeners.

use std::net::{Ipv4Addr, SocketAddr};

use ipnet::IpNet;

use super::Checked;
use crate::config::{Config, ConfigError};

/// The largest private networks are 10.0.0.0/8 (RFC 1918) and `fc00::/7` (RFC 4193). Two halves of
/// the address space would be all of it, and so would a network that includes all of IPv4.
pub(super) fn trusted_proxies(config: &Config) -> Checked {
    let is_too_wide = |net: &&IpNet| match net {
        IpNet::V4(net) => net.prefix_len() < 8,
        IpNet::V6(net) => {
            net.prefix_len() < 7 || net.contains(&Ipv4Addr::LOCALHOST.to_ipv6_mapped())
        }
    };
    match config.trusted_proxies.iter().find(is_too_wide) {
        None => Ok(()),
        Some(net) => Err(ConfigError::new(
            "trusted_proxies",
            format!(
                "{net} covers too many addresses: clients in it could claim any address, which \
                 defeats every limit by address"
            ),
            "name your proxy's own address or network, at most as large as 10.0.0.0/8",
        )),
    }
}

pub(super) fn tls(config: &Config) -> Checked {
    let (has_cert, has_key) = (config.has_tls(), !config.tls.key.as_os_str().is_empty());
    if has_cert != has_key {
        let (lacking, other) =
            if has_cert { ("tls.key", "tls.cert") } else { ("tls.cert", "tls.key") };
        let problem = format!("{other} is set without it");
        return Err(ConfigError::new(lacking, problem, "name both files, or neither"));
    }
    if has_cert && !config.is_https() {
        let problem = "it is http, and with tls.cert Doorward serves https only";
        return Err(ConfigError::new("public_url", problem, "write it with https://"));
    }
    if config.tls.http_redirect_listen.is_some() && !config.is_https() {
        let problem = "it needs an https public_url to redirect to";
        let remedy = "set public_url to an https URL, or leave this out";
        return Err(ConfigError::new("tls.http_redirect_listen", problem, remedy));
    }
    hsts(&config.tls.hsts)
}

/// RFC 6797 6.1, in the one form that every browser parses.
fn hsts(text: &str) -> Checked {
    let mut directives = text.split("; ");
    let age = directives.next().and_then(|first| first.strip_prefix("max-age="));
    let is_age = age.is_some_and(|age| !age.starts_with('+') && age.parse::<u32>().is_ok());
    if text.is_empty()
        || is_age && directives.all(|it| matches!(it, "includeSubDomains" | "preload"))
    {
        return Ok(());
    }
    Err(ConfigError::new(
        "tls.hsts",
        format!("`{text}` is not a valid Strict-Transport-Security"),
        "write max-age=31536000, or max-age=31536000; includeSubDomains, or leave it empty",
    ))
}

/// With `reuse_port` two listeners of one process could share a port, and each request would reach
/// one of them at random.
pub(super) fn listeners(config: &Config) -> Checked {
    let metrics = config.metrics.enabled.then_some(("metrics.listen", config.metrics.listen));
    let has_admin = config.admin.enabled && !config.admin.on_main_port;
    let admin = has_admin.then_some(("admin.listen", config.admin.listen));
    let redirect = config.tls.http_redirect_listen.map(|from| ("tls.http_redirect_listen", from));
    let mut taken = vec![("listen", config.listen)];
    for (setting, address) in redirect.into_iter().chain(metrics).chain(admin) {
        if let Some((other, at)) = taken.iter().find(|(_, it)| meet(*it, address)) {
            let problem = format!("{address} is already taken by {other} ({at})");
            let remedy = "give each listener a port of its own";
            return Err(ConfigError::new(setting, problem, remedy));
        }
        taken.push((setting, address));
    }
    Ok(())
}

/// Whether two listeners would have the same address. The system chooses a free port for 0.
fn meet(one: SocketAddr, other: SocketAddr) -> bool {
    // `::ffff:127.0.0.1` is 127.0.0.1 (RFC 4291 2.5.5.2).
    let [own, others] = [one, other].map(|address| address.ip().to_canonical());
    let is_everywhere = own.is_unspecified() || others.is_unspecified();
    one.port() != 0 && one.port() == other.port() && (is_everywhere || own == others)
}
