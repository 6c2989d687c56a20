use super::*;

fn parse(url: &str) -> Result<DatabaseUrl, UrlError> {
    DatabaseUrl::parse(&Secret::new(url.to_owned()))
}

#[test]
fn every_url_gets_the_deadlines_that_it_does_not_set() {
    assert_eq!(
        with_defaults("postgres://db/x?connect_timeout=9&tcp_user_timeout=1"),
        "postgres://db/x?connect_timeout=9&tcp_user_timeout=1&keepalives_idle=5&\
         keepalives_interval=2&keepalives_count=2&target_session_attrs=read-write&\
         application_name=doorward"
    );
    assert!(with_defaults("postgres://db/x").starts_with("postgres://db/x?connect_timeout=2&"));
    assert!(with_defaults("postgres://db/x?").starts_with("postgres://db/x?connect_timeout=2"));
}

#[test]
fn unsupported_encryption_is_rejected() {
    for mode in ["require", "verify-ca", "verify-full"] {
        let parsed = parse(&format!("postgres://db/x?application_name=a&sslmode={mode}"));
        assert_eq!(parsed.is_ok(), TLS, "{mode}");
    }
    for mode in ["disable", "allow", "prefer"] {
        assert!(parse(&format!("postgres://db/x?sslmode={mode}")).is_ok(), "{mode}");
    }
}

#[test]
fn a_url_with_an_unencoded_password_is_malformed() {
    for url in [
        "u:hunter/2@db/x",
        "u:12/hunter@db/x",
        "u:hunter@2@db/x",
        "u:p@localhost@db/x",
        "u:hunter?2@db/x",
        "u:hunter%2@db/x",
        "u:hunter%zz@db/x",
        "u:hunter%00@db/x",
        "u:hunter 2@db/x",
        "u@db:hunter/x",
        "u:12?h2=3@db/x",
        "u:p@[::1/x",
        "u:p@[::1]5/x",
    ] {
        let refused = parse(&format!("postgres://{url}")).unwrap_err();
        assert_eq!(refused, MALFORMED, "{url}");
    }
    for url in [
        "u:p%40%2F%25@db:5432/x?options=-c%20a%3Db",
        "u:p#x:y@h1:1,h2:2,[::1]:3/x",
        "h:/x",
        "u@%2Frun%2Fpostgresql:5433/x",
        "/x?host=/run/postgresql&user=a@b",
        "db",
        "u:@/x?",
    ] {
        assert!(parse(&format!("postgres://{url}")).is_ok(), "{url}");
    }
}

#[test]
fn a_server_is_named_without_anything_that_could_be_a_secret() {
    for (url, named) in [
        ("postgres://u:hunter2@db.example:5432/x?password=hunter2", "postgres://db.example:5432/x"),
        ("postgres://[::1]:5432,localhost/x", "postgres://[::1]:5432,localhost/x"),
        ("postgres://u:hunter2@[::1]/x", "postgres://[::1]/x"),
        ("postgres:///x?host=/run/postgresql", "postgres:///run/postgresql/x"),
        ("postgres://db", "postgres://db"),
    ] {
        assert_eq!(parse(url).unwrap().named(), named);
    }
    let ambiguous = parse("postgres://db/x?user=u@hunter2").unwrap();
    assert_eq!(ambiguous.named(), "postgres://[secret]");
    for malformed in ["u:hun/ter2@db/x", "u:hun?ter2@db/x", "u:hun@ter2@db/x", "u:hunter2/x"] {
        assert!(parse(&format!("postgres://{malformed}")).is_err(), "{malformed}");
    }
}

#[test]
fn a_plain_connection_to_another_machine_is_exposed() {
    for local in [
        "postgres://localhost/x",
        "postgresql://u:p@127.0.0.1:5432/x",
        "postgres://[::1]:5432,localhost/x",
        "postgres:///x",
        "postgres:///x?host=/run/postgresql",
        "postgres://%2Frun%2Fpostgresql/x",
    ] {
        assert!(!parse(local).unwrap().is_exposed(), "{local}");
    }
    for remote in [
        "postgres://u:p@db.example/x",
        "postgres://localhost,db2/x?sslmode=prefer",
        "postgres:///x?host=db",
        "postgres://localhost/x?hostaddr=192.0.2.1",
    ] {
        assert!(parse(remote).unwrap().is_exposed(), "{remote}");
    }
    assert!(!parse("sqlite://x").unwrap().is_exposed());
}
