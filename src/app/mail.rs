//! Assembles mail from the settings: requests, messages, and the sender.

use url::Url;

use crate::accounts::mail_proof::directory;
use crate::clock::Clock;
use crate::config::{Config, ConfigError, MasterSecrets};
use crate::database::Database;
use crate::http::Api;
use crate::mail::codes::MailKeys;
use crate::mail::messages::{MessageRenderer, ServiceInfo, TemplateError};
use crate::mail::sender::MailSender;
use crate::mail::transport::{MailTransport, MailUrl, OutboxFolder, SmtpTransport};
use crate::mail::{Lifetimes, Mail, MailPolicy};
use crate::secret::MasterSecret;

/// Why mail cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum MailError {
    /// A setting is invalid.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A template is invalid.
    #[error("email.templates: {0}")]
    Template(#[from] TemplateError),
    /// No encrypted connection to the mail server is possible.
    #[error("email.url: {}", tls_problem(.0))]
    Tls(#[from] lettre::transport::smtp::Error),
}

impl MailError {
    /// The setting, and the problem with its remedy, for callers that show the two apart.
    pub(crate) fn by_setting(&self) -> (&'static str, String) {
        match self {
            Self::Config(error) => ("email", error.to_string()),
            Self::Template(error) => ("email.templates", error.to_string()),
            Self::Tls(error) => ("email.url", tls_problem(error)),
        }
    }
}

fn tls_problem(error: &lettre::transport::smtp::Error) -> String {
    format!("TLS cannot be set up: {error}; check the authorities that this machine trusts")
}

pub(super) fn service(
    config: &Config,
    secrets: &MasterSecrets,
    db: Database,
    clock: Clock,
) -> Result<Mail, ConfigError> {
    let keys = MailKeys::new(&secrets.current, secrets.previous.as_ref());
    with_keys(config, keys, db, clock)
}

/// For a command: it enqueues notices only, which contain neither link nor code, so it needs no
/// secret.
pub(crate) fn for_notices(
    config: &Config,
    db: Database,
    clock: Clock,
) -> Result<Mail, ConfigError> {
    with_keys(config, MailKeys::new(&MasterSecret::generate(), None), db, clock)
}

/// For a command that makes links.
pub(crate) fn for_links(config: &Config, db: Database, clock: Clock) -> Result<Mail, ConfigError> {
    service(config, &config.master_secret()?, db, clock)
}

fn with_keys(
    config: &Config,
    keys: MailKeys,
    db: Database,
    clock: Clock,
) -> Result<Mail, ConfigError> {
    let policy = MailPolicy {
        is_on: config.mail_url()?.is_some(),
        lifetimes: lifetimes(config),
        max_rows: config.email.max_rows,
    };
    Ok(Mail::new(db, clock, keys, policy))
}

fn lifetimes(config: &Config) -> Lifetimes {
    Lifetimes { code: config.email.code_lifetime, link: config.email.link_lifetime }
}

pub(crate) fn renderer(config: &Config, issuer: &str) -> Result<MessageRenderer, MailError> {
    let folder = Some(config.email.templates.as_path()).filter(|path| !path.as_os_str().is_empty());
    let service = service_info(config, issuer)?;
    Ok(MessageRenderer::load(folder, service)?)
}

/// The properties of the service that messages contain.
pub(crate) fn service_info(config: &Config, issuer: &str) -> Result<ServiceInfo, MailError> {
    let host = Url::parse(issuer).ok().and_then(|url| url.host_str().map(str::to_owned));
    let name = config.mail_sender()?.name;
    let service = name.filter(|_| !config.email.from.is_empty()).or(host);
    let own_page = format!("{issuer}/reset#token={{token}}");
    let link = Some(config.email.links.reset.clone()).filter(|link| !link.is_empty());
    Ok(ServiceInfo {
        name: service.unwrap_or_else(|| issuer.to_owned()),
        issuer: issuer.to_owned(),
        reset_link: link.unwrap_or(own_page),
    })
}

/// The transport of messages; `None` when mail is off.
pub(crate) fn transport(
    config: &Config,
    clock: &Clock,
) -> Result<Option<MailTransport>, MailError> {
    let from = config.mail_sender()?;
    Ok(match config.mail_url()? {
        None => None,
        Some(MailUrl::Folder) => {
            let folder = OutboxFolder::new(config.data_dir.join("outbox"), clock.clone());
            Some(MailTransport::Folder(folder, from))
        }
        Some(MailUrl::Smtp { host, port, tls, login }) => {
            Some(MailTransport::Smtp(SmtpTransport::new(&host, port, tls, login.as_ref())?, from))
        }
    })
}

/// The parts of a sender that follow from the settings alone, so that an invalid one is found
/// before any data is created.
pub(super) struct SenderParts {
    renderer: MessageRenderer,
    transport: Option<MailTransport>,
}

impl SenderParts {
    /// Templates are checked although mail is off.
    pub(super) fn new(config: &Config, issuer: &str, clock: &Clock) -> Result<Self, MailError> {
        Ok(Self { renderer: renderer(config, issuer)?, transport: transport(config, clock)? })
    }

    /// The sender of this node; `None` when mail is off.
    pub(super) fn sender(self, api: &Api) -> Option<MailSender> {
        let Self { renderer, transport } = self;
        let (mail, directory) = (api.accounts.mail().clone(), directory(api.sessions.clone()));
        transport.map(|transport| MailSender::new(mail, directory, renderer, transport))
    }
}
