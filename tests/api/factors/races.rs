//! Concurrent uses of one code.

use doorward::config::Config;
use futures_util::future::join_all;

use crate::support::app::{CROWD, behind_a_proxy};
use crate::support::totp::{race_codes, recovery_code, totp};
use crate::support::{PASSWORD, TestApp};

#[tokio::test]
async fn of_twenty_concurrent_uses_of_a_code_one_succeeds() {
    let app = TestApp::with(|config: &mut Config| {
        behind_a_proxy(config);
        config.database.pool_size = CROWD;
        config.limits.failed_logins_per_address = 100;
    })
    .await;
    race_codes(&app, &app).await;
}

#[tokio::test]
async fn concurrent_logins_with_different_recovery_codes_all_succeed() {
    let app = TestApp::with(|config: &mut Config| {
        config.database.pool_size = CROWD;
        config.limits.failed_logins_per_address = 100;
    })
    .await;
    let ada = app.enrolled().await;
    let logins = ada.recovery_codes[..3].iter().map(|code| {
        let token = app.factor_token(&ada.user.email);
        async { app.log_in_factor(&token.await, &recovery_code(code)).await }
    });
    for answer in join_all(logins).await {
        answer.assert_status(200);
    }
}

#[tokio::test]
async fn a_login_beside_a_set_up_succeeds_or_asks_for_the_factor_and_later_ones_ask() {
    let app = TestApp::with(|config: &mut Config| config.database.pool_size = CROWD).await;
    for _ in 0..5 {
        let user = app.signed_up().await;
        let begun = app.begin_totp(&user.tokens.access, PASSWORD, None).await;
        let code = crate::support::totp::Authenticator::scan(&begun).code(&app);
        let (confirmed, login) = tokio::join!(
            app.confirm_totp(&user.tokens.access, &code),
            app.log_in(&user.email, PASSWORD)
        );
        confirmed.assert_status(200);
        // No answer says which of the two was first.
        if login.status != 200 {
            login.assert_problem(401, "second_factor_required");
        }
        app.factor_token(&user.email).await;
        let refused = app.log_in_with(&user.email, totp(&code)).await;
        refused.assert_problem(401, "invalid_second_factor");
    }
}
