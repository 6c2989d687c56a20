//! The documentation's deployment, word for word except names and ports: two nodes on
//! PostgreSQL behind nginx with TLS, their metrics, a key rotation, a disabled user, a backup, and
//! a service restored from it.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use rcgen::{CertificateParams, KeyPair};
use rustix::process::Signal;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::binary::{Doorward, PATIENT, SLOWLY};
use crate::support::client::Call;
use crate::support::keys::kid_of;
use crate::support::nginx::Nginx;
use crate::support::postgres::{Cluster, binaries};
use crate::support::program::{find, free_port};
use crate::support::{Answer, Tokens, docs, until};

const DEPLOYMENT: &str = "docs/deployment.md";
const OPERATIONS: &str = "docs/operations.md";
const HOST: &str = "login.example.com";
// The values of the session in README.md.
const EMAIL: &str = "ada@example.com";
const PASSWORD: &str = "seven otters juggle lanterns";

#[tokio::test]
async fn the_documented_lines_deploy_a_service_operate_and_restore_it() {
    let Some([nginx, _]) = find(["nginx", "curl"], "nginx-light curl") else { return };
    let place = Place::new();
    place.run(&place.block("docs/deployment.md", "createuser "));
    let nodes = [0, 1].map(|node| place.start(node, ""));
    let _nginx = Nginx::start(
        &nginx,
        &place.block("docs/deployment.md", "# /etc/nginx/conf.d/"),
        place.front,
    )
    .await;

    // The last line may reach the other node before the notification does, but not for long.
    let session = place.block("README.md", "URL=");
    let (session, last) = session.trim_end().rsplit_once('\n').unwrap();
    let again =
        format!("for n in $(seq 100); do ME=$({last}); case $ME in *revoked*) break; esac; done");
    let session = place.run(&format!("{session}\n{again}\nprintf '%s\\n' \"$ME\"\n"));
    assert!(session.contains("token_revoked"), "{session}");

    let metrics = place.block("docs/metrics.md", "curl -sS http://127.0.0.1:9464");
    let pages = [metrics.clone(), metrics.replace(&port(place.pages[0]), &port(place.pages[1]))];
    let logins: u32 = pages
        .map(|page| {
            let page = place.run(&page);
            let line = "doorward_logins_total{outcome=\"succeeded\"} ";
            let found = page.lines().find_map(|it| it.strip_prefix(line));
            found.unwrap_or("0").parse::<u32>().unwrap()
        })
        .iter()
        .sum();
    assert_eq!(logins, 1);

    let tokens = place.log_in().await.tokens();
    let kid = kid_of(&tokens.access);
    let listed = place
        .run(&place.block("docs/operations.md", "doorward key list").replace("wX5a0uZkq3B", &kid));
    assert!(listed.contains(&kid), "{listed}");
    for node in &nodes {
        until(async || node.me(&tokens.access).await.unwrap().status == 401).await;
        until(async || !node.get("/.well-known/jwks.json").send().await.text.contains(&kid)).await;
    }
    let tokens = place.refresh(&tokens).await.tokens();
    place.me(&tokens).await.assert_status(200);

    let users = place.block("docs/operations.md", "doorward user disable");
    let (disable, rest) = users.split_once('\n').unwrap();
    place.run(disable);
    for node in &nodes {
        until(async || node.me(&tokens.access).await.unwrap().status == 401).await;
    }
    place.refresh(&tokens).await.assert_ended("account_disabled");
    place.log_in().await.assert_problem(401, "invalid_credentials");
    let events = place.run(rest);
    assert!(events.contains("account_disabled") && events.contains(EMAIL), "{events}");
    let tokens = place.log_in().await.tokens();

    // The line for SQLite does not apply to this database.
    let backup = place.block("docs/operations.md", "umask 077\n");
    let of_sqlite = |line: &&str| line.starts_with("doorward db backup ");
    assert_eq!(backup.lines().filter(of_sqlite).count(), 1, "{backup}");
    let lines: Vec<_> = backup.lines().filter(|line| !of_sqlite(line)).collect();
    place.run(&lines.join("\n"));
    let dump = fs::metadata(place.home.path().join("doorward-backup.dump")).unwrap();
    assert_eq!(dump.permissions().mode() & 0o777, 0o600);
    let later = place.log_in().await.tokens();
    stop(nodes);

    let restore = place.block("docs/operations.md", "createdb --owner=doorward --encoding");
    let restored = place.block("docs/operations.md", "doorward db after-restore");
    place.run(&format!("{restore}{restored}"));
    let url = restore.lines().find(|line| line.starts_with("export ")).unwrap();
    let nodes = [0, 1].map(|node| place.start(node, url));
    place.refresh(&tokens).await.assert_ended("backup_restored");
    place.refresh(&later).await.assert_ended("unknown_token");
    for old in [&tokens, &later] {
        place.me(old).await.assert_problem(401, "invalid_token");
    }
    let tokens = place.log_in().await.tokens();
    place.me(&tokens).await.assert_status(200);
    place.refresh(&tokens).await.assert_status(200);
    stop(nodes);
}

/// A machine for the deployment.
struct Place {
    home: TempDir,
    /// The addresses of nginx, the nodes, and their metrics.
    front: SocketAddr,
    nodes: [SocketAddr; 2],
    pages: [SocketAddr; 2],
    /// Trusts only nginx's certificate.
    http: reqwest::Client,
}

impl Place {
    fn new() -> Self {
        let home = tempfile::tempdir().unwrap();
        let address = || SocketAddr::from(([127, 0, 0, 1], free_port()));
        let (front, nodes, pages) = (address(), [address(), address()], [address(), address()]);
        let key = KeyPair::generate().unwrap();
        let cert = CertificateParams::new([HOST.to_owned()]).unwrap().self_signed(&key).unwrap();
        fs::write(home.path().join("cert.pem"), cert.pem()).unwrap();
        fs::write(home.path().join("key.pem"), key.serialize_pem()).unwrap();
        fs::set_permissions(
            home.path().join("key.pem"),
            std::os::unix::fs::PermissionsExt::from_mode(0o600),
        )
        .unwrap();
        let curl = format!("cacert = cert.pem\nresolve = {HOST}:{}:127.0.0.1\n", front.port());
        fs::write(home.path().join(".curlrc"), curl).unwrap();
        let trusted = reqwest::Certificate::from_der(cert.der()).unwrap();
        let http = reqwest::Client::builder().no_proxy().resolve(HOST, front);
        let http = http.tls_certs_only([trusted]).build().unwrap();
        Self { home, front, nodes, pages, http }
    }

    /// The page's block that begins with this, with the names and ports of this machine.
    #[track_caller]
    fn block(&self, page: &str, start: &str) -> String {
        let database = Cluster::shared().port;
        let home = self.home.path().display();
        let mut block = docs::block(page, start);
        let pages = ["README.md", DEPLOYMENT, OPERATIONS, "docs/metrics.md"].map(docs::text);
        for (theirs, own) in [
            ("http://127.0.0.1:8080", format!("https://{HOST}:{}", self.front.port())),
            ("listen 443 ssl", format!("listen {} ssl", self.front)),
            ("/etc/ssl/login.example.com.pem", format!("{home}/cert.pem")),
            ("/etc/ssl/login.example.com.key", format!("{home}/key.pem")),
            ("10.0.0.11:8080", self.nodes[0].to_string()),
            ("10.0.0.12:8080", self.nodes[1].to_string()),
            ("=10.0.0.1\n", "=127.0.0.1\n".into()),
            ("127.0.0.1:9464", self.pages[0].to_string()),
            ("db.example.com", format!("127.0.0.1:{database}")),
            // The tests' server has `doorward` as its administrator.
            ("--pwprompt doorward", "keeper".into()),
            ("--owner=doorward", "--owner=keeper".into()),
            ("postgres://doorward", "postgres://keeper".into()),
        ] {
            assert!(pages.iter().any(|page| page.contains(theirs)), "the pages have {theirs}");
            block = block.replace(theirs, &own);
        }
        block
    }

    /// The settings of a node, and the line that starts it.
    fn settings(&self) -> (String, String) {
        let block = self.block("docs/deployment.md", "(umask 077; doorward secret new");
        let (settings, start) = block.trim_end().rsplit_once('\n').unwrap();
        (settings.to_owned(), start.to_owned())
    }

    fn bash(&self, script: &str) -> Command {
        let programs = [Path::new(env!("CARGO_BIN_EXE_doorward")).parent().unwrap(), binaries()];
        let path = programs.map(|it| it.display().to_string()).join(":");
        let mut bash = Command::new("bash");
        bash.env_clear().current_dir(self.home.path()).env("HOME", self.home.path());
        bash.env("PATH", format!("{path}:/usr/local/bin:/usr/bin:/bin"));
        bash.env("PGHOST", "127.0.0.1").env("PGPORT", Cluster::shared().port.to_string());
        bash.env("PGUSER", "doorward").args(["-e", "-c", script]);
        bash
    }

    /// The output of these lines, in a shell with the settings of the service.
    #[track_caller]
    fn run(&self, lines: &str) -> String {
        let (settings, _) = self.settings();
        let exports = settings.lines().filter(|line| line.starts_with("export "));
        let exports = exports.collect::<Vec<_>>().join("\n");
        let output = self.bash(&format!("{exports}\n{lines}")).output().unwrap();
        let complaints = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{lines}\n{complaints}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// Starts a node, with one more line in its settings. The first generates the secret.
    fn start(&self, node: usize, line: &str) -> Doorward {
        let (mut settings, start) = self.settings();
        if self.home.path().join("secret").exists() {
            settings = settings.split_once('\n').unwrap().1.to_owned();
        }
        let start = start.replace(&self.nodes[0].to_string(), &self.nodes[node].to_string());
        let mut bash = self.bash(&format!("{settings}\n{line}\nexec {start}"));
        bash.envs([PATIENT, SLOWLY]);
        Doorward::start(bash.env("DOORWARD_METRICS__LISTEN", self.pages[node].to_string()))
    }

    /// A call through nginx.
    fn call(&self, method: &str, path: &str) -> Call {
        let base = format!("https://{HOST}:{}", self.front.port());
        Call::to(&self.http, &base, method, path)
    }

    async fn log_in(&self) -> Answer {
        let body: Value = json!({ "email": EMAIL, "password": PASSWORD });
        self.call("POST", "/login").json(&body).send().await
    }

    async fn refresh(&self, tokens: &Tokens) -> Answer {
        let body = json!({ "refresh_token": tokens.refresh });
        self.call("POST", "/refresh").json(&body).send().await
    }

    async fn me(&self, tokens: &Tokens) -> Answer {
        self.call("GET", "/me").bearer(&tokens.access).send().await
    }
}

fn stop(nodes: [Doorward; 2]) {
    for node in &nodes {
        node.signal(Signal::TERM);
    }
    for node in nodes {
        let (status, _, log) = node.ended();
        assert!(status.success() && !log.contains("ERROR"), "{log}");
        // It trusts nginx's forwarded addresses.
        assert!(
            log.contains("request completed") && !log.contains("forwarded_for_ignored"),
            "{log}"
        );
    }
}

fn port(address: SocketAddr) -> String {
    format!(":{}", address.port())
}
