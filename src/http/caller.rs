//! Who is asking: address, user agent, bearer token, idempotency key.

use std::fmt;
use std::future::{Ready, ready};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use actix_web::dev::Payload;
use actix_web::http::header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue, USER_AGENT};
use actix_web::{FromRequest, HttpRequest, web};
use ipnet::IpNet;

use super::HttpSettings;
use super::problem::{Code, Problem};
use crate::secret::Secret;

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// How long nothing more is said of forwarded addresses that do not count.
const QUIET: Duration = Duration::from_secs(10 * 60);

/// The most characters of a user agent that are kept.
const USER_AGENT_CHARS: usize = 256;

/// The most bytes of a bearer token that are looked at; ours have less than 1,024.
const TOKEN_BYTES: usize = 4096;

/// The address that a request comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ClientAddress(IpAddr);

impl ClientAddress {
    /// The address behind a request: the socket's peer or, as long as that is a trusted proxy, the
    /// one that it says it forwards for.
    #[must_use]
    pub fn of(request: &HttpRequest, trusted: &[IpNet]) -> Self {
        let peer = request.peer_addr().map_or(Ipv4Addr::UNSPECIFIED.into(), |peer| peer.ip());
        Self(walk(peer, request.headers(), trusted))
    }

    /// The address behind a request of `peer` that says so in `X-Forwarded-For`.
    #[must_use]
    pub fn behind(peer: IpAddr, forwarded_for: &HeaderValue, trusted: &[IpNet]) -> Self {
        let mut headers = HeaderMap::new();
        headers.insert(FORWARDED_FOR, forwarded_for.clone());
        Self(walk(peer, &headers, trusted))
    }

    /// The address.
    #[must_use]
    pub const fn ip(self) -> IpAddr {
        self.0
    }

    /// What counts as one client for a limit: an IPv4 address, or an IPv6 /64, which is what one
    /// household gets.
    #[must_use]
    pub fn network(self) -> IpAddr {
        match self.0 {
            IpAddr::V4(_) => self.0,
            IpAddr::V6(ip) => Ipv6Addr::from_bits(ip.to_bits() & (!0 << 64)).into(),
        }
    }
}

/// From the right, because only what our own proxies appended is true. A malformed entry ends the
/// walk.
fn walk(peer: IpAddr, headers: &HeaderMap, trusted: &[IpNet]) -> IpAddr {
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

/// Warns, now and then, when somebody who is no trusted proxy says whom it forwards for: it may be a
/// proxy that nobody named, and then all its clients count as one.
#[derive(Debug, Default)]
pub struct Unheeded(Mutex<Option<Instant>>);

impl Unheeded {
    /// Looks at a request that came at `now`.
    pub fn notice(&self, request: &HttpRequest, trusted: &[IpNet], now: Instant) {
        if !request.headers().contains_key(FORWARDED_FOR) {
            return;
        }
        let Some(peer) = request.peer_addr().map(|peer| peer.ip().to_canonical()) else {
            return;
        };
        if is_trusted(&peer, trusted) {
            return;
        }
        let mut said = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if said.is_none_or(|at| now.duration_since(at) >= QUIET) {
            *said = Some(now);
            tracing::warn!(
                event = "forwarded_for_ignored",
                %peer,
                "X-Forwarded-For does not count, for it comes from a peer that is not in \
                 trusted_proxies; name the peer there if it is your proxy"
            );
        }
    }
}

/// An address, with or without a port; IPv6 with a port stands in brackets.
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

impl FromRequest for ClientAddress {
    type Error = Problem;
    type Future = Ready<Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let settings = request.app_data::<web::Data<HttpSettings>>();
        let trusted = settings.map_or(&[][..], |settings| &settings.trusted_proxies);
        ready(Ok(Self::of(request, trusted)))
    }
}

/// What the caller's program calls itself: trimmed, without control characters, not for ever.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserAgent(pub Option<String>);

impl FromRequest for UserAgent {
    type Error = Problem;
    type Future = Ready<Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        ready(Ok(Self::of(request)))
    }
}

impl UserAgent {
    /// The user agent of a request.
    #[must_use]
    pub fn of(request: &HttpRequest) -> Self {
        let header = request.headers().get(USER_AGENT).map(HeaderValue::as_bytes);
        Self(header.and_then(clean))
    }
}

fn clean(raw: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(raw);
    let printable: String = text.chars().filter(|c| !c.is_control()).collect();
    let kept: String = printable.trim().chars().take(USER_AGENT_CHARS).collect();
    (!kept.is_empty()).then_some(kept)
}

/// The text of a bearer token (RFC 6750 2.1); nothing but its alphabet was checked.
#[derive(Clone, Debug)]
pub struct BearerToken(Secret<String>);

impl BearerToken {
    /// The token's text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.0.expose()
    }

    /// The token of a request, if it carries one.
    ///
    /// # Errors
    /// `multiple_credentials` for a second header, `invalid_token` for what cannot be a token,
    /// `missing_token` for another scheme.
    pub fn of(request: &HttpRequest) -> Result<Option<Self>, Problem> {
        let mut fields = request.headers().get_all(AUTHORIZATION);
        let Some(field) = fields.next() else {
            return Ok(None);
        };
        if fields.next().is_some() {
            return Err(Code::MultipleCredentials.into());
        }
        let text = str::from_utf8(field.as_bytes()).map_err(|_| Code::InvalidToken)?;
        let (scheme, token) = text.split_once(' ').unwrap_or((text, ""));
        if !scheme.eq_ignore_ascii_case("Bearer") {
            return Err(Problem::new(Code::MissingToken).detail(if token.is_empty() {
                "Authorization has no scheme. Send it as Authorization: Bearer <token>."
            } else {
                "Authorization has another scheme. Send it as Authorization: Bearer <token>."
            }));
        }
        Self::parse(token.trim_matches(' ')).map(Some)
    }

    /// A token that came in another way.
    ///
    /// # Errors
    /// `invalid_token` for what cannot be one.
    pub fn parse(token: &str) -> Result<Self, Problem> {
        if !is_b64token(token) {
            return Err(Code::InvalidToken.into());
        }
        Ok(Self(Secret::new(token.to_owned())))
    }
}

fn is_b64token(text: &str) -> bool {
    let body = text.trim_end_matches('=');
    !body.is_empty()
        && text.len() <= TOKEN_BYTES
        && body.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._~+/".contains(&b))
}

impl FromRequest for BearerToken {
    type Error = Problem;
    type Future = Ready<Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        ready(Self::of(request).and_then(|token| token.ok_or_else(|| Code::MissingToken.into())))
    }
}

/// The `Idempotency-Key` of a request, if it has one: 16 to 255 visible ASCII characters.
#[derive(Clone, Debug)]
pub struct IdempotencyKey(Option<Secret<String>>);

impl IdempotencyKey {
    /// The key's bytes.
    #[must_use]
    pub fn as_bytes(&self) -> Option<&[u8]> {
        self.0.as_ref().map(|key| key.expose().as_bytes())
    }
}

impl FromRequest for IdempotencyKey {
    type Error = Problem;
    type Future = Ready<Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        ready(parse_key(request.headers()).ok_or_else(|| {
            let detail =
                "Idempotency-Key must be one header of 16 to 255 visible ASCII characters.";
            Problem::new(Code::MalformedRequest).detail(detail)
        }))
    }
}

/// `None` when there is something that is not a key.
fn parse_key(headers: &HeaderMap) -> Option<IdempotencyKey> {
    let mut fields = headers.get_all(IDEMPOTENCY_KEY);
    let Some(field) = fields.next() else {
        return Some(IdempotencyKey(None));
    };
    let text = str::from_utf8(field.as_bytes()).ok()?;
    let is_key = (16..=255).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic());
    (is_key && fields.next().is_none()).then(|| IdempotencyKey(Some(Secret::new(text.to_owned()))))
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
    fn only_a_trusted_proxy_is_believed_and_from_the_right() {
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
    fn a_malformed_entry_ends_the_walk() {
        assert_eq!(address("10.0.0.1", &["198.51.100.7, unknown, 10.0.0.2"]), "10.0.0.2");
        assert_eq!(address("10.0.0.1", &["198.51.100.7,"]), "10.0.0.1");
    }

    #[test]
    fn an_ipv6_network_is_one_client() {
        let of = |text: &str| ClientAddress(text.parse().unwrap()).network().to_string();
        assert_eq!(of("2001:db8:1:2:3:4:5:6"), "2001:db8:1:2::");
        assert_eq!(of("192.0.2.1"), "192.0.2.1");
    }

    #[test]
    fn a_user_agent_is_cleaned() {
        assert_eq!(clean(b"  curl/8\x07 "), Some(String::from("curl/8")));
        assert_eq!(clean(b" "), None);
        assert_eq!(clean("ü".repeat(300).as_bytes()), Some("ü".repeat(256)));
    }

    fn bearer(field: &str) -> Result<Option<String>, Code> {
        let request =
            TestRequest::default().insert_header((AUTHORIZATION, field)).to_http_request();
        BearerToken::of(&request)
            .map(|token| token.map(|token| token.as_str().to_owned()))
            .map_err(|problem| problem.code())
    }

    #[test]
    fn a_bearer_token_has_its_own_alphabet() {
        assert_eq!(bearer("bEaReR  a.b-c_~+/=="), Ok(Some(String::from("a.b-c_~+/=="))));
        for odd in ["Bearer", "Bearer ", "Bearer a b", "Bearer a=b", "Bearer \"a\"", "Bearer ="] {
            assert_eq!(bearer(odd), Err(Code::InvalidToken), "{odd}");
        }
        assert_eq!(bearer("Basic YTpi"), Err(Code::MissingToken));
    }

    #[test]
    fn an_idempotency_key_has_a_length_and_an_alphabet() {
        let key = |text: &str| {
            let request = TestRequest::default().insert_header((IDEMPOTENCY_KEY, text));
            parse_key(request.to_http_request().headers())
                .map(|key| key.0.map(|key| key.expose().clone()))
        };
        assert_eq!(key(&"k".repeat(16)), Some(Some("k".repeat(16))));
        for odd in [&"k".repeat(15), &"k".repeat(256), "with a space in it!"] {
            assert_eq!(key(odd), None, "{odd}");
        }
    }

    /// Where the claims of a header come from is the question: an entry counts only when everybody
    /// on its right is trusted.
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
        fn no_address_is_believed_that_no_trusted_proxy_has_vouched_for(
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
            let address = walk(peer, &headers, &trusted);
            prop_assert!(is_vouched_for(address, peer, &fields, &trusted), "{}", address);
        }

        #[test]
        fn whatever_bytes_come_are_read_or_refused(bytes in any::<Vec<u8>>()) {
            if let Some(text) = clean(&bytes) {
                prop_assert!(!text.is_empty() && text.chars().count() <= USER_AGENT_CHARS);
                prop_assert!(!text.contains(char::is_control));
                prop_assert_eq!(clean(text.as_bytes()).map(|it| it.len()), Some(text.len()));
            }
            let _ = parse_entry(&bytes);
            if let Ok(token) = BearerToken::parse(&String::from_utf8_lossy(&bytes)) {
                prop_assert!(token.as_str().is_ascii());
            }
        }
    }
}
