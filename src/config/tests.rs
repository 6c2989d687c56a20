mod renamed;
mod secrets;

use std::ffi::OsString;
use std::fs::{self, Permissions};
use std::os::unix::ffi::OsStringExt as _;
use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

use tempfile::TempDir;

use super::*;
use crate::database::DatabaseUrl;
use crate::secret::{MasterSecret, Purpose, Secret};

/// A fixture: a working directory, an environment and a command line.
struct ConfigFixture {
    directory: TempDir,
    variables: Vec<(OsString, OsString)>,
    flags: Flags,
}

impl ConfigFixture {
    fn new() -> Self {
        let directory = TempDir::new().unwrap();
        Self { directory, variables: Vec::new(), flags: Flags::default() }
    }

    fn file(self, text: &str) -> Self {
        fs::write(self.directory.path().join("doorward.toml"), text).unwrap();
        self
    }

    fn variable(mut self, name: &str, value: &str) -> Self {
        self.variables.push((name.into(), value.into()));
        self
    }

    fn set(mut self, setting: &str) -> Self {
        self.flags.set.push(setting.into());
        self
    }

    fn load(&self) -> Result<Loaded, ConfigError> {
        load_from(&self.flags, self.variables.clone(), self.directory.path())
    }

    fn config(&self) -> Config {
        self.load().unwrap().config
    }

    fn error(&self) -> String {
        self.load().unwrap_err().to_string()
    }
}

fn secret() -> String {
    MasterSecret::generate().to_text().to_string()
}

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

#[test]
fn text_takes_the_type_of_the_setting() {
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
    assert_eq!(config.revocations.when_stale, WhenStale::FailOpen);
    assert_eq!(config.audience, "12");
}

#[test]
fn an_unknown_setting_names_the_nearest() {
    let machine = ConfigFixture::new().file("[tokens]\nlifetme = '2m'\n");
    let file = machine.directory.path().join("doorward.toml");
    assert_eq!(
        machine.error(),
        format!(
            "tokens.lifetme (file {}): this setting does not exist; the nearest is \
             tokens.lifetime: rename it or remove it",
            file.display()
        )
    );
    for (text, nearest) in [
        ("lifetime = '2m'", "tokens.lifetime"),
        ("[token]\nlifetime = '2m'", "tokens.lifetime"),
        ("tokens = 1", ""),
        ("[toknes]", ""),
        ("[tokens.lifetime]\nx = 1", "tokens.lifetime"),
        ("secretfile = 'x'", "secret_file"),
        ("audience_file = 'x'", "audience"),
    ] {
        let error = ConfigFixture::new().file(text).error();
        assert!(error.contains("this setting does not exist; the nearest is "), "{text}: {error}");
        assert!(error.contains(nearest), "{text}: {error}");
    }
    assert!(
        ConfigFixture::new().set("log.levle=info").error().starts_with("log.levle (flag --set): ")
    );
    ConfigFixture::new().file("[tokens]\n[cors]\n").config();
}

#[test]
fn an_unknown_variable_names_the_nearest() {
    assert_eq!(
        ConfigFixture::new().variable("DOORWARD_TOKENS_LIFETIME", "2m").error(),
        "variable DOORWARD_TOKENS_LIFETIME: this setting does not exist; the nearest is \
         DOORWARD_TOKENS__LIFETIME: rename the variable or remove it"
    );
    for name in ["DOORWARD_", "DOORWARD_Listen", "DOORWARD_PORT", "DOORWARD_TOKENS.LIFETIME"] {
        let error = ConfigFixture::new().variable(name, "1").error();
        assert!(error.starts_with(&format!("variable {name}: this setting does not")), "{error}");
    }
}

#[test]
fn kubernetes_service_variables_are_ignored() {
    ConfigFixture::new()
        .variable("DOORWARD_PORT", "tcp://10.0.0.1:80")
        .variable("DOORWARD_SERVICE_HOST", "10.0.0.1")
        .variable("DOORWARD_SERVICE_PORT_HTTP", "80")
        .variable("DOORWARD_PORT_80_TCP_ADDR", "10.0.0.1")
        .variable("DOORWARD_POSTGRES_PORT_5432_TCP", "tcp://10.0.0.2:5432")
        .config();
}

#[test]
fn a_variable_that_is_not_utf_8_is_refused() {
    let mut machine = ConfigFixture::new();
    machine.variables.push(("OTHER".into(), OsString::from_vec(vec![0xff])));
    machine.config();
    machine.variables.push(("DOORWARD_AUDIENCE".into(), OsString::from_vec(vec![0xff])));
    assert_eq!(
        machine.error(),
        "variable DOORWARD_AUDIENCE: its value is not UTF-8; set it to text or remove it"
    );
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
fn every_text_has_its_form() {
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
fn every_bound_holds() {
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

#[test]
fn secrets_are_hidden_in_every_output() {
    let (current, previous) = (secret(), secret());
    let url = "postgres://door:hunter2@db.example/door";
    let machine = ConfigFixture::new()
        .variable("DOORWARD_SECRET", &current)
        .variable("DOORWARD_PREVIOUS_SECRET", &previous)
        .variable("DOORWARD_DATABASE_URL", url);
    let loaded = machine.load().unwrap();
    let printed = loaded.to_toml().unwrap();
    assert!(printed.contains("\n#secret = \"[secret]\" # variable DOORWARD_SECRET\n"), "{printed}");
    for shown in [printed, format!("{loaded:?}"), format!("{:?}", loaded.config.master_secret())] {
        for hidden in [current.as_str(), previous.as_str(), "hunter2"] {
            assert!(!shown.contains(hidden), "{shown}");
        }
    }
    for text in [
        "secret = 1234567",
        "secret = ['1234567']",
        "secret = '1234567'",
        "database_url = '1234567'",
    ] {
        let error = ConfigFixture::new().file(text).error();
        assert!(!error.contains("1234567"), "{error}");
    }
    assert!(!ConfigFixture::new().set("secret:1234567").error().contains("1234567"));
    let sqlite = ConfigFixture::new().set("database_url=sqlite:///srv/d.db").load().unwrap();
    assert!(sqlite.to_toml().unwrap().contains("\"sqlite:///srv/d.db\" # flag --set\n"));
}

#[test]
fn printed_config_round_trips() {
    let machine = ConfigFixture::new()
        .set("tokens.lifetime=7m")
        .set("trusted_proxies=10.0.0.0/8")
        .set("data_dir=a\n\"b\"")
        .set("cors.origins=https://a.example,https://b.example");
    let printed = machine.load().unwrap().to_toml().unwrap();
    let again = ConfigFixture::new().file(&printed).load().unwrap();
    let values = |loaded: &Loaded| layers::flat(&loaded.config).unwrap();
    assert_eq!(values(&again), values(&machine.load().unwrap()));
}

#[test]
fn a_file_that_was_printed_with_secrets_serves_when_they_are_given_again() {
    let (current, previous) = (secret(), secret());
    let url = "postgres://door:hunter2@db.example/door";
    let secrets = [("secret", &*current), ("previous_secret", &*previous), ("database_url", url)];
    let values = |loaded: &Loaded| format!("{:?}", layers::flat(&loaded.config).unwrap());
    for way in ["file", "variable", "flag", "file of file", "file of variable", "file of flag"] {
        let mut machine = ConfigFixture::new();
        let mut text = String::from("audience = 'a'\n");
        let is_in_file = way.starts_with("file of");
        for (name, value) in secrets {
            let path = machine.directory.path().join(name);
            fs::write(&path, value).unwrap();
            let path = path.to_str().unwrap().to_owned();
            let (key, value) = if is_in_file {
                (format!("{name}_file"), path)
            } else {
                (name.to_owned(), value.to_owned())
            };
            match way.rsplit(' ').next().unwrap() {
                "file" => text.extend([&key, " = '", &value, "'\n"]),
                "variable" => {
                    let variable = format!("DOORWARD_{}", key.to_ascii_uppercase());
                    machine = machine.variable(&variable, &value);
                }
                _ => machine = machine.set(&format!("{key}={value}")),
            }
        }
        let machine = machine.file(&text);
        let before = machine.load().unwrap();
        let printed = before.to_toml().unwrap();
        assert!(!printed.contains("hunter2") && !printed.contains(&current), "{way}: {printed}");
        let mut again = ConfigFixture::new().file(&printed);
        if !is_in_file {
            again.load().unwrap();
            for (name, value) in secrets {
                let variable = format!("DOORWARD_{}", name.to_ascii_uppercase());
                again = again.variable(&variable, value);
            }
        }
        let again = again.load().unwrap();
        assert_eq!(values(&again), values(&before), "{way}");
        let exposed = |it: &Option<Secret<String>>| it.as_ref().map(|it| it.expose().clone());
        let config = again.config;
        assert_eq!(exposed(&config.secret).unwrap(), current, "{way}");
        assert_eq!(exposed(&config.previous_secret).unwrap(), previous, "{way}");
        assert_eq!(exposed(&config.database_url).unwrap(), url, "{way}");
    }
}

#[test]
fn every_setting_is_printed_with_its_documentation() {
    let printed = ConfigFixture::new().load().unwrap().to_toml().unwrap();
    let lines: Vec<&str> = printed.lines().collect();
    let settings: Vec<usize> = (0..lines.len())
        .filter(|&at| lines[at].contains(" = ") && !lines[at].starts_with("# "))
        .collect();
    assert_eq!(settings.len(), layers::flat(&Config::default()).unwrap().len());
    for at in settings {
        assert!(lines[at - 1].starts_with("# "), "{}", lines[at]);
        // Nothing is set, so every line is a comment; without the # each is a setting.
        let set = lines[at].strip_prefix('#').unwrap();
        ConfigFixture::new().file(set).config();
    }
    assert!(lines.iter().all(|line| line.is_empty() || line.starts_with('#')), "{printed}");
    assert!(lines.iter().all(|line| line.len() <= 100));
}

#[test]
fn the_issuer_follows_the_address_when_no_url_is_given() {
    let config = Config::default();
    config.validate().unwrap();
    assert_eq!(config.issuer("127.0.0.1:4711".parse().unwrap()), "http://127.0.0.1:4711");
}

#[test]
fn durations_are_printed_in_one_unit() {
    for text in ["0s", "100ms", "1s", "90s", "10m", "25h", "90d"] {
        assert_eq!(serde_formats::duration::spell(humantime::parse_duration(text).unwrap()), text);
    }
}

#[test]
fn an_error_is_one_line_for_every_input() {
    let error = ConfigFixture::new().set("a\nb\u{1b}=1").error();
    assert!(error.starts_with("a\\u000ab\\u001b (flag --set): "), "{error}");
}
