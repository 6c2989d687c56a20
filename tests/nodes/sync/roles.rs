//! Roles that are taken away on one node: how soon the other node and a verifier know.

use std::time::Duration;

use doorward::accounts::RoleSet;
use doorward::accounts::admin::{GrantChange, LiveSessions};
use doorward::clock::Clock;

use crate::support::feed::verifier;
use crate::support::postgres::number_of;
use crate::support::{TestApp, id, until};

/// Removals, unless `DOORWARD_TEST_LOGOUTS` says otherwise.
const REMOVALS: u64 = 200;

/// The time in which every node and verifier knows, in a run that `DOORWARD_TEST_LOGOUTS` asks for:
/// a machine that is busy with other tests may need longer.
const KNOWN: Duration = Duration::from_secs(1);

/// The 99th percentile in such a run.
const P99: Duration = Duration::from_millis(100);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_role_that_was_taken_away_is_refused_by_the_other_node_and_a_verifier() {
    let one = TestApp::with(|config| config.public_url = String::new()).await;
    let issuer = one.api.issuer.clone();
    let other = one.another_node_with(|config| config.public_url = issuer).await;
    let verifier = verifier(&other).await;
    let ada = one.signed_up().await;
    let user = id(&ada.id);
    let role = RoleSet::parse(&["admin".to_owned()]).unwrap();
    let change = async |change| {
        one.api.account_admin.change_grants(user, change, LiveSessions::End).await.unwrap()
    };
    let clock = Clock::system();
    let mut took = Vec::new();
    let wanted = number_of("DOORWARD_TEST_LOGOUTS");
    for _ in 0..wanted.unwrap_or(REMOVALS) {
        change(GrantChange::AddRoles(role.clone())).await;
        let token = &ada.another_session().await.access;
        verifier.verify_or_refetch(token).await.unwrap();
        assert_eq!(verifier.verify(token).unwrap().roles, ["admin"]);
        other.me(token).await.assert_status(200);
        change(GrantChange::RemoveRoles(role.clone())).await;
        let removed = clock.monotonic();
        one.me(token).await.assert_problem(401, "token_revoked");
        tokio::join!(
            until(async || other.get("/verify").bearer(token).send().await.status == 401),
            until(async || verifier.verify(token).is_err()),
        );
        took.push(clock.monotonic() - removed);
    }
    took.sort();
    let (half, p99, most) =
        (took[took.len() / 2], took[took.len() * 99 / 100], took[took.len() - 1]);
    println!("{} removals, p50 {half:.1?}, p99 {p99:.1?}, at most {most:.1?}", took.len());
    if wanted.is_some() {
        assert!(p99 < P99 && most < KNOWN, "p99 {p99:?}, at most {most:?}");
    }
}
