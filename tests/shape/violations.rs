//! Each rule reports the violations that it should.

use super::*;

#[test]
fn an_upward_use_is_found_with_its_line() {
    let text = "use std::fmt;\n\nuse crate::clock::Clock;\nuse crate::http::problem::Problem;\n";
    assert_eq!(
        disallowed_uses("src/sessions.rs", text),
        ["src/sessions.rs:4: sessions may not use http::problem::Problem"]
    );
    assert!(disallowed_uses("src/http/middleware.rs", text).is_empty());
}

#[test]
fn a_use_is_found_in_every_notation() {
    for text in [
        "use crate::{clock::{self, Clock}, accounts};",
        "use crate::{\n  accounts::{\n    Email as Mail,\n  },\n};",
        "use super::super::accounts::Email;",
        "fn f() { crate::accounts::sign_up(); }",
        "type T = Vec<crate::accounts::Email>;",
        "pub use crate::accounts::*;",
        "mod tests { use super::super::super::accounts::Email; }",
        "mod tests {} use super::super::accounts as a;",
        "macro_rules! m { () => { $crate::accounts::f() } }",
        "use crate::*;",
        "use super::super::*;",
        "use crate::r#accounts::Email;",
        "let c = '\"'; let d = '\\''; use crate::accounts::Email; // \"",
        "fn f<'a>(x: &'a str) -> crate::accounts::X<'a> {}",
    ] {
        assert_eq!(disallowed_uses("src/sessions/queries.rs", text).len(), 1, "{text}");
    }
    assert_eq!(disallowed_uses("src/main.rs", "use doorward::database::Database;").len(), 1);
    assert_eq!(disallowed_uses("src/keys.rs", "use crate::{accounts, sessions::{a, b}};").len(), 3);
}

#[test]
fn lookalikes_of_uses_are_ignored() {
    for text in [
        "//! [`crate::accounts::Email`]\n/* use crate::accounts; /* nested */ crate::http::x */",
        "const A: &str = \"use crate::accounts;\"; const B: &str = r#\"crate::accounts::X \" y\"#;",
        "const A: &[u8] = b\"\\\"crate::accounts::x\";",
        "pub(crate) fn accounts() {}",
        "use super::rotation::decide; use super::*;",
        "mod tests { use super::*; use super::super::Sessions; }",
        "mod accounts { pub fn f() {} } fn g() { self::accounts::f() }",
    ] {
        assert_eq!(disallowed_uses("src/sessions/queries.rs", text), [""; 0], "{text}");
    }
}

#[test]
fn a_crate_has_a_rule_as_a_module_has() {
    let (tokens, verifier) =
        ("crates/doorward-tokens/src/jwk.rs", "crates/doorward-verifier/src/lib.rs");
    for (path, text, violations) in [
        (tokens, "use crate::clock::Clock; use super::Claims; use super::keys::A;", 0),
        (tokens, "use doorward_verifier::Verifier;", 1),
        (verifier, "use doorward_tokens::clock::Clock; use crate::keys::A; use self::sse::B;", 0),
        (verifier, "use doorward::clock::Clock;", 1),
        ("src/sessions.rs", "use doorward_tokens::clock::Clock;", 0),
        ("src/revocations.rs", "use doorward_tokens::Claims;", 1),
        ("src/http.rs", "use doorward_verifier::Verifier;", 1),
    ] {
        assert_eq!(disallowed_uses(path, text).len(), violations, "{path}: {text}");
    }
    assert!(
        libraries_outside_their_modules(
            "crates/doorward-tokens/src/clock/column.rs",
            "use diesel::A;"
        )
        .is_empty()
    );
    assert_eq!(
        libraries_outside_their_modules("crates/doorward-tokens/src/lib.rs", "use diesel::A;")
            .len(),
        1
    );
}

#[test]
fn a_rule_for_an_item_allows_that_item_only() {
    assert!(disallowed_uses("src/http/errors.rs", "use crate::passwords::Overloaded;").is_empty());
    assert_eq!(
        disallowed_uses("src/http/errors.rs", "use crate::passwords::{Hasher, Overloaded};").len(),
        1
    );
    assert_eq!(disallowed_uses("src/http/errors.rs", "use crate::passwords;").len(), 1);
}

#[test]
fn a_module_without_a_rule_is_found() {
    assert_eq!(
        disallowed_uses("src/mailer.rs", ""),
        ["src/mailer.rs:1: the module mailer is not in the table MAY_USE of tests/shape.rs"]
    );
}

#[test]
fn a_library_outside_its_modules_is_found_with_its_line() {
    assert_eq!(
        libraries_outside_their_modules("src/accounts.rs", "use std::fmt;\nuse actix_web::web;\n"),
        ["src/accounts.rs:2: actix_web lives in http, app, verifier"]
    );
    assert_eq!(libraries_outside_their_modules("src/app.rs", "use std::{env, fs};").len(), 1);
    assert_eq!(
        libraries_outside_their_modules("src/app.rs", "fn f() { ::std::env::var(\"A\") }").len(),
        1
    );
    assert_eq!(
        libraries_outside_their_modules("src/lib.rs", "#[jsonwebtoken::x]\nfn f() {}").len(),
        1
    );
    assert!(
        libraries_outside_their_modules(
            "src/http/middleware.rs",
            "use actix_web::web; use std::env_logger;"
        )
        .is_empty()
    );
}

#[test]
fn a_module_missing_in_the_architecture_is_found() {
    let modules = ["clock".to_owned(), "keys".to_owned(), "http".to_owned()];
    let map = "//! [`clock`] and [`http`].\npub mod clock;\n#[cfg(x)]\nmod keys;\n";
    assert_eq!(
        undocumented_modules(map, &modules),
        [
            "src/lib.rs:1: the module keys is not described in the documentation",
            "src/lib.rs:1: the module http is not declared",
        ]
    );
}

#[test]
#[should_panic(expected = "2 violations:\n  a:1: x\n  b:2: y")]
fn violations_fail_the_test() {
    assert_none(&["a:1: x".into(), "b:2: y".into()]);
}
