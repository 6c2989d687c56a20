//! The form of a value: its type, its text, its unit.

use super::*;
use crate::revocations::StalePolicy;

#[test]
fn text_is_converted_to_the_settings_type() {
    let config = ConfigFixture::new()
        .variable("DOORWARD_DATABASE__MIGRATE", "false")
        .variable("DOORWARD_SESSIONS__MAX_PER_USER", "7")
        .variable("DOORWARD_SESSIONS__RETRY_WINDOW", "45")
        .variable("DOORWARD_TRUSTED_PROXIES", "10.0.0.0/8, ::1,")
        .variable("DOORWARD_TOKENS__ALGORITHM", "EdDSA")
        .variable("DOORWARD_REVOCATIONS__WHEN_STALE", "fail_open")
        .set("audience=12")
        .config();
    assert!(!config.database.migrate);
    assert_eq!(config.sessions.max_per_user, 7);
    assert_eq!(config.sessions.retry_window, Duration::from_secs(45));
    assert_eq!(config.trusted_proxies, ["10.0.0.0/8".parse().unwrap(), "::1/128".parse().unwrap()]);
    assert_eq!(config.revocations.when_stale, StalePolicy::FailOpen);
    assert_eq!(config.audience, "12");
}

#[test]
fn a_wrong_type_names_the_setting_and_shows_the_right_one() {
    for (name, value, example) in [
        ("DOORWARD_WORKERS", "many", "workers = 0"),
        ("DOORWARD_WORKERS", "-1", "workers = 0"),
        ("DOORWARD_DATABASE__MIGRATE", "yes", "migrate = true"),
        ("DOORWARD_LISTEN", "localhost", "listen = \"127.0.0.1:8080\""),
        ("DOORWARD_TOKENS__LIFETIME", "soon", "lifetime = \"10m\""),
        ("DOORWARD_TOKENS__LIFETIME", "-1", "lifetime = \"10m\""),
        ("DOORWARD_TOKENS__LIFETIME", "", "lifetime = \"10m\""),
        ("DOORWARD_TOKENS__ALGORITHM", "HS256", "algorithm = \"ES256\""),
        ("DOORWARD_LOG__FORMAT", "xml", "format = \"text\""),
        ("DOORWARD_TRUSTED_PROXIES", "10.0.0.0/33", "trusted_proxies = []"),
    ] {
        let error = ConfigFixture::new().variable(name, value).error();
        assert!(error.contains(&format!("(variable {name}): ")), "{error}");
        assert!(error.ends_with(&format!("; write it as in `{example}`")), "{error}");
        assert!(!error.contains('\n'), "{error}");
    }
    let error = ConfigFixture::new().file("[tokens]\nlifetime = -5").error();
    assert!(error.contains(": -5 is not a valid duration; "), "{error}");
    assert!(ConfigFixture::new().file("workers = 1.5").error().contains("workers = 0"));
    assert!(ConfigFixture::new().file("listen = 1").error().starts_with("listen (file "));
}

#[test]
fn toml_that_does_not_parse_names_the_line_and_shows_no_secret() {
    let error = ConfigFixture::new().file("workers = 1\nsecret = hunter2'\n").error();
    assert!(error.contains("doorward.toml: line 2 is not TOML: "), "{error}");
    assert!(!error.contains("hunter2") && !error.contains('\n'), "{error}");
}

#[test]
fn durations_are_printed_in_one_unit() {
    for text in ["0s", "100ms", "1s", "90s", "10m", "25h", "90d"] {
        assert_eq!(
            serde_formats::duration::format_duration(humantime::parse_duration(text).unwrap()),
            text
        );
    }
}
