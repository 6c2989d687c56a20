//! Time-based one-time passwords (RFC 6238) with SHA-1, six digits and steps of 30 seconds: the
//! parameters that every authenticator app supports.

use qrcode::render::svg;
use qrcode::{EcLevel, QrCode};
use totp_rs::{Builder, Totp};
use zeroize::Zeroizing;

use crate::clock::Timestamp;
use crate::secret::random_bytes;

/// Bytes of a secret: 160 bits, as RFC 4226 4 recommends.
const BYTES: usize = 20;

/// The narrowest QR code, in pixels.
const QR_PIXELS: u32 = 240;

/// The name of the service in an authenticator app, if its own cannot be used.
const DEFAULT_ISSUER: &str = "Doorward";

/// Digits of a code.
const DIGITS: usize = 6;

/// Whether a text can be a code. Apps show it in groups.
#[must_use]
pub fn is_code(text: &str) -> bool {
    let code = without_separators(text);
    code.len() == DIGITS && code.bytes().all(|byte| byte.is_ascii_digit())
}

fn without_separators(text: &str) -> Zeroizing<String> {
    Zeroizing::new(text.chars().filter(|c| !matches!(c, ' ' | '-')).collect())
}

/// A secret that an authenticator app shares.
pub struct TotpSecret(Zeroizing<[u8; BYTES]>);

/// A secret in the forms that authenticator apps accept.
pub struct Provisioning {
    /// Base32, to be typed.
    pub secret: Zeroizing<String>,
    /// The `otpauth:` URI, to be opened.
    pub uri: Zeroizing<String>,
    /// The URI as a QR code, to be scanned.
    pub qr_svg: Zeroizing<String>,
}

impl TotpSecret {
    /// A random secret.
    #[must_use]
    pub fn generate() -> Self {
        Self(Zeroizing::new(random_bytes()))
    }

    pub(super) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(|bytes| Self(Zeroizing::new(bytes)))
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        self.0.as_slice()
    }

    /// The step whose code this is: the present one, the one before or the one after it.
    #[must_use]
    pub fn matching_step(&self, code: &str, now: Timestamp) -> Option<i64> {
        let code = without_separators(code);
        let seconds = u64::try_from(now.unix_seconds()).ok()?;
        let step = Totp::check(&self.totp(DEFAULT_ISSUER, ""), &code, seconds)?;
        i64::try_from(step).ok()
    }

    /// The secret for an app that lists it under this service and account.
    #[must_use]
    pub fn provisioning(&self, service: &str, account: &str) -> Provisioning {
        // A colon separates the two in the URI.
        let plain = |text: &str, or: &str| {
            let is_plain = !text.is_empty() && !text.contains(':');
            String::from(if is_plain { text } else { or })
        };
        let totp = self.totp(&plain(service, DEFAULT_ISSUER), &plain(account, "account"));
        // Neither name is empty or has a colon.
        let uri = Zeroizing::new(totp.to_url().unwrap_or_default());
        // The longest address and host fit into a code.
        let qr_svg = QrCode::with_error_correction_level(uri.as_bytes(), EcLevel::L);
        let qr_svg = qr_svg.map(|code| {
            let image = Zeroizing::new(
                code.render::<svg::Color<'_>>().min_dimensions(QR_PIXELS, QR_PIXELS).build(),
            );
            // Without the XML declaration, so that a page can contain it.
            image.find("<svg").map_or_else(String::new, |start| image[start..].to_owned())
        });
        Provisioning {
            secret: Zeroizing::new(totp.secret().to_base32()),
            uri,
            qr_svg: Zeroizing::new(qr_svg.unwrap_or_default()),
        }
    }

    fn totp(&self, service: &str, account: &str) -> Totp {
        // The defaults are SHA-1, six digits, 30 seconds and one step of tolerance.
        Builder::new()
            .with_secret(self.as_bytes())
            .with_issuer(Some(service))
            .with_account_name(account)
            .build_noncompliant()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 6238, appendix B, its last six digits.
    const VECTORS: [(i64, &str); 6] = [
        (59, "287082"),
        (1_111_111_109, "081804"),
        (1_111_111_111, "050471"),
        (1_234_567_890, "005924"),
        (2_000_000_000, "279037"),
        (20_000_000_000, "353130"),
    ];

    fn secret() -> TotpSecret {
        TotpSecret::from_bytes(b"12345678901234567890").unwrap()
    }

    #[test]
    fn the_codes_are_those_of_the_rfc() {
        for (seconds, code) in VECTORS {
            let now = Timestamp::from_unix_seconds(seconds);
            assert_eq!(secret().matching_step(code, now), Some(seconds / 30), "{seconds}");
        }
    }

    #[test]
    fn a_code_is_good_for_one_step_before_and_after() {
        let (code, step) = ("050471", 1_111_111_111 / 30);
        for (offset, is_good) in [(-2, false), (-1, true), (0, true), (1, true), (2, false)] {
            let now = Timestamp::from_unix_seconds((step + offset) * 30);
            assert_eq!(secret().matching_step(code, now), is_good.then_some(step), "{offset}");
        }
    }

    #[test]
    fn a_code_is_read_as_apps_show_it() {
        let now = Timestamp::from_unix_seconds(1_111_111_111);
        for typed in ["050471", "050 471", " 050-471 "] {
            assert!(secret().matching_step(typed, now).is_some() && is_code(typed), "{typed}");
        }
        for odd in ["", "50471", "+50471", "0504710", "05047l", "\u{660}50471"] {
            assert_eq!(secret().matching_step(odd, now), None, "{odd}");
            assert!(!is_code(odd), "{odd}");
        }
    }

    #[test]
    fn an_app_gets_the_secret_as_text_uri_and_image() {
        let shown = secret().provisioning("login.example.com", "ada+x@example.com");
        assert_eq!(*shown.secret, "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ");
        assert!(shown.uri.starts_with("otpauth://totp/login.example.com:ada%2Bx%40example.com?"));
        assert!(shown.uri.contains("secret=GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ"), "{}", *shown.uri);
        assert!(shown.qr_svg.starts_with("<svg ") && shown.qr_svg.ends_with("</svg>"));
        let longest = format!("{}@{}.example", "\u{e9}".repeat(32), "b".repeat(180));
        for (service, account) in [("[::1]", "ada@example.com"), ("", ""), ("a.example", &longest)]
        {
            let shown = secret().provisioning(service, account);
            assert!(!shown.uri.is_empty() && !shown.qr_svg.is_empty(), "{service} {account}");
        }
    }
}
