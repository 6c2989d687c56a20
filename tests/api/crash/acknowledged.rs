//! Acknowledged changes survive `kill -9`.

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::process::Command;
use std::sync::Mutex;
use std::time::Duration;

use diesel::prelude::*;
use doorward::clock::Clock;
use doorward::database::schema::{sessions, users};
use doorward::database::{AnyConnection, Id};
use doorward::secret::random_bytes;
use futures_util::future::join_all;
use rustix::process::Signal;
use serde_json::json;
use uuid::Uuid;

use crate::support::binary::{Doorward, data_of, database_of, home, unlimited};
use crate::support::client::PASSWORD;
use crate::support::postgres::number_of;
use crate::support::{Tokens, until};

/// Kills in one test run, unless `DOORWARD_TEST_KILLS` is set.
const KILLS: u64 = 12;

/// The longest delay of a kill after the last acknowledgement that it waits for.
const LATER: Duration = Duration::from_millis(60);

/// The deadline for a service to be ready again, on a machine that is busy with other tests. A
/// quiet one takes a tenth of it.
const READY: Duration = Duration::from_secs(5);

/// Sessions that refresh without a pause.
const REFRESHING: usize = 3;

/// A key that proves nothing.
const KEY: &str = "a-key-of-its-own-01";

const OWNER: &str = "owner@example.com";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn acknowledged_changes_survive_kill_9() {
    let home = home();
    let clock = Clock::system();
    let begun = clock.monotonic();
    let mut service = Doorward::start(&mut strict(home.path()));
    service.register(OWNER, PASSWORD).await.unwrap().assert_status(201);
    let mut chains = Vec::new();
    for _ in 0..REFRESHING {
        chains.push(Chain::of(log_in(&service, OWNER).await.unwrap()));
    }
    let mut changing = Changing::sign_up(&service).await;
    let mut seen = Seen::default();
    let kills = number_of("DOORWARD_TEST_KILLS").unwrap_or(KILLS);
    let mut slowest = Duration::ZERO;
    for round in 0..kills {
        let acknowledged = load_until_killed(&service, &mut chains, &mut changing, round).await;
        drop(service);
        let killed = clock.monotonic();
        service = Doorward::start(&mut strict(home.path()));
        service.get("/readyz").send().await.assert_status(200);
        slowest = slowest.max(clock.monotonic() - killed);
        seen.add(acknowledged.clone());

        let rows = Rows::read(home.path());
        for email in &seen.registered {
            assert!(rows.emails.contains(email), "kill {round}: the account {email} is lost");
        }
        for tokens in &seen.logged_in {
            let there = rows.generations.contains_key(&tokens.session);
            assert!(there, "kill {round}: the session {} is lost", tokens.session);
        }
        for chain in &mut chains {
            chain.verify(&service, &rows).await;
        }
        changing.verify(&service).await;
        if let Some(email) = acknowledged.registered.last() {
            log_in(&service, email).await.unwrap();
        }
        for tokens in &acknowledged.logged_in {
            service.me(&tokens.access).await.unwrap().assert_status(200);
        }
        // All of them: the access tokens of earlier rounds are valid for minutes.
        for tokens in &seen.left {
            let me = service.me(&tokens.access).await.unwrap();
            me.assert_problem(401, "token_revoked");
        }
        for tokens in &acknowledged.left {
            let refused = service.refresh(&tokens.refresh, &new_key()).await.unwrap();
            refused.assert_ended("logout");
        }
    }
    service.get("/readyz").send().await.assert_status(200);
    let Seen { registered, logged_in, left, refreshes } = seen;
    println!(
        "{kills} kills in {:.1?}: {} accounts, {} sessions, {} logouts, {} changes of password and \
         {refreshes} refreshes are all there; ready again within {slowest:.1?}",
        clock.monotonic() - begun,
        registered.len(),
        logged_in.len(),
        left.len(),
        changing.acknowledged,
    );
    assert!(slowest < READY, "{slowest:?}");
    let kills = usize::try_from(kills).unwrap();
    assert!(registered.len() + left.len() >= kills && refreshes > kills);
}

/// Every refresh rotates, and every replay needs its key.
fn strict(home: &Path) -> Command {
    let mut command = unlimited(home);
    command.env("DOORWARD_SESSIONS__RETRY_WINDOW", "0s");
    command.env("DOORWARD_SESSIONS__MAX_PER_USER", "10000");
    // Estimating a password takes longer than hashing it in a build without optimisation.
    command.env("DOORWARD_PASSWORDS__MIN_SCORE", "0");
    command
}

/// The acknowledged changes before the process was killed.
#[derive(Clone, Default)]
struct Seen {
    registered: Vec<String>,
    logged_in: Vec<Tokens>,
    left: Vec<Tokens>,
    refreshes: usize,
}

impl Seen {
    fn add(&mut self, other: Self) {
        self.registered.extend(other.registered);
        self.logged_in.extend(other.logged_in);
        self.left.extend(other.left);
        self.refreshes += other.refreshes;
    }
}

/// Clients without pauses, until the process is killed during their requests.
async fn load_until_killed(
    service: &Doorward,
    chains: &mut [Chain],
    changing: &mut Changing,
    round: u64,
) -> Seen {
    let seen = Mutex::new(Seen::default());
    let note = |what: &dyn Fn(&mut Seen)| what(&mut seen.lock().unwrap());
    // In each round at another time, with other requests in progress.
    let killing = async {
        until(async || {
            let seen = seen.lock().unwrap();
            seen.registered.len() + seen.left.len() >= usize::try_from(1 + round % 3).unwrap()
        })
        .await;
        let share = u32::from_ne_bytes(random_bytes());
        tokio::time::sleep(LATER.mul_f64(f64::from(share) / f64::from(u32::MAX))).await;
        service.signal(Signal::KILL);
    };
    let refreshing = join_all(chains.iter_mut().map(async |chain| {
        while chain.refresh(service).await {
            note(&|seen| seen.refreshes += 1);
        }
    }));
    let registering = async {
        for count in 0.. {
            let email = format!("r{round}n{count}@example.com");
            let Ok(answer) = service.register(&email, PASSWORD).await else { break };
            if answer.status == 503 {
                continue;
            }
            answer.assert_status(201);
            note(&|seen| seen.registered.push(email.clone()));
        }
    };
    let leaving = async {
        while let Ok(tokens) = log_in(service, OWNER).await {
            let Ok(answer) = service.log_out(&tokens.access).await else { break };
            answer.assert_status(204);
            note(&|seen| seen.left.push(tokens.clone()));
            let Ok(tokens) = log_in(service, OWNER).await else { break };
            note(&|seen| seen.logged_in.push(tokens.clone()));
        }
    };
    tokio::join!(killing, refreshing, registering, leaving, changing.change(service));
    seen.into_inner().unwrap()
}

/// A session of a careful client: the last tokens, and the key of the next request or of the one
/// whose response was lost.
struct Chain {
    tokens: Tokens,
    key: String,
}

impl Chain {
    fn of(tokens: Tokens) -> Self {
        Self { tokens, key: new_key() }
    }

    /// One rotation; false when no response arrived.
    async fn refresh(&mut self, service: &Doorward) -> bool {
        let Ok(answer) = service.refresh(&self.tokens.refresh, &self.key).await else {
            return false;
        };
        let next = answer.tokens();
        assert_eq!(next.generation, self.tokens.generation + 1);
        *self = Self::of(next);
        true
    }

    async fn verify(&mut self, service: &Doorward, rows: &Rows) {
        let stored = rows.generations[&self.tokens.session];
        let acknowledged = self.tokens.generation;
        // Exactly one more may be in progress.
        assert!(
            (acknowledged..=acknowledged + 1).contains(&stored),
            "generation {acknowledged} was acknowledged, and {stored} is stored"
        );
        assert!(self.refresh(service).await, "the service answers after its restart");
        service.me(&self.tokens.access).await.unwrap().assert_status(200);
    }
}

/// An account whose password is changed, and another session of it that each change ends. Both
/// happen, or neither.
struct Changing {
    present: String,
    own: Tokens,
    other: Tokens,
    /// The new password of the current change.
    next: String,
    acknowledged: usize,
    is_acknowledged: bool,
}

impl Changing {
    const EMAIL: &str = "changing@example.com";

    async fn sign_up(service: &Doorward) -> Self {
        service.register(Self::EMAIL, PASSWORD).await.unwrap().assert_status(201);
        let log_in = async || log_in(service, Self::EMAIL).await.unwrap();
        let (present, next) = (PASSWORD.to_owned(), String::new());
        let (own, other) = (log_in().await, log_in().await);
        Self { present, own, other, next, acknowledged: 0, is_acknowledged: false }
    }

    async fn change(&mut self, service: &Doorward) {
        self.next = format!("{PASSWORD} {}", Uuid::new_v4());
        let body = json!({ "current_password": self.present, "new_password": self.next });
        let call = service.call("POST", "/me/password").bearer(&self.own.access).json(&body);
        if let Ok(answer) = call.try_send().await {
            answer.assert_status(200);
            self.is_acknowledged = true;
        }
    }

    /// After a kill.
    async fn verify(&mut self, service: &Doorward) {
        let (access, refresh) = (&self.other.access, &self.other.refresh);
        let (me, refreshed) = tokio::join!(service.me(access), service.refresh(refresh, KEY));
        let (me, refreshed) = (me.unwrap(), refreshed.unwrap());
        if std::mem::take(&mut self.is_acknowledged) || me.status == 401 {
            me.assert_problem(401, "token_revoked");
            refreshed.assert_ended("password_changed");
            self.present.clone_from(&self.next);
            self.acknowledged += 1;
        } else {
            me.assert_status(200);
            refreshed.assert_status(200);
        }
        self.own = log_in_with(service, Self::EMAIL, &self.present).await.unwrap();
        self.other = log_in_with(service, Self::EMAIL, &self.present).await.unwrap();
    }
}

/// A login, with retries when the service asks for them.
async fn log_in(service: &Doorward, email: &str) -> reqwest::Result<Tokens> {
    log_in_with(service, email, PASSWORD).await
}

async fn log_in_with(service: &Doorward, email: &str, password: &str) -> reqwest::Result<Tokens> {
    loop {
        let answer = service.log_in(email, password).await?;
        if answer.status != 503 {
            return Ok(answer.tokens());
        }
        assert_eq!(answer.body["transient"], true, "{}", answer.text);
    }
}

fn new_key() -> String {
    Uuid::new_v4().to_string()
}

/// The database's contents, read while the service runs: a refresh would repair a lost generation.
struct Rows {
    emails: HashSet<String>,
    generations: HashMap<String, u64>,
}

impl Rows {
    fn read(home: &Path) -> Self {
        let mut c = if let Some(url) = database_of(home) {
            AnyConnection::Postgres(PgConnection::establish(&url).unwrap())
        } else {
            let path = data_of(home).join("doorward.db");
            let mut c = SqliteConnection::establish(path.to_str().unwrap()).unwrap();
            diesel::sql_query("PRAGMA busy_timeout = 5000").execute(&mut c).unwrap();
            AnyConnection::Sqlite(c)
        };
        let emails: Vec<String> = users::table.select(users::email).load(&mut c).unwrap();
        let rows: Vec<(Id, i64)> =
            sessions::table.select((sessions::id, sessions::generation)).load(&mut c).unwrap();
        let generations =
            rows.into_iter().map(|(id, g)| (id.to_string(), u64::try_from(g).unwrap())).collect();
        Self { emails: emails.into_iter().collect(), generations }
    }
}
