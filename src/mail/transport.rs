//! The transports of messages: a mail server, or a folder, for trying the service out.

mod folder;
mod smtp;
mod url;

use lettre::address::Envelope;
use lettre::message::header::{Header, HeaderName, HeaderValue};
use lettre::message::{Mailbox, MultiPart};
use lettre::{Address, Message as Email};

use super::messages::RenderedMessage;

pub use folder::OutboxFolder;
pub use smtp::{SmtpTransport, TlsPolicy};
pub use url::{MailUrl, MailUrlError};

/// A transport, with the sender's address.
pub enum MailTransport {
    /// A folder.
    Folder(OutboxFolder, Mailbox),
    /// A mail server.
    Smtp(SmtpTransport, Mailbox),
}

/// Why a message was not sent.
#[derive(Debug, thiserror::Error)]
#[error("{text}")]
pub struct SendError {
    text: String,
    kind: SendErrorKind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum SendErrorKind {
    /// The server rejects this message permanently.
    Permanent,
    /// The server may accept it later.
    Transient,
    /// The server ended the connection: it is about to stop, or it does so because of this message.
    Dropped,
    /// The server is unreachable or rejects the login, for any message.
    Unreachable,
}

impl SendError {
    pub(super) fn permanent(text: impl Into<String>) -> Self {
        Self { text: text.into(), kind: SendErrorKind::Permanent }
    }

    pub(super) fn transient(text: impl Into<String>) -> Self {
        Self { text: text.into(), kind: SendErrorKind::Transient }
    }

    /// An attempt that timed out: the server may have accepted the message.
    pub(super) fn timed_out() -> Self {
        Self::transient("the mail server did not answer in time")
    }

    /// Whether this message is rejected permanently.
    #[must_use]
    pub fn is_permanent(&self) -> bool {
        self.kind == SendErrorKind::Permanent
    }

    /// Whether the server ended the connection.
    pub(super) fn is_dropped(&self) -> bool {
        self.kind == SendErrorKind::Dropped
    }

    /// Whether the server got no message.
    pub(super) fn is_unreachable(&self) -> bool {
        self.kind == SendErrorKind::Unreachable
    }
}

impl MailTransport {
    /// Hands a message over. The message is accepted when this returns.
    ///
    /// # Errors
    /// [`SendError`].
    pub async fn send(&self, rendered: &RenderedMessage) -> Result<(), SendError> {
        match self {
            Self::Folder(folder, from) => {
                folder.put(rendered.id, rendered.message, build(rendered, from)?.formatted()).await
            }
            Self::Smtp(smtp, from) => smtp.send(build(rendered, from)?).await,
        }
    }

    /// Ends open connections that no message uses.
    pub async fn close_idle(&self) {
        if let Self::Smtp(smtp, _) = self {
            smtp.close_idle().await;
        }
    }
}

/// The message in its wire format. lettre encodes every header, so a value cannot add another one.
fn build(rendered: &RenderedMessage, from: &Mailbox) -> Result<Email, SendError> {
    let odd = |error: &dyn std::fmt::Display| SendError::permanent(error.to_string());
    let to = recipient(&rendered.to)
        .ok_or_else(|| SendError::permanent("the address is not one that mail can be sent to"))?;
    let id = format!("<{}@{}>", rendered.id, from.email.domain());
    // lettre would parse the header, and parses fewer addresses than it writes.
    let envelope = Envelope::new(Some(from.email.clone()), vec![to.clone()]);
    let envelope = envelope.map_err(|error| odd(&error))?;
    let body = MultiPart::alternative_plain_html(rendered.text.clone(), rendered.html.clone());
    Email::builder()
        .envelope(envelope)
        .from(from.clone())
        .to(Mailbox::new(None, to))
        .subject(rendered.subject.clone())
        .message_id(Some(id))
        .header(AutoSubmitted)
        .multipart(body)
        .map_err(|error| odd(&error))
}

/// An address with its domain as an A-label, which every mail server accepts.
fn recipient(text: &str) -> Option<Address> {
    let (local, domain) = text.rsplit_once('@')?;
    let domain =
        if domain.is_ascii() { domain.to_owned() } else { idna::domain_to_ascii(domain).ok()? };
    if let Ok(address) = Address::new(local, &domain) {
        return Some(address);
    }
    // lettre rejects combining marks of other scripts. A text that could be more than one address
    // or line is rejected here as there.
    let is_odd = |c: char| c.is_control() || c.is_whitespace() || "()<>[]:;,\\\"@".contains(c);
    let is_good =
        !local.is_ascii() && !local.contains(is_odd) && Address::new("a", &domain).is_ok();
    is_good.then(|| Address::new_dangerous(local, &domain))
}

/// RFC 3834 5: automatic responders do not answer such a message.
#[derive(Clone)]
struct AutoSubmitted;

impl Header for AutoSubmitted {
    fn name() -> HeaderName {
        HeaderName::new_from_ascii_str("Auto-Submitted")
    }

    fn parse(_: &str) -> Result<Self, Box<dyn std::error::Error + Send + Sync>> {
        Ok(Self)
    }

    fn display(&self) -> HeaderValue {
        HeaderValue::new(Self::name(), String::from("auto-generated"))
    }
}

#[cfg(test)]
mod tests {
    use super::super::messages::MessageKind;
    use super::*;
    use crate::clock::Timestamp;
    use crate::database::Id;

    fn built(to: &str, subject: &str) -> Result<String, SendError> {
        let rendered = RenderedMessage {
            id: Id::new(Timestamp::from_unix_seconds(1_800_000_000)),
            message: MessageKind::Test,
            to: to.to_owned(),
            subject: subject.to_owned(),
            text: String::from("text"),
            html: String::from("<p>page</p>"),
        };
        let from = "Doorward <no-reply@example.com>".parse().unwrap();
        build(&rendered, &from).map(|it| String::from_utf8(it.formatted()).unwrap())
    }

    #[test]
    fn a_line_break_in_a_subject_adds_no_header() {
        let message = built("ada@example.com", "Hello\r\nBcc: eve@example.com").unwrap();
        let (head, _) = message.split_once("\r\n\r\n").unwrap();
        assert!(!head.lines().any(|line| line.to_lowercase().starts_with("bcc")), "{head}");
        assert!(head.contains("To: ada@example.com\r\n"), "{head}");
        assert!(head.contains("Auto-Submitted: auto-generated\r\n"), "{head}");
        assert_eq!(head.matches("@example.com>").count(), 2, "From and Message-ID: {head}");
    }

    #[test]
    fn every_valid_address_is_a_recipient() {
        for (address, encoded) in [
            ("ada@b\u{fc}cher.example", "ada@xn--bcher-kva.example"),
            ("rene\u{301}@example.com", "rene\u{301}@example.com"),
            (
                "\u{928}\u{92e}\u{938}\u{94d}\u{924}\u{947}@example.com",
                "\u{928}\u{92e}\u{938}\u{94d}\u{924}\u{947}@example.com",
            ),
            ("a.b+c'd@example.com", "a.b+c'd@example.com"),
        ] {
            assert_eq!(recipient(address).unwrap().to_string(), encoded);
            assert!(built(address, "Hello").is_ok(), "{address}");
        }
    }

    #[test]
    fn an_address_that_could_be_several_is_rejected() {
        for odd in [
            "",
            "ada",
            "a@x.y, b@x.y",
            "a@x.y\r\nBcc: b@x.y",
            "<a@x.y>",
            "a@x.y\0",
            "\u{e9}\r\nBcc: b@x.y",
            "\u{e9},b@x.y",
            "\u{e9} <b@x.y",
        ] {
            assert!(built(odd, "Hello").is_err_and(|error| error.is_permanent()), "{odd}");
        }
    }
}
