//! Findings about the settings.

use std::fs;
use std::process::Command;

use doorward::secret::MasterSecret;

use crate::support::binary::{PATIENT, doorward, printed};

use super::{doctor, finds, healthy};

#[test]
fn it_is_silent_about_a_healthy_system_and_changes_nothing() {
    let home = healthy();
    assert_eq!(printed(&mut doctor(home.path())), "No problems found.\n");
    assert_eq!(printed(doctor(home.path()).arg("--json")), "[]\n");
    let fresh = tempfile::tempdir().unwrap();
    let mut unset = doorward(fresh.path());
    unset.env(PATIENT.0, PATIENT.1).arg("doctor");
    finds(&mut unset, "database", "there is none at");
    assert_eq!(fs::read_dir(fresh.path()).unwrap().count(), 0);
}

#[test]
fn it_finds_faults_of_the_settings() {
    let home = healthy();
    let with = |name: &str, value: &str, check: &str, says: &str| {
        finds(doctor(home.path()).env(name, value), check, says);
    };
    with("DOORWARD_CORS__ORIGINS", "http://app.example.com", "cors.origins", "serve it over https");
    with("DOORWARD_TLS__CERT", "nowhere.pem", "tls", "cannot be read");
    with("DOORWARD_PUBLIC_URL", "https://other.example.com", "tls", "is not for other.example.com");
    with("DOORWARD_PASSWORDS__THREADS", "1024", "passwords", "MiB of this machine's");
    with("DOORWARD_SECRET", &MasterSecret::generate().to_text(), "keys", "does not decrypt");
    let mut plain = doctor(home.path());
    plain.env_remove("DOORWARD_TLS__CERT").env_remove("DOORWARD_TLS__KEY");
    finds(plain.env("DOORWARD_LISTEN", "0.0.0.0:8080"), "listen", "unencrypted");
    let mut nameless = doctor(home.path());
    nameless.env_remove("DOORWARD_PUBLIC_URL").env("DOORWARD_LISTEN", "0.0.0.0:8080");
    finds(&mut nameless, "public_url", "set it to the URL");
    let mut proxied = doctor(home.path());
    proxied.env_remove("DOORWARD_TLS__CERT").env_remove("DOORWARD_TLS__KEY");
    finds(&mut proxied, "trusted_proxies", "all its clients count as one");
    let mut http = doctor(home.path());
    http.env_remove("DOORWARD_TLS__CERT").env_remove("DOORWARD_TLS__KEY");
    http.env("DOORWARD_PUBLIC_URL", "http://login.example.com");
    finds(&mut http, "public_url", "it uses http");
    with("DOORWARD_EMAIL__URL", "file:", "email.url", "only written to the folder");
    let mut unreachable = doctor(home.path());
    unreachable.env("DOORWARD_EMAIL__FROM", "a@example.com");
    unreachable.env("DOORWARD_EMAIL__URL", "smtp://127.0.0.1:9");
    finds(&mut unreachable, "email.url", "cannot be used");
    let templates = home.path().join("templates");
    fs::create_dir(&templates).unwrap();
    fs::write(templates.join("reset.txt"), "{{").unwrap();
    let templates = templates.to_str().unwrap();
    with("DOORWARD_EMAIL__TEMPLATES", templates, "email.templates", "reset.txt");
    with("DOORWARD_COOKIES__SAME_SITE", "none", "cookies.same_site", "cors.origins is empty");
    let mut slow = doctor(home.path());
    // Enough time to get a thread on any machine, and far less than the hash takes.
    slow.env("DOORWARD_PASSWORDS__QUEUE_DEADLINE", "1s");
    slow.env("DOORWARD_PASSWORDS__MEMORY_KIB", "65536");
    finds(
        slow.env("DOORWARD_PASSWORDS__ITERATIONS", "100"),
        "passwords",
        "longer than it may wait",
    );
    let mut few = Command::new("sh");
    let own = doctor(home.path());
    few.env_clear().current_dir(home.path());
    for (name, value) in own.get_envs() {
        few.env(name, value.unwrap());
    }
    few.args(["-c", "ulimit -n 256; exec \"$0\" \"$@\""]).arg(own.get_program());
    finds(few.args(own.get_args()), "open files", "256 files may be open");
}
