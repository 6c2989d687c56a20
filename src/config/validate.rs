//! Range and cross-field validation. The bounds are also documented in the settings' comments, for
//! operators.

use std::fmt::Display;
use std::net::{Ipv4Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::time::Duration;

use ipnet::IpNet;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;
use url::Url;

use super::serde_formats::duration::spell;
use super::{
    Config, ConfigError, LimitsConfig, LogConfig, PasswordsConfig, SameSite, SessionsConfig,
    TokensConfig,
};
use crate::database::DatabaseUrl;

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(60 * 60);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);
const TEN_YEARS: Duration = Duration::from_secs(3650 * 24 * 60 * 60);

/// The minimum product of memory and passes in OWASP's list for Argon2id (7168 KiB, 5 passes), and
/// the minimum memory.
const MIN_WORK: u64 = 5 * 7168;
const MIN_MEMORY_KIB: u32 = 7168;

type Checked = Result<(), ConfigError>;

impl Config {
    /// Checks every value against its bounds and against related settings.
    ///
    /// # Errors
    /// [`ConfigError`] for the first invalid value.
    pub fn validate(&self) -> Result<(), ConfigError> {
        public_url(&self.public_url)?;
        audience(&self.audience)?;
        if self.data_dir.as_os_str().is_empty() {
            return Err(ConfigError::new("data_dir", "it is empty", "name a directory"));
        }
        self.database()?;
        self.given_secrets()?;
        in_range("workers", self.workers, 0..=1024)?;
        duration_in_range("shutdown_delay", self.shutdown_delay, Duration::ZERO..=10 * MINUTE)?;
        duration_in_range("shutdown_timeout", self.shutdown_timeout, Duration::ZERO..=10 * MINUTE)?;
        log(&self.log)?;
        trusted_proxies(self)?;
        tls(self)?;
        listeners(self)?;
        tokens(&self.tokens)?;
        sessions(&self.sessions, &self.tokens)?;
        passwords(&self.passwords)?;
        limits(&self.limits, self)?;
        duration_in_range(
            "revocations.max_staleness",
            self.revocations.max_staleness,
            5 * SECOND..=HOUR,
        )?;
        duration_in_range(
            "revocations.max_clock_skew",
            self.revocations.max_clock_skew,
            5 * SECOND..=5 * MINUTE,
        )?;
        in_range("revocations.max_entries", self.revocations.max_entries, 1000..=100_000_000)?;
        duration_in_range("audit.retention", self.audit.retention, DAY..=TEN_YEARS)?;
        self.cors.origins.iter().try_for_each(|text| origin(text))?;
        headers(&self.cors.headers)?;
        same_site(self)?;
        in_range("database.pool_size", self.database.pool_size, 1..=1000)?;
        let statement = self.database.statement_timeout;
        duration_in_range("database.statement_timeout", statement, SECOND / 10..=10 * SECOND)
    }

    /// The location of the data, by `database_url` and `data_dir`.
    ///
    /// # Errors
    /// [`ConfigError`] when the URL is not a valid SQLite or PostgreSQL URL.
    pub fn database(&self) -> Result<DatabaseUrl, ConfigError> {
        let Some(url) = &self.database_url else {
            return Ok(DatabaseUrl::Sqlite(self.data_dir.join("doorward.db")));
        };
        DatabaseUrl::parse(url)
            .map_err(|error| ConfigError::new("database_url", error.problem, error.remedy))
    }
}

fn tokens(tokens: &TokensConfig) -> Checked {
    duration_in_range("tokens.lifetime", tokens.lifetime, MINUTE..=DAY)?;
    duration_in_range("tokens.key_lifetime", tokens.key_lifetime, DAY..=TEN_YEARS)?;
    duration_in_range("tokens.jwks_max_age", tokens.jwks_max_age, MINUTE..=DAY)?;
    duration_in_range("tokens.verifier_leeway", tokens.verifier_leeway, Duration::ZERO..=5 * MINUTE)
}

fn sessions(sessions: &SessionsConfig, tokens: &TokensConfig) -> Checked {
    duration_in_range(
        "sessions.absolute_timeout",
        sessions.absolute_timeout,
        tokens.lifetime..=400 * DAY,
    )?;
    duration_in_range(
        "sessions.idle_timeout",
        sessions.idle_timeout,
        tokens.lifetime..=sessions.absolute_timeout,
    )?;
    duration_in_range(
        "sessions.retry_window",
        sessions.retry_window,
        Duration::ZERO..=tokens.lifetime,
    )?;
    in_range("sessions.max_per_user", sessions.max_per_user, 1..=10_000)?;
    duration_in_range("sessions.ended_retention", sessions.ended_retention, DAY..=TEN_YEARS)
}

fn passwords(passwords: &PasswordsConfig) -> Checked {
    in_range("passwords.min_length", passwords.min_length, 8..=64)?;
    in_range("passwords.min_score", passwords.min_score, 0..=4)?;
    in_range("passwords.memory_kib", passwords.memory_kib, MIN_MEMORY_KIB..=1 << 20)?;
    in_range("passwords.iterations", passwords.iterations, 1..=100)?;
    in_range("passwords.parallelism", passwords.parallelism, 1..=16)?;
    if u64::from(passwords.memory_kib) * u64::from(passwords.iterations) < MIN_WORK {
        let iterations = MIN_WORK.div_ceil(u64::from(passwords.memory_kib));
        let problem = format!(
            "with passwords.iterations it makes hashes too cheap to guess: their product is under \
             {MIN_WORK}, OWASP's minimum"
        );
        let remedy = format!("raise it, or set passwords.iterations to {iterations} or more");
        return Err(ConfigError::new("passwords.memory_kib", problem, remedy));
    }
    in_range("passwords.threads", passwords.threads, 0..=1024)?;
    in_range("passwords.queue_capacity", passwords.queue_capacity, 0..=100_000)?;
    duration_in_range(
        "passwords.queue_deadline",
        passwords.queue_deadline,
        SECOND / 10..=10 * SECOND,
    )
}

fn limits(limits: &LimitsConfig, config: &Config) -> Checked {
    for (setting, rate) in [
        ("limits.login_per_minute", limits.login_per_minute),
        ("limits.register_per_minute", limits.register_per_minute),
        ("limits.refresh_per_minute", limits.refresh_per_minute),
    ] {
        in_range(setting, rate, 1..=60_000)?;
    }
    for (setting, burst) in [
        ("limits.login_burst", limits.login_burst),
        ("limits.register_burst", limits.register_burst),
        ("limits.refresh_burst", limits.refresh_burst),
    ] {
        in_range(setting, burst, 1..=100_000)?;
    }
    let by_account = limits.failed_logins_per_account;
    in_range("limits.failed_logins_per_account", by_account, 1..=100)?;
    in_range("limits.failed_logins_per_address", limits.failed_logins_per_address, 1..=by_account)?;
    duration_in_range("limits.failed_login_window", limits.failed_login_window, MINUTE..=DAY)?;
    let kept = config.sessions.ended_retention;
    duration_in_range(
        "limits.known_address_lifetime",
        limits.known_address_lifetime,
        Duration::ZERO..=kept,
    )?;
    in_range("limits.max_tracked_clients", limits.max_tracked_clients, 1000..=10_000_000)?;
    in_range("limits.max_body_bytes", limits.max_body_bytes, 4096..=1 << 20)?;
    duration_in_range("limits.request_timeout", limits.request_timeout, SECOND..=20 * SECOND)?;
    if limits.request_timeout <= config.passwords.queue_deadline {
        return Err(ConfigError::new(
            "limits.request_timeout",
            format!(
                "a password may wait that long for its hash ({})",
                spell(config.passwords.queue_deadline)
            ),
            "raise it, or lower passwords.queue_deadline",
        ));
    }
    Ok(())
}

fn log(log: &LogConfig) -> Checked {
    // EnvFilter takes a single unknown word as the name of a module, and then logs nothing else.
    let lone = |part: &&str| {
        let part = part.trim();
        part.is_empty() || !part.contains(['=', '[', ']']) && part.parse::<LevelFilter>().is_err()
    };
    let unknown = log.level.split(',').find(lone).map(|part| {
        format!(
            "`{part}` is not a valid log \
                                                                      level"
        )
    });
    let problem =
        unknown.or_else(|| EnvFilter::try_new(&log.level).err().map(|error| error.to_string()));
    problem.map_or(Ok(()), |problem| {
        let remedy =
            "write off, error, warn, info, debug or trace, or as in info,doorward::sessions=debug";
        Err(ConfigError::new("log.level", problem, remedy))
    })
}

fn public_url(text: &str) -> Checked {
    if text.is_empty() {
        return Ok(());
    }
    let error = |problem: String| {
        Err(ConfigError::new("public_url", problem, "write it as in https://login.example.com"))
    };
    let Some(url) = Url::parse(text).ok().filter(|url| matches!(url.scheme(), "http" | "https"))
    else {
        return error(format!("`{text}` is not a valid http or https URL"));
    };
    if !url.username().is_empty() || url.password().is_some() {
        return error("it contains a user name or a password".into());
    }
    if url.query().is_some() || url.fragment().is_some() {
        return error(format!("`{text}` has a query or a fragment"));
    }
    // The issuer is compared as text, so only one form is allowed.
    let canonical = url.as_str().trim_end_matches('/');
    if text.trim_end_matches('/') != canonical {
        return error(format!("the canonical form of `{text}` is {canonical}"));
    }
    Ok(())
}

/// The largest private networks are 10.0.0.0/8 (RFC 1918) and `fc00::/7` (RFC 4193). Two halves of
/// the address space would be all of it, and so would a network that includes all of IPv4.
fn trusted_proxies(config: &Config) -> Checked {
    let is_too_wide = |net: &&IpNet| match net {
        IpNet::V4(net) => net.prefix_len() < 8,
        IpNet::V6(net) => {
            net.prefix_len() < 7 || net.contains(&Ipv4Addr::LOCALHOST.to_ipv6_mapped())
        }
    };
    match config.trusted_proxies.iter().find(is_too_wide) {
        None => Ok(()),
        Some(net) => Err(ConfigError::new(
            "trusted_proxies",
            format!(
                "{net} covers too many addresses: clients in it could claim any address, which \
                 defeats every limit by address"
            ),
            "name your proxy's own address or network, at most as large as 10.0.0.0/8",
        )),
    }
}

fn tls(config: &Config) -> Checked {
    let (has_cert, has_key) = (config.has_tls(), !config.tls.key.as_os_str().is_empty());
    if has_cert != has_key {
        let (lacking, other) =
            if has_cert { ("tls.key", "tls.cert") } else { ("tls.cert", "tls.key") };
        let problem = format!("{other} is set without it");
        return Err(ConfigError::new(lacking, problem, "name both files, or neither"));
    }
    if has_cert && !config.is_https() {
        let problem = "it is http, and with tls.cert Doorward serves https only";
        return Err(ConfigError::new("public_url", problem, "write it with https://"));
    }
    if config.tls.http_redirect_listen.is_some() && !config.is_https() {
        let problem = "it needs an https public_url to redirect to";
        let remedy = "set public_url to an https URL, or leave this out";
        return Err(ConfigError::new("tls.http_redirect_listen", problem, remedy));
    }
    hsts(&config.tls.hsts)
}

/// RFC 6797 6.1, in the one form that every browser parses.
fn hsts(text: &str) -> Checked {
    let mut directives = text.split("; ");
    let age = directives.next().and_then(|first| first.strip_prefix("max-age="));
    let is_age = age.is_some_and(|age| !age.starts_with('+') && age.parse::<u32>().is_ok());
    if text.is_empty()
        || is_age && directives.all(|it| matches!(it, "includeSubDomains" | "preload"))
    {
        return Ok(());
    }
    Err(ConfigError::new(
        "tls.hsts",
        format!("`{text}` is not a valid Strict-Transport-Security"),
        "write max-age=31536000, or max-age=31536000; includeSubDomains, or leave it empty",
    ))
}

/// With `reuse_port` two listeners of one process could share a port, and each request would reach
/// one of them at random.
fn listeners(config: &Config) -> Checked {
    let metrics = config.metrics.enabled.then_some(("metrics.listen", config.metrics.listen));
    let redirect = config.tls.http_redirect_listen.map(|from| ("tls.http_redirect_listen", from));
    let mut taken = vec![("listen", config.listen)];
    for (setting, address) in redirect.into_iter().chain(metrics) {
        if let Some((other, at)) = taken.iter().find(|(_, it)| meet(*it, address)) {
            let problem = format!("{address} is already taken by {other} ({at})");
            let remedy = "give each listener a port of its own";
            return Err(ConfigError::new(setting, problem, remedy));
        }
        taken.push((setting, address));
    }
    Ok(())
}

/// Whether two listeners would have the same address. The system chooses a free port for 0.
fn meet(one: SocketAddr, other: SocketAddr) -> bool {
    // `::ffff:127.0.0.1` is 127.0.0.1 (RFC 4291 2.5.5.2).
    let [own, others] = [one, other].map(|address| address.ip().to_canonical());
    let is_everywhere = own.is_unspecified() || others.is_unspecified();
    one.port() != 0 && one.port() == other.port() && (is_everywhere || own == others)
}

fn audience(text: &str) -> Checked {
    if (1..=100).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Ok(());
    }
    Err(ConfigError::new(
        "audience",
        format!("`{text}` is not 1 to 100 visible ASCII characters"),
        "write a name without spaces, or a URL",
    ))
}

pub(super) fn origin(text: &str) -> Checked {
    // A host of `*` parses, but no browser sends it.
    let url = Url::parse(text).ok().filter(|_| !text.contains('*'));
    let canonical = url.as_ref().and_then(|url| {
        let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
        url.host_str().map(|host| format!("{}://{host}{port}", url.scheme()))
    });
    match canonical {
        Some(canonical) if canonical == text => Ok(()),
        Some(canonical) => Err(ConfigError::new(
            "cors.origins",
            format!("`{text}` is not an origin in the form that browsers send"),
            format!("write {canonical}"),
        )),
        None => Err(ConfigError::new(
            "cors.origins",
            format!("`{text}` is not a valid origin"),
            "list each origin as in https://app.example.com",
        )),
    }
}

/// Names of header fields (RFC 9110 5.6.2), except `*`.
fn headers(names: &[String]) -> Checked {
    let is_name = |name: &String| {
        let of_a_name =
            |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'+-.^_`|~".contains(&byte);
        (1..=64).contains(&name.len()) && name.bytes().all(of_a_name)
    };
    if let Some(odd) = names.iter().find(|name| !is_name(name)) {
        let problem = format!("`{odd}` is not a valid header name");
        let remedy = "list each header by its name, as in x-requested-with";
        return Err(ConfigError::new("cors.headers", problem, remedy));
    }
    in_range("cors.headers", names.len(), 0..=20)
}

fn same_site(config: &Config) -> Checked {
    if config.cookies.same_site != SameSite::None || config.is_https() {
        return Ok(());
    }
    Err(ConfigError::new(
        "cookies.same_site",
        "with none, cookies need https",
        "set public_url to an https URL, or cookies.same_site to lax",
    ))
}

fn in_range<T: PartialOrd + Display>(
    setting: &str,
    value: T,
    bounds: RangeInclusive<T>,
) -> Checked {
    if bounds.contains(&value) {
        return Ok(());
    }
    Err(outside(setting, value, bounds.start(), bounds.end()))
}

pub(super) fn duration_in_range(
    setting: &str,
    value: Duration,
    bounds: RangeInclusive<Duration>,
) -> Checked {
    if bounds.contains(&value) {
        return Ok(());
    }
    Err(outside(setting, spell(value), spell(*bounds.start()), spell(*bounds.end())))
}

fn outside(
    setting: &str,
    value: impl Display,
    least: impl Display,
    most: impl Display,
) -> ConfigError {
    let remedy = format!("set it to at least {least} and at most {most}");
    ConfigError::new(setting, format!("{value} is out of bounds"), remedy)
}
