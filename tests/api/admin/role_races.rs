//! A role that is taken away beside concurrent requests leaves no token with it.

use doorward::accounts::RoleSet;
use doorward::accounts::admin::{GrantChange, LiveSessions};
use futures_util::future::join_all;
use serde_json::json;

use crate::support::client::PASSWORD;
use crate::support::postgres::number_of;
use crate::support::{Answer, TestApp, claims, id, until};

fn roles(names: &[&str]) -> RoleSet {
    RoleSet::parse(&names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>()).unwrap()
}

/// Rounds, unless `DOORWARD_TEST_RACES` says otherwise.
const ROUNDS: u64 = 12;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_removal_beside_logouts_logins_and_refreshes_leaves_no_token_with_the_role() {
    let one = TestApp::start().await;
    let other = one.another_node().await;
    for _ in 0..number_of("DOORWARD_TEST_RACES").unwrap_or(ROUNDS) {
        let ada = one.signed_up().await;
        let (admin, user) = (other.admin(), id(&ada.id));
        let change = |change| admin.change_grants(user, change, LiveSessions::End);
        change(GrantChange::AddRoles(roles(&["admin"]))).await.unwrap();
        let sessions = [ada.another_session().await, ada.another_session().await];
        let leaving = ada.another_session().await;
        for tokens in sessions.iter().chain([&leaving]) {
            assert_eq!(claims(&tokens.access)["roles"], json!(["admin"]));
        }
        let (refreshed, logins, gone, removed) = tokio::join!(
            join_all(sessions.iter().map(|tokens| one.refresh(&tokens.refresh))),
            join_all((0..2).map(|_| one.log_in(&ada.email, PASSWORD))),
            one.post("/logout").bearer(&leaving.access).send(),
            change(GrantChange::RemoveRoles(roles(&["admin"]))),
        );
        assert!(removed.unwrap().outcome.changed);
        assert!(matches!(gone.status, 204 | 401), "{}", gone.text);
        let issued = refreshed.into_iter().chain(logins).filter(|answer| answer.status == 200);
        for tokens in issued.map(Answer::tokens).chain(sessions).chain([leaving]) {
            if claims(&tokens.access).get("roles").is_none() {
                continue;
            }
            for node in [&one, &other] {
                until(async || node.me(&tokens.access).await.status == 401).await;
                let next = node.refresh(&tokens.refresh).await;
                next.assert_problem(401, "invalid_grant");
            }
        }
    }
}
