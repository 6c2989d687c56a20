//! The names of the cookies, and how a request's are read.

use uuid::Uuid;

use crate::sessions::TokenTexts;

/// The name of the access token's cookie.
pub const ACCESS: &str = "__Host-doorward-access";

/// The prefix of the refresh tokens' cookie names; the session and the generation follow:
/// `__Host-doorward-refresh-019ab3d471f07c449b1d60f2a8d3e517-58`.
pub const REFRESH: &str = "__Host-doorward-refresh-";

/// The cookies of a header field, as browsers write them (RFC 6265bis 4.2.1). Only spaces and tabs
/// are trimmed: characters that a looser parser treats as blanks may precede a name, and such a
/// name is not a `__Host-` cookie to the browser, so any other host of the same domain may set it.
pub(super) fn pairs(field: &[u8]) -> impl Iterator<Item = (&str, &str)> {
    field.split(|byte| *byte == b';').filter_map(|pair| {
        let pair = str::from_utf8(pair).ok().filter(|pair| pair.is_ascii())?;
        let (name, value) = pair.split_once('=')?;
        Some((name.trim_matches([' ', '\t']), value.trim_matches([' ', '\t'])))
    })
}

pub(super) fn name_of_refresh_token(texts: &TokenTexts) -> String {
    format!("{REFRESH}{}-{}", texts.session.uuid().simple(), texts.generation)
}

pub(super) fn is_of_refresh_token(name: &str) -> bool {
    let parts = name.strip_prefix(REFRESH).and_then(|rest| rest.split_once('-'));
    parts.is_some_and(|(session, generation)| {
        let is_id = session.len() == 32 && Uuid::parse_str(session).is_ok();
        is_id && generation.parse::<u32>().is_ok_and(|number| number.to_string() == generation)
    })
}
