//! Password hashes of another cost.

use crate::support::app::CROWD;
use crate::support::{PASSWORD, TestApp};

use super::password_hash;

#[tokio::test]
async fn a_successful_login_upgrades_a_hash_of_another_cost() {
    let app = TestApp::start().await;
    let (id, email, session) = {
        let user = app.signed_up().await;
        (user.id.clone(), user.email.clone(), user.tokens.clone())
    };
    let before = password_hash(&app, &id).await;
    assert!(before.contains("m=256,t=2,p=1"), "{before}");

    let app = app.restart_with(|config| config.passwords.iterations = 3).await;
    app.log_in(&email, "not my password at all").await.assert_status(401);
    assert_eq!(password_hash(&app, &id).await, before, "only a successful login upgrades");
    app.refresh(&session.refresh).await.assert_status(200);
    assert_eq!(password_hash(&app, &id).await, before);

    app.log_in(&email, PASSWORD).await.assert_status(200);
    let upgraded = password_hash(&app, &id).await;
    assert!(upgraded.contains("m=256,t=3,p=1"), "{upgraded}");
    app.log_in(&email, PASSWORD).await.assert_status(200);
    assert_eq!(password_hash(&app, &id).await, upgraded, "once is enough");
    app.log_in(&email, "not my password at all").await.assert_status(401);
    app.me(&session.access).await.assert_status(200);
    let me = app.me(&session.access).await;
    assert_eq!(me.body["password_changed_at"], me.body["created_at"], "it is the same password");
}

#[tokio::test]
async fn parallel_logins_that_upgrade_one_hash_all_succeed() {
    let app = TestApp::with(|config| config.database.pool_size = CROWD).await;
    let email = app.signed_up().await.email;
    let app = app.restart_with(|config| config.passwords.iterations = 1).await;
    let answers =
        futures_util::future::join_all((0..6).map(|_| app.log_in(&email, PASSWORD))).await;
    assert!(answers.iter().all(|answer| answer.status == 200), "{answers:?}");
}
