//! The service under measurement: the release binary, as a separate process.

use std::env;
use std::fs::{self, File};
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use serde_json::Value;

use super::client::Client;
use super::clients::now;
use super::data::{Data, PASSWORD};

/// Far longer than a start takes, on any machine.
const START_TIMEOUT: Duration = Duration::from_secs(60);

/// How often a starting service is polled for readiness.
const POLL_INTERVAL: Duration = Duration::from_millis(1);

const MEBIBYTE: f64 = 1024.0;

/// The limits by address and session would prevent the measurements.
const UNLIMITED: [&str; 3] = ["LOGIN", "REGISTER", "REFRESH"];

/// Every refresh rotates, and so is written.
pub const STRICT: (&str, &str) = ("SESSIONS__RETRY_WINDOW", "0s");

/// A running service, with its log in a file. It is killed when this is dropped.
pub struct Service {
    pub address: SocketAddr,
    /// From the start of the process to the first successful readiness check.
    pub ready_after: Duration,
    child: Child,
}

/// Preloaded libraries that replace the system's, such as one with slower syncs.
const PRELOAD: &str = "LD_PRELOAD";

/// `doorward` with this data and these settings, and no other environment.
pub fn doorward(data: &Data, settings: &[(&str, &str)]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_doorward"));
    command.env_clear().current_dir(data.directory()).stdin(Stdio::null());
    // A library that slows down the floor must also slow down the service.
    command.envs(env::vars_os().filter(|(name, _)| name == PRELOAD));
    command.env("DOORWARD_DATA_DIR", data.directory()).env("DOORWARD_SECRET", data.secret());
    for limit in UNLIMITED {
        command.env(format!("DOORWARD_LIMITS__{limit}_PER_MINUTE"), "60000");
        command.env(format!("DOORWARD_LIMITS__{limit}_BURST"), "100000");
    }
    for (name, value) in settings {
        command.env(format!("DOORWARD_{name}"), value);
    }
    command
}

impl Service {
    /// Starts it with its default settings except these, and waits until it is ready.
    pub fn start(data: &Data, settings: &[(&str, &str)]) -> Self {
        let address = free_address();
        let mut command = doorward(data, settings);
        command.env("DOORWARD_LISTEN", address.to_string());
        command.env("DOORWARD_PUBLIC_URL", format!("http://{address}"));
        Self::ready(&mut command, address, &data.directory().join("log"), "/readyz")
    }

    /// The floor: this program as a server with an empty handler.
    pub fn bare(data: &Data) -> Self {
        Self::this_program(data, "log-bare", &[])
    }

    /// The same for holders of the service's access tokens only, which the library verifies.
    pub fn guarded(data: &Data, service: &Self) -> Self {
        let issuer = format!("http://{}", service.address);
        let client = client(data);
        let guard = ["--guard", &issuer, &client.id, &client.secret];
        Self::this_program(data, "log-guarded", &guard)
    }

    fn this_program(data: &Data, log: &str, arguments: &[&str]) -> Self {
        let address = free_address();
        let mut command = Command::new(env::current_exe().unwrap());
        command.args(["--serve", &address.to_string()]).args(arguments);
        Self::ready(&mut command, address, &data.directory().join(log), "/")
    }

    fn ready(command: &mut Command, address: SocketAddr, log: &Path, path: &str) -> Self {
        let output = File::create(log).unwrap();
        command.stdout(output.try_clone().unwrap()).stderr(output);
        let began = now();
        let child = command.spawn().unwrap();
        let mut service = Self { address, ready_after: Duration::ZERO, child };
        while !Client::finds(address, path) {
            let over = now() - began > START_TIMEOUT || service.child.try_wait().unwrap().is_some();
            assert!(!over, "it is not ready: {}", fs::read_to_string(log).unwrap());
            thread::sleep(POLL_INTERVAL);
        }
        service.ready_after = now() - began;
        service
    }

    /// The peak resident memory, in MiB.
    pub fn peak_memory(&self) -> f64 {
        self.status("VmHWM:") / MEBIBYTE
    }

    /// The resident memory, in MiB.
    pub fn memory(&self) -> f64 {
        self.status("VmRSS:") / MEBIBYTE
    }

    /// The number of open files and connections.
    pub fn open_files(&self) -> f64 {
        let files = fs::read_dir(format!("/proc/{}/fd", self.child.id())).unwrap().count();
        f64::from(u32::try_from(files).unwrap())
    }

    fn status(&self, name: &str) -> f64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        line.split_whitespace().next().unwrap().parse().unwrap()
    }

    /// Tokens of this many sessions, from the first one on: access and refresh token.
    pub fn tokens(&self, data: &Data, count: u32) -> Vec<Tokens> {
        let mut client = Client::connect(self.address);
        let refresh = |number| {
            let token = data.refresh_token(number);
            Tokens::of(client.post("/refresh", &[("refresh_token", &token)]).expect(200))
        };
        (0..count).map(refresh).collect()
    }

    /// The same by logging in, to an account that is created here.
    pub fn sessions(&self, count: u32) -> Vec<Tokens> {
        let mut client = Client::connect(self.address);
        let credentials = [("email", "bench@example.com"), ("password", PASSWORD)];
        client.post("/register", &credentials).expect(201);
        let log_in = |_| Tokens::of(client.post("/login", &credentials).expect(200));
        (0..count).map(log_in).collect()
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A confidential client: it introspects tokens and may subscribe to the feed.
pub struct Confidential {
    pub id: String,
    pub secret: String,
}

/// Registers one, by the command line.
pub fn client(data: &Data) -> Confidential {
    let add = ["client", "add", "--name", "bench", "--json"];
    let output = doorward(data, &[]).args(add).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let client: Value = serde_json::from_slice(&output.stdout).unwrap();
    let text = |name: &str| client[name].as_str().unwrap().to_owned();
    Confidential { id: text("client_id"), secret: text("client_secret") }
}

/// A client's tokens.
pub struct Tokens {
    pub access: String,
    pub refresh: String,
}

impl Tokens {
    pub fn of(answer: super::client::Answer<'_>) -> Self {
        let text = |member| answer.text(member).to_owned();
        Self { access: text("access_token"), refresh: text("refresh_token") }
    }

    /// Refreshes the session.
    pub fn renew(&mut self, client: &mut Client) {
        let answer = client.post("/refresh", &[("refresh_token", &self.refresh)]).expect(200);
        *self = Self::of(answer);
    }
}

fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}
