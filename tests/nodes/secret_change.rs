//! The change of the master secret on several nodes, in the two rounds of `docs/operations.md`.

use doorward::secret::{MasterSecret, Secret};

use crate::support::postgres::Cluster;
use crate::support::{PASSWORD, TestApp};

#[tokio::test]
async fn two_rounds_change_the_secret_of_two_nodes_and_end_no_session() {
    let url = Cluster::shared().empty_database();
    let first = Box::pin(TestApp::on_database(url, |_| {})).await;
    let (email, mut tokens) = {
        let user = first.signed_up().await;
        (user.email.clone(), user.tokens.clone())
    };
    let text = |secret: &MasterSecret| Secret::new(secret.to_text().to_string());
    let old = text(&first.config.master_secret().unwrap().current);
    let new = text(&MasterSecret::generate());

    // The first round: every node accepts both.
    let first = Box::pin(first.restart_with(|config| config.previous_secret = Some(new.clone())));
    let first = first.await;
    let second = Box::pin(first.another_node()).await;
    // The second round, one node after the other.
    let swap = |config: &mut doorward::config::Config| {
        config.secret = Some(new.clone());
        config.previous_secret = Some(old.clone());
    };
    let second = Box::pin(second.restart_with(swap)).await;
    for (node, other) in [(&second, &first), (&first, &second)] {
        let login = node.log_in(&email, PASSWORD).await.tokens();
        other.me(&login.access).await.assert_status(200);
        other.refresh(&login.refresh).await.assert_status(200);
    }
    let first = Box::pin(first.restart_with(swap)).await;
    for node in [&second, &first] {
        node.advance(31);
        tokens = node.refresh(&tokens.refresh).await.tokens();
        node.me(&tokens.access).await.assert_status(200);
    }
}
