//! Second factors on two nodes.

use doorward::config::Config;

use crate::support::app::CROWD;
use crate::support::mailbox::with_mail_and;
use crate::support::totp::{race_codes, recovery_code, totp};

#[tokio::test]
async fn of_twenty_concurrent_uses_of_a_code_on_two_nodes_one_succeeds() {
    let app = with_mail_and(|config: &mut Config| {
        config.database.pool_size = CROWD;
        config.limits.failed_logins_per_address = 100;
    })
    .await;
    race_codes(&app, &app.another_node().await).await;
}

#[tokio::test]
async fn two_nodes_and_a_restart_compare_twenty_of_a_thousand_guesses() {
    let app = with_mail_and(|config: &mut Config| config.database.pool_size = CROWD).await;
    let other = app.another_node().await;
    let ada = app.enrolled().await;
    app.clear_outbox().await;
    let (email, code) = (ada.user.email.clone(), recovery_code(&ada.recovery_codes[0]));
    let wrong = totp(&ada.authenticator.wrong_code(&app));
    let token = app.factor_token(&email).await;
    let mut compared = 0;
    for n in 0..500 {
        let node = if n % 2 == 0 { &app } else { &other };
        let network = format!("198.51.100.{}", n % 100);
        let answer = node.log_in_factor_from(&network, &token, &wrong).await;
        compared += usize::from(answer.status == 401);
    }
    drop(ada);
    let app = app.restart().await;
    for n in 500..1000 {
        let node = if n % 2 == 0 { &app } else { &other };
        let network = format!("198.51.100.{}", n % 100);
        let answer = node.log_in_factor_from(&network, &token, &wrong).await;
        compared += usize::from(answer.status == 401);
    }
    assert_eq!(compared, 20);
    let mail = app.messages_to(&email).await;
    assert!(mail.iter().any(|mail| mail.subject.contains("Somebody knows your password")));
    other.log_in_factor(&token, &code).await.assert_status(200);
}
