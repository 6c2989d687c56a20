//! The sections whose values have numeric bounds, and the log.

use std::time::Duration;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

use super::Checked;
use super::bounds::{DAY, MINUTE, SECOND, TEN_YEARS, duration_in_range, in_range};
use crate::config::serde_formats::duration::format_duration;
use crate::config::{
    Config, ConfigError, LimitsConfig, LogConfig, PasswordsConfig, SessionsConfig, TokensConfig,
};

/// The minimum product of memory and passes in OWASP's list for Argon2id (7168 KiB, 5 passes), and
/// the minimum memory.
const MIN_WORK: u64 = 5 * 7168;
const MIN_MEMORY_KIB: u32 = 7168;

pub(super) fn tokens(tokens: &TokensConfig) -> Checked {
    duration_in_range("tokens.lifetime", tokens.lifetime, MINUTE..=DAY)?;
    duration_in_range("tokens.key_lifetime", tokens.key_lifetime, DAY..=TEN_YEARS)?;
    duration_in_range("tokens.jwks_max_age", tokens.jwks_max_age, MINUTE..=DAY)?;
    in_range("tokens.max_bytes", tokens.max_bytes, 512..=4000)?;
    duration_in_range("tokens.verifier_leeway", tokens.verifier_leeway, Duration::ZERO..=5 * MINUTE)
}

pub(super) fn sessions(sessions: &SessionsConfig, tokens: &TokensConfig) -> Checked {
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

pub(super) fn passwords(passwords: &PasswordsConfig) -> Checked {
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

pub(super) fn limits(limits: &LimitsConfig, config: &Config) -> Checked {
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
                format_duration(config.passwords.queue_deadline)
            ),
            "raise it, or lower passwords.queue_deadline",
        ));
    }
    Ok(())
}

pub(super) fn log(log: &LogConfig) -> Checked {
    // EnvFilter takes a single unknown word as the name of a module, and then logs nothing else.
    let lone = |part: &&str| {
        let part = part.trim();
        part.is_empty() || !part.contains(['=', '[', ']']) && part.parse::<LevelFilter>().is_err()
    };
    let unknown =
        log.level.split(',').find(lone).map(|part| format!("`{part}` is not a valid log level"));
    let problem =
        unknown.or_else(|| EnvFilter::try_new(&log.level).err().map(|error| error.to_string()));
    problem.map_or(Ok(()), |problem| {
        let remedy =
            "write off, error, warn, info, debug or trace, or as in info,doorward::sessions=debug";
        Err(ConfigError::new("log.level", problem, remedy))
    })
}
