//! Valid and invalid values of every setting with bounds.

use super::*;

#[test]
fn text_settings_accept_only_valid_forms() {
    assert_bounds(&[
        (
            "public_url",
            "https://a.example,https://a.example/door,http://[::1]:8080/",
            "ftp://a.example,a.example",
        ),
        (
            "public_url",
            "http://localhost",
            "https://a.example/?,https://a.example/#x,https://u:p@a.example",
        ),
        (
            "public_url",
            "",
            "https://A.example,https://a.example:443, https://a.example,https://a.example/a b",
        ),
        ("audience", "a,https://api.example", ",a b,\u{e9}"),
        (
            "accounts.require_second_factor",
            "off,all,[\"admin\"]",
            "Off,[],[\"Admin\"],[\"a b\"],[\"\"],admin",
        ),
        ("accounts.fresh_for", "1m,1d", "59s,25h"),
        ("data_dir", "x", ""),
        (
            "database_url",
            "sqlite://x,sqlite:///x/y.db,postgres://h/d,postgresql:///d?host=/run,",
            "sqlite://,mysql://h/d",
        ),
        (
            "database_url",
            "",
            "x.db,sqlite:x.db,sqlite://:memory:,sqlite://x?mode=rwc,postgres://,Postgres://h/d",
        ),
        ("workers", "0,1024", "1025"),
        ("shutdown_timeout", "0s,10m", "601s"),
        (
            "log.level",
            "off,INFO,info;doorward=debug,warn;[span]=trace",
            "inof,doorward=loud,info; ;debug=loud,",
        ),
        ("cookies.same_site", "lax,strict", "none,Lax,"),
        (
            "cors.origins",
            "https://a.example;http://localhost:3000;capacitor://localhost",
            "*,null,https://a.example/",
        ),
        (
            "cors.origins",
            "",
            "https://a.example/x,https://A.example,https://a.example:443,ws://*.b,file:///",
        ),
        ("cors.headers", "x-requested-with;Sentry-Trace", "*,x y,x:y"),
        ("tls.hsts", "max-age=0,max-age=31536000,", "31536000,max-age=+1,max-age=,preload"),
    ]);
    let hsts = |text: &str| ConfigFixture::new().file(&format!("[tls]\nhsts = \"{text}\""));
    let whole = "max-age=600; includeSubDomains; preload";
    assert_eq!(hsts(whole).config().tls.hsts, whole);
    for odd in ["max-age=1;preload", "max-age=1; preLoad", "preload; max-age=1"] {
        assert!(hsts(odd).error().contains("tls.hsts"), "{odd}");
    }
}

#[test]
fn values_out_of_bounds_are_rejected() {
    assert_bounds(&[
        ("tokens.lifetime", "1m,1d", "59s,86401s"),
        ("tokens.key_lifetime", "1d,3650d", "23h,3651d"),
        ("tokens.jwks_max_age", "1m,1d", "59s,25h"),
        ("tokens.verifier_leeway", "0s,5m", "301s"),
        ("sessions.idle_timeout", "10m,90d", "9m,91d"),
        ("sessions.absolute_timeout", "30d,400d", "401d,29d,9m"),
        ("sessions.retry_window", "0s,10m", "601s"),
        ("sessions.max_per_user", "1,10000", "0,10001"),
        ("audit.retention", "1d,3650d", "23h,3651d"),
        ("sessions.ended_retention", "90d,3650d", "23h,3651d,89d"),
        ("passwords.min_length", "8,64", "7,65"),
        ("passwords.min_score", "0,4", "5,256"),
        ("passwords.memory_kib", "17920,1048576", "17919,7167,1048577"),
        ("passwords.iterations", "2,100", "0,1,101"),
        ("passwords.parallelism", "1,16", "0,17"),
        ("passwords.threads", "0,1024", "1025"),
        ("passwords.queue_capacity", "0,100000", "100001"),
        ("passwords.queue_deadline", "100ms,10s", "99ms,11s"),
        ("limits.login_per_minute", "1,60000", "0,60001"),
        ("limits.login_burst", "1,100000", "0,100001"),
        ("limits.register_per_minute", "1,60000", "0,60001"),
        ("limits.register_burst", "1,100000", "0,100001"),
        ("limits.refresh_per_minute", "1,60000", "0,60001"),
        ("limits.refresh_burst", "1,100000", "0,100001"),
        ("limits.failed_logins_per_address", "1,100", "0,101"),
        ("limits.failed_logins_per_account", "10,100", "9,0,101"),
        ("limits.failed_login_window", "1m,1d", "59s,25h"),
        ("limits.known_address_lifetime", "0s,90d", "91d"),
        ("limits.max_tracked_clients", "1000,10000000", "999,10000001"),
        ("limits.max_body_bytes", "4096,1048576", "4095,1048577"),
        ("limits.request_timeout", "3s,20s", "21s,2s,0s"),
        ("revocations.max_staleness", "5s,1h", "4s,61m"),
        ("revocations.max_clock_skew", "5s,5m", "4s,301s"),
        ("revocations.max_entries", "1000,100000000", "999,100000001"),
        ("database.pool_size", "1,1000", "0,1001"),
        ("database.statement_timeout", "100ms,10s", "99ms,11s"),
    ]);
}

/// Checks each setting with valid and invalid values, separated by commas; a semicolon is a comma
/// within a value.
fn assert_bounds(settings: &[(&str, &str, &str)]) {
    for (setting, good, bad) in settings {
        let with = |value: &str| {
            ConfigFixture::new().set(&format!("{setting}={}", value.replace(';', ",")))
        };
        for value in good.split(',') {
            let loaded = with(value).load();
            assert!(loaded.is_ok(), "{setting}={value}: {loaded:?}");
        }
        for value in bad.split(',') {
            let error = with(value).error();
            assert!(error.contains(": ") && error.contains("; "), "{setting}={value}: {error}");
            // The error of a bound between two settings may name the other.
            let blamed = error.starts_with(setting) || error.contains(" (default): ");
            assert!(blamed, "{setting}={value}: {error}");
        }
    }
}

#[test]
fn a_bound_names_value_origin_and_remedy() {
    assert_eq!(
        ConfigFixture::new().variable("DOORWARD_TOKENS__LIFETIME", "5").error(),
        "tokens.lifetime (variable DOORWARD_TOKENS__LIFETIME): 5s is out of bounds; set it to at \
         least 1m and at most 1d"
    );
    assert!(ConfigFixture::new().set("passwords.iterations=1").error().contains("OWASP"));
    ConfigFixture::new().set("passwords.memory_kib=7168").set("passwords.iterations=5").config();
}
