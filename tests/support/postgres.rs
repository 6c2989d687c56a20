//! A PostgreSQL server for the tests: started from the server's binaries when the first test needs
//! it, stopped and removed when the tests' process ends in any way.

#![expect(clippy::disallowed_methods, reason = "none of these is a setting of Doorward's")]

use std::env;
use std::fs;
use std::io::{self, Write as _};
use std::net::TcpListener;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use diesel::connection::SimpleConnection as _;
use diesel::prelude::*;
use doorward::database::{Database, DatabaseSettings, DatabaseUrl};
use doorward::secret::Secret;
use rustix::process::{Pid, Signal, kill_process};

/// Whether the services of this run use PostgreSQL: always in `tests/nodes`, and in `tests/api` if
/// `tests/postgres.rs` selects it.
pub fn on_postgres() -> bool {
    static CHOSEN: OnceLock<bool> = OnceLock::new();
    *CHOSEN.get_or_init(|| match env::var("DOORWARD_TEST_DATABASE").as_deref() {
        Ok("postgres") => true,
        Ok(other) => panic!("DOORWARD_TEST_DATABASE is `{other}`: only `postgres` is known"),
        Err(_) => env!("CARGO_CRATE_NAME") == "nodes",
    })
}

/// Far longer than a server takes to start, on any machine.
const STARTS: usize = 600;
const PAUSE: Duration = Duration::from_millis(50);

/// The template of all other databases: migrated and empty.
const TEMPLATE: &str = "doorward_template";

/// A running server.
pub struct Cluster {
    pub port: u16,
    directory: PathBuf,
    settings: Vec<String>,
    server: Option<Child>,
    /// Told the server's process; stops it when this process ends.
    guard: Child,
}

impl Cluster {
    /// The server that all tests of this process share, each with its own databases.
    pub fn shared() -> &'static Self {
        static SHARED: OnceLock<Cluster> = OnceLock::new();
        SHARED.get_or_init(|| {
            let cluster = Self::start(&["fsync=off", "full_page_writes=off"]);
            cluster.query("postgres", &format!("CREATE DATABASE {TEMPLATE}"));
            let url = Secret::new(cluster.url(TEMPLATE));
            let settings = DatabaseSettings {
                url: DatabaseUrl::parse(&url).unwrap(),
                pool_size: 1,
                statement_timeout: Duration::from_secs(10),
                migrate: true,
            };
            drop(Database::open(&settings).unwrap());
            cluster
        })
    }

    /// A server with these settings, each in the form `name=value`. It stops when this is dropped.
    pub fn start(settings: &[&str]) -> Self {
        let cluster = Self::new();
        let initdb = ["-D", "data", "-U", "doorward", "-A", "trust", "-E", "UTF8", "--no-sync"];
        cluster.program("initdb", &initdb);
        cluster.serving(settings)
    }

    pub(crate) fn new() -> Self {
        let directory = env::temp_dir().join(format!("doorward-test-{}", uuid::Uuid::new_v4()));
        fs::create_dir(&directory).unwrap();
        if let Some((user, group)) = server_user() {
            std::os::unix::fs::chown(&directory, Some(user), Some(group)).unwrap();
        }
        // The shell waits for the end of its input, which is this process's end.
        let guard = "while read -r pid; do server=$pid; done; \
                     kill -INT $server; while kill -0 $server; do sleep 0.05; done; rm -rf \"$PWD\"";
        let mut shell = as_server(Command::new("sh"), &directory);
        shell.args(["-c", guard]).stdin(Stdio::piped()).stderr(Stdio::null());
        // A Ctrl-C at the terminal is for the tests; the server outlives them briefly.
        let guard = shell.process_group(0).spawn().unwrap();
        Self { port: free_port(), directory, settings: Vec::new(), server: None, guard }
    }

    pub(crate) fn program(&self, name: &str, arguments: &[&str]) {
        let mut command = as_server(Command::new(binaries().join(name)), &self.directory);
        let done = command.args(arguments).output().unwrap();
        assert!(done.status.success(), "{name}: {}", String::from_utf8_lossy(&done.stderr));
    }

    pub(crate) fn serving(mut self, settings: &[&str]) -> Self {
        let fixed = [
            String::from("listen_addresses=127.0.0.1"),
            String::from("max_connections=1000"),
            format!("port={}", self.port),
            format!("unix_socket_directories={}", self.directory.display()),
        ];
        self.settings = fixed.into_iter().chain(settings.iter().map(ToString::to_string)).collect();
        self.start_again();
        self
    }

    /// Starts the stopped server on the same port.
    pub fn start_again(&mut self) {
        let log = self.directory.join("log");
        let log = fs::OpenOptions::new().append(true).create(true).open(log).unwrap();
        let mut server = as_server(Command::new(binaries().join("postgres")), &self.directory);
        server.args(["-D", "data"]).args(self.settings.iter().flat_map(|s| ["-c", s]));
        server.stdout(log.try_clone().unwrap()).stderr(log).process_group(0);
        let server = self.server.insert(server.spawn().unwrap());
        let pid = server.id().to_string();
        self.tell_guard(&pid);
        let started = (0..STARTS).any(|_| {
            std::thread::sleep(PAUSE);
            PgConnection::establish(&self.url("postgres")).is_ok()
        });
        let log = self.directory.join("log");
        assert!(started, "PostgreSQL does not start: {}", fs::read_to_string(log).unwrap());
    }

    pub(crate) fn end(&mut self, signal: Signal) {
        if let Some(mut server) = self.server.take() {
            let _ = kill_process(Pid::from_child(&server), signal);
            let _ = server.wait();
            self.tell_guard("");
        }
    }

    fn tell_guard(&mut self, pid: &str) {
        let guard = self.guard.stdin.as_mut().unwrap();
        guard.write_all(format!("{pid}\n").as_bytes()).unwrap();
    }

    pub fn url(&self, database: &str) -> String {
        format!("postgres://doorward@127.0.0.1:{}/{database}", self.port)
    }

    /// A new database with empty Doorward tables.
    pub fn database(&self) -> String {
        self.copy_of(TEMPLATE)
    }

    /// A new, empty database.
    pub fn empty_database(&self) -> String {
        self.copy_of("template1")
    }

    fn copy_of(&self, template: &str) -> String {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let name = format!("test_{}", COUNT.fetch_add(1, Ordering::Relaxed));
        self.query("postgres", &format!("CREATE DATABASE {name} TEMPLATE {template}"));
        self.url(&name)
    }

    /// Runs a statement as the administrator.
    #[track_caller]
    pub fn query(&self, database: &str, statement: &str) {
        let mut connection = PgConnection::establish(&self.url(database)).unwrap();
        connection.batch_execute(statement).unwrap();
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.end(Signal::INT);
        drop(self.guard.stdin.take());
        let _ = self.guard.wait();
    }
}

/// A number that a variable may set: a count or a duration in seconds.
pub fn number_of(variable: &str) -> Option<u64> {
    Some(env::var(variable).ok()?.parse().expect("a number"))
}

/// The directory of the server's programs. Without them the tests that need them are skipped with a
/// notice, or, if that is not allowed (`CI` is set), fail.
pub fn binaries() -> &'static Path {
    static FOUND: OnceLock<Option<PathBuf>> = OnceLock::new();
    let found = FOUND.get_or_init(|| {
        let on_path = env::var_os("PATH");
        let on_path = on_path.iter().flat_map(env::split_paths).collect::<Vec<_>>();
        let mut debian: Vec<(u32, PathBuf)> = fs::read_dir("/usr/lib/postgresql")
            .into_iter()
            .flatten()
            .filter_map(|version| {
                let version = version.ok()?;
                Some((version.file_name().to_str()?.parse().ok()?, version.path().join("bin")))
            })
            .collect();
        debian.sort();
        let newest_first = debian.into_iter().rev().map(|(_, path)| path);
        newest_first.chain(on_path).find(|path| path.join("initdb").is_file())
    });
    found.as_deref().unwrap_or_else(|| {
        let _ = io::stderr().write_all(
            b"\n*** No PostgreSQL server was found (initdb): HALF OF THE SUITE IS SKIPPED.\n*** \
             Debian's package `postgresql` has it; it does not have to be running.\n\n",
        );
        // It must not look as if it had passed.
        std::process::exit(i32::from(env::var_os("CI").is_some()))
    })
}

/// PostgreSQL refuses to run as root, and then runs as `postgres`.
fn as_server(mut command: Command, directory: &Path) -> Command {
    command.current_dir(directory).env_clear().stdin(Stdio::null());
    if let Some(path) = env::var_os("PATH") {
        command.env("PATH", path);
    }
    if let Some((user, group)) = server_user() {
        command.uid(user).gid(group);
    }
    command
}

/// The user and group to run as, when this process is root.
fn server_user() -> Option<(u32, u32)> {
    let is_root = rustix::process::getuid().is_root();
    let users = fs::read_to_string("/etc/passwd").unwrap_or_default();
    let postgres = users.lines().find(|line| line.starts_with("postgres:"));
    let fields = postgres.map(|line| line.split(':').collect::<Vec<_>>());
    let ids = fields.and_then(|fields| Some((fields[2].parse().ok()?, fields[3].parse().ok()?)));
    assert!(!is_root || ids.is_some(), "root has no user postgres to run PostgreSQL as");
    ids.filter(|_| is_root)
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// The number of statements in this database that wait for a lock.
pub fn waiting(url: &str) -> i64 {
    let mut connection = PgConnection::establish(url).unwrap();
    diesel::sql_query(
        "SELECT count(*) AS waiting FROM pg_stat_activity \
         WHERE datname = current_database() AND wait_event_type = 'Lock'",
    )
    .get_result::<Waiting>(&mut connection)
    .unwrap()
    .waiting
}

#[derive(QueryableByName)]
struct Waiting {
    #[diesel(sql_type = diesel::sql_types::BigInt)]
    waiting: i64,
}
