//! The sources of a value, and which of them wins.

use super::*;

#[test]
fn the_last_that_has_a_setting_wins() {
    let lifetime = |machine: &ConfigFixture| machine.config().tokens.lifetime.as_secs();
    let machine = ConfigFixture::new();
    assert_eq!(lifetime(&machine), 600);
    let machine = machine.file("[tokens]\nlifetime = '2m'\n");
    assert_eq!(lifetime(&machine), 120);
    let machine = machine.variable("DOORWARD_TOKENS__LIFETIME", "3m");
    assert_eq!(lifetime(&machine), 180);
    let machine = machine.set("tokens.lifetime=4m");
    assert_eq!(lifetime(&machine), 240);
    assert_eq!(machine.config().tokens.key_lifetime, TokensConfig::default().key_lifetime);
}

#[test]
fn named_flags_set_their_settings() {
    let mut machine = ConfigFixture::new();
    machine.flags = Flags {
        listen: Some("[::1]:0".into()),
        public_url: Some("https://login.example.com/".into()),
        data_dir: Some("/srv/doorward".into()),
        database_url: Some("sqlite:///srv/d.db".into()),
        log: Some("debug".into()),
        ..Flags::default()
    };
    let config = machine.config();
    assert_eq!(config.issuer(config.listen), "https://login.example.com");
    assert_eq!(config.data_dir, Path::new("/srv/doorward"));
    assert_eq!(config.log.level, "debug");
    let database = config.database().unwrap();
    assert!(matches!(database, DatabaseUrl::Sqlite(path) if path == Path::new("/srv/d.db")));
}

#[test]
fn the_file_is_the_flags_or_the_variables_or_the_one_that_is_there() {
    let mut machine = ConfigFixture::new().file("audience = 'there'");
    assert_eq!(machine.config().audience, "there");
    let named = machine.directory.path().join("named.toml");
    fs::write(&named, "audience = 'named'").unwrap();
    machine = machine.variable("DOORWARD_CONFIG", named.to_str().unwrap());
    assert_eq!(machine.config().audience, "named");
    machine.flags.config = Some(machine.directory.path().join("absent.toml"));
    assert!(machine.error().contains("absent.toml: it cannot be read"), "{}", machine.error());
}
