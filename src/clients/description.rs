//! The name and the scopes of a client, checked before they are stored.

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
    /// The scopes are too long together.
    #[error("the scopes have more than 1000 characters together")]
    Scopes,
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
    if scopes.join(" ").len() > SCOPE_BYTES { Err(InvalidClient::Scopes) } else { Ok(()) }
}

/// RFC 6749 3.3: `scope-token`.
fn is_scope(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_graphic() && !b"\"\\".contains(&b))
}
