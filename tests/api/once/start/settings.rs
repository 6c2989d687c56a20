//! Settings that are refused, and settings as they are printed.

use std::fs;
use std::process::Command;

use doorward::secret::MasterSecret;

use crate::support::binary::{Doorward, as_owner_of, doorward, home, program};

use super::{assert_says, assert_untouched, refused};

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
fn an_invalid_value_is_rejected_with_an_example_or_its_bounds() {
    let home = home();
    for (variable, value, words) in [
        ("DOORWARD_LISTEN", "localhost", &["listen", "DOORWARD_LISTEN", "127.0.0.1:8080"][..]),
        ("DOORWARD_TOKENS__LIFETIME", "soon", &["tokens.lifetime", "soon", "10m"]),
        ("DOORWARD_TOKENS__LIFETIME", "1s", &["tokens.lifetime", "1s", "at least 1m"]),
        ("DOORWARD_TOKENS__ALGORITHM", "HS256", &["tokens.algorithm", "ES256, EdDSA or RS256"]),
        ("DOORWARD_PASSWORDS__MEMORY_KIB", "1024", &["passwords.memory_kib", "at least 7168"]),
        ("DOORWARD_DATABASE_URL", "mysql://x/y", &["database_url", "sqlite://", "postgres://"]),
        ("DOORWARD_PUBLIC_URL", "example.com", &["public_url", "https://login.example.com"]),
        ("DOORWARD_LOG__LEVEL", "loud", &["log.level", "loud", "info"]),
    ] {
        assert_says(&refused(doorward(home.path()).env(variable, value)), words);
    }
    assert_untouched(home.path());
}

#[test]
fn printed_settings_load_back() {
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
        // It is also an initial configuration file.
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
