//! The sections `[cors]` and `[cookies]`: the pages that may call, and their cookies.

use serde::{Deserialize, Serialize};

/// Web pages that may call the API.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CorsConfig {
    /// The origins of pages that may call from a browser, in the form that browsers send:
    /// `https://app.example.com`.
    pub origins: Vec<String>,
    /// Headers that these pages may send in addition to Doorward's own, `traceparent`, `tracestate`
    /// and `baggage`: `x-requested-with`, `sentry-trace`. At most 20.
    pub headers: Vec<String>,
}

/// Cookies, for pages that log in with `"transport": "cookie"`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CookiesConfig {
    /// The pages whose requests carry the cookies: `lax` (this site's, and navigations by links
    /// from elsewhere), `strict` (this site's only) or `none` (every site's; needs an https
    /// `public_url`). In every mode only pages of the same origin and of `cors.origins` can change
    /// anything.
    pub same_site: SameSite,
}

impl Default for CookiesConfig {
    fn default() -> Self {
        Self { same_site: SameSite::Lax }
    }
}

/// `SameSite` of the cookies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SameSite {
    /// On top-level navigations from everywhere, otherwise from the same site.
    Lax,
    /// From the same site.
    Strict,
    /// From everywhere.
    None,
}
