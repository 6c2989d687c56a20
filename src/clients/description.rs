//! The parts of a client's description, checked before they are stored.

use url::Url;

use super::scope::check_doorward_scopes;

/// The longest name, in characters.
const NAME_CHARS: usize = 100;

/// The maximum total length of a client's scopes, in bytes: its tokens carry them.
const SCOPE_BYTES: usize = 1000;

/// Why a client's description is invalid.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidClient {
    /// The name is empty, too long, or has control characters.
    #[error("a name has 1 to 100 characters and no control characters")]
    Name,
    /// A scope does not match RFC 6749 3.3.
    #[error("`{0}` is not a valid scope: use visible ASCII without quotes or backslashes")]
    Scope(String),
    /// A scope of Doorward that does not exist.
    #[error(
        "`{0}` is not a scope of Doorward: those are doorward:users.read, doorward:users.write, \
             doorward:sessions.write, doorward:clients.read, doorward:clients.write and \
             doorward:audit.read"
    )]
    DoorwardScope(String),
    /// The scopes are too long together.
    #[error("the scopes have more than 1000 characters together")]
    Scopes,
    /// An origin is not in the form that browsers send.
    #[error(transparent)]
    Origin(#[from] InvalidOrigin),
    /// The lifetime of access tokens is out of bounds.
    #[error("the lifetime of access tokens is 60 to {0} seconds (tokens.lifetime)")]
    TokenLifetime(u64),
    /// The retry window is out of bounds.
    #[error("the retry window is 0 to {0} seconds, the lifetime of the client's access tokens")]
    RetryWindow(u64),
    /// An app was given scopes.
    #[error("an app has no scopes; only services have")]
    AppHasNoScopes,
    /// A service was given settings of apps.
    #[error("a service has no origins, token lifetime or retry window; only apps have")]
    ServiceHasNoAppSettings,
    /// An app has no secret.
    #[error("an app has no secret; only services have")]
    NoSecret,
    /// An old secret would stay valid too long.
    #[error("an old secret stays valid for at most 30 days")]
    Overlap,
}

/// Why text is not an origin.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidOrigin {
    /// Browsers send another form of it.
    #[error("`{0}` is not an origin in the form that browsers send: write {1}")]
    Form(String, String),
    /// It is not an origin at all.
    #[error("`{0}` is not a valid origin: write it as in https://app.example.com")]
    Shape(String),
}

/// Checks that text is a web origin in the form that browsers send.
///
/// # Errors
/// [`InvalidOrigin`].
pub fn check_origin(text: &str) -> Result<(), InvalidOrigin> {
    // A host of `*` parses, but no browser sends it.
    let url = Url::parse(text).ok().filter(|_| !text.contains('*'));
    let canonical = url.as_ref().and_then(|url| {
        let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
        url.host_str().map(|host| format!("{}://{host}{port}", url.scheme()))
    });
    match canonical {
        Some(canonical) if canonical == text => Ok(()),
        Some(canonical) => Err(InvalidOrigin::Form(text.to_owned(), canonical)),
        None => Err(InvalidOrigin::Shape(text.to_owned())),
    }
}

pub(super) fn check_origins(origins: &[String]) -> Result<(), InvalidOrigin> {
    origins.iter().try_for_each(|origin| check_origin(origin))
}

pub(super) fn check_name(name: &str) -> Result<(), InvalidClient> {
    let is_name =
        (1..=NAME_CHARS).contains(&name.chars().count()) && !name.chars().any(char::is_control);
    if is_name && !name.trim().is_empty() { Ok(()) } else { Err(InvalidClient::Name) }
}

pub(super) fn check_scopes(scopes: &[String]) -> Result<(), InvalidClient> {
    if let Some(odd) = scopes.iter().find(|scope| !is_scope(scope)) {
        return Err(InvalidClient::Scope(odd.clone()));
    }
    check_doorward_scopes(scopes)?;
    if scopes.join(" ").len() > SCOPE_BYTES { Err(InvalidClient::Scopes) } else { Ok(()) }
}

/// RFC 6749 3.3: `scope-token`.
fn is_scope(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_graphic() && !b"\"\\".contains(&b))
}
