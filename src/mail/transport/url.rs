//! `email.url`: the transport of messages.

use url::{Host, Url};

use super::TlsPolicy;
use crate::loopback::is_loopback;
use crate::secret::Secret;

/// The transport of messages, and its address.
#[derive(Clone, Debug)]
pub enum MailUrl {
    /// `file:`: the folder `outbox` of the data directory.
    Folder,
    /// `smtp://` or `smtps://`: a mail server.
    Smtp {
        /// Its name or address.
        host: String,
        /// Its port.
        port: u16,
        /// The encryption of the connection.
        tls: TlsPolicy,
        /// User and password.
        login: Option<(String, Secret<String>)>,
    },
}

/// Why a text is not such a URL. The error does not repeat a password.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MailUrlError {
    /// Another scheme, or none.
    #[error("it is neither file: nor a URL that begins with smtp:// or smtps://")]
    Scheme,
    /// A host that no mail server can have.
    #[error("its host is neither a name that a certificate can have nor an address")]
    Host,
    /// A part without a meaning here.
    #[error("it has a path, a fragment, or another query than tls=required")]
    Parts,
    /// A user without a password, or a password without a user.
    #[error("it has a user without a password, or a password without a user")]
    Login,
}

impl MailUrl {
    /// Reads a URL.
    ///
    /// # Errors
    /// [`MailUrlError`].
    pub fn parse(text: &str) -> Result<Self, MailUrlError> {
        if text == "file:" {
            return Ok(Self::Folder);
        }
        let url = Url::parse(text).map_err(|_| MailUrlError::Scheme)?;
        let host = url.host_str().filter(|host| !host.is_empty()).ok_or(MailUrlError::Scheme)?;
        if !is_name_or_address(host) {
            return Err(MailUrlError::Host);
        }
        let requires_tls = match url.query() {
            None => false,
            Some("tls=required") => true,
            Some(_) => return Err(MailUrlError::Parts),
        };
        if !matches!(url.path(), "" | "/") || url.fragment().is_some() {
            return Err(MailUrlError::Parts);
        }
        let (tls, port) = match url.scheme() {
            "smtps" => (TlsPolicy::Implicit, 465),
            // The connection does not leave this machine.
            "smtp" if is_local(&url) && !requires_tls => (TlsPolicy::None, 25),
            "smtp" => (TlsPolicy::StartTls, 587),
            _ => return Err(MailUrlError::Scheme),
        };
        let login = match (url.username(), url.password()) {
            ("", None) => None,
            ("", Some(_)) | (_, None) => return Err(MailUrlError::Login),
            (user, Some(password)) => Some((decode(user), Secret::new(decode(password)))),
        };
        let host = host.trim_matches(['[', ']']).to_owned();
        Ok(Self::Smtp { host, port: url.port().unwrap_or(port), tls, login })
    }
}

/// The parser checks the host for schemes such as http only.
fn is_name_or_address(host: &str) -> bool {
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
    };
    let is_name = || host.len() <= 253 && host.split('.').all(is_label);
    matches!(Host::parse(host), Ok(Host::Ipv4(_) | Host::Ipv6(_))) || is_name()
}

fn is_local(url: &Url) -> bool {
    // The parser leaves the host of schemes other than http as text.
    let host = url.host_str().unwrap_or_default();
    Host::parse(host).is_ok_and(|host| is_loopback(&host))
}

/// Decodes percent-encoding with the parser of forms: `url` exports no other decoder.
fn decode(text: &str) -> String {
    // Characters with a meaning in a form are literal here.
    let text = text.replace('+', "%2B").replace('&', "%26").replace('=', "%3D");
    let mut pairs = url::form_urlencoded::parse(text.as_bytes());
    pairs.next().map(|(text, _)| text.into_owned()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn smtp(text: &str) -> (String, u16, TlsPolicy, Option<(String, String)>) {
        match MailUrl::parse(text).unwrap() {
            MailUrl::Smtp { host, port, tls, login } => {
                let login = login.map(|(user, password)| (user, password.expose().clone()));
                (host, port, tls, login)
            }
            MailUrl::Folder => panic!("{text}"),
        }
    }

    #[test]
    fn mail_is_encrypted_unless_it_stays_on_this_machine() {
        for (text, port, tls) in [
            ("smtp://mail.example.com", 587, TlsPolicy::StartTls),
            ("smtp://mail.example.com:2525/", 2525, TlsPolicy::StartTls),
            ("smtps://mail.example.com", 465, TlsPolicy::Implicit),
            ("smtp://localhost:1025", 1025, TlsPolicy::None),
            ("smtp://127.0.0.1", 25, TlsPolicy::None),
            ("smtp://[::1]:25", 25, TlsPolicy::None),
            ("smtp://localhost:25?tls=required", 25, TlsPolicy::StartTls),
            ("smtp://localhost.evil.example", 587, TlsPolicy::StartTls),
            ("smtp://mail_relay", 587, TlsPolicy::StartTls),
        ] {
            let (_, found_port, found, login) = smtp(text);
            assert_eq!((found_port, found, login), (port, tls, None), "{text}");
        }
    }

    #[test]
    fn user_and_password_are_decoded() {
        let (host, _, _, login) =
            smtp("smtps://ada%40example.com:a%2Bb+c%26d%3D%25&e@[2001:db8::1]");
        assert_eq!(host, "2001:db8::1");
        assert_eq!(login.unwrap(), ("ada@example.com".into(), "a+b+c&d=%&e".into()));
    }

    #[test]
    fn other_texts_are_rejected_and_not_repeated() {
        for odd in [
            "",
            "file",
            "file:///tmp",
            "smtp:",
            "smtp://",
            "http://mail.example.com",
            "mail",
            "smtp://ada@mail.example.com",
            "smtp://:hunter2@mail.example.com",
            "smtp://ada:hunter2@mail.example.com/x",
            "smtp://mail.example.com?tls=none",
            "smtp://mail.example.com#x",
            "smtp://mail..example.com",
            "smtp://m%C3%A4il.example",
        ] {
            let error = MailUrl::parse(odd).unwrap_err();
            assert!(!error.to_string().contains("hunter2"), "{odd}");
        }
    }
}
