use cookie::SameSite;
use proptest::prelude::*;
use uuid::Uuid;

use super::names::{is_of_refresh_token, pairs};
use super::*;

#[test]
fn cookies_are_kept_for_https_and_for_this_machine() {
    let secure_context = |url| CookiePolicy::new(url, SameSite::Lax, Vec::new()).secure_context;
    for url in [
        "https://login.example.com",
        "http://localhost:8080",
        "http://app.localhost",
        "http://127.0.0.1:1",
        "http://127.8.9.1",
        "http://[::1]:8080/auth",
    ] {
        assert!(secure_context(url), "{url}");
    }
    for url in [
        "http://login.example.com",
        "http://localhost.example.com",
        "http://mylocalhost",
        "http://10.0.0.1",
        "http://0.0.0.0:8080",
        "http://[::]:8080",
        "",
    ] {
        assert!(!secure_context(url), "{url}");
    }
}

#[test]
fn the_origin_of_the_public_url_has_no_path_and_no_default_port() {
    let policy = CookiePolicy::new("https://example.com:443/auth", SameSite::Lax, Vec::new());
    assert!(policy.is_own(b"https://example.com"));
    assert!(!policy.is_own(b"https://example.com:443"));
    assert!(!policy.is_own(b"http://example.com"));
}

#[test]
fn only_exact_cookie_names_match() {
    let session = "019ab3d471f07c449b1d60f2a8d3e517";
    assert!(is_of_refresh_token(&format!("{REFRESH}{session}-0")));
    assert!(is_of_refresh_token(&format!("{REFRESH}{session}-4294967295")));
    for rest in [
        "",
        session,
        "-0",
        "x-0",
        &format!("{session}-"),
        &format!("{session}-00"),
        &format!("{session}-+1"),
        &format!("{session}-4294967296"),
        &format!("{session}-1-1"),
        &format!("{session}0-1"),
    ] {
        assert!(!is_of_refresh_token(&format!("{REFRESH}{rest}")), "{rest}");
    }
    assert!(!is_of_refresh_token(&format!("doorward-refresh-{session}-0")));
}

proptest! {
    #[test]
    fn only_generated_cookie_names_are_recognised(
        session: u128,
        generation: u32,
        odd in "[0-9a-fA-F{}-]{0,50}",
    ) {
        let id = Uuid::from_u128(session).simple().to_string();
        let own = format!("{REFRESH}{id}-{generation}");
        prop_assert!(is_of_refresh_token(&own));
        let name = format!("{REFRESH}{odd}");
        if is_of_refresh_token(&name) {
            let (id, generation) = odd.split_once('-').unwrap();
            prop_assert_eq!(Uuid::parse_str(id).unwrap().simple().to_string(), id.to_lowercase());
            prop_assert_eq!(generation.parse::<u32>().unwrap().to_string(), generation);
        }
    }

    #[test]
    fn cookies_are_parsed_among_others(
        value in "[A-Za-z0-9_.-]{1,40}",
        before in prop::collection::vec(any::<Vec<u8>>(), 0..4),
        after in any::<Vec<u8>>(),
    ) {
        let own = format!("{ACCESS}={value}").into_bytes();
        let others = before.into_iter().map(|it| it.into_iter().filter(|b| *b != b';').collect());
        let all: Vec<Vec<u8>> = others.chain([own, after]).collect();
        let field = all.join(&b"; "[..]);
        let found: Vec<_> = pairs(&field).collect();
        prop_assert!(found.contains(&(ACCESS, value.as_str())));
        for (name, value) in found {
            prop_assert!(name.is_ascii() && value.is_ascii());
            prop_assert!(!name.contains(['=', ';']) && !value.contains(';'));
        }
    }
}
