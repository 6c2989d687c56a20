use uuid::Uuid;

use super::secrets::is_secret;
use super::*;

#[test]
fn only_well_formed_secrets_are_accepted() {
    let secret = new_secret();
    assert!(is_secret(secret.expose()));
    assert_ne!(secret.expose(), new_secret().expose());
    let text = secret.expose();
    for odd in [&text[1..], &text[..46], &format!("{text}a"), &text.replace("dws_", "dwr_")] {
        assert!(!is_secret(odd), "{odd}");
    }
}

#[test]
fn an_id_has_one_canonical_form() {
    let id = Uuid::from_u128(0x019a_b3d4_5c2e_7a10_8f3e_2b6d_1c9e_4a75);
    assert_eq!(Id::parse(&id.to_string()), Some(id.into()));
    for odd in [id.simple().to_string(), id.to_string().to_uppercase(), BUILT_IN.into()] {
        assert_eq!(Id::parse(&odd), None, "{odd}");
    }
}

#[test]
fn names_and_scopes_accept_only_their_characters() {
    for name in ["", " ", "a\nb", "\u{9b}2J", &"x".repeat(101)] {
        assert_eq!(check_name(name), Err(InvalidClient::Name), "{name:?}");
    }
    assert_eq!(check_name("Shop (web)"), Ok(()));
    for scope in ["", "a b", "a\"", "a\\", "\u{e4}", "a\n"] {
        let scopes = [String::from("read"), scope.to_owned()];
        assert_eq!(check_scopes(&scopes), Err(InvalidClient::Scope(scope.into())), "{scope:?}");
    }
    assert_eq!(check_scopes(&["orders:read".into(), "https://x/y".into()]), Ok(()));
    assert_eq!(check_scopes(&["x".repeat(1001)]), Err(InvalidClient::Scopes));
}
