//! The real binary, as a separate process.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::OnceLock;
use std::sync::mpsc::{self, Receiver};
use std::thread::JoinHandle;
use std::time::Duration;

use rustix::process::{Pid, Signal, geteuid, kill_process};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::app::{ISSUER, SECRET};
use super::client::{Answer, Call};
use super::postgres::{Cluster, number_of, on_postgres};

/// Far longer than any operation here takes, on any machine.
const START_TIMEOUT: Duration = Duration::from_secs(60);

/// A running `doorward`. It is killed when this is dropped.
pub struct Doorward {
    /// Its URL.
    pub url: String,
    pub http: reqwest::Client,
    child: Child,
    stdout: Option<JoinHandle<String>>,
    log: Receiver<String>,
}

/// The outcome of a run that ends by itself.
#[derive(Debug)]
pub struct Refusal {
    pub status: ExitStatus,
    pub stderr: String,
}

/// A hashing deadline long enough for low-priority threads on a machine that is busy with other
/// tests.
pub const PATIENT: (&str, &str) = ("DOORWARD_PASSWORDS__QUEUE_DEADLINE", "10s");

/// The same for a PostgreSQL statement.
pub const SLOWLY: (&str, &str) = ("DOORWARD_DATABASE__STATEMENT_TIMEOUT", "10s");

/// `doorward` in the directory `home`, with its data in `home/data`, on a port that the system
/// chooses, and without settings from the environment.
pub fn doorward(home: &Path) -> Command {
    let mut command = Command::new(program());
    as_owner_of(home, &mut command);
    command.env_clear().current_dir(home).stdin(Stdio::null());
    command.env("DOORWARD_DATA_DIR", data_of(home)).env("DOORWARD_LISTEN", "127.0.0.1:0");
    if let Some(database) = database_of(home) {
        command.env("DOORWARD_DATABASE_URL", database).env("DOORWARD_SECRET", SECRET);
    }
    command
}

/// An unprivileged user that no machine has.
pub const STRANGER: u32 = 12345;

/// A directory for the program to run in. It runs as the user of `DOORWARD_TEST_USER`, if that is
/// set, which requires root.
pub fn home() -> TempDir {
    chosen_user().map_or_else(|| tempfile::tempdir().unwrap(), home_of)
}

fn chosen_user() -> Option<u32> {
    number_of("DOORWARD_TEST_USER").map(|user| user.try_into().unwrap())
}

/// The same, for the program to run as this user, without any capability.
pub fn home_of(user: u32) -> TempDir {
    let home = tempfile::tempdir().unwrap();
    chown(home.path(), Some(user), Some(user)).unwrap();
    home
}

/// Changes the owner of a file to the user that the program runs as.
pub fn give(file: &Path, home: &Path) {
    let owner = fs::metadata(home).unwrap();
    chown(file, Some(owner.uid()), Some(owner.gid())).unwrap();
}

/// The users that the program is to run as: the one of `DOORWARD_TEST_USER`, or else this one and,
/// for root, an unprivileged one.
pub fn users() -> Vec<u32> {
    let own = geteuid();
    match chosen_user() {
        Some(user) => vec![user],
        None if own.is_root() => vec![own.as_raw(), STRANGER],
        None => vec![own.as_raw()],
    }
}

/// Runs a command as the owner of the directory, in no other group.
pub fn as_owner_of(home: &Path, command: &mut Command) {
    // Some tests name a directory that does not exist yet.
    let owner = fs::metadata(home).map_or(geteuid().as_raw(), |about| about.uid());
    if owner != geteuid().as_raw() {
        command.uid(owner).gid(owner);
    }
}

/// The program, at a path where every user can run it: the build directory may be private.
pub fn program() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        let built = Path::new(env!("CARGO_BIN_EXE_doorward"));
        let opens = |it: &Path| fs::metadata(it).is_ok_and(|about| about.mode() & 0o001 != 0);
        if !geteuid().is_root() || built.ancestors().all(opens) {
            return built.to_owned();
        }
        let name = format!("doorward-test-{}", std::process::id());
        let copy = std::env::temp_dir().join(name);
        fs::copy(built, &copy).unwrap();
        fs::set_permissions(&copy, fs::Permissions::from_mode(0o755)).unwrap();
        copy
    })
}

/// The URL of the PostgreSQL database for `home`, in the test program that uses one.
pub fn database_of(home: &Path) -> Option<String> {
    if !on_postgres() {
        return None;
    }
    let note = home.join("database-url");
    if !note.exists() {
        fs::write(&note, Cluster::shared().empty_database()).unwrap();
    }
    Some(fs::read_to_string(note).unwrap())
}

/// The output of a command that must succeed.
#[track_caller]
pub fn printed(command: &mut Command) -> String {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// The same, without the limits by address, which would mistake a test for a flood, and with an
/// issuer that does not change with the port.
pub fn unlimited(home: &Path) -> Command {
    let mut command = doorward(home);
    command.env("DOORWARD_PUBLIC_URL", ISSUER);
    for limit in ["LOGIN", "REGISTER", "REFRESH"] {
        command.env(format!("DOORWARD_LIMITS__{limit}_BURST"), "100000");
    }
    command.envs([PATIENT, SLOWLY]);
    command
}

pub fn data_of(home: &Path) -> PathBuf {
    home.join("data")
}

/// Runs a command to its end, which must come soon.
pub fn run(command: &mut Command) -> Refusal {
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let mut stderr = child.stderr.take().unwrap();
    let (sender, text) = mpsc::channel();
    std::thread::spawn(move || {
        let mut text = String::new();
        stderr.read_to_string(&mut text).unwrap();
        let _ = sender.send(text);
    });
    // A process that starts to serve keeps its standard error open.
    let Ok(stderr) = text.recv_timeout(START_TIMEOUT) else {
        child.kill().unwrap();
        panic!("it keeps running instead of failing: {command:?}");
    };
    Refusal { status: child.wait().unwrap(), stderr }
}

impl Doorward {
    /// Starts it and waits until it listens.
    pub fn start(command: &mut Command) -> Self {
        Self::start_and_said(command).0
    }

    /// The same, with its log up to then.
    pub fn start_and_said(command: &mut Command) -> (Self, String) {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut stdout = child.stdout.take().unwrap();
        let stdout = std::thread::spawn(move || {
            let mut text = String::new();
            let _ = stdout.read_to_string(&mut text);
            text
        });
        let lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let (sender, log) = mpsc::channel();
        // Reads to the end, so that the service never waits for a reader.
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                let _ = sender.send(line);
            }
        });
        let mut said = String::new();
        let address = 'address: loop {
            let Ok(line) = log.recv_timeout(START_TIMEOUT) else {
                let _ = child.kill();
                panic!("it does not listen: {said}");
            };
            said = said + &line + "\n";
            // As text, and as JSON.
            for sign in ["listening address=", r#""listening","address":""#] {
                if let Some((_, address)) = line.split_once(sign) {
                    break 'address address.split([' ', '"']).next().unwrap().to_owned();
                }
            }
        };
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        let url = format!("http://{address}");
        (Self { url, http, child, stdout: Some(stdout), log }, said)
    }

    pub fn call(&self, method: &str, path: &str) -> Call {
        Call::to(&self.http, &self.url, method, path)
    }

    pub fn get(&self, path: &str) -> Call {
        self.call("GET", path)
    }

    /// A `POST` of JSON; an error when no response came.
    pub async fn post(&self, path: &str, body: &Value) -> reqwest::Result<Answer> {
        self.call("POST", path).json(body).try_send().await
    }

    pub async fn register(&self, email: &str, password: &str) -> reqwest::Result<Answer> {
        self.post("/register", &json!({ "email": email, "password": password })).await
    }

    pub async fn log_in(&self, email: &str, password: &str) -> reqwest::Result<Answer> {
        self.post("/login", &json!({ "email": email, "password": password })).await
    }

    pub async fn me(&self, access: &str) -> reqwest::Result<Answer> {
        self.get("/me").bearer(access).try_send().await
    }

    pub async fn log_out(&self, access: &str) -> reqwest::Result<Answer> {
        self.call("POST", "/logout").bearer(access).try_send().await
    }

    pub async fn refresh(&self, token: &str, key: &str) -> reqwest::Result<Answer> {
        let body = json!({ "refresh_token": token });
        self.call("POST", "/refresh").header("idempotency-key", key).json(&body).try_send().await
    }

    /// The id of its process.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Waits for the end of a service that was told to stop, and returns its standard output, and
    /// its standard error since it listened.
    pub fn ended(mut self) -> (ExitStatus, String, String) {
        let stdout = self.stdout.take().unwrap().join().unwrap();
        let status = self.child.wait().unwrap();
        let log = self.log.iter().collect::<Vec<_>>().join("\n");
        (status, stdout, log)
    }

    /// Stops it as a service manager does.
    pub fn stop(self) -> (ExitStatus, String, String) {
        self.signal(Signal::TERM);
        self.ended()
    }
}

impl Drop for Doorward {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
