//! The second factor in a body.

use serde::Deserialize;

use crate::factors::SecondFactor;
use crate::http::problem::{Code, Problem};
use crate::secret::Secret;

/// The member `second_factor`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::http) struct SecondFactorMember {
    totp: Option<Secret<String>>,
    recovery_code: Option<Secret<String>>,
}

impl SecondFactorMember {
    /// The second factor, if the member is present.
    ///
    /// # Errors
    /// `malformed_request` unless there is exactly one.
    pub(in crate::http) fn parse(member: Option<Self>) -> Result<Option<SecondFactor>, Problem> {
        let parse = |Self { totp, recovery_code }| one_of(totp, recovery_code, "/second_factor");
        member.map(parse).transpose()
    }
}

/// Exactly one of the two.
///
/// # Errors
/// `malformed_request` for the member at `pointer`.
pub(in crate::http) fn one_of(
    totp: Option<Secret<String>>,
    recovery_code: Option<Secret<String>>,
    pointer: &'static str,
) -> Result<SecondFactor, Problem> {
    match (totp, recovery_code) {
        (Some(code), None) => Ok(SecondFactor::Totp(code)),
        (None, Some(code)) => Ok(SecondFactor::RecoveryCode(code)),
        _ => {
            let rule = "Send either totp or recovery_code.";
            Err(Problem::new(Code::MalformedRequest).detail(rule).field(pointer, rule))
        }
    }
}
