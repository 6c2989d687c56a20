//! Database checks: existence, schema, signing keys, corruption, durability settings and clock.

use std::collections::BTreeMap;
use std::time::Duration;

use super::Doctor;
use crate::app::settings;
use crate::cli::db::operations;
use crate::cli::{AdminError, block_on};
use crate::clock::{Clock, Timestamp};
use crate::config::MasterSecrets;
use crate::database::{self, CONNECTIONS_OUTSIDE_POOL, Database, DatabaseUrl, Inspected};
use crate::keys::admin::KeyAdmin;
use crate::revocations::MAX_CLOCK_SKEW;

/// The oldest supported PostgreSQL, in the form of `server_version_num`.
const MIN_SERVER_VERSION: u32 = 130_000;

/// How late the maintenance of a signing key may be: a node does it once a minute.
const MAX_KEY_DELAY: Duration = Duration::from_secs(24 * 60 * 60);

/// PostgreSQL settings that must be on, and the damage that threatens otherwise.
const DURABILITY_SETTINGS: [(&str, &str); 3] = [
    ("fsync", "a power cut can destroy the whole database"),
    ("full_page_writes", "a power cut can leave pages half written"),
    ("synchronous_commit", "a crash loses logouts and rotations that were acknowledged"),
];

impl Doctor<'_> {
    pub(super) fn database(&mut self) {
        match self.config.database() {
            Ok(ref url @ DatabaseUrl::Sqlite(ref file))
                if file.try_exists().is_ok_and(|exists| !exists) =>
            {
                let problem = format!(
                    "there is none at {}; check the path, or start the service or run `doorward db \
                     migrate`, which create it",
                    url.named()
                );
                return self.report("database", problem);
            }
            Ok(ref url @ DatabaseUrl::Sqlite(ref file)) => {
                self.privacy("database", file, "600");
                if self.config.refuse_writable_data_dir().is_ok()
                    && let Err(error) = url.refuse_replaceable()
                {
                    self.report("database", error.to_string());
                }
            }
            Ok(url) if url.is_exposed() => {
                let problem = "the connection is unencrypted; build with `--features postgres-tls` \
                               and set sslmode=verify-full in its URL";
                self.report("database_url", problem);
            }
            _ => {}
        }
        let secrets = self.config.master_secret();
        // The data directory has its own finding.
        let is_reported = self.config.refuse_writable_data_dir().is_err();
        if let Err(error) = secrets.as_ref()
            && !is_reported
        {
            self.report("secret", error.to_string());
        }
        match operations::check(self.config) {
            Err(error) => self.report("database", error.to_string()),
            Ok(schema) if !schema.is_good() => {
                let pending = schema.pending.iter().map(|name| format!("{name} is pending"));
                let newer = schema.newer.iter().map(|name| format!("{name} is unknown"));
                let other = schema.drift.into_iter().chain(schema.not_compared);
                let lines: Vec<String> = pending.chain(newer).chain(other).collect();
                let problem = format!(
                    "the schema has problems ({}); see `doorward db check`",
                    lines.join(", ")
                );
                self.report("database", problem);
            }
            Ok(_) => {
                if let Ok(secrets) = secrets
                    && let Err(problem) = self.keys(&secrets)
                {
                    self.report("keys", problem);
                }
                self.contents();
            }
        }
    }

    /// Whether the secret decrypts the signing keys, and whether they are maintained.
    fn keys(&self, secrets: &MasterSecrets) -> Result<(), String> {
        let settings = settings::one_connection(self.config).map_err(|error| error.to_string())?;
        let seal = settings::seal(secrets);
        let keys = block_on(async {
            let db = Database::open_read_only(&settings)?;
            let policy = settings::key_policy(self.config);
            let admin = KeyAdmin::open(db, Clock::system(), seal, policy).await?;
            Ok::<_, AdminError>(admin.list().await?)
        });
        let keys = keys.map_err(|error| error.to_string())?;
        for key in keys {
            let (kid, state, made) = (key.kid, key.state, key.created_at);
            if made > self.now.plus(MAX_KEY_DELAY) {
                return Err(format!(
                    "{kid} was created in the future ({made}): this clock is wrong, or was then; \
                     let NTP set it"
                ));
            }
            if let Some(until) = key.until.filter(|until| until.plus(MAX_KEY_DELAY) < self.now) {
                return Err(format!(
                    "{kid} is still {state}, which should have ended at {until}; start a service, \
                     which maintains its keys, or see its log"
                ));
            }
        }
        Ok(())
    }

    /// The integrity of the file, or the server's settings and clock.
    fn contents(&mut self) {
        let before = Clock::system().now();
        match self.config.database().map(|url| database::inspect(&url)) {
            Ok(Ok(Inspected::File { faults, ahead })) => self.file(&faults, ahead),
            Ok(Ok(Inspected::Server { settings, connection_limit, clock })) => {
                self.server(&settings, connection_limit);
                self.clock(before, clock);
            }
            Ok(Err(error)) => self.report("database", error.to_string()),
            Err(_) => {}
        }
    }

    fn file(&mut self, faults: &[String], ahead: Option<Timestamp>) {
        if !faults.is_empty() {
            let problem = format!(
                "it is damaged ({}); restore a backup, and check the disk",
                faults.join(", ")
            );
            self.report("database", problem);
        }
        // A key that was created in the future is reported already.
        let is_reported = self.found.iter().any(|it| it.check == "keys");
        if let Some(newest) = ahead.filter(|_| !is_reported) {
            let problem = format!(
                "the newest moment in the database is {newest}, ahead of this machine's clock ({}); set \
                 the clock if it is wrong",
                Clock::system().now()
            );
            self.report("clock", problem);
        }
    }

    fn server(&mut self, settings: &BTreeMap<String, String>, limit: Option<u32>) {
        let text = |name: &str| settings.get(name).map(String::as_str);
        let number = |name: &str| text(name).and_then(|text| text.parse::<u32>().ok());
        if number("server_version_num").is_some_and(|version| version < MIN_SERVER_VERSION) {
            let version = text("server_version").unwrap_or_default();
            self.report("postgresql", format!("it is version {version}; use 13 or later"));
        }
        for (name, loss) in DURABILITY_SETTINGS {
            if text(name) == Some("off") {
                self.report("postgresql", format!("{name} is off: {loss}; set it to on"));
            }
        }
        let reserved = ["superuser_reserved_connections", "reserved_connections"];
        let reserved: u32 = reserved.iter().filter_map(|name| number(name)).sum();
        let nodes = self.questions.nodes;
        let wanted =
            nodes.saturating_mul(self.config.database.pool_size + CONNECTIONS_OUTSIDE_POOL);
        let there = number("max_connections").map(|all| all.saturating_sub(reserved));
        if let Some(there) = there.filter(|there| wanted > *there) {
            let problem = format!(
                "it has room for {there} connections (max_connections), and {nodes} nodes may open \
                 {wanted}; lower database.pool_size, or raise max_connections"
            );
            self.report("postgresql", problem);
        }
        if let Some(limit) = limit.filter(|limit| wanted > *limit) {
            let problem = format!(
                "this role or database may open {limit} connections (CONNECTION LIMIT), and \
                 {nodes} nodes need {wanted}; lower database.pool_size, or raise \
                 the limit"
            );
            self.report("postgresql", problem);
        }
    }

    /// The database's clock was read between `before` and `read`.
    fn clock(&mut self, before: Timestamp, read: Timestamp) {
        let apart = before.since(read).max(read.since(Clock::system().now()));
        if apart > MAX_CLOCK_SKEW {
            let problem = format!(
                "it is {} s away from the database's, and no node is ready then; let NTP set both",
                apart.as_secs()
            );
            self.report("clock", problem);
        }
    }
}
