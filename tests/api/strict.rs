//! A deployment by a strict administrator: a separate user, a read-only root file system, a
//! database role that may only read and write rows over as few connections as it needs, no
//! migrations at start, secrets in files, and proxies in front.

use std::fs::{self, Permissions};
use std::net::SocketAddr;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::Path;
use std::process::{Command, Stdio};

use rustix::process::{Signal, geteuid};
use serde_json::{Value, json};

use crate::caddy::Caddy;
use crate::support::app::SECRET;
use crate::support::binary::{
    Doorward, PATIENT, SLOWLY, STRANGER, database_of, doorward, printed, program,
};
use crate::support::client::PASSWORD;
use crate::support::nginx::Nginx;
use crate::support::postgres::{Cluster, on_postgres};
use crate::support::program::{find, free_port, say_left_out};
use crate::support::until;

const EMAIL: &str = "ada@example.com";

/// Makes the file system read-only, except for the directory of a SQLite database, and drops every
/// privilege.
const ENTER: &str = r#"
    set -e
    home=$1; data=$2; user=$3; shift 3
    mount --make-rprivate /
    if [ -n "$data" ]; then mount --bind "$data" "$data"; fi
    # Each mount by itself: a remount does not reach those below it.
    cut -d' ' -f5 /proc/self/mountinfo | while read -r at; do
        case $at in /proc | /proc/* | /dev | /dev/* | /sys | /sys/* | "$data") ;;
        *) mount -o remount,bind,ro "$at" ;;
        esac
    done
    cd "$home"
    exec setpriv --reuid "$user" --regid "$user" --clear-groups --no-new-privs \
        --bounding-set=-all --inh-caps=-all "$@"
"#;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_strict_administrators_deployment_serves_behind_every_proxy() {
    let programs = find(["unshare", "setpriv", "nginx", "caddy"], "util-linux nginx-light caddy");
    let Some([unshare, _, nginx, caddy]) = programs else { return };
    if !geteuid().is_root() || !can_unshare(&unshare) {
        return say_left_out("only root may make a file system read-only for one process");
    }
    let site = Site::new();
    let service = Doorward::start(&mut site.within(&unshare, &["serve"]));
    assert_is_read_only(service.id());
    until(async || service.get("/readyz").send().await.status == 200).await;

    site.answers_behind_nginx(&nginx, &service).await;
    let tokens = service.log_in(EMAIL, PASSWORD).await.unwrap().tokens();
    let me = service.me(&tokens.access).await.unwrap().assert_status(200);
    let caddy = Caddy::start(&caddy, address(&service)).await;
    let user = me.body["id"].as_str().unwrap();
    caddy.strips_every_spelling(&service.http, &tokens.access, user).await;

    // A supervisor requests a reload of the files, and the commands work at the same time.
    service.signal(Signal::HUP);
    for arguments in [&["user", "list"][..], &["db", "check"], &["client", "list"]] {
        let said = site.within(&unshare, arguments).output().unwrap();
        assert!(said.status.success(), "{arguments:?}: {said:?}");
    }
    service.me(&tokens.access).await.unwrap().assert_status(200);

    let (status, _, log) = service.stop();
    assert!(status.success() && !log.contains("ERROR"), "{log}");
    // No file was created, and the sessions still exist after a restart.
    assert_eq!(site.entries(), site.before);
    let service = Doorward::start(&mut site.within(&unshare, &["serve"]));
    service.me(&tokens.access).await.unwrap().assert_status(200);
    assert!(service.stop().0.success());
}

fn can_unshare(unshare: &Path) -> bool {
    let tried = Command::new(unshare).args(["--mount", "true"]).stderr(Stdio::null()).status();
    tried.is_ok_and(|status| status.success())
}

/// The root of this process is mounted read-only.
#[track_caller]
fn assert_is_read_only(process: u32) {
    let mounts = fs::read_to_string(format!("/proc/{process}/mountinfo")).unwrap();
    let options = |line: &str| {
        let fields: Vec<&str> = line.split(' ').collect();
        (fields[4] == "/").then(|| fields[5].to_owned())
    };
    let root = mounts.lines().rev().find_map(options).unwrap();
    assert!(root.split(',').any(|option| option == "ro"), "{mounts}");
    let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    assert!(status.contains(&format!("Uid:\t{STRANGER}\t{STRANGER}")), "{status}");
    assert!(status.contains("CapBnd:\t0000000000000000"), "{status}");
}

fn address(service: &Doorward) -> SocketAddr {
    service.url.split_once("://").unwrap().1.parse().unwrap()
}

/// The files and settings that the administrator prepares.
struct Site {
    home: tempfile::TempDir,
    /// The directory of the SQLite file: the only writable one.
    data: Option<String>,
    before: Vec<String>,
}

impl Site {
    fn new() -> Self {
        let home = tempfile::tempdir().unwrap();
        fs::set_permissions(home.path(), Permissions::from_mode(0o755)).unwrap();
        let data = (!on_postgres()).then(|| {
            let data = home.path().join("state");
            fs::create_dir(&data).unwrap();
            fs::set_permissions(&data, Permissions::from_mode(0o700)).unwrap();
            chown(&data, Some(STRANGER), Some(STRANGER)).unwrap();
            data.display().to_string()
        });
        let url = data.as_ref().map_or_else(
            || database_of(home.path()).unwrap(),
            |data| format!("sqlite://{data}/doorward.db"),
        );
        let migrated =
            printed(doorward(home.path()).args(["db", "migrate", "--database-url", &url]));
        assert!(migrated.contains("applied"), "{migrated}");
        let url = if on_postgres() { as_a_role_of_its_own(&url) } else { url };
        if let Some(data) = &data {
            let file = format!("{data}/doorward.db");
            chown(file, Some(STRANGER), Some(STRANGER)).unwrap();
        }
        for (name, text) in [("secret", SECRET), ("url", &*url)] {
            let file = home.path().join(name);
            fs::write(&file, text.to_owned() + "\n").unwrap();
            fs::set_permissions(&file, Permissions::from_mode(0o640)).unwrap();
            chown(&file, Some(0), Some(STRANGER)).unwrap();
        }
        let mut site = Self { home, data, before: Vec::new() };
        site.before = site.entries();
        site
    }

    /// The names in the working directory.
    fn entries(&self) -> Vec<String> {
        let name =
            |entry: Result<fs::DirEntry, _>| entry.unwrap().file_name().into_string().unwrap();
        let mut names: Vec<String> = fs::read_dir(self.home.path()).unwrap().map(name).collect();
        names.sort();
        names
    }

    fn within(&self, unshare: &Path, arguments: &[&str]) -> Command {
        let home = self.home.path();
        let mut command = Command::new(unshare);
        command.args(["--mount", "sh", "-c", ENTER, "sh"]).arg(home);
        command.arg(self.data.as_deref().unwrap_or_default()).arg(STRANGER.to_string());
        command.arg(program()).args(arguments);
        command.env_clear().current_dir(home).stdin(Stdio::null()).envs([PATIENT, SLOWLY]);
        command.env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").envs([
            ("DOORWARD_LISTEN", "127.0.0.1:0"),
            ("DOORWARD_PUBLIC_URL", "https://login.example.com"),
            ("DOORWARD_TRUSTED_PROXIES", "127.0.0.1"),
            ("DOORWARD_DATABASE__MIGRATE", "false"),
            ("DOORWARD_SECRET_FILE", "secret"),
            ("DOORWARD_DATABASE_URL_FILE", "url"),
        ]);
        command
    }

    /// nginx with its defaults: HTTP/1.0 to Doorward, and no added headers.
    async fn answers_behind_nginx(&self, nginx: &Path, service: &Doorward) {
        let front = SocketAddr::from(([127, 0, 0, 1], free_port()));
        let lines =
            format!("server {{ listen {front}; location / {{ proxy_pass {}; }} }}\n", service.url);
        let _nginx = Nginx::start(nginx, &lines, front).await;
        let call = |path: &str| service.http.post(format!("http://{front}{path}"));
        let account = json!({ "email": EMAIL, "password": PASSWORD });
        assert_eq!(call("/register").json(&account).send().await.unwrap().status(), 201);
        let tokens: Value =
            call("/login").json(&account).send().await.unwrap().json().await.unwrap();
        let body = json!({ "refresh_token": tokens["refresh_token"] });
        let tokens = call("/refresh").json(&body).send().await.unwrap();
        assert_eq!(tokens.status(), 200);
        let tokens: Value = tokens.json().await.unwrap();
        let access = tokens["access_token"].as_str().unwrap();
        let out = call("/logout").bearer_auth(access).send().await.unwrap();
        assert_eq!(out.status(), 204);
        service.me(access).await.unwrap().assert_problem(401, "token_revoked");
    }
}

/// The URL of a role that owns nothing, may create nothing, and has exactly the connections that it
/// needs: 8 for the pool, 3 outside it, and one for a command.
fn as_a_role_of_its_own(url: &str) -> String {
    let database = url.rsplit('/').next().unwrap();
    Cluster::shared().query(
        database,
        &format!(
            "CREATE ROLE strict LOGIN CONNECTION LIMIT 13;
             REVOKE CREATE ON SCHEMA public FROM PUBLIC;
             REVOKE ALL ON DATABASE {database} FROM PUBLIC;
             GRANT CONNECT, TEMPORARY ON DATABASE {database} TO strict;
             GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO strict;"
        ),
    );
    url.replace("//doorward@", "//strict@")
}
