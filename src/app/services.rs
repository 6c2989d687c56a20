//! Builds the services that the API calls.

use std::num::NonZeroUsize;
use std::sync::Arc;

use actix_web::web;

use super::{StartError, mail, settings};
use crate::accounts::Accounts;
use crate::accounts::admin::{AccountAdmin, Announcement};
use crate::accounts::throttle::LoginThrottle;
use crate::audit::Audit;
use crate::clients::Clients;
use crate::clock::Clock;
use crate::config::{Config, MasterSecrets, Verification};
use crate::database::{Database, DatabaseSettings};
use crate::http::middleware::limits::{AddressLimiter, FailureLimiter, KeyedLimiter};
use crate::http::resources::feed_connections::FeedConnections;
use crate::http::{Api, HttpSettings, Limits};
use crate::keys::Keys;
use crate::passwords::Hasher;
use crate::refresh_token::TagKeys;
use crate::revocations::Revocations;
use crate::secret::{MasterSecret, Purpose};
use crate::sessions::Sessions;

/// Opens the database, loads the revocations and the signing keys, and builds the services on them.
///
/// # Errors
/// [`StartError`] when the database or the keys are unusable, or the system gives no thread.
pub(super) async fn build(
    config: &Config,
    clock: &Clock,
    database: &DatabaseSettings,
    secrets: &MasterSecrets,
    throttle: &Arc<LoginThrottle>,
    issuer: String,
) -> Result<Api, StartError> {
    let size_limit = settings::token_size_limit(config, &issuer);
    size_limit.check_user(&[], None)?;
    let db = Database::open(database)?;
    let revocations =
        Revocations::load(db.clone(), clock.clone(), settings::revocation_policy(config)).await?;
    let seal = settings::seal(secrets);
    let keys = Keys::load(db.clone(), clock.clone(), seal, settings::key_policy(config)).await?;
    let tag_key = |secret: &MasterSecret| secret.derive(Purpose::RefreshTokenTag);
    let tags = TagKeys::new(tag_key(&secrets.current), secrets.previous.as_ref().map(tag_key));
    let audit = Audit::new(db.clone(), clock.clone(), config.audit.retention);
    let mail = mail::service(config, secrets, db.clone(), clock.clone())?;
    let sessions = Sessions::new(
        db.clone(),
        clock.clone(),
        keys.clone(),
        revocations.clone(),
        tags,
        settings::session_policy(config, &issuer),
        audit.clone(),
        mail.clone(),
    );
    let factors = settings::factor_policy(config, secrets, &issuer);
    let hasher = Hasher::start(settings::hasher_settings(config), clock.clone())?;
    let accounts = Accounts::new(
        db.clone(),
        clock.clone(),
        hasher.with_dummy_key(secrets.current.derive(Purpose::DummyHashes)),
        settings::password_policy(config),
        Arc::clone(throttle),
        sessions.clone(),
        audit.clone(),
        mail.clone(),
        factors,
    )
    .with_registration(settings::registration_policy(config));
    let clients = Clients::new(db.clone(), clock.clone(), settings::client_policy(config, &issuer));
    let account_admin = AccountAdmin::new(
        db.clone(),
        clock.clone(),
        revocations.clone(),
        Announcement::BySync,
        size_limit,
    )
    .with_mail(mail);
    let limits = &config.limits;
    let refresh = settings::rate(limits.refresh_per_minute, limits.refresh_burst);
    let failures = settings::rate(limits.login_per_minute, limits.login_burst);
    Ok(Api {
        accounts,
        account_admin,
        sessions,
        clients,
        keys,
        revocations,
        audit,
        db,
        refresh_limit: KeyedLimiter::new(refresh, buckets(config)),
        client_failures: FailureLimiter::new(failures, buckets(config)),
        feed_connections: FeedConnections::default(),
        issuer,
        has_docs: config.docs.enabled,
        verifies_addresses: config.accounts.verification == Verification::Required,
    })
}

/// The rate limits by client address.
pub(super) fn limits_by_address(config: &Config, settings: &web::Data<HttpSettings>) -> Limits {
    let (limits, buckets) = (&config.limits, buckets(config));
    let by_address = |per_minute, burst| {
        AddressLimiter::new(settings::rate(per_minute, burst), buckets, settings.clone())
    };
    Limits {
        register: by_address(limits.register_per_minute, limits.register_burst),
        password: by_address(limits.login_per_minute, limits.login_burst),
    }
}

/// The number of buckets of a limiter.
fn buckets(config: &Config) -> NonZeroUsize {
    NonZeroUsize::new(config.limits.max_tracked_clients).unwrap_or(NonZeroUsize::MIN)
}
