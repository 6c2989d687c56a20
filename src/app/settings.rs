//! Conversion of the configuration to the settings structs of the components.

use std::num::NonZeroU32;
use std::time::Duration;

use actix_web::http::header::HeaderValue;
use url::Url;

use crate::accounts::throttle::ThrottleSettings;
use crate::accounts::{FactorPolicy, RegistrationPolicy, RequiredFactor};
use crate::clients::ClientPolicy;
use crate::config::{self, Config, ConfigError, MasterSecrets};
use crate::database::DatabaseSettings;
use crate::factors::keys::FactorKeys;
use crate::http::middleware::cors::{ClientOrigins, CorsPolicy};
use crate::http::middleware::limits::Rate;
use crate::http::request::cookies::CookiePolicy;
use crate::http::server::tls::TlsFiles;
use crate::keys::{KeyPolicy, Seal};
use crate::passwords::{HashCost, HasherSettings, PasswordPolicy};
use crate::revocations::RevocationPolicy;
use crate::revocations::sync::SyncMode;
use crate::secret::Purpose;
use crate::sessions::SessionPolicy;
use crate::tokens::{Expected, TokenSizeLimit};

/// The longest time that any access token may be accepted: its lifetime plus the leeway of
/// verifiers.
pub(crate) fn max_token_age(config: &Config) -> Duration {
    config.tokens.lifetime + config.tokens.verifier_leeway
}

pub(crate) fn revocation_policy(config: &Config) -> RevocationPolicy {
    RevocationPolicy {
        max_token_age: max_token_age(config),
        max_staleness: config.revocations.max_staleness,
        when_stale: config.revocations.when_stale,
        max_clock_skew: config.revocations.max_clock_skew,
        max_entries: config.revocations.max_entries,
    }
}

pub(crate) const fn sync_mode(config: &Config) -> SyncMode {
    match config.revocations.sync {
        config::RevocationSync::Listen => SyncMode::Listen,
        config::RevocationSync::Poll => SyncMode::Poll,
    }
}

pub(crate) fn key_policy(config: &Config) -> KeyPolicy {
    KeyPolicy {
        algorithm: config.tokens.algorithm,
        lifetime: config.tokens.key_lifetime,
        jwks_max_age: config.tokens.jwks_max_age,
        max_token_age: max_token_age(config),
    }
}

pub(crate) fn seal(secrets: &MasterSecrets) -> Seal {
    let previous = secrets.previous.as_ref();
    Seal {
        current: secrets.current.derive(Purpose::SigningKeySeal),
        previous: previous.map(|secret| secret.derive(Purpose::SigningKeySeal)),
    }
}

pub(crate) fn factor_policy(
    config: &Config,
    secrets: &MasterSecrets,
    issuer: &str,
) -> FactorPolicy {
    let host = Url::parse(issuer).ok().and_then(|url| url.host_str().map(str::to_owned));
    FactorPolicy {
        keys: FactorKeys::new(&secrets.current, secrets.previous.as_ref()),
        fresh_for: config.accounts.fresh_for,
        required: match &config.accounts.require_second_factor {
            config::RequireSecondFactor::Off => RequiredFactor::Off,
            config::RequireSecondFactor::All => RequiredFactor::All,
            config::RequireSecondFactor::Roles(roles) => RequiredFactor::Roles(roles.clone()),
        },
        service: host.unwrap_or_else(|| issuer.to_owned()),
    }
}

pub(crate) fn throttle_settings(config: &Config) -> ThrottleSettings {
    ThrottleSettings {
        per_source: config.limits.failed_logins_per_address,
        per_account: config.limits.failed_logins_per_account,
        window: config.limits.failed_login_window,
        max_counters: config.limits.max_tracked_clients,
    }
}

pub(crate) const fn password_policy(config: &Config) -> PasswordPolicy {
    PasswordPolicy {
        min_length: config.passwords.min_length,
        min_score: config.passwords.min_score,
    }
}

/// For a command, which runs one statement at a time: the service may need the role's other
/// connections.
pub(crate) fn one_connection(config: &Config) -> Result<DatabaseSettings, ConfigError> {
    Ok(DatabaseSettings { pool_size: 1, ..database_settings(config)? })
}

pub(crate) fn database_settings(config: &Config) -> Result<DatabaseSettings, ConfigError> {
    Ok(DatabaseSettings {
        url: config.database()?,
        pool_size: config.database.pool_size,
        statement_timeout: config.database.statement_timeout,
        migrate: config.database.migrate,
    })
}

pub(crate) fn session_policy(config: &Config, issuer: &str) -> SessionPolicy {
    SessionPolicy {
        idle_timeout: config.sessions.idle_timeout,
        absolute_timeout: config.sessions.absolute_timeout,
        retry_window: config.sessions.retry_window,
        max_per_user: config.sessions.max_per_user,
        ended_retention: config.sessions.ended_retention,
        known_address_lifetime: config.limits.known_address_lifetime,
        expected: Expected {
            issuer: issuer.to_owned(),
            audience: config.audience.clone(),
            leeway: Duration::ZERO,
        },
        token_lifetime: config.tokens.lifetime,
        max_token_bytes: config.tokens.max_bytes,
        auth_claims: config.tokens.auth_claims,
    }
}

pub(crate) const fn registration_policy(config: &Config) -> RegistrationPolicy {
    match config.accounts.registration {
        config::Registration::Open => RegistrationPolicy::Open,
        config::Registration::Closed => RegistrationPolicy::Closed,
        config::Registration::Invite => RegistrationPolicy::Invite,
    }
}

pub(crate) fn client_policy(config: &Config, issuer: &str) -> ClientPolicy {
    ClientPolicy {
        size_limit: token_size_limit(config, issuer),
        max_token_lifetime: config.tokens.lifetime,
    }
}

/// With an issuer that follows from the address, tokens of a command may differ by a few bytes from
/// the service's.
pub(crate) fn token_size_limit(config: &Config, issuer: &str) -> TokenSizeLimit {
    TokenSizeLimit {
        max_bytes: config.tokens.max_bytes,
        algorithm: config.tokens.algorithm,
        issuer: issuer.to_owned(),
        audience: config.audience.clone(),
    }
}

pub(crate) fn tls_files(config: &Config) -> Option<TlsFiles> {
    let files = || TlsFiles { cert: config.tls.cert.clone(), key: config.tls.key.clone() };
    config.has_tls().then(files)
}

pub(crate) fn cookie_policy(config: &Config, issuer: &str) -> CookiePolicy {
    let same_site = match config.cookies.same_site {
        config::SameSite::Lax => cookie::SameSite::Lax,
        config::SameSite::Strict => cookie::SameSite::Strict,
        config::SameSite::None => cookie::SameSite::None,
    };
    CookiePolicy::new(issuer, same_site, config.cors.origins.clone())
}

pub(crate) fn hsts(config: &Config, issuer: &str) -> Option<HeaderValue> {
    let is_sent = issuer.starts_with("https://") && !config.tls.hsts.is_empty();
    is_sent.then(|| config.tls.hsts.parse().ok()).flatten()
}

pub(crate) fn cors_policy(config: &Config, client_origins: ClientOrigins) -> CorsPolicy {
    CorsPolicy::new(config.cors.origins.clone(), client_origins, &config.cors.headers)
}

pub(crate) fn hasher_settings(config: &Config) -> HasherSettings {
    HasherSettings {
        cost: HashCost {
            memory_kib: config.passwords.memory_kib,
            iterations: config.passwords.iterations,
            parallelism: config.passwords.parallelism,
        },
        threads: config.passwords.hashing_threads(),
        queue: config.passwords.queue_length(),
        deadline: config.passwords.queue_deadline,
    }
}

pub(crate) fn rate(per_minute: u32, burst: u32) -> Rate {
    Rate {
        burst: NonZeroU32::new(burst).unwrap_or(NonZeroU32::MIN),
        every: Duration::from_secs(60) / per_minute.max(1),
    }
}
