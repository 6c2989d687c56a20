//! Guesses at an account's password, from unknown sources and by thieves of a token.

use crate::support::PASSWORD;

use super::{AWAY, HOME, NEW_PASSWORD, Owner, WRONG};

/// The default limit of wrong passwords for a network and for each kind of a session's tokens.
const LIMIT: usize = 10;

#[tokio::test]
async fn the_holder_of_a_rotated_token_cannot_use_up_the_guesses_of_the_current_one() {
    let owner = Owner::at_home().await;
    let spent = owner.tokens.clone();
    let parent = owner.refreshed(&spent).await;
    let present = owner.refreshed(&parent).await;
    owner.guess_from_everywhere().await;

    assert_eq!(owner.guesses_with(&spent).await, LIMIT);
    owner.log_in_away(&spent, PASSWORD).await.assert_problem(429, "too_many_failed_logins");
    owner.log_in_away(&present, PASSWORD).await.assert_status(200);
    // Its response may have been lost: the holder of the predecessor counts as well.
    owner.log_in_away(&parent, PASSWORD).await.assert_status(200);
}

#[tokio::test]
async fn the_rotated_tokens_of_a_session_share_one_limit_and_the_two_newest_another() {
    let owner = Owner::at_home().await;
    let mut generations = vec![owner.tokens.clone()];
    for _ in 0..4 {
        generations.push(owner.refreshed(&generations[generations.len() - 1]).await);
    }
    owner.guess_from_everywhere().await;
    assert_eq!(owner.guesses_with(&generations[0]).await, LIMIT);
    for spent in &generations[1..3] {
        assert_eq!(owner.guesses_with(spent).await, 0);
    }
    assert_eq!(owner.guesses_with(&generations[3]).await, LIMIT);
    assert_eq!(owner.guesses_with(&generations[4]).await, 0);
}

#[tokio::test]
async fn the_owner_logs_in_from_home_when_a_thief_has_used_up_the_guesses_of_her_token() {
    let owner = Owner::at_home().await;
    owner.guess_from_everywhere().await;
    assert_eq!(owner.guesses_with(&owner.tokens).await, LIMIT);
    owner.log_in_away(&owner.tokens, PASSWORD).await.assert_status(429);
    owner.log_in(HOME, Some(&owner.tokens), PASSWORD).await.assert_status(200);
}

#[tokio::test]
async fn all_devices_of_an_account_together_have_a_hundred_guesses() {
    let owner = Owner::at_home().await;
    let mut devices = Vec::new();
    for _ in 0..12 {
        devices.push(owner.log_in(HOME, None, PASSWORD).await.tokens());
    }
    owner.guess_from_everywhere().await;
    let mut guesses = 0;
    for device in &devices {
        guesses += owner.guesses_with(device).await;
    }
    assert_eq!(guesses, 100);
    owner.log_in_away(&owner.tokens, PASSWORD).await.assert_status(429);
    owner.log_in(HOME, Some(&owner.tokens), PASSWORD).await.assert_status(200);
    owner.app.advance(900);
    owner.guess_from_everywhere().await;
    owner.log_in_away(&owner.tokens, PASSWORD).await.assert_status(200);
}

#[tokio::test]
async fn guesses_with_a_rotated_token_do_not_use_up_the_limits_of_a_logged_in_user() {
    let mut owner = Owner::at_home().await;
    owner.guess_from_everywhere().await;
    assert_eq!(owner.guesses_with(&owner.tokens).await, LIMIT);

    let changed = owner.change_password(AWAY, PASSWORD, NEW_PASSWORD).await;
    owner.tokens = changed.assert_status(200).tokens();
    owner.close(AWAY, NEW_PASSWORD).await.assert_status(204);
}

#[tokio::test]
async fn guesses_at_a_change_of_the_address_count_as_those_at_a_change_of_the_password() {
    let owner = Owner::at_home().await;
    owner.guess_from_everywhere().await;
    for n in 0..LIMIT {
        let thief = format!("192.0.2.{}", 100 + n);
        let guess = match n % 2 {
            0 => owner.change_email(&thief, WRONG).await,
            _ => owner.change_password(&thief, WRONG, NEW_PASSWORD).await,
        };
        guess.assert_problem(403, "wrong_password");
    }
    owner.change_email(AWAY, PASSWORD).await.assert_problem(429, "too_many_failed_logins");
    owner.change_password(AWAY, PASSWORD, NEW_PASSWORD).await.assert_status(429);
    owner.log_in(HOME, None, PASSWORD).await.assert_status(200);
    owner.change_email(HOME, PASSWORD).await.assert_status(202);
}

#[tokio::test]
async fn guesses_with_an_access_token_do_not_use_up_the_owners_network_and_device_limits() {
    let mut owner = Owner::at_home().await;
    owner.guess_from_everywhere().await;
    for n in 0..LIMIT {
        let thief = format!("192.0.2.{}", 100 + n);
        owner.change_password(&thief, WRONG, NEW_PASSWORD).await.assert_status(403);
    }
    owner.change_password(AWAY, PASSWORD, NEW_PASSWORD).await.assert_status(429);
    owner.close(AWAY, PASSWORD).await.assert_problem(429, "too_many_failed_logins");

    owner.log_in_away(&owner.tokens, PASSWORD).await.assert_status(200);
    let changed = owner.change_password(HOME, PASSWORD, NEW_PASSWORD).await;
    owner.tokens = changed.assert_status(200).tokens();
    owner.close(AWAY, NEW_PASSWORD).await.assert_status(204);
}
