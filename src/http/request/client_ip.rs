//! The client address of a request, also behind trusted proxies.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use actix_web::HttpRequest;
use actix_web::http::header::{HeaderMap, HeaderName, HeaderValue};
use ipnet::IpNet;

use crate::locks;

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// The minimum interval between warnings about ignored forwarded addresses.
const WARNING_INTERVAL: Duration = Duration::from_secs(10 * 60);

/// The client address of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ClientAddress(IpAddr);

impl ClientAddress {
    /// The client address of a request: the socket's peer or, while that is a trusted proxy, the
    /// address that it forwards for.
    #[must_use]
    pub fn of(request: &HttpRequest, trusted: &[IpNet]) -> Self {
        let peer = request.peer_addr().map_or(Ipv4Addr::UNSPECIFIED.into(), |peer| peer.ip());
        Self(client_ip_of(peer, request.headers(), trusted))
    }

    /// The client address of a request from `peer` with this `X-Forwarded-For`; `None` if a header
    /// cannot have that text.
    #[must_use]
    pub fn from_forwarded_for(peer: IpAddr, text: &str, trusted: &[IpNet]) -> Option<Self> {
        let mut headers = HeaderMap::new();
        headers.insert(FORWARDED_FOR, HeaderValue::from_str(text).ok()?);
        Some(Self(client_ip_of(peer, &headers, trusted)))
    }

    /// The address.
    #[must_use]
    pub const fn ip(self) -> IpAddr {
        self.0
    }

    /// The unit of a limit: an IPv4 address or an IPv6 /64, which is what one household gets.
    #[must_use]
    pub fn network(self) -> IpAddr {
        match self.0 {
            IpAddr::V4(_) => self.0,
            IpAddr::V6(ip) => Ipv6Addr::from_bits(ip.to_bits() & (!0 << 64)).into(),
        }
    }
}

/// From the right, because only the entries that trusted proxies appended are reliable. A malformed
/// entry ends the search.
fn client_ip_of(peer: IpAddr, headers: &HeaderMap, trusted: &[IpNet]) -> IpAddr {
    let is_trusted = |ip: &IpAddr| is_trusted(ip, trusted);
    let mut address = peer.to_canonical();
    if !is_trusted(&address) {
        return address;
    }
    let fields: Vec<_> = headers.get_all(FORWARDED_FOR).collect();
    let entries = fields.iter().rev().flat_map(|field| field.as_bytes().rsplit(|b| *b == b','));
    for entry in entries {
        let Some(before) = parse_entry(entry) else {
            break;
        };
        address = before;
        if !is_trusted(&address) {
            break;
        }
    }
    address
}

fn is_trusted(address: &IpAddr, trusted: &[IpNet]) -> bool {
    trusted.iter().any(|network| network.contains(address))
}

/// Warns at most once per `WARNING_INTERVAL` when an untrusted peer sends `X-Forwarded-For`: it
/// may be a proxy missing from the settings, and then all its clients count as one.
#[derive(Debug, Default)]
pub struct ForwardedForWarning(Mutex<Option<Instant>>);

impl ForwardedForWarning {
    /// Checks a request received at `now`.
    pub fn check(&self, request: &HttpRequest, trusted: &[IpNet], now: Instant) {
        if !request.headers().contains_key(FORWARDED_FOR) {
            return;
        }
        let Some(peer) = request.peer_addr().map(|peer| peer.ip().to_canonical()) else {
            return;
        };
        if is_trusted(&peer, trusted) {
            return;
        }
        let mut said = locks::lock(&self.0);
        if said.is_none_or(|at| now.duration_since(at) >= WARNING_INTERVAL) {
            *said = Some(now);
            tracing::warn!(
                event = "forwarded_for_ignored",
                %peer,
                "X-Forwarded-For is ignored: the peer is not in trusted_proxies; name it there if \
                 it is your proxy"
            );
        }
    }
}

/// An address, with or without a port; IPv6 with a port is in brackets.
fn parse_entry(entry: &[u8]) -> Option<IpAddr> {
    let text = str::from_utf8(entry).ok()?.trim();
    let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
    let ip = bare.parse().ok().or_else(|| text.parse().ok().map(|with: SocketAddr| with.ip()))?;
    Some(ip.to_canonical())
}

impl fmt::Display for ClientAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;
    use proptest::prelude::*;

    use super::*;

    fn address(peer: &str, forwarded: &[&str]) -> String {
        let trusted: Vec<IpNet> =
            ["10.0.0.0/8", "fd00::/8"].iter().map(|network| network.parse().unwrap()).collect();
        let peer = SocketAddr::new(peer.parse().unwrap(), 1);
        let request =
            forwarded.iter().fold(TestRequest::default().peer_addr(peer), |request, field| {
                request.append_header((FORWARDED_FOR, *field))
            });
        ClientAddress::of(&request.to_http_request(), &trusted).to_string()
    }

    #[test]
    fn only_trusted_proxies_count_from_the_right() {
        assert_eq!(address("192.0.2.1", &["198.51.100.7"]), "192.0.2.1");
        assert_eq!(address("10.0.0.1", &[]), "10.0.0.1");
        assert_eq!(address("10.0.0.1", &["198.51.100.7"]), "198.51.100.7");
        assert_eq!(address("10.0.0.1", &["1.2.3.4, 198.51.100.7 , 10.0.0.2"]), "198.51.100.7");
        assert_eq!(address("10.0.0.1", &["1.2.3.4", "198.51.100.7,10.0.0.2"]), "198.51.100.7");
        assert_eq!(address("10.0.0.1", &["10.0.0.3,10.0.0.2"]), "10.0.0.3");
        assert_eq!(address("::ffff:10.0.0.1", &["::ffff:198.51.100.7"]), "198.51.100.7");
        assert_eq!(address("fd00::1", &["[2001:db8::5]:443"]), "2001:db8::5");
        assert_eq!(address("fd00::1", &["198.51.100.7:80"]), "198.51.100.7");
    }

    #[test]
    fn a_malformed_entry_ends_the_search() {
        assert_eq!(address("10.0.0.1", &["198.51.100.7, unknown, 10.0.0.2"]), "10.0.0.2");
        assert_eq!(address("10.0.0.1", &["198.51.100.7,"]), "10.0.0.1");
    }

    #[test]
    fn an_ipv6_network_is_one_client() {
        let of = |text: &str| ClientAddress(text.parse().unwrap()).network().to_string();
        assert_eq!(of("2001:db8:1:2:3:4:5:6"), "2001:db8:1:2::");
        assert_eq!(of("192.0.2.1"), "192.0.2.1");
    }

    /// An independent definition: an entry counts only if every hop on its right is trusted.
    fn is_vouched_for(address: IpAddr, peer: IpAddr, fields: &[String], trusted: &[IpNet]) -> bool {
        let trusts = |ip: IpAddr| trusted.iter().any(|network| network.contains(&ip));
        if address == peer.to_canonical() {
            return true;
        }
        let joined = fields.join(",");
        let entries: Vec<_> =
            joined.split(',').map(|entry| parse_entry(entry.as_bytes())).collect();
        trusts(peer.to_canonical())
            && entries.iter().enumerate().any(|(n, entry)| {
                let on_its_right = &entries[n + 1..];
                *entry == Some(address) && on_its_right.iter().all(|it| it.is_some_and(trusts))
            })
    }

    fn entry() -> impl Strategy<Value = String> {
        prop_oneof![
            4 => (0..4_u8).prop_map(|n| format!("10.0.0.{n}")),
            4 => (0..4_u8).prop_map(|n| format!(" 198.51.100.{n} ")),
            1 => Just("::ffff:10.0.0.1".to_owned()),
            1 => Just("[2001:db8::1]:443".to_owned()),
            1 => Just("fd00::7".to_owned()),
            1 => any::<IpAddr>().prop_map(|ip| ip.to_string()),
            2 => "[ -~&&[^,]]{0,12}",
        ]
    }

    proptest! {
        #[test]
        fn only_addresses_from_trusted_proxies_count(
            peer in prop_oneof![
                Just(IpAddr::from([10, 0, 0, 9])),
                Just(IpAddr::from([192, 0, 2, 9])),
                any::<IpAddr>(),
            ],
            fields in prop::collection::vec(
                prop::collection::vec(entry(), 0..5).prop_map(|entries| entries.join(",")),
                0..4,
            ),
        ) {
            let trusted: Vec<IpNet> =
                ["10.0.0.0/8", "fd00::/8"].map(|network| network.parse().unwrap()).into();
            let mut headers = HeaderMap::new();
            for field in &fields {
                headers.append(FORWARDED_FOR, HeaderValue::from_str(field).unwrap());
            }
            let address = client_ip_of(peer, &headers, &trusted);
            prop_assert!(is_vouched_for(address, peer, &fields, &trusted), "{}", address);
        }

        #[test]
        fn an_entry_of_any_bytes_is_read_or_rejected(bytes in any::<Vec<u8>>()) {
            let _ = parse_entry(&bytes);
        }
    }
}
