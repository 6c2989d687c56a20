//! Which devices stay known after a reuse or a change of the password.

use crate::support::PASSWORD;

use super::{AWAY, HOME, NEW_PASSWORD, Owner};

#[tokio::test]
async fn a_session_that_ended_by_reuse_makes_no_device_known() {
    let owner = Owner::at_home().await;
    let elsewhere = owner.log_in(AWAY, None, PASSWORD).await.tokens();
    let present = owner.refreshed(&owner.refreshed(&owner.tokens).await).await;
    owner.app.refresh(&owner.tokens.refresh).await.assert_ended("refresh_token_reused");
    owner.guess_from_everywhere().await;

    let stranger = "192.0.2.9";
    for token in [&owner.tokens, &present] {
        let refused = owner.log_in(stranger, Some(token), PASSWORD).await;
        refused.assert_problem(429, "too_many_failed_logins");
        // Showing it is not a reason for a refusal.
        owner.log_in(AWAY, Some(token), PASSWORD).await.assert_status(200);
    }
    owner.log_in(stranger, Some(&elsewhere), PASSWORD).await.assert_status(200);
}

#[tokio::test]
async fn after_a_password_change_only_the_device_that_made_it_is_known() {
    let owner = Owner::at_home().await;
    let stolen = owner.log_in(HOME, None, PASSWORD).await.tokens();
    let logged_out = owner.log_in(HOME, None, PASSWORD).await.tokens();
    let out = owner.app.post("/logout").bearer(&logged_out.access).send().await;
    out.assert_status(204);
    let changed = owner.change_password(HOME, PASSWORD, NEW_PASSWORD).await.tokens();
    owner.app.refresh(&owner.tokens.refresh).await.assert_ended("password_changed");
    owner.guess_from_everywhere().await;

    let refused = owner.log_in_away(&stolen, NEW_PASSWORD).await;
    refused.assert_problem(429, "too_many_failed_logins");
    // The response to the change may have been lost: its device has only the earlier token.
    for token in [&owner.tokens, &changed, &logged_out] {
        owner.log_in_away(token, NEW_PASSWORD).await.assert_status(200);
        owner.app.advance(900);
        owner.guess_from_everywhere().await;
    }
}

#[tokio::test]
async fn a_password_set_by_an_operator_makes_every_device_unknown() {
    let owner = Owner::at_home().await;
    owner.operator_sets(NEW_PASSWORD);
    owner.guess_from_everywhere().await;
    owner.log_in_away(&owner.tokens, NEW_PASSWORD).await.assert_status(429);
}

#[tokio::test]
async fn a_later_password_change_makes_the_device_of_the_earlier_one_unknown() {
    let mut owner = Owner::at_home().await;
    let first = owner.tokens.clone();
    let changed = owner.change_password(HOME, PASSWORD, NEW_PASSWORD).await;
    owner.tokens = changed.assert_status(200).tokens();
    let second = owner.tokens.clone();
    let changed = owner.change_password(HOME, NEW_PASSWORD, PASSWORD).await;
    owner.tokens = changed.assert_status(200).tokens();
    owner.guess_from_everywhere().await;
    owner.log_in_away(&first, PASSWORD).await.assert_problem(429, "too_many_failed_logins");
    owner.log_in_away(&second, PASSWORD).await.assert_status(200);

    owner.app.advance(900);
    owner.operator_sets(NEW_PASSWORD);
    owner.guess_from_everywhere().await;
    owner.log_in_away(&second, NEW_PASSWORD).await.assert_status(429);
}
