//! Starting and stopping the real binary: what it refuses, how fast it is, and what a stop answers.

use std::fs::{self, Permissions};
use std::net::TcpListener;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use diesel::connection::SimpleConnection as _;
use diesel::prelude::*;
use doorward::clock::Clock;
use doorward::database::schema::signing_keys;
use doorward::secret::MasterSecret;
use futures_util::future::join_all;
use rustix::process::Signal;
use serde_json::json;
use tempfile::TempDir;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::support::binary::Doorward;
use crate::support::binary::{
    as_owner_of, data_of, doorward, give, home, printed, program, run, unlimited,
};
use crate::support::client::PASSWORD;

const EMAIL: &str = "ada@example.com";

#[test]
fn a_weak_secret_is_refused() {
    let home = home();
    for weak in ["AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=", &"0123456789abcdef".repeat(4)] {
        let line = refused(doorward(home.path()).env("DOORWARD_SECRET", weak));
        assert_says(&line, &["secret", "too regular to be random", "openssl rand -base64 32"]);
        assert!(!line.contains(weak), "a secret in the log: {line}");
    }
    assert_untouched(home.path());
}

#[test]
fn a_malformed_secret_is_refused() {
    let home = home();
    let line = refused(doorward(home.path()).env("DOORWARD_SECRET", "hunter2"));
    assert_says(&line, &["secret", "32 random bytes", "openssl rand -base64 32"]);
    assert!(!line.contains("hunter2"), "a secret in the log: {line}");
    assert_untouched(home.path());
}

#[test]
fn a_generated_secret_is_valid_and_unique() {
    let home = home();
    let drawn = [(); 2].map(|()| printed(doorward(home.path()).args(["secret", "new"])));
    assert_ne!(drawn[0], drawn[1]);
    assert_untouched(home.path());
    let file = home.path().join("drawn");
    fs::write(&file, &drawn[0]).unwrap();
    fs::set_permissions(&file, Permissions::from_mode(0o600)).unwrap();
    give(&file, home.path());
    let mut command = doorward(home.path());
    assert!(Doorward::start(command.env("DOORWARD_SECRET_FILE", file)).stop().0.success());
    assert!(!data_of(home.path()).join("secret").exists());
}

#[test]
fn a_missing_secret_file_is_rejected() {
    let home = home();
    let line = refused(doorward(home.path()).env("DOORWARD_SECRET_FILE", "nowhere/secret"));
    assert_says(&line, &["DOORWARD_SECRET_FILE", "nowhere/secret"]);
    assert_untouched(home.path());
}

#[test]
fn a_secret_that_does_not_open_the_stored_keys_is_refused() {
    let home = used();
    let other = MasterSecret::generate().to_text().to_string();
    let before = secrets(home.path());
    let line = refused(doorward(home.path()).env("DOORWARD_SECRET", &other));
    assert_says(&line, &["secret", "does not open the signing keys", "previous_secret"]);
    assert_eq!(secrets(home.path()), before);
    // With the secret that it has it starts as before.
    assert!(Doorward::start(&mut doorward(home.path())).stop().0.success());
}

#[test]
fn a_missing_secret_next_to_a_database_is_an_error_and_no_new_one_is_generated() {
    let home = used();
    let secret = data_of(home.path()).join("secret");
    fs::rename(&secret, home.path().join("backup")).unwrap();
    let line = refused(&mut doorward(home.path()));
    assert_says(&line, &[secret.to_str().unwrap(), "missing", "restore it", "DOORWARD_SECRET"]);
    assert!(!secret.exists());
    fs::rename(home.path().join("backup"), &secret).unwrap();
    assert!(Doorward::start(&mut doorward(home.path())).stop().0.success());
}

#[test]
fn a_secret_that_every_user_can_read_is_refused_and_the_group_may() {
    let home = used();
    let secret = data_of(home.path()).join("secret");
    assert_eq!(mode(&secret), 0o600);
    for open in [0o644, 0o604, 0o602, 0o666] {
        fs::set_permissions(&secret, Permissions::from_mode(open)).unwrap();
        let line = refused(&mut doorward(home.path()));
        assert_says(&line, &[secret.to_str().unwrap(), "every user", "chmod 600", "fsGroup"]);
    }
    // A Kubernetes volume with an fsGroup sets the bits of the group.
    for (folder, group) in [(0o2770, 0o660), (0o2770, 0o640), (0o700, 0o440)] {
        fs::set_permissions(data_of(home.path()), Permissions::from_mode(folder)).unwrap();
        fs::set_permissions(&secret, Permissions::from_mode(group)).unwrap();
        assert!(Doorward::start(&mut doorward(home.path())).stop().0.success(), "{group:o}");
        assert_eq!(mode(&secret), group, "it is left as it was");
    }
}

#[test]
fn created_files_are_private() {
    let home = used();
    let data = data_of(home.path());
    assert_eq!(mode(&data), 0o700);
    for file in fs::read_dir(&data).unwrap() {
        let path = file.unwrap().path();
        assert_eq!(mode(&path), 0o600, "{}", path.display());
    }
}

#[test]
fn a_configuration_that_cannot_be_read_is_refused() {
    let home = home();
    fs::create_dir(home.path().join("folder")).unwrap();
    for path in ["missing.toml", "folder"] {
        let line = refused(doorward(home.path()).args(["--config", path]));
        assert_says(&line, &[path, "cannot be read"]);
        let line = refused(doorward(home.path()).env("DOORWARD_CONFIG", path));
        assert_says(&line, &[path, "cannot be read"]);
    }
    fs::write(home.path().join("doorward.toml"), "listen = \"127.0.0.1:0\"\n[tokens\n").unwrap();
    let line = refused(&mut doorward(home.path()));
    assert_says(&line, &["doorward.toml", "line 2", "correct that line"]);
    assert_untouched(home.path());
}

#[test]
fn an_unknown_setting_is_refused_with_the_nearest_one() {
    let home = home();
    let file = home.path().join("settings.toml");
    fs::write(&file, "[sessions]\nretry_windows = \"30s\"\n").unwrap();
    let line = refused(doorward(home.path()).arg("--config").arg(&file));
    let named = ["sessions.retry_windows", "settings.toml", "nearest is sessions.retry_window"];
    assert_says(&line, &named);
    let line = refused(doorward(home.path()).env("DOORWARD_LISTN", "127.0.0.1:0"));
    assert_says(&line, &["DOORWARD_LISTN", "nearest is DOORWARD_LISTEN"]);
    let line = refused(doorward(home.path()).args(["--set", "tokens.lifetme=5m"]));
    assert_says(&line, &["tokens.lifetme", "--set", "nearest is tokens.lifetime"]);
    assert_untouched(home.path());
}

#[test]
fn a_bad_value_is_refused_with_an_example_or_its_bounds() {
    let home = home();
    for (variable, value, words) in [
        ("DOORWARD_LISTEN", "localhost", &["listen", "DOORWARD_LISTEN", "127.0.0.1:8080"][..]),
        ("DOORWARD_TOKENS__LIFETIME", "soon", &["tokens.lifetime", "soon", "10m"]),
        ("DOORWARD_TOKENS__LIFETIME", "1s", &["tokens.lifetime", "1s", "1m at least"]),
        ("DOORWARD_TOKENS__ALGORITHM", "HS256", &["tokens.algorithm", "ES256, EdDSA or RS256"]),
        ("DOORWARD_PASSWORDS__MEMORY_KIB", "1024", &["passwords.memory_kib", "7168 at least"]),
        ("DOORWARD_DATABASE_URL", "mysql://x/y", &["database_url", "sqlite://", "postgres://"]),
        ("DOORWARD_PUBLIC_URL", "example.com", &["public_url", "https://login.example.com"]),
        ("DOORWARD_LOG__LEVEL", "loud", &["log.level", "loud", "info"]),
    ] {
        assert_says(&refused(doorward(home.path()).env(variable, value)), words);
    }
    assert_untouched(home.path());
}

#[test]
fn postgresql_without_a_secret_is_refused_and_leaves_nothing() {
    let home = home();
    let url = "postgres://doorward:hunter2@127.0.0.1:1/doorward";
    let line = refused(doorward(home.path()).env("DOORWARD_DATABASE_URL", url));
    assert_says(&line, &["secret", "PostgreSQL", "DOORWARD_SECRET_FILE"]);
    let secret = MasterSecret::generate().to_text().to_string();
    let mut command = doorward(home.path());
    let line = refused(command.env("DOORWARD_DATABASE_URL", url).env("DOORWARD_SECRET", secret));
    assert_says(&line, &["cannot open the database"]);
    assert!(!line.contains("hunter2"), "a password in the log: {line}");
}

#[test]
fn a_port_in_use_is_refused_and_leaves_nothing() {
    let home = home();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let line = refused(doorward(home.path()).args(["--listen", &address]));
    assert_says(&line, &[&address, "in use", "--listen"]);
    assert_untouched(home.path());
}

#[test]
fn a_newer_schema_is_refused() {
    let home = used();
    let path = data_of(home.path()).join("doorward.db");
    let mut c = SqliteConnection::establish(path.to_str().unwrap()).unwrap();
    c.batch_execute("INSERT INTO __diesel_schema_migrations (version) VALUES ('29990101000000')")
        .unwrap();
    drop(c);
    let before = secrets(home.path());
    let line = refused(&mut doorward(home.path()));
    assert_says(&line, &["29990101000000", "does not know", "newer"]);
    assert_eq!(secrets(home.path()), before);
}

#[test]
fn a_directory_that_cannot_be_written_is_refused() {
    let home = home();
    fs::write(home.path().join("file"), "").unwrap();
    let line = refused(doorward(home.path()).env("DOORWARD_DATA_DIR", "file/data"));
    assert_says(&line, &["data_dir", "file/data", "cannot be made", "can write to"]);
    // Nobody can forbid the superuser to write.
    if fs::metadata(home.path()).unwrap().uid() != 0 {
        let data = data_of(home.path());
        fs::create_dir(&data).unwrap();
        give(&data, home.path());
        fs::set_permissions(&data, Permissions::from_mode(0o500)).unwrap();
        let line = refused(&mut doorward(home.path()));
        assert_says(&line, &[data.to_str().unwrap(), "ermission denied", "writable"]);
        assert_eq!(fs::read_dir(&data).unwrap().count(), 0);
    }
}

#[test]
fn a_data_file_that_is_not_a_database_is_rejected_and_kept() {
    let home = used();
    let path = data_of(home.path()).join("doorward.db");
    // A log beside it, which a quick stop can leave, would hold the database once more.
    remove_logs(&path);
    let text = "These are somebody's notes, and not a database.\n".repeat(1000);
    fs::write(&path, &text).unwrap();
    let line = refused(&mut doorward(home.path()));
    assert_says(&line, &["doorward.db", "not a database", "that it is a database"]);
    assert_eq!(fs::read_to_string(&path).unwrap(), text);
}

#[test]
fn a_database_of_something_else_is_refused_and_kept() {
    let home = used();
    let path = data_of(home.path()).join("doorward.db");
    fs::remove_file(&path).unwrap();
    remove_logs(&path);
    let mut c = SqliteConnection::establish(path.to_str().unwrap()).unwrap();
    give(&path, home.path());
    c.batch_execute("CREATE TABLE users (name TEXT); INSERT INTO users VALUES ('eve')").unwrap();
    let line = refused(&mut doorward(home.path()));
    assert_says(&line, &["cannot migrate", "users already exists", "Doorward's own"]);
    let tables = "SELECT name FROM sqlite_schema WHERE type = 'table'";
    let tables: Vec<Table> = diesel::sql_query(tables).load(&mut c).unwrap();
    assert_eq!(tables, [Table { name: "users".into() }]);
}

#[tokio::test]
async fn a_start_is_ready_in_less_than_half_a_second_on_a_quiet_machine() {
    let home = home();
    let clock = Clock::system();
    for start in ["the first start", "a later start"] {
        let begun = clock.monotonic();
        let service = Doorward::start(&mut doorward(home.path()));
        service.get("/readyz").send().await.assert_status(200);
        let took = clock.monotonic() - begun;
        println!("{start} is ready after {took:.0?}");
        assert!(took < Duration::from_secs(5), "{start}: {took:?}");
        assert!(service.stop().0.success());
    }
}

/// Closing any descriptor of a file drops all of a process's locks on it (POSIX, fcntl). Without
/// them, whoever reads the database meanwhile takes itself for the last one, removes the
/// write-ahead log, and what is committed afterwards is gone.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_running_service_holds_its_lock_on_the_database() {
    let home = home();
    let service = Doorward::start(&mut doorward(home.path()));
    service.get("/readyz").send().await.assert_status(200);
    let file = fs::metadata(data_of(home.path()).join("doorward.db")).unwrap();
    let locks = fs::read_to_string("/proc/locks").unwrap();
    let own = format!(":{} ", std::os::unix::fs::MetadataExt::ino(&file));
    assert!(locks.contains(&own), "no lock on inode {own}in\n{locks}");
    assert!(service.stop().0.success());
}

#[test]
fn the_settings_that_are_printed_load_back() {
    let home = home();
    let print = |command: &mut Command| {
        let output = command.arg("config").output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    let own = [
        ("DOORWARD_PUBLIC_URL", "https://login.example.com"),
        ("DOORWARD_TOKENS__LIFETIME", "5m"),
        ("DOORWARD_TRUSTED_PROXIES", "10.0.0.0/8,192.0.2.1"),
        ("DOORWARD_LOG__FORMAT", "json"),
    ];
    for variables in [&[][..], &own[..]] {
        let printed = print(doorward(home.path()).envs(variables.iter().copied()));
        let file = home.path().join("printed.toml");
        fs::write(&file, &printed).unwrap();
        let mut bare = doorward(home.path());
        bare.env_remove("DOORWARD_DATA_DIR").env_remove("DOORWARD_LISTEN");
        let again = print(bare.arg("--config").arg(&file));
        assert_eq!(again.parse::<toml::Table>(), printed.parse::<toml::Table>());
        // It is the sample of a file to start with, too.
        let mut command = Command::new(program());
        as_owner_of(home.path(), &mut command);
        command.env_clear().current_dir(home.path()).arg("--config").arg(&file);
        command.env("DOORWARD_LOG__FORMAT", "text");
        assert!(Doorward::start(&mut command).stop().0.success());
    }
}

#[test]
fn printed_settings_hide_their_secrets() {
    let home = home();
    let secret = MasterSecret::generate().to_text().to_string();
    let mut command = doorward(home.path());
    command.env("DOORWARD_SECRET", &secret).env("DOORWARD_DATABASE_URL", "postgres://u:pw@h/d");
    let output = command.arg("config").output().unwrap();
    let printed = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success());
    assert!(!printed.contains(&secret) && !printed.contains("u:pw"), "{printed}");
    assert_untouched(home.path());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sigterm_under_load_leaves_no_accepted_request_unanswered() {
    stops_without_losing_a_request(Signal::TERM).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sigint_under_load_leaves_no_accepted_request_unanswered() {
    stops_without_losing_a_request(Signal::INT).await;
}

async fn stops_without_losing_a_request(signal: Signal) {
    let home = home();
    let service = Doorward::start(&mut unlimited(home.path()));
    service.register(EMAIL, PASSWORD).await.unwrap().assert_status(201);
    let tokens = service.log_in(EMAIL, PASSWORD).await.unwrap().tokens();
    let address = service.url.strip_prefix("http://").unwrap().to_owned();
    let answered = AtomicUsize::new(0);
    let stopped = AtomicBool::new(false);
    // Whoever could connect must be answered, until the port is closed.
    let client = async |n: usize| {
        let (method, path, body) = match n % 4 {
            0 => ("GET", "/me", String::new()),
            1 => ("POST", "/refresh", json!({ "refresh_token": tokens.refresh }).to_string()),
            2 => ("GET", "/sessions", String::new()),
            _ => ("POST", "/login", json!({ "email": EMAIL, "password": PASSWORD }).to_string()),
        };
        let keeps = n % 8 < 4;
        while let Ok(mut stream) = TcpStream::connect(&address).await {
            loop {
                let request = request(method, path, &tokens.access, &body, keeps);
                stream.write_all(request.as_bytes()).await.expect("an open connection takes it");
                let answer = read_answer(&mut stream).await;
                assert!(
                    ["HTTP/1.1 200", "HTTP/1.1 503"].iter().any(|good| answer.starts_with(good)),
                    "{method} {path}, after {} answers: {answer:?}",
                    answered.load(Ordering::SeqCst)
                );
                // A stop gives up nobody who waits for a hash either: 503 is for a full queue.
                if answered.fetch_add(1, Ordering::SeqCst) == 150 {
                    stopped.store(true, Ordering::SeqCst);
                    service.signal(signal);
                }
                if !keeps || answer.to_ascii_lowercase().contains("\r\nconnection: close") {
                    break;
                }
            }
        }
    };
    join_all((0..24).map(client)).await;
    assert!(stopped.into_inner());
    let (status, _, log) = service.ended();
    assert_eq!(status.code(), Some(0), "{log}");
    assert!(!log.contains("ERROR") && !log.contains("panicked"), "{log}");
    let again = Doorward::start(&mut unlimited(home.path()));
    again.me(&tokens.access).await.unwrap().assert_status(200);
}

#[tokio::test]
async fn a_second_instance_starts_on_the_same_data_while_the_first_drains() {
    let home = home();
    let first = Doorward::start(&mut unlimited(home.path()));
    first.register(EMAIL, PASSWORD).await.unwrap().assert_status(201);
    let tokens = first.log_in(EMAIL, PASSWORD).await.unwrap().tokens();
    let other = first.log_in(EMAIL, PASSWORD).await.unwrap().tokens();
    let address = first.url.strip_prefix("http://").unwrap().to_owned();

    // A request that is half there keeps the first one from ending.
    let body = json!({ "refresh_token": tokens.refresh }).to_string();
    let whole = request("POST", "/refresh", &tokens.access, &body, true);
    let (half, rest) = whole.split_at(whole.len() - 10);
    let mut slow = TcpStream::connect(&address).await.unwrap();
    slow.write_all(half.as_bytes()).await.unwrap();
    first.me(&tokens.access).await.unwrap().assert_status(200);
    first.signal(Signal::TERM);

    // On the same port, as soon as the first has let go of it.
    let mut command = unlimited(home.path());
    command.env("DOORWARD_LISTEN", &address);
    let second = loop {
        if TcpListener::bind(&address).is_ok() {
            break Doorward::start(&mut command);
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    second.me(&tokens.access).await.unwrap().assert_status(200);
    second.log_out(&other.access).await.unwrap().assert_status(204);
    slow.write_all(rest.as_bytes()).await.unwrap();
    let answer = read_answer(&mut slow).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer:?}");
    let (status, _, log) = first.ended();
    assert_eq!(status.code(), Some(0), "{log}");

    // What the first answered last counts at the second.
    let key = "the-same-key-again-1";
    assert_eq!(second.refresh(&tokens.refresh, key).await.unwrap().tokens().generation, 1);
}

#[tokio::test]
async fn a_logout_at_one_instance_applies_at_another_on_the_same_data() {
    let home = home();
    let one = Doorward::start(&mut unlimited(home.path()));
    let other = Doorward::start(&mut unlimited(home.path()));
    one.register(EMAIL, PASSWORD).await.unwrap().assert_status(201);
    let tokens = one.log_in(EMAIL, PASSWORD).await.unwrap().tokens();
    other.me(&tokens.access).await.unwrap().assert_status(200);
    let clock = Clock::system();
    one.log_out(&tokens.access).await.unwrap().assert_status(204);
    let ended = clock.monotonic();
    while other.me(&tokens.access).await.unwrap().status == 200 {
        assert!(clock.monotonic() - ended < Duration::from_secs(1), "a second has passed");
    }
    println!("the other instance refuses after {:.0?}", clock.monotonic() - ended);
    other.me(&tokens.access).await.unwrap().assert_problem(401, "token_revoked");
}

#[tokio::test]
async fn an_untrusted_proxy_is_warned_about_once() {
    let home = home();
    let forwarded = async |service: &Doorward| {
        for address in ["198.51.100.7", "198.51.100.8"] {
            let call = service.get("/healthz").header("x-forwarded-for", address);
            call.send().await.assert_status(200);
        }
    };
    let service = Doorward::start(&mut doorward(home.path()));
    forwarded(&service).await;
    let log = service.stop().2;
    assert_eq!(log.matches("forwarded_for_ignored").count(), 1, "{log}");
    assert!(log.contains("peer=127.0.0.1") && log.contains("trusted_proxies"), "{log}");
    let mut command = doorward(home.path());
    let service = Doorward::start(command.env("DOORWARD_TRUSTED_PROXIES", "127.0.0.1"));
    forwarded(&service).await;
    let log = service.stop().2;
    assert!(!log.contains("forwarded_for_ignored"), "{log}");
    assert!(log.contains("client=198.51.100.8"), "{log}");
}

#[derive(QueryableByName, Debug, PartialEq, Eq)]
struct Table {
    #[diesel(sql_type = diesel::sql_types::Text)]
    name: String,
}

/// A data directory in which the service has run before.
fn used() -> TempDir {
    let home = home();
    assert!(Doorward::start(&mut doorward(home.path())).stop().0.success());
    home
}

/// The one line with which it refuses to start.
#[track_caller]
fn refused(command: &mut Command) -> String {
    let refusal = run(command);
    assert!(refusal.status.code().is_some_and(|code| code != 0), "{refusal:?}");
    let lines: Vec<&str> = refusal.stderr.lines().collect();
    let [line] = lines[..] else { panic!("one line, not {}: {}", lines.len(), refusal.stderr) };
    assert!(line.starts_with("doorward: "), "{line}");
    line.to_owned()
}

#[track_caller]
fn assert_says(line: &str, words: &[&str]) {
    for word in words {
        assert!(line.contains(word), "it does not say `{word}`: {line}");
    }
}

#[track_caller]
fn assert_untouched(home: &Path) {
    assert!(!data_of(home).exists(), "a start that was refused leaves nothing");
}

/// The secret and the signing keys of a data directory.
fn secrets(home: &Path) -> (String, Vec<(String, Vec<u8>)>) {
    let data = data_of(home);
    let mut c = SqliteConnection::establish(data.join("doorward.db").to_str().unwrap()).unwrap();
    let keys = signing_keys::table.select((signing_keys::kid, signing_keys::sealed));
    (fs::read_to_string(data.join("secret")).unwrap(), keys.load(&mut c).unwrap())
}

fn remove_logs(database: &Path) {
    for log in ["db-wal", "db-shm"] {
        let _ = fs::remove_file(database.with_extension(log));
    }
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

pub fn request(method: &str, path: &str, bearer: &str, body: &str, keeps: bool) -> String {
    let (length, connection) = (body.len(), if keeps { "keep-alive" } else { "close" });
    format!(
        "{method} {path} HTTP/1.1\r\nhost: doorward.test\r\nauthorization: Bearer {bearer}\r\n\
         connection: {connection}\r\ncontent-type: application/json\r\n\
         content-length: {length}\r\n\r\n{body}"
    )
}

/// One whole answer; less when the connection ends before.
pub async fn read_answer(stream: &mut (impl AsyncRead + Unpin)) -> String {
    let mut answer = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        let text = String::from_utf8_lossy(&answer).to_ascii_lowercase();
        if let Some((head, body)) = text.split_once("\r\n\r\n")
            && let Some((_, length)) = head.split_once("content-length: ")
            && length.split("\r\n").next().unwrap().parse::<usize>().unwrap() <= body.len()
        {
            break;
        }
        match stream.read(&mut buffer).await {
            Ok(read @ 1..) => answer.extend_from_slice(&buffer[..read]),
            _ => break,
        }
    }
    String::from_utf8(answer).unwrap()
}
