//! Mail requests and messages on two nodes.

use doorward::mail::{MailPurpose, PurposeLabel};
use futures_util::future::join_all;

use crate::support::TestApp;
use crate::support::app::CROWD;
use crate::support::mailbox::{race_invitation, race_resets, with_mail_and};

#[tokio::test]
async fn two_nodes_send_each_message_once() {
    let app = with_mail_and(|config| config.database.pool_size = CROWD).await;
    let other = app.another_node().await;
    let mut users = Vec::new();
    for _ in 0..4 {
        users.push(app.signed_up().await.email);
    }
    let asks = (0..24).map(|n| {
        let node = if n % 2 == 0 { &app } else { &other };
        let (email, network) = (&users[n % 4], format!("198.51.100.{n}"));
        async move { node.forgot_from(&network, email).await.assert_status(202) }
    });
    join_all(asks).await;
    app.until_mail_is_sent().await;
    let sent = |node: &TestApp| {
        let counters = &node.api.accounts.mail().counters().sent;
        counters.get_or_create(&PurposeLabel { purpose: MailPurpose::Reset }).get()
    };
    let of_both = sent(&app) + sent(&other);
    assert_eq!(of_both, u64::try_from(app.messages().await.len()).unwrap());
    assert_eq!(of_both, 24);
}

#[tokio::test]
async fn of_twenty_concurrent_uses_on_two_nodes_one_succeeds() {
    let app = with_mail_and(|config| config.database.pool_size = CROWD).await;
    race_resets(&app, &app.another_node().await).await;
}

#[tokio::test]
async fn of_twenty_concurrent_uses_of_an_invitation_on_two_nodes_one_succeeds() {
    let app = with_mail_and(|config| config.database.pool_size = CROWD).await;
    app.catch_up();
    race_invitation(&app, &app.another_node().await).await;
}
