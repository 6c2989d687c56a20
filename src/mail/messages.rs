//! The messages, and their rendering as a subject, a plain text and an HTML page.

use std::collections::BTreeSet;

use minijinja::{Environment, UndefinedBehavior, context};

use super::Lifetimes;
use super::codes::MailKeys;
use super::operators::INVITATION_LIFETIME;
use super::queries::MailRequest;
use crate::clock::Timestamp;
use crate::database::Id;

mod load;

pub use load::TemplateError;

macro_rules! messages {
    ($($name:ident $text:literal $doc:literal;)+) => {
        /// The kind of a message. Its stable name is that of its templates, and stored in the
        /// database.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum MessageKind {
            $(#[doc = $doc] $name,)+
        }

        impl MessageKind {
            /// Every kind.
            pub const ALL: &[Self] = &[$(Self::$name,)+];

            /// The stable name.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $text,)+ }
            }

            /// The built-in text and page.
            const fn built_in(self) -> (&'static str, &'static str) {
                match self {
                    $(Self::$name => (
                        include_str!(concat!("templates/", $text, ".txt")),
                        include_str!(concat!("templates/", $text, ".html")),
                    ),)+
                }
            }
        }
    };
}

messages! {
    Registration "registration" "The code that creates an account.";
    AccountExists "account_exists" "A registration or a change of address named the address of an account.";
    Reset "reset" "The link and the code to set a new password.";
    OperatorReset "operator_reset" "The link of a reset that an operator requests.";
    Invitation "invitation" "The link to set the first password.";
    EmailCode "email_code" "The code that proves an address.";
    PasswordChanged "password_changed" "A notice: the password was changed.";
    EmailChanged "email_changed" "A notice to the old address: the account has another one.";
    NewDevice "new_device" "A notice: a login from an unknown device and network.";
    RefreshTokenReused "refresh_token_reused" "A notice: an old token was used again, and its session ended.";
    RefreshReplayedElsewhere "refresh_replayed_elsewhere"
        "A notice: a session is used from two devices.";
    FactorAdded "factor_added" "A notice: a second factor was set up.";
    FactorRemoved "factor_removed" "A notice: the second factor was removed.";
    RecoveryCodesReplaced "recovery_codes_replaced" "A notice: the recovery codes were replaced.";
    RecoveryCodeUsed "recovery_code_used" "A notice: a recovery code was used, and how many are left.";
    SecondFactorFailed "second_factor_failed"
        "A notice: several codes were tried, by somebody who knows the password.";
    FactorsReset "factors_reset" "A notice: an operator removed the second factors.";
    Test "test" "An operator's test.";
}

impl MessageKind {
    /// The kind with this name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|message| message.as_str() == name)
    }

    /// Whether it contains a link or a code.
    #[must_use]
    pub const fn is_proof(self) -> bool {
        self.has_link() || self.has_code()
    }

    /// Whether it contains a link.
    const fn has_link(self) -> bool {
        matches!(self, Self::Reset | Self::OperatorReset | Self::Invitation)
    }

    /// Whether it contains a code.
    #[must_use]
    pub const fn has_code(self) -> bool {
        matches!(self, Self::Registration | Self::Reset | Self::EmailCode)
    }

    /// Whether it is a notice that the hourly limit does not drop.
    #[must_use]
    pub const fn is_vital(self) -> bool {
        matches!(
            self,
            Self::PasswordChanged
                | Self::EmailChanged
                | Self::FactorAdded
                | Self::FactorRemoved
                | Self::RecoveryCodesReplaced
                | Self::RecoveryCodeUsed
                | Self::SecondFactorFailed
                | Self::FactorsReset
        )
    }
}

/// A message ready to be sent.
#[derive(Clone, Debug)]
pub struct RenderedMessage {
    /// The id of its row. The Message-ID contains it, so that mailboxes recognise a duplicate.
    pub id: Id,
    /// Its kind.
    pub message: MessageKind,
    /// The address of the only recipient.
    pub to: String,
    /// The subject, a single line.
    pub subject: String,
    /// The plain text.
    pub text: String,
    /// The HTML page.
    pub html: String,
}

/// The properties of the service that messages contain.
#[derive(Clone, Debug)]
pub struct ServiceInfo {
    /// Its name.
    pub name: String,
    /// Its public URL.
    pub issuer: String,
    /// The link of a reset, with the placeholder `{token}`.
    pub reset_link: String,
}

impl ServiceInfo {
    /// The link of a reset with this token.
    #[must_use]
    pub fn link_with(&self, token: &str) -> String {
        self.reset_link.replace("{token}", token)
    }
}

/// Renders messages.
pub struct MessageRenderer {
    templates: Environment<'static>,
    languages: BTreeSet<String>,
    service: ServiceInfo,
}

/// The variables of a message.
#[derive(Clone, Debug, Default)]
struct Content {
    email: String,
    code: String,
    link: String,
    network: String,
    user_agent: String,
    time: String,
    codes_left: String,
    code_minutes: u64,
    link_minutes: u64,
    until: String,
}

impl MessageRenderer {
    /// The message for a request.
    ///
    /// # Errors
    /// [`TemplateError`]: a template cannot be rendered with these values.
    pub fn render(
        &self,
        message: MessageKind,
        row: &MailRequest,
        keys: &MailKeys,
        lifetimes: Lifetimes,
    ) -> Result<RenderedMessage, TemplateError> {
        let purpose = row.purpose();
        let code = message.has_code().then(|| keys.code(purpose, row.id));
        let link =
            message.has_link().then(|| self.service.link_with(&keys.link_token(purpose, row.id)));
        let until = row.invited_until().map(display_time);
        let detail = row.detail.as_deref().map(plain).unwrap_or_default();
        let (user_agent, codes_left) = match message {
            MessageKind::RecoveryCodeUsed => (String::new(), detail),
            _ => (detail, String::new()),
        };
        let content = Content {
            email: row.address.clone(),
            code: code.unwrap_or_default(),
            link: link.unwrap_or_default(),
            network: row.network.clone().unwrap_or_default(),
            user_agent,
            time: display_time(row.created_at),
            codes_left,
            code_minutes: lifetimes.code.as_secs() / 60,
            link_minutes: lifetimes.link.as_secs() / 60,
            until: until.unwrap_or_default(),
        };
        self.write(message, row.id, row.locale.as_deref(), &content)
    }

    /// A message with example content.
    ///
    /// # Errors
    /// [`TemplateError`]: a template cannot be rendered with these values.
    pub fn sample(
        &self,
        message: MessageKind,
        to: &str,
        locale: Option<&str>,
        now: Timestamp,
    ) -> Result<RenderedMessage, TemplateError> {
        self.write(message, Id::new(now), locale, &self.sample_content(to, now))
    }

    fn sample_content(&self, to: &str, now: Timestamp) -> Content {
        Content {
            email: to.to_owned(),
            code: String::from("ABCD-EFGH"),
            link: self.service.link_with("dwm_EXAMPLE"),
            network: String::from("192.0.2.1"),
            user_agent: String::from("Example/1.0"),
            time: display_time(now),
            codes_left: String::from("9"),
            code_minutes: 10,
            link_minutes: 60,
            until: display_time(now.plus(INVITATION_LIFETIME)),
        }
    }

    fn write(
        &self,
        message: MessageKind,
        id: Id,
        locale: Option<&str>,
        content: &Content,
    ) -> Result<RenderedMessage, TemplateError> {
        let language = locale.filter(|locale| self.languages.contains(*locale));
        let part = |part: &str| {
            let own = language.map(|language| format!("{language}/{}.{part}", message.as_str()));
            own.filter(|name| self.templates.get_template(name).is_ok())
                .unwrap_or_else(|| format!("{}.{part}", message.as_str()))
        };
        // The subject contains nothing that a client has sent.
        let subject = self.render_template(&part("subject"), &Content::default())?;
        Ok(RenderedMessage {
            id,
            message,
            to: content.email.clone(),
            subject: plain(subject.trim()),
            text: self.render_template(&part("txt"), content)?,
            html: self.render_template(&part("html"), content)?,
        })
    }

    /// Renders a template. Each was rendered at the start, so failures are not expected.
    fn render_template(&self, name: &str, content: &Content) -> Result<String, TemplateError> {
        let rendered = self.try_render_template(name, content);
        let rendered = rendered.map_err(|error| TemplateError::invalid(name, &error))?;
        if rendered.trim().is_empty() {
            return Err(TemplateError::empty(name));
        }
        Ok(rendered.trim_start().to_owned())
    }

    fn try_render_template(
        &self,
        name: &str,
        content: &Content,
    ) -> Result<String, minijinja::Error> {
        let template = self.templates.get_template(name)?;
        let ServiceInfo { name: service, issuer, .. } = &self.service;
        if name.ends_with(load::SUBJECT) {
            return template.render(context! { service });
        }
        let Content { email, code, link, network, user_agent, time, .. } = content;
        let Content { codes_left, code_minutes, link_minutes, until, .. } = content;
        template.render(context! {
            service, issuer, email, code, link, network, user_agent, time, codes_left, code_minutes,
            link_minutes, until
        })
    }
}

/// An environment in which an undefined variable is an error, so that a misspelled one is found at
/// the start.
fn environment() -> Environment<'static> {
    let mut templates = Environment::new();
    templates.set_undefined_behavior(UndefinedBehavior::Strict);
    templates
}

/// The text without control characters, in one line.
fn plain(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).collect()
}

/// A moment for people: to the minute, in UTC.
fn display_time(at: Timestamp) -> String {
    let text = at.to_string();
    format!("{} {} UTC", &text[..10], &text[11..16])
}
