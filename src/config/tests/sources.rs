//! The sources of a value, and which of them wins.

use super::*;

#[test]
fn the_last_source_that_sets_a_setting_wins() {
    let lifetime = |fixture: &ConfigFixture| fixture.config().tokens.lifetime.as_secs();
    let fixture = ConfigFixture::new();
    assert_eq!(lifetime(&fixture), 600);
    let fixture = fixture.file("[tokens]\nlifetime = '2m'\n");
    assert_eq!(lifetime(&fixture), 120);
    let fixture = fixture.variable("DOORWARD_TOKENS__LIFETIME", "3m");
    assert_eq!(lifetime(&fixture), 180);
    let fixture = fixture.set("tokens.lifetime=4m");
    assert_eq!(lifetime(&fixture), 240);
    assert_eq!(fixture.config().tokens.key_lifetime, TokensConfig::default().key_lifetime);
}

#[test]
fn named_flags_set_their_settings() {
    let mut fixture = ConfigFixture::new();
    fixture.flags = Flags {
        listen: Some("[::1]:0".into()),
        public_url: Some("https://login.example.com/".into()),
        data_dir: Some("/srv/doorward".into()),
        database_url: Some("sqlite:///srv/d.db".into()),
        log: Some("debug".into()),
        ..Flags::default()
    };
    let config = fixture.config();
    assert_eq!(config.issuer(config.listen), "https://login.example.com");
    assert_eq!(config.data_dir, Path::new("/srv/doorward"));
    assert_eq!(config.log.level, "debug");
    let database = config.database().unwrap();
    assert!(matches!(database, DatabaseUrl::Sqlite(path) if path == Path::new("/srv/d.db")));
}

#[test]
fn the_config_file_is_chosen_by_flag_then_variable_then_working_directory() {
    let mut fixture = ConfigFixture::new().file("audience = 'there'");
    assert_eq!(fixture.config().audience, "there");
    let named = fixture.directory.path().join("named.toml");
    fs::write(&named, "audience = 'named'").unwrap();
    fixture = fixture.variable("DOORWARD_CONFIG", named.to_str().unwrap());
    assert_eq!(fixture.config().audience, "named");
    fixture.flags.config = Some(fixture.directory.path().join("absent.toml"));
    assert!(fixture.error().contains("absent.toml: it cannot be read"), "{}", fixture.error());
}
