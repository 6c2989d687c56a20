//! How often a session's window for retries opens.

use diesel::connection::SimpleConnection as _;
use doorward::database::AnyConnection;

use crate::support::client::User;
use crate::support::{TestApp, Tokens};

use super::{HOUR, OWNERS_KEY, THIEFS_KEY, row};

/// Past the retry window, which is 30 s by default.
const LATER: u64 = 31;

/// The lifetime of an access token, so that its owner refreshes about as often.
const TEN_MINUTES: u64 = 600;

#[tokio::test]
async fn a_thief_who_repeats_token_and_key_every_25_seconds_is_detected() {
    for owners_key in [None, Some(OWNERS_KEY)] {
        let app = TestApp::start().await;
        let user = app.signed_up().await;
        let stolen = user.tokens.refresh.clone();
        app.refresh_with_key(&stolen, THIEFS_KEY).await.assert_status(200);
        let mut owner = Owner::of(&user, owners_key);
        let mut seconds = 0;
        while owner.refreshes < 3 && !owner.is_out {
            seconds += 25;
            app.advance(25);
            app.refresh_with_key(&stolen, THIEFS_KEY).await;
            if seconds % TEN_MINUTES == 0 {
                owner.refreshes(&app).await;
            }
        }
        let thief = app.refresh_with_key(&stolen, THIEFS_KEY).await;
        thief.assert_ended("refresh_token_reused");
        app.refresh(&owner.token).await.assert_ended("refresh_token_reused");
        assert!(app.live_sessions(&user.id).await.is_empty());
        app.me(&user.tokens.access).await.assert_status(401);
    }
}

#[tokio::test]
async fn a_thief_who_repeats_token_and_key_before_the_owner_is_detected_at_her_third_refresh() {
    let app = TestApp::start().await;
    let user = app.signed_up().await;
    let stolen = user.tokens.refresh.clone();
    let mut owner = Owner::of(&user, None);
    // He rotates; she refreshes inside the window.
    app.refresh_with_key(&stolen, THIEFS_KEY).await.assert_status(200);
    owner.refreshes(&app).await;
    for _ in 0..2 {
        // He opens the window just before she refreshes, if possible.
        app.advance(TEN_MINUTES);
        app.refresh_with_key(&stolen, THIEFS_KEY).await.assert_status(200);
        owner.refreshes(&app).await;
    }
    assert_eq!((owner.refreshes, owner.generation), (3, 2), "the third rotates");
    let seen = app.refresh_with_key(&stolen, THIEFS_KEY).await;
    seen.assert_ended("refresh_token_reused");
    app.refresh(&owner.token).await.assert_ended("refresh_token_reused");
}

#[tokio::test]
async fn forgiveness_and_a_proven_retry_open_the_window_once_between_them() {
    let app = TestApp::start().await;
    let user = app.signed_up().await;
    let stolen = user.tokens.refresh.clone();
    let mut owner = Owner::of(&user, None);
    // Without a key first, to be forgiven; the key is sent while the window is open.
    app.refresh(&stolen).await.assert_status(200);
    owner.refreshes(&app).await;
    app.advance(TEN_MINUTES);
    app.refresh(&stolen).await.assert_status(200);
    app.refresh_with_key(&stolen, THIEFS_KEY).await.assert_status(200);
    owner.refreshes(&app).await;
    app.advance(TEN_MINUTES);
    app.refresh_with_key(&stolen, THIEFS_KEY).await.assert_status(200);
    owner.refreshes(&app).await;
    assert_eq!((owner.refreshes, owner.generation), (3, 2), "the third rotates");
    let seen = app.refresh_with_key(&stolen, THIEFS_KEY).await;
    seen.assert_ended("refresh_token_reused");
}

#[tokio::test]
async fn a_second_proven_retry_is_answered_and_changes_nothing() {
    let app = TestApp::start().await;
    let user = app.signed_up().await;
    let (refresh, session) = (&user.tokens.refresh, &user.tokens.session);
    let lost = app.refresh_with_key(refresh, OWNERS_KEY).await.tokens();
    app.advance(HOUR);
    app.refresh_with_key(refresh, OWNERS_KEY).await.assert_status(200);
    let reopened = row(&app, session).await;
    for _ in 0..3 {
        app.advance(HOUR);
        let again = app.refresh_with_key(refresh, OWNERS_KEY).await.tokens();
        assert_eq!((again.generation, &again.refresh), (1, &lost.refresh));
        app.me(&again.access).await.assert_status(200);
    }
    assert_eq!(row(&app, session).await, reopened);
    let retries = crate::support::refresh_counts(&app).find(|it| it.0 == "proven_retry");
    assert_eq!(retries, Some(("proven_retry", 4)));
    // The window is closed: the predecessor needs proof or ends the session.
    app.refresh(refresh).await.assert_ended("refresh_token_reused");
}

#[tokio::test]
async fn the_next_generation_may_open_its_window_again() {
    let app = TestApp::start().await;
    let user = app.signed_up().await;
    let mut refresh = user.tokens.refresh.clone();
    for generation in 1..=3 {
        let key = format!("the-key-of-generation-{generation}");
        app.refresh_with_key(&refresh, &key).await.assert_status(200);
        app.advance(HOUR);
        let again = app.refresh_with_key(&refresh, &key).await.tokens();
        // Inside the window that this opened, the predecessor needs no key.
        assert_eq!(app.refresh(&refresh).await.tokens().generation, generation);
        app.advance(LATER);
        refresh = again.refresh;
    }
}

#[tokio::test]
async fn a_session_of_the_previous_schema_continues_and_opens_its_window_once() {
    let app = TestApp::start().await;
    let user = app.signed_up().await;
    let refresh = &user.tokens.refresh;
    app.refresh_with_key(refresh, OWNERS_KEY).await.assert_status(200);
    app.advance(HOUR);
    app.refresh_with_key(refresh, OWNERS_KEY).await.assert_status(200);
    let before = "ALTER TABLE sessions DROP COLUMN reopened_generation;
                  DELETE FROM __diesel_schema_migrations WHERE version = '20261129000100'";
    let changed = app.db().write(move |tx| match tx.connection() {
        AnyConnection::Sqlite(c) => c.batch_execute(before),
        AnyConnection::Postgres(c) => c.batch_execute(before),
    });
    changed.await.unwrap();
    let (refresh, session) = (refresh.clone(), user.tokens.session.clone());
    let app = app.restart().await;

    for reopens in [true, false] {
        app.advance(HOUR);
        let closed = row(&app, &session).await;
        let again = app.refresh_with_key(&refresh, OWNERS_KEY).await.tokens();
        assert_eq!(again.generation, 1);
        assert_eq!(row(&app, &session).await != closed, reopens);
    }
}

/// A client that behaves as documented: it stores its responses, with the highest generation.
struct Owner {
    token: String,
    generation: u64,
    key: Option<&'static str>,
    refreshes: u32,
    is_out: bool,
}

impl Owner {
    fn of(user: &User<'_>, key: Option<&'static str>) -> Self {
        let Tokens { refresh, generation, .. } = user.tokens.clone();
        Self { token: refresh, generation, key, refreshes: 0, is_out: false }
    }

    async fn refreshes(&mut self, app: &TestApp) {
        self.refreshes += 1;
        let answer = match self.key {
            Some(key) => app.refresh_with_key(&self.token, key).await,
            None => app.refresh(&self.token).await,
        };
        if answer.status == 200 {
            let Tokens { refresh, generation, .. } = answer.tokens();
            (self.token, self.generation) = (refresh, generation);
        } else {
            answer.assert_ended("refresh_token_reused");
            self.is_out = true;
        }
    }
}
