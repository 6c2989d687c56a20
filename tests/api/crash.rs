//! `kill -9` under load, and what is there after the restart.

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::time::Duration;

use diesel::prelude::*;
use doorward::clock::Clock;
use doorward::database::schema::{sessions, users};
use doorward::database::{AnyConnection, Id};
use futures_util::future::join_all;
use rustix::process::Signal;
use uuid::Uuid;

use crate::support::Tokens;
use crate::support::binary::{Doorward, data_of, database_of, unlimited};
use crate::support::client::PASSWORD;

const KILLS: usize = 12;

/// Sessions that refresh without a pause.
const REFRESHING: usize = 6;

const OWNER: &str = "owner@example.com";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_acknowledged_survives_kill_9() {
    let home = tempfile::tempdir().unwrap();
    let clock = Clock::system();
    let begun = clock.monotonic();
    let mut service = Doorward::start(&mut strict(home.path()));
    service.register(OWNER, PASSWORD).await.unwrap().assert_status(201);
    let mut chains = Vec::new();
    for _ in 0..REFRESHING {
        chains.push(Chain::of(log_in(&service, OWNER).await.unwrap()));
    }
    let mut seen = Seen::default();
    for round in 0..KILLS {
        let acknowledged = load_until_killed(&service, &mut chains, round).await;
        drop(service);
        service = Doorward::start(&mut strict(home.path()));
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
        if let Some(email) = acknowledged.registered.last() {
            log_in(&service, email).await.unwrap();
        }
        for tokens in &acknowledged.logged_in {
            service.me(&tokens.access).await.unwrap().assert_status(200);
        }
        // All of them: the access tokens of earlier rounds have minutes to live yet.
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
        "{KILLS} kills in {:.1?}: {} accounts, {} sessions, {} logouts and {refreshes} refreshes \
         are all there",
        clock.monotonic() - begun,
        registered.len(),
        logged_in.len(),
        left.len(),
    );
    assert!(registered.len() > KILLS && left.len() > KILLS && refreshes > KILLS);
}

#[tokio::test]
async fn a_first_start_that_is_killed_anywhere_can_be_made_again() {
    // From before the data directory is there until after the service listens.
    for millis in (0..90).step_by(6) {
        let home = tempfile::tempdir().unwrap();
        let mut first = unlimited(home.path()).stderr(Stdio::null()).stdout(Stdio::null()).spawn();
        tokio::time::sleep(Duration::from_millis(millis)).await;
        first.as_mut().unwrap().kill().unwrap();
        first.unwrap().wait().unwrap();
        let service = Doorward::start(&mut unlimited(home.path()));
        service.get("/readyz").send().await.assert_status(200);
        service.get("/.well-known/jwks.json").send().await.assert_status(200);
    }
}

/// Every refresh rotates, and every replay needs its key.
fn strict(home: &Path) -> Command {
    let mut command = unlimited(home);
    command.env("DOORWARD_SESSIONS__RETRY_WINDOW", "0s");
    command.env("DOORWARD_SESSIONS__MAX_PER_USER", "10000");
    command
}

/// What was acknowledged before the process was killed.
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

/// Clients that do not pause, until the process is killed in the middle of it.
async fn load_until_killed(service: &Doorward, chains: &mut [Chain], round: usize) -> Seen {
    let seen = Mutex::new(Seen::default());
    let note = |what: &dyn Fn(&mut Seen)| {
        let mut seen = seen.lock().unwrap();
        what(&mut seen);
        // In each round at another moment: while others of these requests are under way.
        if seen.registered.len() + seen.left.len() == 4 + round % 5 {
            service.signal(Signal::KILL);
        }
    };
    let refreshing = join_all(chains.iter_mut().map(async |chain| {
        while chain.refresh(service).await {
            note(&|seen| seen.refreshes += 1);
        }
    }));
    let registering = join_all((0..2).map(async |client| {
        for count in 0.. {
            let email = format!("r{round}c{client}n{count}@example.com");
            let Ok(answer) = service.register(&email, PASSWORD).await else { break };
            if answer.status == 503 {
                continue;
            }
            answer.assert_status(201);
            note(&|seen| seen.registered.push(email.clone()));
        }
    }));
    let leaving = async {
        while let Ok(tokens) = log_in(service, OWNER).await {
            let Ok(answer) = service.log_out(&tokens.access).await else { break };
            answer.assert_status(204);
            note(&|seen| seen.left.push(tokens.clone()));
        }
    };
    let staying = async {
        while let Ok(tokens) = log_in(service, OWNER).await {
            note(&|seen| seen.logged_in.push(tokens.clone()));
        }
    };
    tokio::join!(refreshing, registering, leaving, staying);
    seen.into_inner().unwrap()
}

/// A session as a careful client keeps it: the last tokens, and the key of the next request or of
/// the one whose answer was lost.
struct Chain {
    tokens: Tokens,
    key: String,
}

impl Chain {
    fn of(tokens: Tokens) -> Self {
        Self { tokens, key: new_key() }
    }

    /// One rotation; false when no answer came.
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
        // Exactly one more may be under way.
        assert!(
            (acknowledged..=acknowledged + 1).contains(&stored),
            "generation {acknowledged} was acknowledged, and {stored} is stored"
        );
        assert!(self.refresh(service).await, "the service answers after its restart");
        service.me(&self.tokens.access).await.unwrap().assert_status(200);
    }
}

/// A login; whoever is told to come again later does.
async fn log_in(service: &Doorward, email: &str) -> reqwest::Result<Tokens> {
    loop {
        let answer = service.log_in(email, PASSWORD).await?;
        if answer.status != 503 {
            return Ok(answer.tokens());
        }
        assert_eq!(answer.body["transient"], true, "{}", answer.text);
    }
}

fn new_key() -> String {
    Uuid::new_v4().to_string()
}

/// What the database holds, read beside the running service: a refresh would heal a generation that was
/// lost.
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
