//! The signing keys of a running service.

use doorward::keys::admin::KeyAdmin;

use crate::support::{TestApp, until};

/// Revokes a key like the command, and returns the one that signs afterwards.
pub async fn revoke_key(app: &TestApp, kid: &str) -> Option<String> {
    let (keys, revocations) = (app.api.keys.clone(), app.api.revocations.clone());
    let operator = keys.admin();
    let spare = operator.generate_spare().await.unwrap();
    let (own, now, life) = (kid.to_owned(), app.clock.now(), operator.trusted_for());
    let removed = app.db().write(move |tx| {
        let removed = KeyAdmin::revoke(tx, &own, &spare, now)?;
        if let (Some(_), Some(id)) = (&removed, doorward::tokens::revocation_id_of_kid(&own)) {
            revocations.revoke_for(tx, id.into(), life, now)?;
        }
        Ok(removed)
    });
    let signing = removed.await.unwrap()?.signing;
    until(async || app.api.keys.signing().kid() == signing).await;
    Some(signing)
}

/// The `kid` of a token.
pub fn kid_of(token: &str) -> String {
    jsonwebtoken::decode_header(token).unwrap().kid.unwrap()
}
