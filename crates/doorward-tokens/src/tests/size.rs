//! The computed length is the real one.

use super::*;

fn limit(key: &SigningKey, max_bytes: usize) -> TokenSizeLimit {
    let Expected { issuer, audience, .. } = expected();
    TokenSizeLimit { max_bytes, algorithm: key.alg(), issuer, audience }
}

#[test]
fn the_computed_length_of_a_token_is_its_real_length() {
    let ext = Map::from_iter([("plan".to_owned(), json!("pro \u{fc}"))]);
    for key in keys() {
        for (roles, ext) in [
            (vec![], None),
            (vec!["admin".to_owned()], None),
            (vec!["admin".to_owned(), "editor".to_owned()], Some(ext.clone())),
        ] {
            let claims = Claims {
                client_id: Uuid::nil().to_string(),
                roles: roles.clone(),
                ext: ext.clone(),
                // The longest that a session has.
                auth_time: Some(NOW),
                amr: ["pwd", "otp", "mfa"].map(str::to_owned).into(),
                ..claims()
            };
            let bytes = key.sign(&claims).unwrap().len();
            assert_eq!(limit(key, bytes).check_user(&roles, ext.as_ref()), Ok(()));
            let max_bytes = bytes - 1;
            assert_eq!(
                limit(key, max_bytes).check_user(&roles, ext.as_ref()),
                Err(TokenTooLong { bytes, max_bytes })
            );
        }
        let scope = "orders:read orders:write";
        let claims = Claims {
            client_id: Uuid::nil().to_string(),
            sid: None,
            scope: Some(scope.to_owned()),
            ..claims()
        };
        let bytes = key.sign(&claims).unwrap().len();
        assert_eq!(limit(key, bytes).check_client(scope), Ok(()));
        assert!(limit(key, bytes - 1).check_client(scope).is_err());
    }
}

#[test]
fn custom_claims_are_an_object_and_come_back_as_they_were() {
    let key = keys()[0];
    let ext = json!({ "plan": "pro", "seats": 5, "teams": ["a", "b"] });
    let claims = Claims { ext: ext.as_object().cloned(), ..claims() };
    let token = key.sign(&claims).unwrap();
    let verifying = Arc::new(VerifyingKey::from(key.jwk()));
    let now = Timestamp::from_unix_seconds(NOW);
    let read = verify(&token, |_| Some(verifying), &expected(), now).unwrap();
    assert_eq!(read, claims);
}
