//! PostgreSQL's URLs as libpq parses them. Every function takes a URL without its scheme, except
//! [`with_defaults`] and [`with_defaults_for_reading`].

use std::net::IpAddr;

/// Parameters added to every PostgreSQL URL that does not set them. libpq by default waits for
/// ever, for a connection and for a response; and with several hosts, or after a failover, it takes
/// the first server that responds, even a replica that may lag behind.
const DEFAULTS: [(&str, &str); 7] = [
    ("connect_timeout", "2"),
    ("tcp_user_timeout", "3000"),
    ("keepalives_idle", "5"),
    ("keepalives_interval", "2"),
    ("keepalives_count", "2"),
    ("target_session_attrs", "read-write"),
    ("application_name", "doorward"),
];

/// A PostgreSQL URL, completed with [`DEFAULTS`].
pub(in crate::database) fn with_defaults(url: &str) -> String {
    let missing = DEFAULTS.iter().filter(|(name, _)| parameter(url, name).is_none());
    let added: Vec<String> = missing.map(|(name, value)| format!("{name}={value}")).collect();
    let separator = match url.split_once('?') {
        None => "?",
        Some((_, "")) => "",
        Some(_) => "&",
    };
    if added.is_empty() { url.to_owned() } else { format!("{url}{separator}{}", added.join("&")) }
}

/// [`with_defaults`] for a primary that rejects writes for now (by `default_transaction_read_only`,
/// as some hosting providers set it when a disk fills up). A replica does not qualify: it may lag
/// behind. None if the URL itself restricts which servers qualify.
pub(in crate::database) fn with_defaults_for_reading(url: &str) -> Option<String> {
    let [wanted, instead] =
        ["read-write", "primary"].map(|it| format!("target_session_attrs={it}"));
    let is_free = parameter(url, "target_session_attrs").is_none();
    is_free.then(|| with_defaults(url).replace(&wanted, &instead))
}

/// Whether libpq parses every part of a URL, without its scheme, as intended. libpq quotes text
/// that it cannot parse in errors, and resolves text after an `@` in a password as a host.
pub(super) fn is_well_formed(url: &str) -> bool {
    let end = url.find(['/', '?']).unwrap_or(url.len());
    let (authority, rest) = url.split_at(end);
    let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
    let hosts = authority.split_once('@').map_or(authority, |(_, hosts)| hosts);
    let is_fine = |c: char| c.is_ascii_graphic() && !matches!(c, '#' | '<' | '>' | '"' | '\\');
    url.chars().all(|c| !c.is_whitespace() && !c.is_control())
        && url.split('%').skip(1).all(is_escape)
        && !hosts.contains('@')
        && hosts.chars().all(is_fine)
        && hosts.split(',').all(has_valid_port)
        && path.chars().filter(|c| *c == '/').count() <= 1
        && !path.contains(['@', ':'])
        && query.split('&').filter(|pair| !pair.is_empty()).all(|pair| {
            pair.split_once('=').is_some_and(|(name, _)| {
                !name.is_empty() && name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_')
            })
        })
}

fn is_escape(rest: &str) -> bool {
    let digits = rest.as_bytes().get(..2);
    digits.is_some_and(|two| two.iter().all(u8::is_ascii_hexdigit) && two != b"00")
}

fn has_valid_port(host: &str) -> bool {
    let port = match host.strip_prefix('[') {
        Some(address) => match address.split_once(']') {
            Some((_, "")) => return true,
            Some((_, port)) => port.strip_prefix(':'),
            None => None,
        },
        None => Some(host.split_once(':').map_or("", |(_, port)| port)),
    };
    port.is_some_and(|port| port.is_empty() || port.parse::<u16>().is_ok())
}

pub(super) fn after_scheme(url: &str) -> &str {
    url.split_once("://").map_or(url, |(_, rest)| rest)
}

fn parameter<'a>(url: &'a str, name: &str) -> Option<&'a str> {
    let (_, query) = url.split_once('?')?;
    let mut pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    pairs.find_map(|(key, value)| (key == name).then_some(value))
}

/// libpq's modes that never fall back to plain text.
pub(super) fn wants_tls(url: &str) -> bool {
    parameter(url, "sslmode").is_some_and(|mode| mode == "require" || mode.starts_with("verify-"))
}

/// The hosts, without ports; a URL that names none means a Unix socket of this machine.
pub(super) fn hosts(url: &str) -> impl Iterator<Item = &str> {
    let authority = url.split(['/', '?']).next().unwrap_or_default();
    let named = authority.rsplit_once('@').map_or(authority, |(_, hosts)| hosts);
    let named = match (named, parameter(url, "host"), parameter(url, "hostaddr")) {
        (_, _, Some(given)) | ("", Some(given), None) => given,
        (named, _, None) => named,
    };
    named.split(',').map(|host| match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => host.split(':').next().unwrap_or_default(),
    })
}

/// The hosts with their ports, and the database's name; `None` when they could include part of a
/// password that was not percent-encoded.
pub(super) fn server_and_name(url: &str) -> Option<String> {
    let authority = url.split(['/', '?']).next().unwrap_or_default();
    let (user, servers) = authority.rsplit_once('@').unwrap_or(("", authority));
    let name = url.get(authority.len()..).unwrap_or_default().split('?').next().unwrap_or_default();
    let is_port = |port: &str| port.bytes().all(|byte| byte.is_ascii_digit());
    let has_port = |server: &str| match server.rsplit_once(':') {
        Some((host, port)) => server.ends_with(']') || !host.is_empty() && is_port(port),
        None => true,
    };
    let strays = url.matches('@').count() > usize::from(authority.contains('@'));
    if strays || user.contains('@') || !servers.split(',').all(has_port) {
        return None;
    }
    let servers = match parameter(url, "host").or_else(|| parameter(url, "hostaddr")) {
        Some(given) if servers.is_empty() => given,
        _ => servers,
    };
    Some(format!("{servers}{name}"))
}

pub(super) fn is_local(host: &str) -> bool {
    let is_socket = host.is_empty() || host.starts_with('/') || host.starts_with("%2F");
    is_socket
        || host == "localhost"
        || host.parse::<IpAddr>().is_ok_and(|address| address.to_canonical().is_loopback())
}
