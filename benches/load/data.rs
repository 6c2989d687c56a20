//! A SQLite database with as many users as a measurement needs, each with a session, written by one
//! statement per table. All have one password and one family secret, so the token of any session
//! can be computed.
//!
//! It is in the state of a service that has run for a while: on disk, and every session refreshed
//! once, because the first refresh makes its row longer.

use std::fmt::Write as _;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::Duration;

use diesel::connection::SimpleConnection as _;
use diesel::prelude::*;
use diesel::sql_types::BigInt;
use doorward::clock::Clock;
use doorward::database::{DatabaseUrl, migrate};
use doorward::passwords::{HashCost, Hasher, HasherSettings, Password};
use doorward::refresh_token::{FamilySecret, RefreshToken, TagKeys};
use doorward::secret::{MasterSecret, Purpose, Secret};
use tempfile::TempDir;
use uuid::Uuid;

pub const PASSWORD: &str = "seven otters juggle lanterns";

const HOUR: Duration = Duration::from_secs(60 * 60);

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// How often each session has been refreshed.
const REFRESHED: u32 = 1;

/// A data directory.
pub struct Data {
    directory: TempDir,
    secret: String,
    tags: TagKeys,
    family: FamilySecret,
    pub users: u32,
}

impl Data {
    /// A database with this many users and sessions.
    pub fn of(users: u32) -> Self {
        let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let secret = MasterSecret::generate();
        let tags = TagKeys::new(secret.derive(Purpose::RefreshTokenTag), None);
        let (secret, family) = (secret.to_text().to_string(), FamilySecret::generate());
        let data = Self { directory, secret, tags, family, users };
        let url = Secret::new(format!("sqlite://{}", data.database().display()));
        migrate(&DatabaseUrl::parse(&url).unwrap()).unwrap();
        if users > 0 {
            data.fill();
        }
        data
    }

    /// Ids begin with a time, like real ones.
    fn fill(&self) {
        let Self { users, family, .. } = self;
        let now = Clock::system().now();
        let (expires_at, ends_at) =
            (now.plus(30 * DAY).as_micros(), now.plus(90 * DAY).as_micros());
        let (refreshed_at, now) = (now.minus(HOUR).as_micros(), now.as_micros());
        let hash = hash();
        let mut family_hash = String::new();
        for byte in family.digest() {
            let _ = write!(family_hash, "{byte:02x}");
        }
        let numbers = numbers(*users);
        let id = |tail: &str| {
            format!("printf('0190%04x-%04x-7000-{tail}-%012x', n / 65536, n % 65536, n)")
        };
        let (user, session) = (id("8000"), id("9000"));
        let rows = format!(
            "PRAGMA synchronous = OFF;
             BEGIN;
             INSERT INTO users
                 (id, email, email_key, password_hash, created_at, password_changed_at)
             {numbers} SELECT {user}, printf('user%d@example.com', n),
                 printf('user%d@example.com', n), '{hash}', {now}, {now} FROM numbers;
             INSERT INTO sessions
                 (id, user_id, client_id, family_hash, generation, rotated_at, retry_keys,
                  created_at, last_seen_at, expires_at, ends_at, address)
             {numbers} SELECT {session}, {user}, 'doorward', x'{family_hash}', {REFRESHED},
                 {refreshed_at}, x'', {refreshed_at}, {refreshed_at}, {expires_at}, {ends_at},
                 '127.0.0.1' FROM numbers;
             COMMIT;"
        );
        self.connect().batch_execute(&rows).unwrap();
        File::open(self.database()).unwrap().sync_all().unwrap();
    }

    /// Adds this many revocations, with unordered ids, which expire after `life`.
    pub fn revoke(&self, count: u32, life: Duration) {
        let (now, numbers) = (Clock::system().now(), numbers(count));
        let (expires_at, now) = (now.plus(life).as_micros(), now.as_micros());
        let rows = format!(
            "PRAGMA synchronous = OFF;
             INSERT INTO blocklist (id, expires_at, revoked_at)
             {numbers} SELECT printf('%08x-%04x-7000-a000-%012x', n * 2654435761 % 4294967296,
                 n * 40503 % 65536, n), {expires_at} + n, {now} FROM numbers;"
        );
        self.connect().batch_execute(&rows).unwrap();
    }

    /// Adds this many messages that wait to be sent.
    pub fn wait_for_mail(&self, count: u32) {
        let (now, numbers) = (Clock::system().now(), numbers(count));
        let (expires_at, now) = (now.plus(DAY).as_micros(), now.as_micros());
        let rows = format!(
            "PRAGMA synchronous = OFF;
             INSERT INTO mail_requests
                 (id, purpose, message, address, address_key, created_at, next_send_at, expires_at)
             {numbers} SELECT printf('0190%04x-%04x-7000-b000-%012x', n / 65536, n % 65536, n),
                 'registration', 'registration', printf('new%d@example.com', n),
                 printf('new%d@example.com', n), {now}, {now}, {expires_at} FROM numbers;"
        );
        self.connect().batch_execute(&rows).unwrap();
    }

    /// The number of revocations.
    pub fn revocations(&self) -> i64 {
        number(&mut self.connect(), "SELECT count(*) AS n FROM blocklist")
    }

    pub fn connect(&self) -> SqliteConnection {
        SqliteConnection::establish(&self.database().to_string_lossy()).unwrap()
    }

    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    fn database(&self) -> PathBuf {
        self.directory().join("doorward.db")
    }

    pub fn secret(&self) -> &str {
        &self.secret
    }

    pub fn email(&self, number: u32) -> String {
        format!("user{}@example.com", number % self.users)
    }

    /// The token of a session.
    pub fn refresh_token(&self, number: u32) -> String {
        self.refresh_token_after(number, 0)
    }

    /// Its token after this many more refreshes.
    pub fn refresh_token_after(&self, number: u32, refreshes: u32) -> String {
        let n = number % self.users;
        let id = format!("0190{:04x}-{:04x}-7000-9000-{n:012x}", n >> 16, n & 0xffff);
        let session = Uuid::parse_str(&id).unwrap();
        let first = RefreshToken::first(session, self.family.clone());
        self.tags.encode(&first.at_generation(REFRESHED + refreshes))
    }

    /// Rows in all tables, and bytes of the file, of a stopped service.
    pub fn size(&self) -> (i64, i64) {
        let mut c = self.connect();
        c.batch_execute("PRAGMA wal_checkpoint(TRUNCATE)").unwrap();
        let tables = ["users", "sessions", "blocklist", "signing_keys", "clients"];
        let rows =
            tables.map(|table| number(&mut c, &format!("SELECT count(*) AS n FROM {table}")));
        let pages = number(&mut c, "SELECT page_count AS n FROM pragma_page_count");
        (rows.iter().sum(), pages * number(&mut c, "SELECT page_size AS n FROM pragma_page_size"))
    }
}

/// A table `numbers` of the numbers from 0 on, for the statement that follows.
fn numbers(count: u32) -> String {
    format!(
        "WITH RECURSIVE numbers (n) AS \
         (SELECT 0 UNION ALL SELECT n + 1 FROM numbers LIMIT {count})"
    )
}

#[derive(QueryableByName)]
struct Number {
    #[diesel(sql_type = BigInt)]
    n: i64,
}

fn number(c: &mut SqliteConnection, query: &str) -> i64 {
    diesel::sql_query(query).get_result::<Number>(c).unwrap().n
}

/// The password's hash, at the default cost.
fn hash() -> String {
    let (cost, deadline) = (HashCost::default(), Duration::from_secs(10));
    let settings = HasherSettings { cost, threads: 1, queue: 1, deadline };
    let hasher = Hasher::start(settings, Clock::system()).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let hash = runtime.block_on(hasher.hash(Password::parse(PASSWORD).unwrap())).unwrap();
    hash.as_str().to_owned()
}
