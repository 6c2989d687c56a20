//! Logging in: who gets a session, what a refusal tells, and the races that must leave no session
//! behind.

use std::sync::mpsc;

use diesel::PgConnection;
use diesel::connection::{Connection as _, SimpleConnection as _};
use doorward::config::Config;
use futures_util::future::join_all;
use serde_json::{Value, json};
use tokio::sync::oneshot;

use crate::support::app::CROWD;
use crate::support::feed::looked_again;
use crate::support::postgres::waiting;
use crate::support::{Answer, PASSWORD, TestApp, Tokens, id, until};

const NEW_PASSWORD: &str = "nine herons borrow umbrellas";

#[tokio::test]
async fn a_login_answers_tokens_that_no_cache_keeps() {
    let app = TestApp::start().await;
    let user = app.signed_up().await;
    let answer = app.log_in(&user.email, PASSWORD).await.assert_status(200);
    assert_eq!(answer.body["token_type"], "Bearer");
    assert_eq!(answer.body["expires_in"], 600);
    assert_eq!(answer.body["refresh_expires_in"], 30 * 86400);
    assert_eq!(answer.body["generation"], 0);
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    let tokens = answer.tokens();
    assert!(tokens.access.len() < 450, "{} bytes", tokens.access.len());
    app.me(&tokens.access).await.assert_status(200);
}

#[tokio::test]
async fn an_address_logs_in_in_every_form() {
    let app = TestApp::start().await;
    app.register("Ada@Example.com", PASSWORD).await.assert_status(201);
    for email in ["ada@example.com", "ADA@EXAMPLE.COM", "\t Ada@example.com "] {
        app.log_in(email, PASSWORD).await.assert_status(200);
    }
}

#[tokio::test]
async fn rejections_are_indistinguishable_and_cost_one_hash_each() {
    let app = TestApp::start().await;
    let user = app.signed_up().await;
    let disabled = app.signed_up().await;
    assert!(app.api.accounts.disable(id(&disabled.id)).await.unwrap());
    let closed = app.signed_up().await;
    closed.close(PASSWORD).await.assert_status(204);

    let (just_too_long, far_too_long) = ("x".repeat(1025), "\u{e4}".repeat(5000));
    let unknown = "nobody@example.com";
    let cases = [
        ("wrong password", user.email.as_str(), "not my password at all"),
        ("empty password", &user.email, ""),
        ("over-long password", &user.email, &just_too_long),
        ("far over-long password", &user.email, &far_too_long),
        ("over-long when composed", &user.email, &"\u{344}".repeat(257)),
        ("unknown address", unknown, PASSWORD),
        ("unknown address, over-long password", unknown, &far_too_long),
        ("no address", "nobody", PASSWORD),
        ("empty address", "", ""),
        ("disabled account", &disabled.email, PASSWORD),
        ("disabled account, wrong password", &disabled.email, "not my password at all"),
        ("disabled account, over-long password", &disabled.email, &just_too_long),
        ("closed account", &closed.email, PASSWORD),
    ];
    let mut first = None;
    for (case, email, password) in cases {
        let before = app.hashed();
        let answer = app.log_in(email, password).await;
        assert_eq!(app.hashed() - before, 1, "{case} costs one hash");
        let answer = answer.assert_problem(401, "invalid_credentials");
        let seen = answer.without_its_request();
        assert_eq!(seen, *first.get_or_insert_with(|| seen.clone()), "{case}");
    }
    let before = app.hashed();
    app.log_in(&user.email, PASSWORD).await.assert_status(200);
    assert_eq!(app.hashed() - before, 1, "a good login costs the same");
}

#[tokio::test]
async fn a_login_that_checked_the_old_password_while_it_changed_leaves_no_session() {
    let app = TestApp::with(one_thread).await;
    let user = app.signed_up().await;
    let held = Held::back(&app, &user.id).await;
    let before = app.hashed();
    let (changed, login, ()) = tokio::join!(
        user.change_password(PASSWORD, NEW_PASSWORD),
        async {
            // The change has its two hashes, and waits to be stored.
            until(async || app.hashed() == before + 2).await;
            stand_in_line(&app, 1).await;
            app.log_in(&user.email, PASSWORD).await
        },
        async {
            // The login has read the old hash, which still stands.
            until(async || app.hashed() == before + 3).await;
            stand_in_line(&app, 2).await;
            held.release();
        },
    );
    let new = changed.tokens();
    login.assert_problem(401, "invalid_credentials");
    assert_eq!(app.live_sessions(&user.id).await, [new.session]);
}

#[tokio::test]
async fn a_login_that_raced_a_close_leaves_no_session() {
    let app = TestApp::with(one_thread).await;
    let user = app.signed_up().await;
    let held = Held::back(&app, &user.id).await;
    let before = app.hashed();
    let (closed, login, ()) = tokio::join!(
        user.close(PASSWORD),
        async {
            until(async || app.hashed() == before + 1).await;
            stand_in_line(&app, 1).await;
            app.log_in(&user.email, PASSWORD).await
        },
        async {
            until(async || app.hashed() == before + 2).await;
            stand_in_line(&app, 2).await;
            held.release();
        },
    );
    closed.assert_status(204);
    login.assert_problem(401, "invalid_credentials");
    assert!(app.live_sessions(&user.id).await.is_empty());
}

#[tokio::test]
async fn a_login_that_raced_a_disable_leaves_no_session() {
    let app = TestApp::with(one_thread).await;
    let user = app.signed_up().await;
    let held = Held::back(&app, &user.id).await;
    let (accounts, id) = (app.api.accounts.clone(), id(&user.id));
    let disabled = tokio::spawn(async move { accounts.disable(id).await });
    // Polled once, it stands in the writer's queue.
    tokio::task::yield_now().await;
    stand_in_line(&app, 1).await;
    let before = app.hashed();
    let (login, ()) = tokio::join!(app.log_in(&user.email, PASSWORD), async {
        until(async || app.hashed() == before + 1).await;
        stand_in_line(&app, 2).await;
        held.release();
    });
    assert!(disabled.await.unwrap().unwrap());
    login.assert_problem(401, "invalid_credentials");
    assert!(app.live_sessions(&user.id).await.is_empty());
}

#[tokio::test]
async fn after_a_change_of_password_every_live_session_was_made_by_the_new_one() {
    const ROUNDS: usize = 60;
    // A machine that is busy with something else takes longer to find the moment.
    const MAX_ROUNDS: usize = 10 * ROUNDS;
    let app = TestApp::with(|config| {
        cheap_hashes(config);
        generous(config);
    })
    .await;
    let mut user = app.signed_up().await;
    let mut password = PASSWORD.to_owned();
    let (mut lost, mut ended) = (0, 0);
    // Turns of the runtime that the change waits, and between two logins: so many that the logins
    // arrive all through the change, on whatever machine and database.
    let (mut change_after, mut between) = (0, 8);
    for round in 0..MAX_ROUNDS {
        if round >= ROUNDS && lost > 0 && ended > 0 {
            break;
        }
        let new = format!("{NEW_PASSWORD} {round}");
        let log_in = async |password: &str, delay| {
            turns(delay).await;
            app.log_in(&user.email, password).await
        };
        let (changed, old, fresh) = tokio::join!(
            async {
                turns(change_after).await;
                user.change_password(&password, &new).await
            },
            join_all((0..8).map(|n| log_in(&password, n * between))),
            join_all((0..2).map(|n| log_in(&new, n * 4 * between))),
        );
        let changed = changed.tokens();
        let mut allowed = vec![changed.session.clone()];
        for answer in fresh.into_iter().filter(|answer| answer.status == 200) {
            allowed.push(answer.tokens().session);
        }
        let (before, of_all) = (ended, old.len());
        for answer in old {
            if answer.status == 200 {
                let tokens = answer.tokens();
                app.me(&tokens.access).await.assert_problem(401, "token_revoked");
                app.refresh(&tokens.refresh).await.assert_ended("password_changed");
                ended += 1;
            } else {
                answer.assert_problem(401, "invalid_credentials");
                lost += 1;
            }
        }
        match ended - before {
            0 => change_after += 4,
            n if n == of_all => between += 8,
            _ => {}
        }
        let mut live = app.live_sessions(&user.id).await;
        live.sort();
        allowed.sort();
        assert_eq!(live, allowed, "round {round}");
        (user.tokens, password) = (changed, new);
    }
    assert!(lost > 0 && ended > 0, "{lost} logins came after a change, {ended} before: no race");
}

#[tokio::test]
async fn no_login_outlives_a_disable_that_it_raced() {
    let app = TestApp::with(|config| {
        cheap_hashes(config);
        generous(config);
    })
    .await;
    for _ in 0..50 {
        let user = app.signed_up().await;
        let (disabled, logins) = tokio::join!(
            async {
                turns(4).await;
                app.api.accounts.disable(id(&user.id)).await
            },
            join_all((0..6).map(|_| app.log_in(&user.email, PASSWORD)))
        );
        assert!(disabled.unwrap());
        for login in logins {
            if login.status == 200 {
                app.me(&login.tokens().access).await.assert_problem(401, "token_revoked");
            } else {
                login.assert_problem(401, "invalid_credentials");
            }
        }
        assert!(app.live_sessions(&user.id).await.is_empty());
    }
}

#[tokio::test]
async fn sessions_beyond_the_limit_give_way_in_order() {
    let app = TestApp::with(|config| config.sessions.max_per_user = 3).await;
    let mut user = app.signed_up().await;
    let log_in = async || {
        app.advance(1);
        user.another_session().await
    };
    let refresh = async |tokens: &Tokens| {
        app.advance(1);
        app.refresh(&tokens.refresh).await.tokens()
    };
    let (second, third) = (log_in().await, log_in().await);
    let third = refresh(&third).await;
    let second_again = refresh(&second).await;

    // The first was never refreshed, so it goes first, and then the fourth, though it is the newest.
    let fourth = log_in().await;
    let fifth = log_in().await;
    assert_gave_way(&app, &fourth).await;
    app.me(&third.access).await.assert_status(200);
    let fifth = refresh(&fifth).await;

    // Every one was refreshed: the third longest ago, although it is younger than the second.
    let sixth = log_in().await;
    assert_gave_way(&app, &third).await;
    for tokens in [&second_again, &fifth, &sixth] {
        app.me(&tokens.access).await.assert_status(200);
    }
    let first = user.tokens.clone();
    assert_gave_way(&app, &first).await;
    user.tokens = sixth;
    assert_eq!(app.live_sessions(&user.id).await.len(), 3);
}

#[tokio::test]
async fn parallel_logins_leave_as_many_sessions_as_are_allowed() {
    let app = TestApp::with(|config| {
        config.sessions.max_per_user = 5;
        cheap_hashes(config);
        generous(config);
    })
    .await;
    let user = app.signed_up().await;
    let logins = join_all((0..20).map(|_| user.another_session())).await;
    let live = app.live_sessions(&user.id).await;
    assert_eq!(live.len(), 5);
    for tokens in logins {
        if !live.contains(&tokens.session) {
            assert_gave_way(&app, &tokens).await;
        }
    }
}

#[tokio::test]
async fn ended_and_expired_sessions_do_not_count_towards_the_maximum() {
    let app = TestApp::with(|config| config.sessions.max_per_user = 2).await;
    let user = app.signed_up().await;
    let other = user.another_session().await;
    user.log_out().await.assert_status(204);
    let third = user.another_session().await;
    for tokens in [&other, &third] {
        app.refresh(&tokens.refresh).await.assert_status(200);
    }
    app.advance(30 * 86400);
    user.another_session().await;
    user.another_session().await;
    app.refresh(&other.refresh).await.assert_ended("expired");
}

#[tokio::test]
async fn a_label_is_kept_as_it_was_given() {
    let app = TestApp::start().await;
    let user = app.signed_up().await;
    let longest = "\u{1f9a6}".repeat(100);
    for label in [json!("Ada's phone <b>"), json!(longest), json!(""), json!(null)] {
        let tokens = log_in_with(&app, &user.email, "label", &label).await.tokens();
        let list = app.get("/sessions").bearer(&tokens.access).send().await.assert_status(200);
        let sessions = list.body["sessions"].as_array().unwrap();
        let own = sessions.iter().find(|session| session["current"] == true).unwrap();
        assert_eq!(own["label"], label);
    }
}

#[tokio::test]
async fn an_invalid_label_is_rejected_before_the_password_is_compared() {
    let app = TestApp::start().await;
    let user = app.signed_up().await;
    let before = app.hashed();
    for label in ["x".repeat(101), "a\nb".into(), "a\u{7f}".into(), "\u{85}".into()] {
        let answer = log_in_with(&app, &user.email, "label", &json!(label)).await;
        let answer = answer.assert_problem(422, "invalid_fields");
        assert_eq!(answer.body["errors"][0]["pointer"], "/label");
    }
    for (name, value) in [("label", json!(7)), ("label", json!("nul\0")), ("scope", json!("all"))] {
        log_in_with(&app, &user.email, name, &value).await.assert_problem(400, "malformed_request");
    }
    assert_eq!(app.hashed(), before);
    assert_eq!(app.live_sessions(&user.id).await.len(), 1);
}

#[tokio::test]
async fn an_invalid_known_device_does_not_block_the_right_password() {
    let app = TestApp::start().await;
    let (user, other) = (app.signed_up().await, app.signed_up().await);
    for token in ["", "dwr_", "not a token", &other.tokens.refresh, &user.tokens.access] {
        log_in_with(&app, &user.email, "known_device", &json!(token)).await.assert_status(200);
    }
}

async fn log_in_with(app: &TestApp, email: &str, name: &str, value: &Value) -> Answer {
    let body = json!({ "email": email, "password": PASSWORD, name: value });
    app.post("/login").json(&body).send().await
}

async fn assert_gave_way(app: &TestApp, tokens: &Tokens) {
    app.me(&tokens.access).await.assert_problem(401, "token_revoked");
    app.refresh(&tokens.refresh).await.assert_ended("too_many_sessions");
}

/// Whoever changes an account, held back until it is released: in the order in which they came.
pub enum Held {
    /// SQLite's writer, which stores nothing.
    Writer(mpsc::Sender<()>),
    /// A transaction of PostgreSQL's that has locked the account's row.
    Row(PgConnection),
}

impl Held {
    pub async fn back(app: &TestApp, user: &str) -> Self {
        if app.is_on_postgres() {
            let mut connection = PgConnection::establish(app.database()).unwrap();
            let lock = format!("BEGIN; SELECT FROM users WHERE id = '{user}' FOR UPDATE");
            connection.batch_execute(&lock).unwrap();
            return Self::Row(connection);
        }
        // What was written before is no news any more, after which a look would stand in line, too.
        looked_again(app).await;
        let (release, released) = mpsc::channel::<()>();
        let (begun, has_begun) = oneshot::channel();
        let mut begun = Some(begun);
        tokio::spawn(app.db().write(move |_| {
            let _ = begun.take().map(|begun| begun.send(()));
            let _ = released.recv();
            Ok(())
        }));
        has_begun.await.unwrap();
        Self::Writer(release)
    }

    pub fn release(self) {
        match self {
            Self::Writer(release) => drop(release),
            Self::Row(mut connection) => connection.batch_execute("COMMIT").unwrap(),
        }
    }
}

/// Waits until so many of those held back stand in line. (PostgreSQL gives a row that is let go of to
/// whoever asks for it just then.)
pub async fn stand_in_line(app: &TestApp, number: usize) {
    until(async || match app.db().load().writer {
        Some((units, _)) => units >= number,
        None => usize::try_from(waiting(app.database())).unwrap() >= number,
    })
    .await;
}

/// Lets whatever else runs have so many turns.
async fn turns(number: usize) {
    for _ in 0..number {
        tokio::task::yield_now().await;
    }
}

fn one_thread(config: &mut Config) {
    config.passwords.threads = 1;
}

/// For tests that are about many logins and not about their price.
fn cheap_hashes(config: &mut Config) {
    config.passwords.memory_kib = 256;
    config.passwords.iterations = 1;
}

/// No limit but the one that a test is about.
fn generous(config: &mut Config) {
    config.passwords.queue_capacity = 1000;
    config.database.pool_size = CROWD;
    config.limits.failed_logins_per_address = 1_000_000;
    config.limits.failed_logins_per_account = 1_000_000;
}
