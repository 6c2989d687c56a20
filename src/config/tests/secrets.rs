//! Secrets: given, read from files, stored next to the database.

use std::thread;

use super::*;

#[test]
fn a_secret_can_be_read_from_a_file() {
    let fixture = ConfigFixture::new();
    let path = fixture.directory.path().join("given");
    fs::write(&path, secret() + "\n").unwrap();
    let path = path.to_str().unwrap().to_owned();
    let given = |fixture: ConfigFixture| fixture.variable("DOORWARD_SECRET_FILE", &path);

    let fixture = given(fixture);
    let loaded = fixture.load().unwrap();
    loaded.config.master_secret().unwrap();
    let origin =
        format!("secret_file = \"{path}\" # file {path}, named by variable DOORWARD_SECRET_FILE\n");
    assert!(loaded.to_toml().unwrap().contains(&origin));

    // The later layer wins, in either form; within one layer both forms are an error.
    given(ConfigFixture::new().file("secret = 'overridden, so never checked'")).config();
    let both = given(ConfigFixture::new().variable("DOORWARD_SECRET", &secret())).error();
    assert!(both.contains("secret and secret_file are both given; remove one of them"), "{both}");
    assert!(given(ConfigFixture::new().variable("DOORWARD_SECRET", "")).config().secret.is_some());
    let unset = ConfigFixture::new()
        .variable("DOORWARD_SECRET_FILE", "")
        .variable("DOORWARD_SECRET", &secret());
    assert!(unset.config().secret.is_some());

    fs::write(&path, " \n").unwrap();
    let empty = given(ConfigFixture::new()).error();
    assert!(empty.contains(&format!("{path} (")) && empty.contains("it is empty"), "{empty}");
    assert!(ConfigFixture::new().set("previous_secret_file=/absent").error().contains("/absent"));
    let url = ConfigFixture::new();
    fs::write(&path, "postgres://a:b@c/d\n").unwrap();
    let url = url.set(&format!("database_url_file={path}")).config();
    let database = url.database().unwrap();
    let expected = "postgres://a:b@c/d";
    assert!(matches!(database, DatabaseUrl::Postgres(url) if url.expose() == expected));
}

#[test]
fn an_empty_variable_leaves_the_previous_value() {
    let fixture = ConfigFixture::new()
        .file("public_url = 'https://a.example'\ndatabase_url = 'sqlite://x.db'");
    let config =
        fixture.variable("DOORWARD_PUBLIC_URL", "").variable("DOORWARD_DATABASE_URL", "").config();
    assert_eq!(config.public_url, "https://a.example");
    assert!(config.database_url.is_some());
}

#[test]
fn a_weak_secret_is_rejected_with_the_command_that_generates_one() {
    for (variable, value) in
        [("DOORWARD_SECRET", "changeme"), ("DOORWARD_PREVIOUS_SECRET", &"A".repeat(43))]
    {
        let error = ConfigFixture::new().variable(variable, value).error();
        assert!(error.contains(&format!("(variable {variable}): ")), "{error}");
        assert!(error.ends_with("openssl rand -base64 32` or `doorward secret new`"), "{error}");
    }
}

#[test]
fn the_previous_secret_is_loaded_too() {
    let config = ConfigFixture::new()
        .variable("DOORWARD_PREVIOUS_SECRET", &secret())
        .variable("DOORWARD_SECRET", &secret());
    assert!(config.config().master_secret().unwrap().previous.is_some());
}

fn in_data_dir(directory: &TempDir) -> Config {
    Config { data_dir: directory.path().join("a/data"), ..Config::default() }
}

fn fingerprint(config: &Config) -> [u8; 32] {
    config.master_secret().unwrap().current.derive(Purpose::LoginThrottle).mac(b"")
}

#[test]
fn the_first_start_generates_a_secret_that_stays() {
    let directory = TempDir::new().unwrap();
    let config = in_data_dir(&directory);
    let first = fingerprint(&config);
    let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&config.data_dir), 0o700);
    assert_eq!(mode(&config.data_dir.join("secret")), 0o600);
    assert_eq!(fs::read_dir(&config.data_dir).unwrap().count(), 1);
    fs::write(config.data_dir.join("doorward.db"), "").unwrap();
    assert_eq!(fingerprint(&config), first);
}

#[test]
fn concurrent_first_starts_use_one_secret() {
    let directory = TempDir::new().unwrap();
    let config = in_data_dir(&directory);
    let drawn: Vec<_> = thread::scope(|scope| {
        let starts: Vec<_> = (0..16).map(|_| scope.spawn(|| fingerprint(&config))).collect();
        starts.into_iter().map(|start| start.join().unwrap()).collect()
    });
    assert!(drawn.iter().all(|print| *print == drawn[0]));
}

#[test]
fn no_secret_is_generated_next_to_a_database() {
    let directory = TempDir::new().unwrap();
    let mut config = in_data_dir(&directory);
    config.create_data_dir().unwrap();
    let elsewhere = directory.path().join("elsewhere.db");
    for database in [config.data_dir.join("doorward.db"), elsewhere.clone()] {
        fs::write(&database, "").unwrap();
        let error = config.master_secret().unwrap_err().to_string();
        assert!(
            error.contains("/secret: it is missing, and ") && error.contains("; restore it "),
            "{error}"
        );
        fs::remove_file(&database).unwrap();
        config.database_url = Some(Secret::new(format!("sqlite://{}", elsewhere.display())));
    }
    assert!(!config.data_dir.join("secret").exists());
}

#[test]
fn a_secret_that_every_user_can_read_is_refused() {
    let directory = TempDir::new().unwrap();
    let config = in_data_dir(&directory);
    config.master_secret().unwrap();
    let path = config.data_dir.join("secret");
    for mode in [0o644, 0o604, 0o602] {
        fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
        let error = config.master_secret().unwrap_err().to_string();
        assert!(error.contains(&format!("; chmod 600 {}", path.display())), "{error}");
    }
    for mode in [0o400, 0o640, 0o660] {
        fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
        config.master_secret().unwrap();
    }
}

#[test]
fn a_damaged_secret_is_refused_and_kept() {
    let directory = TempDir::new().unwrap();
    let config = in_data_dir(&directory);
    config.master_secret().unwrap();
    let path = config.data_dir.join("secret");
    fs::write(&path, "").unwrap();
    assert!(
        config.master_secret().unwrap_err().to_string().contains("; restore it from the backup")
    );
    assert_eq!(fs::read(&path).unwrap(), b"");
}

#[test]
fn postgresql_needs_a_secret_that_was_given() {
    let mut config =
        Config { database_url: Some(Secret::new("postgres://h/d".into())), ..Config::default() };
    let error = config.master_secret().unwrap_err().to_string();
    assert!(
        error.contains("it is required with PostgreSQL") && error.contains("doorward secret new")
    );
    config.secret = Some(Secret::new(secret()));
    config.master_secret().unwrap();
}
