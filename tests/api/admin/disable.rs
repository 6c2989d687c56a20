//! Accounts that are disabled and enabled.

use doorward::clock::Clock;
use doorward_verifier::VerifyError;

use crate::support::binary::printed;
use crate::support::client::PASSWORD;
use crate::support::feed::{HEARD, verifier};
use crate::support::{TestApp, until};

use super::{done, refuses, start, user};

#[tokio::test]
async fn a_disabled_account_is_rejected_on_every_node_and_can_be_enabled() {
    let app = start().await;
    let node = app.another_node().await;
    let ada = app.signed_up().await;
    let second = ada.another_session().await;
    let other = app.signed_up().await;
    node.me(&ada.tokens.access).await.assert_status(200);

    let disabled = done(&app, &["disable", &ada.email.to_uppercase()]);
    assert_eq!((&disabled["id"], &disabled["changed"]), (&ada.id.as_str().into(), &true.into()));
    assert_eq!(disabled["sessions_ended"], 2);
    for node in [&app, &node] {
        for token in [&ada.tokens.access, &second.access] {
            refuses(node, token).await;
        }
        node.refresh(&second.refresh).await.assert_ended("account_disabled");
        node.log_in(&ada.email, PASSWORD).await.assert_problem(401, "invalid_credentials");
    }
    other.me().await.assert_status(200);
    let again = printed(&mut user(&app, &["disable", &ada.id]));
    assert_eq!(again, format!("{}: it was disabled already\n", ada.email));
    assert!(printed(&mut user(&app, &["list"])).contains(&format!("{}  disabled\n", ada.email)));

    assert_eq!(done(&app, &["enable", &ada.id])["changed"], true);
    node.log_in(&ada.email, PASSWORD).await.assert_status(200);
    app.refresh(&second.refresh).await.assert_ended("account_disabled");
    assert!(printed(&mut user(&app, &["enable", &ada.id])).contains("it was not disabled"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disabled_account_is_rejected_on_every_node_and_at_a_verifier_within_the_delay() {
    // The verifier finds the node by its issuer.
    let app = TestApp::with(|config| config.public_url = String::new()).await;
    app.clock.advance(Clock::system().now().since(app.clock.now()));
    let issuer = app.api.issuer.clone();
    let node = app.another_node_with(|config| config.public_url = issuer).await;
    let verifier = verifier(&app).await;
    let (ada, other) = (node.signed_up().await, node.signed_up().await);
    for user in [&ada, &other] {
        assert!(verifier.verify(&user.tokens.access).is_ok());
        app.me(&user.tokens.access).await.assert_status(200);
        node.me(&user.tokens.access).await.assert_status(200);
    }

    done(&app, &["disable", &ada.email]);
    let clock = Clock::system();
    let disabled = clock.monotonic();
    let token = &ada.tokens.access;
    tokio::join!(
        refuses(&app, token),
        refuses(&node, token),
        until(async || verifier.verify(token) == Err(VerifyError::Revoked)),
    );
    let took = clock.monotonic() - disabled;
    println!("disabled: refused on two nodes and at a verifier after {took:.1?}");
    assert!(took < HEARD, "{took:?}");
    assert!(verifier.verify(&other.tokens.access).is_ok());
}
