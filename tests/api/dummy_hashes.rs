//! After the hash cost was lowered: accounts whose hashes are from before cost more until their
//! owners log in, and so do as many unknown addresses.

use crate::support::app::CHEAP_KIB;
use crate::support::{PASSWORD, TestApp, id, until};
use serde_json::json;

const WRONG: &str = "not my password at all";

/// The passes of a hash before and after.
const BEFORE: u32 = 6;
const AFTER: u32 = 2;

/// Accounts from before and from after: a third and two thirds.
const DORMANT: usize = 12;
const NEW: usize = 24;

/// Unknown addresses that are tried, and how many of them may cost as much as accounts from before:
/// 40 are to be expected, with a standard deviation of 5.
const UNKNOWN: usize = 120;
const LIKELY: std::ops::RangeInclusive<usize> = 18..=62;

/// The number of wrong passwords that an account accepts.
const WRONG_PASSWORD_LIMIT: u32 = 10;

#[tokio::test]
async fn an_unknown_address_costs_as_much_as_an_account_after_the_cost_was_lowered() {
    let app = Box::pin(service_with_accounts()).await;
    let is_counted = async || {
        for n in 0..UNKNOWN {
            if passes(&app, "203.0.113.1", &unknown(n), WRONG).await == (401, BEFORE) {
                return true;
            }
        }
        false
    };
    until(is_counted).await;

    let mut costlier = 0;
    for n in 0..UNKNOWN {
        let (status, cost) = passes(&app, "203.0.113.2", &unknown(n), WRONG).await;
        assert_eq!(status, 401);
        assert!([BEFORE, AFTER].contains(&cost), "{cost}");
        costlier += usize::from(cost == BEFORE);
        let again = passes(&app, "203.0.113.3", &unknown(n), &PASSWORD.repeat(100)).await;
        assert_eq!(again, (401, cost), "each time the same, whatever the password is");
    }
    assert!(LIKELY.contains(&costlier), "{costlier} of {UNKNOWN}");
    for n in 0..DORMANT {
        assert_eq!(passes(&app, "203.0.113.2", &dormant(n), WRONG).await, (401, BEFORE));
    }
    for n in 0..NEW {
        assert_eq!(passes(&app, "203.0.113.2", &new(n), WRONG).await, (401, AFTER));
    }

    // When all owners have logged in, no stored hash costs more than a new one.
    for n in 0..DORMANT {
        app.log_in(&dormant(n), PASSWORD).await.assert_status(200);
    }
    app.api.accounts.count_stored_costs().await.unwrap();
    for n in 0..UNKNOWN {
        assert_eq!(passes(&app, "203.0.113.4", &unknown(n), WRONG).await, (401, AFTER));
    }
}

#[tokio::test]
async fn an_account_from_before_the_cost_was_lowered_costs_the_same_on_every_path() {
    let app = Box::pin(service_with_accounts()).await;
    let (over_long, disabled, spent) = (dormant(0), dormant(1), dormant(2));
    let path = PASSWORD.repeat(100);
    assert_eq!(passes(&app, "203.0.113.2", &over_long, &path).await, (401, BEFORE));
    let owner = app.log_in(&disabled, PASSWORD).await;
    // That login has made its hash cheaper.
    assert_eq!(owner.status, 200);
    assert_eq!(passes(&app, "203.0.113.2", &disabled, WRONG).await, (401, AFTER));
    let dormant_disabled = dormant(3);
    let find = dormant_disabled.clone();
    let owner = app.db().read(move |c| {
        use diesel::prelude::*;
        use doorward::database::schema::users;
        let own = users::table.filter(users::email_key.eq(&find));
        own.select(users::id).get_result::<doorward::database::Id>(c)
    });
    assert!(
        app.api.account_admin.disable(id(&owner.await.unwrap().to_string())).await.unwrap().changed
    );
    assert_eq!(passes(&app, "203.0.113.2", &dormant_disabled, PASSWORD).await, (401, BEFORE));
    for n in 0..WRONG_PASSWORD_LIMIT {
        let network = format!("198.51.100.{n}");
        assert_eq!(passes(&app, &network, &spent, WRONG).await, (401, BEFORE));
    }
    assert_eq!(passes(&app, "203.0.113.2", &spent, WRONG).await, (429, BEFORE));
}

/// A service with accounts whose hashes are from before the cost was lowered, and others.
async fn service_with_accounts() -> TestApp {
    let app = TestApp::with(|config| {
        config.trusted_proxies = vec!["127.0.0.1/32".parse().unwrap()];
        config.limits.failed_logins_per_account = WRONG_PASSWORD_LIMIT;
        config.passwords.iterations = BEFORE;
    })
    .await;
    for n in 0..DORMANT {
        app.register(&dormant(n), PASSWORD).await.assert_status(201);
    }
    let app = app.restart_with(|config| config.passwords.iterations = AFTER).await;
    for n in 0..NEW {
        app.register(&new(n), PASSWORD).await.assert_status(201);
    }
    // The hashes are counted at the start.
    app.restart().await
}

fn unknown(n: usize) -> String {
    format!("unknown-{n}@example.com")
}

fn dormant(n: usize) -> String {
    format!("dormant-{n}@example.com")
}

fn new(n: usize) -> String {
    format!("new-{n}@example.com")
}

/// The status of a login from this network, and the passes over Argon2's memory that it took.
async fn passes(app: &TestApp, network: &str, email: &str, password: &str) -> (u16, u32) {
    let hasher = app.api.accounts.hasher();
    let before = hasher.filled();
    let body = json!({ "email": email, "password": password });
    let login = app.post("/login").header("x-forwarded-for", network).json(&body);
    let status = login.send().await.status;
    (status, u32::try_from((hasher.filled() - before) / u64::from(CHEAP_KIB)).unwrap())
}
