//! URLs, origins and names that clients compare or send as text.

use url::Url;

use super::Checked;
use super::bounds::in_range;
use crate::clients::{InvalidOrigin, check_origin};
use crate::config::{Config, ConfigError, SameSite};

pub(super) fn public_url(text: &str) -> Checked {
    if text.is_empty() {
        return Ok(());
    }
    let error = |problem: String| {
        Err(ConfigError::new("public_url", problem, "write it as in https://login.example.com"))
    };
    let Some(url) = Url::parse(text).ok().filter(|url| matches!(url.scheme(), "http" | "https"))
    else {
        return error(format!("`{text}` is not a valid http or https URL"));
    };
    if !url.username().is_empty() || url.password().is_some() {
        return error("it contains a user name or a password".into());
    }
    if url.query().is_some() || url.fragment().is_some() {
        return error(format!("`{text}` has a query or a fragment"));
    }
    // The issuer is compared as text, so only one form is allowed.
    let canonical = url.as_str().trim_end_matches('/');
    if text.trim_end_matches('/') != canonical {
        return error(format!("the canonical form of `{text}` is {canonical}"));
    }
    Ok(())
}

pub(super) fn audience(text: &str) -> Checked {
    if (1..=100).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Ok(());
    }
    Err(ConfigError::new(
        "audience",
        format!("`{text}` is not 1 to 100 visible ASCII characters"),
        "write a name without spaces, or a URL",
    ))
}

pub(in crate::config) fn origin(text: &str) -> Checked {
    check_origin(text).map_err(|error| match error {
        InvalidOrigin::Form(text, canonical) => ConfigError::new(
            "cors.origins",
            format!("`{text}` is not an origin in the form that browsers send"),
            format!("write {canonical}"),
        ),
        InvalidOrigin::Shape(text) => ConfigError::new(
            "cors.origins",
            format!("`{text}` is not a valid origin"),
            "list each origin as in https://app.example.com",
        ),
    })
}

/// Names of header fields (RFC 9110 5.6.2), except `*`.
pub(super) fn headers(names: &[String]) -> Checked {
    let is_name = |name: &String| {
        let of_a_name =
            |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'+-.^_`|~".contains(&byte);
        (1..=64).contains(&name.len()) && name.bytes().all(of_a_name)
    };
    if let Some(odd) = names.iter().find(|name| !is_name(name)) {
        let problem = format!("`{odd}` is not a valid header name");
        let remedy = "list each header by its name, as in x-requested-with";
        return Err(ConfigError::new("cors.headers", problem, remedy));
    }
    in_range("cors.headers", names.len(), 0..=20)
}

pub(super) fn same_site(config: &Config) -> Checked {
    if config.cookies.same_site != SameSite::None || config.is_https() {
        return Ok(());
    }
    Err(ConfigError::new(
        "cookies.same_site",
        "with none, cookies need https",
        "set public_url to an https URL, or cookies.same_site to lax",
    ))
}
