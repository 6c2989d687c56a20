//! A reset by mail replaces the password, not the second factor.

use serde_json::json;

use crate::support::mailbox::{with_mail, with_mail_and};
use crate::support::totp::totp;
use crate::support::{PASSWORD, claims};
use doorward::config::{Config, RequireSecondFactor};

const NEW_PASSWORD: &str = "nine herons borrow umbrellas";

#[tokio::test]
async fn a_reset_does_not_bypass_the_second_factor() {
    let app = with_mail().await;
    let ada = app.enrolled().await;
    app.forgot(&ada.user.email).await;
    let link = app.message_to(&ada.user.email).await.token();
    let reset = app.reset_by_link(&link, NEW_PASSWORD).await;
    let reset = reset.assert_problem(401, "second_factor_required");
    assert!(app.live_sessions(&ada.user.id).await.is_empty(), "every session has ended");
    let me = ada.user.me().await;
    me.assert_problem(401, "token_revoked");
    let code = totp(&ada.authenticator.code(&app));
    let token = reset.body["factor_token"].as_str().unwrap();
    let tokens = app.log_in_factor(token, &code).await.tokens();
    assert_eq!(claims(&tokens.access)["amr"], json!(["pwd", "otp", "mfa"]));
    let me = app.me(&tokens.access).await;
    assert_eq!(
        (&me.body["factors"], &me.body["recovery_codes_left"]),
        (&json!(["totp"]), &json!(10))
    );
    app.log_in(&ada.user.email, NEW_PASSWORD).await.assert_problem(401, "second_factor_required");
    app.log_in(&ada.user.email, PASSWORD).await.assert_problem(401, "invalid_credentials");
}

#[tokio::test]
async fn the_page_of_a_reset_bypasses_nothing_either() {
    let app = with_mail().await;
    let ada = app.enrolled().await;
    app.forgot(&ada.user.email).await;
    let link = app.message_to(&ada.user.email).await.token();
    let form = [("link", link.as_str()), ("password", NEW_PASSWORD)];
    let page = app.post("/reset").header("sec-fetch-site", "same-origin").form(&form).send().await;
    assert!(page.assert_status(200).text.contains("Your password is set"));
    app.log_in(&ada.user.email, NEW_PASSWORD).await.assert_problem(401, "second_factor_required");
}

#[tokio::test]
async fn a_mailed_link_enrols_nobody() {
    let app = with_mail_and(|config: &mut Config| {
        config.accounts.require_second_factor = RequireSecondFactor::All;
    })
    .await;
    app.register("ada@example.com", PASSWORD).await.assert_status(201);
    app.forgot("ada@example.com").await;
    let link = app.message_to("ada@example.com").await.token();
    let reset = app.reset_by_link(&link, NEW_PASSWORD).await;
    let reset = reset.assert_problem(403, "second_factor_setup_required");
    assert!(reset.body.get("enrol_token").is_none(), "{}", reset.text);
    for token in [&link, "dwe_AAAA"] {
        app.begin_totp(token, NEW_PASSWORD, None).await.assert_problem(401, "invalid_token");
    }
    let asked = app.log_in("ada@example.com", NEW_PASSWORD).await;
    assert!(
        asked.assert_problem(403, "second_factor_setup_required").body["enrol_token"].is_string()
    );
}
